/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/match.h"

#include <string.h>

#include "policy/glob.h"
#include "policy/syntax.h"

/* The token's one audience; NULL if it has none, or several. */
static const char *sole_audience(const json_t *claims)
{
    const json_t *aud = json_object_get(claims, "aud");
    if (json_is_array(aud) && json_array_size(aud) == 1)
        aud = json_array_get(aud, 0);
    return json_string_value(aud);
}

bool mm_oidc_rule_matches(const struct mm_oidc_rule *rule, const char *issuer, const json_t *claims,
                          struct mm_claim_mismatch *ret_why)
{
    const char *audience = sole_audience(claims);
    if (ret_why)
        *ret_why = (struct mm_claim_mismatch){0};
    return strcmp(rule->issuer, issuer) == 0 && audience && strcmp(rule->audience, audience) == 0 &&
           mm_claim_rules_match(&rule->claims, claims, ret_why);
}

static void note_audit(struct mm_audit_matches *audit, struct mm_oidc_match match)
{
    if (audit && audit->n < MM_AUDIT_MATCHES_MAX)
        audit->items[audit->n++] = match;
}

/* The first of the account's rules that are in force that matches; NULL: none. */
static const struct mm_oidc_rule *find_rule(const struct mm_account *account, const char *issuer, const json_t *claims,
                                            struct mm_audit_matches *audit)
{
    const struct mm_oidc_rule *found = NULL;
    for (size_t i = 0; i < account->n_oidc; i++) {
        const struct mm_oidc_rule *rule = &account->oidc[i];
        bool is_audited = rule->mode == MM_RULE_AUDITED;
        if ((found && !is_audited) || !mm_oidc_rule_matches(rule, issuer, claims, NULL))
            continue;
        if (is_audited)
            note_audit(audit, (struct mm_oidc_match){account, rule});
        else
            found = rule;
    }
    return found;
}

/* Of the accounts that a credential stands for there may be one, and it must be the one that is meant. */
static bool settle(const struct mm_tenant *tenant, const struct mm_account *meant, const struct mm_account *found,
                   const struct mm_account *another, const char *credential, struct mm_error *err)
{
    if (another)
        return mm_fail(err, MM_CREDENTIAL_AMBIGUOUS, "the %s stands for both %s and %s", credential, found->identity,
                       another->identity);
    if (!found)
        return mm_fail(err, MM_ACCESS_DENIED, "no account of tenant %s names the %s", tenant->id, credential);
    if (meant && found != meant)
        return mm_fail(err, MM_ACCESS_DENIED, "the %s stands for %s, not for %s", credential, found->identity,
                       meant->identity);
    return true;
}

bool mm_policy_match_oidc(const struct mm_tenant *tenant, const struct mm_account *account, const char *issuer,
                          const json_t *claims, struct mm_oidc_match *ret_match, struct mm_audit_matches *ret_audit,
                          struct mm_error *err)
{
    struct mm_oidc_match match = {0};
    const struct mm_account *another = NULL;
    if (ret_audit)
        ret_audit->n = 0;
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        const struct mm_oidc_rule *rule = find_rule(&tenant->accounts[i], issuer, claims, ret_audit);
        if (rule && match.account && !another)
            another = &tenant->accounts[i];
        else if (rule && !match.account)
            match = (struct mm_oidc_match){&tenant->accounts[i], rule};
    }
    if (!settle(tenant, account, match.account, another, "token", err))
        return false;
    *ret_match = match;
    return true;
}

static bool have(const char *const *strings, size_t n, const char *string)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(strings[i], string) == 0)
            return true;
    return false;
}

size_t mm_policy_oidc_audiences(const struct mm_tenant *tenant, const char *issuer,
                                const char *ret_audiences[MM_OIDC_AUDIENCES_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < tenant->n_accounts; i++)
        for (size_t j = 0; j < tenant->accounts[i].n_oidc; j++) {
            const struct mm_oidc_rule *rule = &tenant->accounts[i].oidc[j];
            if (n < MM_OIDC_AUDIENCES_MAX && strcmp(rule->issuer, issuer) == 0 &&
                !have(ret_audiences, n, rule->audience))
                ret_audiences[n++] = rule->audience;
        }
    ret_audiences[n] = NULL;
    return n;
}

bool mm_spiffe_rule_matches(const struct mm_spiffe_rule *rule, const char *spiffe_id)
{
    static const char SCHEME[] = "spiffe://";
    size_t length = strlen(rule->trust_domain);
    if (strncmp(spiffe_id, SCHEME, sizeof SCHEME - 1) != 0 || mm_check_san_uri(spiffe_id))
        return false;
    const char *domain = spiffe_id + sizeof SCHEME - 1;
    return strncmp(domain, rule->trust_domain, length) == 0 && domain[length] == '/' &&
           mm_glob_matches(rule->path, domain + length);
}

static bool spiffe_account_matches(const struct mm_account *account, const char *spiffe_id)
{
    for (size_t i = 0; i < account->n_spiffe; i++)
        if (mm_spiffe_rule_matches(&account->spiffe[i], spiffe_id))
            return true;
    return false;
}

bool mm_policy_match_spiffe(const struct mm_tenant *tenant, const struct mm_account *account, const char *spiffe_id,
                            const struct mm_account **ret_account, struct mm_error *err)
{
    const struct mm_account *found = NULL;
    const struct mm_account *another = NULL;
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        if (!spiffe_account_matches(&tenant->accounts[i], spiffe_id))
            continue;
        if (!found)
            found = &tenant->accounts[i];
        else if (!another)
            another = &tenant->accounts[i];
    }
    if (!settle(tenant, account, found, another, "SPIFFE ID", err))
        return false;
    *ret_account = found;
    return true;
}
