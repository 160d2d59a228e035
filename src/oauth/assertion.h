/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is calling, by a JWT: the client's own assertion (RFC 7523 section 3, as RFC 10070 has it), the identity token of a platform that a
 * tenant trusts, or a SPIFFE JWT-SVID. Which of these a JWT is follows from what it claims itself, and none is ever taken for another.
 *
 * Two steps, since keys may have to be fetched between them: whom it claims to come from says whose keys count; with those it is verified.
 * Pure: whether it was used before is oauth/replay.h's to say, where the principal asks for it.
 */
#ifndef MM_OAUTH_ASSERTION_H
#define MM_OAUTH_ASSERTION_H

#include "oauth/principal.h"
#include "policy/assertion_rules.h"
#include "policy/match.h"
#include "token/jwt.h"

/* Seconds that a platform's token that counts once may have ahead of it, leeway apart: it is remembered as long. */
enum { MM_SINGLE_USE_LIFETIME_MAX = 7200 };

/* How it came; what may come so differs. */
enum mm_assertion_way {
    MM_ASSERTION_AS_JWT_BEARER,    /* client_assertion (RFC 7523 section 2.2) */
    MM_ASSERTION_AS_JWT_SPIFFE,    /* the same, with the type for JWT-SVIDs */
    MM_ASSERTION_AS_SECRET,        /* client_secret: what an `oidc` rule takes so, and nothing else */
    MM_ASSERTION_AS_BEARER,        /* Authorization, at /v1 */
    MM_ASSERTION_AS_SUBJECT_TOKEN, /* an exchange's subject_token: what somebody else issued */
};

/* The way of that client_assertion_type. MM_CREDENTIAL_INVALID if there is none such. */
MM_MUST_USE bool mm_assertion_way_parse(const char *type, enum mm_assertion_way *ret_way, struct mm_error *err);

enum mm_assertion_kind { MM_PRIVATE_KEY_JWT, MM_OIDC_TOKEN, MM_JWT_SVID };

enum { MM_SPIFFE_SOURCE_MAX = 300 /* `spiffe://‹trust domain›` (SPIFFE-ID section 2.1) */ };

/* Whom a JWT claims to come from; nothing of it is proven. */
struct mm_claimant {
    enum mm_assertion_kind kind;
    enum mm_assertion_way way;
    const struct mm_tenant *tenant;
    const struct mm_account *account;  /* that client_id or the JWT names; NULL: the tenant's rules say which */
    const char *issuer;                /* MM_OIDC_TOKEN: whose token it is. Borrowed from the JWT */
    const char *trust_domain;          /* MM_JWT_SVID: whose it is. Borrowed from the policy */
    char source[MM_SPIFFE_SOURCE_MAX]; /* and the place of its keys */
};

/* The client that a JWT names as its own issuer, whether there is such a client or not; NULL: somebody else issued it. */
const char *mm_assertion_claimed_client(const struct mm_jwt *jwt);

/*
 * Whom `jwt`, which came by `way` for an account of `tenant` (NULL: there is no such tenant), claims to come from. `client_id` may be NULL.
 * MM_ACCESS_DENIED if it can't come from anybody there: unknown tenants and clients, issuers and trust domains that aren't the tenant's, a client_id
 * that is another than the JWT's, and what isn't taken by that way.
 */
MM_MUST_USE bool mm_assertion_claimant(const struct mm_tenant *tenant, const char *client_id, const struct mm_jwt *jwt,
                                       enum mm_assertion_way way, struct mm_claimant *ret_claimant,
                                       struct mm_error *err);

/*
 * The only tenant whose envelope has the issuer or the trust domain that `jwt` claims. NULL: there is none, there are several, or it is a client's own
 * assertion, whose tenant no envelope tells.
 */
const struct mm_tenant *mm_assertion_find_tenant(const struct mm_policy *policy, const struct mm_jwt *jwt,
                                                 enum mm_assertion_way way);

/* Where keys of a claimant are: in `jwks`, borrowed from the policy, or at `source` (oauth/key_sources.h). */
struct mm_claimant_keys {
    struct mm_jwks *jwks;
    const char *source;
    enum mm_assertion_audience audience; /* of assertions that these keys sign */
};

/* The `i`-th place, from 0; false after the last. */
bool mm_claimant_keys(const struct mm_claimant *claimant, size_t i, struct mm_claimant_keys *ret_keys);

/* What is ours in an assertion. */
struct mm_assertion_terms {
    const char *issuer;         /* our own URL */
    const char *token_endpoint; /* its URL, for clients that name that as the audience */
    int64_t now;                /* Unix seconds */
};

/*
 * Verify `jwt` with `jwks`, the keys that are at `keys`, and find the account that it proves. `ret_audit` has the rules in audit mode that it
 * would have matched, whatever else comes of it. The principal borrows from the claimant's policy and from `jwt`; its `use` is to be
 * handed to mm_replay_use() before anything else is done for it.
 *
 * MM_TOKEN_INVALID, MM_ACCESS_DENIED and MM_CREDENTIAL_AMBIGUOUS, for the log: a caller is told the same in each case.
 */
MM_MUST_USE bool mm_assertion_verify(const struct mm_claimant *claimant, const struct mm_claimant_keys *keys,
                                     struct mm_jwt *jwt, struct mm_jwks *jwks, const struct mm_assertion_terms *terms,
                                     struct mm_principal *ret_principal, struct mm_audit_matches *ret_audit,
                                     struct mm_error *err);

#endif
