/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which account a credential stands for that somebody else has verified already. Pure; what it says of a credential that isn't verified means
 * nothing.
 */
#ifndef MM_POLICY_MATCH_H
#define MM_POLICY_MATCH_H

#include "policy/policy.h"

enum { MM_AUDIT_MATCHES_MAX = 8 };

struct mm_oidc_match {
    const struct mm_account *account; /* borrowed from the policy, like the rule */
    const struct mm_oidc_rule *rule;  /* the first of its rules that matched */
};

/* A rule in audit mode that wouldn't have matched, and why. */
struct mm_audit_refusal {
    struct mm_oidc_match match;
    struct mm_claim_mismatch why; /* without a rule: the audience is another */
};

/* Rules in audit mode that would have matched, and those that came near and wouldn't: the first few of each. */
struct mm_audit_matches {
    struct mm_oidc_match items[MM_AUDIT_MATCHES_MAX];
    size_t n;
    struct mm_audit_refusal refusals[MM_AUDIT_MATCHES_MAX];
    size_t n_refusals;
};

/*
 * The account of `tenant` that the verified token of `issuer` with these claims stands for; with `account`, whether it stands for that one.
 * The rule's audience must be the token's only one. MM_ACCESS_DENIED if no rule matches, MM_CREDENTIAL_AMBIGUOUS if rules of two accounts
 * do, whether or not one of them is `account`. Rules in audit mode never count, but are told in `ret_audit` (may be NULL), which is set
 * whatever else comes of it; log them. Near came `account`'s, and those that the tenant's index has for the token: it has the most telling claim
 * of the rule.
 */
MM_MUST_USE bool mm_policy_match_oidc(const struct mm_tenant *tenant, const struct mm_account *account,
                                      const char *issuer, const json_t *claims, struct mm_oidc_match *ret_match,
                                      struct mm_audit_matches *ret_audit, struct mm_error *err);

/* Whether the rule matches, in whichever mode it is; else why not, in `ret_why` (may be NULL) with a NULL rule for issuer and audience. */
bool mm_oidc_rule_matches(const struct mm_oidc_rule *rule, const char *issuer, const json_t *claims,
                          struct mm_claim_mismatch *ret_why);

/*
 * What tokens of `issuer` may have as `aud` by any of the tenant's rules, NULL-terminated and borrowed from the policy: for
 * mm_jwt_verify(). NULL: no rule names that issuer.
 */
const char *const *mm_policy_oidc_audiences(const struct mm_tenant *tenant, const char *issuer);

/*
 * The account that the holder of `spiffe_id` stands for by a `spiffe` rule; with `account`, whether it is that one. MM_ACCESS_DENIED if
 * none is, or the id is malformed; MM_CREDENTIAL_AMBIGUOUS if two are.
 */
MM_MUST_USE bool mm_policy_match_spiffe(const struct mm_tenant *tenant, const struct mm_account *account,
                                        const char *spiffe_id, const struct mm_account **ret_account,
                                        struct mm_error *err);

bool mm_spiffe_rule_matches(const struct mm_spiffe_rule *rule, const char *spiffe_id);

/* Whether any of the account's `spiffe` rules does. */
bool mm_account_has_spiffe_id(const struct mm_account *account, const char *spiffe_id);

#endif
