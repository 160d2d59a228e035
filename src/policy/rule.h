/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mtls` rules: which certificates stand for an account, or for whoever holds a role.
 */
#ifndef MM_POLICY_RULE_H
#define MM_POLICY_RULE_H

#include "policy/policy.h"

enum { MM_MTLS_NAMES = MM_MTLS_FINGERPRINT + 1 };

/* What people call that kind of name: `SAN URI`, …. */
const char *mm_mtls_title(enum mm_mtls_name name);

/* A fingerprint in its one spelling, lower-case and without colons, for the caller to free. NULL: MM_NO_MEMORY. */
MM_MUST_USE char *mm_fingerprint_normalise(const char *fingerprint);

/* Build a rule from its JSON, names in their one spelling; what isn't a string is passed over. False: MM_NO_MEMORY. */
MM_MUST_USE bool mm_mtls_rule_build(const json_t *json, struct mm_mtls_rule *ret_rule, struct mm_error *err);
void mm_mtls_rule_clear(struct mm_mtls_rule *rule);

/* Whether every certificate that matches `narrow` matches `wide` too. A rule without names matches none. */
bool mm_mtls_rule_covers(const struct mm_mtls_rule *wide, const struct mm_mtls_rule *narrow);

/* Whether the certificate has every name of the rule. A rule without names matches none. */
bool mm_mtls_rule_matches(const struct mm_mtls_rule *rule, const struct mm_certificate *certificate);

#endif
