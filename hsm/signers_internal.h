/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signers' own state, shared by its two parts: signers.c (keys come, sign and go) and signers_state.c (how they are). One lock guards it
 * all; nobody takes a pool's lock with it held.
 */
#ifndef MM_HSM_SIGNERS_INTERNAL_H
#define MM_HSM_SIGNERS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "hsm/signers.h"

_Static_assert(MM_SIGNERS_MAX <= 8 * sizeof(mm_signer_set), "each key needs a bit");

struct mm_signer {
    /* immutable once it is listed; pool: once it isn't joining any more */
    struct mm_signers *signers;
    struct mm_pubkey *pubkey;
    char *hsm_id;
    char *hsm_label;
    struct mm_pool_key key; /* made of these */
    size_t token;           /* its HSM token's index in the configuration */
    int64_t priority;
    mm_signer_set self; /* one bit, no other listed key's */
    struct mm_pool *pool;

    /* guarded by the signers' lock */
    enum { JOINING, STANDBY, ACTIVE, LEAVING, GONE } phase;
    size_t n_users; /* references */
};

struct mm_signers {
    /* immutable */
    struct mm_signers_options options;
    struct mm_pool_gate gates[MM_HSM_TOKENS_MAX]; /* by HSM token; immutable but for the pools' own use */

    atomic_bool is_draining;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* the last user of a key that leaves has let go of it */
    /* guarded by lock */
    struct mm_signer *listed[MM_SIGNERS_MAX]; /* JOINING, STANDBY, ACTIVE; in the order they were added in */
    size_t n_listed;
    size_t n_on_token[MM_HSM_TOKENS_MAX]; /* keys that may have workers there, those that leave included */
    size_t turn;                          /* at whose place the next pick begins to look: behind the last one's */
    struct mm_signers_word words[MM_HSM_TOKENS_MAX]; /* last heard of workers there */
};

/* The one of that `kid` that is listed, in whatever phase; NULL: none. The caller holds the lock. */
struct mm_signer *mm_signers_find_locked(const struct mm_signers *signers, const char *kid);

#endif
