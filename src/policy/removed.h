/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is in one policy and not in the next: their tokens live on, so that their revocation is worth a thought.
 */
#ifndef MM_POLICY_REMOVED_H
#define MM_POLICY_REMOVED_H

#include "policy/policy.h"

/*
 * Of each tenant that is gone its id, of others the identities of their accounts that are: [{"what":"tenant"|"account","name"}…]. NULL:
 * MM_NO_MEMORY.
 */
MM_MUST_USE json_t *mm_policy_removed(const struct mm_policy *before, const struct mm_policy *after,
                                      struct mm_error *err);

#endif
