/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the signers are: for readiness, for the status, for who waits for a first one. What takes a pool's lock holds references to the keys
 * instead of the signers' lock.
 */
#include <string.h>

#include "hsm/signers_internal.h"
#include "util/clock.h"

enum { POLL_NS = 5000000 };

enum mm_signers_health mm_signers_health(struct mm_signers *signers)
{
    size_t n_active = 0;
    size_t n_serving = 0;
    (void)pthread_mutex_lock(&signers->lock);
    for (size_t i = 0; i < signers->n_listed; i++) {
        const struct mm_signer *signer = signers->listed[i];
        n_active += signer->phase == ACTIVE;
        n_serving += signer->phase == ACTIVE && mm_pool_is_serving(signer->pool);
    }
    (void)pthread_mutex_unlock(&signers->lock);
    if (n_serving == 0)
        return MM_SIGNERS_DOWN;
    return n_serving < n_active ? MM_SIGNERS_DEGRADED : MM_SIGNERS_READY;
}

bool mm_signers_serves(struct mm_signers *signers, const char *kid)
{
    (void)pthread_mutex_lock(&signers->lock);
    const struct mm_signer *signer = mm_signers_find_locked(signers, kid);
    bool serves = signer && signer->phase == ACTIVE && mm_pool_is_serving(signer->pool);
    (void)pthread_mutex_unlock(&signers->lock);
    return serves;
}

mm_algorithm_set mm_signers_algorithms(struct mm_signers *signers)
{
    mm_algorithm_set set = 0;
    (void)pthread_mutex_lock(&signers->lock);
    for (size_t i = 0; i < signers->n_listed; i++) {
        const struct mm_signer *signer = signers->listed[i];
        if (signer->phase == ACTIVE && mm_pool_is_serving(signer->pool))
            set |= mm_algorithm_bit(signer->key.algorithm);
    }
    (void)pthread_mutex_unlock(&signers->lock);
    return set;
}

/* References to the keys that have joined, for calls that take a pool's lock. */
struct crowd {
    size_t n;
    struct mm_signer *signers[MM_SIGNERS_MAX];
    bool is_active[MM_SIGNERS_MAX];
};

static void take_all(struct mm_signers *signers, struct crowd *ret_crowd)
{
    ret_crowd->n = 0;
    (void)pthread_mutex_lock(&signers->lock);
    for (size_t i = 0; i < signers->n_listed; i++) {
        struct mm_signer *signer = signers->listed[i];
        if (signer->phase == JOINING)
            continue;
        signer->n_users++;
        ret_crowd->is_active[ret_crowd->n] = signer->phase == ACTIVE;
        ret_crowd->signers[ret_crowd->n++] = signer;
    }
    (void)pthread_mutex_unlock(&signers->lock);
}

static void let_go(const struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->n; i++)
        mm_signer_unref(crowd->signers[i]);
}

/* MM_POOL_FAILED: all have, and `ret_why` is the most preferred one's reason. */
static enum mm_pool_verdict judge_all(const struct crowd *crowd, struct mm_error *ret_why)
{
    enum mm_pool_verdict result = MM_POOL_FAILED;
    const struct mm_signer *first = NULL;
    for (size_t i = 0; i < crowd->n; i++) {
        struct mm_error why = {0};
        enum mm_pool_verdict verdict =
            crowd->is_active[i] ? mm_pool_verdict(crowd->signers[i]->pool, &why) : MM_POOL_FAILED;
        if (verdict == MM_POOL_WORKS)
            return verdict;
        if (verdict == MM_POOL_PENDING)
            result = verdict;
        if (crowd->is_active[i] && (!first || crowd->signers[i]->priority > first->priority)) {
            first = crowd->signers[i];
            *ret_why = why;
        }
    }
    return result;
}

bool mm_signers_wait_any(struct mm_signers *signers, struct mm_error *err)
{
    const struct timespec pause = {.tv_nsec = POLL_NS};
    struct mm_error why = {0};
    struct crowd crowd;
    enum mm_pool_verdict verdict;
    take_all(signers, &crowd);
    while ((verdict = judge_all(&crowd, &why)) == MM_POOL_PENDING)
        (void)nanosleep(&pause, NULL);
    let_go(&crowd);
    if (verdict == MM_POOL_WORKS)
        return true;
    return why.code != MM_OK ? mm_fail(err, why.code, "%s", why.message)
                             : mm_fail(err, MM_HSM_UNAVAILABLE, "no key is active");
}

static void add_up(struct mm_pool_state *sum, const struct mm_pool_state *one)
{
    sum->n_workers += one->n_workers;
    sum->n_ready += one->n_ready;
    sum->is_latched = sum->is_latched || one->is_latched;
    mm_latency_join(&sum->latency, &one->latency);
}

/* The file says it whether or not a key's pool looks at it; a pool that couldn't write it knows better. */
static bool is_latched(const struct mm_config *config, const struct mm_signers_token_state *token)
{
    mm_cleanup(free) char *path = mm_latch_path(config, token->name, NULL);
    return token->pool.is_latched || !path || !mm_latch_check(path, token->name, NULL);
}

static void judge_token(const struct mm_config *config, struct mm_signers_token_state *token)
{
    token->pool.is_latched = is_latched(config, token);
    if (token->pool.is_latched)
        token->word = MM_SIGNERS_TOKEN_LOCKED_OUT;
    else if (token->n_keys == 0)
        token->word = MM_SIGNERS_TOKEN_NOT_IN_USE;
    else
        token->word = token->pool.n_ready > 0 ? MM_SIGNERS_TOKEN_UP : MM_SIGNERS_TOKEN_DOWN;
}

void mm_signers_state(struct mm_signers *signers, struct mm_signers_state *ret_state)
{
    const struct mm_config *config = signers->options.config;
    struct crowd crowd;
    take_all(signers, &crowd);
    *ret_state = (struct mm_signers_state){.n_keys = crowd.n, .n_hsm_tokens = config->n_hsm_tokens};
    for (size_t i = 0; i < config->n_hsm_tokens; i++)
        ret_state->hsm_tokens[i].name = config->hsm_tokens[i].name;
    for (size_t i = 0; i < crowd.n; i++) {
        const struct mm_signer *signer = crowd.signers[i];
        struct mm_signer_state *key = &ret_state->keys[i];
        memcpy(key->kid, mm_signer_kid(signer), sizeof key->kid);
        key->algorithm = signer->key.algorithm;
        key->hsm_token = signer->key.hsm_token;
        key->role = crowd.is_active[i] ? MM_SIGNER_ACTIVE : MM_SIGNER_STANDBY;
        key->pool = mm_pool_state(signer->pool);
        ret_state->hsm_tokens[signer->token].n_keys++;
        add_up(&ret_state->hsm_tokens[signer->token].pool, &key->pool);
    }
    let_go(&crowd);
    (void)pthread_mutex_lock(&signers->lock);
    for (size_t i = 0; i < config->n_hsm_tokens; i++)
        ret_state->hsm_tokens[i].last = signers->words[i];
    (void)pthread_mutex_unlock(&signers->lock);
    for (size_t i = 0; i < config->n_hsm_tokens; i++)
        judge_token(config, &ret_state->hsm_tokens[i]);
}

int64_t mm_signers_beat_ns(struct mm_signers *signers)
{
    int64_t oldest = mm_monotonic_ns();
    (void)pthread_mutex_lock(&signers->lock);
    for (size_t i = 0; i < signers->n_listed; i++) {
        const struct mm_signer *signer = signers->listed[i];
        int64_t beat_ns = signer->phase != JOINING ? mm_pool_beat_ns(signer->pool) : oldest;
        oldest = beat_ns < oldest ? beat_ns : oldest;
    }
    (void)pthread_mutex_unlock(&signers->lock);
    return oldest;
}
