/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `authenticate:` lists: the rules that say which credentials stand for an account. Each entry has one kind of rule, and any entry suffices.
 */
#ifndef MM_POLICY_AUTHENTICATE_H
#define MM_POLICY_AUTHENTICATE_H

#include "policy/policy.h"

enum { MM_RULES_MAX = 8 /* entries of a list */ };

/* One entry. That it has one kind of rule is mm_authenticate_check()'s to say. */
extern const struct mm_schema MM_AUTHENTICATE_SCHEMA;

/*
 * Build what the list `json`, at `path` of `document`, says into `account`, whose rules are empty; `issuer` is our own. What isn't as it
 * should be is passed over. False for want of memory: clear the account.
 */
MM_MUST_USE bool mm_authenticate_build(const struct mm_document *document, const char *path, const json_t *json,
                                       const char *issuer, struct mm_account *account);
void mm_authenticate_clear(struct mm_account *account);

/* Report what is wrong with the list by itself and in its envelope; warn of what is risky. The schema need not have accepted it. */
void mm_authenticate_check(const struct mm_document *document, const char *path, const json_t *json,
                           const struct mm_envelope *envelope, struct mm_problems *problems);

/* Whether every token or SVID that matches `narrow` matches `wide` too. */
bool mm_oidc_rule_covers(const struct mm_oidc_rule *wide, const struct mm_oidc_rule *narrow);
bool mm_spiffe_rule_covers(const struct mm_spiffe_rule *wide, const struct mm_spiffe_rule *narrow);

#endif
