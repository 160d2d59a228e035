/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials that would stand for two accounts of a tenant, as far as the rules alone show it. What they don't show is refused when it comes.
 */
#ifndef MM_POLICY_OVERLAP_H
#define MM_POLICY_OVERLAP_H

#include "policy/policy.h"

/*
 * Report each rule that has, in another account of the list at /accounts of `document`, one that matches all that it matches. Audited
 * rules stand for nobody. The schema need not have accepted the document.
 */
void mm_overlap_check(const struct mm_document *document, struct mm_problems *problems);

#endif
