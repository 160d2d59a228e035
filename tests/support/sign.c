/* SPDX-License-Identifier: Apache-2.0 */
#include "sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

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
    }
    assert_non_null(key);
    return key;
}

static struct mm_pubkey *rsa_pubkey(const EVP_PKEY *key, struct mm_error *err)
{
    BIGNUM *n = NULL;
    BIGNUM *e = NULL;
    uint8_t modulus[512];
    uint8_t exponent[8];
    assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n));
    assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e));
    struct mm_bytes n_bytes = {modulus, (size_t)BN_bn2bin(n, modulus)};
    struct mm_bytes e_bytes = {exponent, (size_t)BN_bn2bin(e, exponent)};
    BN_free(n);
    BN_free(e);
    return mm_pubkey_from_rsa(n_bytes, e_bytes, err);
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

struct test_signature sign_evp(enum mm_algorithm algorithm, EVP_PKEY *key, struct mm_bytes data, int salt_length)
{
    static const char *const DIGESTS[] = {
        [MM_ES256] = "SHA256", [MM_ES384] = "SHA384", [MM_RS256] = "SHA256", [MM_PS256] = "SHA256", [MM_EDDSA] = NULL,
    };
    struct test_signature signature = {.length = sizeof signature.bytes};
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *settings;
    assert_true(EVP_DigestSignInit_ex(context, &settings, DIGESTS[algorithm], NULL, NULL, key, NULL));
    if (algorithm == MM_PS256) {
        assert_true(EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING));
        assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, salt_length));
    }
    assert_true(EVP_DigestSign(context, signature.bytes, &signature.length, data.data, data.length));
    EVP_MD_CTX_free(context);
    return signature;
}

struct test_signature sign_jws(enum mm_algorithm algorithm, EVP_PKEY *key, struct mm_bytes data)
{
    struct test_signature made = sign_evp(algorithm, key, data, 32);
    if (algorithm != MM_ES256 && algorithm != MM_ES384)
        return made;
    int half = algorithm == MM_ES256 ? 32 : 48;
    const uint8_t *at = made.bytes;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)made.length);
    struct test_signature raw = {.length = 2 * (size_t)half};
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw.bytes, half), half);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw.bytes + half, half), half);
    ECDSA_SIG_free(pair);
    return raw;
}
