/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which client certificates a tenant's CA stands behind, and how strangers are kept from learning more than that it doesn't.
 */
#include "crypto/certificate.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/support/make_certificate.h"

static const char URI[] = "URI:spiffe://acme.example/ci/build";

static struct test_certificate *root;
static struct mm_trust *trust;

static struct mm_trust *trust_in(const struct test_certificate *first, const struct test_certificate *second)
{
    mm_cleanup(free) char *pem = test_certificates_pem(first, second);
    struct mm_error err = {0};
    struct mm_trust *parsed = mm_trust_parse(pem, strlen(pem), &err);
    assert_string_equal(err.message, "");
    assert_non_null(parsed);
    return parsed;
}

static int set_up(void **state)
{
    (void)state;
    root = make_ca("Acme CA", NULL);
    trust = trust_in(root, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mm_trust_free(trust);
    test_certificate_free(root);
    return 0;
}

static struct mm_certificate *parse(const struct test_certificate *leaf, const struct test_certificate *intermediate,
                                    struct mm_error *err)
{
    struct mm_bytes chain[2] = {test_certificate_der(leaf)};
    if (intermediate)
        chain[1] = test_certificate_der(intermediate);
    return mm_certificate_parse(chain, intermediate ? 2 : 1, err);
}

static enum mm_code verify_at(const struct mm_trust *anchors, const struct test_certificate *leaf,
                              const struct test_certificate *intermediate, int64_t now, struct mm_error *ret_err)
{
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, intermediate, &err);
    assert_string_equal(err.message, "");
    int64_t not_after = -1;
    bool verified = mm_trust_verify(anchors, certificate, now, &not_after, &err);
    assert_int_equal(verified, err.code == MM_OK);
    assert_int_equal(not_after == -1, !verified);
    if (ret_err)
        *ret_err = err;
    return err.code;
}

static enum mm_code verify(const struct test_certificate *leaf, const struct test_certificate *intermediate)
{
    return verify_at(trust, leaf, intermediate, TEST_NOW, NULL);
}

/* The verdict on a leaf of the tenant's CA that follows `spec`, which needs no issuer. */
static enum mm_code verdict_on(struct certificate_spec spec)
{
    spec.issuer = root;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_certificate(&spec);
    return verify(leaf, NULL);
}

/* The verdict on a good leaf below an intermediate of the tenant's CA that follows `spec`. */
static enum mm_code verdict_below(struct certificate_spec spec)
{
    spec.common_name = "Intermediate";
    spec.issuer = root;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_certificate(&spec);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(intermediate, URI);
    return verify(leaf, intermediate);
}

static void client_certificate_of_the_tenants_ca_is_accepted(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL, &err);
    int64_t not_after;
    assert_true(mm_trust_verify(trust, certificate, TEST_NOW, &not_after, &err));
    assert_int_equal(not_after, TEST_NOT_AFTER);
}

/* An intermediate CA of `root` for the next 600 s. */
static struct test_certificate *make_short_lived_ca(void)
{
    return make_certificate(&(struct certificate_spec){
        .common_name = "Intermediate",
        .issuer = root,
        .basic_constraints = "critical,CA:TRUE",
        .not_after = TEST_NOW + 600,
    });
}

static void the_chains_earliest_end_counts(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_short_lived_ca();
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(intermediate, URI);
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, intermediate, &err);
    int64_t not_after;
    assert_true(mm_trust_verify(trust, certificate, TEST_NOW, &not_after, &err));
    assert_int_equal(not_after, TEST_NOW + 600);
}

static enum mm_code verify_again(const struct mm_trust *anchors, struct mm_certificate *certificate, int64_t now)
{
    struct mm_error err = {0};
    int64_t not_after = -1;
    bool verified = mm_trust_verify(anchors, certificate, now, &not_after, &err);
    assert_int_equal(not_after, verified ? TEST_NOW + 600 : -1);
    return err.code;
}

/* A verified path is remembered: time and trust must count as if it weren't. */
static void certificate_that_verified_once_can_still_expire(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_short_lived_ca();
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(intermediate, URI);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, intermediate, NULL);
    assert_int_equal(verify_again(trust, certificate, TEST_NOW), MM_OK);
    assert_int_equal(verify_again(trust, certificate, TEST_NOW + 599), MM_OK);
    assert_int_equal(verify_again(trust, certificate, TEST_NOW + 600), MM_CERTIFICATE_INVALID);
    assert_int_equal(verify_again(trust, certificate, TEST_NOW - 10 * 365 * 86400), MM_CERTIFICATE_INVALID);
    assert_int_equal(verify_again(trust, certificate, TEST_NOW), MM_OK);
}

static void certificate_that_verified_once_is_a_stranger_to_another_ca(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_short_lived_ca();
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(intermediate, URI);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, intermediate, NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *impostor = make_ca("Acme CA", NULL);
    mm_cleanup(mm_trust_free) struct mm_trust *others = trust_in(impostor, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(verify_again(trust, certificate, TEST_NOW), MM_OK);
        assert_int_equal(verify_again(others, certificate, TEST_NOW), MM_ACCESS_DENIED);
    }
}

static void missing_intermediate_makes_a_stranger(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_ca("Intermediate", root);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(intermediate, URI);
    assert_int_equal(verify(leaf, intermediate), MM_OK);
    assert_int_equal(verify(leaf, NULL), MM_ACCESS_DENIED);
}

static void intermediate_alone_may_be_the_anchor(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *intermediate = make_ca("Intermediate", root);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(intermediate, URI);
    mm_cleanup(test_certificate_free) struct test_certificate *sibling = make_client(root, URI);
    mm_cleanup(mm_trust_free) struct mm_trust *narrow = trust_in(intermediate, NULL);
    assert_int_equal(verify_at(narrow, leaf, NULL, TEST_NOW, NULL), MM_OK);
    assert_int_equal(verify_at(narrow, leaf, intermediate, TEST_NOW, NULL), MM_OK);
    assert_int_equal(verify_at(narrow, sibling, NULL, TEST_NOW, NULL), MM_ACCESS_DENIED);
    assert_int_equal(verify_at(narrow, sibling, root, TEST_NOW, NULL), MM_ACCESS_DENIED);
}

static void certificate_of_another_ca_of_the_same_name_is_a_stranger(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *impostor = make_ca("Acme CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(impostor, URI);
    assert_int_equal(verify(leaf, NULL), MM_ACCESS_DENIED);
    assert_int_equal(verify(leaf, impostor), MM_ACCESS_DENIED);
}

static void stranger_learns_nothing_from_an_expired_certificate(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *impostor = make_ca("Acme CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *expired = make_certificate(
        &(struct certificate_spec){.common_name = "client", .issuer = impostor, .not_after = TEST_NOW - 1});
    assert_int_equal(verify(expired, NULL), MM_ACCESS_DENIED);
    assert_int_equal(verify(expired, impostor), MM_ACCESS_DENIED);
}

static void self_signed_certificate_is_a_stranger(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(NULL, URI);
    assert_int_equal(verify(leaf, NULL), MM_ACCESS_DENIED);
}

static void system_cas_are_not_trusted(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *public_ca = make_ca("Public CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(public_ca, URI);
    char path[] = "/tmp/mm-test-ca-XXXXXX";
    int fd = mkstemp(path);
    mm_cleanup(free) char *pem = test_certificates_pem(public_ca, NULL);
    assert_int_equal(write(fd, pem, strlen(pem)), strlen(pem));
    assert_int_equal(close(fd), 0);
    assert_int_equal(setenv("SSL_CERT_FILE", path, 1), 0);
    assert_int_equal(verify(leaf, NULL), MM_ACCESS_DENIED);
    assert_int_equal(unsetenv("SSL_CERT_FILE"), 0);
    assert_int_equal(unlink(path), 0);
}

static void validity_is_checked_to_the_second(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_certificate(&(struct certificate_spec){
        .issuer = root, .extended_key_usage = "clientAuth", .not_before = TEST_NOW, .not_after = TEST_NOW + 60});
    struct mm_error err;
    assert_int_equal(verify_at(trust, leaf, NULL, TEST_NOW, NULL), MM_OK);
    assert_int_equal(verify_at(trust, leaf, NULL, TEST_NOW + 59, NULL), MM_OK);
    assert_int_equal(verify_at(trust, leaf, NULL, TEST_NOW + 61, &err), MM_CERTIFICATE_INVALID);
    assert_non_null(strstr(err.message, "expired"));
    assert_int_equal(verify_at(trust, leaf, NULL, TEST_NOW - 1, &err), MM_CERTIFICATE_INVALID);
    assert_non_null(strstr(err.message, "not yet valid"));
}

static void expired_ca_is_refused(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.issuer = root,
                                                    .extended_key_usage = "clientAuth",
                                                    .not_after = TEST_NOT_AFTER + 1000});
    assert_int_equal(verify_at(trust, leaf, NULL, TEST_NOT_AFTER + 500, NULL), MM_CERTIFICATE_INVALID);
    assert_int_equal(verdict_below((struct certificate_spec){
                         .basic_constraints = "critical,CA:TRUE",
                         .not_after = TEST_NOW - 1,
                     }),
                     MM_CERTIFICATE_INVALID);
}

static void renewed_ca_serves_beside_its_expired_self(void **state)
{
    (void)state;
    struct certificate_spec spec = {.common_name = "Acme CA",
                                    .key = root->key,
                                    .basic_constraints = "critical,CA:TRUE",
                                    .not_after = TEST_NOW - 1};
    mm_cleanup(test_certificate_free) struct test_certificate *old = make_certificate(&spec);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    mm_cleanup(mm_trust_free) struct mm_trust *old_first = trust_in(old, root);
    mm_cleanup(mm_trust_free) struct mm_trust *new_first = trust_in(root, old);
    assert_int_equal(verify_at(old_first, leaf, NULL, TEST_NOW, NULL), MM_OK);
    assert_int_equal(verify_at(new_first, leaf, NULL, TEST_NOW, NULL), MM_OK);
}

static void assert_overlap(const struct test_certificate *a, const struct test_certificate *b, bool expected)
{
    mm_cleanup(mm_trust_free) struct mm_trust *one = trust_in(a, NULL);
    mm_cleanup(mm_trust_free) struct mm_trust *other = trust_in(b, NULL);
    bool overlap = !expected;
    assert_true(mm_trusts_overlap(one, other, &overlap, NULL));
    assert_int_equal(overlap, expected);
    overlap = !expected;
    assert_true(mm_trusts_overlap(other, one, &overlap, NULL));
    assert_int_equal(overlap, expected);
}

static void cas_overlap_if_one_stands_above_the_other_whenever(void **state)
{
    (void)state;
    struct certificate_spec renewed = {.common_name = "Acme CA",
                                       .key = root->key,
                                       .basic_constraints = "critical,CA:TRUE",
                                       .not_after = TEST_NOW - 1};
    struct certificate_spec namesake = {.common_name = "Acme CA", .basic_constraints = "critical,CA:TRUE"};
    mm_cleanup(test_certificate_free) struct test_certificate *old = make_certificate(&renewed);
    mm_cleanup(test_certificate_free) struct test_certificate *same_name = make_certificate(&namesake);
    mm_cleanup(test_certificate_free) struct test_certificate *below = make_ca("Below", root);
    mm_cleanup(test_certificate_free) struct test_certificate *beside = make_ca("Beside", root);
    mm_cleanup(test_certificate_free) struct test_certificate *apart = make_ca("Apart", NULL);
    assert_overlap(root, root, true);
    assert_overlap(root, old, true);
    assert_overlap(root, below, true);
    assert_overlap(root, apart, false);
    assert_overlap(root, same_name, false);
    assert_overlap(below, beside, false); /* neither's clients are the other's */
}

static void certificate_without_client_auth_is_refused(void **state)
{
    (void)state;
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "clientAuth"}), MM_OK);
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "serverAuth,clientAuth"}), MM_OK);
    assert_int_equal(verdict_on((struct certificate_spec){0}), MM_CERTIFICATE_INVALID);
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "serverAuth"}), MM_CERTIFICATE_INVALID);
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "anyExtendedKeyUsage"}),
                     MM_CERTIFICATE_INVALID);
}

static void key_usage_must_suit_a_client(void **state)
{
    (void)state;
    assert_int_equal(verdict_on(
                         (struct certificate_spec){.extended_key_usage = "clientAuth", .key_usage = "keyEncipherment"}),
                     MM_CERTIFICATE_INVALID);
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "clientAuth",
                                                          .key_usage = "digitalSignature,keyCertSign"}),
                     MM_CERTIFICATE_INVALID);
}

static void ca_is_no_client(void **state)
{
    (void)state;
    assert_int_equal(verdict_on(
                         (struct certificate_spec){.basic_constraints = "CA:TRUE", .extended_key_usage = "clientAuth"}),
                     MM_CERTIFICATE_INVALID);
    assert_int_equal(verify(root, NULL), MM_CERTIFICATE_INVALID);
}

static void client_cannot_issue_clients(void **state)
{
    (void)state;
    assert_int_equal(verdict_below((struct certificate_spec){.basic_constraints = "critical,CA:TRUE"}), MM_OK);
    assert_int_equal(verdict_below((struct certificate_spec){.extended_key_usage = "clientAuth"}), MM_ACCESS_DENIED);
    assert_int_equal(verdict_below((struct certificate_spec){.basic_constraints = "CA:FALSE"}), MM_ACCESS_DENIED);
    assert_int_equal(verdict_below((struct certificate_spec){.key_usage = "keyCertSign"}), MM_ACCESS_DENIED);
    assert_int_equal(verdict_below((struct certificate_spec){.netscape_type = "sslCA"}), MM_ACCESS_DENIED);
    assert_int_equal(verdict_below((struct certificate_spec){.basic_constraints = "critical,CA:TRUE",
                                                             .key_usage = "digitalSignature"}),
                     MM_ACCESS_DENIED);
}

static void expired_client_cannot_issue_clients_either(void **state)
{
    (void)state;
    struct certificate_spec spec = {.netscape_type = "sslCA", .not_after = TEST_NOW - 1};
    assert_int_equal(verdict_below(spec), MM_ACCESS_DENIED);
    spec = (struct certificate_spec){.key_usage = "keyCertSign", .not_after = TEST_NOW - 1};
    assert_int_equal(verdict_below(spec), MM_ACCESS_DENIED);
}

static void ca_for_servers_only_cannot_issue_clients(void **state)
{
    (void)state;
    struct certificate_spec spec = {.basic_constraints = "critical,CA:TRUE", .extended_key_usage = "serverAuth"};
    assert_int_equal(verdict_below(spec), MM_ACCESS_DENIED);
    spec.not_after = TEST_NOW - 1;
    assert_int_equal(verdict_below(spec), MM_ACCESS_DENIED);
    spec.not_after = 0;
    spec.extended_key_usage = "serverAuth,clientAuth";
    assert_int_equal(verdict_below(spec), MM_OK);
}

static void limits_that_a_ca_sets_hold(void **state)
{
    (void)state;
    struct certificate_spec spec = {.basic_constraints = "critical,CA:TRUE",
                                    .name_constraints = "permitted;URI:acme.example"};
    assert_int_equal(verdict_below(spec), MM_OK);
    spec.name_constraints = "permitted;URI:other.example";
    assert_int_equal(verdict_below(spec), MM_ACCESS_DENIED);

    mm_cleanup(test_certificate_free) struct test_certificate *last =
        make_certificate(&(struct certificate_spec){.common_name = "Last CA",
                                                    .basic_constraints = "critical,CA:TRUE,pathlen:0",
                                                    .key_usage = "keyCertSign"});
    mm_cleanup(test_certificate_free) struct test_certificate *below = make_ca("Below", last);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(below, URI);
    mm_cleanup(mm_trust_free) struct mm_trust *anchors = trust_in(last, NULL);
    assert_int_equal(verify_at(anchors, leaf, below, TEST_NOW, NULL), MM_ACCESS_DENIED);
}

static void weak_signatures_and_keys_count_for_nothing(void **state)
{
    (void)state;
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "clientAuth", .rsa_bits = 2048}),
                     MM_OK);
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "clientAuth", .digest = "SHA1"}),
                     MM_ACCESS_DENIED);
    assert_int_equal(verdict_on((struct certificate_spec){.extended_key_usage = "clientAuth", .rsa_bits = 1024}),
                     MM_ACCESS_DENIED);
    assert_int_equal(verdict_below(
                         (struct certificate_spec){.basic_constraints = "critical,CA:TRUE", .digest = "SHA1"}),
                     MM_ACCESS_DENIED);
}

/* Whether a certificate with this key can be parsed; frees the key. */
static bool is_taken(EVP_PKEY *key)
{
    assert_non_null(key);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.common_name = "client", .issuer = root, .key = key});
    EVP_PKEY_free(key);
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL, &err);
    assert_int_equal(err.code, certificate ? MM_OK : MM_CERTIFICATE_INVALID);
    return certificate;
}

static EVP_PKEY *ec_key(const char *curve, const char *parameter, const char *value)
{
    EVP_PKEY *key = EVP_EC_gen(curve);
    assert_non_null(key);
    if (parameter)
        assert_true(EVP_PKEY_set_utf8_string_param(key, parameter, value));
    return key;
}

/* A public key of `bits` bits, which needn't be anybody's. */
static EVP_PKEY *rsa_key(const char *algorithm, int bits, uint64_t exponent)
{
    BIGNUM *modulus = BN_new();
    BIGNUM *public_exponent = BN_new();
    assert_true(BN_set_bit(modulus, bits - 1) && BN_set_bit(modulus, 0) &&
                BN_lebin2bn((uint8_t *)&exponent, 8, public_exponent));
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    assert_true(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus));
    assert_true(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, public_exponent));
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters), 1);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    BN_free(public_exponent);
    BN_free(modulus);
    return key;
}

static void usual_keys_are_taken_and_no_others(void **state)
{
    (void)state;
    assert_true(is_taken(ec_key("P-256", NULL, NULL)));
    assert_true(is_taken(ec_key("P-384", NULL, NULL)));
    assert_true(is_taken(ec_key("P-521", NULL, NULL)));
    assert_false(is_taken(ec_key("secp256k1", NULL, NULL)));
    assert_false(is_taken(ec_key("P-256", OSSL_PKEY_PARAM_EC_ENCODING, "explicit")));
    assert_false(is_taken(ec_key("P-256", OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed")));
    assert_false(is_taken(ec_key("P-256", OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "hybrid")));
    assert_true(is_taken(rsa_key("RSA", 2048, 65537)));
    assert_true(is_taken(rsa_key("RSA", 4096, UINT32_MAX)));
    assert_true(is_taken(rsa_key("RSA-PSS", 4096, 65537)));
    assert_false(is_taken(rsa_key("RSA", 4097, 65537)));
    assert_false(is_taken(rsa_key("RSA", 2048, UINT64_C(1) << 32 | 1)));
    assert_true(is_taken(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")));
    assert_false(is_taken(EVP_PKEY_Q_keygen(NULL, NULL, "ED448")));
    assert_false(is_taken(EVP_PKEY_Q_keygen(NULL, NULL, "X25519")));
}

static size_t read_costly(char *out, size_t size)
{
    FILE *file = fopen(MM_TEST_SUPPORT "/costly_curve.pem", "r");
    assert_non_null(file);
    size_t length = fread(out, 1, size, file);
    (void)fclose(file);
    assert_in_range(length, 1, size - 1);
    return length;
}

/* Nobody has asked a CA yet: a stranger pays for its certificates with its own time. */
static void key_that_is_costly_to_decode_costs_nothing(void **state)
{
    (void)state;
    char pem[4096];
    size_t pem_length = read_costly(pem, sizeof pem);
    BIO *bio = BIO_new_mem_buf(pem, (int)pem_length);
    char *name, *header;
    uint8_t *der;
    long length;
    assert_int_equal(PEM_read_bio(bio, &name, &header, &der, &length), 1);
    struct mm_bytes chain[MM_CHAIN_MAX];
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    for (size_t i = 0; i < MM_ARRAY_SIZE(chain); i++)
        chain[i] = i == 0 ? test_certificate_der(leaf) : (struct mm_bytes){der, (size_t)length};

    clock_t before = clock();
    struct mm_error err = {0};
    for (int i = 0; i < 10; i++) {
        assert_null(mm_certificate_parse(chain, MM_ARRAY_SIZE(chain), &err));
        assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
        assert_null(mm_certificate_parse(&chain[1], 1, NULL));
        assert_null(mm_trust_parse(pem, pem_length, NULL));
    }
    assert_in_range(clock() - before, 0, CLOCKS_PER_SEC / 4); /* the price of decoding one of them once */
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
}

static void no_flipped_bit_survives(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    for (size_t i = 0; i < leaf->der_length; i++) {
        leaf->der[i] ^= 0x01;
        struct mm_error err = {0};
        mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL, &err);
        int64_t not_after;
        assert_false(certificate && mm_trust_verify(trust, certificate, TEST_NOW, &not_after, &err));
        leaf->der[i] ^= 0x01;
    }
    assert_int_equal(verify(leaf, NULL), MM_OK);
}

static void what_is_not_exactly_der_is_refused(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    mm_cleanup(free) uint8_t *longer = calloc(1, leaf->der_length + 1);
    memcpy(longer, leaf->der, leaf->der_length);
    struct mm_bytes bytes = {longer, leaf->der_length + 1};
    struct mm_error err = {0};
    assert_null(mm_certificate_parse(&bytes, 1, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
    for (bytes.length = 0; bytes.length < leaf->der_length; bytes.length++)
        assert_null(mm_certificate_parse(&bytes, 1, &err));
}

/* BER knows other lengths for the outermost SEQUENCE; a fingerprint over such a form would name no certificate. */
static void other_spellings_of_a_certificate_are_refused(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    assert_memory_equal(leaf->der, "\x30\x82", 2);
    size_t n_content = leaf->der_length - 4;
    mm_cleanup(free) uint8_t *longer = calloc(1, leaf->der_length + 1);
    memcpy(longer, "\x30\x83", 2);
    memcpy(longer + 3, leaf->der + 2, n_content + 2);
    mm_cleanup(free) uint8_t *indefinite = calloc(1, leaf->der_length);
    memcpy(indefinite, "\x30\x80", 2);
    memcpy(indefinite + 2, leaf->der + 4, n_content);
    struct mm_error err = {0};
    assert_null(mm_certificate_parse(&(struct mm_bytes){longer, leaf->der_length + 1}, 1, &err));
    assert_null(mm_certificate_parse(&(struct mm_bytes){indefinite, leaf->der_length}, 1, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
}

static void chain_is_bounded(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    struct mm_bytes chain[MM_CHAIN_MAX + 1];
    for (size_t i = 0; i < MM_ARRAY_SIZE(chain); i++)
        chain[i] = test_certificate_der(leaf);
    struct mm_error err = {0};
    assert_null(mm_certificate_parse(chain, 0, &err));
    assert_null(mm_certificate_parse(chain, MM_CHAIN_MAX + 1, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
    err = (struct mm_error){0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *most = mm_certificate_parse(chain, MM_CHAIN_MAX, &err);
    assert_non_null(most);
}

static void huge_certificate_is_refused(void **state)
{
    (void)state;
    mm_cleanup(free) char *name = calloc(1, MM_CHAIN_BYTES_MAX + 1);
    memset(name, 'a', MM_CHAIN_BYTES_MAX);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.issuer = root, .raw_name = {GEN_URI, name, MM_CHAIN_BYTES_MAX}});
    struct mm_error err = {0};
    assert_null(parse(leaf, NULL, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
}

/* The leaf with an extension of this value, which nobody knows, added `n` times. */
static struct test_certificate *make_stuffed(const void *value, size_t length, size_t n)
{
    struct test_certificate *made =
        make_certificate(&(struct certificate_spec){.issuer = root, .alternative_names = URI});
    ASN1_OCTET_STRING *string = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *name = OBJ_txt2obj("1.2.3.4", 1);
    assert_true(ASN1_OCTET_STRING_set(string, value, (int)length));
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, name, 0, string);
    for (size_t i = 0; i < n; i++)
        assert_true(X509_add_ext(made->x509, extension, -1));
    X509_EXTENSION_free(extension);
    ASN1_OBJECT_free(name);
    ASN1_OCTET_STRING_free(string);
    assert_true(X509_sign(made->x509, root->key, EVP_sha256()) > 0);
    OPENSSL_free(made->der);
    made->der = NULL;
    made->der_length = (size_t)i2d_X509(made->x509, &made->der);
    return made;
}

static enum mm_code code_of_stuffed(const void *value, size_t length, size_t n)
{
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_stuffed(value, length, n);
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL, &err);
    assert_int_equal(certificate == NULL, err.code != MM_OK);
    return err.code;
}

/* One byte of a certificate can become fifty of memory. */
static void elements_are_bounded_wherever_they_are(void **state)
{
    (void)state;
    assert_int_equal(code_of_stuffed("\x05\x00", 2, 10), MM_OK);
    assert_int_equal(code_of_stuffed("\x05\x00", 2, MM_CHAIN_ELEMENTS_MAX / 4), MM_CERTIFICATE_INVALID);

    uint8_t value[3 * MM_CHAIN_ELEMENTS_MAX];
    size_t length = 2 * MM_CHAIN_ELEMENTS_MAX;
    memset(value, 0, sizeof value);
    memcpy(value, "\x04\x82\x0b\xfc", 4); /* an OCTET STRING: one element, however long */
    assert_int_equal(code_of_stuffed(value, sizeof value, 1), MM_OK);
    memcpy(value, "\x30\x80", 2); /* of indefinite length: libcrypto would look into it */
    assert_int_equal(code_of_stuffed(value, length, 1), MM_CERTIFICATE_INVALID);
    memcpy(value, "\x30\x82\x07\xfc", 4);
    for (size_t i = 4; i < length; i += 2)
        memcpy(value + i, "\x82", 2); /* an empty dNSName */
    assert_int_equal(code_of_stuffed(value, length, 1), MM_CERTIFICATE_INVALID);
}

static void chain_is_bounded_as_a_whole(void **state)
{
    (void)state;
    uint8_t value[MM_CHAIN_BYTES_MAX / 2] = {0x04, 0x82, (sizeof value - 4) >> 8, (sizeof value - 4) & 0xff};
    mm_cleanup(test_certificate_free) struct test_certificate *half = make_stuffed(value, sizeof value, 1);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, half, &err);
    assert_non_null(certificate);
    assert_null(parse(half, half, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
}

/* Whoever sends the most that is taken costs this much for as long as it is kept. */
static void the_largest_chain_takes_little_memory(void **state)
{
    (void)state;
    struct mm_bytes chain[MM_CHAIN_MAX];
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_stuffed("\x05\x00", 2, 20);
    for (size_t i = 0; i < MM_ARRAY_SIZE(chain); i++)
        chain[i] = test_certificate_der(leaf);
    struct mm_error err = {0};
    struct mallinfo2 before = mallinfo2();
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate =
        mm_certificate_parse(chain, MM_ARRAY_SIZE(chain), &err);
    assert_string_equal(err.message, "");
    int64_t not_after;
    assert_false(
        mm_trust_verify(trust, certificate, TEST_NOW, &not_after, &err)); /* for want of clientAuth, in the end */
    struct mallinfo2 after = mallinfo2();
    assert_in_range(after.uordblks - before.uordblks, 0, 128 * 1024);
}

static void names_come_from_the_alternative_names(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(
        root,
        "URI:spiffe://acme.example/a,DNS:Build.ACME.example,URI:https://acme.example/B,email:a@b.example,IP:127.0.0.1");
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL, &err);
    assert_int_equal(mm_certificate_n_uris(certificate), 2);
    assert_string_equal(mm_certificate_uri(certificate, 0), "spiffe://acme.example/a");
    assert_string_equal(mm_certificate_uri(certificate, 1), "https://acme.example/B");
    assert_int_equal(mm_certificate_n_dns(certificate), 1);
    assert_string_equal(mm_certificate_dns(certificate, 0), "build.acme.example");
    char fingerprint[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(leaf->der, leaf->der_length, fingerprint);
    assert_string_equal(mm_certificate_fingerprint(certificate), fingerprint);
}

static void common_name_is_no_name(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.common_name = "build.acme.example", .issuer = root});
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL, &err);
    assert_int_equal(mm_certificate_n_dns(certificate), 0);
    assert_int_equal(mm_certificate_n_uris(certificate), 0);
    assert_string_equal(mm_certificate_subject(certificate), "CN=build.acme.example");
}

static void subject_cannot_be_forged_by_its_values(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_certificate(
        &(struct certificate_spec){.organization = "Acme", .common_name = "a,O=Acme+\xc3\xa9", .issuer = root});
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(leaf, NULL, &err);
    assert_string_equal(mm_certificate_subject(certificate), "CN=a\\,O=Acme\\+\\C3\\A9,O=Acme");
}

static void assert_name_refused(int type, const char *name, size_t length)
{
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.issuer = root, .raw_name = {type, name, length}});
    struct mm_error err = {0};
    assert_null(parse(leaf, NULL, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
}

static void name_with_a_nul_or_other_than_ascii_is_refused(void **state)
{
    (void)state;
    assert_name_refused(GEN_URI, "spiffe://acme.example/ci\0.evil.example", 38);
    assert_name_refused(GEN_DNS, "acme.example\0.evil.example", 26);
    assert_name_refused(GEN_DNS, "acme.example\0", 13);
    assert_name_refused(GEN_DNS, "acme .example", 13);
    assert_name_refused(GEN_URI, "spiffe://acme\nadmin", 19);
    assert_name_refused(GEN_URI, "spiffe://acm\xc3\xa9", 14);
    assert_name_refused(GEN_DNS, "", 0);
}

static void nul_in_the_subject_is_refused(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.common_name = "buildXevil", .issuer = root});
    uint8_t *name = memmem(leaf->der, leaf->der_length, "buildXevil", 10);
    assert_non_null(name);
    name[5] = '\0';
    struct mm_error err = {0};
    assert_null(parse(leaf, NULL, &err));
    assert_non_null(strstr(err.message, "NUL"));
}

static struct mm_certificate *parse_with_uris(size_t n, struct mm_error *err)
{
    char names[MM_CERTIFICATE_NAMES_MAX * 32 + 64] = "";
    for (size_t i = 0; i < n; i++)
        (void)snprintf(names + strlen(names), sizeof names - strlen(names), "%sURI:spiffe://a/%zu", i ? "," : "", i);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, names);
    return parse(leaf, NULL, err);
}

static void thirty_three_names_are_refused(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *most = parse_with_uris(MM_CERTIFICATE_NAMES_MAX, &err);
    assert_int_equal(mm_certificate_n_uris(most), MM_CERTIFICATE_NAMES_MAX);
    assert_null(parse_with_uris(MM_CERTIFICATE_NAMES_MAX + 1, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_INVALID);
}

struct shared_check {
    const struct mm_trust *trust;
    struct test_certificate *good;
    struct test_certificate *foreign;
};

static bool is_trusted(const struct mm_trust *anchors, const struct test_certificate *leaf)
{
    struct mm_bytes der = test_certificate_der(leaf);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(&der, 1, NULL);
    int64_t not_after;
    return certificate && mm_trust_verify(anchors, certificate, TEST_NOW, &not_after, NULL);
}

static void *check_many_times(void *context)
{
    const struct shared_check *check = context;
    size_t n_wrong = 0;
    for (int i = 0; i < 100; i++) {
        n_wrong += !is_trusted(check->trust, check->good);
        n_wrong += is_trusted(check->trust, check->foreign);
    }
    return n_wrong ? context : NULL;
}

static void one_trust_serves_many_threads(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *impostor = make_ca("Acme CA", NULL);
    struct shared_check check = {trust, make_client(root, URI), make_client(impostor, URI)};
    pthread_t threads[4];
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_many_times, &check), 0);
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    test_certificate_free(check.good);
    test_certificate_free(check.foreign);
}

static void assert_trust_refused(const char *pem)
{
    struct mm_error err = {0};
    assert_null(mm_trust_parse(pem, strlen(pem), &err));
    assert_int_equal(err.code, MM_CONFIG_INVALID);
}

static void trust_holds_sound_cas_only(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, URI);
    mm_cleanup(test_certificate_free) struct test_certificate *weak = make_certificate(
        &(struct certificate_spec){.common_name = "weak", .rsa_bits = 1024, .basic_constraints = "critical,CA:TRUE"});
    mm_cleanup(free) char *client = test_certificates_pem(root, leaf);
    mm_cleanup(free) char *small = test_certificates_pem(weak, NULL);
    mm_cleanup(free) char *good = test_certificates_pem(root, NULL);
    mm_cleanup(free) char *cut = strndup(good, strlen(good) - 40);
    assert_trust_refused("");
    assert_trust_refused("no certificate here\n");
    assert_trust_refused(client);
    assert_trust_refused(small);
    assert_trust_refused(cut);
}

static void trust_refuses_a_file_with_a_private_key(void **state)
{
    (void)state;
    BIO *pem = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_X509(pem, root->x509));
    assert_true(PEM_write_bio_PrivateKey(pem, root->key, NULL, NULL, 0, NULL, NULL));
    assert_int_equal(BIO_write(pem, "", 1), 1);
    char *text;
    (void)BIO_get_mem_data(pem, &text);
    assert_trust_refused(text);
    BIO_free_all(pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_certificate_of_the_tenants_ca_is_accepted),
        cmocka_unit_test(the_chains_earliest_end_counts),
        cmocka_unit_test(cas_overlap_if_one_stands_above_the_other_whenever),
        cmocka_unit_test(certificate_that_verified_once_can_still_expire),
        cmocka_unit_test(certificate_that_verified_once_is_a_stranger_to_another_ca),
        cmocka_unit_test(missing_intermediate_makes_a_stranger),
        cmocka_unit_test(intermediate_alone_may_be_the_anchor),
        cmocka_unit_test(certificate_of_another_ca_of_the_same_name_is_a_stranger),
        cmocka_unit_test(stranger_learns_nothing_from_an_expired_certificate),
        cmocka_unit_test(self_signed_certificate_is_a_stranger),
        cmocka_unit_test(system_cas_are_not_trusted),
        cmocka_unit_test(validity_is_checked_to_the_second),
        cmocka_unit_test(expired_ca_is_refused),
        cmocka_unit_test(renewed_ca_serves_beside_its_expired_self),
        cmocka_unit_test(certificate_without_client_auth_is_refused),
        cmocka_unit_test(key_usage_must_suit_a_client),
        cmocka_unit_test(ca_is_no_client),
        cmocka_unit_test(client_cannot_issue_clients),
        cmocka_unit_test(expired_client_cannot_issue_clients_either),
        cmocka_unit_test(ca_for_servers_only_cannot_issue_clients),
        cmocka_unit_test(limits_that_a_ca_sets_hold),
        cmocka_unit_test(weak_signatures_and_keys_count_for_nothing),
        cmocka_unit_test(usual_keys_are_taken_and_no_others),
        cmocka_unit_test(key_that_is_costly_to_decode_costs_nothing),
        cmocka_unit_test(no_flipped_bit_survives),
        cmocka_unit_test(what_is_not_exactly_der_is_refused),
        cmocka_unit_test(other_spellings_of_a_certificate_are_refused),
        cmocka_unit_test(chain_is_bounded),
        cmocka_unit_test(huge_certificate_is_refused),
        cmocka_unit_test(elements_are_bounded_wherever_they_are),
        cmocka_unit_test(chain_is_bounded_as_a_whole),
        cmocka_unit_test(the_largest_chain_takes_little_memory),
        cmocka_unit_test(names_come_from_the_alternative_names),
        cmocka_unit_test(common_name_is_no_name),
        cmocka_unit_test(subject_cannot_be_forged_by_its_values),
        cmocka_unit_test(name_with_a_nul_or_other_than_ascii_is_refused),
        cmocka_unit_test(nul_in_the_subject_is_refused),
        cmocka_unit_test(thirty_three_names_are_refused),
        cmocka_unit_test(one_trust_serves_many_threads),
        cmocka_unit_test(trust_holds_sound_cas_only),
        cmocka_unit_test(trust_refuses_a_file_with_a_private_key),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
