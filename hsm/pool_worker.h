/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One worker process as the pool holds it: how it is started, what goes over its socket, what it has in flight, how it ends.
 * Its socket carries outside input: whatever it sends is bounded and checked here or in the reader before anyone believes it.
 *
 *     DOWN -> STARTING -> READY -> ENDING -> DOWN        (a start that fails goes from STARTING to ENDING)
 */
#ifndef MM_HSM_POOL_WORKER_H
#define MM_HSM_POOL_WORKER_H

#include <pthread.h>

#include "hsm/launcher.h"
#include "hsm/pool_queue.h"

enum {
    MM_POOL_SLOTS_MAX = 16,       /* in flight in one worker */
    MM_POOL_END_MS = 2000,        /* for a worker to exit by itself once it is told to */
    MM_POOL_END_START_MS = 10000, /* the same while it may be logging in: killing that can destroy an HSM token */
};

enum mm_pool_worker_state {
    MM_POOL_DOWN,     /* no process; may be started from until_ns on */
    MM_POOL_STARTING, /* must be ready by until_ns */
    MM_POOL_READY,
    MM_POOL_ENDING, /* gets nothing more; is killed at until_ns unless it was already */
};

/* One request that was sent to a worker. */
struct mm_pool_slot {
    uint64_t id; /* 0: free */
    int64_t sent_ns;
    int64_t turn;                    /* its place in a thread's line: 1 is signed at once */
    int64_t due_ns;                  /* not signed by then: the worker is hung */
    struct mm_pool_request *request; /* NULL for a probe, and once its caller was answered without the worker */
    bool is_probe;
};

/* What a worker's signatures say of its HSM, as far as it lives. */
struct mm_pool_health {
    int64_t asked_ns;    /* when it last gave a signature or was last probed */
    int64_t refusing_ns; /* when the first of `n_refused` was refused */
    unsigned n_refused;  /* in a row, by an HSM that is busy, or says so */
    bool is_probed;      /* a probe is in flight */
    uint8_t nonce[MM_PROBE_NONCE];
    char refusal[MM_ERROR_MESSAGE_MAX]; /* what it last said of a failure */
};

struct mm_pool_worker {
    /* immutable after mm_pool_start() */
    struct mm_pool *pool;
    int64_t sign_timeout_ns;

    /* guarded by the pool's lock */
    enum mm_pool_worker_state state;
    int64_t until_ns;
    int64_t grace_ms; /* ENDING: what it was given to exit by itself */
    uint64_t process; /* as the launcher numbers it; 0: none, or reaped */
    pid_t pid;        /* to tell people */
    int fd;           /* our end; closed by the supervisor alone, after `reader` has ended */
    pthread_t reader;
    bool has_reader;
    enum { MM_POOL_NEVER_READY, MM_POOL_BECAME_READY, MM_POOL_WAS_READY } history; /* became: not yet announced */
    enum { MM_POOL_NOT_KILLED, MM_POOL_KILLED } fate;
    size_t n_threads;    /* READY: what it signs at once */
    int64_t sign_ns;     /* a signature, without the wait for its turn: a moving average; 0: not known yet */
    struct mm_error why; /* the first reason known for its end */
    uint64_t n_signed;   /* verified signatures of a process that has ended */
    unsigned n_failures; /* ends in a row without a signature: the backoff's exponent */
    size_t n_in_flight;  /* slots taken */
    struct mm_pool_health health;
    struct mm_pool_slot slots[MM_POOL_SLOTS_MAX];
};

enum mm_pool_sent { MM_POOL_SENT, MM_POOL_FULL, MM_POOL_GONE };

/* Send without blocking. `packet` is MM_PACKET_MAX bytes of scratch. GONE also for a message that can't be encoded. */
MM_MUST_USE enum mm_pool_sent mm_pool_worker_send(int fd, const struct mm_message *message, uint8_t *packet);

/* A message's reason as one printable line. */
void mm_pool_worker_reason(const struct mm_message *message, char *out, size_t size);

/* Fail with what a message says: its code and its reason. */
void mm_pool_worker_refuse(const struct mm_message *message, struct mm_error *err);

/* What a worker says once it is ready, as JSON that nobody has checked yet. MM_INTERNAL if it says something else; or why it isn't ready. */
MM_MUST_USE bool mm_pool_worker_take_ready(const struct mm_message *message, json_t **ret_said, struct mm_error *err);

/* The functions below: the caller holds the pool's lock. */

/* The slot of request `id`; NULL if the worker has no such request. */
struct mm_pool_slot *mm_pool_worker_slot(struct mm_pool_worker *worker, uint64_t id);

/*
 * Whether a worker that is ready takes one more: one a thread, so that what an HSM can't sign yet waits in the pool's queue, where
 * tenants take turns. A fast one is sent more than it signs at once; if it has one thread it takes and answers them in batches.
 */
bool mm_pool_worker_has_room(const struct mm_pool_worker *worker);

/* Take a slot for request `id`, which is being sent; the worker has room. */
struct mm_pool_slot *mm_pool_worker_take_slot(struct mm_pool_worker *worker, uint64_t id, int64_t now);

/* Note that what lay in a slot was signed. Returns how long that took, without the wait for its turn, in nanoseconds. */
int64_t mm_pool_worker_measure(struct mm_pool_worker *worker, const struct mm_pool_slot *slot, int64_t now);

/* Note that the worker has answered: what is next in its lines has sign_timeout_ns from now. */
void mm_pool_worker_move_up(struct mm_pool_worker *worker, int64_t now);

/* Whether a signature under way has taken more than sign_timeout_ns. */
bool mm_pool_worker_is_hung(const struct mm_pool_worker *worker, int64_t now);

/*
 * Whether its HSM has refused everything for a while: such a worker gets no requests, which it would only fail faster than others
 * serve them, and doesn't count as ready. Probes tell when it is over.
 */
bool mm_pool_worker_is_failing(const struct mm_pool_worker *worker, int64_t now);

/* Ask the process to end: it sees the end of its input; what it has sent by then is received. Killed if it doesn't in time. */
void mm_pool_worker_end(struct mm_pool_worker *worker);

/* End the process with SIGKILL. */
void mm_pool_worker_kill(struct mm_launcher *launcher, struct mm_pool_worker *worker);

#endif
