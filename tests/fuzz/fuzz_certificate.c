/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's certificate chain: parsed as it came, then with its leaf signed by the tenant's CA, as an attacker with a careless
 * CA could have it. Whoever is taken for an account has the very name that the account's rule asks for, by libcrypto's own
 * account. The input: each certificate's length in two bytes, big-endian, then its DER.
 */
#include "fuzz.h"

#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "oauth/mtls.h"
#include "policy/index.h"
#include "tests/support/make_certificate.h"

#define SPIFFE_URI "spiffe://acme.example/ci/build"
#define PLAIN_URI  "https://acme.example/ci"
#define DNS_NAME   "ci.acme.example"

MM_DEFINE_CLEANUP(X509, X509_free);
MM_DEFINE_CLEANUP(GENERAL_NAMES, GENERAL_NAMES_free);

enum { BY_SPIFFE, BY_URI, BY_DNS, BY_SUBJECT, N_ACCOUNTS };

static struct mm_mtls_rule rules[N_ACCOUNTS] = {
    [BY_SPIFFE] = {.names = {[MM_MTLS_SAN_URI] = (char[]){SPIFFE_URI}}},
    [BY_URI] = {.names = {[MM_MTLS_SAN_URI] = (char[]){PLAIN_URI}}},
    [BY_DNS] = {.names = {[MM_MTLS_SAN_DNS] = (char[]){DNS_NAME}}},
    [BY_SUBJECT] = {.names = {[MM_MTLS_SUBJECT_DN] = (char[]){"CN=deploy,O=Acme"}}},
};

static struct mm_account accounts[N_ACCOUNTS] = {
    [BY_SPIFFE] = {.identity = (char[]){"acme/spiffe"}, .mtls = &rules[BY_SPIFFE], .n_mtls = 1},
    [BY_URI] = {.identity = (char[]){"acme/uri"}, .mtls = &rules[BY_URI], .n_mtls = 1},
    [BY_DNS] = {.identity = (char[]){"acme/dns"}, .mtls = &rules[BY_DNS], .n_mtls = 1},
    [BY_SUBJECT] = {.identity = (char[]){"acme/subject"}, .mtls = &rules[BY_SUBJECT], .n_mtls = 1},
};

static struct mm_tenant tenant = {.id = (char[]){"acme"}, .accounts = accounts, .n_accounts = N_ACCOUNTS};
static const struct mm_policy policy = {.tenants = &tenant, .n_tenants = 1};

/* Made once, kept for the life of the program. */
static const struct test_certificate *ca(void)
{
    static struct test_certificate *made;
    if (!made) {
        made = make_ca("Acme CA", NULL);
        mm_cleanup(free) char *pem = test_certificates_pem(made, NULL);
        tenant.client_ca = mm_trust_parse(pem, strlen(pem), NULL);
        assert(tenant.client_ca && mm_tenant_index(&tenant));
    }
    return made;
}

static size_t count_names(const X509 *leaf, int type, const char *wanted, size_t *ret_n_wanted)
{
    mm_cleanup(GENERAL_NAMES_free) GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    size_t n = 0;
    *ret_n_wanted = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != type)
            continue;
        const ASN1_IA5STRING *value = name->d.ia5;
        n++;
        *ret_n_wanted += (size_t)ASN1_STRING_length(value) == strlen(wanted) &&
                         (type == GEN_DNS ? strncasecmp : strncmp)((const char *)ASN1_STRING_get0_data(value), wanted,
                                                                   strlen(wanted)) == 0;
    }
    return n;
}

static void check_entry(const X509_NAME *subject, int i, int nid, const char *wanted)
{
    const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);
    uint8_t *text = NULL;
    int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry));
    assert(OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) == nid);
    assert(length == (int)strlen(wanted) && memcmp(text, wanted, (size_t)length) == 0);
    OPENSSL_free(text);
}

static void check_match(const X509 *leaf, const struct mm_account *account)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    size_t n_wanted = 1;
    if (account == &accounts[BY_SPIFFE]) {
        assert(count_names(leaf, GEN_URI, SPIFFE_URI, &n_wanted) == 1);
    } else if (account == &accounts[BY_URI]) {
        assert(count_names(leaf, GEN_URI, PLAIN_URI, &n_wanted) >= 1);
    } else if (account == &accounts[BY_DNS]) {
        assert(count_names(leaf, GEN_DNS, DNS_NAME, &n_wanted) >= 1);
    } else {
        assert(account == &accounts[BY_SUBJECT] && X509_NAME_entry_count(subject) == 2);
        check_entry(subject, 0, NID_organizationName, "Acme");
        check_entry(subject, 1, NID_commonName, "deploy");
    }
    assert(n_wanted >= 1);
}

static void check_principal(X509 *leaf, const struct mm_principal *principal)
{
    struct tm parts;
    int is_time = ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &parts);
    assert(is_time == 1 && principal->not_after <= (int64_t)timegm(&parts) && principal->not_after >= TEST_NOW);
    assert(principal->tenant == &tenant);
    assert(!(X509_get_extension_flags(leaf) & EXFLAG_CA));
    assert((X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE) && (X509_get_extended_key_usage(leaf) & XKU_SSL_CLIENT));
    check_match(leaf, principal->account);
}

static void check_names(const struct mm_certificate *certificate)
{
    assert(mm_certificate_n_uris(certificate) <= MM_CERTIFICATE_NAMES_MAX);
    assert(mm_certificate_n_dns(certificate) <= MM_CERTIFICATE_NAMES_MAX);
    for (size_t i = 0; i < mm_certificate_n_uris(certificate); i++)
        for (const char *c = mm_certificate_uri(certificate, i); *c; c++)
            assert(*c > ' ' && *c <= '~');
    for (size_t i = 0; i < mm_certificate_n_dns(certificate); i++)
        for (const char *c = mm_certificate_dns(certificate, i); *c; c++)
            assert(*c > ' ' && *c <= '~' && !(*c >= 'A' && *c <= 'Z'));
    for (const char *c = mm_certificate_subject(certificate); *c; c++)
        assert((uint8_t)*c >= ' ' && (uint8_t)*c <= '~');
}

static void authenticate(const struct mm_bytes *chain, size_t n, X509 *signed_leaf)
{
    struct mm_error err = {0};
    struct mm_principal principal;
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(chain, n, &err);
    assert((certificate != NULL) == (err.code == MM_OK) && (certificate || err.code == MM_CERTIFICATE_INVALID));
    if (!certificate)
        return;
    check_names(certificate);
    if (mm_mtls_authenticate(&policy, "acme", certificate, TEST_NOW, &principal, &err)) {
        assert(signed_leaf); /* nobody but the CA signs for the CA */
        check_principal(signed_leaf, &principal);
    } else {
        assert(err.code == MM_ACCESS_DENIED || err.code == MM_CERTIFICATE_INVALID ||
               err.code == MM_CREDENTIAL_AMBIGUOUS);
    }
}

/* The first certificate with the CA's name and signature on it; NULL if it can't have them. */
static X509 *sign_leaf(struct mm_bytes der, uint8_t **ret_der, size_t *ret_length)
{
    const uint8_t *at = der.data;
    mm_cleanup(X509_free) X509 *leaf = d2i_X509(NULL, &at, (long)der.length);
    if (!leaf || !X509_set_issuer_name(leaf, X509_get_subject_name(ca()->x509)) ||
        X509_sign(leaf, ca()->key, EVP_sha256()) <= 0)
        return NULL;
    int length = i2d_X509(leaf, ret_der);
    if (length <= 0)
        return NULL;
    *ret_length = (size_t)length;
    at = *ret_der;
    return d2i_X509(NULL, &at, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_bytes chain[MM_CHAIN_MAX + 1];
    size_t n = 0;
    (void)ca();
    while (size > 2 && n < MM_ARRAY_SIZE(chain)) {
        size_t length = (size_t)data[0] << 8 | data[1];
        if (length > size - 2)
            length = size - 2;
        chain[n++] = (struct mm_bytes){data + 2, length};
        data += 2 + length;
        size -= 2 + length;
    }
    if (n == 0)
        return 0;
    authenticate(chain, n, NULL);
    uint8_t *der = NULL;
    mm_cleanup(X509_free) X509 *leaf = sign_leaf(chain[0], &der, &chain[0].length);
    if (leaf) {
        chain[0].data = der;
        authenticate(chain, n, leaf);
    }
    OPENSSL_free(der);
    ERR_clear_error();
    return 0;
}
