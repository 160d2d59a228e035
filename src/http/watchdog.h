/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends connections that outstay their deadline, whatever they trickle: the HTTP library's own timeout starts again with each
 * byte. A descriptor is shut down only while its owner has it registered, so never after it was closed and given to another.
 */
#ifndef MM_HTTP_WATCHDOG_H
#define MM_HTTP_WATCHDOG_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "util/base.h"

struct mm_watchdog; /* opaque */

/* One watched descriptor; lives inside its owner. */
struct mm_watch {
    _Atomic int64_t deadline_ns; /* monotonic; 0: none */

    /* guarded by the watchdog's lock */
    int fd;
    LIST_ENTRY(mm_watch) link;
};

/* How often deadlines are looked at: a connection may live that much longer. */
enum { MM_WATCHDOG_TICK_MS = 100 };

/* What else is to be done at each tick (NULL: nothing), on the watchdog's thread; it must not wait for anything. */
typedef void (*mm_watchdog_tick)(void *context, int64_t now_ns);

MM_MUST_USE struct mm_watchdog *mm_watchdog_start(mm_watchdog_tick tick, void *context, struct mm_error *err);

/* Nothing is watched any more. NULL is allowed. */
void mm_watchdog_stop(struct mm_watchdog *watchdog);
MM_DEFINE_CLEANUP(struct mm_watchdog, mm_watchdog_stop);

/* When it last looked (monotonic). */
int64_t mm_watchdog_beat_ns(const struct mm_watchdog *watchdog);

/* Watch `fd` from now on. */
void mm_watchdog_add(struct mm_watchdog *watchdog, struct mm_watch *watch, int fd, int64_t deadline_ns);

/* Replace the deadline; 0: none for now. Any thread, no lock. */
void mm_watch_set(struct mm_watch *watch, int64_t deadline_ns);

/* Watch no longer; once it returns, the descriptor is the owner's alone. */
void mm_watchdog_remove(struct mm_watchdog *watchdog, struct mm_watch *watch);

#endif
