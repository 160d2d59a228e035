/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending: submit an entry and wait, with a deadline, until it is durable. Whoever is the last of the two that hold it, the thread that
 * waits and the writer, frees what they share.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "ledger/ledger.h"

struct waiter {
    atomic_int n_users; /* the waiting thread and the writer: the last one frees it */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    /* guarded by lock */
    bool has_answer;
    bool durable;
    struct mm_receipt receipt;
    struct mm_error why;
};

static struct waiter *waiter_new(struct mm_error *err)
{
    struct waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    (void)pthread_mutex_init(&waiter->lock, NULL);
    (void)pthread_cond_init(&waiter->answered, NULL);
    atomic_init(&waiter->n_users, 1);
    return waiter;
}

static void waiter_release(struct waiter *waiter)
{
    if (!waiter || atomic_fetch_sub(&waiter->n_users, 1) > 1)
        return;
    (void)pthread_cond_destroy(&waiter->answered);
    (void)pthread_mutex_destroy(&waiter->lock);
    free(waiter);
}
MM_DEFINE_CLEANUP(struct waiter, waiter_release);

static void answer_waiter(void *context, const struct mm_receipt *receipt, const struct mm_error *err)
{
    struct waiter *waiter = context;
    (void)pthread_mutex_lock(&waiter->lock);
    waiter->has_answer = true;
    waiter->durable = receipt != NULL;
    if (receipt)
        waiter->receipt = *receipt;
    else
        waiter->why = *err;
    (void)pthread_cond_signal(&waiter->answered);
    (void)pthread_mutex_unlock(&waiter->lock);
    waiter_release(waiter);
}

static bool await_answer(struct waiter *waiter, int64_t deadline_ns, struct mm_receipt *ret_receipt,
                         struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(deadline_ns);
    int status = 0;
    (void)pthread_mutex_lock(&waiter->lock);
    while (!waiter->has_answer && status == 0)
        status = pthread_cond_clockwait(&waiter->answered, &waiter->lock, CLOCK_MONOTONIC, &until);
    bool done = waiter->has_answer && waiter->durable;
    if (done)
        *ret_receipt = waiter->receipt;
    else if (waiter->has_answer)
        (void)mm_fail(err, waiter->why.code, "%s", waiter->why.message);
    else
        (void)mm_fail(err, MM_DEADLINE_EXCEEDED, "the ledger didn't answer in time");
    (void)pthread_mutex_unlock(&waiter->lock);
    return done;
}

bool mm_ledger_append(struct mm_ledger *ledger, enum mm_entry_type type, const json_t *fields, int64_t deadline_ns,
                      struct mm_receipt *ret_receipt, struct mm_error *err)
{
    if (mm_ledger_is_writer_thread(ledger))
        return mm_fail(err, MM_INTERNAL, "the ledger's thread can't wait for itself");
    mm_cleanup(waiter_release) struct waiter *waiter = waiter_new(err);
    if (!waiter)
        return false;
    atomic_store(&waiter->n_users, 2);
    if (!mm_ledger_submit(ledger, type, fields, answer_waiter, waiter, err)) {
        atomic_store(&waiter->n_users, 1);
        return false;
    }
    return await_answer(waiter, deadline_ns, ret_receipt, err);
}
