/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OIDC issuers that sign for many owners, as CI platforms do: a token of theirs says nothing until somebody asks whose it is. Names of owners and
 * projects can be given up and taken by others; ids can't.
 */
#ifndef MM_POLICY_SHARED_ISSUER_H
#define MM_POLICY_SHARED_ISSUER_H

#include "policy/claim_rule.h"

struct mm_shared_issuer; /* const, of a table */

/* NULL: not one that is known. */
const struct mm_shared_issuer *mm_shared_issuer_find(const char *issuer);

/* What people call it. */
const char *mm_shared_issuer_title(const struct mm_shared_issuer *issuer);

/* Its ids of owners and projects, as `a, b or c`; borrowed. */
const char *mm_shared_issuer_ids(const struct mm_shared_issuer *issuer);

/* Whether the rules demand an owner's or a project's id, by values and not by patterns; or the issuer's URL is one owner's alone. */
bool mm_shared_issuer_is_pinned(const struct mm_shared_issuer *issuer, const struct mm_claim_rules *rules);

/* If `rule` is on a name that can change hands, and the rules don't demand the id that goes with it: that id's claim; else NULL. */
const char *mm_shared_issuer_missing_id(const struct mm_shared_issuer *issuer, const struct mm_claim_rules *rules,
                                        const struct mm_claim_rule *rule);

enum mm_subject_form mm_shared_issuer_subject(const struct mm_shared_issuer *issuer);

#endif
