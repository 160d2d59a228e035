/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compact JWTs: what is put together comes apart again, and none of the known ways to fool a verifier works.
 */
#include "token/jws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/hmac.h>

#include "tests/support/sign.h"
#include "util/base64url.h"

static const char PAYLOAD[] = "{\"iss\":\"https://mint.example.com\",\"exp\":1800000000}";

struct signer {
    enum mm_algorithm algorithm;
    EVP_PKEY *private_key;
    struct mm_pubkey *key;
    json_t *jwks; /* of this key alone */
};

static struct signer es256;
static struct signer rs256;
static struct signer eddsa;

static json_t *set_of(json_t *jwk)
{
    json_t *jwks = json_pack("{s[o]}", "keys", jwk);
    assert_non_null(jwks);
    return jwks;
}

static struct signer make_signer(enum mm_algorithm algorithm)
{
    struct signer signer = {.algorithm = algorithm, .private_key = make_private_key(algorithm)};
    signer.key = make_pubkey(algorithm, signer.private_key);
    struct mm_error err = {0};
    signer.jwks = set_of(mm_pubkey_to_jwk(signer.key, algorithm, &err));
    return signer;
}

static void free_signer(struct signer *signer)
{
    EVP_PKEY_free(signer->private_key);
    mm_pubkey_free(signer->key);
    json_decref(signer->jwks);
}

static int set_up(void **state)
{
    (void)state;
    es256 = make_signer(MM_ES256);
    rs256 = make_signer(MM_RS256);
    eddsa = make_signer(MM_EDDSA);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free_signer(&es256);
    free_signer(&rs256);
    free_signer(&eddsa);
    return 0;
}

static char *compact_of(const char *header, const char *payload, struct mm_bytes signature)
{
    struct mm_error err = {0};
    mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), payload, strlen(payload), &err);
    char *compact = mm_jws_compact(input, signature, &err);
    assert_non_null(compact);
    return compact;
}

/* A JWT with `header` as it is, signed with the signer's own algorithm whatever the header says. */
static char *sign_header(const struct signer *signer, const char *header)
{
    struct mm_error err = {0};
    mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), PAYLOAD, strlen(PAYLOAD), &err);
    struct test_signature signature =
        sign_jws(signer->algorithm, signer->private_key, (struct mm_bytes){input, strlen(input)});
    return compact_of(header, PAYLOAD, (struct mm_bytes){signature.bytes, signature.length});
}

static char *sign_as(const struct signer *signer, const char *alg, const char *kid)
{
    mm_cleanup(json_decref) json_t *header = json_pack("{ss ss ss}", "alg", alg, "kid", kid, "typ", "at+jwt");
    struct mm_error err = {0};
    mm_cleanup(free) char *text = mm_json_compact(header, &err);
    return sign_header(signer, text);
}

static char *sign(const struct signer *signer)
{
    return sign_as(signer, mm_algorithm_name(signer->algorithm), mm_pubkey_thumbprint(signer->key));
}

static bool parses(const char *compact)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    struct mm_error err = {0};
    bool parsed = mm_jws_parse(compact, &jws, &err);
    assert_int_equal(err.code, parsed ? MM_OK : MM_TOKEN_INVALID);
    assert_int_equal(parsed, jws.payload != NULL);
    return parsed;
}

/* Of a JWT that parses. */
static bool verifies(const char *compact, const json_t *jwks)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    struct mm_error err = {0};
    assert_true(mm_jws_parse(compact, &jws, &err));
    bool verified = mm_jws_verify(&jws, compact, jwks, &err);
    assert_int_equal(err.code, verified ? MM_OK : MM_TOKEN_INVALID);
    return verified;
}

static void signed_jwt_verifies_against_its_key_set(void **state)
{
    (void)state;
    const struct signer *signers[] = {&es256, &rs256, &eddsa};
    for (size_t i = 0; i < MM_ARRAY_SIZE(signers); i++) {
        mm_cleanup(free) char *compact = sign(signers[i]);
        assert_true(verifies(compact, signers[i]->jwks));
    }
}

static void parts_come_back_as_they_went_in(void **state)
{
    (void)state;
    static const char HEADER[] = "{\"alg\":\"ES256\"}";
    mm_cleanup(free) char *compact = compact_of(HEADER, PAYLOAD, (struct mm_bytes){"\1\2\3", 3});
    assert_string_equal(
        compact, "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL21pbnQuZXhhbXBsZS5jb20iLCJleHAiOjE4MDAwMDAwMDB9.AQID");
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    struct mm_error err = {0};
    assert_true(mm_jws_parse(compact, &jws, &err));
    assert_string_equal(mm_json_string(jws.header, "alg"), "ES256");
    assert_int_equal(mm_json_integer(jws.payload, "exp", 0), 1800000000);
    assert_int_equal(jws.signing_input_length, strlen(compact) - 5);
    assert_int_equal(jws.signature_length, 3);
    assert_memory_equal(jws.signature, "\1\2\3", 3);
}

static void changed_jwt_does_not_verify(void **state)
{
    (void)state;
    mm_cleanup(free) char *compact = sign(&es256);
    mm_cleanup(free) char *other =
        compact_of("{\"alg\":\"ES256\"}", "{\"iss\":\"https://evil.example\"}", (struct mm_bytes){"x", 1});
    const char *signature = strrchr(compact, '.');
    const char *payload = strchr(other, '.');
    char *forged = NULL;
    assert_true(asprintf(&forged, "%.*s%.*s%s", (int)(strchr(compact, '.') - compact), compact,
                         (int)(strrchr(other, '.') - payload), payload, signature) > 0);
    assert_false(verifies(forged, es256.jwks));
    free(forged);
}

static void unsigned_jwt_is_refused(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"none", "None", "NONE", "nOnE", ""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        mm_cleanup(free) char *compact = sign_as(&es256, NAMES[i], mm_pubkey_thumbprint(es256.key));
        assert_false(parses(compact));
        *(strrchr(compact, '.') + 1) = '\0';
        assert_false(parses(compact));
    }
    mm_cleanup(free) char *stripped = sign(&es256);
    *(strrchr(stripped, '.') + 1) = '\0';
    assert_false(parses(stripped));
}

static void hmac_with_the_public_key_is_refused(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *header =
        json_pack("{ss ss}", "alg", "HS256", "kid", mm_pubkey_thumbprint(rs256.key));
    mm_cleanup(free) char *text = mm_json_compact(header, &err);
    mm_cleanup(free) char *input = mm_jws_signing_input(text, strlen(text), PAYLOAD, strlen(PAYLOAD), &err);
    const char *secret = mm_json_string(json_array_get(json_object_get(rs256.jwks, "keys"), 0), "n");
    uint8_t mac[32];
    unsigned length = sizeof mac;
    assert_non_null(
        HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)input, strlen(input), mac, &length));
    mm_cleanup(free) char *compact = mm_jws_compact(input, (struct mm_bytes){mac, length}, &err);
    assert_false(parses(compact));
}

static void algorithm_of_another_key_type_is_refused(void **state)
{
    (void)state;
    mm_cleanup(free) char *as_rsa = sign_as(&es256, "RS256", mm_pubkey_thumbprint(es256.key));
    mm_cleanup(free) char *as_ec = sign_as(&rs256, "ES256", mm_pubkey_thumbprint(rs256.key));
    mm_cleanup(free) char *as_pss = sign_as(&rs256, "PS256", mm_pubkey_thumbprint(rs256.key));
    assert_false(verifies(as_rsa, es256.jwks));
    assert_false(verifies(as_ec, rs256.jwks));
    assert_false(verifies(as_pss, rs256.jwks));

    /* Even where the set is wrong about its own key. */
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *lying = set_of(mm_pubkey_to_jwk(es256.key, MM_RS256, &err));
    assert_false(verifies(as_rsa, lying));
}

static void kid_of_another_key_is_refused(void **state)
{
    (void)state;
    struct signer other = make_signer(MM_ES256);
    mm_cleanup(free) char *borrowed = sign_as(&es256, "ES256", mm_pubkey_thumbprint(other.key));
    mm_cleanup(free) char *unknown = sign_as(&es256, "ES256", "no-such-key");
    mm_cleanup(json_decref) json_t *both = json_deep_copy(es256.jwks);
    assert_int_equal(json_array_extend(json_object_get(both, "keys"), json_object_get(other.jwks, "keys")), 0);
    mm_cleanup(free) char *good = sign(&es256);
    assert_true(verifies(good, both));
    assert_false(verifies(borrowed, both));
    assert_false(verifies(unknown, both));
    assert_false(verifies(good, other.jwks));
    free_signer(&other);
}

static void kid_must_be_there_and_a_string(void **state)
{
    (void)state;
    mm_cleanup(free) char *missing = sign_header(&es256, "{\"alg\":\"ES256\"}");
    mm_cleanup(free) char *number = sign_header(&es256, "{\"alg\":\"ES256\",\"kid\":1}");
    assert_false(verifies(missing, es256.jwks));
    assert_false(verifies(number, es256.jwks));
}

static void two_keys_of_one_kid_are_refused(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *twice = json_deep_copy(es256.jwks);
    assert_int_equal(json_array_extend(json_object_get(twice, "keys"), json_object_get(es256.jwks, "keys")), 0);
    mm_cleanup(free) char *compact = sign(&es256);
    assert_false(verifies(compact, twice));
}

static void key_sets_own_faults_are_refused(void **state)
{
    (void)state;
    mm_cleanup(free) char *compact = sign(&es256);
    static const char *const SETS[] = {"{}", "[]", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[1,null,\"x\",[]]}"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(SETS); i++) {
        struct mm_error err = {0};
        mm_cleanup(json_decref) json_t *jwks = mm_json_parse(SETS[i], strlen(SETS[i]), &err);
        assert_false(verifies(compact, jwks));
    }
    static const char *const NEEDED[] = {"kty", "crv", "x", "y", "kid", "alg"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NEEDED); i++) {
        mm_cleanup(json_decref) json_t *jwks = json_deep_copy(es256.jwks);
        assert_int_equal(json_object_del(json_array_get(json_object_get(jwks, "keys"), 0), NEEDED[i]), 0);
        assert_false(verifies(compact, jwks));
    }
    assert_false(verifies(compact, NULL));
}

static void key_in_the_header_is_ignored(void **state)
{
    (void)state;
    struct signer attacker = make_signer(MM_ES256);
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *header =
        json_pack("{ss ss so}", "alg", "ES256", "kid", mm_pubkey_thumbprint(es256.key), "jwk",
                  mm_pubkey_to_jwk(attacker.key, MM_ES256, &err));
    mm_cleanup(free) char *text = mm_json_compact(header, &err);
    mm_cleanup(free) char *compact = sign_header(&attacker, text);
    assert_false(verifies(compact, es256.jwks));
    free_signer(&attacker);
}

static void critical_extensions_are_refused(void **state)
{
    (void)state;
    static const char *const HEADERS[] = {
        "{\"alg\":\"ES256\",\"crit\":[\"exp\"],\"exp\":1}",
        "{\"alg\":\"ES256\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"ES256\",\"crit\":[]}",
        "{\"alg\":\"ES256\",\"crit\":null}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADERS); i++) {
        mm_cleanup(free) char *compact = sign_header(&es256, HEADERS[i]);
        assert_false(parses(compact));
    }
}

static void header_and_payload_are_plain_objects(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "{\"alg\":\"ES256\",\"alg\":\"RS256\"}",
        "{\"alg\":\"ES256\",\"\\u0061lg\":\"ES256\"}",
        "[\"ES256\"]",
        "\"ES256\"",
        "",
        "{\"alg\":\"ES256\"} x",
        "{\"alg\":\"ES256\"",
        "{\"alg\":\"ES\xff\"}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        mm_cleanup(free) char *as_header = compact_of(BAD[i], PAYLOAD, (struct mm_bytes){"x", 1});
        mm_cleanup(free) char *as_payload = compact_of("{\"alg\":\"ES256\"}", BAD[i], (struct mm_bytes){"x", 1});
        assert_false(parses(as_header));
        assert_false(parses(as_payload));
    }
    mm_cleanup(free) char *without_alg = compact_of("{}", PAYLOAD, (struct mm_bytes){"x", 1});
    mm_cleanup(free) char *numeric_alg = compact_of("{\"alg\":256}", PAYLOAD, (struct mm_bytes){"x", 1});
    assert_false(parses(without_alg));
    assert_false(parses(numeric_alg));
}

static void spelling_is_strict(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",
        ".",
        "..",
        "...",
        "eyJhbGciOiJFUzI1NiJ9",
        "eyJhbGciOiJFUzI1NiJ9.e30",
        "eyJhbGciOiJFUzI1NiJ9.e30.",
        "eyJhbGciOiJFUzI1NiJ9.e30.AQ.",
        "eyJhbGciOiJFUzI1NiJ9.e30.AQ..",
        ".eyJhbGciOiJFUzI1NiJ9.e30.AQ",
        "eyJhbGciOiJFUzI1NiJ9.e30.AQ.AQ.AQ", /* as an encrypted JWT would have */
        "eyJhbGciOiJFUzI1NiJ9.e30.AQ==",
        "eyJhbGciOiJFUzI1NiJ9.e30.AR", /* bits left over */
        "eyJhbGciOiJFUzI1NiJ9.e30=.AQ",
        "eyJhbGciOiJFUzI1NiJ9.e30.A+",
        " eyJhbGciOiJFUzI1NiJ9.e30.AQ",
        "eyJhbGciOiJFUzI1NiJ9.e30.AQ\n",
        "eyJhbGciOiJFUzI1NiJ9.e3\r\n0.AQ",
    };
    assert_true(parses("eyJhbGciOiJFUzI1NiJ9.e30.AQ"));
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(parses(BAD[i]));
}

/* A JWT of exactly `length` characters: the payload's string makes up the rest. */
static char *jwt_of_length(size_t length)
{
    static const char HEADER[] = "{\"alg\":\"ES256\"}";
    size_t wanted = length - mm_base64url_length(strlen(HEADER)) - strlen("..AQ");
    size_t n = wanted * 3 / 4;
    mm_cleanup(free) char *payload = calloc(1, n + 1);
    memset(payload, 'a', n);
    memcpy(payload, "{\"a\":\"", 6);
    memcpy(payload + n - 2, "\"}", 2);
    char *compact = compact_of(HEADER, payload, (struct mm_bytes){"\1", 1});
    assert_int_equal(strlen(compact), length);
    return compact;
}

static void jwt_over_16_kib_is_refused(void **state)
{
    (void)state;
    mm_cleanup(free) char *longest = jwt_of_length(MM_JWT_MAX);
    assert_true(parses(longest));
    mm_cleanup(free) char *longer = jwt_of_length(MM_JWT_MAX + 2);
    assert_false(parses(longer));
    mm_cleanup(free) char *just_longer = calloc(1, MM_JWT_MAX + 2);
    memcpy(just_longer, longest, MM_JWT_MAX);
    just_longer[MM_JWT_MAX] = 'A';
    assert_false(parses(just_longer));
}

static void signature_over_1024_bytes_is_refused(void **state)
{
    (void)state;
    static const uint8_t BYTES[MM_FOREIGN_SIGNATURE_MAX + 1];
    mm_cleanup(free) char *most =
        compact_of("{\"alg\":\"RS256\"}", "{}", (struct mm_bytes){BYTES, MM_FOREIGN_SIGNATURE_MAX});
    mm_cleanup(free) char *more =
        compact_of("{\"alg\":\"RS256\"}", "{}", (struct mm_bytes){BYTES, MM_FOREIGN_SIGNATURE_MAX + 1});
    assert_true(parses(most));
    assert_false(parses(more));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signed_jwt_verifies_against_its_key_set),
        cmocka_unit_test(parts_come_back_as_they_went_in),
        cmocka_unit_test(changed_jwt_does_not_verify),
        cmocka_unit_test(unsigned_jwt_is_refused),
        cmocka_unit_test(hmac_with_the_public_key_is_refused),
        cmocka_unit_test(algorithm_of_another_key_type_is_refused),
        cmocka_unit_test(kid_of_another_key_is_refused),
        cmocka_unit_test(kid_must_be_there_and_a_string),
        cmocka_unit_test(two_keys_of_one_kid_are_refused),
        cmocka_unit_test(key_sets_own_faults_are_refused),
        cmocka_unit_test(key_in_the_header_is_ignored),
        cmocka_unit_test(critical_extensions_are_refused),
        cmocka_unit_test(header_and_payload_are_plain_objects),
        cmocka_unit_test(spelling_is_strict),
        cmocka_unit_test(jwt_over_16_kib_is_refused),
        cmocka_unit_test(signature_over_1024_bytes_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
