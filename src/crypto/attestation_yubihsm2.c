/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YubiHSM 2's attestation certificates (`sign-attestation-certificate`): for a key in the device, signed by the
 * device's attestation key, with the device's word on that key in extensions of Yubico's. The device's certificate
 * leads through a sub-CA of Yubico's to its root.
 */
#include "crypto/attestation_kinds.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "crypto/spki.h"
#include "crypto/x509.h"
#include "util/utf8.h"

MM_DEFINE_CLEANUP(BIO, BIO_free_all);
MM_DEFINE_CLEANUP(X509_STORE_CTX, X509_STORE_CTX_free);
MM_DEFINE_CLEANUP(ASN1_OBJECT, ASN1_OBJECT_free);

/* Of the extensions' contents, in DER. */
enum { INTEGER = 0x02, BIT_STRING = 0x03, OCTET_STRING = 0x04, UTF8_STRING = 0x0c, SHORT_LENGTH_MAX = 0x7f };

/* Below 1.3.6.1.4.1.41482.4: the numbers are Yubico's. */
enum claim { FIRMWARE = 1, SERIAL = 2, ORIGIN = 3, DOMAINS = 4, CAPABILITIES = 5, OBJECT_ID = 6, LABEL = 9 };

enum {
    FIRMWARE_LENGTH = 3,
    DOMAINS_LENGTH = 2,
    CAPABILITIES_LENGTH = 8,
    N_DOMAINS = 16,
    LABEL_MAX = 40,
    TEXT_MAX = 16
};

/*
 * Of ORIGIN: the key was generated here. Others of its bits say that it was imported, also under wrap, from wherever.
 */
enum { GENERATED = 0x01 };

/* The capabilities of a key that only signs. */
static const struct {
    unsigned bit;
    const char *name;
} SIGNING[] = {{5, "sign-pkcs"}, {6, "sign-pss"}, {7, "sign-ecdsa"}, {8, "sign-eddsa"}};

static const uint64_t EXPORTABLE_UNDER_WRAP = (uint64_t)1 << 16;

/* The device's word on a key. */
struct claims {
    uint8_t firmware[FIRMWARE_LENGTH];
    uint32_t serial;
    unsigned domains;
    uint64_t capabilities;
    unsigned object_id;
    char label[LABEL_MAX + 1];
};

/*
 * The extension's value, if the certificate has exactly one of it and that is one element of this type;
 * `ret_is_there` if it has any.
 */
static bool find_claim(const X509 *x509, enum claim claim, uint8_t tag, struct mm_bytes *ret_content,
                       bool *ret_is_there)
{
    char oid[40];
    (void)snprintf(oid, sizeof oid, "1.3.6.1.4.1.41482.4.%d", (int)claim);
    mm_cleanup(ASN1_OBJECT_free) ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = object ? X509_get_ext_by_OBJ(x509, object, -1) : -1;
    *ret_is_there = at >= 0 || !object; /* without memory, as if it were there and unreadable */
    if (at < 0 || X509_get_ext_by_OBJ(x509, object, at) >= 0)
        return false;
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509_get_ext(x509, at));
    const uint8_t *bytes = ASN1_STRING_get0_data(value);
    int length = ASN1_STRING_length(value);
    if (length < 2 || bytes[0] != tag || bytes[1] > SHORT_LENGTH_MAX || bytes[1] != length - 2)
        return false;
    *ret_content = (struct mm_bytes){bytes + 2, (size_t)bytes[1]};
    return true;
}

static bool read_bytes(const X509 *x509, enum claim claim, uint8_t tag, struct mm_bytes *ret_bytes)
{
    bool is_there;
    return find_claim(x509, claim, tag, ret_bytes, &is_there);
}

static bool number_of(struct mm_bytes bytes, size_t length, uint64_t *ret_number)
{
    const uint8_t *at = bytes.data;
    if (bytes.length != length)
        return false;
    *ret_number = 0;
    for (size_t i = 0; i < length; i++)
        *ret_number = *ret_number << 8 | at[i];
    return true;
}

/* A BIT STRING of whole bytes, as a big-endian number. */
static bool read_bits(const X509 *x509, enum claim claim, size_t length, uint64_t *ret_bits)
{
    struct mm_bytes bytes;
    if (!read_bytes(x509, claim, BIT_STRING, &bytes) || bytes.length == 0 || *(const uint8_t *)bytes.data != 0)
        return false;
    return number_of((struct mm_bytes){(const uint8_t *)bytes.data + 1, bytes.length - 1}, length, ret_bits);
}

/* An INTEGER from 0 up to as many bytes. */
static bool integer_of(struct mm_bytes bytes, size_t max, uint64_t *ret_number)
{
    const uint8_t *at = bytes.data;
    bool has_sign = bytes.length > 1 && at[0] == 0;
    if (bytes.length == 0 || at[0] >= 0x80 || bytes.length > max + has_sign)
        return false;
    return number_of(bytes, bytes.length, ret_number);
}

static bool read_integer(const X509 *x509, enum claim claim, size_t max, uint64_t *ret_number)
{
    struct mm_bytes bytes;
    return read_bytes(x509, claim, INTEGER, &bytes) && integer_of(bytes, max, ret_number);
}

static bool read_label(const X509 *x509, char label[LABEL_MAX + 1])
{
    struct mm_bytes text;
    uint32_t code = 0;
    if (!read_bytes(x509, LABEL, UTF8_STRING, &text) || text.length > LABEL_MAX)
        return false;
    memcpy(label, text.data, text.length);
    label[text.length] = '\0';
    for (size_t at = 0, n; at < text.length; at += n) {
        n = mm_utf8_decode(label + at, text.length - at, &code);
        if (n == 0 || code < 0x20)
            return false;
    }
    return true;
}

/* Everything that a device says of a key must be there: what is left out may be what matters. */
static bool read_claims(const X509 *x509, struct claims *ret_claims, struct mm_error *err)
{
    struct mm_bytes firmware;
    uint64_t serial = 0;
    uint64_t origin = 0;
    uint64_t domains = 0;
    uint64_t object_id = 0;
    if (!read_bytes(x509, FIRMWARE, OCTET_STRING, &firmware) || firmware.length != FIRMWARE_LENGTH ||
        !read_integer(x509, SERIAL, 4, &serial) || !read_bits(x509, ORIGIN, 1, &origin) ||
        !read_bits(x509, DOMAINS, DOMAINS_LENGTH, &domains) ||
        !read_bits(x509, CAPABILITIES, CAPABILITIES_LENGTH, &ret_claims->capabilities) ||
        !read_integer(x509, OBJECT_ID, 2, &object_id) || !read_label(x509, ret_claims->label))
        return mm_attestation_refuse(err, "its certificate lacks something that a YubiHSM 2 says of a key, or says it "
                                          "in another form");
    memcpy(ret_claims->firmware, firmware.data, FIRMWARE_LENGTH);
    ret_claims->serial = (uint32_t)serial;
    ret_claims->domains = (unsigned)domains;
    ret_claims->object_id = (unsigned)object_id;
    return origin == GENERATED ||
           mm_attestation_refuse(err, "the key wasn't generated in the device, or not in this one: it was imported");
}

static bool check_capabilities(uint64_t capabilities, struct mm_error *err)
{
    uint64_t signing = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(SIGNING); i++)
        signing |= (uint64_t)1 << SIGNING[i].bit;
    if (capabilities & EXPORTABLE_UNDER_WRAP)
        return mm_attestation_refuse(err, "the key is exportable-under-wrap: it can leave the device");
    if (capabilities & ~signing)
        return mm_attestation_refuse(err, "the key may do more than sign");
    return capabilities != 0 || mm_attestation_refuse(err, "the key can't sign");
}

/*
 * A key that merely lies in some device and is allowed to attest could have been imported: nothing that it signs
 * counts. The device's own attestation key is object 0, which no other can be; and what it attests is in the same
 * device.
 */
static bool check_issuers(STACK_OF(X509) * path, uint32_t serial, struct mm_error *err)
{
    for (int i = 1; i < sk_X509_num(path); i++) {
        const X509 *issuer = sk_X509_value(path, i);
        struct mm_bytes bytes;
        uint64_t number;
        bool is_there;
        if ((find_claim(issuer, OBJECT_ID, INTEGER, &bytes, &is_there) ? !integer_of(bytes, 2, &number) || number != 0
                                                                       : is_there))
            return mm_attestation_refuse(err, "it was made by a key in a device that isn't the device's own");
        if ((find_claim(issuer, SERIAL, INTEGER, &bytes, &is_there) ? !integer_of(bytes, 4, &number) || number != serial
                                                                    : is_there))
            return mm_attestation_refuse(err, "it was made by another device");
    }
    return true;
}

static json_t *describe(const struct claims *claims)
{
    char firmware[TEXT_MAX];
    char object_id[TEXT_MAX];
    mm_cleanup(json_decref) json_t *domains = json_array();
    mm_cleanup(json_decref) json_t *capabilities = json_array();
    for (unsigned i = 0; i < N_DOMAINS; i++)
        if (((claims->domains >> i) & 1) && !mm_json_append(domains, json_integer(i + 1), NULL))
            return NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(SIGNING); i++)
        if (((claims->capabilities >> SIGNING[i].bit) & 1) &&
            !mm_json_append(capabilities, json_string(SIGNING[i].name), NULL))
            return NULL;
    (void)snprintf(firmware, sizeof firmware, "%d.%d.%d", claims->firmware[0], claims->firmware[1],
                   claims->firmware[2]);
    (void)snprintf(object_id, sizeof object_id, "%04x", claims->object_id);
    return json_pack("{ss sI ss sO sO ss ss}", "firmware", firmware, "serial", (json_int_t)claims->serial, "origin",
                     "generated", "domains", domains, "capabilities", capabilities, "object_id", object_id, "label",
                     claims->label);
}

enum block { BLOCK_CERTIFICATE, BLOCK_OTHER, BLOCK_NONE };

/*
 * The next certificate of the file, in DER, for OPENSSL_free(). What isn't one is kept nowhere: it could be a private
 * key.
 */
static enum block next_block(BIO *pem, uint8_t **ret_der, size_t *ret_length)
{
    char *name = NULL;
    char *header = NULL;
    uint8_t *data = NULL;
    long length = 0;
    if (PEM_read_bio(pem, &name, &header, &data, &length) != 1) {
        bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        ERR_clear_error();
        return is_end ? BLOCK_NONE : BLOCK_OTHER;
    }
    bool is_certificate = strcmp(name, PEM_STRING_X509) == 0;
    OPENSSL_free(name);
    OPENSSL_free(header);
    if (!is_certificate) {
        OPENSSL_clear_free(data, (size_t)length);
        return BLOCK_OTHER;
    }
    *ret_der = data;
    *ret_length = (size_t)length;
    return BLOCK_CERTIFICATE;
}

/* The chain of the file, and whether its first certificate is for `key`. */
static struct mm_certificate *parse_chain(BIO *pem, const struct mm_pubkey *key, struct mm_error *err)
{
    struct mm_bytes chain[MM_CHAIN_MAX];
    uint8_t *blocks[MM_CHAIN_MAX];
    size_t n = 0;
    struct mm_error why = {0};
    enum block block = BLOCK_CERTIFICATE;
    while (n < MM_CHAIN_MAX && (block = next_block(pem, &blocks[n], &chain[n].length)) == BLOCK_CERTIFICATE) {
        chain[n].data = blocks[n];
        n++;
    }
    struct mm_certificate *certificate = block == BLOCK_NONE ? mm_certificate_parse(chain, n, &why) : NULL;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *attested =
        certificate ? mm_pubkey_from_certificate(chain[0], &why) : NULL;
    for (size_t i = 0; i < n; i++)
        OPENSSL_free(blocks[i]);
    if (attested && strcmp(mm_pubkey_thumbprint(attested), mm_pubkey_thumbprint(key)) == 0)
        return certificate;
    mm_certificate_unref(certificate);
    if (why.code == MM_NO_MEMORY)
        (void)mm_fail(err, why.code, "%s", why.message);
    else if (attested)
        (void)mm_attestation_refuse(err, "it is of another key");
    else
        (void)mm_attestation_refuse(err, "it isn't a PEM file of certificates, or one of them can't be read or is of "
                                         "another kind than those that are accepted");
    return NULL;
}

static bool check_path(const struct mm_trust *trust, const struct mm_certificate *certificate, int64_t now,
                       struct claims *ret_claims, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(X509_STORE_CTX_free) X509_STORE_CTX *context = mm_trust_find_path(trust, certificate, now, &why);
    if (!context)
        return mm_fail(err, why.code == MM_NO_MEMORY ? why.code : MM_ATTESTATION_INVALID,
                       "the attestation doesn't lead to the CA: %s", why.message);
    STACK_OF(X509) *path = X509_STORE_CTX_get0_chain(context);
    if (sk_X509_num(path) < 2)
        return mm_attestation_refuse(err, "it is among the CAs itself: nobody vouches for it");
    return read_claims(sk_X509_value(path, 0), ret_claims, err) && check_issuers(path, ret_claims->serial, err) &&
           check_capabilities(ret_claims->capabilities, err);
}

bool mm_attestation_verify_yubihsm2(const struct mm_attestation *attestation, const struct mm_pubkey *key, int64_t now,
                                    json_t **ret_says, struct mm_error *err)
{
    struct mm_bytes anchor = mm_attestation_part(attestation, MM_ATTESTATION_ANCHOR);
    struct mm_bytes statement = mm_attestation_part(attestation, MM_ATTESTATION_STATEMENT);
    struct mm_error why = {0};
    struct claims claims = {0};
    mm_cleanup(BIO_free_all) BIO *pem = BIO_new_mem_buf(statement.data, (int)statement.length);
    mm_cleanup(mm_trust_free) struct mm_trust *trust = mm_trust_parse(anchor.data, anchor.length, &why);
    if (!trust)
        return mm_fail(err, why.code == MM_NO_MEMORY ? why.code : MM_ATTESTATION_INVALID,
                       "the attestation's CA file: %s", why.message);
    if (!pem)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse_chain(pem, key, err);
    if (!certificate || !check_path(trust, certificate, now, &claims, err))
        return false;
    *ret_says = describe(&claims);
    return *ret_says || mm_fail(err, MM_NO_MEMORY, "out of memory");
}
