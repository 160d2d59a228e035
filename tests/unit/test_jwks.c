/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JWK set document: what every verifier reads, and nothing that makes one refuse the whole set.
 */
#include "token/jwks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sign.h"

static json_t *document_of(const struct mm_jwks_key *keys, size_t n)
{
    struct mm_error err = {0};
    mm_cleanup(free) char *text = mm_jwks_document(keys, n, &err);
    assert_non_null(text);
    json_t *document = mm_json_parse(text, strlen(text), &err);
    assert_non_null(document);
    return document;
}

static void no_keys_make_an_empty_set(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(free) char *text = mm_jwks_document(NULL, 0, &err);
    assert_string_equal(text, "{\"keys\":[]}");
}

static void document_is_exactly_as_the_rfcs_write_it(void **state)
{
    (void)state;
    static const char JWK[] =
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *jwk = mm_json_parse(JWK, strlen(JWK), &err);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_jwk(jwk, &err);
    mm_cleanup(free) char *text = mm_jwks_document(&(struct mm_jwks_key){key, MM_EDDSA}, 1, &err);
    assert_string_equal(
        text, "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
              "\",\"kid\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\",\"use\":\"sig\",\"alg\":\"EdDSA\"}]}");
}

static void keys_keep_their_order_and_show_public_members_only(void **state)
{
    (void)state;
    static const enum mm_algorithm ALGORITHMS[] = {MM_PS256, MM_ES384, MM_ES256, MM_EDDSA, MM_RS256};
    static const char *const MEMBERS[][8] = {
        {"kty", "n", "e", "kid", "use", "alg"},        {"kty", "crv", "x", "y", "kid", "use", "alg"},
        {"kty", "crv", "x", "y", "kid", "use", "alg"}, {"kty", "crv", "x", "kid", "use", "alg"},
        {"kty", "n", "e", "kid", "use", "alg"},
    };
    struct mm_jwks_key keys[MM_ARRAY_SIZE(ALGORITHMS)];
    struct mm_pubkey *pubkeys[MM_ARRAY_SIZE(ALGORITHMS)];
    for (size_t i = 0; i < MM_ARRAY_SIZE(keys); i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(ALGORITHMS[i]);
        pubkeys[i] = make_pubkey(ALGORITHMS[i], private_key);
        keys[i] = (struct mm_jwks_key){pubkeys[i], ALGORITHMS[i]};
    }
    mm_cleanup(json_decref) json_t *document = document_of(keys, MM_ARRAY_SIZE(keys));
    for (size_t i = 0; i < MM_ARRAY_SIZE(keys); i++) {
        json_t *jwk = json_array_get(json_object_get(document, "keys"), i);
        assert_string_equal(mm_json_string(jwk, "alg"), mm_algorithm_name(ALGORITHMS[i]));
        assert_string_equal(mm_json_string(jwk, "kid"), mm_pubkey_thumbprint(pubkeys[i]));
        size_t n = 0;
        for (; MEMBERS[i][n]; n++)
            assert_non_null(mm_json_string(jwk, MEMBERS[i][n]));
        assert_int_equal(json_object_size(jwk), n);
        mm_pubkey_free(pubkeys[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_keys_make_an_empty_set),
        cmocka_unit_test(document_is_exactly_as_the_rfcs_write_it),
        cmocka_unit_test(keys_keep_their_order_and_show_public_members_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
