/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys in HSM tokens of fake workers, in a folder of its own.
 */
#ifndef MM_TESTS_SIGNERS_FIXTURE_H
#define MM_TESTS_SIGNERS_FIXTURE_H

#include <pthread.h>

#include "hsm/signers.h"

enum { TOKENS_MAX = 2, KEYS_MAX = 10 };

/* A key as a keyring has it. */
struct test_key {
    struct mm_pubkey *pubkey;
    struct mm_pool_key key;
    char id[8];
};

struct signers_fixture {
    char folder[64];
    char issuer[32];
    struct mm_config config;
    struct mm_hsm_token_config tokens[TOKENS_MAX]; /* called "hsm-0", "hsm-1" */
    char files[TOKENS_MAX][96];                    /* how each one's fakes behave; names their other files too */
    struct mm_worker_spec specs[TOKENS_MAX];
    struct mm_launcher *launcher;
    struct mm_signers *signers;
    struct test_key keys[KEYS_MAX];
    size_t n_keys;
    json_t *jwks; /* of them all */

    pthread_mutex_t lock;
    /* guarded by lock */
    size_t n_events[4]; /* by enum mm_pool_event */
};

/* cmocka's set-up and tear-down of every test; the tear-down stops what runs and sees that no child is left. */
int signers_fixture_set_up(void **state);
int signers_fixture_tear_down(void **state);

/* How the workers of an HSM token behave, one line a start: see fake_worker.c. */
void behave_at(struct signers_fixture *fixture, size_t token, const char *lines);

/* Start the launcher, and signers without a key. */
void open_signers(struct signers_fixture *fixture);

/* Make a key in an HSM token; its number. */
size_t make_key_at(struct signers_fixture *fixture, size_t token);

/* Make a key there, start its workers and activate it; a failure ends the test. */
size_t activate_at(struct signers_fixture *fixture, size_t token, enum mm_signers_wait wait);

const char *kid_of(const struct signers_fixture *fixture, size_t key);

/* The lines of a token's log that begin with `prefix`; the log as text, the caller's (NULL: none yet). */
size_t count_log_at(const struct signers_fixture *fixture, size_t token, const char *prefix);
char *read_log_at(const struct signers_fixture *fixture, size_t token);

/* Wait until that is what all the keys' workers are; fails the test after ten seconds. */
void wait_for_health(struct signers_fixture *fixture, enum mm_signers_health health);

/* SIGKILL to all workers that an HSM token has started. */
void kill_workers_at(struct signers_fixture *fixture, size_t token);

void sleep_ms(long ms);

#endif
