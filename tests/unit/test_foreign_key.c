/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other people's public keys: each good for one algorithm, sound, public, meant for signatures, and cheap to take.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/rsa.h>

#include "tests/support/sign.h"
#include "util/base64url.h"

static const struct mm_bytes DATA = {"header.payload", 14};

static struct mm_pubkey *take(const json_t *jwk, enum mm_algorithm algorithm)
{
    struct mm_error err = {0};
    struct mm_pubkey *key = mm_pubkey_from_foreign_jwk(jwk, algorithm, &err);
    assert_int_equal(err.code, key ? MM_OK : MM_KEY_CUSTODY);
    return key;
}

static bool is_taken(const json_t *jwk, enum mm_algorithm algorithm)
{
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = take(jwk, algorithm);
    return key != NULL;
}

static bool verify(const struct mm_pubkey *key, enum mm_algorithm algorithm, const struct test_signature *signature)
{
    struct mm_error err = {0};
    bool verified =
        mm_pubkey_verify(key, algorithm, DATA, (struct mm_bytes){signature->bytes, signature->length}, &err);
    assert_int_equal(err.code, verified ? MM_OK : MM_SIGNATURE_INVALID);
    return verified;
}

static json_t *new_jwk(enum mm_algorithm algorithm)
{
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *key = make_private_key(algorithm);
    return make_jwk(key, NULL, NULL);
}

static bool is_taken_with(json_t *jwk, const char *name, json_t *value, enum mm_algorithm algorithm)
{
    mm_cleanup(json_decref) json_t *changed = json_copy(jwk);
    assert_int_equal(json_object_set_new(changed, name, value), 0);
    return is_taken(changed, algorithm);
}

/* Against the key as it is pinned to each algorithm in turn: only where key and signature are of one algorithm. */
static void check_pins(enum mm_algorithm signer)
{
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(signer);
    mm_cleanup(json_decref) json_t *jwk = make_jwk(private_key, NULL, NULL);
    struct test_signature signature = sign_jws(signer, private_key, DATA);
    for (int pin = 0; pin < MM_N_FOREIGN_ALGORITHMS; pin++) {
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = take(jwk, (enum mm_algorithm)pin);
        bool fits = mm_algorithm_key_type((enum mm_algorithm)pin) == mm_algorithm_key_type(signer);
        assert_int_equal(key != NULL, fits);
        for (int asked = 0; key && asked < MM_N_FOREIGN_ALGORITHMS; asked++)
            assert_int_equal(verify(key, (enum mm_algorithm)asked, &signature), asked == pin && asked == (int)signer);
    }
}

static void a_key_verifies_by_the_algorithm_it_is_pinned_to_and_no_other(void **state)
{
    (void)state;
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++)
        check_pins((enum mm_algorithm)i);
}

static void a_signature_with_any_byte_changed_or_missing_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        enum mm_algorithm algorithm = (enum mm_algorithm)i;
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(algorithm);
        mm_cleanup(json_decref) json_t *jwk = make_jwk(private_key, NULL, NULL);
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = take(jwk, algorithm);
        struct test_signature signature = sign_jws(algorithm, private_key, DATA);
        assert_true(verify(key, algorithm, &signature));
        for (size_t byte = 0; byte < signature.length; byte++) {
            signature.bytes[byte] ^= 1;
            assert_false(verify(key, algorithm, &signature));
            signature.bytes[byte] ^= 1;
        }
        signature.length--;
        assert_false(verify(key, algorithm, &signature));
        signature.length += 2;
        assert_false(verify(key, algorithm, &signature));
    }
}

/* With short r and s the signature's DER is short as well: both of its forms of length occur. */
static void es512_signatures_of_every_length_of_r_and_s_are_understood(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_ES512);
    mm_cleanup(json_decref) json_t *jwk = make_jwk(private_key, NULL, NULL);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = take(jwk, MM_ES512);
    for (int i = 0; i < 100; i++) {
        struct test_signature signature = sign_jws(MM_ES512, private_key, DATA);
        assert_int_equal(signature.length, 132);
        assert_true(verify(key, MM_ES512, &signature));
    }
    for (size_t zeros = 0; zeros <= 66; zeros++) {
        struct test_signature forged = {.length = 132};
        memset(forged.bytes, 0x7f, 132);
        memset(forged.bytes, 0, zeros);
        memset(forged.bytes + 66, 0, zeros);
        assert_false(verify(key, MM_ES512, &forged));
    }
}

static void r_and_s_of_zero_or_the_order_and_beyond_are_refused(void **state)
{
    (void)state;
    static const enum mm_algorithm CURVES[] = {MM_ES256, MM_ES384, MM_ES512};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CURVES); i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(CURVES[i]);
        mm_cleanup(json_decref) json_t *jwk = make_jwk(private_key, NULL, NULL);
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = take(jwk, CURVES[i]);
        const struct test_signature good = sign_jws(CURVES[i], private_key, DATA);
        static const int FILLS[] = {0x00, 0xff};
        for (size_t fill = 0; fill < MM_ARRAY_SIZE(FILLS); fill++) {
            struct test_signature bad_r = good;
            struct test_signature bad_s = good;
            struct test_signature both = {.length = good.length};
            memset(bad_r.bytes, FILLS[fill], good.length / 2);
            memset(bad_s.bytes + good.length / 2, FILLS[fill], good.length / 2);
            memset(both.bytes, FILLS[fill], good.length);
            assert_false(verify(key, CURVES[i], &bad_r));
            assert_false(verify(key, CURVES[i], &bad_s));
            assert_false(verify(key, CURVES[i], &both));
        }
    }
}

static void pss_salt_has_the_digests_length_and_no_other(void **state)
{
    (void)state;
    static const struct {
        enum mm_algorithm algorithm;
        int salt;
    } CASES[] = {{MM_PS256, 32}, {MM_PS384, 48}, {MM_PS512, 64}};
    static const int SALTS[] = {0, 20, 32, 48, 64};
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_PS256);
    mm_cleanup(json_decref) json_t *jwk = make_jwk(private_key, NULL, NULL);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = take(jwk, CASES[i].algorithm);
        for (size_t j = 0; j < MM_ARRAY_SIZE(SALTS); j++) {
            struct test_signature signature = sign_evp(CASES[i].algorithm, private_key, DATA, SALTS[j]);
            assert_int_equal(verify(key, CASES[i].algorithm, &signature), SALTS[j] == CASES[i].salt);
        }
    }
}

static json_t *rsa_jwk(unsigned bits, uint8_t last, const char *exponent)
{
    uint8_t modulus[1100];
    char text[1500];
    memset(modulus, 0xa7, sizeof modulus);
    modulus[bits / 8 - 1] = last;
    mm_base64url_encode(modulus, bits / 8, text);
    json_t *jwk = json_pack("{ss ss ss}", "kty", "RSA", "n", text, "e", exponent);
    assert_non_null(jwk);
    return jwk;
}

static bool rsa_is_taken(unsigned bits, uint8_t last, const char *exponent)
{
    mm_cleanup(json_decref) json_t *jwk = rsa_jwk(bits, last, exponent);
    return is_taken(jwk, MM_RS256);
}

static void rsa_moduli_have_2048_to_8192_bits_and_are_odd(void **state)
{
    (void)state;
    assert_true(rsa_is_taken(2048, 1, "AQAB"));
    assert_true(rsa_is_taken(8192, 1, "AQAB"));
    assert_false(rsa_is_taken(512, 1, "AQAB"));
    assert_false(rsa_is_taken(1024, 1, "AQAB"));
    assert_false(rsa_is_taken(2040, 1, "AQAB"));
    assert_false(rsa_is_taken(8200, 1, "AQAB"));
    assert_false(rsa_is_taken(2048, 2, "AQAB"));
}

static void rsa_exponents_are_odd_at_least_65537_and_short(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",    "AA",   "AQ",           "Ag",    "Aw",    "EQ",
                                      "__8", "AQAC", "AQAAAAAAAAAB", "AQAB=", "AQAB\n"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(rsa_is_taken(2048, 1, BAD[i]));
    assert_true(rsa_is_taken(2048, 1, "AQAAAAE"));
    assert_true(rsa_is_taken(2048, 1, "AAEAAQ")); /* some libraries write a zero in front */
}

static void rsa_signature_over_4096_bits_verifies(void **state)
{
    (void)state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = EVP_RSA_gen(4608);
    mm_cleanup(json_decref) json_t *jwk = make_jwk(private_key, NULL, NULL);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = take(jwk, MM_PS512);
    struct test_signature signature = sign_jws(MM_PS512, private_key, DATA);
    assert_int_equal(signature.length, 576);
    assert_true(verify(key, MM_PS512, &signature));
}

static void what_only_others_may_have_is_no_key_of_ours(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *p521 = new_jwk(MM_ES512);
    mm_cleanup(json_decref) json_t *long_rsa = rsa_jwk(4104, 1, "AQAB");
    assert_null(mm_pubkey_from_jwk(p521, &err));
    assert_null(mm_pubkey_from_jwk(long_rsa, &err));
    assert_null(mm_pubkey_from_point(MM_KEY_P521, (struct mm_bytes){"\4", 1}, &err));

    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_RS512);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *own = make_pubkey(MM_RS512, private_key);
    struct test_signature signature = sign_jws(MM_RS512, private_key, DATA);
    assert_false(verify(own, MM_RS512, &signature));
}

static void alg_kty_and_crv_must_agree(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *p256 = new_jwk(MM_ES256);
    mm_cleanup(json_decref) json_t *rsa = new_jwk(MM_RS256);
    mm_cleanup(json_decref) json_t *ed25519 = new_jwk(MM_EDDSA);
    assert_false(is_taken_with(p256, "kty", json_string("RSA"), MM_ES256));
    assert_false(is_taken_with(p256, "kty", json_string("OKP"), MM_ES256));
    assert_false(is_taken_with(p256, "kty", json_string("ec"), MM_ES256));
    assert_false(is_taken_with(p256, "kty", json_string("oct"), MM_ES256));
    assert_false(is_taken_with(p256, "crv", json_string("P-384"), MM_ES256));
    assert_false(is_taken_with(p256, "crv", json_string("P-384"), MM_ES384));
    assert_false(is_taken_with(p256, "crv", json_string("secp256k1"), MM_ES256));
    assert_false(is_taken_with(p256, "crv", json_null(), MM_ES256));
    assert_false(is_taken_with(rsa, "kty", json_string("EC"), MM_RS256));
    assert_false(is_taken_with(ed25519, "crv", json_string("X25519"), MM_EDDSA));
    assert_false(is_taken_with(ed25519, "crv", json_string("Ed448"), MM_EDDSA));
}

static void a_point_off_its_curve_is_refused(void **state)
{
    (void)state;
    static const enum mm_algorithm CURVES[] = {MM_ES256, MM_ES384, MM_ES512};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CURVES); i++) {
        mm_cleanup(json_decref) json_t *jwk = new_jwk(CURVES[i]);
        assert_false(is_taken_with(jwk, "y", json_incref(json_object_get(jwk, "x")), CURVES[i]));
    }
}

static void use_and_key_ops_must_allow_verifying(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *jwk = new_jwk(MM_ES256);
    assert_true(is_taken_with(jwk, "use", json_string("sig"), MM_ES256));
    assert_true(is_taken_with(jwk, "key_ops", json_pack("[s]", "verify"), MM_ES256));
    assert_true(is_taken_with(jwk, "key_ops", json_pack("[ss]", "encrypt", "verify"), MM_ES256));
    assert_false(is_taken_with(jwk, "use", json_string("enc"), MM_ES256));
    assert_false(is_taken_with(jwk, "use", json_string("SIG"), MM_ES256));
    assert_false(is_taken_with(jwk, "use", json_null(), MM_ES256));
    assert_false(is_taken_with(jwk, "key_ops", json_array(), MM_ES256));
    assert_false(is_taken_with(jwk, "key_ops", json_pack("[s]", "deriveKey"), MM_ES256));
    assert_false(is_taken_with(jwk, "key_ops", json_string("verify"), MM_ES256));

    assert_int_equal(json_object_set_new(jwk, "use", json_string("enc")), 0);
    assert_false(is_taken_with(jwk, "key_ops", json_pack("[s]", "verify"), MM_ES256));
}

static void a_private_or_secret_key_is_known_by_each_of_its_members(void **state)
{
    (void)state;
    static const char *const PRIVATE[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"};
    mm_cleanup(json_decref) json_t *jwk = new_jwk(MM_RS256);
    assert_false(mm_jwk_is_private(jwk));
    for (size_t i = 0; i < MM_ARRAY_SIZE(PRIVATE); i++) {
        assert_false(is_taken_with(jwk, PRIVATE[i], json_string("AQ"), MM_RS256));
        mm_cleanup(json_decref) json_t *alone = json_pack("{sn}", PRIVATE[i]);
        assert_true(mm_jwk_is_private(alone));
    }
}

static void a_key_without_alg_has_one_algorithm_all_the_same(void **state)
{
    (void)state;
    static const enum mm_algorithm SELF[] = {MM_ES256, MM_ES384, MM_ES512, MM_EDDSA, MM_RS256};
    for (size_t i = 0; i < MM_ARRAY_SIZE(SELF); i++) {
        mm_cleanup(json_decref) json_t *jwk = new_jwk(SELF[i]);
        enum mm_algorithm algorithm;
        assert_true(mm_jwk_default_algorithm(jwk, &algorithm));
        assert_int_equal(algorithm, SELF[i]);
    }
    mm_cleanup(json_decref) json_t *other = json_pack("{ss}", "kty", "AKP");
    enum mm_algorithm algorithm;
    assert_false(mm_jwk_default_algorithm(other, &algorithm));
}

static void names_of_foreign_algorithms_are_exact_and_never_none_or_hmac(void **state)
{
    (void)state;
    static const char *const OTHERS[] = {"none",     "nOnE",  "HS256",   "HS384",  "HS512",   "ES256K",
                                         "es256",    "Ed448", "",        "ES2566", "RS256\n", "RS1",
                                         "RSA-OAEP", "EDDSA", "ed25519", "ESP256"};
    enum mm_algorithm algorithm;
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++)
        assert_false(mm_algorithm_parse_foreign(OTHERS[i], &algorithm));
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        assert_true(mm_algorithm_parse_foreign(mm_algorithm_name((enum mm_algorithm)i), &algorithm));
        assert_int_equal(algorithm, i);
    }
    assert_true(mm_algorithm_parse_foreign("Ed25519", &algorithm));
    assert_int_equal(algorithm, MM_EDDSA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_verifies_by_the_algorithm_it_is_pinned_to_and_no_other),
        cmocka_unit_test(a_signature_with_any_byte_changed_or_missing_is_refused),
        cmocka_unit_test(es512_signatures_of_every_length_of_r_and_s_are_understood),
        cmocka_unit_test(r_and_s_of_zero_or_the_order_and_beyond_are_refused),
        cmocka_unit_test(pss_salt_has_the_digests_length_and_no_other),
        cmocka_unit_test(rsa_moduli_have_2048_to_8192_bits_and_are_odd),
        cmocka_unit_test(rsa_exponents_are_odd_at_least_65537_and_short),
        cmocka_unit_test(rsa_signature_over_4096_bits_verifies),
        cmocka_unit_test(what_only_others_may_have_is_no_key_of_ours),
        cmocka_unit_test(alg_kty_and_crv_must_agree),
        cmocka_unit_test(a_point_off_its_curve_is_refused),
        cmocka_unit_test(use_and_key_ops_must_allow_verifying),
        cmocka_unit_test(a_private_or_secret_key_is_known_by_each_of_its_members),
        cmocka_unit_test(a_key_without_alg_has_one_algorithm_all_the_same),
        cmocka_unit_test(names_of_foreign_algorithms_are_exact_and_never_none_or_hmac),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
