/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmarkd's side of a key that is generated: a worker of its own is started for it, asked once, and seen to its end. What it says is outside
 * input, as any worker's.
 */
#ifndef MM_HSM_KEY_MAKER_H
#define MM_HSM_KEY_MAKER_H

#include "hsm/pool.h"

/* Everything is borrowed for the call. */
struct mm_key_maker {
    const struct mm_config *config;
    struct mm_launcher *launcher;
    size_t spec;               /* the HSM token's index in the configuration, and the launcher's number for it */
    struct mm_pool_gate *gate; /* shared with the pools of that HSM token; held until the worker has logged in */
    enum mm_algorithm algorithm;
    const atomic_bool *is_cancelled; /* set by another thread: the service stops */
};

/*
 * Have a key generated, and wait for it: seconds, or until the HSM token's start_timeout and a minute have passed. `ret_key` is {"kid",
 * "alg", "jwk", "hsm_token", "hsm_id", "hsm_label"}; its kid is the thumbprint of its JWK, of the algorithm's type. Failures: what the
 * worker said (MM_CONFIG_INVALID, MM_KEY_LIMIT, MM_HSM_MECHANISM, MM_PIN_REFUSED, …; a refused PIN is latched), MM_PIN_LATCHED,
 * MM_HSM_UNAVAILABLE also if it said nothing in time, MM_SHUTTING_DOWN. After any of them a key may lie on the HSM token that nobody knows of.
 */
MM_MUST_USE bool mm_key_maker_run(const struct mm_key_maker *maker, json_t **ret_key, struct mm_error *err);

#endif
