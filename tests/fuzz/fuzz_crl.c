/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CRL file as it came, then with its first CRL signed by the tenant's CA. Only the CA's own signature gets one in, and whom it names, by
 * libcrypto's account, is refused.
 */
#include "fuzz.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "crypto/certificate.h"
#include "tests/support/make_certificate.h"

MM_DEFINE_CLEANUP(X509_CRL, X509_CRL_free);

/* Made once, kept for the life of the program. */
static struct test_certificate *ca;
static struct test_certificate *leaf;
static char *ca_pem;

static void make(void)
{
    if (ca)
        return;
    ca = make_ca("Acme CA", NULL);
    leaf = make_client(ca, "URI:spiffe://acme.example/ci/build");
    ca_pem = test_certificates_pem(ca, NULL);
    /* One that the corpus can name. */
    assert(ASN1_INTEGER_set_uint64(X509_get_serialNumber(leaf->x509), 4711));
    assert(X509_sign(leaf->x509, ca->key, EVP_sha256()) > 0);
    OPENSSL_free(leaf->der);
    leaf->der = NULL;
    leaf->der_length = (size_t)i2d_X509(leaf->x509, &leaf->der);
}

static bool names_the_leaf(X509_CRL *crl)
{
    X509_REVOKED *entry = NULL;
    return X509_CRL_get0_by_serial(crl, &entry, X509_get0_serialNumber(leaf->x509)) != 0;
}

/* `crl`: the only one in the file, if it has the CA's signature. */
static void check(const uint8_t *data, size_t size, X509_CRL *crl)
{
    struct mm_error err = {0};
    int64_t not_after;
    mm_cleanup(mm_trust_free) struct mm_trust *trust = mm_trust_parse(ca_pem, strlen(ca_pem), NULL);
    assert(trust);
    if (!mm_trust_add_crls(trust, data, size, &err)) {
        assert(err.code == MM_CONFIG_INVALID);
        return;
    }
    assert(crl && mm_trust_n_crls(trust) == 1);
    const struct mm_bytes der = test_certificate_der(leaf);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(&der, 1, NULL);
    bool is_taken = mm_trust_verify(trust, certificate, TEST_NOW, &not_after, &err);
    assert(is_taken || err.code == MM_CERTIFICATE_INVALID);
    assert(!is_taken || !names_the_leaf(crl));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make();
    const uint8_t *at = data;
    if (size > 1 << 20)
        return 0;
    check(data, size, NULL);
    mm_cleanup(X509_CRL_free) X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)size);
    uint8_t *der = NULL;
    if (crl && X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->x509)) &&
        X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0) {
        int length = i2d_X509_CRL(crl, &der);
        const uint8_t *again = der;
        mm_cleanup(X509_CRL_free) X509_CRL *whole = length > 0 ? d2i_X509_CRL(NULL, &again, length) : NULL;
        if (whole)
            check(der, (size_t)length, whole);
    }
    OPENSSL_free(der);
    ERR_clear_error();
    return 0;
}
