/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands for an account, in words, and how two accounts differ in it.
 */
#ifndef MM_POLICY_CREDENTIALS_H
#define MM_POLICY_CREDENTIALS_H

#include "policy/policy.h"

/*
 * Append to the array `ret_texts` a sentence for each rule of `there` that takes credentials, or takes them in a way, that no rule of `here`
 * does. False: MM_NO_MEMORY.
 */
MM_MUST_USE bool mm_credentials_added(const struct mm_account *here, const struct mm_account *there, json_t *ret_texts);

/* One `oidc` rule in words, for the caller to free. NULL: MM_NO_MEMORY. */
MM_MUST_USE char *mm_oidc_rule_describe(const struct mm_oidc_rule *rule);

#endif
