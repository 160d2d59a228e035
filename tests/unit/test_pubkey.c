/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public keys against the RFCs' own vectors, and against keys and signatures that an attacker would like to see accepted.
 */
#include "crypto/pubkey.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/rsa.h>

#include "tests/support/sign.h"
#include "util/base64url.h"

static const enum mm_algorithm ALGORITHMS[] = {MM_ES256, MM_ES384, MM_RS256, MM_PS256, MM_EDDSA};
static const struct mm_bytes DATA = {"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJtaW50In0", 40};

/* RFC 7638 section 3.1 */
#define RFC7638_N \
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj" \
    "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ" \
    "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK" \
    "nqDKgw"
static const char RFC7638_KEY[] = "{\"kty\":\"RSA\",\"n\":\"" RFC7638_N "\",\"e\":\"AQAB\",\"alg\":\"RS256\","
                                  "\"kid\":\"2011-04-29\"}";

/* RFC 8037 appendix A.2 */
static const char RFC8037_KEY[] =
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";

/* RFC 7515 appendix A.3 */
#define RFC7515_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define RFC7515_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
static const char RFC7515_KEY[] = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}";

static struct mm_pubkey *from_text(const char *text, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *jwk = mm_json_parse(text, strlen(text), err);
    assert_non_null(jwk);
    return mm_pubkey_from_jwk(jwk, err);
}

static struct mm_pubkey *accepted(const char *text)
{
    struct mm_error err = {0};
    struct mm_pubkey *key = from_text(text, &err);
    assert_string_equal(err.message, "");
    assert_non_null(key);
    return key;
}

static void assert_refused(const char *text)
{
    struct mm_error err = {0};
    assert_null(from_text(text, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
}

static bool verify_text(const struct mm_pubkey *key, enum mm_algorithm algorithm, const char *input,
                        const char *signature)
{
    uint8_t bytes[MM_SIGNATURE_MAX];
    size_t length;
    assert_true(mm_base64url_decode(signature, strlen(signature), bytes, &length));
    struct mm_error err = {0};
    return mm_pubkey_verify(key, algorithm, (struct mm_bytes){input, strlen(input)}, (struct mm_bytes){bytes, length},
                            &err);
}

static bool verify(const struct mm_pubkey *key, enum mm_algorithm algorithm, const struct test_signature *signature)
{
    struct mm_error err = {0};
    bool verified =
        mm_pubkey_verify(key, algorithm, DATA, (struct mm_bytes){signature->bytes, signature->length}, &err);
    assert_int_equal(err.code, verified ? MM_OK : MM_SIGNATURE_INVALID);
    return verified;
}

static void rsa_thumbprint_matches_rfc_7638(void **state)
{
    (void)state;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = accepted(RFC7638_KEY);
    assert_string_equal(mm_pubkey_thumbprint(key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_int_equal(mm_pubkey_type(key), MM_KEY_RSA);
    assert_int_equal(mm_pubkey_bits(key), 2048);
}

static void a_thumbprint_has_one_spelling(void **state)
{
    (void)state;
    static const char THUMBPRINT[] = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    static const char *const OTHERS[] = {
        "",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs=",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt", /* the same bytes */
        "NzbLsXh8uDCcd+6MNwXF4W/7noWXFZAfHkxZsRGC9Xs",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC/Xs",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X\n",
    };
    assert_true(mm_thumbprint_is_valid(THUMBPRINT, strlen(THUMBPRINT)));
    assert_false(mm_thumbprint_is_valid(THUMBPRINT, sizeof THUMBPRINT));
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++)
        if (mm_thumbprint_is_valid(OTHERS[i], strlen(OTHERS[i])))
            fail_msg("taken: %s", OTHERS[i]);
}

static void ed25519_matches_rfc_8037(void **state)
{
    (void)state;
    static const char INPUT[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    static const char SIGNATURE[] =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = accepted(RFC8037_KEY);
    assert_string_equal(mm_pubkey_thumbprint(key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_int_equal(mm_pubkey_type(key), MM_KEY_ED25519);
    assert_true(verify_text(key, MM_EDDSA, INPUT, SIGNATURE));
    assert_false(verify_text(key, MM_EDDSA, INPUT + 1, SIGNATURE));
}

static void es256_matches_rfc_7515(void **state)
{
    (void)state;
    static const char INPUT[] =
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmN"
        "vbS9pc19yb290Ijp0cnVlfQ";
    static const char SIGNATURE[] =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = accepted(RFC7515_KEY);
    assert_int_equal(mm_pubkey_type(key), MM_KEY_P256);
    assert_int_equal(mm_pubkey_bits(key), 256);
    assert_true(verify_text(key, MM_ES256, INPUT, SIGNATURE));
    assert_false(verify_text(key, MM_ES256, INPUT + 1, SIGNATURE));
}

static void every_algorithm_verifies_its_own_signatures_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ALGORITHMS); i++) {
        enum mm_algorithm algorithm = ALGORITHMS[i];
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(algorithm);
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *foreign_key = make_private_key(algorithm);
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(algorithm, private_key);
        struct test_signature signature = sign_jws(algorithm, private_key, DATA);
        struct test_signature foreign = sign_jws(algorithm, foreign_key, DATA);
        for (size_t j = 0; j < MM_ARRAY_SIZE(ALGORITHMS); j++)
            assert_int_equal(verify(key, ALGORITHMS[j], &signature), i == j);
        assert_false(verify(key, algorithm, &foreign));
        for (size_t byte = 0; byte < signature.length; byte++) {
            signature.bytes[byte] ^= 0x80;
            assert_false(verify(key, algorithm, &signature));
            signature.bytes[byte] ^= 0x80;
        }
    }
}

static void signature_of_another_length_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ALGORITHMS); i++) {
        enum mm_algorithm algorithm = ALGORITHMS[i];
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(algorithm);
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(algorithm, private_key);
        struct test_signature signature = sign_jws(algorithm, private_key, DATA);
        size_t right = signature.length;
        for (size_t length = 0; length <= right + 1; length++) {
            signature.length = length;
            assert_int_equal(verify(key, algorithm, &signature), length == right);
        }
    }
}

static void ecdsa_signature_in_der_is_refused(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_ES256);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(MM_ES256, private_key);
    struct test_signature der = sign_evp(MM_ES256, private_key, DATA, 0);
    assert_false(verify(key, MM_ES256, &der));
    der.length = 64;
    assert_false(verify(key, MM_ES256, &der));
}

/* DER has one form for a number with its top bit set, as half of them have, and one for a number shorter than its curve's. */
static void every_shape_of_r_and_s_is_understood(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_ES256);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(MM_ES256, private_key);
    bool seen_short = false;
    for (int i = 0; i < 20000 && !seen_short; i++) {
        struct test_signature signature = sign_jws(MM_ES256, private_key, DATA);
        assert_true(verify(key, MM_ES256, &signature));
        seen_short = signature.bytes[0] == 0 && signature.bytes[1] < 0x80;
    }
    assert_true(seen_short);
}

static void zero_and_oversized_r_and_s_are_refused(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_ES256);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(MM_ES256, private_key);
    struct test_signature signature = {.length = 64};
    assert_false(verify(key, MM_ES256, &signature));
    memset(signature.bytes, 0xff, 64);
    assert_false(verify(key, MM_ES256, &signature));
}

static void ps256_has_a_salt_of_32_bytes_and_no_other(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_PS256);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(MM_PS256, private_key);
    static const int SALTS[] = {0, 20, 31, 33, 64, 222};
    for (size_t i = 0; i < MM_ARRAY_SIZE(SALTS); i++) {
        struct test_signature signature = sign_evp(MM_PS256, private_key, DATA, SALTS[i]);
        assert_false(verify(key, MM_PS256, &signature));
    }
    struct test_signature signature = sign_evp(MM_PS256, private_key, DATA, 32);
    assert_true(verify(key, MM_PS256, &signature));
}

static void jwk_comes_back_as_the_same_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ALGORITHMS); i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(ALGORITHMS[i]);
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(ALGORITHMS[i], private_key);
        struct mm_error err = {0};
        mm_cleanup(json_decref) json_t *jwk = mm_pubkey_to_jwk(key, ALGORITHMS[i], &err);
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *again = mm_pubkey_from_jwk(jwk, &err);
        assert_non_null(again);
        assert_int_equal(mm_pubkey_type(again), mm_pubkey_type(key));
        assert_string_equal(mm_pubkey_thumbprint(again), mm_pubkey_thumbprint(key));
        assert_string_equal(mm_json_string(jwk, "kid"), mm_pubkey_thumbprint(key));
        assert_string_equal(mm_json_string(jwk, "use"), "sig");
        assert_string_equal(mm_json_string(jwk, "alg"), mm_algorithm_name(ALGORITHMS[i]));
        struct test_signature signature = sign_jws(ALGORITHMS[i], private_key, DATA);
        assert_true(verify(again, ALGORITHMS[i], &signature));
    }
}

static void jwk_with_a_private_member_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y
                   "\",\"d\":\"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI\"}");
    assert_refused("{\"kty\":\"RSA\",\"n\":\"" RFC7638_N "\",\"e\":\"AQAB\",\"p\":\"AQ\"}");
    assert_refused("{\"kty\":\"RSA\",\"n\":\"" RFC7638_N "\",\"e\":\"AQAB\",\"d\":null}");
}

static void jwk_of_an_unknown_kind_is_refused(void **state)
{
    (void)state;
    assert_refused("{}");
    assert_refused("[]");
    assert_refused("{\"kty\":\"oct\",\"k\":\"AAAA\"}");
    assert_refused("{\"kty\":\"ec\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"EC\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"Ed25519\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}");
    assert_refused("{\"kty\":1}");
}

static void jwk_for_another_use_is_refused(void **state)
{
    (void)state;
    mm_pubkey_free(accepted("{\"use\":\"sig\",\"kty\":\"RSA\",\"n\":\"" RFC7638_N "\",\"e\":\"AQAB\"}"));
    assert_refused("{\"use\":\"enc\",\"kty\":\"RSA\",\"n\":\"" RFC7638_N "\",\"e\":\"AQAB\"}");
    assert_refused("{\"use\":[\"sig\"],\"kty\":\"RSA\",\"n\":\"" RFC7638_N "\",\"e\":\"AQAB\"}");
}

static void jwk_with_malformed_parameters_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\"}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":7}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"\"}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "=\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}");
    assert_refused("{\"kty\":\"RSA\",\"n\":\"" RFC7638_N RFC7638_N RFC7638_N "\",\"e\":\"AQAB\"}");
    assert_refused("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURoA\"}");
}

static void point_off_its_curve_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_Y "\",\"y\":\"" RFC7515_X "\"}");
    uint8_t zero[65] = {4};
    struct mm_error err = {0};
    assert_null(mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){zero, 65}, &err));
    assert_null(mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){zero + 1, 1}, &err)); /* the point at infinity */
    assert_null(mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){zero, 0}, &err));
    assert_null(mm_pubkey_from_point(MM_KEY_RSA, (struct mm_bytes){zero, 65}, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
}

static void compressed_and_hybrid_points_are_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = accepted(RFC7515_KEY);
    uint8_t point[65] = {4};
    size_t length;
    assert_true(mm_base64url_decode(RFC7515_X, strlen(RFC7515_X), point + 1, &length));
    assert_true(mm_base64url_decode(RFC7515_Y, strlen(RFC7515_Y), point + 33, &length));
    struct mm_error err = {0};
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *plain =
        mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){point, 65}, &err);
    assert_string_equal(mm_pubkey_thumbprint(plain), mm_pubkey_thumbprint(key));
    for (uint8_t form = 2; form <= 7; form++) {
        point[0] = form;
        if (form == 4)
            continue;
        assert_null(mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){point, 65}, &err));
        assert_null(mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){point, 33}, &err));
    }
}

static void assert_exponent_refused(const char *exponent, size_t length)
{
    uint8_t modulus[256];
    size_t n;
    assert_true(mm_base64url_decode(RFC7638_N, strlen(RFC7638_N), modulus, &n));
    struct mm_error err = {0};
    assert_null(mm_pubkey_from_rsa((struct mm_bytes){modulus, n}, (struct mm_bytes){exponent, length}, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
}

static void even_tiny_and_huge_rsa_exponents_are_refused(void **state)
{
    (void)state;
    assert_exponent_refused("", 0);
    assert_exponent_refused("\1", 1);
    assert_exponent_refused("\3", 1);
    assert_exponent_refused("\xff\xff", 2);
    assert_exponent_refused("\1\0\2", 3);
    assert_exponent_refused("\1\0\0\0\0\0\0\0\1", 9);
}

static void assert_modulus_refused(unsigned bits, uint8_t flip)
{
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *pair = EVP_RSA_gen(bits);
    BIGNUM *n = NULL;
    uint8_t modulus[1024];
    assert_true(EVP_PKEY_get_bn_param(pair, "n", &n));
    size_t length = (size_t)BN_bn2bin(n, modulus);
    BN_free(n);
    modulus[length - 1] ^= flip;
    struct mm_error err = {0};
    assert_null(mm_pubkey_from_rsa((struct mm_bytes){modulus, length}, (struct mm_bytes){"\1\0\1", 3}, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
}

static void rsa_moduli_out_of_bounds_or_even_are_refused(void **state)
{
    (void)state;
    assert_modulus_refused(1024, 0);
    assert_modulus_refused(2040, 0);
    assert_modulus_refused(4104, 0);
    assert_modulus_refused(2048, 1);
}

static void x_and_y_must_each_have_their_own_length(void **state)
{
    (void)state;
    uint8_t point[64];
    size_t length;
    assert_true(mm_base64url_decode(RFC7515_X, strlen(RFC7515_X), point, &length));
    assert_true(mm_base64url_decode(RFC7515_Y, strlen(RFC7515_Y), point + 32, &length));
    char x[64];
    char y[64];
    mm_base64url_encode(point, 31, x);
    mm_base64url_encode(point + 31, 33, y);
    mm_cleanup(json_decref) json_t *jwk = json_pack("{ss ss ss ss}", "kty", "EC", "crv", "P-256", "x", x, "y", y);
    struct mm_error err = {0};
    assert_null(mm_pubkey_from_jwk(jwk, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
}

static void leading_zeros_make_no_other_rsa_key(void **state)
{
    (void)state;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = accepted(RFC7638_KEY);
    uint8_t modulus[260] = {0};
    size_t length;
    assert_true(mm_base64url_decode(RFC7638_N, strlen(RFC7638_N), modulus + 4, &length));
    struct mm_error err = {0};
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *padded =
        mm_pubkey_from_rsa((struct mm_bytes){modulus, 260}, (struct mm_bytes){"\0\1\0\1", 4}, &err);
    assert_string_equal(mm_pubkey_thumbprint(padded), mm_pubkey_thumbprint(key));
}

static void names_of_other_algorithms_are_unknown(void **state)
{
    (void)state;
    static const char *const OTHERS[] = {"none", "HS256", "ES256K", "ES512", "es256", "Ed25519", "", "ES2566"};
    enum mm_algorithm algorithm;
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++)
        assert_false(mm_algorithm_parse(OTHERS[i], &algorithm));
    for (size_t i = 0; i < MM_ARRAY_SIZE(ALGORITHMS); i++) {
        assert_true(mm_algorithm_parse(mm_algorithm_name(ALGORITHMS[i]), &algorithm));
        assert_int_equal(algorithm, ALGORITHMS[i]);
    }
}

struct shared_check {
    const struct mm_pubkey *key;
    struct test_signature good;
    struct test_signature bad;
};

static void *check_many_times(void *context)
{
    const struct shared_check *check = context;
    struct mm_bytes good = {check->good.bytes, check->good.length};
    struct mm_bytes bad = {check->bad.bytes, check->bad.length};
    size_t n_wrong = 0;
    for (int i = 0; i < 200; i++) {
        n_wrong += !mm_pubkey_verify(check->key, MM_ES256, DATA, good, NULL);
        n_wrong += mm_pubkey_verify(check->key, MM_ES256, DATA, bad, NULL);
    }
    return n_wrong ? context : NULL;
}

static void one_key_serves_many_threads(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_ES256);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(MM_ES256, private_key);
    struct shared_check check = {.key = key, .good = sign_jws(MM_ES256, private_key, DATA)};
    check.bad = check.good;
    check.bad.bytes[40] ^= 1;
    pthread_t threads[4];
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_many_times, &check), 0);
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rsa_thumbprint_matches_rfc_7638),
        cmocka_unit_test(a_thumbprint_has_one_spelling),
        cmocka_unit_test(ed25519_matches_rfc_8037),
        cmocka_unit_test(es256_matches_rfc_7515),
        cmocka_unit_test(every_algorithm_verifies_its_own_signatures_only),
        cmocka_unit_test(signature_of_another_length_is_refused),
        cmocka_unit_test(ecdsa_signature_in_der_is_refused),
        cmocka_unit_test(every_shape_of_r_and_s_is_understood),
        cmocka_unit_test(zero_and_oversized_r_and_s_are_refused),
        cmocka_unit_test(ps256_has_a_salt_of_32_bytes_and_no_other),
        cmocka_unit_test(jwk_comes_back_as_the_same_key),
        cmocka_unit_test(jwk_with_a_private_member_is_refused),
        cmocka_unit_test(jwk_of_an_unknown_kind_is_refused),
        cmocka_unit_test(jwk_for_another_use_is_refused),
        cmocka_unit_test(jwk_with_malformed_parameters_is_refused),
        cmocka_unit_test(point_off_its_curve_is_refused),
        cmocka_unit_test(compressed_and_hybrid_points_are_refused),
        cmocka_unit_test(even_tiny_and_huge_rsa_exponents_are_refused),
        cmocka_unit_test(rsa_moduli_out_of_bounds_or_even_are_refused),
        cmocka_unit_test(x_and_y_must_each_have_their_own_length),
        cmocka_unit_test(leading_zeros_make_no_other_rsa_key),
        cmocka_unit_test(names_of_other_algorithms_are_unknown),
        cmocka_unit_test(one_key_serves_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
