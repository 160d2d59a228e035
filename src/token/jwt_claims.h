/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a foreign JWT's claims must say to be believed here and now (RFC 7519 section 4.1, RFC 8725): the rules are the caller's, and
 * what isn't ruled out by them alone is refused.
 */
#ifndef MM_TOKEN_JWT_CLAIMS_H
#define MM_TOKEN_JWT_CLAIMS_H

#include "util/json.h"

enum {
    MM_JWT_LEEWAY = 60,           /* seconds that two clocks may differ by; what callers put into their rules */
    MM_FOREIGN_STRING_MAX = 1024, /* bytes of `iss`, `sub`, `jti` and of each value of `aud` */
    MM_FOREIGN_AUDIENCES_MAX = 64,
    MM_NO_TIME = -1, /* a claim of time that isn't there */
};

struct mm_jwt_rules {
    const char *issuer; /* `iss`, byte for byte; NULL: something else says whose keys count, and it may be missing */
    const char *const *audiences; /* what `aud` may name, NULL-terminated, at least one */
    enum {
        MM_AUDIENCE_SOLE,
        MM_AUDIENCE_AMONG
    } audience;               /* `aud` has one value, one of these; or one of these among others */
    const char *const *types; /* of mm_jws_has_type(), NULL-terminated, at least one; "": no `typ` */
    enum { MM_EXPIRY_REQUIRED, MM_EXPIRY_OPTIONAL } expiry; /* whether `exp` must be there */
    int64_t leeway;                                         /* seconds, on each claim of time */
    int64_t max_lifetime; /* seconds that `exp` may lie ahead, leeway apart, and then it must be there; 0: any number */
};

/*
 * Times are Unix seconds, rounded up where the claim has a fraction: with whole seconds for `now` every comparison comes out as it
 * would without.
 */
struct mm_jwt_claims {
    const json_t *all;
    const char *issuer;  /* NULL: none, where the rules want none */
    const char *subject; /* NULL: none */
    const char *id;      /* `jti`; NULL: none */
    int64_t expires_at;  /* or MM_NO_TIME; leeway not added */
    int64_t not_before;  /* or MM_NO_TIME */
    int64_t issued_at;   /* or MM_NO_TIME */
};

/*
 * Read the registered claims of a payload whose signature verified, and hold them against the rules at `now` (Unix seconds).
 * MM_TOKEN_INVALID, saying which claim is wrong without quoting it: one that breaks a rule, or isn't of its type or within the bounds
 * (strings not empty, times within years 1970-9999). `ret_claims` borrows from `payload`.
 */
MM_MUST_USE bool mm_jwt_claims_check(const json_t *payload, const struct mm_jwt_rules *rules, int64_t now,
                                     struct mm_jwt_claims *ret_claims, struct mm_error *err);

/* The one value of `aud`, borrowed; NULL if it has none, or several. */
const char *mm_jwt_claims_sole_audience(const json_t *payload);

/* The string member `name` if it has 1 to MM_FOREIGN_STRING_MAX bytes; NULL otherwise. Borrowed. */
const char *mm_jwt_claims_string(const json_t *payload, const char *name);

#endif
