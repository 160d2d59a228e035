/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token before it is recorded and signed: the claims that a decision leads to, and the ledger entry that announces
 * them.
 */
#ifndef MM_ISSUE_DRAFT_H
#define MM_ISSUE_DRAFT_H

#include "issue/issue.h"
#include "token/claims.h"

struct mm_draft {
    char jti[MM_JTI_LENGTH + 1];
    int64_t issued_at;  /* Unix seconds */
    int64_t expires_at; /* Unix seconds */
    /* JSON text, owned */
    char *payload; /* the claims' exact bytes: what is hashed, then signed */
    char *entry;   /* the fields of MM_ENTRY_TOKEN_ISSUED */
    char *scopes;  /* arrays, for the caller's reply */
    char *resources;
    char *audiences;
};

/*
 * Draft the token that `decision` allows, for the key `kid` to sign. Checks once more that nothing in it leaves the tenant's envelope or the
 * service's cap (MM_INTERNAL: policy and decision disagree), and ends it no later than the credential:
 * MM_CERTIFICATE_INVALID if that leaves no time at all.
 */
MM_MUST_USE bool mm_draft_make(const struct mm_issuer_parts *parts, const struct mm_policy *policy,
                               const struct mm_principal *principal, const struct mm_token_request *request,
                               const struct mm_decision *decision, const char *kid, const char *request_id,
                               struct mm_draft *ret_draft, struct mm_error *err);

void mm_draft_clear(struct mm_draft *draft);
static inline void mm_draft_clear_cleanup(struct mm_draft *draft)
{
    mm_draft_clear(draft);
}

#endif
