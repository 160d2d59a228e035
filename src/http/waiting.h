/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait: for somebody else's keys, their handlers run again once those are there, or can't be had. A room of fixed size, shared as
 * turns are (issue/turns.h): one tenant's issuer that never answers takes no other tenant's place. And for the ledger, which bounds by itself
 * what waits for it.
 */
#ifndef MM_HTTP_WAITING_H
#define MM_HTTP_WAITING_H

#include "http/pending.h"

struct mm_waiting; /* opaque; lives until its last waiter is let go */
struct mm_waiter;  /* opaque, reference-counted; may have a place in the room until it is woken */

MM_MUST_USE struct mm_waiting *mm_waiting_new(size_t n_places, struct mm_error *err);
void mm_waiting_unref(struct mm_waiting *waiting);
MM_DEFINE_CLEANUP(struct mm_waiting, mm_waiting_unref);

/*
 * A place for a request of `tenant`; with NULL it takes none. The result holds two references: the caller's, and the one that mm_waiter_wake() or
 * mm_waiter_fail() takes, of which one is to be called exactly once whatever happens. NULL: no room, or no memory.
 */
MM_MUST_USE struct mm_waiter *mm_waiter_new(struct mm_waiting *waiting, const char *tenant);
void mm_waiter_unref(struct mm_waiter *waiter);

/* Give both references up: nobody will wake it. NULL is allowed. */
void mm_waiter_drop(struct mm_waiter *waiter);

/*
 * Wait: `pending` (the reference of its settler) has its handler run again once the waiter is woken, at once if it was already; past
 * `deadline_ns` (monotonic) it is answered with MM_DEADLINE_EXCEEDED.
 */
void mm_waiter_suspend(struct mm_waiter *waiter, struct mm_pending *pending, int64_t deadline_ns);

/* What is waited for is there, or can't be had. Any thread; `context` is a struct mm_waiter, so that it can be a mm_keys_wake (oauth/key_sources.h). */
void mm_waiter_wake(void *context);

/* The same, but the request is answered with that failure. */
void mm_waiter_fail(struct mm_waiter *waiter, const struct mm_error *why);

/* Answer those whose deadline is `now_ns` or earlier. Any thread. */
void mm_waiting_give_up(struct mm_waiting *waiting, int64_t now_ns);

#endif
