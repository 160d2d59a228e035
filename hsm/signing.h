/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a worker signs with its key: through the engine, or straight through the module with a session a thread. No sentence is judged here
 * (sentence.h), and nothing is closed: a worker ends with its process.
 */
#ifndef MM_HSM_SIGNING_H
#define MM_HSM_SIGNING_H

#include "hsm/direct.h"
#include "hsm/engine.h"

enum { MM_HSM_SIGNING_THREADS_MAX = 16 };

struct mm_hsm_signing {
    enum mm_algorithm algorithm;
    struct mm_engine *engine; /* NULL: the direct signers sign */
    struct mm_direct *direct[MM_HSM_SIGNING_THREADS_MAX];
    size_t n_threads; /* how many may sign at once */
};

/* What is opened, all of it borrowed for as long as there are signatures; but the PIN, which is for the call. */
struct mm_hsm_signing_parts {
    struct mm_module *module;
    struct mm_hsm_key *key;
    const struct mm_hsm_token_config *token;
    enum mm_algorithm algorithm;
    const struct mm_secret *pin; /* NULL: none is needed */
};

/*
 * As the configuration says, or directly where the engine can't serve; with as many threads as there are sessions. Failures are those of
 * mm_engine_open() and mm_direct_open(); the process is then to end.
 */
MM_MUST_USE bool mm_hsm_signing_open(struct mm_hsm_signing *signing, const struct mm_hsm_signing_parts *parts,
                                     struct mm_error *err);

/* Sign on thread `thread` (from 0): no two at once on the same. `signature` holds MM_SIGNATURE_MAX bytes. */
MM_MUST_USE bool mm_hsm_signing_sign(const struct mm_hsm_signing *signing, size_t thread, struct mm_bytes data,
                                     uint8_t *signature, size_t *ret_length, struct mm_error *err);

/* A signature that `pinned` verifies, before the worker says that it is ready. MM_SIGNATURE_INVALID, or why there is none. */
MM_MUST_USE bool mm_hsm_signing_test(const struct mm_hsm_signing *signing, const struct mm_pubkey *pinned,
                                     struct mm_error *err);

#endif
