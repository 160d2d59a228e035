/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/x509.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "crypto/crl.h"
#include "crypto/der.h"

enum {
    TRUST_CAS_MAX = 64,
    TRUST_PEM_MAX = 1 << 20,
    SECURITY_LEVEL = 2, /* libcrypto's: 112 bits, so RSA from 2048 and no SHA-1 */
    SECURITY_BITS = 112,
};

/* A store of its own: no default paths or system CAs ever go into it. */
struct mm_trust {
    X509_STORE *store;
    struct mm_crls *crls;             /* NULL: revocation isn't asked about */
    uint8_t digest[MM_SHA256_LENGTH]; /* of the files: the same CAs and CRLs after a reload are the same trust */
};

MM_DEFINE_CLEANUP(X509, X509_free);
MM_DEFINE_CLEANUP(BIO, BIO_free_all);
MM_DEFINE_CLEANUP(X509_STORE_CTX, X509_STORE_CTX_free);
MM_DEFINE_CLEANUP(EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free);

static bool out_of_memory(struct mm_error *err)
{
    ERR_clear_error();
    return mm_fail(err, MM_NO_MEMORY, "out of memory");
}

/*
 * Nobody is refused for what libcrypto couldn't do for want of memory: malloc() leaves word of that in errno, which is zero
 * when this module is entered; libcrypto doesn't always.
 */
static bool refused(struct mm_error *err, enum mm_code code, const char *whose, const char *why)
{
    if (errno == ENOMEM)
        return out_of_memory(err);
    ERR_clear_error();
    return mm_fail(err, code, "%s: %s", whose, why);
}

static bool bad_trust(struct mm_error *err, const char *why)
{
    return refused(err, MM_CONFIG_INVALID, "CA certificates", why);
}

static bool denied(struct mm_error *err, const char *why)
{
    return refused(err, MM_ACCESS_DENIED, "client certificate", why);
}

static bool invalid(struct mm_error *err, const char *why)
{
    return refused(err, MM_CERTIFICATE_INVALID, "client certificate", why);
}

/* basicConstraints says CA, and keyUsage, where there is one, lets it sign certificates. */
static bool is_ca(X509 *x509)
{
    return !(X509_get_extension_flags(x509) & EXFLAG_INVALID) && X509_check_ca(x509) == 1;
}

static bool add_ca(struct mm_trust *trust, const uint8_t *der, long length, struct mm_error *err)
{
    if (!mm_der_key_is_cheap((struct mm_bytes){der, (size_t)length}))
        return bad_trust(err,
                         "a certificate that isn't DER, or whose key is of another kind than those that are accepted");
    mm_cleanup(X509_free) X509 *x509 = d2i_X509(NULL, &der, length);
    if (!x509)
        return bad_trust(err, "a certificate that can't be read");
    if (!is_ca(x509))
        return bad_trust(err, "a certificate that isn't a CA");
    const EVP_PKEY *key = X509_get0_pubkey(x509);
    if (!key || EVP_PKEY_get_security_bits(key) < SECURITY_BITS)
        return bad_trust(err, "a CA whose key is too weak");
    return X509_STORE_add_cert(trust->store, x509) == 1 || out_of_memory(err);
}

struct mm_trust *mm_trust_of(const struct mm_bytes *cas, size_t n, struct mm_error *err)
{
    errno = 0;
    mm_cleanup(mm_trust_free) struct mm_trust *trust = calloc(1, sizeof *trust);
    if (trust)
        trust->store = X509_STORE_new();
    if (!trust || !trust->store) {
        (void)out_of_memory(err);
        return NULL;
    }
    if (n == 0 || n > TRUST_CAS_MAX) {
        (void)bad_trust(err, n ? "more than 64 certificates" : "no certificate");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (!add_ca(trust, cas[i].data, (long)cas[i].length, err))
            return NULL;
    mm_sha256_parts(cas, n, trust->digest);
    return MM_TAKE(trust);
}

/* Sets `ret_more` to false at the end of the file. */
static bool add_block(struct mm_trust *trust, BIO *pem, bool *ret_more, struct mm_error *err)
{
    char *name = NULL;
    char *header = NULL;
    uint8_t *data = NULL;
    long length;
    if (PEM_read_bio(pem, &name, &header, &data, &length) != 1) {
        if (errno == ENOMEM || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
            return bad_trust(err, "malformed PEM");
        ERR_clear_error();
        *ret_more = false;
        return true;
    }
    bool added = strcmp(name, PEM_STRING_X509) == 0 ? add_ca(trust, data, length, err)
                                                    : bad_trust(err, "a PEM block that isn't a certificate");
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)length); /* a private key, perhaps */
    *ret_more = true;
    return added;
}

struct mm_trust *mm_trust_parse(const void *pem, size_t length, struct mm_error *err)
{
    errno = 0;
    if (!length || length > TRUST_PEM_MAX) {
        (void)bad_trust(err, length ? "larger than 1 MiB" : "empty");
        return NULL;
    }
    mm_cleanup(BIO_free_all) BIO *bio = BIO_new_mem_buf(pem, (int)length);
    mm_cleanup(mm_trust_free) struct mm_trust *trust = calloc(1, sizeof *trust);
    if (trust)
        trust->store = X509_STORE_new();
    if (!bio || !trust || !trust->store) {
        (void)out_of_memory(err);
        return NULL;
    }
    mm_sha256(pem, length, trust->digest);
    size_t n = 0;
    for (bool more = true; more; n += more) {
        if (n > TRUST_CAS_MAX) {
            (void)bad_trust(err, "more than 64 certificates");
            return NULL;
        }
        if (!add_block(trust, bio, &more, err))
            return NULL;
    }
    if (n == 0) {
        (void)bad_trust(err, "no certificate");
        return NULL;
    }
    return MM_TAKE(trust);
}

void mm_trust_free(struct mm_trust *trust)
{
    if (!trust)
        return;
    mm_crls_free(trust->crls);
    X509_STORE_free(trust->store);
    free(trust);
}

bool mm_trust_add_crls(struct mm_trust *trust, const void *data, size_t length, struct mm_error *err)
{
    STACK_OF(X509) *cas = X509_STORE_get1_all_certs(trust->store);
    if (!cas)
        return out_of_memory(err);
    trust->crls = mm_crls_parse(data, length, cas, err);
    sk_X509_pop_free(cas, X509_free);
    if (!trust->crls)
        return false;
    const struct mm_bytes parts[] = {{trust->digest, sizeof trust->digest}, {data, length}};
    uint8_t digest[MM_SHA256_LENGTH];
    mm_sha256_parts(parts, MM_ARRAY_SIZE(parts), digest);
    memcpy(trust->digest, digest, sizeof digest);
    return true;
}

size_t mm_trust_n_crls(const struct mm_trust *trust)
{
    return trust->crls ? mm_crls_n(trust->crls) : 0;
}

struct mm_crl_facts mm_trust_crl(const struct mm_trust *trust, size_t i)
{
    return mm_crls_facts(trust->crls, i);
}

/* By name and signature, whenever that may be: who is expired now may be renewed. */
static bool has_issued(X509 *issuer, X509 *ca)
{
    return X509_NAME_cmp(X509_get_issuer_name(ca), X509_get_subject_name(issuer)) == 0 &&
           X509_verify(ca, X509_get0_pubkey(issuer)) == 1;
}

/* Of the same key, what one has signed the other has: a certificate that was renewed. */
static bool are_related(X509 *a, X509 *b)
{
    return EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)) == 1 || has_issued(a, b) || has_issued(b, a);
}

static bool any_related(STACK_OF(X509) * some, STACK_OF(X509) * others)
{
    for (int i = 0; i < sk_X509_num(some); i++)
        for (int j = 0; j < sk_X509_num(others); j++)
            if (are_related(sk_X509_value(some, i), sk_X509_value(others, j)))
                return true;
    return false;
}

bool mm_trusts_overlap(const struct mm_trust *a, const struct mm_trust *b, bool *ret_overlap, struct mm_error *err)
{
    errno = 0;
    STACK_OF(X509) *some = X509_STORE_get1_all_certs(a->store);
    STACK_OF(X509) *others = X509_STORE_get1_all_certs(b->store);
    *ret_overlap = some && others && any_related(some, others);
    bool ok = some && others && (*ret_overlap || errno != ENOMEM);
    sk_X509_pop_free(some, X509_free);
    sk_X509_pop_free(others, X509_free);
    ERR_clear_error();
    return ok || out_of_memory(err);
}

enum validity { VALIDITY_CHECKED, VALIDITY_IGNORED };

/*
 * X509_V_FLAG_X509_STRICT stays off: it refuses CAs without a key usage, which plain `openssl req -x509` makes, and leaves
 * without an authority key identifier, which plain `openssl x509 -req` makes. What matters of the rest, check_issuers() asks.
 */
static X509_STORE_CTX *start_verification(const struct mm_trust *trust, const struct mm_certificate *certificate,
                                          int64_t now, enum validity validity)
{
    mm_cleanup(X509_STORE_CTX_free) X509_STORE_CTX *context = X509_STORE_CTX_new();
    STACK_OF(X509) *chain = mm_certificate_chain(certificate);
    if (!context || X509_STORE_CTX_init(context, trust->store, sk_X509_value(chain, 0), chain) != 1)
        return NULL;
    X509_VERIFY_PARAM *settings = X509_STORE_CTX_get0_param(context);
    /* Each of the tenant's CAs is an anchor, an intermediate too. */
    (void)X509_VERIFY_PARAM_set_flags(settings, X509_V_FLAG_PARTIAL_CHAIN);
    if (validity == VALIDITY_IGNORED)
        (void)X509_VERIFY_PARAM_set_flags(settings, X509_V_FLAG_NO_CHECK_TIME);
    else /* setting a time turns its check on, whatever the flags say */
        X509_VERIFY_PARAM_set_time(settings, (time_t)now);
    X509_VERIFY_PARAM_set_auth_level(settings, SECURITY_LEVEL);
    X509_VERIFY_PARAM_set_depth(settings, MM_CHAIN_MAX);
    return MM_TAKE(context);
}

X509_STORE_CTX *mm_trust_find_path(const struct mm_trust *trust, const struct mm_certificate *certificate, int64_t now,
                                   struct mm_error *err)
{
    mm_cleanup(X509_STORE_CTX_free) X509_STORE_CTX *context =
        start_verification(trust, certificate, now, VALIDITY_CHECKED);
    if (!context) {
        (void)out_of_memory(err);
        return NULL;
    }
    errno = 0;
    if (X509_verify_cert(context) == 1)
        return MM_TAKE(context);
    (void)refused(err, MM_ACCESS_DENIED, "certificate",
                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
    return NULL;
}

/* Whether the certificate names its uses and `nid` is one of them. */
static bool extended_usage_names(const X509 *x509, int nid, bool *ret_present)
{
    int found;
    mm_cleanup(EXTENDED_KEY_USAGE_free) EXTENDED_KEY_USAGE *uses =
        X509_get_ext_d2i(x509, NID_ext_key_usage, &found, NULL);
    *ret_present = found != -1;
    for (int i = 0; i < sk_ASN1_OBJECT_num(uses); i++)
        if (OBJ_obj2nid(sk_ASN1_OBJECT_value(uses, i)) == nid)
            return true;
    return false;
}

/* Whether every certificate above the leaf may issue: a CA, and not one for other uses than clients. */
static bool check_issuers(STACK_OF(X509) * path, struct mm_error *err)
{
    for (int i = 1; i < sk_X509_num(path); i++) {
        X509 *issuer = sk_X509_value(path, i);
        bool limited;
        if (!is_ca(issuer))
            return denied(err, "issued by a certificate that isn't a CA");
        if (!extended_usage_names(issuer, NID_client_auth, &limited) && limited &&
            !extended_usage_names(issuer, NID_anyExtendedKeyUsage, &limited))
            return denied(err, "issued by a CA that isn't one for clients");
    }
    return true;
}

static bool check_leaf(X509 *leaf, struct mm_error *err)
{
    uint32_t flags = X509_get_extension_flags(leaf);
    if (flags & EXFLAG_INVALID)
        return invalid(err, "malformed extensions");
    /* SPIFFE X.509-SVID section 4: a leaf neither is a CA nor signs certificates, and does sign handshakes. */
    if (flags & EXFLAG_CA)
        return invalid(err, "a CA, not a client");
    uint32_t usage = X509_get_key_usage(leaf);
    if ((flags & EXFLAG_KUSAGE) && (!(usage & KU_DIGITAL_SIGNATURE) || (usage & KU_KEY_CERT_SIGN)))
        return invalid(err, "key usage isn't that of a client");
    bool limited;
    if (!extended_usage_names(leaf, NID_client_auth, &limited))
        return invalid(err, "extended key usage doesn't name clientAuth");
    return true;
}

static const char *validity_reason(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "expired, or its CA is";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "not yet valid, or its CA isn't";
    default:
        return "not valid now";
    }
}

/*
 * The path was refused for `error`. Tell a stranger from a known client whose time is wrong: only the latter's signatures
 * lead to the trust once time is left out.
 */
static bool refuse(const struct mm_trust *trust, const struct mm_certificate *certificate, int error,
                   struct mm_error *err)
{
    mm_cleanup(X509_STORE_CTX_free) X509_STORE_CTX *context =
        start_verification(trust, certificate, 0, VALIDITY_IGNORED);
    if (!context)
        return out_of_memory(err);
    if (X509_verify_cert(context) != 1)
        return denied(err, X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
    if (!check_issuers(X509_STORE_CTX_get0_chain(context), err))
        return false;
    return invalid(err, validity_reason(error));
}

bool mm_x509_seconds(const ASN1_TIME *time, int64_t *ret_seconds)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1)
        return false;
    *ret_seconds = (int64_t)timegm(&parts);
    return true;
}

/* Between which times a path that verified does so, and how long what is below its anchor lasts. */
static bool measure_path(STACK_OF(X509) * chain, struct mm_path *ret_path)
{
    struct mm_path path = {.valid_from = INT64_MIN, .valid_until = INT64_MAX, .not_after = INT64_MAX};
    int n = sk_X509_num(chain);
    int n_below_anchor = n > 1 ? n - 1 : 1;
    for (int i = 0; i < n; i++) {
        int64_t not_before;
        int64_t not_after;
        if (!mm_x509_seconds(X509_get0_notBefore(sk_X509_value(chain, i)), &not_before) ||
            !mm_x509_seconds(X509_get0_notAfter(sk_X509_value(chain, i)), &not_after))
            return false;
        if (not_before > path.valid_from)
            path.valid_from = not_before;
        if (not_after < path.valid_until)
            path.valid_until = not_after;
        if (i < n_below_anchor && not_after < path.not_after)
            path.not_after = not_after;
    }
    *ret_path = path;
    return true;
}

static bool verify_path(const struct mm_trust *trust, const struct mm_certificate *certificate, int64_t now,
                        struct mm_path *ret_path, struct mm_error *err)
{
    mm_cleanup(X509_STORE_CTX_free) X509_STORE_CTX *context =
        start_verification(trust, certificate, now, VALIDITY_CHECKED);
    if (!context)
        return out_of_memory(err);
    if (X509_verify_cert(context) != 1)
        return refuse(trust, certificate, X509_STORE_CTX_get_error(context), err);
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(context);
    if (!check_issuers(chain, err) || !check_leaf(sk_X509_value(chain, 0), err))
        return false;
    if (!measure_path(chain, ret_path))
        return invalid(err, "a validity that isn't a time");
    int64_t crls_until = INT64_MAX;
    if (trust->crls && !mm_crls_check(trust->crls, chain, now, &crls_until, err))
        return false;
    if (crls_until < ret_path->valid_until)
        ret_path->valid_until = crls_until;
    memcpy(ret_path->trust, trust->digest, sizeof trust->digest);
    return true;
}

bool mm_trust_verify(const struct mm_trust *trust, struct mm_certificate *certificate, int64_t now,
                     int64_t *ret_not_after, struct mm_error *err)
{
    errno = 0;
    struct mm_path path;
    bool is_known =
        mm_certificate_find_path(certificate, trust->digest, &path) && now >= path.valid_from && now < path.valid_until;
    if (!is_known) {
        if (!verify_path(trust, certificate, now, &path, err))
            return false;
        mm_certificate_keep_path(certificate, &path);
    }
    *ret_not_after = path.not_after;
    return true;
}

/* By its own key (not that it proved much: the fingerprint pins every byte) and none that is weak. */
static bool check_own_signature(X509 *x509, struct mm_error *err)
{
    int bits = 0;
    EVP_PKEY *key = X509_get0_pubkey(x509);
    if (!key || EVP_PKEY_get_security_bits(key) < SECURITY_BITS)
        return invalid(err, "a key that is too weak");
    if (X509_get_signature_info(x509, NULL, NULL, &bits, NULL) != 1 || bits < SECURITY_BITS)
        return invalid(err, "a signature that is too weak");
    return (X509_NAME_cmp(X509_get_subject_name(x509), X509_get_issuer_name(x509)) == 0 &&
            X509_verify(x509, key) == 1) ||
           invalid(err, "not self-signed");
}

/* What it says of its use binds, though nobody else said it. */
static bool check_own_use(X509 *x509, struct mm_error *err)
{
    uint32_t flags = X509_get_extension_flags(x509);
    bool is_limited;
    if (flags & (EXFLAG_INVALID | EXFLAG_CRITICAL))
        return invalid(err, "malformed extensions, or a critical one that isn't known here");
    if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(x509) & KU_DIGITAL_SIGNATURE))
        return invalid(err, "key usage isn't that of a client");
    return extended_usage_names(x509, NID_client_auth, &is_limited) || !is_limited ||
           invalid(err, "extended key usage doesn't name clientAuth");
}

static bool verify_self_signed(struct mm_certificate *certificate, int64_t now, struct mm_path *ret_path,
                               struct mm_error *err)
{
    STACK_OF(X509) *chain = mm_certificate_chain(certificate);
    X509 *x509 = sk_X509_value(chain, 0);
    if (sk_X509_num(chain) != 1)
        return invalid(err, "one that is to be self-signed comes with others");
    if (!check_own_signature(x509, err) || !check_own_use(x509, err))
        return false;
    if (!measure_path(chain, ret_path))
        return invalid(err, "a validity that isn't a time");
    return (now >= ret_path->valid_from && now < ret_path->valid_until) ||
           invalid(err, now < ret_path->valid_from ? "not yet valid" : "expired");
}

bool mm_self_signed_verify(struct mm_certificate *certificate, int64_t now, int64_t *ret_not_after,
                           struct mm_error *err)
{
    /* In the place of a trust's digest, which it is none of. */
    static const uint8_t SELF_SIGNED[MM_SHA256_LENGTH] = "self-signed";
    errno = 0;
    struct mm_path path;
    bool is_known =
        mm_certificate_find_path(certificate, SELF_SIGNED, &path) && now >= path.valid_from && now < path.valid_until;
    if (!is_known) {
        if (!verify_self_signed(certificate, now, &path, err))
            return false;
        memcpy(path.trust, SELF_SIGNED, sizeof path.trust);
        mm_certificate_keep_path(certificate, &path);
    }
    *ret_not_after = path.not_after;
    return true;
}
