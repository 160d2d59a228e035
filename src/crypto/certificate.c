/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/x509.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/der.h"

enum { SUBJECT_MAX = 4096 };

struct name_list {
    char *items[MM_CERTIFICATE_NAMES_MAX];
    size_t n;
};

struct mm_certificate {
    atomic_size_t n_references;
    /* immutable once parsed */
    STACK_OF(X509) * chain;
    uint8_t chain_digest[MM_SHA256_LENGTH];
    struct name_list uris;
    struct name_list dns;
    char subject[SUBJECT_MAX + 1];
    char fingerprint[MM_SHA256_HEX_LENGTH + 1];

    pthread_mutex_t lock;
    /* guarded by lock */
    struct mm_path paths[2]; /* mm_trust_verify()'s, the latest first */
};

MM_DEFINE_CLEANUP(X509, X509_free);
MM_DEFINE_CLEANUP(BIO, BIO_free_all);
MM_DEFINE_CLEANUP(GENERAL_NAMES, GENERAL_NAMES_free);

static bool invalid(struct mm_error *err, const char *why)
{
    ERR_clear_error();
    return mm_fail(err, MM_CERTIFICATE_INVALID, "client certificate: %s", why);
}

static bool out_of_memory(struct mm_error *err)
{
    ERR_clear_error();
    return mm_fail(err, MM_NO_MEMORY, "out of memory");
}

/* What libcrypto refused, unless it refused it for want of memory: malloc() leaves word of that, libcrypto not always. */
static bool invalid_unless_no_memory(struct mm_error *err, const char *why)
{
    return errno == ENOMEM ? out_of_memory(err) : invalid(err, why);
}

/* One spelling for one certificate: what doesn't encode to the very same bytes is refused, or fingerprints could be varied. */
static X509 *parse_der(struct mm_bytes der)
{
    if (!mm_der_key_is_cheap(der))
        return NULL;
    const uint8_t *at = der.data;
    mm_cleanup(X509_free) X509 *x509 = d2i_X509(NULL, &at, (long)der.length);
    if (!x509 || i2d_X509(x509, NULL) != (int)der.length)
        return NULL;
    uint8_t again[MM_CHAIN_BYTES_MAX];
    uint8_t *end = again;
    if (i2d_X509(x509, &end) != (int)der.length || memcmp(again, der.data, der.length) != 0)
        return NULL;
    return MM_TAKE(x509);
}

/* Bytes alone don't bound what is kept: the shortest elements take fifty times theirs once they are parsed. */
static bool is_small(const struct mm_bytes *chain, size_t n)
{
    size_t n_bytes = 0;
    size_t n_elements = 0;
    for (size_t i = 0; i < n; i++) {
        n_bytes += chain[i].length;
        if (n_bytes > MM_CHAIN_BYTES_MAX)
            return false;
        n_elements += mm_der_count_elements(chain[i]);
    }
    return n_elements <= MM_CHAIN_ELEMENTS_MAX;
}

static bool parse_chain(struct mm_certificate *certificate, const struct mm_bytes *chain, size_t n,
                        struct mm_error *err)
{
    if (n < 1 || n > MM_CHAIN_MAX)
        return invalid(err, "no certificate, or too many");
    if (!is_small(chain, n))
        return invalid(err, "too large, with the others that were sent");
    certificate->chain = sk_X509_new_reserve(NULL, (int)n);
    if (!certificate->chain)
        return out_of_memory(err);
    for (size_t i = 0; i < n; i++) {
        errno = 0;
        mm_cleanup(X509_free) X509 *x509 = parse_der(chain[i]);
        if (errno == ENOMEM) /* also if there is a certificate: its key may be missing */
            return out_of_memory(err);
        if (!x509)
            return invalid(err, "not DER, or a key of another kind than those that are accepted");
        (void)sk_X509_push(certificate->chain, MM_TAKE(x509)); /* reserved above */
    }
    return true;
}

/* Names are compared as C strings and end in logs: visible ASCII only, so no NUL, space or control character. */
static bool add_name(struct name_list *names, const ASN1_STRING *value, struct mm_error *err)
{
    const uint8_t *data = ASN1_STRING_get0_data(value);
    int length = ASN1_STRING_length(value);
    if (length < 1 || names->n == MM_CERTIFICATE_NAMES_MAX)
        return invalid(err, "an empty alternative name, or too many of them");
    for (int i = 0; i < length; i++)
        if (data[i] <= ' ' || data[i] > '~')
            return invalid(err, "an alternative name that isn't plain ASCII");
    char *name = strndup((const char *)data, (size_t)length);
    if (!name)
        return out_of_memory(err);
    names->items[names->n++] = name;
    return true;
}

static void lower_case(char *name)
{
    for (; *name; name++)
        if (*name >= 'A' && *name <= 'Z')
            *name = (char)(*name - 'A' + 'a');
}

static bool read_alternative_names(struct mm_certificate *certificate, const X509 *leaf, struct mm_error *err)
{
    int found;
    errno = 0;
    mm_cleanup(GENERAL_NAMES_free) GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &found, NULL);
    if (!names)
        return found == -1 || invalid_unless_no_memory(err, "malformed or repeated alternative names");
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI && !add_name(&certificate->uris, name->d.uniformResourceIdentifier, err))
            return false;
        if (name->type == GEN_DNS && !add_name(&certificate->dns, name->d.dNSName, err))
            return false;
    }
    for (size_t i = 0; i < certificate->dns.n; i++)
        lower_case(certificate->dns.items[i]);
    return true;
}

static bool holds_nul(const X509_NAME *subject)
{
    for (int i = 0; i < X509_NAME_entry_count(subject); i++) {
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i));
        uint8_t *text = NULL;
        int length = ASN1_STRING_to_UTF8(&text, value); /* a BMPString is full of zero bytes that aren't NULs */
        bool nul = length < 0 || memchr(text, '\0', (size_t)length);
        OPENSSL_free(text);
        if (nul)
            return true;
    }
    return false;
}

static bool read_subject(struct mm_certificate *certificate, const X509 *leaf, struct mm_error *err)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    errno = 0;
    if (holds_nul(subject))
        return invalid_unless_no_memory(err, "a NUL in the subject");
    mm_cleanup(BIO_free_all) BIO *text = BIO_new(BIO_s_mem());
    if (!text)
        return out_of_memory(err);
    char *data;
    if (X509_NAME_print_ex(text, subject, 0, XN_FLAG_RFC2253) < 0)
        return invalid_unless_no_memory(err, "a subject that can't be written down");
    long length = BIO_get_mem_data(text, &data);
    if (length > SUBJECT_MAX)
        return invalid(err, "a subject that is too long");
    if (length > 0)
        memcpy(certificate->subject, data, (size_t)length);
    return true;
}

struct mm_certificate *mm_certificate_parse(const struct mm_bytes *chain, size_t n, struct mm_error *err)
{
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = calloc(1, sizeof *certificate);
    if (!certificate) {
        (void)out_of_memory(err);
        return NULL;
    }
    atomic_init(&certificate->n_references, 1);
    (void)pthread_mutex_init(&certificate->lock, NULL);
    if (!parse_chain(certificate, chain, n, err))
        return NULL;
    const X509 *leaf = sk_X509_value(certificate->chain, 0);
    if (!read_alternative_names(certificate, leaf, err) || !read_subject(certificate, leaf, err))
        return NULL;
    mm_sha256_hex(chain[0].data, chain[0].length, certificate->fingerprint);
    mm_sha256_parts(chain, n, certificate->chain_digest);
    return MM_TAKE(certificate);
}

static void free_names(struct name_list *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
}

struct mm_certificate *mm_certificate_ref(struct mm_certificate *certificate)
{
    (void)atomic_fetch_add(&certificate->n_references, 1);
    return certificate;
}

void mm_certificate_unref(struct mm_certificate *certificate)
{
    if (!certificate || atomic_fetch_sub(&certificate->n_references, 1) > 1)
        return;
    (void)pthread_mutex_destroy(&certificate->lock);
    free_names(&certificate->uris);
    free_names(&certificate->dns);
    sk_X509_pop_free(certificate->chain, X509_free);
    free(certificate);
}

STACK_OF(X509) * mm_certificate_chain(const struct mm_certificate *certificate)
{
    return certificate->chain;
}

static bool leads_to(const struct mm_path *path, const uint8_t trust[MM_SHA256_LENGTH])
{
    return memcmp(path->trust, trust, MM_SHA256_LENGTH) == 0;
}

bool mm_certificate_find_path(struct mm_certificate *certificate, const uint8_t trust[MM_SHA256_LENGTH],
                              struct mm_path *ret_path)
{
    bool is_known = false;
    (void)pthread_mutex_lock(&certificate->lock);
    for (size_t i = 0; !is_known && i < MM_ARRAY_SIZE(certificate->paths); i++) {
        is_known = leads_to(&certificate->paths[i], trust);
        if (is_known)
            *ret_path = certificate->paths[i];
    }
    (void)pthread_mutex_unlock(&certificate->lock);
    return is_known;
}

/* In the place of the one to the same trust, else of the older one. */
void mm_certificate_keep_path(struct mm_certificate *certificate, const struct mm_path *path)
{
    (void)pthread_mutex_lock(&certificate->lock);
    if (!leads_to(&certificate->paths[0], path->trust))
        certificate->paths[1] = certificate->paths[0];
    certificate->paths[0] = *path;
    (void)pthread_mutex_unlock(&certificate->lock);
}

const uint8_t *mm_certificate_chain_digest(const struct mm_certificate *certificate)
{
    return certificate->chain_digest;
}

size_t mm_certificate_n_uris(const struct mm_certificate *certificate)
{
    return certificate->uris.n;
}

const char *mm_certificate_uri(const struct mm_certificate *certificate, size_t i)
{
    return certificate->uris.items[i];
}

size_t mm_certificate_n_dns(const struct mm_certificate *certificate)
{
    return certificate->dns.n;
}

const char *mm_certificate_dns(const struct mm_certificate *certificate, size_t i)
{
    return certificate->dns.items[i];
}

const char *mm_certificate_subject(const struct mm_certificate *certificate)
{
    return certificate->subject;
}

const char *mm_certificate_fingerprint(const struct mm_certificate *certificate)
{
    return certificate->fingerprint;
}
