/* SPDX-License-Identifier: Apache-2.0 */
#include "sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "util/base64url.h"

enum { COORDINATE_MAX = 66 };

EVP_PKEY *make_private_key(enum mm_algorithm algorithm)
{
    EVP_PKEY *key = NULL;
    switch (mm_algorithm_key_type(algorithm)) {
    case MM_KEY_P256:
        key = EVP_EC_gen("P-256");
        break;
    case MM_KEY_P384:
        key = EVP_EC_gen("P-384");
        break;
    case MM_KEY_RSA:
        key = EVP_RSA_gen(2048);
        break;
    case MM_KEY_ED25519:
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        break;
    case MM_KEY_P521:
        key = EVP_EC_gen("P-521");
        break;
    }
    assert_non_null(key);
    return key;
}

EVP_PKEY *make_key_of_one(void)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    uint8_t point[65];
    assert_int_equal(EC_POINT_point2oct(group, EC_GROUP_get0_generator(group), POINT_CONVERSION_UNCOMPRESSED, point,
                                        sizeof point, NULL),
                     sizeof point);
    EC_GROUP_free(group);
    uint8_t scalar = 1;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){"P-256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, &scalar, sizeof scalar),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *import = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(import), 1);
    assert_int_equal(EVP_PKEY_fromdata(import, &key, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(import);
    return key;
}

/* A number of the key, big-endian, into `out` with room for RSA-8192. */
static struct mm_bytes number_of(const EVP_PKEY *key, const char *name, uint8_t *out)
{
    BIGNUM *number = NULL;
    assert_true(EVP_PKEY_get_bn_param(key, name, &number));
    struct mm_bytes bytes = {out, (size_t)BN_bn2bin(number, out)};
    BN_free(number);
    return bytes;
}

static struct mm_pubkey *rsa_pubkey(const EVP_PKEY *key, struct mm_error *err)
{
    uint8_t modulus[1024];
    uint8_t exponent[8];
    struct mm_bytes n = number_of(key, OSSL_PKEY_PARAM_RSA_N, modulus);
    return mm_pubkey_from_rsa(n, number_of(key, OSSL_PKEY_PARAM_RSA_E, exponent), err);
}

struct mm_pubkey *make_pubkey(enum mm_algorithm algorithm, const EVP_PKEY *key)
{
    struct mm_error err = {0};
    struct mm_pubkey *pubkey;
    enum mm_key_type type = mm_algorithm_key_type(algorithm);
    if (type == MM_KEY_RSA) {
        pubkey = rsa_pubkey(key, &err);
    } else {
        uint8_t point[128];
        size_t length;
        const char *name = type == MM_KEY_ED25519 ? OSSL_PKEY_PARAM_PUB_KEY : OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY;
        assert_true(EVP_PKEY_get_octet_string_param(key, name, point, sizeof point, &length));
        pubkey = mm_pubkey_from_point(type, (struct mm_bytes){point, length}, &err);
    }
    assert_string_equal(err.message, "");
    assert_non_null(pubkey);
    return pubkey;
}

static json_t *base64url_of(struct mm_bytes bytes)
{
    char text[2048];
    mm_base64url_encode(bytes.data, bytes.length, text);
    return json_string(text);
}

static json_t *make_rsa_jwk(const EVP_PKEY *key)
{
    uint8_t modulus[1024];
    uint8_t exponent[8];
    return json_pack("{ss so so}", "kty", "RSA", "n", base64url_of(number_of(key, OSSL_PKEY_PARAM_RSA_N, modulus)), "e",
                     base64url_of(number_of(key, OSSL_PKEY_PARAM_RSA_E, exponent)));
}

json_t *make_jwk(const EVP_PKEY *key, const char *kid, const char *alg)
{
    json_t *jwk;
    uint8_t point[1 + 2 * COORDINATE_MAX];
    size_t length;
    if (EVP_PKEY_is_a(key, "RSA")) {
        jwk = make_rsa_jwk(key);
    } else if (EVP_PKEY_is_a(key, "ED25519")) {
        assert_true(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &length));
        jwk = json_pack("{ss ss so}", "kty", "OKP", "crv", "Ed25519", "x",
                        base64url_of((struct mm_bytes){point, length}));
    } else {
        assert_true(
            EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof point, &length));
        size_t half = length / 2;
        jwk = json_pack("{ss ss so so}", "kty", "EC", "crv",
                        half == 32   ? "P-256"
                        : half == 48 ? "P-384"
                                     : "P-521",
                        "x", base64url_of((struct mm_bytes){point + 1, half}), "y",
                        base64url_of((struct mm_bytes){point + 1 + half, half}));
    }
    assert_non_null(jwk);
    if (kid)
        assert_int_equal(json_object_set_new(jwk, "kid", json_string(kid)), 0);
    if (alg)
        assert_int_equal(json_object_set_new(jwk, "alg", json_string(alg)), 0);
    return jwk;
}

struct test_signature sign_evp(enum mm_algorithm algorithm, EVP_PKEY *key, struct mm_bytes data, int salt_length)
{
    static const char *const DIGESTS[] = {
        [MM_ES256] = "SHA256", [MM_ES384] = "SHA384", [MM_ES512] = "SHA512", [MM_RS256] = "SHA256",
        [MM_RS384] = "SHA384", [MM_RS512] = "SHA512", [MM_PS256] = "SHA256", [MM_PS384] = "SHA384",
        [MM_PS512] = "SHA512", [MM_EDDSA] = NULL,
    };
    struct test_signature signature = {.length = sizeof signature.bytes};
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *settings;
    assert_true(EVP_DigestSignInit_ex(context, &settings, DIGESTS[algorithm], NULL, NULL, key, NULL));
    if (algorithm == MM_PS256 || algorithm == MM_PS384 || algorithm == MM_PS512) {
        assert_true(EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING));
        assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, salt_length));
    }
    assert_true(EVP_DigestSign(context, signature.bytes, &signature.length, data.data, data.length));
    EVP_MD_CTX_free(context);
    return signature;
}

struct test_signature sign_jws(enum mm_algorithm algorithm, EVP_PKEY *key, struct mm_bytes data)
{
    struct test_signature made = sign_evp(algorithm, key, data, RSA_PSS_SALTLEN_DIGEST);
    if (algorithm != MM_ES256 && algorithm != MM_ES384 && algorithm != MM_ES512)
        return made;
    int half = algorithm == MM_ES256 ? 32 : algorithm == MM_ES384 ? 48 : 66;
    const uint8_t *at = made.bytes;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)made.length);
    struct test_signature raw = {.length = 2 * (size_t)half};
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw.bytes, half), half);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw.bytes + half, half), half);
    ECDSA_SIG_free(pair);
    return raw;
}
