/* SPDX-License-Identifier: Apache-2.0 */
#include "make_certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

static void add_entry(X509_NAME *name, const char *field, const char *value)
{
    if (value)
        assert_true(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const uint8_t *)value, -1, -1, 0));
}

static void add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
    if (!value)
        return;
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_true(X509_add_ext(x509, extension, -1));
    X509_EXTENSION_free(extension);
}

static void add_raw_name(X509 *x509, const struct raw_name *raw)
{
    if (!raw->data)
        return;
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    assert_true(ASN1_STRING_set(value, raw->data, (int)raw->length));
    GENERAL_NAME_set0_value(name, raw->type, value);
    assert_true(sk_GENERAL_NAME_push(names, name) > 0);
    assert_int_equal(X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
}

static void add_raw_extension(X509 *x509, const struct raw_extension *raw)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(raw->oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    assert_true(ASN1_OCTET_STRING_set(value, raw->data, (int)raw->length));
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
    assert_true(extension && X509_add_ext(x509, extension, -1));
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
}

static EVP_PKEY *make_key(const struct certificate_spec *spec)
{
    if (spec->key) {
        EVP_PKEY_up_ref(spec->key);
        return spec->key;
    }
    EVP_PKEY *key = spec->rsa_bits ? EVP_RSA_gen(spec->rsa_bits) : EVP_EC_gen("P-256");
    assert_non_null(key);
    return key;
}

static void add_extensions(X509 *x509, X509 *issuer, const struct certificate_spec *spec)
{
    add_extension(x509, issuer, NID_basic_constraints, spec->basic_constraints);
    add_extension(x509, issuer, NID_key_usage, spec->key_usage);
    add_extension(x509, issuer, NID_ext_key_usage, spec->extended_key_usage);
    add_extension(x509, issuer, NID_subject_alt_name, spec->alternative_names);
    add_extension(x509, issuer, NID_name_constraints, spec->name_constraints);
    add_extension(x509, issuer, NID_netscape_cert_type, spec->netscape_type);
    add_extension(x509, issuer, NID_subject_key_identifier, spec->subject_key_id);
    add_extension(x509, issuer, NID_authority_key_identifier, spec->authority_key_id);
    add_raw_name(x509, &spec->raw_name);
    for (size_t i = 0; i < spec->n_raw_extensions; i++)
        add_raw_extension(x509, &spec->raw_extensions[i]);
}

struct test_certificate *make_certificate(const struct certificate_spec *spec)
{
    struct test_certificate *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->key = make_key(spec);
    made->x509 = X509_new();
    X509 *x509 = made->x509;
    X509 *issuer = spec->issuer ? spec->issuer->x509 : x509;

    uint64_t serial;
    assert_true(MM_SYSTEM_RANDOM.fill(NULL, &serial, sizeof serial));
    assert_true(X509_set_version(x509, X509_VERSION_3));
    assert_true(ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial >> 1));
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x509), spec->not_before ? spec->not_before : TEST_NOW - 3600));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x509), spec->not_after ? spec->not_after : TEST_NOT_AFTER));
    X509_NAME *subject = X509_get_subject_name(x509);
    add_entry(subject, "O", spec->organization);
    add_entry(subject, "CN", spec->common_name);
    assert_true(X509_set_issuer_name(x509, X509_get_subject_name(issuer)));
    assert_true(X509_set_pubkey(x509, made->key));
    add_extensions(x509, issuer, spec);

    const EVP_MD *digest = EVP_get_digestbyname(spec->digest ? spec->digest : "SHA256");
    assert_true(X509_sign(x509, spec->issuer ? spec->issuer->key : made->key, digest) > 0);
    int length = i2d_X509(x509, &made->der);
    assert_true(length > 0);
    made->der_length = (size_t)length;
    return made;
}

struct test_certificate *make_ca(const char *common_name, const struct test_certificate *issuer)
{
    return make_certificate(&(struct certificate_spec){
        .common_name = common_name,
        .issuer = issuer,
        .basic_constraints = "critical,CA:TRUE",
        .key_usage = "critical,keyCertSign,cRLSign",
        .subject_key_id = "hash",
    });
}

struct test_certificate *make_client(const struct test_certificate *issuer, const char *alternative_names)
{
    return make_certificate(&(struct certificate_spec){
        .common_name = "client",
        .issuer = issuer,
        .key_usage = "critical,digitalSignature",
        .extended_key_usage = "clientAuth",
        .alternative_names = alternative_names,
    });
}

void test_certificate_free(struct test_certificate *certificate)
{
    if (!certificate)
        return;
    X509_free(certificate->x509);
    EVP_PKEY_free(certificate->key);
    OPENSSL_free(certificate->der);
    free(certificate);
}

char *test_certificates_pem(const struct test_certificate *first, const struct test_certificate *second)
{
    BIO *pem = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_X509(pem, first->x509));
    if (second)
        assert_true(PEM_write_bio_X509(pem, second->x509));
    char *data;
    long length = BIO_get_mem_data(pem, &data);
    char *text = strndup(data, (size_t)length);
    assert_non_null(text);
    BIO_free_all(pem);
    return text;
}
