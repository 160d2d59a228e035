/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revoking and lifting for who can wait, with a deadline. Whoever is the last of the two that hold it, the thread that waits and the one that
 * tells, frees what they share.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "revocation/revocations.h"

struct wait {
    atomic_int n_users;
    pthread_mutex_t lock;
    pthread_cond_t told;
    /* guarded by lock */
    enum { OPEN, DONE, FAILED } state;
    struct mm_revoked revoked;
    struct mm_error why;
};

static struct wait *wait_new(struct mm_error *err)
{
    struct wait *wait = calloc(1, sizeof *wait);
    if (!wait) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    (void)pthread_mutex_init(&wait->lock, NULL);
    (void)pthread_cond_init(&wait->told, NULL);
    atomic_init(&wait->n_users, 2);
    return wait;
}

static void wait_release(struct wait *wait)
{
    if (atomic_fetch_sub(&wait->n_users, 1) > 1)
        return;
    (void)pthread_cond_destroy(&wait->told);
    (void)pthread_mutex_destroy(&wait->lock);
    free(wait);
}

static void on_told(void *context, const struct mm_revoked *revoked, const struct mm_error *err)
{
    struct wait *wait = context;
    (void)pthread_mutex_lock(&wait->lock);
    wait->state = revoked ? DONE : FAILED;
    if (revoked)
        wait->revoked = *revoked;
    else
        wait->why = *err;
    (void)pthread_cond_signal(&wait->told);
    (void)pthread_mutex_unlock(&wait->lock);
    wait_release(wait);
}

/* `has_begun`: on_told() was or will be called. */
static bool await(struct wait *wait, bool has_begun, int64_t deadline_ns, struct mm_revoked *ret_revoked,
                  struct mm_error *err)
{
    if (!has_begun) {
        wait_release(wait);
        wait_release(wait);
        return false;
    }
    struct timespec until = mm_deadline_timespec(deadline_ns);
    int status = 0;
    (void)pthread_mutex_lock(&wait->lock);
    while (wait->state == OPEN && status == 0)
        status = pthread_cond_clockwait(&wait->told, &wait->lock, CLOCK_MONOTONIC, &until);
    bool is_done = wait->state == DONE;
    if (is_done)
        *ret_revoked = wait->revoked;
    else if (wait->state == FAILED)
        (void)mm_fail(err, wait->why.code, "%s", wait->why.message);
    else
        (void)mm_fail(err, MM_DEADLINE_EXCEEDED, "the ledger didn't answer in time");
    (void)pthread_mutex_unlock(&wait->lock);
    wait_release(wait);
    return is_done;
}

bool mm_revocations_revoke_now(struct mm_revocations *revocations, const struct mm_revocation_order *order,
                               int64_t deadline_ns, struct mm_revoked *ret_revoked, struct mm_error *err)
{
    struct wait *wait = wait_new(err);
    if (!wait)
        return false;
    bool has_begun = mm_revocations_revoke(revocations, order, INT64_MAX, on_told, wait, err);
    return await(wait, has_begun, deadline_ns, ret_revoked, err);
}

bool mm_revocations_lift_now(struct mm_revocations *revocations, int64_t id, const char *by, const char *reason,
                             int64_t deadline_ns, struct mm_revoked *ret_revoked, struct mm_error *err)
{
    struct wait *wait = wait_new(err);
    if (!wait)
        return false;
    bool has_begun = mm_revocations_lift(revocations, id, by, reason, on_told, wait, err);
    return await(wait, has_begun, deadline_ns, ret_revoked, err);
}
