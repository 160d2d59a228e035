/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be revoked, as who asks for it says and as the ledger tells of it; and what of a token decides whether it is hit. Pure.
 */
#ifndef MM_REVOCATION_ORDER_H
#define MM_REVOCATION_ORDER_H

#include "util/json.h"

/*
 * What names the tokens that a revocation hits: X(symbol, wire name, member of the ledger's entries that has its name: `account` and `jti` are
 * what the ledger is searched by; all tokens have no name)
 */
#define MM_REVOKE_TABLE(X) \
    X(MM_REVOKE_JTI, "jti", "jti") \
    X(MM_REVOKE_ACCOUNT, "account", "account") \
    X(MM_REVOKE_TENANT, "tenant", "tenant") \
    X(MM_REVOKE_RESOURCE, "resource", "resource") \
    X(MM_REVOKE_KEY, "key", "kid") \
    X(MM_REVOKE_ALL, "all", NULL)

enum mm_revoke_what {
#define MM_REVOKE_SYMBOL(symbol, name, member) symbol,
    MM_REVOKE_TABLE(MM_REVOKE_SYMBOL)
#undef MM_REVOKE_SYMBOL
        MM_N_REVOKE_WHATS
};

const char *mm_revoke_name(enum mm_revoke_what what);
const char *mm_revoke_member(enum mm_revoke_what what); /* NULL: none */
MM_MUST_USE bool mm_revoke_parse(const char *name, enum mm_revoke_what *ret_what);

enum {
    MM_REVOKE_NAME_MAX = 256,   /* bytes of what is named, and of a tenant */
    MM_REVOKE_BY_MAX = 512,     /* bytes of who asks */
    MM_REVOKE_REASON_MAX = 512, /* bytes */
};

/* Everything is borrowed. */
struct mm_revocation_order {
    enum mm_revoke_what what;
    const char *name;      /* the jti, `tenant/account`, tenant, resource or pattern of resources, kid; "" for all */
    const char *tenant;    /* the resource's; of a jti for the ledger alone, where known; else NULL */
    const char *account;   /* whom a jti's token was issued to, for the ledger, where known; else NULL */
    int64_t issued_before; /* Unix seconds; 0: up to now */
    int64_t expires_at;    /* a jti's `exp`, where known; else 0 */
    const char *by;
    const char *reason;                                          /* may be empty */
    enum { MM_REVOKED_BY_OPERATOR, MM_REVOKED_BY_CLIENT } whose; /* a client's own token: counted by `account` */
};

/* MM_INVALID_REQUEST, saying what is wrong with an order at `now`: a name that is none, a moment that hasn't come. */
MM_MUST_USE bool mm_revocation_order_check(const struct mm_revocation_order *order, int64_t now, struct mm_error *err);

/* Whether it stops issuance: an account's or a tenant's, unless only what was issued before some moment is meant. */
bool mm_revocation_order_stops(const struct mm_revocation_order *order);

enum {
    MM_TOKEN_ACTORS_MAX = 4
}; /* of our own tokens; more than that are never exchanged for another (oauth/subject.h) */

/* Who acts in a token or an entry with these members, and who acted before (`act`, RFC 8693 section 4.1), borrowed; how many there are. */
size_t mm_token_actors(const json_t *claims, const char *ret_actors[MM_TOKEN_ACTORS_MAX]);

/* What of a token decides; borrowed. */
struct mm_token_facts {
    const char *jti;
    const char *tenant;           /* NULL: none */
    const char *subject;          /* `sub`; NULL: none */
    const char *client_id;        /* whom it was issued to; NULL: none */
    const char *const *resources; /* literals and patterns */
    size_t n_resources;
    const char *const *actors; /* through whose hands it came */
    size_t n_actors;
    const char *kid;
    int64_t issued_at;  /* Unix seconds */
    int64_t expires_at; /* Unix seconds */
};

#endif
