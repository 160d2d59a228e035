/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait for a worker: first come first served within a tenant, round-robin between tenants, so that one
 * tenant's backlog never delays another's request by more than one turn. A tenant is known only while it has a request
 * waiting. Not thread-safe: the pool's lock guards it; the pool bounds how many requests there are.
 */
#ifndef MM_HSM_POOL_QUEUE_H
#define MM_HSM_POOL_QUEUE_H

#include <sys/queue.h>

#include "hsm/pool.h"

/* One sentence to sign, from mm_pool_sign() to its `done`. */
struct mm_pool_request {
    TAILQ_ENTRY(mm_pool_request) link; /* of whichever list holds it */
    enum mm_sentence sentence;
    int64_t deadline_ns;
    enum mm_pool_patience patience;
    unsigned n_attempts; /* how often it was sent to a worker */
    mm_pool_done done;
    void *context;
    enum mm_code code;  /* once it has failed: why */
    const char *reason; /* the same in words; a literal */
    const char *tenant; /* lies behind the payload */
    size_t length;
    char payload[];
};
TAILQ_HEAD(mm_pool_requests, mm_pool_request);

/* A copy of everything; NULL with MM_NO_MEMORY. */
MM_MUST_USE struct mm_pool_request *mm_pool_request_new(enum mm_sentence sentence, const char *tenant,
                                                        const char *payload, size_t length, struct mm_error *err);
void mm_pool_request_free(struct mm_pool_request *request);
MM_DEFINE_CLEANUP(struct mm_pool_request, mm_pool_request_free);

struct mm_pool_queue; /* opaque */

MM_MUST_USE struct mm_pool_queue *mm_pool_queue_new(struct mm_error *err);

/* Frees the requests in it too, without calling their `done`. NULL is allowed. */
void mm_pool_queue_free(struct mm_pool_queue *queue);
MM_DEFINE_CLEANUP(struct mm_pool_queue, mm_pool_queue_free);

/* Where a request goes among its tenant's: a new one last; one that was sent already first, and its tenant's turn is next. */
enum mm_pool_queue_end { MM_POOL_QUEUE_LAST, MM_POOL_QUEUE_FIRST };

/* The queue owns `request` from now on. False (MM_NO_MEMORY): the caller still does. */
MM_MUST_USE bool mm_pool_queue_push(struct mm_pool_queue *queue, struct mm_pool_request *request,
                                    enum mm_pool_queue_end end, struct mm_error *err);

/* The next request by turns, now the caller's; NULL if none waits. */
MM_MUST_USE struct mm_pool_request *mm_pool_queue_pop(struct mm_pool_queue *queue);

/* Move every request whose deadline is at or before `horizon_ns` to the end of `expired`. */
void mm_pool_queue_take_expired(struct mm_pool_queue *queue, int64_t horizon_ns, struct mm_pool_requests *expired);

/* Move every request that is impatient to the end of `impatient`. */
void mm_pool_queue_take_impatient(struct mm_pool_queue *queue, struct mm_pool_requests *impatient);

size_t mm_pool_queue_n(const struct mm_pool_queue *queue);

/* At most how many requests would be served before a new one of `tenant`. */
size_t mm_pool_queue_n_ahead(const struct mm_pool_queue *queue, const char *tenant);

#endif
