/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of our own that come back: to be introspected, revoked, exchanged. Nothing is kept of the tokens that were issued: what a token says is in
 * it, and a signature of a key that is published vouches for that. What was verified is remembered for a while, by the digest of its text, since
 * checking a signature costs more than all the rest; whether its key is still published, it has expired or was revoked is asked each time.
 */
#ifndef MM_REVOCATION_OWN_TOKENS_H
#define MM_REVOCATION_OWN_TOKENS_H

#include "revocation/order.h"
#include "token/jwks.h"

enum {
    MM_OWN_TOKENS_CAPACITY =
        8192, /* tokens remembered; of those for the same place the one that was remembered first goes */
    MM_OWN_TOKEN_CACHED_MAX =
        4096, /* characters: a longer one is verified each time; so all take 75 MB at most, 20 MB as a rule */
};

struct mm_own_tokens; /* opaque; its functions may be called by any thread */

/* `issuer` is copied. `capacity`: how many are remembered. */
MM_MUST_USE struct mm_own_tokens *mm_own_tokens_new(const char *issuer, size_t capacity, struct mm_error *err);
void mm_own_tokens_free(struct mm_own_tokens *tokens);
MM_DEFINE_CLEANUP(struct mm_own_tokens, mm_own_tokens_free);

/* A token that verified: immutable, reference-counted. */
struct mm_own_token {
    struct mm_token_facts facts;
    const char *const *audiences;
    size_t n_audiences;
    const char *claims; /* JSON text, of all of them */
    const char *told;   /* JSON text: what its introspection says while it is active (RFC 7662 section 2.2) */
};

/*
 * Verify `length` characters of `text` with the keys that are published, at `now` (Unix seconds): type `at+jwt`, our issuer, kid and signature, not
 * expired. NULL: MM_TOKEN_INVALID, saying why for the log. Whether it was revoked is for mm_revocations_has() to say.
 */
MM_MUST_USE struct mm_own_token *mm_own_tokens_verify(struct mm_own_tokens *tokens, const struct mm_jwks *published,
                                                      const char *text, size_t length, int64_t now,
                                                      struct mm_error *err);
void mm_own_token_unref(struct mm_own_token *token);

/*
 * Whether it isn't from the future at `now`, by more than a minute. One that is was issued before the clock was set back: it isn't good now, and
 * will be again.
 */
bool mm_own_token_has_begun(const struct mm_own_token *token, int64_t now);

MM_DEFINE_CLEANUP(struct mm_own_token, mm_own_token_unref);

/* How many signatures were checked since the start. */
uint64_t mm_own_tokens_n_verified(const struct mm_own_tokens *tokens);

#endif
