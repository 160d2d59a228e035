/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that a CA has taken back, and lists that can't be believed.
 */
#include "crypto/certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "tests/support/make_certificate.h"

static const char URI[] = "URI:spiffe://acme.example/ci/build";

MM_DEFINE_CLEANUP(X509_CRL, X509_CRL_free);

static struct test_certificate *root;
static struct test_certificate *leaf;

static int set_up(void **state)
{
    (void)state;
    root = make_ca("Acme CA", NULL);
    leaf = make_client(root, URI);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_certificate_free(root);
    test_certificate_free(leaf);
    return 0;
}

struct crl_spec {
    const struct test_certificate *issuer;  /* the root */
    const struct test_certificate *signer;  /* whoever issues it */
    const struct test_certificate *revoked; /* nobody */
    int64_t this_update;                    /* an hour before TEST_NOW */
    int64_t next_update;                    /* an hour after TEST_NOW; -1: none */
    int extension;                          /* NID of one; 0: none */
    int entry_extension;
    bool is_critical;     /* the extension */
    const EVP_MD *digest; /* SHA-256 */
};

static X509_EXTENSION *make_extension(int nid, bool is_critical)
{
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    static const uint8_t DER[] = {0x30, 0x00};
    assert_true(ASN1_OCTET_STRING_set(value, DER, sizeof DER));
    X509_EXTENSION *extension = X509_EXTENSION_create_by_NID(NULL, nid, is_critical, value);
    ASN1_OCTET_STRING_free(value);
    assert_non_null(extension);
    return extension;
}

static void add_revoked(X509_CRL *crl, const ASN1_INTEGER *serial, const struct crl_spec *spec)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *at = ASN1_TIME_set(NULL, TEST_NOW - 7200);
    ASN1_INTEGER *copy = ASN1_INTEGER_dup(serial);
    assert_true(X509_REVOKED_set_serialNumber(entry, copy));
    assert_true(X509_REVOKED_set_revocationDate(entry, at));
    if (spec->entry_extension) {
        X509_EXTENSION *extension = make_extension(spec->entry_extension, true);
        assert_true(X509_REVOKED_add_ext(entry, extension, -1));
        X509_EXTENSION_free(extension);
    }
    assert_true(X509_CRL_add0_revoked(crl, entry));
    ASN1_INTEGER_free(copy);
    ASN1_TIME_free(at);
}

/* With a thousand others before it and after it, so that it has to be found. */
static void revoke_among_others(X509_CRL *crl, const struct crl_spec *spec)
{
    ASN1_INTEGER *other = ASN1_INTEGER_new();
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(ASN1_INTEGER_set_uint64(other, i << 53));
        add_revoked(crl, other, &(struct crl_spec){0});
    }
    ASN1_INTEGER_free(other);
    add_revoked(crl, X509_get0_serialNumber(spec->revoked->x509), spec);
}

static X509_CRL *make_crl(const struct crl_spec *spec)
{
    const struct test_certificate *issuer = spec->issuer ? spec->issuer : root;
    const struct test_certificate *signer = spec->signer ? spec->signer : issuer;
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *time = ASN1_TIME_set(NULL, spec->this_update ? spec->this_update : TEST_NOW - 3600);
    assert_true(X509_CRL_set_version(crl, X509_CRL_VERSION_2));
    assert_true(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x509)));
    assert_true(X509_CRL_set1_lastUpdate(crl, time));
    ASN1_TIME_set(time, spec->next_update ? spec->next_update : TEST_NOW + 3600);
    if (spec->next_update != -1)
        assert_true(X509_CRL_set1_nextUpdate(crl, time));
    ASN1_TIME_free(time);
    if (spec->revoked)
        revoke_among_others(crl, spec);
    if (spec->extension) {
        X509_EXTENSION *extension = make_extension(spec->extension, spec->is_critical);
        assert_true(X509_CRL_add_ext(crl, extension, -1));
        X509_EXTENSION_free(extension);
    }
    assert_true(X509_CRL_sort(crl));
    assert_true(X509_CRL_sign(crl, signer->key, spec->digest ? spec->digest : EVP_sha256()) > 0);
    return crl;
}

static char *crls_pem(const struct crl_spec *first, const struct crl_spec *second)
{
    BIO *pem = BIO_new(BIO_s_mem());
    for (int i = 0; i < 2; i++) {
        const struct crl_spec *spec = i ? second : first;
        mm_cleanup(X509_CRL_free) X509_CRL *crl = spec ? make_crl(spec) : NULL;
        assert_true(!crl || PEM_write_bio_X509_CRL(pem, crl));
    }
    char *data;
    long length = BIO_get_mem_data(pem, &data);
    char *text = strndup(data, (size_t)length);
    BIO_free_all(pem);
    return text;
}

static struct mm_trust *trust_in(const struct test_certificate *first, const struct test_certificate *second)
{
    mm_cleanup(free) char *pem = test_certificates_pem(first, second);
    struct mm_trust *parsed = mm_trust_parse(pem, strlen(pem), NULL);
    assert_non_null(parsed);
    return parsed;
}

static struct mm_trust *trust_with(const struct test_certificate *intermediate, const struct crl_spec *first,
                                   const struct crl_spec *second)
{
    struct mm_error err = {0};
    struct mm_trust *trust = trust_in(root, intermediate);
    mm_cleanup(free) char *pem = crls_pem(first, second);
    bool is_added = mm_trust_add_crls(trust, pem, strlen(pem), &err);
    assert_string_equal(err.message, "");
    assert_true(is_added);
    return trust;
}

static struct mm_certificate *parse(const struct test_certificate *client, const struct test_certificate *intermediate)
{
    struct mm_bytes chain[2] = {test_certificate_der(client)};
    if (intermediate)
        chain[1] = test_certificate_der(intermediate);
    struct mm_certificate *certificate = mm_certificate_parse(chain, intermediate ? 2 : 1, NULL);
    assert_non_null(certificate);
    return certificate;
}

/* The verdict's words; empty: accepted. */
static struct mm_error judge(const struct mm_trust *trust, const struct test_certificate *client,
                             const struct test_certificate *intermediate, int64_t now)
{
    struct mm_error err = {0};
    int64_t not_after;
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(client, intermediate);
    bool is_verified = mm_trust_verify(trust, certificate, now, &not_after, &err);
    assert_int_equal(is_verified, err.code == MM_OK);
    return err;
}

static void assert_refused(struct mm_error err, const char *why)
{
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
    if (!strstr(err.message, why))
        fail_msg("%s: not about %s", err.message, why);
}

static void revoked_certificate_is_refused_and_no_other(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *other = make_client(root, URI);
    mm_cleanup(mm_trust_free) struct mm_trust *trust = trust_with(NULL, &(struct crl_spec){.revoked = leaf}, NULL);
    assert_refused(judge(trust, leaf, NULL, TEST_NOW), "revoked");
    assert_int_equal(judge(trust, other, NULL, TEST_NOW).code, MM_OK);
    assert_int_equal(mm_trust_n_crls(trust), 1);
    const struct mm_crl_facts facts = mm_trust_crl(trust, 0);
    assert_string_equal(facts.issuer, "CN=Acme CA");
    assert_int_equal(facts.n_revoked, 1001);
    assert_int_equal(facts.next_update, TEST_NOW + 3600);
}

static void stranger_with_a_revoked_serial_number_stays_a_stranger(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *ca = make_ca("Acme CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *stranger = make_client(ca, URI);
    mm_cleanup(mm_trust_free) struct mm_trust *trust = trust_with(NULL, &(struct crl_spec){.revoked = stranger}, NULL);
    assert_int_equal(judge(trust, stranger, NULL, TEST_NOW).code, MM_ACCESS_DENIED);
}

static void crl_in_der_is_as_good(void **state)
{
    (void)state;
    mm_cleanup(X509_CRL_free) X509_CRL *crl = make_crl(&(struct crl_spec){.revoked = leaf});
    uint8_t *der = NULL;
    int length = i2d_X509_CRL(crl, &der);
    struct mm_error err = {0};
    mm_cleanup(mm_trust_free) struct mm_trust *trust = trust_in(root, NULL);
    assert_true(mm_trust_add_crls(trust, der, (size_t)length, &err));
    assert_refused(judge(trust, leaf, NULL, TEST_NOW), "revoked");
    mm_cleanup(mm_trust_free) struct mm_trust *other = trust_in(root, NULL);
    assert_false(mm_trust_add_crls(other, der, (size_t)length - 1, &err));
    OPENSSL_free(der);
}

static void crl_is_in_force_between_its_times_give_or_take_a_minute(void **state)
{
    (void)state;
    mm_cleanup(mm_trust_free) struct mm_trust *trust = trust_with(NULL, &(struct crl_spec){0}, NULL);
    static const struct {
        int64_t at;
        const char *why; /* NULL: accepted */
    } CASES[] = {
        {-3600, NULL}, {0, NULL}, {3600 + 59, NULL}, {3600 + 60, "expired"}, {30 * 86400 - 1, "expired"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_error err = judge(trust, leaf, NULL, TEST_NOW + CASES[i].at);
        if (CASES[i].why)
            assert_refused(err, CASES[i].why);
        else
            assert_string_equal(err.message, "");
    }
    mm_cleanup(mm_trust_free) struct mm_trust *early =
        trust_with(NULL, &(struct crl_spec){.this_update = TEST_NOW + 60}, NULL);
    assert_refused(judge(early, leaf, NULL, TEST_NOW - 1), "isn't in force yet");
    assert_int_equal(judge(early, leaf, NULL, TEST_NOW).code, MM_OK);
}

/* What a certificate remembers of a path must end with the CRL, and not outlive a newer one. */
static void verified_path_is_not_remembered_beyond_its_crl(void **state)
{
    (void)state;
    struct mm_error err = {0};
    int64_t not_after;
    mm_cleanup(mm_trust_free) struct mm_trust *bare = trust_in(root, NULL);
    mm_cleanup(mm_trust_free) struct mm_trust *before = trust_with(NULL, &(struct crl_spec){0}, NULL);
    mm_cleanup(mm_trust_free) struct mm_trust *after = trust_with(NULL, &(struct crl_spec){.revoked = leaf}, NULL);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL);
    assert_true(mm_trust_verify(bare, certificate, TEST_NOW, &not_after, &err));
    assert_true(mm_trust_verify(before, certificate, TEST_NOW, &not_after, &err));
    assert_true(mm_trust_verify(before, certificate, TEST_NOW + 3659, &not_after, &err));
    assert_false(mm_trust_verify(before, certificate, TEST_NOW + 3660, &not_after, &err));
    assert_refused(err, "expired");
    err = (struct mm_error){0};
    assert_true(mm_trust_verify(before, certificate, TEST_NOW, &not_after, &err));
    assert_false(mm_trust_verify(after, certificate, TEST_NOW, &not_after, &err));
    assert_refused(err, "revoked");
}

static void each_ca_that_has_issued_needs_a_crl(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_ca("Intermediate", root);
    mm_cleanup(test_certificate_free) struct test_certificate *below = make_client(intermediate, URI);
    const struct crl_spec of_root = {0};
    const struct crl_spec of_intermediate = {.issuer = intermediate};
    mm_cleanup(mm_trust_free) struct mm_trust *both = trust_with(intermediate, &of_root, &of_intermediate);
    mm_cleanup(mm_trust_free) struct mm_trust *upper = trust_with(intermediate, &of_root, NULL);
    mm_cleanup(mm_trust_free) struct mm_trust *lower = trust_with(intermediate, &of_intermediate, NULL);
    mm_cleanup(mm_trust_free) struct mm_trust *unlisted = trust_with(NULL, &of_root, NULL);
    assert_int_equal(judge(both, below, NULL, TEST_NOW).code, MM_OK);
    assert_int_equal(judge(both, leaf, NULL, TEST_NOW).code, MM_OK);
    assert_refused(judge(upper, below, NULL, TEST_NOW), "no CRL");
    assert_int_equal(judge(upper, leaf, NULL, TEST_NOW).code, MM_OK);
    assert_refused(judge(lower, below, NULL, TEST_NOW), "no CRL");
    assert_refused(judge(unlisted, below, intermediate, TEST_NOW), "no CRL");
}

/* It is an anchor by itself where it is listed, and revoked all the same. */
static void revoked_intermediate_takes_its_certificates_along(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_ca("Intermediate", root);
    mm_cleanup(test_certificate_free) struct test_certificate *below = make_client(intermediate, URI);
    const struct crl_spec of_root = {.revoked = intermediate};
    const struct crl_spec of_intermediate = {.issuer = intermediate};
    mm_cleanup(mm_trust_free) struct mm_trust *both = trust_with(intermediate, &of_root, &of_intermediate);
    mm_cleanup(mm_trust_free) struct mm_trust *unlisted = trust_with(NULL, &of_root, NULL);
    assert_refused(judge(both, below, NULL, TEST_NOW), "revoked");
    assert_refused(judge(both, below, intermediate, TEST_NOW), "revoked");
    assert_int_equal(judge(unlisted, below, intermediate, TEST_NOW).code, MM_CERTIFICATE_INVALID);
    assert_int_equal(judge(both, leaf, NULL, TEST_NOW).code, MM_OK);
}

static void list_that_cannot_be_believed_is_refused(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *other = make_ca("Acme CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *stranger = make_ca("Stranger", NULL);
    const struct {
        struct crl_spec spec;
        const char *why;
    } CASES[] = {
        {{.signer = other}, "none of the CAs has signed"},
        {{.issuer = stranger}, "none of the CAs has signed"},
        {{.digest = EVP_sha1()}, "algorithm"},
        {{.next_update = -1}, "nextUpdate"},
        {{.extension = NID_delta_crl, .is_critical = true}, "delta"},
        {{.extension = NID_delta_crl}, "delta"},
        {{.extension = NID_issuing_distribution_point, .is_critical = true}, "distribution point"},
        {{.extension = NID_issuing_distribution_point}, "distribution point"},
        {{.extension = NID_netscape_comment, .is_critical = true}, "critical extension"},
        {{.revoked = leaf, .entry_extension = NID_certificate_issuer}, "indirect"},
        {{.revoked = leaf, .entry_extension = NID_netscape_comment}, "critical extension"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_error err = {0};
        mm_cleanup(free) char *pem = crls_pem(&CASES[i].spec, NULL);
        mm_cleanup(mm_trust_free) struct mm_trust *trust = trust_in(root, NULL);
        assert_false(mm_trust_add_crls(trust, pem, strlen(pem), &err));
        assert_int_equal(err.code, MM_CONFIG_INVALID);
        if (!strstr(err.message, CASES[i].why))
            fail_msg("%s: not about %s", err.message, CASES[i].why);
    }
}

static void file_of_anything_else_is_refused(void **state)
{
    (void)state;
    mm_cleanup(free) char *two = crls_pem(&(struct crl_spec){0}, &(struct crl_spec){.revoked = leaf});
    mm_cleanup(free) char *certificate = test_certificates_pem(root, NULL);
    mm_cleanup(free) char *one = crls_pem(&(struct crl_spec){0}, NULL);
    one[strlen(one) / 2] = '!';
    const char *const FILES[] = {"", "nonsense\n", "0", certificate, two, one};
    for (size_t i = 0; i < MM_ARRAY_SIZE(FILES); i++) {
        struct mm_error err = {0};
        mm_cleanup(mm_trust_free) struct mm_trust *trust = trust_in(root, NULL);
        assert_false(mm_trust_add_crls(trust, FILES[i], strlen(FILES[i]), &err));
        assert_int_equal(err.code, MM_CONFIG_INVALID);
    }
}

static void ca_that_may_not_sign_crls_has_none(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *ca =
        make_certificate(&(struct certificate_spec){.common_name = "No CRLs",
                                                    .basic_constraints = "critical,CA:TRUE",
                                                    .key_usage = "critical,keyCertSign"});
    mm_cleanup(free) char *pem = crls_pem(&(struct crl_spec){.issuer = ca}, NULL);
    mm_cleanup(mm_trust_free) struct mm_trust *trust = trust_in(ca, NULL);
    struct mm_error err = {0};
    assert_false(mm_trust_add_crls(trust, pem, strlen(pem), &err));
    assert_non_null(strstr(err.message, "key usage"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(revoked_certificate_is_refused_and_no_other),
        cmocka_unit_test(stranger_with_a_revoked_serial_number_stays_a_stranger),
        cmocka_unit_test(crl_in_der_is_as_good),
        cmocka_unit_test(crl_is_in_force_between_its_times_give_or_take_a_minute),
        cmocka_unit_test(verified_path_is_not_remembered_beyond_its_crl),
        cmocka_unit_test(each_ca_that_has_issued_needs_a_crl),
        cmocka_unit_test(revoked_intermediate_takes_its_certificates_along),
        cmocka_unit_test(list_that_cannot_be_believed_is_refused),
        cmocka_unit_test(file_of_anything_else_is_refused),
        cmocka_unit_test(ca_that_may_not_sign_crls_has_none),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
