/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token exchange (RFC 8693), as a tenant's file has it: for whose tokens there are others, who may ask for them, and what they may be for. The
 * decision is a pure function of rules, subject and request; nothing is registered for a resource before it is asked for.
 */
#ifndef MM_POLICY_EXCHANGE_H
#define MM_POLICY_EXCHANGE_H

#include "policy/decide.h"

/* What of it: whoever has a subject like that may get as much. */
struct mm_exchange_rule {
    char *issuer;                 /* whose tokens the subject's are: an OIDC issuer's URL; NULL: our own */
    struct mm_claim_rules claims; /* that issuer's tokens: what they must say */
    struct mm_strings accounts;   /* our own: whom they stand for, by account id */
    struct mm_strings clients;    /* who may ask, by the id of an account or of a public client; none: any of them */
    struct mm_grant grant;        /* for one resource at a time */
};

struct mm_exchange {
    struct mm_strings subject_audiences; /* what subject tokens must be for */
    struct mm_account *public_clients;   /* without credentials and grants, and not among the tenant's accounts */
    size_t n_public_clients;
    struct mm_exchange_rule *rules;
    size_t n_rules;
};

/* The members of `exchange` in a tenant's file. */
extern const struct mm_schema MM_EXCHANGE_MEMBERS[];

/*
 * Build it from the tenant's document, which has been validated and checked; `binding` is the tenant's. False: no memory. It is to be freed
 * whatever comes of it.
 */
MM_MUST_USE bool mm_exchange_build(const struct mm_document *document, const char *tenant_id, enum mm_binding binding,
                                   struct mm_exchange **ret_exchange);
void mm_exchange_free(struct mm_exchange *exchange);

/*
 * What a schema can't say, on a document that the schema may have refused: issuers outside the envelope, accounts and clients that
 * there aren't, ids that are taken. The grants in its rules are checked with the accounts' (policy/check.c).
 */
void mm_exchange_check(const struct mm_document *document, const struct mm_envelope *envelope,
                       struct mm_problems *problems);

/* The tenant's public client that is called so: `tenant/id`, or its id alone. NULL: none; also where nobody exchanges tokens. */
const struct mm_account *mm_exchange_public_client(const struct mm_tenant *tenant, const char *client_id);

/* Whether a rule takes tokens of that OIDC issuer. */
bool mm_exchange_has_issuer(const struct mm_exchange *exchange, const char *issuer);

/* Whose token is exchanged, once it has been verified. */
struct mm_exchange_subject {
    const char *issuer;   /* somebody else's token; NULL: our own */
    const json_t *claims; /* somebody else's: all of them */
    const char *account;  /* our own: the id of the account that it stands for */
    /* our own: what it is for, which is the most that can come of it */
    struct mm_strings scopes;
    struct mm_strings resources;
    struct mm_strings audiences; /* those that the tenant has, too */
};

/*
 * The first rule, in the file's order, that takes the subject from that client and covers every scope, the resource and the TTL. Without
 * scopes it is the first that has any for the resource, and all those that the subject has as well are in `ret_decision`. Nothing that our
 * own subject token isn't for comes of it, nor does one for an audience of tier 1 if that token is limited to some resources.
 *
 * MM_INVALID_REQUEST without a resource; MM_SUBJECT_TOKEN_INVALID if no rule takes the subject from that client; otherwise as mm_policy_decide().
 */
MM_MUST_USE bool mm_exchange_decide(const struct mm_tenant *tenant, const struct mm_exchange_subject *subject,
                                    const struct mm_account *client, const struct mm_token_request *request,
                                    struct mm_decision *ret_decision, struct mm_error *err);

#endif
