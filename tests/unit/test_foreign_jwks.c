/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other people's JWK sets: every key that can be used is, none of the others stops it, and a kid never means two keys.
 */
#include "token/jwks.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/sign.h"
#include "util/base64url.h"

static json_t *ec; /* P-256, without kid and alg */
static json_t *rsa;

static int set_up(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *ec_key = make_private_key(MM_ES256);
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *rsa_key = make_private_key(MM_RS256);
    ec = make_jwk(ec_key, NULL, NULL);
    rsa = make_jwk(rsa_key, NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(ec);
    json_decref(rsa);
    return 0;
}

/* The JWK with `kid` and `alg`, each left out if NULL. */
static json_t *named(json_t *jwk, const char *kid, const char *alg)
{
    json_t *copy = json_copy(jwk);
    if (kid)
        assert_int_equal(json_object_set_new(copy, "kid", json_string(kid)), 0);
    if (alg)
        assert_int_equal(json_object_set_new(copy, "alg", json_string(alg)), 0);
    return copy;
}

static struct mm_jwks *parse_text(const char *text, size_t length)
{
    struct mm_error err = {0};
    struct mm_jwks *jwks = mm_jwks_parse(text, length, &err);
    assert_int_equal(err.code, jwks ? MM_OK : MM_CONFIG_INVALID);
    return jwks;
}

/* Takes `keys` over. */
static struct mm_jwks *parse_keys(json_t *keys)
{
    mm_cleanup(json_decref) json_t *set = json_pack("{so}", "keys", keys);
    mm_cleanup(free) char *text = mm_json_compact(set, NULL);
    assert_non_null(text);
    return parse_text(text, strlen(text));
}

static void assert_refused(const char *text, const char *reason)
{
    struct mm_error err = {0};
    assert_null(mm_jwks_parse(text, strlen(text), &err));
    assert_int_equal(err.code, MM_CONFIG_INVALID);
    assert_non_null(strstr(err.message, reason));
}

static bool has(const struct mm_jwks *jwks, const char *kid, enum mm_algorithm algorithm)
{
    struct mm_error err = {0};
    const struct mm_jwks_key *key = mm_jwks_find(jwks, kid, algorithm, &err);
    assert_int_equal(err.code, key ? MM_OK : MM_TOKEN_INVALID);
    assert_true(!key || key->algorithm == algorithm);
    return key != NULL;
}

/* Of a set with one good key beside `jwk`: this one is left out, for that reason, and the good one stays. Takes `jwk` over. */
static void assert_skipped(json_t *jwk, const char *reason)
{
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = parse_keys(json_pack("[oo]", jwk, named(ec, "good", "ES256")));
    assert_non_null(jwks);
    assert_int_equal(mm_jwks_n_keys(jwks), 1);
    assert_int_equal(mm_jwks_n_skipped(jwks), 1);
    assert_non_null(strstr(mm_jwks_skipped_why(jwks), reason));
    assert_memory_equal(mm_jwks_skipped_why(jwks), "key 1: ", 7);
    assert_true(has(jwks, "good", MM_ES256));
}

static void a_key_is_found_by_its_kid_and_for_its_alg_only(void **state)
{
    (void)state;
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks =
        parse_keys(json_pack("[oo]", named(ec, "a", "ES256"), named(rsa, "b", "PS384")));
    assert_int_equal(mm_jwks_n_keys(jwks), 2);
    assert_int_equal(mm_jwks_n_skipped(jwks), 0);
    assert_string_equal(mm_jwks_skipped_why(jwks), "");
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        assert_int_equal(has(jwks, "a", (enum mm_algorithm)i), i == MM_ES256);
        assert_int_equal(has(jwks, "b", (enum mm_algorithm)i), i == MM_PS384);
        assert_false(has(jwks, "c", (enum mm_algorithm)i));
        assert_false(has(jwks, "", (enum mm_algorithm)i));
        assert_false(has(jwks, "A", (enum mm_algorithm)i));
    }
}

static void without_alg_an_ec_key_is_for_its_curves_and_an_rsa_key_for_rs256(void **state)
{
    (void)state;
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks =
        parse_keys(json_pack("[oo]", named(ec, "a", NULL), named(rsa, "b", NULL)));
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        assert_int_equal(has(jwks, "a", (enum mm_algorithm)i), i == MM_ES256);
        assert_int_equal(has(jwks, "b", (enum mm_algorithm)i), i == MM_RS256);
    }
}

static void without_kid_the_only_key_for_the_alg_is_found(void **state)
{
    (void)state;
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks =
        parse_keys(json_pack("[ooo]", named(ec, NULL, "ES256"), named(rsa, "b", "RS256"), named(rsa, NULL, "RS256")));
    assert_int_equal(mm_jwks_n_keys(jwks), 3);
    assert_true(has(jwks, NULL, MM_ES256));
    assert_false(has(jwks, NULL, MM_RS256)); /* two */
    assert_false(has(jwks, NULL, MM_PS256)); /* none */
    assert_true(has(jwks, "b", MM_RS256));
}

static void keys_of_one_kid_are_all_left_out(void **state)
{
    (void)state;
    json_t *keys = json_pack("[oooo]", named(ec, "twice", "ES256"), named(rsa, "twice", "RS256"),
                             named(rsa, "once", "RS256"), named(ec, "twice", "ES256"));
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = parse_keys(keys);
    assert_int_equal(mm_jwks_n_keys(jwks), 1);
    assert_int_equal(mm_jwks_n_skipped(jwks), 3);
    assert_string_equal(mm_jwks_skipped_why(jwks), "key 1: another key has its kid");
    assert_false(has(jwks, "twice", MM_ES256));
    assert_false(has(jwks, "twice", MM_RS256));
    assert_false(has(jwks, NULL, MM_ES256));
    assert_true(has(jwks, "once", MM_RS256));
}

static void a_kid_shared_with_an_unusable_key_is_the_usable_ones(void **state)
{
    (void)state;
    json_t *encryption = named(rsa, "shared", NULL);
    assert_int_equal(json_object_set_new(encryption, "use", json_string("enc")), 0);
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks =
        parse_keys(json_pack("[oo]", encryption, named(ec, "shared", "ES256")));
    assert_true(has(jwks, "shared", MM_ES256));
    assert_false(has(jwks, "shared", MM_RS256));
}

static void what_cannot_be_used_is_left_out_and_counted(void **state)
{
    (void)state;
    assert_skipped(json_pack("{ss ss ss}", "kty", "AKP", "alg", "ML-DSA-65", "pub", "AQ"), "unknown kty, crv or alg");
    assert_skipped(json_pack("{ss}", "kty", "oct"), "unknown kty, crv or alg");
    assert_skipped(json_pack("{ss ss ss}", "kty", "OKP", "crv", "Ed448", "x", "AQ"), "unknown kty, crv or alg");
    assert_skipped(json_pack("{ss ss ss}", "kty", "OKP", "crv", "X25519", "x", "AQ"), "unknown kty, crv or alg");
    assert_skipped(named(ec, "a", "HS256"), "unknown kty, crv or alg");
    assert_skipped(named(ec, "a", "none"), "unknown kty, crv or alg");
    assert_skipped(named(rsa, "a", "RSA-OAEP"), "unknown kty, crv or alg");
    assert_skipped(named(ec, "a", "RS256"), "doesn't go with its kty");
    assert_skipped(named(ec, "a", "ES384"), "doesn't go with its kty");
    assert_skipped(named(rsa, "a", "ES256"), "doesn't go with its kty");
    assert_skipped(json_pack("{ss ss ss}", "kty", "EC", "crv", "P-256", "x", "AQ"), "missing or malformed");
    assert_skipped(json_object(), "unknown kty, crv or alg");
    assert_skipped(json_integer(1), "isn't an object");
    assert_skipped(json_array(), "isn't an object");
    assert_skipped(json_null(), "isn't an object");
}

static void alg_and_kid_of_another_type_are_no_alg_and_no_kid_to_guess(void **state)
{
    (void)state;
    static const char *const VALUES[] = {"1", "null", "true", "[\"a\"]", "{\"a\":1}", "\"\""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(VALUES); i++) {
        json_t *of_kid = named(ec, NULL, "ES256");
        json_t *of_alg = named(ec, "a", NULL);
        assert_int_equal(json_object_set_new(of_kid, "kid", mm_json_parse(VALUES[i], strlen(VALUES[i]), NULL)), 0);
        assert_int_equal(json_object_set_new(of_alg, "alg", mm_json_parse(VALUES[i], strlen(VALUES[i]), NULL)), 0);
        assert_skipped(of_kid, "kid");
        assert_skipped(of_alg, "unknown kty, crv or alg");
    }
}

static void a_kid_has_at_most_256_bytes(void **state)
{
    (void)state;
    char kid[MM_KID_MAX + 2] = {0};
    memset(kid, 'k', MM_KID_MAX);
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = parse_keys(json_pack("[o]", named(ec, kid, NULL)));
    assert_true(has(jwks, kid, MM_ES256));
    kid[MM_KID_MAX] = 'k';
    assert_skipped(named(ec, kid, NULL), "kid");
}

static void weak_rsa_keys_are_left_out(void **state)
{
    (void)state;
    char modulus[200];
    mm_base64url_encode((uint8_t[128]){[0] = 0xff, [127] = 1}, 128, modulus);
    assert_skipped(json_pack("{ss ss ss ss}", "kty", "RSA", "kid", "a", "n", modulus, "e", "AQAB"), "under 2048 bits");
    json_t *exponent = named(rsa, "a", NULL);
    assert_int_equal(json_object_set_new(exponent, "e", json_string("Aw")), 0);
    assert_skipped(exponent, "under 65537");
}

static void a_set_with_a_private_or_secret_key_is_refused_whole(void **state)
{
    (void)state;
    assert_refused("{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}", "key 1 is a private or secret one");
    assert_refused("{\"keys\":[{\"kty\":\"EC\"},{\"kty\":\"EC\",\"d\":\"AQ\"}]}", "key 2 is a private");
    assert_refused("{\"keys\":[{\"kty\":\"AKP\",\"priv\":\"AQ\"}]}", "private");
    assert_refused("{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\",\"qi\":null}]}", "private");
}

static void what_is_no_set_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"keys\":{}}",
        "{\"keys\":null}",
        "{\"keys\":\"[]\"}",
        "{\"keys\":[]",
        "{\"keys\":[]}{}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"kid\":\"a\",\"kid\":\"b\"}]}",
        "\xef\xbb\xbf{\"keys\":[]}",
        "{\"keys\":[\"\xff\"]}",
        "{\"keys\":[{\"kid\":\"\\u0000\"}]}",
        "{\"keys\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_refused(BAD[i], "JWK set: not a JSON object with an array");
    assert_null(parse_text("{\"keys\":[]}\0", 12));
    assert_null(parse_text("{\0\"\0k\0e\0y\0s\0", 12));
}

static void an_empty_set_has_no_key(void **state)
{
    (void)state;
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = parse_keys(json_array());
    assert_int_equal(mm_jwks_n_keys(jwks), 0);
    assert_false(has(jwks, "a", MM_ES256));
    assert_false(has(jwks, NULL, MM_ES256));
}

static void a_set_has_at_most_64_keys(void **state)
{
    (void)state;
    json_t *most = json_array();
    json_t *more = json_array();
    for (int i = 0; i <= MM_FOREIGN_KEYS_MAX; i++) {
        char kid[8];
        (void)snprintf(kid, sizeof kid, "k%d", i);
        assert_int_equal(json_array_append_new(more, named(ec, kid, NULL)), 0);
        if (i < MM_FOREIGN_KEYS_MAX)
            assert_int_equal(json_array_append_new(most, named(ec, kid, NULL)), 0);
    }
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = parse_keys(most);
    assert_int_equal(mm_jwks_n_keys(jwks), 64);
    assert_true(has(jwks, "k63", MM_ES256));
    assert_null(parse_keys(more));
}

static void a_set_has_at_most_a_mebibyte(void **state)
{
    (void)state;
    static const char SET[] = "{\"keys\":[]}";
    mm_cleanup(free) char *text = malloc(MM_FOREIGN_JWKS_MAX + 1);
    memset(text, ' ', MM_FOREIGN_JWKS_MAX + 1);
    memcpy(text, SET, strlen(SET));
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = parse_text(text, MM_FOREIGN_JWKS_MAX);
    assert_non_null(jwks);
    assert_null(parse_text(text, MM_FOREIGN_JWKS_MAX + 1));
}

/* libcrypto's own check of 64 such moduli takes six seconds. */
static void the_costliest_set_is_parsed_in_under_three_seconds(void **state)
{
    (void)state;
    uint8_t modulus[1024];
    char text[1400];
    memset(modulus, 0xa7, sizeof modulus);
    mm_base64url_encode(modulus, sizeof modulus, text);
    json_t *keys = json_array();
    for (int i = 0; i < MM_FOREIGN_KEYS_MAX; i++)
        assert_int_equal(json_array_append_new(keys, json_pack("{ss ss ss}", "kty", "RSA", "n", text, "e", "AQAB")), 0);
    struct timespec start;
    struct timespec end;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start), 0);
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = parse_keys(keys);
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end), 0);
    assert_int_equal(mm_jwks_n_keys(jwks), MM_FOREIGN_KEYS_MAX);
    assert_in_range(end.tv_sec - start.tv_sec, 0, 2);
}

static void *use_and_leave(void *context)
{
    struct mm_jwks *jwks = context;
    bool found = true;
    for (int i = 0; i < 100; i++) {
        struct mm_jwks *mine = mm_jwks_ref(jwks);
        found = found && mm_jwks_find(mine, "a", MM_ES256, NULL);
        mm_jwks_unref(mine);
    }
    mm_jwks_unref(jwks);
    return found ? NULL : context;
}

static void a_set_lives_until_its_last_user_leaves(void **state)
{
    (void)state;
    struct mm_jwks *jwks = parse_keys(json_pack("[o]", named(ec, "a", NULL)));
    pthread_t threads[4];
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_and_leave, mm_jwks_ref(jwks)), 0);
    mm_jwks_unref(jwks);
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_found_by_its_kid_and_for_its_alg_only),
        cmocka_unit_test(without_alg_an_ec_key_is_for_its_curves_and_an_rsa_key_for_rs256),
        cmocka_unit_test(without_kid_the_only_key_for_the_alg_is_found),
        cmocka_unit_test(keys_of_one_kid_are_all_left_out),
        cmocka_unit_test(a_kid_shared_with_an_unusable_key_is_the_usable_ones),
        cmocka_unit_test(what_cannot_be_used_is_left_out_and_counted),
        cmocka_unit_test(alg_and_kid_of_another_type_are_no_alg_and_no_kid_to_guess),
        cmocka_unit_test(a_kid_has_at_most_256_bytes),
        cmocka_unit_test(weak_rsa_keys_are_left_out),
        cmocka_unit_test(a_set_with_a_private_or_secret_key_is_refused_whole),
        cmocka_unit_test(what_is_no_set_is_refused),
        cmocka_unit_test(an_empty_set_has_no_key),
        cmocka_unit_test(a_set_has_at_most_64_keys),
        cmocka_unit_test(a_set_has_at_most_a_mebibyte),
        cmocka_unit_test(the_costliest_set_is_parsed_in_under_three_seconds),
        cmocka_unit_test(a_set_lives_until_its_last_user_leaves),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
