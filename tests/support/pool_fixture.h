/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of fake workers in a folder of its own, and the requests made of it with their answers.
 */
#ifndef MM_TESTS_POOL_FIXTURE_H
#define MM_TESTS_POOL_FIXTURE_H

#include <pthread.h>

#include "hsm/pool.h"

enum { EVENTS_MAX = 512, ANSWERS_MAX = 4096 };

struct fixture;

struct answer {
    struct fixture *fixture;
    unsigned number; /* what the payload says */
    enum { WAITING, SIGNED, REFUSED } state;
    enum mm_code code;
    char message[MM_ERROR_MESSAGE_MAX];
    size_t order; /* 0: the first answer that came */
    int64_t answered_ns;
};

struct fixture {
    char folder[64];
    char file[128]; /* the fake's behaviour; names its other files too */
    char issuer[32];
    struct mm_config config;
    struct mm_hsm_token_config settings;
    struct mm_pool_options options;
    struct mm_pubkey *pubkey;
    json_t *jwks;
    const char *worker_program;
    enum mm_pool_patience patience; /* of what is asked */
    struct mm_launcher *launcher;
    struct mm_pool *pool;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    size_t n_events[4]; /* by enum mm_pool_event */
    char last_detail[4][MM_ERROR_MESSAGE_MAX];
    struct answer answers[ANSWERS_MAX];
    size_t n_asked;
    size_t n_answered;
    size_t n_doubled; /* `done` called twice: must stay 0 */
    size_t n_forged;  /* what was handed out and doesn't verify: must stay 0 */
};

/* cmocka's set-up and tear-down of every test; the tear-down stops the pool and sees that no child is left. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* How workers behave, one line a start. */
void behave(struct fixture *fixture, const char *lines);

/* Start a launcher and the pool, and don't wait for a worker. */
bool launch(struct fixture *fixture, struct mm_error *err);

/* Start the pool; a failure is the test's to judge, or, with start_ok(), the end of it. */
bool start(struct fixture *fixture, struct mm_error *err);
void start_ok(struct fixture *fixture);

/* Ask for a signature; NULL if it was refused at once, with `err` saying why. */
struct answer *ask(struct fixture *fixture, const char *tenant, int64_t within_ms, struct mm_error *err);

/* Ask; a refusal at once ends the test. */
struct answer *ask_ok(struct fixture *fixture, const char *tenant, int64_t within_ms);

/* Wait until everything asked is answered; fails the test after ten seconds. */
void wait_for_answers(struct fixture *fixture);
size_t count_answers(struct fixture *fixture, int state, enum mm_code code);

/* Wait until so many events of a kind were seen, workers are ready; fails the test after ten seconds. */
void wait_for_event(struct fixture *fixture, enum mm_pool_event event, size_t n);
void wait_for_ready(struct fixture *fixture, size_t n);

size_t n_starts(const struct fixture *fixture);

/* The log's lines that begin with `prefix`. */
size_t count_log(const struct fixture *fixture, const char *prefix);

/* The log as text, the caller's. */
char *read_log(const struct fixture *fixture);

void sleep_ms(long ms);

#endif
