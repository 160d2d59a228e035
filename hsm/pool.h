/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmarkd's side of one key in an HSM: starts its workers (mintmark-hsm), hands them sentences to sign, checks what comes back
 * against the pinned public key, and kills and replaces what hangs or dies. Loads no vendor code and never sees a PIN.
 */
#ifndef MM_HSM_POOL_H
#define MM_HSM_POOL_H

#include "config/config.h"
#include "crypto/pubkey.h"
#include "hsm/latency.h"
#include "hsm/latch.h"
#include "hsm/launcher.h"
#include "hsm/pool_gate.h"
#include "hsm/protocol.h"

struct mm_pool; /* opaque */

/* The key the pool signs with, as the ledger pins it; borrowed for the pool's life. */
struct mm_pool_key {
    const struct mm_pubkey *pubkey; /* its thumbprint is the kid */
    enum mm_algorithm algorithm;
    const char *hsm_token; /* name in the configuration */
    const char *hsm_id;    /* CKA_ID, lower-case hex */
    const char *hsm_label; /* CKA_LABEL */
};

/* Things the operator and the ledger should know; called on the supervisor's thread, must not block for long. */
enum mm_pool_event { MM_POOL_WORKER_READY, MM_POOL_WORKER_LOST, MM_POOL_WORKER_KILLED, MM_POOL_PIN_LATCHED };
typedef void (*mm_pool_observer)(void *context, enum mm_pool_event event, const char *hsm_token, const char *kid,
                                 const char *detail);

/* What a pool does when its first worker can't serve. */
enum mm_pool_start_mode {
    MM_POOL_ON_TRIAL, /* starts no other, but for bad luck: mm_pool_wait() tells, and the caller stops it */
    MM_POOL_FOR_GOOD, /* goes on trying, as with any worker later */
};

/* Everything is borrowed for the pool's life. */
struct mm_pool_options {
    const struct mm_config *config; /* holds the HSM token's settings; outlives the pool */
    struct mm_launcher *launcher;   /* starts the workers of config->hsm_tokens[i] as its spec i */
    struct mm_pool_key key;
    size_t queue; /* requests waiting or in flight at most */
    enum mm_pool_start_mode mode;
    struct mm_pool_gate *gate;      /* NULL: no other pool is on its HSM token */
    const atomic_bool *is_draining; /* the service ends: nobody waits for a start any more; NULL: never */
    mm_pool_observer observer;      /* may be NULL */
    void *observer_context;
};

/*
 * Have the workers started, one after another; returns at once. MM_CONFIG_INVALID: there is no such HSM token; on trial also
 * MM_PIN_LATCHED.
 */
MM_MUST_USE struct mm_pool *mm_pool_start(const struct mm_pool_options *options, struct mm_error *err);

enum mm_pool_verdict { MM_POOL_PENDING, MM_POOL_WORKS, MM_POOL_FAILED };

/*
 * What has become of the start. MM_POOL_FAILED: `ret_why` (may be NULL) is what the first worker said: MM_HSM_TOKEN_NOT_FOUND,
 * MM_KEY_NOT_FOUND, MM_KEY_CUSTODY, MM_KEY_MISMATCH, MM_PIN_REFUSED, MM_PIN_LATCHED, …, or that it said nothing within its time. For
 * good, that turns into MM_POOL_WORKS once a worker is ready.
 */
enum mm_pool_verdict mm_pool_verdict(struct mm_pool *pool, struct mm_error *ret_why);

/* Wait until a worker is ready. False: mm_pool_verdict() says MM_POOL_FAILED, and `err` why; or MM_SHUTTING_DOWN at once as the service ends. */
MM_MUST_USE bool mm_pool_wait(struct mm_pool *pool, struct mm_error *err);

/* Called once, on a pool thread: the compact JWS (borrowed) or `err`. Must not block. */
typedef void (*mm_pool_done)(void *context, const char *jws, const struct mm_error *err);

/* What becomes of a request whose worker dies, or that finds none ready. */
enum mm_pool_patience {
    MM_POOL_PATIENT,   /* it waits for another, if that can be there before the deadline, and is tried once more */
    MM_POOL_IMPATIENT, /* it fails at once (MM_HSM_UNAVAILABLE): the caller has another key to turn to */
};

/* What is to be signed. All of it is copied. */
struct mm_pool_order {
    enum mm_sentence sentence;
    const char *tenant; /* whose turn in the queue it takes */
    const char *payload;
    size_t length;
    int64_t deadline_ns; /* monotonic; from then on it is never signed */
    enum mm_pool_patience patience;
};

/*
 * Have a payload (JSON) signed. Queued by tenant, served round-robin. False (MM_OVERLOADED, MM_HSM_UNAVAILABLE,
 * MM_DEADLINE_EXCEEDED when the deadline can't be met, MM_SHUTTING_DOWN): `done` won't be called.
 */
MM_MUST_USE bool mm_pool_sign(struct mm_pool *pool, const struct mm_pool_order *order, mm_pool_done done, void *context,
                              struct mm_error *err);

/* Whether a worker is ready and signing, as mm_pool_state() counts them, some milliseconds ago. Takes no lock. */
bool mm_pool_is_serving(const struct mm_pool *pool);

struct mm_pool_state {
    size_t n_workers; /* configured */
    size_t n_ready;   /* and signing, as far as the last signatures and probes tell */
    bool is_latched;  /* the PIN was refused: nothing starts until `mintmark token unlock` */
    struct mm_latency_counts
        latency; /* of its signatures, probes included, during the last minute; waiting for a worker isn't in it */
};

struct mm_pool_state mm_pool_state(struct mm_pool *pool);

/* When the supervisor last went round (monotonic): some seconds ago at most, unless something is stuck; a hung HSM isn't that. */
int64_t mm_pool_beat_ns(const struct mm_pool *pool);

/*
 * Answer everything still queued with MM_SHUTTING_DOWN and end the workers; from then on everything is refused so. Once. The one
 * that only begins returns before that is done. While the service ends a worker that is still starting isn't waited for as long as a login
 * may take: it is left to the launcher, which lets a login end.
 */
void mm_pool_begin_end(struct mm_pool *pool);
void mm_pool_end(struct mm_pool *pool);

/* Free a pool that was ended. */
void mm_pool_free(struct mm_pool *pool);

/* Both. NULL is allowed. */
void mm_pool_stop(struct mm_pool *pool);
MM_DEFINE_CLEANUP(struct mm_pool, mm_pool_stop);

#endif
