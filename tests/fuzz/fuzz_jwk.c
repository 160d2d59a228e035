/* SPDX-License-Identifier: Apache-2.0 */
/* A public JWK. What is taken is written as the same key, with the same thumbprint, and never with anything private. */
#include "fuzz.h"

#include <string.h>

#include "crypto/pubkey.h"
#include "token/jwks.h"

static const enum mm_algorithm ALGORITHM_OF[] = {
    [MM_KEY_P256] = MM_ES256, [MM_KEY_P384] = MM_ES384, [MM_KEY_RSA] = MM_RS256, [MM_KEY_ED25519] = MM_EDDSA};

static void check_members(const json_t *jwk)
{
    static const char *const PUBLIC[] = {"kty", "crv", "x", "y", "n", "e", "kid", "use", "alg"};
    size_t n = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(PUBLIC); i++)
        n += json_object_get(jwk, PUBLIC[i]) != NULL;
    assert(n == json_object_size(jwk));
}

static void check_key(const json_t *input, const struct mm_pubkey *key)
{
    static const char *const PARAMETERS[] = {"kty", "crv", "x", "y"};
    static const char *const PRIVATE[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(PRIVATE); i++)
        assert(!json_object_get(input, PRIVATE[i]));
    enum mm_key_type type = mm_pubkey_type(key);
    mm_cleanup(json_decref) json_t *jwk = mm_pubkey_to_jwk(key, ALGORITHM_OF[type], NULL);
    assert(jwk);
    check_members(jwk);
    for (size_t i = 0; i < MM_ARRAY_SIZE(PARAMETERS) && type != MM_KEY_RSA; i++) {
        const json_t *parameter = json_object_get(jwk, PARAMETERS[i]);
        assert(!parameter || json_equal(parameter, json_object_get(input, PARAMETERS[i])));
    }
    assert(type != MM_KEY_RSA || (mm_pubkey_bits(key) >= MM_RSA_BITS_MIN && mm_pubkey_bits(key) <= MM_RSA_BITS_MAX));

    mm_cleanup(mm_pubkey_free) struct mm_pubkey *again = mm_pubkey_from_jwk(jwk, NULL);
    /* libcrypto's look at an RSA modulus is a probabilistic one: what isn't a product of two primes may pass just once. */
    assert(again || type == MM_KEY_RSA);
    assert(!again || strcmp(mm_pubkey_thumbprint(again), mm_pubkey_thumbprint(key)) == 0);
    assert(strcmp(mm_json_string(jwk, "kid"), mm_pubkey_thumbprint(key)) == 0);

    struct mm_jwks_key entry = {key, ALGORITHM_OF[type]};
    mm_cleanup(free) char *document = mm_jwks_document(&entry, 1, NULL);
    mm_cleanup(json_decref) json_t *jwks = mm_json_parse(document, strlen(document), NULL);
    assert(json_equal(json_array_get(json_object_get(jwks, "keys"), 0), jwk));
}

/* As somebody else's key: for the algorithms of one type at most, and never private. */
static void check_foreign(const json_t *jwk, bool is_own)
{
    bool is_taken = false;
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        enum mm_algorithm algorithm = (enum mm_algorithm)i;
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_foreign_jwk(jwk, algorithm, NULL);
        assert(!key || mm_pubkey_type(key) == mm_algorithm_key_type(algorithm));
        assert(!key || !mm_jwk_is_private(jwk));
        is_taken = is_taken || key;
    }
    assert(is_taken || !is_own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mm_bytes MESSAGE = {"message", 7};
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *jwk = mm_json_parse(size ? data : (const uint8_t *)"", size, NULL);
    if (!jwk)
        return 0;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_jwk(jwk, &err);
    assert((key != NULL) == (err.code == MM_OK) && (key || err.code == MM_KEY_CUSTODY));
    check_foreign(jwk, key != NULL);
    if (!key)
        return 0;
    check_key(jwk, key);
    struct mm_bytes signature = {data, size < MM_SIGNATURE_MAX ? size : MM_SIGNATURE_MAX};
    assert(!mm_pubkey_verify(key, ALGORITHM_OF[mm_pubkey_type(key)], MESSAGE, signature, NULL));
    return 0;
}
