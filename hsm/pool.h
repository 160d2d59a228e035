/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmarkd's side of the HSM: starts the workers (mintmark-hsm), hands them sentences to sign, checks what comes back
 * against the pinned public key, and kills and replaces what hangs or dies. Loads no vendor code and never sees a PIN.
 */
#ifndef MM_HSM_POOL_H
#define MM_HSM_POOL_H

#include "config/config.h"
#include "crypto/pubkey.h"
#include "hsm/latch.h"
#include "hsm/launcher.h"
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
typedef void (*mm_pool_observer)(void *context, enum mm_pool_event event, const char *hsm_token, const char *detail);

/* Everything is borrowed for the pool's life. */
struct mm_pool_options {
    const struct mm_config *config; /* holds the HSM token's settings; outlives the pool */
    struct mm_launcher *launcher;   /* starts the workers of config->hsm_tokens[i] as its spec i */
    struct mm_pool_key key;
    size_t queue;              /* requests waiting or in flight at most */
    mm_pool_observer observer; /* may be NULL */
    void *observer_context;
};

/*
 * Start the workers and wait until the first is ready. What the first worker says is what the caller gets:
 * MM_HSM_TOKEN_NOT_FOUND, MM_KEY_NOT_FOUND, MM_KEY_CUSTODY, MM_KEY_MISMATCH, MM_PIN_REFUSED, MM_PIN_LATCHED, …. Workers of one
 * HSM token start one after another.
 */
MM_MUST_USE struct mm_pool *mm_pool_start(const struct mm_pool_options *options, struct mm_error *err);

/* Called once, on a pool thread: the compact JWS (borrowed) or `err`. Must not block. */
typedef void (*mm_pool_done)(void *context, const char *jws, const struct mm_error *err);

/*
 * Have `payload` (`length` bytes of JSON) signed as a `sentence`. Queued by `tenant` (copied), served round-robin. False
 * (MM_OVERLOADED, MM_HSM_UNAVAILABLE, MM_DEADLINE_EXCEEDED when the deadline can't be met, MM_SHUTTING_DOWN): `done` won't be
 * called. An expired request is never signed. `payload` is copied. A request whose worker dies is tried once more on another.
 */
MM_MUST_USE bool mm_pool_sign(struct mm_pool *pool, enum mm_sentence sentence, const char *tenant, const char *payload,
                              size_t length, int64_t deadline_ns, mm_pool_done done, void *context,
                              struct mm_error *err);

struct mm_pool_state {
    size_t n_workers; /* configured */
    size_t n_ready;   /* and signing, as far as the last signatures and probes tell */
    bool is_latched;  /* the PIN was refused: nothing starts until `mintmark token unlock` */
};

struct mm_pool_state mm_pool_state(struct mm_pool *pool);

/* When the supervisor last went round (monotonic): some seconds ago at most, unless something is stuck; a hung HSM isn't that. */
int64_t mm_pool_beat_ns(const struct mm_pool *pool);

/* Answer everything still queued with MM_SHUTTING_DOWN, end the workers, free. NULL is allowed. */
void mm_pool_stop(struct mm_pool *pool);
MM_DEFINE_CLEANUP(struct mm_pool, mm_pool_stop);

#endif
