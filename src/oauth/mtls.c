/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/mtls.h"

#include <string.h>

#include "policy/index.h"
#include "policy/match.h"
#include "policy/rule.h"
#include "policy/spiffe.h"

enum { TENANTS_TRIED_MAX = 4 }; /* each costs a look for a path to its CAs */

/* Accounts that a certificate stands for: by which credential, the first; and another one, if there is any. */
struct found {
    const struct mm_account *account;
    const struct mm_account *another;
    const char *credential;
    int64_t not_after;
};

static void add_found(struct found *found, const struct mm_account *account, const char *credential, int64_t not_after)
{
    if (!found->account)
        *found = (struct found){account, NULL, credential, not_after};
    else if (found->account != account)
        found->another = account;
}

/* The SPIFFE ID of an X.509-SVID, which has that URI and no other (SPIFFE X.509-SVID section 2); NULL: it is none. */
static const char *spiffe_id_of(const struct mm_certificate *certificate)
{
    const char *uri = mm_certificate_n_uris(certificate) == 1 ? mm_certificate_uri(certificate, 0) : NULL;
    return mm_is_spiffe_id(uri) ? uri : NULL;
}

static bool self_signed_matches(const struct mm_account *account, const struct mm_certificate *certificate)
{
    for (size_t i = 0; i < account->n_self_signed; i++)
        if (strcmp(account->self_signed[i].fingerprint, mm_certificate_fingerprint(certificate)) == 0)
            return true;
    return false;
}

static bool mtls_matches(const struct mm_account *account, const struct mm_certificate *certificate)
{
    for (size_t i = 0; i < account->n_mtls; i++)
        if (mm_mtls_rule_matches(&account->mtls[i], certificate))
            return true;
    return false;
}

/* A look for accounts among those that the certificate may stand for. */
struct look {
    struct found *found;
    const struct mm_certificate *certificate;
    int64_t not_after;
};

static void take_self_signed(void *context, const struct mm_account *account)
{
    const struct look *look = context;
    if (self_signed_matches(account, look->certificate))
        add_found(look->found, account, "self_signed_mtls", look->not_after);
}

static void take_mtls(void *context, const struct mm_account *account)
{
    const struct look *look = context;
    if (mtls_matches(account, look->certificate))
        add_found(look->found, account, "mtls", look->not_after);
}

static void find_svid(const struct mm_tenant *tenant, const char *spiffe_id, int64_t not_after, struct found *found)
{
    const struct mm_account *account;
    for (size_t i = 0; tenant->index && (account = mm_index_spiffe(tenant->index, i)) != NULL; i++)
        if (mm_account_has_spiffe_id(account, spiffe_id))
            add_found(found, account, "x509_svid", not_after);
}

static void find(const struct mm_tenant *tenant, mm_index_visit_account take, struct look look)
{
    if (tenant->index)
        mm_index_visit_certificate(tenant->index, look.certificate, take, &look);
}

/*
 * By the tenant's CAs, and by those of the trust domain that it says it is of: what one has certified the other's rules don't take. Whoever
 * is behind neither is told by either that he isn't, and by the one that he is behind what is wrong.
 */
static bool verify(const struct mm_tenant *tenant, struct mm_certificate *certificate, int64_t now, struct found *found,
                   struct mm_error *err)
{
    struct mm_error by_cas = {0};
    struct mm_error by_roots = {0};
    int64_t not_after;
    const char *spiffe_id = spiffe_id_of(certificate);
    const struct mm_trust_domain *domain = spiffe_id ? mm_spiffe_trust_domain(&tenant->envelope, spiffe_id) : NULL;
    bool has_own_keys = domain && (domain->bundle_file || domain->bundle_uri);
    bool is_certified = mm_trust_verify(tenant->client_ca, certificate, now, &not_after, &by_cas);
    if (is_certified)
        find(tenant, take_mtls, (struct look){found, certificate, not_after});
    if (is_certified && domain && !has_own_keys)
        find_svid(tenant, spiffe_id, not_after, found);
    bool is_svid = domain && domain->roots && mm_trust_verify(domain->roots, certificate, now, &not_after, &by_roots);
    if (is_svid)
        find_svid(tenant, spiffe_id, not_after, found);
    if (is_certified || is_svid)
        return true;
    const struct mm_error *why = by_roots.code != MM_OK && by_roots.code != MM_ACCESS_DENIED ? &by_roots : &by_cas;
    return mm_fail(err, why->code, "%s", why->message);
}

static bool settle(const struct mm_tenant *tenant, const struct found *found, struct mm_error *err)
{
    if (!found->account)
        return mm_fail(err, MM_ACCESS_DENIED, "no account of tenant %s names the client certificate", tenant->id);
    return !found->another || mm_fail(err, MM_CREDENTIAL_AMBIGUOUS, "the certificate stands for both %s and %s",
                                      found->account->identity, found->another->identity);
}

bool mm_mtls_authenticate(const struct mm_policy *policy, const char *tenant_id, struct mm_certificate *certificate,
                          int64_t now, struct mm_principal *ret_principal, struct mm_error *err)
{
    if (!certificate)
        return mm_fail(err, MM_CERTIFICATE_REQUIRED, "a client certificate is required");
    const struct mm_tenant *tenant = mm_policy_tenant(policy, tenant_id);
    if (!tenant || !tenant->client_ca)
        return mm_fail(err, MM_ACCESS_DENIED, "no such tenant");
    /* Whoever is known by the very certificate is known by nothing else: no CA makes it good, or anything of it. */
    struct found found = {0};
    find(tenant, take_self_signed, (struct look){&found, certificate, 0});
    bool is_verified = found.account ? mm_self_signed_verify(certificate, now, &found.not_after, err)
                                     : verify(tenant, certificate, now, &found, err);
    if (!is_verified || !settle(tenant, &found, err))
        return false;
    *ret_principal = (struct mm_principal){
        .tenant = tenant,
        .account = found.account,
        .not_after = found.not_after,
        .credential = found.credential,
    };
    memcpy(ret_principal->fingerprint, mm_certificate_fingerprint(certificate), sizeof ret_principal->fingerprint);
    return true;
}

/* Whether a rule of the account takes what the certificate says, whoever has signed that. */
static bool is_named_by(const struct mm_account *account, const struct mm_certificate *certificate)
{
    const char *spiffe_id = spiffe_id_of(certificate);
    return self_signed_matches(account, certificate) || mtls_matches(account, certificate) ||
           (spiffe_id && mm_account_has_spiffe_id(account, spiffe_id));
}

const struct mm_tenant *mm_mtls_find_tenant(const struct mm_policy *policy, const char *id,
                                            struct mm_certificate *certificate, int64_t now)
{
    const struct mm_tenant *found = NULL;
    size_t n_tried = 0;
    for (size_t i = 0; i < policy->n_tenants; i++) {
        const struct mm_tenant *tenant = &policy->tenants[i];
        const struct mm_account *account = mm_tenant_client(tenant, id);
        struct mm_principal principal;
        struct mm_error why = {0};
        if (!account || !is_named_by(account, certificate))
            continue;
        if (n_tried++ == TENANTS_TRIED_MAX)
            return NULL;
        if (!mm_mtls_authenticate(policy, tenant->id, certificate, now, &principal, &why) ||
            principal.account != account)
            continue;
        if (found)
            return NULL;
        found = tenant;
    }
    return found;
}
