/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claims of an access token: RFC 9068 section 2.2 with those that Lore's servers read. Built in one place;
 * issue/draft checks what goes in against what the tenant may grant.
 */
#ifndef MM_TOKEN_CLAIMS_H
#define MM_TOKEN_CLAIMS_H

#include "crypto/digest.h"
#include "util/json.h"

enum { MM_JTI_LENGTH = 30 }; /* base64url of 22 bytes */

/* Whom a token is for, where that isn't its client (RFC 8693). */
struct mm_claims_subject {
    const char *identity; /* sub */
    const char *username; /* preferred_username */
    const char *provider; /* idp */
    const char *actor;    /* act, JSON text (section 4.1); NULL: none */
};

struct mm_claims {
    const char *issuer;
    const char *identity;                    /* sub, client_id, preferred_username */
    const struct mm_claims_subject *subject; /* all of them but client_id; NULL: the client itself */
    const char *name;
    const char *env;
    const char *tenant_id;
    bool is_service_account;
    const char *const *audiences; /* aud: a string if there is one, else an array */
    size_t n_audiences;
    const char *const *scopes; /* scope: joined by spaces */
    size_t n_scopes;
    const char *const *resources; /* resources[].resource_id; permission: the scopes' distinct actions */
    size_t n_resources;
    int64_t issued_at;  /* Unix seconds: iat */
    int64_t expires_at; /* Unix seconds: exp */
    const char *jti;
    const char *const *root_domains; /* the claim of that name */
    size_t n_root_domains;           /* 0: no such claim */
    const char *certificate;         /* cnf: x5t#S256 (RFC 8705 section 3.1), base64url; NULL: a plain bearer token */
};

/*
 * A new jti: 48 bits of Unix milliseconds, so that those of one time lie together in an index, and 128 random bits. `out` has
 * room for MM_JTI_LENGTH + 1. MM_INTERNAL without entropy.
 */
MM_MUST_USE bool mm_jti_make(const struct mm_random *random, int64_t unix_ms, char *out, struct mm_error *err);

/* The `resources` claim as JSON text: each resource with the scopes' distinct actions as its `permission`. The caller frees it. */
MM_MUST_USE char *mm_claims_resources(const struct mm_claims *claims, struct mm_error *err);

/*
 * The payload as compact JSON text, members in a fixed order, which the caller frees. `resources` is what mm_claims_resources()
 * gave. NULL: MM_NO_MEMORY, or MM_INTERNAL for a scope that isn't action:kind or text that isn't UTF-8.
 */
MM_MUST_USE char *mm_claims_payload(const struct mm_claims *claims, const char *resources, struct mm_error *err);

#endif
