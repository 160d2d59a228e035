/* SPDX-License-Identifier: Apache-2.0 */
#include "token/jwks.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

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

enum { WHY_MAX = 160 };

struct foreign_key {
    char *kid; /* NULL: none */
    struct mm_pubkey *pubkey;
    struct mm_jwks_key key; /* borrows pubkey */
    size_t place;           /* in the set, from 0 */
};

struct mm_jwks {
    atomic_size_t n_references;
    /* immutable after mm_jwks_parse() */
    struct foreign_key keys[MM_FOREIGN_KEYS_MAX];
    size_t n_keys;
    size_t n_skipped;
    char why[WHY_MAX];
};

static void skip(struct mm_jwks *jwks, size_t place, const char *why)
{
    if (jwks->n_skipped++ == 0)
        (void)snprintf(jwks->why, sizeof jwks->why, "key %zu: %.100s", place + 1, why);
}

static void free_key(struct foreign_key *key)
{
    free(key->kid);
    mm_pubkey_free(key->pubkey);
    *key = (struct foreign_key){0};
}

static bool read_algorithm(const json_t *jwk, enum mm_algorithm *ret_algorithm)
{
    const json_t *alg = json_object_get(jwk, "alg");
    if (!alg)
        return mm_jwk_default_algorithm(jwk, ret_algorithm);
    return json_is_string(alg) && mm_algorithm_parse_foreign(json_string_value(alg), ret_algorithm);
}

/* What keeps a key from being used, as far as that can be told without its parameters; NULL: nothing. */
static const char *find_fault(const json_t *jwk, enum mm_algorithm *ret_algorithm)
{
    if (!json_is_object(jwk))
        return "isn't an object";
    const json_t *kid = json_object_get(jwk, "kid");
    if (kid && (json_string_length(kid) == 0 || json_string_length(kid) > MM_KID_MAX))
        return "its kid isn't a string of 1 to 256 bytes";
    return read_algorithm(jwk, ret_algorithm) ? NULL : "of an unknown kty, crv or alg";
}

/* A bundle's key for JWT-SVIDs as a JWK for signatures, which it is but for its `use`; NULL for any other. */
static json_t *from_bundle(const json_t *jwk)
{
    const char *use = mm_json_string(jwk, "use");
    if (!use || strcmp(use, "jwt-svid") != 0 || !mm_json_string(jwk, "kid"))
        return NULL;
    json_t *copied = json_copy((json_t *)(uintptr_t)jwk);
    if (copied)
        (void)json_object_del(copied, "use");
    return copied;
}

/* False only for want of memory. */
static bool take_key(struct mm_jwks *jwks, const json_t *jwk, size_t place, struct mm_error *err)
{
    struct foreign_key key = {.place = place};
    const char *fault = find_fault(jwk, &key.key.algorithm);
    if (fault) {
        skip(jwks, place, fault);
        return true;
    }
    struct mm_error why = {0};
    key.pubkey = mm_pubkey_from_foreign_jwk(jwk, key.key.algorithm, &why);
    if (!key.pubkey) {
        skip(jwks, place, why.message);
        return why.code != MM_NO_MEMORY || mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    key.key.key = key.pubkey;
    const char *kid = mm_json_string(jwk, "kid");
    key.kid = kid ? strdup(kid) : NULL;
    jwks->keys[jwks->n_keys++] = key;
    return !kid || key.kid || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

static size_t count_kid(const struct mm_jwks *jwks, const char *kid)
{
    size_t n = 0;
    for (size_t i = 0; i < jwks->n_keys; i++)
        n += jwks->keys[i].kid && strcmp(jwks->keys[i].kid, kid) == 0;
    return n;
}

/* A `kid` that is several keys' is no key's. */
static void drop_ambiguous(struct mm_jwks *jwks)
{
    bool is_ambiguous[MM_FOREIGN_KEYS_MAX] = {false};
    size_t n_left = 0;
    for (size_t i = 0; i < jwks->n_keys; i++)
        is_ambiguous[i] = jwks->keys[i].kid && count_kid(jwks, jwks->keys[i].kid) > 1;
    for (size_t i = 0; i < jwks->n_keys; i++) {
        if (is_ambiguous[i]) {
            skip(jwks, jwks->keys[i].place, "another key has its kid");
            free_key(&jwks->keys[i]);
        } else {
            jwks->keys[n_left++] = jwks->keys[i];
        }
    }
    jwks->n_keys = n_left;
}

static bool holds_no_private_key(const json_t *keys, struct mm_error *err)
{
    for (size_t i = 0; i < json_array_size(keys); i++)
        if (mm_jwk_is_private(json_array_get(keys, i)))
            return mm_fail(err, MM_CONFIG_INVALID, "JWK set: key %zu is a private or secret one", i + 1);
    return true;
}

static json_t *parse_set(const void *data, size_t length, struct mm_error *err)
{
    struct mm_error why = {0};
    if (length > MM_FOREIGN_JWKS_MAX) {
        (void)mm_fail(err, MM_CONFIG_INVALID, "JWK set: over %d bytes", MM_FOREIGN_JWKS_MAX);
        return NULL;
    }
    mm_cleanup(json_decref) json_t *set = mm_json_parse(data, length, &why);
    const json_t *keys = json_object_get(set, "keys");
    if (why.code == MM_NO_MEMORY)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    else if (!json_is_array(keys))
        (void)mm_fail(err, MM_CONFIG_INVALID, "JWK set: not a JSON object with an array \"keys\"");
    else if (json_array_size(keys) > MM_FOREIGN_KEYS_MAX)
        (void)mm_fail(err, MM_CONFIG_INVALID, "JWK set: over %d keys", MM_FOREIGN_KEYS_MAX);
    else if (holds_no_private_key(keys, err))
        return MM_TAKE(set);
    return NULL;
}

enum kind { SET, BUNDLE };

static bool take_any_key(struct mm_jwks *jwks, const json_t *jwk, size_t place, enum kind kind, struct mm_error *err)
{
    if (kind == SET)
        return take_key(jwks, jwk, place, err);
    errno = 0;
    mm_cleanup(json_decref) json_t *plain = from_bundle(jwk);
    if (plain)
        return take_key(jwks, plain, place, err);
    if (errno == ENOMEM)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    skip(jwks, place, "not for JWT-SVIDs, or without a kid");
    return true;
}

static struct mm_jwks *parse(const void *data, size_t length, enum kind kind, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *set = parse_set(data, length, err);
    if (!set)
        return NULL;
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = calloc(1, sizeof *jwks);
    if (!jwks) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    atomic_init(&jwks->n_references, 1);
    const json_t *keys = json_object_get(set, "keys");
    for (size_t i = 0; i < json_array_size(keys); i++)
        if (!take_any_key(jwks, json_array_get(keys, i), i, kind, err))
            return NULL;
    drop_ambiguous(jwks);
    return MM_TAKE(jwks);
}

struct mm_jwks *mm_jwks_parse(const void *data, size_t length, struct mm_error *err)
{
    return parse(data, length, SET, err);
}

struct mm_jwks *mm_jwks_parse_bundle(const void *data, size_t length, struct mm_error *err)
{
    return parse(data, length, BUNDLE, err);
}

struct mm_jwks *mm_jwks_ref(struct mm_jwks *jwks)
{
    (void)atomic_fetch_add_explicit(&jwks->n_references, 1, memory_order_relaxed);
    return jwks;
}

void mm_jwks_unref(struct mm_jwks *jwks)
{
    if (!jwks || atomic_fetch_sub_explicit(&jwks->n_references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < jwks->n_keys; i++)
        free_key(&jwks->keys[i]);
    free(jwks);
}

size_t mm_jwks_n_keys(const struct mm_jwks *jwks)
{
    return jwks->n_keys;
}

size_t mm_jwks_n_skipped(const struct mm_jwks *jwks)
{
    return jwks->n_skipped;
}

const char *mm_jwks_skipped_why(const struct mm_jwks *jwks)
{
    return jwks->why;
}

static const struct mm_jwks_key *find_named(const struct mm_jwks *jwks, const char *kid, enum mm_algorithm algorithm,
                                            struct mm_error *err)
{
    for (size_t i = 0; i < jwks->n_keys; i++) {
        const struct foreign_key *key = &jwks->keys[i];
        if (!key->kid || strcmp(key->kid, kid) != 0)
            continue;
        if (key->key.algorithm == algorithm)
            return &key->key;
        (void)mm_fail(err, MM_TOKEN_INVALID, "the header's alg is not the key's");
        return NULL;
    }
    (void)mm_fail(err, MM_TOKEN_INVALID, "the JWK set has no key called by the header's kid");
    return NULL;
}

static const struct mm_jwks_key *find_only(const struct mm_jwks *jwks, enum mm_algorithm algorithm,
                                           struct mm_error *err)
{
    const struct mm_jwks_key *found = NULL;
    for (size_t i = 0; i < jwks->n_keys; i++) {
        const struct mm_jwks_key *key = &jwks->keys[i].key;
        if (key->algorithm != algorithm)
            continue;
        if (found) {
            (void)mm_fail(err, MM_TOKEN_INVALID, "the header has no kid, and the JWK set several keys for its alg");
            return NULL;
        }
        found = key;
    }
    if (!found)
        (void)mm_fail(err, MM_TOKEN_INVALID, "the header has no kid, and the JWK set no key for its alg");
    return found;
}

const struct mm_jwks_key *mm_jwks_find(const struct mm_jwks *jwks, const char *kid, enum mm_algorithm algorithm,
                                       struct mm_error *err)
{
    return kid ? find_named(jwks, kid, algorithm, err) : find_only(jwks, algorithm, err);
}
