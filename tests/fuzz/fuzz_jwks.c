/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody else's JWK set. Every key is used or counted as left out, none is private, a kid is one key's, and each key found is for the
 * algorithm that was asked for.
 */
#include "fuzz.h"

#include <string.h>

#include "token/jwks.h"

static const struct mm_bytes MESSAGE = {"message", 7};

/* What the set says of the only usable key that has this kid. */
static void check_found(const json_t *keys, const struct mm_jwks *jwks, const char *kid)
{
    size_t n_found = 0;
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        enum mm_algorithm algorithm = (enum mm_algorithm)i;
        const struct mm_jwks_key *key = mm_jwks_find(jwks, kid, algorithm, NULL);
        if (!key)
            continue;
        n_found++;
        assert(key->algorithm == algorithm && mm_pubkey_type(key->key) == mm_algorithm_key_type(algorithm));
        assert(mm_pubkey_type(key->key) != MM_KEY_RSA ||
               (mm_pubkey_bits(key->key) >= MM_RSA_BITS_MIN && mm_pubkey_bits(key->key) <= MM_FOREIGN_RSA_BITS_MAX));
        uint8_t zeros[MM_FOREIGN_SIGNATURE_MAX] = {0};
        size_t length = mm_pubkey_type(key->key) == MM_KEY_RSA ? (mm_pubkey_bits(key->key) + 7) / 8 : 64;
        assert(!mm_pubkey_verify(key->key, algorithm, MESSAGE, (struct mm_bytes){zeros, length}, NULL));
    }
    assert(n_found <= (kid ? 1 : json_array_size(keys)));
}

/* As a SPIFFE bundle: a key of the other set is none of this one. */
static void check_bundle(const uint8_t *data, size_t size, const json_t *keys)
{
    struct mm_error err = {0};
    mm_cleanup(mm_jwks_unref) struct mm_jwks *bundle = mm_jwks_parse_bundle(data, size, &err);
    assert(bundle && json_array_size(keys) == mm_jwks_n_keys(bundle) + mm_jwks_n_skipped(bundle));
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *kid = mm_json_string(json_array_get(keys, i), "kid");
        const char *use = mm_json_string(json_array_get(keys, i), "use");
        for (int j = 0; kid && use && strcmp(use, "sig") == 0 && j < MM_N_FOREIGN_ALGORITHMS; j++)
            assert(json_array_size(keys) > 1 || !mm_jwks_find(bundle, kid, (enum mm_algorithm)j, NULL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_error err = {0};
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = mm_jwks_parse(size ? data : (const uint8_t *)"", size, &err);
    assert((jwks != NULL) == (err.code == MM_OK) && (jwks || err.code == MM_CONFIG_INVALID));
    if (!jwks)
        return 0;
    mm_cleanup(json_decref) json_t *set = mm_json_parse(data, size, NULL);
    const json_t *keys = json_object_get(set, "keys");
    assert(json_array_size(keys) == mm_jwks_n_keys(jwks) + mm_jwks_n_skipped(jwks));
    assert((mm_jwks_n_skipped(jwks) == 0) == (mm_jwks_skipped_why(jwks)[0] == '\0'));
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *jwk = json_array_get(keys, i);
        assert(!mm_jwk_is_private(jwk));
        const char *kid = mm_json_string(jwk, "kid");
        if (kid)
            check_found(keys, jwks, kid);
    }
    check_found(keys, jwks, NULL);
    check_bundle(data, size, keys);
    return 0;
}
