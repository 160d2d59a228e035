/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/match.h"

#include <string.h>

#include "policy/glob.h"
#include "policy/index.h"
#include "policy/spiffe.h"
#include "policy/syntax.h"
#include "token/jwt_claims.h"

bool mm_oidc_rule_matches(const struct mm_oidc_rule *rule, const char *issuer, const json_t *claims,
                          struct mm_claim_mismatch *ret_why)
{
    const char *audience = mm_jwt_claims_sole_audience(claims);
    if (ret_why)
        *ret_why = (struct mm_claim_mismatch){0};
    return strcmp(rule->issuer, issuer) == 0 && audience && strcmp(rule->audience, audience) == 0 &&
           mm_claim_rules_match(&rule->claims, claims, ret_why);
}

/* What has been found so far. */
struct search {
    const char *issuer;
    const json_t *claims;
    struct mm_oidc_match match;
    const struct mm_account *another; /* that a rule in force matches as well */
    struct mm_audit_matches *audit;
};

static void note_audit(struct mm_audit_matches *audit, struct mm_oidc_match match)
{
    for (size_t i = 0; audit && i < audit->n; i++)
        if (audit->items[i].rule == match.rule)
            return;
    if (audit && audit->n < MM_AUDIT_MATCHES_MAX)
        audit->items[audit->n++] = match;
}

static void note_refusal(struct mm_audit_matches *audit, struct mm_oidc_match match, struct mm_claim_mismatch why)
{
    for (size_t i = 0; audit && i < audit->n_refusals; i++)
        if (audit->refusals[i].match.rule == match.rule)
            return;
    if (audit && audit->n_refusals < MM_AUDIT_MATCHES_MAX)
        audit->refusals[audit->n_refusals++] = (struct mm_audit_refusal){match, why};
}

static void consider(void *context, const struct mm_account *account, const struct mm_oidc_rule *rule)
{
    struct search *search = context;
    struct mm_claim_mismatch why;
    bool matches = mm_oidc_rule_matches(rule, search->issuer, search->claims, &why);
    if (!matches && rule->mode == MM_RULE_AUDITED && strcmp(rule->issuer, search->issuer) == 0)
        note_refusal(search->audit, (struct mm_oidc_match){account, rule}, why);
    if (!matches)
        return;
    if (rule->mode == MM_RULE_AUDITED)
        note_audit(search->audit, (struct mm_oidc_match){account, rule});
    else if (search->match.account && search->match.account != account)
        search->another = account;
    else if (!search->match.account || rule < search->match.rule)
        search->match = (struct mm_oidc_match){account, rule};
}

/* Rules of the account that is meant, which the index needn't have for the token. */
static void consider_audited(struct search *search, const struct mm_account *account)
{
    for (size_t i = 0; i < account->n_oidc; i++)
        if (account->oidc[i].mode == MM_RULE_AUDITED)
            consider(search, account, &account->oidc[i]);
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
    struct search search = {.issuer = issuer, .claims = claims, .audit = ret_audit};
    if (ret_audit)
        *ret_audit = (struct mm_audit_matches){0};
    if (tenant->index && !mm_index_visit_oidc(tenant->index, issuer, claims, consider, &search))
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (account)
        consider_audited(&search, account);
    if (!settle(tenant, account, search.match.account, search.another, "token", err))
        return false;
    *ret_match = search.match;
    return true;
}

const char *const *mm_policy_oidc_audiences(const struct mm_tenant *tenant, const char *issuer)
{
    return tenant->index ? mm_index_audiences(tenant->index, issuer) : NULL;
}

bool mm_spiffe_rule_matches(const struct mm_spiffe_rule *rule, const char *spiffe_id)
{
    const char *path = mm_spiffe_path(spiffe_id, rule->trust_domain);
    return path && *path && !mm_check_san_uri(spiffe_id) && mm_glob_matches(rule->path, path);
}

bool mm_account_has_spiffe_id(const struct mm_account *account, const char *spiffe_id)
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
    const struct mm_account *one;
    for (size_t i = 0; tenant->index && (one = mm_index_spiffe(tenant->index, i)) != NULL; i++) {
        if (!mm_account_has_spiffe_id(one, spiffe_id))
            continue;
        if (!found)
            found = one;
        else if (!another)
            another = one;
    }
    if (!settle(tenant, account, found, another, "SPIFFE ID", err))
        return false;
    *ret_account = found;
    return true;
}
