/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TPM2_Certify makes, put together byte by byte and signed by keys of the test's own; each test changes one
 * thing about it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>

#include "crypto/attestation.h"
#include "crypto/tpm2.h"
#include "tests/support/sign.h"
#include "util/base64url.h"

enum { NOW = 1800000000, BLOB_MAX = 1024 };

/* Of the key, as tpm2-pkcs11 makes it; of the attestation key, as tpm2_createak does. */
enum { KEY = 0x00040072, SIGNER = 0x00050072 };

struct blob {
    uint8_t bytes[BLOB_MAX];
    size_t length;
};

static void put(struct blob *blob, const void *bytes, size_t length)
{
    assert_true(blob->length + length <= BLOB_MAX);
    memcpy(blob->bytes + blob->length, bytes, length);
    blob->length += length;
}

static void put_number(struct blob *blob, uint64_t number, size_t length)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(number >> (8 * (length - 1 - i)));
    put(blob, bytes, length);
}

static void put_sized(struct blob *blob, const void *bytes, size_t length)
{
    put_number(blob, length, 2);
    put(blob, bytes, length);
}

struct scene {
    EVP_PKEY *private_key, *private_signer;
    struct mm_pubkey *key;
    struct blob area, signer, certify, signature;
};

/* TPMT_PUBLIC of a P-256 key. */
static struct blob ecc_area(EVP_PKEY *key, uint32_t attributes)
{
    struct blob area = {0};
    uint8_t point[65];
    size_t length = 0;
    assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &length), 1);
    assert_int_equal(length, 65);
    put_number(&area, 0x0023, 2); /* TPM_ALG_ECC */
    put_number(&area, 0x000b, 2); /* SHA-256 names it */
    put_number(&area, attributes, 4);
    put_number(&area, 0, 2);          /* no policy */
    put_number(&area, 0x0010, 2);     /* no symmetric algorithm */
    put_number(&area, 0x0018000b, 4); /* ECDSA with SHA-256 */
    put_number(&area, 0x0003, 2);     /* P-256 */
    put_number(&area, 0x0010, 2);     /* no KDF */
    put_sized(&area, point + 1, 32);
    put_sized(&area, point + 33, 32);
    return area;
}

/* TPMS_ATTEST of TPM2_Certify. */
static struct blob certify(const struct blob *area, uint32_t magic, uint16_t type, const char *nonce)
{
    struct blob made = {0};
    uint8_t name[34] = {0x00, 0x0b};
    mm_sha256(area->bytes, area->length, name + 2);
    put_number(&made, magic, 4);
    put_number(&made, type, 2);
    put_sized(&made, name, sizeof name); /* who signs: not looked at */
    put_sized(&made, nonce, strlen(nonce));
    put_number(&made, 123456, 8); /* clock */
    put_number(&made, 7, 4);
    put_number(&made, 3, 4);
    put_number(&made, 1, 1);
    put_number(&made, 0x2019102300163636, 8);
    put_sized(&made, name, sizeof name);
    put_sized(&made, name, sizeof name);
    return made;
}

/* TPMT_SIGNATURE by ECDSA. */
static struct blob sign(EVP_PKEY *signer, const struct blob *what)
{
    struct blob made = {0};
    struct test_signature signature = sign_jws(MM_ES256, signer, (struct mm_bytes){what->bytes, what->length});
    put_number(&made, 0x0018000b, 4);
    put_sized(&made, signature.bytes, 32);
    put_sized(&made, signature.bytes + 32, 32);
    return made;
}

static void sign_again(struct scene *scene)
{
    scene->signature = sign(scene->private_signer, &scene->certify);
}

/* The area is another one, and the TPM certifies it. */
static void change_area(struct scene *scene, struct blob area)
{
    scene->area = area;
    scene->certify = certify(&scene->area, 0xff544347, 0x8017, "nonce");
    sign_again(scene);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    scene->private_key = make_private_key(MM_ES256);
    scene->private_signer = make_private_key(MM_ES256);
    scene->key = make_pubkey(MM_ES256, scene->private_key);
    scene->signer = ecc_area(scene->private_signer, SIGNER);
    change_area(scene, ecc_area(scene->private_key, KEY));
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    EVP_PKEY_free(scene->private_key);
    EVP_PKEY_free(scene->private_signer);
    mm_pubkey_free(scene->key);
    free(scene);
    return 0;
}

static struct mm_attestation make(const struct scene *scene)
{
    struct mm_attestation attestation = mm_attestation_make(MM_ATTESTATION_TPM2);
    const struct blob *parts[] = {[MM_ATTESTATION_STATEMENT] = &scene->certify,
                                  [MM_ATTESTATION_SIGNATURE] = &scene->signature,
                                  [MM_ATTESTATION_PUBLIC] = &scene->area,
                                  [MM_ATTESTATION_ANCHOR] = &scene->signer};
    for (size_t i = 0; i < MM_ARRAY_SIZE(parts); i++)
        assert_true(mm_buffer_append(&attestation.parts[i], parts[i]->bytes, parts[i]->length, NULL));
    return attestation;
}

static void assert_attestation_refused(const struct mm_attestation *attestation, const struct mm_pubkey *key,
                                       const char *why)
{
    struct mm_error err = {0};
    json_t *says = NULL;
    assert_false(mm_attestation_verify(attestation, key, NOW, &says, &err));
    assert_null(says);
    assert_int_equal(err.code, MM_ATTESTATION_INVALID);
    if (!strstr(err.message, why))
        fail_msg("%s, not: %s", err.message, why);
}

static void assert_refused(const struct scene *scene, const char *why)
{
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene);
    assert_attestation_refused(&attestation, scene->key, why);
}

static json_t *says_of(const struct mm_attestation *attestation, const struct mm_pubkey *key)
{
    struct mm_error err = {0};
    json_t *says = NULL;
    if (!mm_attestation_verify(attestation, key, NOW, &says, &err))
        fail_msg("%s", err.message);
    return says;
}

static void assert_verified(const struct scene *scene)
{
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene);
    mm_cleanup(json_decref) json_t *says = says_of(&attestation, scene->key);
    assert_non_null(says);
}

static void what_the_tpm_says_is_told(void **state)
{
    const struct scene *scene = *state;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene);
    mm_cleanup(json_decref) json_t *says = says_of(&attestation, scene->key);
    mm_cleanup(json_decref) json_t *attributes =
        json_pack("[sssss]", "fixedTPM", "fixedParent", "sensitiveDataOrigin", "userWithAuth", "sign");
    assert_true(json_equal(json_object_get(says, "attributes"), attributes));
    assert_string_equal(mm_json_string(says, "nonce"), "6e6f6e6365");
    assert_string_equal(mm_json_string(says, "firmware_version"), "2019102300163636");
    assert_true(json_is_true(json_object_get(says, "attestation_key_restricted")));
    assert_int_equal(mm_json_integer(says, "reset_count", 0), 7);
    assert_int_equal(strlen(mm_json_string(says, "name")), 68);
}

static void structures_may_be_wrapped_in_their_sized_forms(void **state)
{
    struct scene *scene = *state;
    struct blob *blobs[] = {&scene->certify, &scene->area, &scene->signer};
    for (size_t i = 0; i < MM_ARRAY_SIZE(blobs); i++) {
        struct blob wrapped = {0};
        put_sized(&wrapped, blobs[i]->bytes, blobs[i]->length);
        *blobs[i] = wrapped;
    }
    assert_verified(scene);
}

static void the_attestation_key_may_be_pem(void **state)
{
    struct scene *scene = *state;
    BIO *pem = BIO_new(BIO_s_mem());
    char *text;
    assert_true(PEM_write_bio_PUBKEY(pem, scene->private_signer));
    long length = BIO_get_mem_data(pem, &text);
    scene->signer = (struct blob){0};
    put(&scene->signer, text, (size_t)length);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene);
    mm_cleanup(json_decref) json_t *says = says_of(&attestation, scene->key);
    assert_true(json_is_null(json_object_get(says, "attestation_key_restricted")));
    put(&scene->signer, text, (size_t)length);
    assert_refused(scene, "more than one PEM block");
    BIO_free_all(pem);
    pem = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PrivateKey(pem, scene->private_signer, NULL, NULL, 0, NULL, NULL));
    length = BIO_get_mem_data(pem, &text);
    scene->signer = (struct blob){0};
    put(&scene->signer, text, (size_t)length);
    assert_refused(scene, "isn't a public key");
    BIO_free_all(pem);
}

static void it_is_signed_by_the_attestation_key_or_refused(void **state)
{
    struct scene *scene = *state;
    scene->certify.bytes[scene->certify.length - 40] ^= 1;
    assert_refused(scene, "didn't sign it");
    scene->certify.bytes[scene->certify.length - 40] ^= 1;
    assert_verified(scene);
    scene->signature.bytes[20] ^= 1;
    assert_refused(scene, "didn't sign it");
    scene->signature = sign(scene->private_key, &scene->certify);
    assert_refused(scene, "didn't sign it");
}

static void what_no_tpm_made_or_of_another_command_is_refused(void **state)
{
    struct scene *scene = *state;
    scene->certify = certify(&scene->area, 0xff544348, 0x8017, "nonce");
    sign_again(scene);
    assert_refused(scene, "TPM_GENERATED");
    static const uint16_t OTHERS[] = {0x8014, 0x8015, 0x8016, 0x8018, 0x8019, 0x801a, 0x801c};
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++) {
        scene->certify = certify(&scene->area, 0xff544347, OTHERS[i], "nonce");
        sign_again(scene);
        assert_refused(scene, "isn't of TPM2_Certify");
    }
}

static void an_area_that_the_tpm_did_not_certify_is_refused(void **state)
{
    struct scene *scene = *state;
    /* The key's own public area, but with better attributes than those that were certified. */
    change_area(scene, ecc_area(scene->private_key, KEY | MM_TPM2_DECRYPT));
    scene->area = ecc_area(scene->private_key, KEY);
    assert_refused(scene, "another object");
}

static void an_attestation_of_another_key_is_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *other = make_private_key(MM_ES256);
    change_area(scene, ecc_area(other, KEY));
    assert_refused(scene, "of another key");
}

/* An unrestricted key signs whatever it is given, an attestation of itself, too. */
static void a_key_that_vouches_for_itself_is_refused(void **state)
{
    struct scene *scene = *state;
    scene->signer = ecc_area(scene->private_key, SIGNER);
    scene->signature = sign(scene->private_key, &scene->certify);
    assert_refused(scene, "vouches for itself");
}

static void a_key_whose_attributes_are_not_a_signing_keys_is_refused(void **state)
{
    struct scene *scene = *state;
    static const struct {
        uint32_t attributes;
        const char *why;
    } CASES[] = {
        {KEY & ~(uint32_t)MM_TPM2_FIXED_TPM, "the key isn't fixedTPM"},
        {KEY & ~(uint32_t)MM_TPM2_FIXED_PARENT, "the key isn't fixedParent"},
        {KEY & ~(uint32_t)MM_TPM2_SENSITIVE_DATA_ORIGIN, "the key isn't sensitiveDataOrigin"},
        {KEY & ~(uint32_t)MM_TPM2_SIGN, "the key isn't sign"},
        {KEY | MM_TPM2_DECRYPT, "the key is decrypt"},
        {KEY | MM_TPM2_RESTRICTED, "the key is restricted"},
        {KEY | MM_TPM2_ENCRYPTED_DUPLICATION, "the key is encryptedDuplication"},
        {KEY | 1U << 31, "an attribute that isn't known"},
        {KEY | 1U << 3, "an attribute that isn't known"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        change_area(scene, ecc_area(scene->private_key, CASES[i].attributes));
        assert_refused(scene, CASES[i].why);
    }
    change_area(scene, ecc_area(scene->private_key, KEY | MM_TPM2_NO_DA | MM_TPM2_ADMIN_WITH_POLICY));
    assert_verified(scene);
}

static void an_attestation_key_that_signs_anything_is_refused(void **state)
{
    struct scene *scene = *state;
    static const struct {
        uint32_t attributes;
        const char *why;
    } CASES[] = {
        {SIGNER & ~(uint32_t)MM_TPM2_RESTRICTED, "the attestation key isn't restricted"},
        {SIGNER & ~(uint32_t)MM_TPM2_FIXED_TPM, "the attestation key isn't fixedTPM"},
        {SIGNER & ~(uint32_t)MM_TPM2_SIGN, "the attestation key isn't sign"},
        {SIGNER | MM_TPM2_DECRYPT, "the attestation key is decrypt"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        scene->signer = ecc_area(scene->private_signer, CASES[i].attributes);
        assert_refused(scene, CASES[i].why);
    }
}

static void it_is_for_the_nonce_that_was_given(void **state)
{
    const struct scene *scene = *state;
    static const char *const OTHERS[] = {"nonc", "nonce2", "Nonce"};
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene);
    struct mm_buffer *nonce = &attestation.parts[MM_ATTESTATION_NONCE];
    assert_true(mm_buffer_append_string(nonce, "nonce", NULL));
    mm_cleanup(json_decref) json_t *says = says_of(&attestation, scene->key);
    assert_non_null(says);
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++) {
        mm_buffer_clear(nonce);
        assert_true(mm_buffer_append_string(nonce, OTHERS[i], NULL));
        assert_attestation_refused(&attestation, scene->key, "wasn't made for this nonce");
    }
}

static void an_rsa_key_is_certified_by_an_rsa_key(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_key = make_private_key(MM_RS256);
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *private_signer = make_private_key(MM_RS256);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = make_pubkey(MM_RS256, private_key);
    EVP_PKEY *keys[] = {private_key, private_signer};
    struct blob areas[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        uint8_t modulus[256];
        BIGNUM *n = NULL;
        assert_int_equal(EVP_PKEY_get_bn_param(keys[i], OSSL_PKEY_PARAM_RSA_N, &n), 1);
        assert_int_equal(BN_bn2binpad(n, modulus, sizeof modulus), sizeof modulus);
        BN_free(n);
        put_number(&areas[i], 0x0001000b, 4);
        put_number(&areas[i], i == 0 ? KEY : SIGNER, 4);
        put_sized(&areas[i], "12345678901234567890123456789012", 32); /* a policy */
        put_number(&areas[i], 0x0010, 2);
        put_number(&areas[i], i == 0 ? 0x0010 : 0x0014000b, i == 0 ? 2 : 4);
        put_number(&areas[i], 2048, 2);
        put_number(&areas[i], i == 0 ? 0 : 65537, 4);
        put_sized(&areas[i], modulus, sizeof modulus);
    }
    scene->area = areas[0];
    scene->signer = areas[1];
    scene->certify = certify(&scene->area, 0xff544347, 0x8017, "");
    struct test_signature made =
        sign_jws(MM_RS256, private_signer, (struct mm_bytes){scene->certify.bytes, scene->certify.length});
    scene->signature = (struct blob){0};
    put_number(&scene->signature, 0x0014000b, 4);
    put_sized(&scene->signature, made.bytes, made.length);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene);
    mm_cleanup(json_decref) json_t *says = says_of(&attestation, key);
    assert_non_null(says);
}

/* Whatever is cut off, added or changed in length. */
static void what_is_not_whole_is_refused(void **state)
{
    struct scene *scene = *state;
    struct blob *blobs[] = {&scene->certify, &scene->area, &scene->signer, &scene->signature};
    for (size_t i = 0; i < MM_ARRAY_SIZE(blobs); i++) {
        struct blob good = *blobs[i];
        for (size_t length = 1; length < good.length; length++) {
            blobs[i]->length = length;
            assert_refused(scene, "");
        }
        *blobs[i] = good;
        put_number(blobs[i], 0, 1);
        assert_refused(scene, "");
        *blobs[i] = good;
        for (size_t at = 0; at + 1 < good.length; at++) {
            blobs[i]->bytes[at] = 0xff;
            blobs[i]->bytes[at + 1] = 0xff;
            mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene);
            json_t *says = NULL;
            if (i != 2) /* the attestation key's policy, scheme and the like are its own affair */
                assert_false(mm_attestation_verify(&attestation, scene->key, NOW, &says, NULL));
            else if (mm_attestation_verify(&attestation, scene->key, NOW, &says, NULL))
                json_decref(says);
            *blobs[i] = good;
        }
    }
    assert_verified(scene);
}

static void schemes_and_hashes_that_are_not_ours_are_refused(void **state)
{
    struct scene *scene = *state;
    static const uint32_t OTHERS[] = {0x00180004, 0x0018000d, 0x0014000c, 0x0016000b,
                                      0x001a000b, 0x0005000b, 0x0010000b};
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++) {
        struct blob changed = {0};
        put_number(&changed, OTHERS[i], 4);
        put(&changed, scene->signature.bytes + 4, scene->signature.length - 4);
        scene->signature = changed;
        assert_refused(scene, "another scheme");
    }
    /* Of a scheme that isn't the attestation key's. */
    scene->signature.bytes[1] = 0x14;
    scene->signature.bytes[3] = 0x0b;
    assert_refused(scene, "");
}

static void a_name_that_is_not_made_with_sha_256_is_refused(void **state)
{
    struct scene *scene = *state;
    struct blob area = ecc_area(scene->private_key, KEY);
    area.bytes[3] = 0x04; /* SHA-1 */
    change_area(scene, area);
    assert_refused(scene, "isn't made with SHA-256");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_tpm_says_is_told),
        TEST(structures_may_be_wrapped_in_their_sized_forms),
        TEST(the_attestation_key_may_be_pem),
        TEST(it_is_signed_by_the_attestation_key_or_refused),
        TEST(what_no_tpm_made_or_of_another_command_is_refused),
        TEST(an_area_that_the_tpm_did_not_certify_is_refused),
        TEST(an_attestation_of_another_key_is_refused),
        TEST(a_key_that_vouches_for_itself_is_refused),
        TEST(a_key_whose_attributes_are_not_a_signing_keys_is_refused),
        TEST(an_attestation_key_that_signs_anything_is_refused),
        TEST(it_is_for_the_nonce_that_was_given),
        TEST(an_rsa_key_is_certified_by_an_rsa_key),
        TEST(what_is_not_whole_is_refused),
        TEST(schemes_and_hashes_that_are_not_ours_are_refused),
        TEST(a_name_that_is_not_made_with_sha_256_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
