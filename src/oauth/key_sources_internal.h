/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of key sources share: the table, which callers look at (key_sources.c), and the thread that fetches (key_fetches.c).
 */
#ifndef MM_OAUTH_KEY_SOURCES_INTERNAL_H
#define MM_OAUTH_KEY_SOURCES_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fetch/fetcher.h"
#include "oauth/key_source.h"
#include "oauth/key_sources.h"
#include "util/buffer.h"
#include "util/clock.h"

struct mm_key_sources {
    /* immutable after mm_key_sources_start() */
    struct mm_key_sources_parts parts;
    pthread_t thread;
    int poke_fd; /* written to when the thread has something to do; -1: no thread */

    _Atomic int64_t beat_ns;

    pthread_mutex_t lock;
    /* guarded by lock, as are the sources themselves */
    enum { MM_KEY_SOURCES_RUN, MM_KEY_SOURCES_DRAIN, MM_KEY_SOURCES_STOP } phase;
    struct mm_key_source **items; /* sorted by name */
    size_t n;
    size_t n_waiting;
    struct mm_key_source *asked[MM_FETCHES_MAX]; /* by the thread's slots; NULL: free, or the source is gone */
};

int64_t mm_key_sources_now(const struct mm_key_sources *sources);

/* Have the thread look now. */
void mm_key_sources_poke(const struct mm_key_sources *sources);

/* Those who waited, taken from a source under the lock; to be woken without it. */
struct mm_key_woken {
    struct mm_key_waiter *waiters;
    size_t n;
};

struct mm_key_woken mm_key_waiters_take_locked(struct mm_key_sources *sources, struct mm_key_source *source);
void mm_key_waiters_wake(struct mm_key_woken *woken);

/* The thread of the sources that `context` is, from mm_key_sources_start() until the phase is MM_KEY_SOURCES_STOP. */
void *mm_key_fetches_run(void *context);

#endif
