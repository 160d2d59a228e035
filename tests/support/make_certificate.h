/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for tests, good and bad, made with libcrypto as an attacker or a careless CA could make them.
 */
#ifndef MM_TESTS_MAKE_CERTIFICATE_H
#define MM_TESTS_MAKE_CERTIFICATE_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "crypto/digest.h"

/* All certificates are valid around this time unless their spec says otherwise. */
enum { TEST_NOW = 1800000000, TEST_NOT_AFTER = TEST_NOW + 30 * 86400 };

struct test_certificate {
    X509 *x509;
    EVP_PKEY *key;
    uint8_t *der;
    size_t der_length;
};

struct raw_name {
    int type; /* GEN_URI, GEN_DNS, … */
    const void *data;
    size_t length;
};

/* An extension that libcrypto doesn't know, its value byte for byte. */
struct raw_extension {
    const char *oid;
    const void *data;
    size_t length;
};

/* What to make; a member left zero takes the default that is named here. */
struct certificate_spec {
    const char *common_name;               /* no CN */
    const char *organization;              /* no O */
    const struct test_certificate *issuer; /* self-signed */
    EVP_PKEY *key;                         /* a new P-256 key */
    unsigned rsa_bits;                     /* P-256 instead of RSA */
    int64_t not_before;                    /* an hour before TEST_NOW */
    int64_t not_after;                     /* TEST_NOT_AFTER */
    const char *digest;                    /* SHA256 */
    /* Extensions in openssl.cnf's notation; NULL: absent. */
    const char *basic_constraints;
    const char *key_usage;
    const char *extended_key_usage;
    const char *alternative_names;
    const char *name_constraints;
    const char *netscape_type;
    const char *subject_key_id;
    const char *authority_key_id;
    struct raw_name raw_name; /* a SAN of just this name, byte for byte */
    const struct raw_extension *raw_extensions;
    size_t n_raw_extensions;
};

/* Never NULL: a failure ends the test. Free it with test_certificate_free(). */
struct test_certificate *make_certificate(const struct certificate_spec *spec);
void test_certificate_free(struct test_certificate *certificate);
MM_DEFINE_CLEANUP(struct test_certificate, test_certificate_free);

/* A CA called `common_name`, signed by `issuer` (NULL: by itself). */
struct test_certificate *make_ca(const char *common_name, const struct test_certificate *issuer);

/* A client certificate of `issuer` with the SAN `alternative_names`. */
struct test_certificate *make_client(const struct test_certificate *issuer, const char *alternative_names);

static inline struct mm_bytes test_certificate_der(const struct test_certificate *certificate)
{
    return (struct mm_bytes){certificate->der, certificate->der_length};
}

/* PEM of one or two certificates (the second may be NULL) in one string; the caller frees it. */
char *test_certificates_pem(const struct test_certificate *first, const struct test_certificate *second);

#endif
