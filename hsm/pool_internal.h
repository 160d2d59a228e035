/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's own state, shared by its three parts: pool.c (the API and the hand-out of requests), pool_reader.c (one thread a
 * worker process: what it says) and pool_supervisor.c (one thread: processes and time). One lock guards it all; nobody
 * calls out (`done`, the observer) or waits for a process with it held.
 */
#ifndef MM_HSM_POOL_INTERNAL_H
#define MM_HSM_POOL_INTERNAL_H

#include "hsm/pool_worker.h"

enum { MM_POOL_START_MARGIN_MS = 5000 }; /* past the first worker's deadline, for its end to be noticed */

struct mm_pool {
    /* immutable after mm_pool_start() */
    const struct mm_hsm_token_config *settings;
    struct mm_launcher *launcher;
    size_t spec; /* the launcher's number for this HSM token */
    struct mm_pool_key key;
    size_t bound; /* for n_requests */
    enum mm_pool_start_mode mode;
    struct mm_pool_gate own_gate; /* where nobody else is on its HSM token */
    struct mm_pool_gate *gate;
    const atomic_bool *is_draining; /* NULL: never */
    mm_pool_observer observer;
    void *observer_context;
    char *start_json; /* START's data */
    char *latch_path;
    size_t n_workers;
    pthread_t supervisor;

    _Atomic int64_t beat_ns;
    atomic_bool is_serving; /* mm_pool_publish_locked() */

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* the supervisor's */
    pthread_cond_t started; /* the verdict is no longer pending */

    /* guarded by lock */
    enum mm_pool_verdict verdict;
    int64_t verdict_until_ns; /* pending for so long at most */
    struct mm_error start_error;
    int64_t start_deadline_ns; /* of the first worker; no crash after it is bad luck; 0: it wasn't started yet */
    int64_t gate_from_ns;      /* when it may take the gate again */
    bool has_left_login;       /* to the launcher, as the service ends: the gate stays taken */
    enum { MM_POOL_RUNNING, MM_POOL_STOPPING } phase;
    enum { MM_POOL_AWAKE, MM_POOL_DOZING } supervision; /* dozing: nothing in flight, wakes once a second */
    enum { MM_POOL_UNLATCHED, MM_POOL_LATCHED } latch;
    struct mm_pool_queue *queue;
    struct mm_pool_requests failed; /* to be answered by mm_pool_answer_failed_locked() */
    size_t n_requests;              /* waiting or in flight, not yet answered */
    uint64_t last_id;
    struct mm_latency latency;
    uint8_t packet[MM_PACKET_MAX]; /* for sending */

    struct mm_pool_worker workers[];
};

/* pool.c; the caller holds the lock */

/* Hand waiting requests to workers with room. */
void mm_pool_dispatch_locked(struct mm_pool *pool);

/* End `request` with a failure; `reason` is a literal. */
void mm_pool_give_up_locked(struct mm_pool *pool, struct mm_pool_request *request, enum mm_code code,
                            const char *reason);

/* Queue a request that a worker failed once more, or end it with the failure. */
void mm_pool_retry_locked(struct mm_pool *pool, struct mm_pool_request *request, enum mm_code code, const char *reason);

/* Call `done` for what has failed; lets go of the lock meanwhile. For pool threads only. */
void mm_pool_answer_failed_locked(struct mm_pool *pool);

/* When a worker can be expected to serve: 0 if one is ready or starting, INT64_MAX if none will be. */
int64_t mm_pool_serves_from_ns_locked(const struct mm_pool *pool);

/* Whether a worker is ready and not failing. */
bool mm_pool_is_serving_locked(const struct mm_pool *pool, int64_t now);

/* Tell that to those who ask without the lock. */
void mm_pool_publish_locked(struct mm_pool *pool, int64_t now);

/* Whether the service ends. Takes no lock. */
bool mm_pool_is_draining(const struct mm_pool *pool);

/* Threads: the argument is a struct mm_pool_worker, a struct mm_pool. */
void *mm_pool_reader(void *argument);
void *mm_pool_supervisor(void *argument);

#endif
