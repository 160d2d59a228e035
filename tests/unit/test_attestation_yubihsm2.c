/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of the shape that a YubiHSM 2 makes; each test changes one thing about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/pem.h>

#include "crypto/attestation.h"
#include "crypto/spki.h"
#include "tests/support/make_certificate.h"

#define ARC "1.3.6.1.4.1.41482.4."

enum { FIRMWARE, SERIAL, ORIGIN, DOMAINS, CAPABILITIES, OBJECT_ID, LABEL, N_CLAIMS };

#define CLAIM(number, bytes) \
    { \
        ARC number, (bytes), sizeof(bytes) - 1 \
    }

/* As a device writes them for a P-256 key, object 0x2f5d, that it generated. */
static const struct raw_extension GOOD[N_CLAIMS] = {
    CLAIM("1", "\x04\x03\x02\x04\x01"),
    CLAIM("2", "\x02\x04\x02\x0b\xd9\xfd"),
    CLAIM("3", "\x03\x02\x00\x01"),
    CLAIM("4", "\x03\x03\x00\x00\x05"),
    CLAIM("5", "\x03\x09\x00\x00\x00\x00\x00\x00\x00\x00\x80"),
    CLAIM("6", "\x02\x02\x2f\x5d"),
    CLAIM("9", "\x0c\x06mint-1"),
};

static const struct raw_extension DEVICE[] = {CLAIM("1", "\x04\x03\x02\x04\x01"),
                                              CLAIM("2", "\x02\x04\x02\x0b\xd9\xfd")};

struct scene {
    struct test_certificate *root, *sub, *device, *leaf;
    struct mm_pubkey *key;
};

static struct test_certificate *make_issuer(const char *name, const struct test_certificate *issuer,
                                            const struct raw_extension *extensions, size_t n)
{
    return make_certificate(&(struct certificate_spec){.common_name = name,
                                                       .issuer = issuer,
                                                       .basic_constraints = "critical,CA:TRUE",
                                                       .raw_extensions = extensions,
                                                       .n_raw_extensions = n});
}

static struct test_certificate *make_leaf(const struct test_certificate *issuer, const struct raw_extension *claims,
                                          size_t n)
{
    return make_certificate(&(struct certificate_spec){.common_name = "YubiHSM Attestation id:0x2f5d",
                                                       .issuer = issuer,
                                                       .raw_extensions = claims,
                                                       .n_raw_extensions = n});
}

static int set_up(void **state)
{
    static struct scene scene;
    scene.root = make_ca("Yubico YubiHSM Root CA", NULL);
    scene.sub = make_ca("Yubico YubiHSM 1 Sub-CA", scene.root);
    scene.device = make_issuer("YubiHSM Attestation (34331133)", scene.sub, DEVICE, MM_ARRAY_SIZE(DEVICE));
    scene.leaf = make_leaf(scene.device, GOOD, N_CLAIMS);
    scene.key = mm_pubkey_from_certificate(test_certificate_der(scene.leaf), NULL);
    *state = &scene;
    return scene.key ? 0 : -1;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    test_certificate_free(scene->root);
    test_certificate_free(scene->sub);
    test_certificate_free(scene->device);
    test_certificate_free(scene->leaf);
    mm_pubkey_free(scene->key);
    return 0;
}

static void add_pem(struct mm_buffer *part, const struct test_certificate *certificate)
{
    char *pem = test_certificates_pem(certificate, NULL);
    assert_true(mm_buffer_append_string(part, pem, NULL));
    free(pem);
}

/* Leaf first, then whoever signed it; NULLs are left out. */
static struct mm_attestation make(const struct test_certificate *anchor, const struct test_certificate *leaf,
                                  const struct test_certificate *device, const struct test_certificate *sub)
{
    const struct test_certificate *chain[] = {leaf, device, sub};
    struct mm_attestation attestation = mm_attestation_make(MM_ATTESTATION_YUBIHSM2);
    for (size_t i = 0; i < MM_ARRAY_SIZE(chain); i++)
        if (chain[i])
            add_pem(&attestation.parts[MM_ATTESTATION_STATEMENT], chain[i]);
    add_pem(&attestation.parts[MM_ATTESTATION_ANCHOR], anchor);
    return attestation;
}

static void assert_refused_at(const struct mm_attestation *attestation, const struct mm_pubkey *key, int64_t now,
                              const char *why)
{
    struct mm_error err = {0};
    json_t *says = NULL;
    assert_false(mm_attestation_verify(attestation, key, now, &says, &err));
    assert_null(says);
    assert_int_equal(err.code, MM_ATTESTATION_INVALID);
    if (!strstr(err.message, why))
        fail_msg("%s", err.message);
}

static void assert_refused(const struct mm_attestation *attestation, const struct mm_pubkey *key, const char *why)
{
    assert_refused_at(attestation, key, TEST_NOW, why);
}

static json_t *verified(const struct mm_attestation *attestation, const struct mm_pubkey *key)
{
    struct mm_error err = {0};
    json_t *says = NULL;
    if (!mm_attestation_verify(attestation, key, TEST_NOW, &says, &err))
        fail_msg("%s", err.message);
    return says;
}

/* A leaf of the scene's device whose `claim` is other bytes; NULL: it lacks it. */
static void assert_claim_is_refused(const struct scene *scene, int claim, const char *bytes, size_t length,
                                    const char *why)
{
    struct raw_extension claims[N_CLAIMS];
    memcpy(claims, GOOD, sizeof claims);
    claims[claim].data = bytes;
    claims[claim].length = length;
    if (!bytes)
        claims[claim] = claims[N_CLAIMS - 1];
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_leaf(scene->device, claims, bytes ? N_CLAIMS : N_CLAIMS - 1);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_certificate(test_certificate_der(leaf), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, leaf, scene->device, scene->sub);
    assert_refused(&attestation, key, why);
}

#define ASSERT_CLAIM_IS_REFUSED(claim, bytes, why) \
    assert_claim_is_refused(*state, (claim), (bytes), sizeof(bytes) - 1, (why))

static void what_the_device_says_is_told(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, scene->leaf, scene->device, scene->sub);
    mm_cleanup(json_decref) json_t *says = verified(&attestation, scene->key);
    mm_cleanup(free) char *text = mm_json_compact(says, NULL);
    assert_string_equal(text, "{\"firmware\":\"2.4.1\",\"serial\":34331133,\"origin\":\"generated\",\"domains\":[1,3],"
                              "\"capabilities\":[\"sign-ecdsa\"],\"object_id\":\"2f5d\",\"label\":\"mint-1\"}");
}

static void a_custodian_may_believe_the_sub_ca_or_the_device_alone(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(mm_attestation_clear) struct mm_attestation by_sub = make(scene->sub, scene->leaf, scene->device, NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation by_device = make(scene->device, scene->leaf, NULL, NULL);
    mm_cleanup(json_decref) json_t *a = verified(&by_sub, scene->key);
    mm_cleanup(json_decref) json_t *b = verified(&by_device, scene->key);
    assert_true(json_equal(a, b));
}

static void it_survives_being_kept_as_json(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, scene->leaf, scene->device, scene->sub);
    mm_cleanup(json_decref) json_t *kept = mm_attestation_to_json(&attestation, NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation again = {0};
    assert_true(mm_attestation_from_json(kept, &again, NULL));
    mm_cleanup(json_decref) json_t *says = verified(&again, scene->key);
    assert_non_null(says);
    for (size_t i = 0; i < MM_N_ATTESTATION_PARTS; i++) {
        assert_int_equal(again.parts[i].length, attestation.parts[i].length);
        if (again.parts[i].length)
            assert_memory_equal(again.parts[i].data, attestation.parts[i].data, again.parts[i].length);
    }
}

static void json_of_something_else_is_refused(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"{}",
                                        "{\"kind\":1}",
                                        "{\"kind\":\"luna\",\"statement\":\"AA\"}",
                                        "{\"kind\":\"tpm2\",\"statement\":\"\"}",
                                        "{\"kind\":\"tpm2\",\"statement\":\"A\"}",
                                        "{\"kind\":\"tpm2\",\"statement\":\"A=\"}",
                                        "{\"kind\":\"tpm2\",\"statement\":1}",
                                        "{\"kind\":\"tpm2\",\"nonce\":[]}",
                                        "[]"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++) {
        struct mm_error err = {0};
        struct mm_attestation attestation = {0};
        mm_cleanup(json_decref) json_t *object = mm_json_parse(TEXTS[i], strlen(TEXTS[i]), NULL);
        assert_false(mm_attestation_from_json(object, &attestation, &err));
        assert_int_equal(err.code, MM_ATTESTATION_INVALID);
    }
    char text[64 + MM_ATTESTATION_PART_TEXT_MAX + 4] = "{\"kind\":\"tpm2\",\"statement\":\"";
    size_t start = strlen(text);
    memset(text + start, 'A', MM_ATTESTATION_PART_TEXT_MAX + 1);
    memcpy(text + start + MM_ATTESTATION_PART_TEXT_MAX + 1, "\"}", 3);
    mm_cleanup(json_decref) json_t *long_one = mm_json_parse(text, strlen(text), NULL);
    assert_non_null(long_one);
    struct mm_attestation attestation = {0};
    assert_false(mm_attestation_from_json(long_one, &attestation, NULL));
}

static void an_attestation_of_another_key_is_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *other =
        mm_pubkey_from_certificate(test_certificate_der(scene->device), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, scene->leaf, scene->device, scene->sub);
    assert_refused(&attestation, other, "of another key");
}

static void a_chain_to_another_root_is_refused(void **state)
{
    struct scene *scene = *state;
    /* Of the same name as the one that is believed, as whoever makes such a chain would name it. */
    mm_cleanup(test_certificate_free) struct test_certificate *root = make_ca("Yubico YubiHSM Root CA", NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(root, scene->leaf, scene->device, scene->sub);
    assert_refused(&attestation, scene->key, "doesn't lead to the CA");
    mm_cleanup(mm_attestation_clear) struct mm_attestation gap = make(scene->root, scene->leaf, scene->device, NULL);
    assert_refused(&gap, scene->key, "doesn't lead to the CA");
    mm_cleanup(mm_attestation_clear) struct mm_attestation alone = make(scene->root, scene->leaf, NULL, NULL);
    assert_refused(&alone, scene->key, "doesn't lead to the CA");
}

static void what_an_expired_device_says_is_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, scene->leaf, scene->device, scene->sub);
    assert_refused_at(&attestation, scene->key, TEST_NOT_AFTER + 1, "expired");
    assert_refused_at(&attestation, scene->key, TEST_NOW - 7200, "not yet valid");
}

static void a_leaf_that_is_its_own_anchor_is_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(test_certificate_free) struct test_certificate *own =
        make_issuer("YubiHSM Attestation id:0x2f5d", NULL, GOOD, N_CLAIMS);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_certificate(test_certificate_der(own), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(own, own, NULL, NULL);
    assert_refused(&attestation, key, "nobody vouches for it");
    (void)scene;
}

static void an_issuer_that_is_no_ca_is_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(test_certificate_free) struct test_certificate *plain = make_leaf(scene->sub, NULL, 0);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_leaf(plain, GOOD, N_CLAIMS);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_certificate(test_certificate_der(leaf), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene->root, leaf, plain, scene->sub);
    assert_refused(&attestation, key, "doesn't lead to the CA");
}

/*
 * Somebody imports a key that may attest, has the device attest it, and signs whatever they like with their copy of
 * it.
 */
static void what_an_attested_key_attests_is_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(test_certificate_free) struct test_certificate *imported =
        make_issuer("YubiHSM Attestation id:0x0007", scene->device, GOOD, N_CLAIMS);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_leaf(imported, GOOD, N_CLAIMS);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_certificate(test_certificate_der(leaf), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, leaf, imported, scene->device);
    add_pem(&attestation.parts[MM_ATTESTATION_STATEMENT], scene->sub);
    assert_refused(&attestation, key, "isn't the device's own");
}

static void a_certificate_of_another_device_is_refused(void **state)
{
    struct scene *scene = *state;
    static const struct raw_extension OTHER[] = {CLAIM("2", "\x02\x04\x02\x0b\xd9\xfe")};
    static const struct raw_extension OWN[] = {CLAIM("2", "\x02\x04\x02\x0b\xd9\xfd"), CLAIM("6", "\x02\x01\x00")};
    mm_cleanup(test_certificate_free) struct test_certificate *other = make_issuer("device", scene->sub, OTHER, 1);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_leaf(other, GOOD, N_CLAIMS);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_certificate(test_certificate_der(leaf), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = make(scene->root, leaf, other, scene->sub);
    assert_refused(&attestation, key, "made by another device");
    /* Where the device says of its own key that it is object 0, that is it. */
    mm_cleanup(test_certificate_free) struct test_certificate *own = make_issuer("device", scene->sub, OWN, 2);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf_of_own = make_leaf(own, GOOD, N_CLAIMS);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key_of_own =
        mm_pubkey_from_certificate(test_certificate_der(leaf_of_own), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation good = make(scene->root, leaf_of_own, own, scene->sub);
    mm_cleanup(json_decref) json_t *says = verified(&good, key_of_own);
    assert_non_null(says);
}

static void an_imported_key_is_refused(void **state)
{
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03\x02\x00\x02", "imported");
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03\x02\x00\x00", "imported");
    /* Generated in some device, and imported from there under wrap. */
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03\x02\x00\x11", "imported");
}

static void a_key_that_can_leave_or_does_more_than_sign_is_refused(void **state)
{
    ASSERT_CLAIM_IS_REFUSED(CAPABILITIES, "\x03\x09\x00\x00\x00\x00\x00\x00\x01\x00\x80", "exportable-under-wrap");
    ASSERT_CLAIM_IS_REFUSED(CAPABILITIES, "\x03\x09\x00\x00\x00\x00\x00\x00\x00\x08\x80", "more than sign");
    ASSERT_CLAIM_IS_REFUSED(CAPABILITIES, "\x03\x09\x00\x00\x00\x00\x04\x00\x00\x00\x80", "more than sign");
    ASSERT_CLAIM_IS_REFUSED(CAPABILITIES, "\x03\x09\x00\x80\x00\x00\x00\x00\x00\x00\x80", "more than sign");
    ASSERT_CLAIM_IS_REFUSED(CAPABILITIES, "\x03\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00", "can't sign");
}

static void a_claim_that_is_missing_or_of_another_form_is_refused(void **state)
{
    for (int claim = 0; claim < N_CLAIMS; claim++)
        assert_claim_is_refused(*state, claim, NULL, 0, "lacks something");
    static const char LACKS[] = "lacks something";
    ASSERT_CLAIM_IS_REFUSED(FIRMWARE, "\x04\x02\x02\x04", LACKS);
    ASSERT_CLAIM_IS_REFUSED(SERIAL, "\x02\x05\x01\x02\x0b\xd9\xfd", LACKS);
    ASSERT_CLAIM_IS_REFUSED(SERIAL, "\x02\x01\xff", LACKS);
    ASSERT_CLAIM_IS_REFUSED(SERIAL, "\x02\x00", LACKS);
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03\x02\x07\x80", LACKS);
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03\x03\x00\x01\x00", LACKS);
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x04\x02\x00\x01", LACKS);
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03\x02\x00\x01\x00", LACKS);
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03\x81\x02\x00\x01", LACKS);
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "\x03", LACKS);
    ASSERT_CLAIM_IS_REFUSED(ORIGIN, "", LACKS);
    ASSERT_CLAIM_IS_REFUSED(CAPABILITIES, "\x03\x05\x00\x00\x00\x00\x80", LACKS);
    ASSERT_CLAIM_IS_REFUSED(OBJECT_ID, "\x02\x03\x01\x2f\x5d", LACKS);
    ASSERT_CLAIM_IS_REFUSED(LABEL, "\x0c\x02\xff\xff", LACKS);
    ASSERT_CLAIM_IS_REFUSED(LABEL,
                            "\x0c\x03"
                            "a\0b",
                            LACKS);
    ASSERT_CLAIM_IS_REFUSED(LABEL,
                            "\x0c\x29"
                            "12345678901234567890123456789012345678901",
                            LACKS);
}

static void a_claim_that_is_made_twice_is_refused(void **state)
{
    struct scene *scene = *state;
    struct raw_extension claims[N_CLAIMS + 1];
    memcpy(claims, GOOD, sizeof GOOD);
    claims[N_CLAIMS] = (struct raw_extension)CLAIM("3", "\x03\x02\x00\x02");
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_leaf(scene->device, claims, N_CLAIMS + 1);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_certificate(test_certificate_der(leaf), NULL);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, leaf, scene->device, scene->sub);
    assert_refused(&attestation, key, "lacks something");
}

static void a_file_with_anything_else_in_it_is_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, scene->leaf, scene->device, scene->sub);
    BIO *pem = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PrivateKey(pem, scene->leaf->key, NULL, NULL, 0, NULL, NULL));
    char *data;
    long length = BIO_get_mem_data(pem, &data);
    assert_true(mm_buffer_append(&attestation.parts[MM_ATTESTATION_STATEMENT], data, (size_t)length, NULL));
    assert_refused(&attestation, scene->key, "isn't a PEM file of certificates");
    mm_cleanup(mm_attestation_clear) struct mm_attestation anchor =
        make(scene->root, scene->leaf, scene->device, scene->sub);
    assert_true(mm_buffer_append(&anchor.parts[MM_ATTESTATION_ANCHOR], data, (size_t)length, NULL));
    assert_refused(&anchor, scene->key, "CA file");
    BIO_free_all(pem);
    mm_cleanup(mm_attestation_clear) struct mm_attestation text = make(scene->root, scene->leaf, NULL, NULL);
    mm_buffer_clear(&text.parts[MM_ATTESTATION_STATEMENT]);
    assert_true(mm_buffer_append_string(&text.parts[MM_ATTESTATION_STATEMENT], "hello", NULL));
    assert_refused(&text, scene->key, "isn't a PEM file of certificates");
}

static void parts_of_another_kind_are_refused(void **state)
{
    struct scene *scene = *state;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        make(scene->root, scene->leaf, scene->device, scene->sub);
    assert_true(mm_buffer_append_string(&attestation.parts[MM_ATTESTATION_NONCE], "x", NULL));
    assert_refused(&attestation, scene->key, "has no nonce");
    mm_cleanup(mm_attestation_clear) struct mm_attestation empty = mm_attestation_make(MM_ATTESTATION_YUBIHSM2);
    assert_refused(&empty, scene->key, "needs a statement");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_device_says_is_told),
        cmocka_unit_test(a_custodian_may_believe_the_sub_ca_or_the_device_alone),
        cmocka_unit_test(it_survives_being_kept_as_json),
        cmocka_unit_test(json_of_something_else_is_refused),
        cmocka_unit_test(an_attestation_of_another_key_is_refused),
        cmocka_unit_test(a_chain_to_another_root_is_refused),
        cmocka_unit_test(what_an_expired_device_says_is_refused),
        cmocka_unit_test(a_leaf_that_is_its_own_anchor_is_refused),
        cmocka_unit_test(an_issuer_that_is_no_ca_is_refused),
        cmocka_unit_test(what_an_attested_key_attests_is_refused),
        cmocka_unit_test(a_certificate_of_another_device_is_refused),
        cmocka_unit_test(an_imported_key_is_refused),
        cmocka_unit_test(a_key_that_can_leave_or_does_more_than_sign_is_refused),
        cmocka_unit_test(a_claim_that_is_missing_or_of_another_form_is_refused),
        cmocka_unit_test(a_claim_that_is_made_twice_is_refused),
        cmocka_unit_test(a_file_with_anything_else_in_it_is_refused),
        cmocka_unit_test(parts_of_another_kind_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
