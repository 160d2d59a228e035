/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision: a pure function of account, request and policy. One grant must satisfy the whole request; two grants are
 * never joined and nothing is narrowed silently.
 */
#ifndef MM_POLICY_DECIDE_H
#define MM_POLICY_DECIDE_H

#include "policy/policy.h"

enum { MM_SCOPES_MAX = 32, MM_SCOPE_LENGTH_MAX = 64, MM_RESOURCE_LENGTH_MAX = 256, MM_AUDIENCE_LENGTH_MAX = 256 };

struct mm_token_request {
    const char *const *scopes; /* distinct, at least one */
    size_t n_scopes;
    const char *resource_id; /* one resource, never a pattern; NULL: all of the grant's resources */
    const char *audience;    /* NULL: all of the tenant's audiences */
    int64_t ttl;             /* seconds; 0: the grant's default */
    bool is_bound;           /* to the caller's certificate, also where nothing demands that (RFC 8705 section 3) */
};

struct mm_decision {
    const struct mm_grant *grant; /* borrowed from the policy */
    size_t grant_index;           /* of the account's grants, or of the exchange's rules, from 0: named in the ledger */
    int64_t ttl;                  /* seconds, before the credential's own end is applied */
    enum mm_algorithm algorithm;  /* that all audiences of the token want */
    const char *scopes[MM_SCOPES_MAX]; /* borrowed from the policy: of an exchange whose request names none */
    size_t n_scopes;
    const struct mm_strings *
        audiences; /* of a request that names none: borrowed from the subject of an exchange; NULL: all of the tenant's */
};

/*
 * The first grant, in the file's order, that covers every scope, the resource and the TTL. When none does, the error says
 * which part no grant covers: MM_SCOPE_NOT_GRANTED, MM_RESOURCE_NOT_GRANTED, MM_AUDIENCE_NOT_GRANTED, MM_TTL_TOO_LONG, or
 * MM_NO_SINGLE_GRANT when each part is covered but by different grants. MM_INVALID_REQUEST without scopes, or for several audiences that
 * want different algorithms: one token has one signature.
 */
MM_MUST_USE bool mm_policy_decide(const struct mm_tenant *tenant, const struct mm_account *account,
                                  const struct mm_token_request *request, struct mm_decision *ret_decision,
                                  struct mm_error *err);

/* What signs a token for that audience, or (NULL) for all of `audiences`, at least one. MM_INVALID_REQUEST if they want different algorithms. */
MM_MUST_USE bool mm_policy_algorithm(const struct mm_envelope *envelope, const char *audience,
                                     const struct mm_strings *audiences, enum mm_algorithm *ret_algorithm,
                                     struct mm_error *err);

#endif
