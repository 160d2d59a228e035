/* SPDX-License-Identifier: Apache-2.0 */
#include "token/spiffe_bundle.h"

#include <string.h>

#include "util/base64url.h"
#include "util/json.h"

enum { ROOTS_MAX = 64, ROOT_BYTES_MAX = 16384 };

struct roots {
    struct mm_bytes items[ROOTS_MAX]; /* owned */
    size_t n;
};

static void roots_clear_cleanup(struct roots *roots)
{
    for (size_t i = 0; i < roots->n; i++)
        free((void *)(uintptr_t)roots->items[i].data);
}

static bool bad_bundle(struct mm_error *err, const char *why)
{
    return mm_fail(err, MM_CONFIG_INVALID, "SPIFFE bundle: %s", why);
}

static bool add_root(struct roots *roots, const json_t *key, struct mm_error *err)
{
    const json_t *x5c = json_object_get(key, "x5c");
    const char *text = json_string_value(json_array_get(x5c, 0));
    size_t length = text ? strlen(text) : 0;
    if (json_array_size(x5c) != 1 || length == 0)
        return bad_bundle(err, "a key for X.509-SVIDs whose ‹x5c› isn't one certificate");
    if (roots->n == ROOTS_MAX || length > ROOT_BYTES_MAX)
        return bad_bundle(err, "more than 64 keys for X.509-SVIDs, or a certificate of more than 12 KiB");
    uint8_t *der = malloc(length);
    if (!der)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    struct mm_bytes *root = &roots->items[roots->n++];
    root->data = der;
    return mm_base64_decode(text, length, der, &root->length) || bad_bundle(err, "an ‹x5c› that isn't base64");
}

bool mm_spiffe_bundle_roots(const void *data, size_t length, struct mm_trust **ret_roots, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *bundle = mm_json_parse(data, length, &why);
    const json_t *keys = json_object_get(bundle, "keys");
    mm_cleanup(roots_clear) struct roots roots = {.n = 0};
    if (why.code == MM_NO_MEMORY)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (!json_is_array(keys))
        return bad_bundle(err, "no JWK set");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        const char *use = mm_json_string(key, "use");
        if (use && strcmp(use, "x509-svid") == 0 && !add_root(&roots, key, err))
            return false;
    }
    struct mm_trust *trust = roots.n > 0 ? mm_trust_of(roots.items, roots.n, err) : NULL;
    if (roots.n > 0 && !trust)
        return false;
    *ret_roots = trust;
    return true;
}
