/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWTs that others signed (RFC 7519, RFC 8725): client assertions, identity tokens of CI platforms, tokens to exchange. Only the keys that
 * the caller trusts count: of the header, `kid` chooses among them, `alg` must be what the chosen key is pinned to, and `jwk`, `jku`,
 * `x5u` and `x5c` are never looked at. What isn't verified can't be read but for the two claims that keys are found by.
 *
 * ECDSA signatures have a twin, (r, n - s), that verifies as well, so a JWT's text isn't its identity: count uses by `jti`.
 */
#ifndef MM_TOKEN_JWT_H
#define MM_TOKEN_JWT_H

#include "token/jwks.h"
#include "token/jwt_claims.h"

struct mm_jwt; /* opaque; one thread's at a time */

/*
 * Take a compact JWT of `length` bytes apart, as mm_jws_parse() does, without verifying it. `kid` and `typ`, if there, must be strings,
 * `kid` of 1 to MM_KID_MAX bytes. MM_TOKEN_INVALID otherwise. No message of this module holds any part of the JWT.
 */
MM_MUST_USE struct mm_jwt *mm_jwt_open(const void *data, size_t length, struct mm_error *err);

/* Zeroes the JWT's text: it is a credential. */
void mm_jwt_free(struct mm_jwt *jwt);
MM_DEFINE_CLEANUP(struct mm_jwt, mm_jwt_free);

/*
 * Whose keys to verify it with, by its own unverified word; borrowed, NULL if there is no such string. Good for nothing else. The subject
 * says so where there is no issuer, as in SPIFFE's.
 */
const char *mm_jwt_claimed_issuer(const struct mm_jwt *jwt);
const char *mm_jwt_claimed_subject(const struct mm_jwt *jwt);

/* What its header says of the key, for what has verified; borrowed, NULL: nothing. */
const char *mm_jwt_kid(const struct mm_jwt *jwt);

/* Whether its header says that it is of that type (mm_jws_has_type()); good for choosing the rules to verify it by. */
bool mm_jwt_has_type(const struct mm_jwt *jwt, const char *type);

/* Whether the set has the key that the header asks for. If it hasn't, a newer set may. */
bool mm_jwt_has_key_in(const struct mm_jwt *jwt, const struct mm_jwks *jwks);

/*
 * Verify it: the type, then the signature with a key of `jwks`, then the claims, at `now` (Unix seconds). The claims belong to `jwt`.
 * NULL: MM_TOKEN_INVALID, saying why for the log.
 */
MM_MUST_USE const struct mm_jwt_claims *mm_jwt_verify(struct mm_jwt *jwt, const struct mm_jwks *jwks,
                                                      const struct mm_jwt_rules *rules, int64_t now,
                                                      struct mm_error *err);

#endif
