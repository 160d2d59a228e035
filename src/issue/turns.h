/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which job begins when. Of one tenant only so many are under way at once; what more it asks for waits for one of its own to end,
 * so that a tenant's flood stands in nobody's way in the ledger's queue, which is first come first served. Who asks for tokens of two
 * algorithms counts as two: when the keys of one are away, what waits for them holds up nothing of the other. Not thread-safe: the issuer's
 * lock guards it.
 */
#ifndef MM_ISSUE_TURNS_H
#define MM_ISSUE_TURNS_H

#include <sys/queue.h>

#include "crypto/algorithm.h"

/* A job's place; lives inside the job. */
struct mm_turn {
    void *job; /* its owner's */
    bool has_begun;
    struct mm_turn_tenant *tenant;
    TAILQ_ENTRY(mm_turn) link; /* while it waits */
};

struct mm_turns; /* opaque */

/*
 * Room for `n_most` jobs. Of each of the n tenants that have a turn no more enter than `n_most` / (n + 1), at least one, so that yet
 * another tenant's find room however many those send; of one tenant `n_at_once` begin without waiting. NULL with MM_NO_MEMORY.
 */
MM_MUST_USE struct mm_turns *mm_turns_new(size_t n_most, size_t n_at_once, struct mm_error *err);

/* NULL is allowed. Nobody may have a turn. */
void mm_turns_free(struct mm_turns *turns);
MM_DEFINE_CLEANUP(struct mm_turns, mm_turns_free);

enum mm_turns_verdict { MM_TURN_BEGINS, MM_TURN_WAITS, MM_TURN_REFUSED };

/* MM_TURN_REFUSED: no room, or no memory; the turn isn't taken. */
MM_MUST_USE enum mm_turns_verdict mm_turns_enter(struct mm_turns *turns, struct mm_turn *turn, const char *tenant,
                                                 enum mm_algorithm algorithm);

/* Give a turn up, begun or waiting. The turn that begins in its place, or NULL. */
struct mm_turn *mm_turns_leave(struct mm_turns *turns, struct mm_turn *turn);

#endif
