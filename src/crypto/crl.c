/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/crl.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

enum {
    CRLS_MAX = 64,
    CRL_BYTES_MAX = 4 << 20, /* some 100,000 revoked certificates */
    SERIAL_MAX = 20,         /* RFC 5280 section 4.1.2.2 */
    ISSUER_TEXT_MAX = 255,
    DER_SEQUENCE = 0x30,
};

/* The sign, then the number, most significant byte first: two are compared byte by byte. */
struct serial {
    uint8_t bytes[1 + SERIAL_MAX];
};

struct crl {
    X509 *ca; /* a reference */
    char issuer[ISSUER_TEXT_MAX + 1];
    int64_t this_update;
    int64_t next_update;
    struct serial *revoked; /* sorted */
    size_t n_revoked;
};

struct mm_crls {
    STACK_OF(X509) * cas; /* references */
    size_t n;
    struct crl items[CRLS_MAX];
};

MM_DEFINE_CLEANUP(X509_CRL, X509_CRL_free);
MM_DEFINE_CLEANUP(BIO, BIO_free_all);
MM_DEFINE_CLEANUP(RSA_PSS_PARAMS, RSA_PSS_PARAMS_free);

static bool out_of_memory(struct mm_error *err)
{
    ERR_clear_error();
    return mm_fail(err, MM_NO_MEMORY, "out of memory");
}

static bool bad_crl(struct mm_error *err, const char *why)
{
    if (errno == ENOMEM)
        return out_of_memory(err);
    ERR_clear_error();
    return mm_fail(err, MM_CONFIG_INVALID, "CRLs: %s", why);
}

static bool invalid(struct mm_error *err, const char *why)
{
    if (errno == ENOMEM)
        return out_of_memory(err);
    ERR_clear_error();
    return mm_fail(err, MM_CERTIFICATE_INVALID, "client certificate: %s", why);
}

static bool serial_of(const ASN1_INTEGER *number, struct serial *ret_serial)
{
    int length = ASN1_STRING_length(number);
    if (length < 1 || length > SERIAL_MAX)
        return false;
    *ret_serial = (struct serial){{ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER}};
    memcpy(ret_serial->bytes + 1 + SERIAL_MAX - length, ASN1_STRING_get0_data(number), (size_t)length);
    return true;
}

static int compare_serials(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct serial));
}

/* One that doesn't say another hash means SHA-1 (RFC 8017 section A.2.3). */
static bool pss_hash_is_strong(const X509_ALGOR *algorithm)
{
    const void *value;
    int type;
    X509_ALGOR_get0(NULL, &type, &value, algorithm);
    if (type != V_ASN1_SEQUENCE)
        return false;
    mm_cleanup(RSA_PSS_PARAMS_free) RSA_PSS_PARAMS *parameters =
        ASN1_item_unpack(value, ASN1_ITEM_rptr(RSA_PSS_PARAMS));
    if (!parameters || !parameters->hashAlgorithm)
        return false;
    int hash = OBJ_obj2nid(parameters->hashAlgorithm->algorithm);
    return hash == NID_sha256 || hash == NID_sha384 || hash == NID_sha512;
}

static bool signature_is_strong(const X509_CRL *crl)
{
    static const int STRONG[] = {
        NID_ecdsa_with_SHA256,       NID_ecdsa_with_SHA384,       NID_ecdsa_with_SHA512,       NID_ED25519,
        NID_sha256WithRSAEncryption, NID_sha384WithRSAEncryption, NID_sha512WithRSAEncryption,
    };
    const X509_ALGOR *algorithm;
    X509_CRL_get0_signature(crl, NULL, &algorithm);
    int nid = X509_CRL_get_signature_nid(crl);
    if (nid == NID_rsassaPss)
        return pss_hash_is_strong(algorithm);
    for (size_t i = 0; i < MM_ARRAY_SIZE(STRONG); i++)
        if (nid == STRONG[i])
            return true;
    return false;
}

/* NULL: none of them has signed it. */
static X509 *find_signer(STACK_OF(X509) * cas, X509_CRL *crl)
{
    X509 *signer = NULL;
    for (int i = 0; !signer && i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        if (X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(crl)) == 0 &&
            X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1)
            signer = ca;
    }
    ERR_clear_error();
    return signer;
}

static bool is_same_ca(const X509 *a, const X509 *b)
{
    return X509_NAME_cmp(X509_get_subject_name(a), X509_get_subject_name(b)) == 0 &&
           EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)) == 1;
}

static const struct crl *find_crl(const struct mm_crls *crls, const X509 *ca)
{
    for (size_t i = 0; i < crls->n; i++)
        if (is_same_ca(crls->items[i].ca, ca))
            return &crls->items[i];
    return NULL;
}

/* No critical extension is known to this module: those that the standard knows limit what the list covers. */
static bool check_extensions(const X509_CRL *crl, struct mm_error *err)
{
    const STACK_OF(X509_EXTENSION) *extensions = X509_CRL_get0_extensions(crl);
    for (int i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_delta_crl)
            return bad_crl(err, "a delta CRL; a complete one is needed");
        if (nid == NID_issuing_distribution_point)
            return bad_crl(err,
                           "one with an issuing distribution point: it may not cover all of its CA's certificates");
        if (X509_EXTENSION_get_critical(extension))
            return bad_crl(err, "one with a critical extension that isn't known here");
    }
    return true;
}

static bool check_entry(const X509_REVOKED *entry, struct mm_error *err)
{
    const STACK_OF(X509_EXTENSION) *extensions = X509_REVOKED_get0_extensions(entry);
    for (int i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);
        if (OBJ_obj2nid(X509_EXTENSION_get_object(extension)) == NID_certificate_issuer)
            return bad_crl(err, "an indirect CRL: an entry is about a certificate of another CA");
        if (X509_EXTENSION_get_critical(extension))
            return bad_crl(err, "an entry with a critical extension that isn't known here");
    }
    return true;
}

static bool read_entries(X509_CRL *parsed, struct crl *crl, struct mm_error *err)
{
    const STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(parsed);
    int n = sk_X509_REVOKED_num(entries);
    crl->revoked = calloc(n > 0 ? (size_t)n : 1, sizeof *crl->revoked);
    if (!crl->revoked)
        return out_of_memory(err);
    for (int i = 0; i < n; i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);
        if (!check_entry(entry, err))
            return false;
        if (!serial_of(X509_REVOKED_get0_serialNumber(entry), &crl->revoked[crl->n_revoked++]))
            return bad_crl(err, "a serial number of more than 20 bytes");
    }
    qsort(crl->revoked, crl->n_revoked, sizeof *crl->revoked, compare_serials);
    return true;
}

static bool read_times(const X509_CRL *parsed, struct crl *crl, struct mm_error *err)
{
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(parsed);
    if (!next)
        return bad_crl(err, "one without nextUpdate, which would be believed for ever");
    return (mm_x509_seconds(X509_CRL_get0_lastUpdate(parsed), &crl->this_update) &&
            mm_x509_seconds(next, &crl->next_update)) ||
           bad_crl(err, "one whose thisUpdate or nextUpdate isn't a time");
}

static bool name_issuer(struct crl *crl, struct mm_error *err)
{
    mm_cleanup(BIO_free_all) BIO *text = BIO_new(BIO_s_mem());
    char *data;
    if (!text || X509_NAME_print_ex(text, X509_get_subject_name(crl->ca), 0, XN_FLAG_RFC2253) < 0)
        return out_of_memory(err);
    long length = BIO_get_mem_data(text, &data);
    length = length < ISSUER_TEXT_MAX ? length : ISSUER_TEXT_MAX;
    memcpy(crl->issuer, data, length > 0 ? (size_t)length : 0);
    return true;
}

/* Of a CA that may (RFC 5280 section 4.2.1.3), by its hand, and the only one. */
static bool find_issuer(const struct mm_crls *crls, X509_CRL *parsed, struct crl *crl, struct mm_error *err)
{
    if (!signature_is_strong(parsed))
        return bad_crl(err, "one that is signed with an algorithm that isn't accepted");
    X509 *ca = find_signer(crls->cas, parsed);
    if (!ca)
        return bad_crl(err, "one that none of the CAs has signed");
    if ((X509_get_extension_flags(ca) & EXFLAG_KUSAGE) && !(X509_get_key_usage(ca) & KU_CRL_SIGN))
        return bad_crl(err, "one of a CA whose key usage doesn't let it sign CRLs");
    if (find_crl(crls, ca))
        return bad_crl(err, "two of the same CA");
    if (!X509_up_ref(ca))
        return out_of_memory(err);
    crl->ca = ca;
    return name_issuer(crl, err);
}

static void clear_crl(struct crl *crl)
{
    X509_free(crl->ca);
    free(crl->revoked);
}

static bool add_crl(struct mm_crls *crls, const uint8_t *der, long length, struct mm_error *err)
{
    const uint8_t *end = der + length;
    mm_cleanup(X509_CRL_free) X509_CRL *parsed = d2i_X509_CRL(NULL, &der, length);
    if (!parsed || der != end)
        return bad_crl(err, "one that can't be read");
    if (crls->n == CRLS_MAX)
        return bad_crl(err, "more than 64");
    struct crl crl = {0};
    if (!check_extensions(parsed, err) || !find_issuer(crls, parsed, &crl, err) || !read_times(parsed, &crl, err) ||
        !read_entries(parsed, &crl, err)) {
        clear_crl(&crl);
        return false;
    }
    crls->items[crls->n++] = crl;
    return true;
}

/* Sets `ret_more` to false at the end of the file. */
static bool add_block(struct mm_crls *crls, BIO *pem, bool *ret_more, struct mm_error *err)
{
    char *name = NULL;
    char *header = NULL;
    uint8_t *data = NULL;
    long length;
    if (PEM_read_bio(pem, &name, &header, &data, &length) != 1) {
        if (errno == ENOMEM || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
            return bad_crl(err, "malformed PEM");
        ERR_clear_error();
        *ret_more = false;
        return true;
    }
    bool is_added = strcmp(name, PEM_STRING_X509_CRL) == 0 ? add_crl(crls, data, length, err)
                                                           : bad_crl(err, "a PEM block that isn't a CRL");
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)length); /* a private key, perhaps */
    return is_added;
}

static bool add_all(struct mm_crls *crls, const void *data, size_t length, struct mm_error *err)
{
    if (*(const uint8_t *)data == DER_SEQUENCE)
        return add_crl(crls, data, (long)length, err);
    mm_cleanup(BIO_free_all) BIO *pem = BIO_new_mem_buf(data, (int)length);
    if (!pem)
        return out_of_memory(err);
    for (bool more = true; more;)
        if (!add_block(crls, pem, &more, err))
            return false;
    return crls->n > 0 || bad_crl(err, "there is none in the file, in PEM or in DER");
}

struct mm_crls *mm_crls_parse(const void *data, size_t length, STACK_OF(X509) * cas, struct mm_error *err)
{
    errno = 0;
    if (!length || length > CRL_BYTES_MAX) {
        (void)bad_crl(err, length ? "larger than 4 MiB" : "empty");
        return NULL;
    }
    mm_cleanup(mm_crls_free) struct mm_crls *crls = calloc(1, sizeof *crls);
    if (crls)
        crls->cas = X509_chain_up_ref(cas);
    if (!crls || !crls->cas) {
        (void)out_of_memory(err);
        return NULL;
    }
    return add_all(crls, data, length, err) ? MM_TAKE(crls) : NULL;
}

void mm_crls_free(struct mm_crls *crls)
{
    if (!crls)
        return;
    for (size_t i = 0; i < crls->n; i++)
        clear_crl(&crls->items[i]);
    sk_X509_pop_free(crls->cas, X509_free);
    free(crls);
}

size_t mm_crls_n(const struct mm_crls *crls)
{
    return crls->n;
}

struct mm_crl_facts mm_crls_facts(const struct mm_crls *crls, size_t i)
{
    const struct crl *crl = &crls->items[i];
    return (struct mm_crl_facts){crl->issuer, crl->this_update, crl->next_update, crl->n_revoked};
}

static bool check_one(const struct crl *crl, X509 *x509, int64_t now, int64_t *until, struct mm_error *err)
{
    struct serial serial;
    if (!crl)
        return invalid(err, "there is no CRL of a CA that it depends on");
    if (!serial_of(X509_get0_serialNumber(x509), &serial))
        return invalid(err, "a serial number that no CRL could name");
    if (bsearch(&serial, crl->revoked, crl->n_revoked, sizeof serial, compare_serials))
        return invalid(err, "revoked, or a CA that it depends on is");
    if (now < crl->this_update - MM_CRL_LEEWAY)
        return invalid(err, "the CRL of a CA that it depends on isn't in force yet");
    if (now >= crl->next_update + MM_CRL_LEEWAY)
        return invalid(err, "the CRL of a CA that it depends on has expired");
    if (crl->next_update + MM_CRL_LEEWAY < *until)
        *until = crl->next_update + MM_CRL_LEEWAY;
    return true;
}

/* The CA among `cas` that has issued `ca`; NULL: none, or it has itself. */
static X509 *find_issuer_of(STACK_OF(X509) * cas, X509 *ca)
{
    for (int i = 0; i < sk_X509_num(cas); i++) {
        X509 *issuer = sk_X509_value(cas, i);
        if (X509_NAME_cmp(X509_get_issuer_name(ca), X509_get_subject_name(issuer)) == 0 && !is_same_ca(issuer, ca) &&
            X509_verify(ca, X509_get0_pubkey(issuer)) == 1)
            return issuer;
    }
    ERR_clear_error();
    return NULL;
}

bool mm_crls_check(const struct mm_crls *crls, STACK_OF(X509) * path, int64_t now, int64_t *ret_until,
                   struct mm_error *err)
{
    int64_t until = INT64_MAX;
    int n = sk_X509_num(path);
    X509 *subject = sk_X509_value(path, 0);
    errno = 0;
    for (int i = 1; i <= n + MM_CHAIN_MAX; i++) {
        X509 *issuer = i < n ? sk_X509_value(path, i) : find_issuer_of(crls->cas, subject);
        if (!issuer)
            break;
        if (!check_one(find_crl(crls, issuer), subject, now, &until, err))
            return false;
        subject = issuer;
    }
    if (errno == ENOMEM)
        return out_of_memory(err);
    *ret_until = until;
    return true;
}
