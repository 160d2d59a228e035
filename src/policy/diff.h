/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who gains and who loses what between two policies: the reviewer's view of a change.
 */
#ifndef MM_POLICY_DIFF_H
#define MM_POLICY_DIFF_H

#include "policy/policy.h"

/*
 * An array of {"change": "gains"|"loses"|"changes", "tenant", "account", "what"} from `before` to `after`, ordered by tenant
 * and account. `what` is a sentence: a scope on a resource with its longest TTL, an audience, a credential, the
 * is_service_account claim; "in its envelope: …" for what a tenant's file may grant, whether it does or not. Empty if the two
 * grant the same and may grant the same. NULL: MM_NO_MEMORY.
 */
MM_MUST_USE json_t *mm_policy_diff(const struct mm_policy *before, const struct mm_policy *after, struct mm_error *err);

#endif
