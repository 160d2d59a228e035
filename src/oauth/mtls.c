/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/mtls.h"

#include <string.h>
#include <strings.h>

static const char SPIFFE_SCHEME[] = "spiffe://";

static bool uri_matches(const struct mm_certificate *certificate, const char *uri)
{
    /* An X.509-SVID has exactly one URI (SPIFFE X.509-SVID section 2): with two, who would it be? */
    bool spiffe = strncasecmp(uri, SPIFFE_SCHEME, sizeof SPIFFE_SCHEME - 1) == 0;
    if (spiffe && mm_certificate_n_uris(certificate) != 1)
        return false;
    for (size_t i = 0; i < mm_certificate_n_uris(certificate); i++)
        if (strcmp(mm_certificate_uri(certificate, i), uri) == 0)
            return true;
    return false;
}

static bool dns_matches(const struct mm_certificate *certificate, const char *dns)
{
    for (size_t i = 0; i < mm_certificate_n_dns(certificate); i++)
        if (strcmp(mm_certificate_dns(certificate, i), dns) == 0)
            return true;
    return false;
}

static bool name_matches(const struct mm_certificate *certificate, enum mm_mtls_name kind, const char *name)
{
    switch (kind) {
    case MM_MTLS_SAN_URI:
        return uri_matches(certificate, name);
    case MM_MTLS_SAN_DNS:
        return dns_matches(certificate, name);
    case MM_MTLS_SUBJECT_DN:
        return *name && strcmp(mm_certificate_subject(certificate), name) == 0;
    case MM_MTLS_FINGERPRINT:
        return strcmp(mm_certificate_fingerprint(certificate), name) == 0;
    }
    return false;
}

/* A rule that names nothing matches nobody. */
static bool rule_matches(const struct mm_mtls_rule *rule, const struct mm_certificate *certificate)
{
    size_t n_matched = 0;
    for (size_t kind = 0; kind < MM_ARRAY_SIZE(rule->names); kind++) {
        if (!rule->names[kind])
            continue;
        if (!name_matches(certificate, (enum mm_mtls_name)kind, rule->names[kind]))
            return false;
        n_matched++;
    }
    return n_matched > 0;
}

static bool account_matches(const struct mm_account *account, const struct mm_certificate *certificate)
{
    for (size_t i = 0; i < account->n_mtls; i++)
        if (rule_matches(&account->mtls[i], certificate))
            return true;
    return false;
}

static const struct mm_account *find_account(const struct mm_tenant *tenant, const struct mm_certificate *certificate,
                                             struct mm_error *err)
{
    const struct mm_account *found = NULL;
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        if (!account_matches(&tenant->accounts[i], certificate))
            continue;
        if (found) {
            (void)mm_fail(err, MM_CREDENTIAL_AMBIGUOUS, "the certificate stands for both %s and %s", found->identity,
                          tenant->accounts[i].identity);
            return NULL;
        }
        found = &tenant->accounts[i];
    }
    if (!found)
        (void)mm_fail(err, MM_ACCESS_DENIED, "no account of tenant %s names the client certificate", tenant->id);
    return found;
}

bool mm_mtls_authenticate(const struct mm_policy *policy, const char *tenant_id, struct mm_certificate *certificate,
                          int64_t now, struct mm_principal *ret_principal, struct mm_error *err)
{
    if (!certificate)
        return mm_fail(err, MM_CERTIFICATE_REQUIRED, "a client certificate is required");
    const struct mm_tenant *tenant = mm_policy_tenant(policy, tenant_id);
    if (!tenant || !tenant->client_ca)
        return mm_fail(err, MM_ACCESS_DENIED, "no such tenant");
    int64_t not_after;
    if (!mm_trust_verify(tenant->client_ca, certificate, now, &not_after, err))
        return false;
    const struct mm_account *account = find_account(tenant, certificate, err);
    if (!account)
        return false;
    *ret_principal = (struct mm_principal){
        .tenant = tenant,
        .account = account,
        .not_after = not_after,
        .credential = "mtls",
    };
    memcpy(ret_principal->fingerprint, mm_certificate_fingerprint(certificate), sizeof ret_principal->fingerprint);
    return true;
}
