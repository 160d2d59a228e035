/* SPDX-License-Identifier: Apache-2.0 */
#include "http/watchdog.h"

#include <pthread.h>
#include <sys/socket.h>

#include "util/clock.h"

struct mm_watchdog {
    /* immutable after mm_watchdog_start() */
    mm_watchdog_tick tick;
    void *context;
    pthread_t thread;

    _Atomic int64_t beat_ns;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* guarded by lock */
    bool is_stopping;
    LIST_HEAD(, mm_watch) watches;
};

static void cut_expired_locked(struct mm_watchdog *watchdog, int64_t now)
{
    struct mm_watch *watch;
    LIST_FOREACH(watch, &watchdog->watches, link) {
        int64_t deadline = atomic_load(&watch->deadline_ns);
        if (deadline == 0 || deadline > now)
            continue;
        atomic_store(&watch->deadline_ns, 0);
        /* The library's thread sees the end of the stream and does the rest. */
        (void)shutdown(watch->fd, SHUT_RDWR);
    }
}

static void *run(void *context)
{
    struct mm_watchdog *watchdog = context;
    (void)pthread_mutex_lock(&watchdog->lock);
    while (!watchdog->is_stopping) {
        struct timespec next = mm_deadline_timespec(mm_deadline_after_ms(MM_WATCHDOG_TICK_MS));
        (void)pthread_cond_clockwait(&watchdog->wake, &watchdog->lock, CLOCK_MONOTONIC, &next);
        int64_t now = mm_monotonic_ns();
        atomic_store(&watchdog->beat_ns, now);
        cut_expired_locked(watchdog, now);
        (void)pthread_mutex_unlock(&watchdog->lock);
        if (watchdog->tick)
            watchdog->tick(watchdog->context, now);
        (void)pthread_mutex_lock(&watchdog->lock);
    }
    (void)pthread_mutex_unlock(&watchdog->lock);
    return NULL;
}

struct mm_watchdog *mm_watchdog_start(mm_watchdog_tick tick, void *context, struct mm_error *err)
{
    mm_cleanup(free) struct mm_watchdog *watchdog = calloc(1, sizeof *watchdog);
    if (!watchdog) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the watchdog");
        return NULL;
    }
    watchdog->tick = tick;
    watchdog->context = context;
    (void)pthread_mutex_init(&watchdog->lock, NULL);
    (void)pthread_cond_init(&watchdog->wake, NULL);
    atomic_init(&watchdog->beat_ns, mm_monotonic_ns());
    if (pthread_create(&watchdog->thread, NULL, run, watchdog) != 0) {
        (void)pthread_cond_destroy(&watchdog->wake);
        (void)pthread_mutex_destroy(&watchdog->lock);
        (void)mm_fail(err, MM_INTERNAL, "the watchdog's thread can't be started");
        return NULL;
    }
    return MM_TAKE(watchdog);
}

void mm_watchdog_stop(struct mm_watchdog *watchdog)
{
    if (!watchdog)
        return;
    (void)pthread_mutex_lock(&watchdog->lock);
    watchdog->is_stopping = true;
    (void)pthread_cond_signal(&watchdog->wake);
    (void)pthread_mutex_unlock(&watchdog->lock);
    (void)pthread_join(watchdog->thread, NULL);
    (void)pthread_cond_destroy(&watchdog->wake);
    (void)pthread_mutex_destroy(&watchdog->lock);
    free(watchdog);
}

int64_t mm_watchdog_beat_ns(const struct mm_watchdog *watchdog)
{
    return atomic_load(&watchdog->beat_ns);
}

void mm_watchdog_add(struct mm_watchdog *watchdog, struct mm_watch *watch, int fd, int64_t deadline_ns)
{
    atomic_store(&watch->deadline_ns, deadline_ns);
    (void)pthread_mutex_lock(&watchdog->lock);
    watch->fd = fd;
    LIST_INSERT_HEAD(&watchdog->watches, watch, link);
    (void)pthread_mutex_unlock(&watchdog->lock);
}

void mm_watch_set(struct mm_watch *watch, int64_t deadline_ns)
{
    atomic_store(&watch->deadline_ns, deadline_ns);
}

void mm_watchdog_remove(struct mm_watchdog *watchdog, struct mm_watch *watch)
{
    (void)pthread_mutex_lock(&watchdog->lock);
    LIST_REMOVE(watch, link);
    (void)pthread_mutex_unlock(&watchdog->lock);
}
