/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that sign: each with a pool of workers of its own, in one HSM token or several. Picks the best one for a request,
 * and lets keys come and go while others sign. All of it is thread-safe.
 */
#ifndef MM_HSM_SIGNERS_H
#define MM_HSM_SIGNERS_H

#include "hsm/pool.h"

struct mm_signers; /* opaque */
struct mm_signer;  /* one key, for as long as its holder refers to it; opaque */

enum {
    MM_SIGNERS_MAX = 64,
    MM_SIGNERS_PER_TOKEN_MAX = 8, /* the launcher lets so many times the configured workers of an HSM token run */
};

/* Everything is borrowed for the signers' life. */
struct mm_signers_options {
    const struct mm_config *config;
    struct mm_launcher *launcher; /* starts the workers of config->hsm_tokens[i] as its spec i */
    size_t queue;                 /* of each key: requests waiting or in flight at most */
    mm_pool_observer observer;    /* may be NULL; called on many threads */
    void *observer_context;
};

MM_MUST_USE struct mm_signers *mm_signers_new(const struct mm_signers_options *options, struct mm_error *err);

enum mm_signers_wait { MM_SIGNERS_WAIT, MM_SIGNERS_DONT_WAIT };

/*
 * Start the workers of `key`, all of which is copied. The key is on standby: it isn't picked before mm_signers_activate().
 * MM_SIGNERS_WAIT: until a worker is ready; if the first can't be, this fails with what that said (mm_pool_wait()), and the key
 * isn't there. MM_SIGNERS_DONT_WAIT: returns at once, and workers are tried again and again. Also MM_CONFIG_INVALID (no such HSM
 * token), MM_HSM_UNAVAILABLE (no room for another key), MM_INTERNAL (the key is there already).
 */
MM_MUST_USE bool mm_signers_add(struct mm_signers *signers, const struct mm_pool_key *key, enum mm_signers_wait wait,
                                struct mm_error *err);

/* Let a key be picked from now on. MM_NOT_FOUND. */
MM_MUST_USE bool mm_signers_activate(struct mm_signers *signers, const char *kid, struct mm_error *err);

/*
 * Wait until any active key has a ready worker. False once the first worker of each has failed: `err` is what that of the key
 * with the highest priority said. MM_HSM_UNAVAILABLE if no key is active.
 */
MM_MUST_USE bool mm_signers_wait_any(struct mm_signers *signers, struct mm_error *err);

/*
 * Take a key out: nobody picks it from now on. Returns when those who had have let go of it, or at `deadline_ns` (monotonic), and its
 * workers have been ended; what was still waiting fails with MM_SHUTTING_DOWN. MM_NOT_FOUND.
 */
MM_MUST_USE bool mm_signers_remove(struct mm_signers *signers, const char *kid, int64_t deadline_ns,
                                   struct mm_error *err);

/* Keys that were tried for one request. All zero: none. */
typedef uint64_t mm_signer_set;

/*
 * The best key that isn't among `tried`, which it is added to; the caller owns a reference. Of the active keys of `algorithm`: those with a
 * ready worker before the others, then those of the HSM token with the highest priority, then the one with the fewest requests.
 * MM_HSM_UNAVAILABLE if there is none.
 */
MM_MUST_USE struct mm_signer *mm_signers_pick(struct mm_signers *signers, enum mm_algorithm algorithm,
                                              mm_signer_set *tried, struct mm_error *err);

/* NULL is allowed. */
void mm_signer_unref(struct mm_signer *signer);
MM_DEFINE_CLEANUP(struct mm_signer, mm_signer_unref);

/* Borrowed from the reference. */
const char *mm_signer_kid(const struct mm_signer *signer);

/*
 * mm_pool_sign() with this key. The order's patience is chosen here: a request is impatient as long as a key that isn't
 * among `tried` has a ready worker. The caller keeps its reference until it was answered.
 */
MM_MUST_USE bool mm_signer_sign(struct mm_signer *signer, const struct mm_pool_order *order, mm_signer_set tried,
                                mm_pool_done done, void *context, struct mm_error *err);

/*
 * The service begins to end: who waits for a worker to start gives up at once (MM_SHUTTING_DOWN), now and later, and one that generates a
 * key ends soon. A worker that may be logging in isn't killed for that: it is left to the launcher. Signing goes on.
 */
void mm_signers_drain(struct mm_signers *signers);

/* mm_generation_run() on an HSM token of the configuration, beside the workers that are there. MM_CONFIG_INVALID: there is no such HSM token. */
MM_MUST_USE bool mm_signers_generate(struct mm_signers *signers, const char *hsm_token, enum mm_algorithm algorithm,
                                     json_t **ret_key, struct mm_error *err);

enum mm_signers_health {
    MM_SIGNERS_READY,    /* every active key has a ready worker */
    MM_SIGNERS_DEGRADED, /* some have */
    MM_SIGNERS_DOWN,     /* none has */
};

enum mm_signers_health mm_signers_health(struct mm_signers *signers);

/* Whether that key signs now: it is active and a worker of its own is ready. Asks no pool's lock. */
bool mm_signers_serves(struct mm_signers *signers, const char *kid);

/* The algorithms that some active key with a ready worker signs. */
mm_algorithm_set mm_signers_algorithms(struct mm_signers *signers);

struct mm_signer_state {
    char kid[MM_THUMBPRINT_LENGTH + 1];
    enum mm_algorithm algorithm;
    const char *hsm_token; /* borrowed from the configuration */
    enum { MM_SIGNER_STANDBY, MM_SIGNER_ACTIVE } role;
    struct mm_pool_state pool;
};

/* What was last heard of a worker on an HSM token, whichever key's. */
struct mm_signers_word {
    enum { MM_SIGNERS_HEARD_NOTHING, MM_SIGNERS_HEARD_READY, MM_SIGNERS_HEARD_FAILED } kind;
    int64_t at; /* Unix seconds */
    char detail[MM_ERROR_MESSAGE_MAX];
};

/*
 * Locked out: the latch is set, or can't be read; workers that were there before that sign on. Else down: none of its keys' workers signs. An HSM token
 * without a key that signs, or is about to, isn't in use: `last` is all that is known of it.
 */
struct mm_signers_token_state {
    const char *name; /* borrowed from the configuration */
    size_t n_keys;
    struct mm_pool_state pool; /* of all its keys together; the latch as its file says, keys or not */
    enum { MM_SIGNERS_TOKEN_UP, MM_SIGNERS_TOKEN_DOWN, MM_SIGNERS_TOKEN_LOCKED_OUT, MM_SIGNERS_TOKEN_NOT_IN_USE } word;
    struct mm_signers_word last;
};

struct mm_signers_state {
    size_t n_keys;
    struct mm_signer_state keys[MM_SIGNERS_MAX]; /* in the order they were added in */
    size_t n_hsm_tokens;
    struct mm_signers_token_state hsm_tokens[MM_HSM_TOKENS_MAX]; /* as configured, those without a key, too */
};

/* Reads the latches' files: not for a thread that mustn't wait for a disk. */
void mm_signers_state(struct mm_signers *signers, struct mm_signers_state *ret_state);

/* When the pool that has stood still the longest last went round (monotonic): see mm_pool_beat_ns(). */
int64_t mm_signers_beat_ns(struct mm_signers *signers);

/* End every key's workers and free. Nobody may hold a signer, nor be adding or removing one. NULL is allowed. */
void mm_signers_stop(struct mm_signers *signers);
MM_DEFINE_CLEANUP(struct mm_signers, mm_signers_stop);

#endif
