/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWTs that may be used once (RFC 7523 section 3): which have been, until they expire. What is remembered is the digest of issuer and `jti`,
 * never the JWT's text, which has twins (token/jwt.h).
 *
 * All is kept in memory, allocated at once but touched only as it is used. To hold across restarts, whoever records a use keeps digest and
 * `until` with it, and at the next start remembers them all before the first caller does.
 */
#ifndef MM_OAUTH_REPLAY_H
#define MM_OAUTH_REPLAY_H

#include "crypto/digest.h"

struct mm_replay; /* opaque; safe to use from many threads */

/* Room for `capacity` uses, 1 to 2^20, some 60 bytes each. */
MM_MUST_USE struct mm_replay *mm_replay_new(size_t capacity, const struct mm_random *random, struct mm_error *err);
void mm_replay_free(struct mm_replay *replay);
MM_DEFINE_CLEANUP(struct mm_replay, mm_replay_free);

/* What one JWT is known by: always the same for the same issuer and `jti`, and another for any other pair. */
void mm_replay_digest(const char *issuer, const char *jti, uint8_t out[MM_SHA256_LENGTH]);

/*
 * Use the JWT of this digest, which is valid until `until` (Unix seconds, its verifier's leeway included), at `now`. True the first time
 * alone, of however many threads. MM_TOKEN_INVALID: it was used before, or has expired. MM_OVERLOADED: there is no room, and so it isn't
 * known whether it was; of one `tenant`, whose callers use it, there are never more uses than there is room left for all the others: at most half of all,
 * of each of two that take what they can a third, and so on, so that nobody takes all of it, and nobody who uses little takes from who uses much. A JWT that lives for long keeps its room as long: cap lifetimes (token/jwt_claims.h).
 *
 * A clock that is set back lets nothing be used twice: what may have been forgotten meanwhile counts as expired.
 */
MM_MUST_USE bool mm_replay_use(struct mm_replay *replay, const char *tenant, const uint8_t digest[MM_SHA256_LENGTH],
                               int64_t until, int64_t now, struct mm_error *err);

/*
 * That it was used is known from elsewhere. Without room for it, or if it has expired at `now`, by a clock that may yet be set back, whatever would be
 * valid until then counts as expired: some are refused that weren't used, and none is used twice.
 */
void mm_replay_remember(struct mm_replay *replay, const char *tenant, const uint8_t digest[MM_SHA256_LENGTH],
                        int64_t until, int64_t now);

/* How many uses are remembered, those that have expired since the last look included. */
size_t mm_replay_n(struct mm_replay *replay);

#endif
