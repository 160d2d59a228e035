/* SPDX-License-Identifier: Apache-2.0 */
#include "token/jwks.h"

static bool append_key(json_t *keys, const struct mm_jwks_key *key, struct mm_error *err)
{
    json_t *jwk = mm_pubkey_to_jwk(key->key, key->algorithm, err);
    return jwk && mm_json_append(keys, jwk, err);
}

char *mm_jwks_document(const struct mm_jwks_key *keys, size_t n, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *document = json_pack("{s[]}", "keys");
    if (!document) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (!append_key(json_object_get(document, "keys"), &keys[i], err))
            return NULL;
    return mm_json_compact(document, err);
}
