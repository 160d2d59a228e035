/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/mtls.h"

#include <string.h>

#include "policy/rule.h"

static bool account_matches(const struct mm_account *account, const struct mm_certificate *certificate)
{
    for (size_t i = 0; i < account->n_mtls; i++)
        if (mm_mtls_rule_matches(&account->mtls[i], certificate))
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
