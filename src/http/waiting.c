/* SPDX-License-Identifier: Apache-2.0 */
#include "http/waiting.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "issue/turns.h"
#include "util/log.h"

struct mm_waiting {
    atomic_size_t n_references;

    pthread_mutex_t lock;
    /* guarded by lock */
    struct mm_turns *turns;
    LIST_HEAD(, mm_waiter) suspended;
};

struct mm_waiter {
    atomic_size_t n_references;
    struct mm_waiting *waiting; /* a reference */

    /* guarded by the room's lock */
    struct mm_turn turn; /* without a tenant: none */
    bool is_woken;
    struct mm_error why;        /* what the request is answered with; final once it is woken */
    struct mm_pending *pending; /* the settler's reference; NULL: not suspended, or somebody settles it */
    int64_t deadline_ns;
    LIST_ENTRY(mm_waiter) link; /* while there is a pending request */
};

struct mm_waiting *mm_waiting_new(size_t n_places, struct mm_error *err)
{
    mm_cleanup(mm_waiting_unref) struct mm_waiting *waiting = calloc(1, sizeof *waiting);
    if (!waiting) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for requests that wait");
        return NULL;
    }
    atomic_init(&waiting->n_references, 1);
    (void)pthread_mutex_init(&waiting->lock, NULL);
    waiting->turns = mm_turns_new(n_places, n_places, err);
    return waiting->turns ? MM_TAKE(waiting) : NULL;
}

void mm_waiting_unref(struct mm_waiting *waiting)
{
    if (!waiting || atomic_fetch_sub(&waiting->n_references, 1) > 1)
        return;
    mm_turns_free(waiting->turns);
    (void)pthread_mutex_destroy(&waiting->lock);
    free(waiting);
}

static bool enter(struct mm_waiting *waiting, struct mm_waiter *waiter, const char *tenant)
{
    (void)pthread_mutex_lock(&waiting->lock);
    /* Of what a turn is for, only its place counts here. */
    enum mm_turns_verdict verdict = mm_turns_enter(waiting->turns, &waiter->turn, tenant, MM_ES256);
    (void)pthread_mutex_unlock(&waiting->lock);
    return verdict != MM_TURN_REFUSED;
}

struct mm_waiter *mm_waiter_new(struct mm_waiting *waiting, const char *tenant)
{
    struct mm_waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter)
        return NULL;
    atomic_init(&waiter->n_references, 2);
    if (tenant && !enter(waiting, waiter, tenant)) {
        free(waiter);
        return NULL;
    }
    (void)atomic_fetch_add(&waiting->n_references, 1);
    waiter->waiting = waiting;
    return waiter;
}

void mm_waiter_unref(struct mm_waiter *waiter)
{
    if (!waiter || atomic_fetch_sub(&waiter->n_references, 1) > 1)
        return;
    mm_waiting_unref(waiter->waiting);
    free(waiter);
}

/* Take the request out of a waiter that is suspended; NULL if it isn't. */
static struct mm_pending *leave_locked(struct mm_waiter *waiter)
{
    struct mm_pending *pending = MM_TAKE(waiter->pending);
    if (pending)
        LIST_REMOVE(waiter, link);
    return pending;
}

/* Of a waiter that was woken. */
static void settle(const struct mm_waiter *waiter, struct mm_pending *pending)
{
    if (waiter->why.code == MM_OK) {
        mm_pending_settle_again(pending);
        return;
    }
    mm_log_error("request_failed", &waiter->why, "request_id", mm_pending_request_id(pending), NULL);
    struct mm_reply reply = mm_pending_failure(pending, &waiter->why);
    mm_pending_settle(pending, &reply);
}

void mm_waiter_suspend(struct mm_waiter *waiter, struct mm_pending *pending, int64_t deadline_ns)
{
    struct mm_waiting *waiting = waiter->waiting;
    (void)pthread_mutex_lock(&waiting->lock);
    bool is_woken = waiter->is_woken;
    if (!is_woken) {
        waiter->pending = pending;
        waiter->deadline_ns = deadline_ns;
        LIST_INSERT_HEAD(&waiting->suspended, waiter, link);
    }
    (void)pthread_mutex_unlock(&waiting->lock);
    if (is_woken)
        settle(waiter, pending);
}

/* `why` may be NULL. */
static void wake(struct mm_waiter *waiter, const struct mm_error *why)
{
    struct mm_waiting *waiting = waiter->waiting;
    (void)pthread_mutex_lock(&waiting->lock);
    waiter->is_woken = true;
    if (why)
        waiter->why = *why;
    if (waiter->turn.tenant)
        (void)mm_turns_leave(waiting->turns, &waiter->turn);
    struct mm_pending *pending = leave_locked(waiter);
    (void)pthread_mutex_unlock(&waiting->lock);
    if (pending)
        settle(waiter, pending);
    mm_waiter_unref(waiter);
}

void mm_waiter_wake(void *context)
{
    wake(context, NULL);
}

void mm_waiter_fail(struct mm_waiter *waiter, const struct mm_error *why)
{
    wake(waiter, why);
}

void mm_waiter_drop(struct mm_waiter *waiter)
{
    if (!waiter)
        return;
    mm_waiter_wake(waiter);
    mm_waiter_unref(waiter);
}

/* The request of one whose deadline has come; NULL if there is none. */
static struct mm_pending *take_late(struct mm_waiting *waiting, int64_t now_ns)
{
    struct mm_pending *pending = NULL;
    struct mm_waiter *waiter;
    (void)pthread_mutex_lock(&waiting->lock);
    LIST_FOREACH(waiter, &waiting->suspended, link)
        if (waiter->deadline_ns <= now_ns) {
            pending = leave_locked(waiter);
            break;
        }
    (void)pthread_mutex_unlock(&waiting->lock);
    return pending;
}

void mm_waiting_give_up(struct mm_waiting *waiting, int64_t now_ns)
{
    struct mm_error why = {0};
    (void)mm_fail(&why, MM_DEADLINE_EXCEEDED, "what the request waits for didn't come within the deadline");
    for (struct mm_pending *pending; (pending = take_late(waiting, now_ns));) {
        struct mm_reply reply = mm_pending_failure(pending, &why);
        mm_pending_settle(pending, &reply);
    }
}
