/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key's pool lives as long as anybody refers to the key: one that is removed ends its workers, after which its pool refuses
 * everything, and whoever lets go of it last frees it. So nobody needs the lock to sign.
 */
#include "hsm/signers.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "hsm/key_maker.h"
#include "hsm/signers_internal.h"
#include "util/clock.h"

struct mm_signers *mm_signers_new(const struct mm_signers_options *options, struct mm_error *err)
{
    struct mm_signers *signers = calloc(1, sizeof *signers);
    if (!signers) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    signers->options = *options;
    (void)pthread_mutex_init(&signers->lock, NULL);
    (void)pthread_cond_init(&signers->changed, NULL);
    return signers;
}

/* For one without a pool, or whose pool has ended. */
static void signer_free(struct mm_signer *signer)
{
    if (!signer)
        return;
    if (signer->pool)
        mm_pool_free(signer->pool);
    mm_pubkey_free(signer->pubkey);
    free(signer->hsm_id);
    free(signer->hsm_label);
    free(signer);
}

MM_DEFINE_CLEANUP(struct mm_signer, signer_free);

static struct mm_signer *signer_new(struct mm_signers *signers, const struct mm_pool_key *key, struct mm_error *err)
{
    const struct mm_config *config = signers->options.config;
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, key->hsm_token, err);
    mm_cleanup(json_decref) json_t *jwk = token ? mm_pubkey_to_jwk(key->pubkey, key->algorithm, err) : NULL;
    if (!jwk)
        return NULL;
    mm_cleanup(signer_free) struct mm_signer *signer = calloc(1, sizeof *signer);
    if (signer) {
        signer->signers = signers;
        signer->pubkey = mm_pubkey_from_jwk(jwk, err);
        signer->hsm_id = strdup(key->hsm_id);
        signer->hsm_label = strdup(key->hsm_label);
    }
    if (!signer || !signer->pubkey || !signer->hsm_id || !signer->hsm_label) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    signer->key = (struct mm_pool_key){signer->pubkey, key->algorithm, token->name, signer->hsm_id, signer->hsm_label};
    signer->token = (size_t)(token - config->hsm_tokens);
    signer->priority = token->priority;
    return MM_TAKE(signer);
}

struct mm_signer *mm_signers_find_locked(const struct mm_signers *signers, const char *kid)
{
    for (size_t i = 0; i < signers->n_listed; i++)
        if (strcmp(mm_signer_kid(signers->listed[i]), kid) == 0)
            return signers->listed[i];
    return NULL;
}

static bool list_locked(struct mm_signers *signers, struct mm_signer *signer, struct mm_error *err)
{
    if (mm_signers_find_locked(signers, mm_signer_kid(signer)))
        return mm_fail(err, MM_INTERNAL, "key %s is there already", mm_signer_kid(signer));
    if (signers->n_listed == MM_SIGNERS_MAX)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "no more than %d keys can be used at once", MM_SIGNERS_MAX);
    if (signers->n_on_token[signer->token] == MM_SIGNERS_PER_TOKEN_MAX)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "HSM token %s: no more than %d of its keys can be used at once",
                       signer->key.hsm_token, MM_SIGNERS_PER_TOKEN_MAX);
    mm_signer_set used = 0;
    for (size_t i = 0; i < signers->n_listed; i++)
        used |= signers->listed[i]->self;
    signer->self = ~used & (used + 1); /* the lowest that is free */
    signer->phase = JOINING;
    signers->listed[signers->n_listed++] = signer;
    signers->n_on_token[signer->token]++;
    return true;
}

static void unlist_locked(struct mm_signers *signers, const struct mm_signer *signer)
{
    size_t i = 0;
    while (signers->listed[i] != signer)
        i++;
    signers->n_listed--;
    memmove(&signers->listed[i], &signers->listed[i + 1], (signers->n_listed - i) * sizeof signers->listed[0]);
}

/* Whoever observes the signers hears of it, too. */
static void on_event(void *context, enum mm_pool_event event, const char *hsm_token, const char *kid,
                     const char *detail)
{
    struct mm_signers *signers = context;
    const struct mm_config *config = signers->options.config;
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, hsm_token, NULL);
    struct mm_signers_word *word = token ? &signers->words[token - config->hsm_tokens] : NULL;
    (void)pthread_mutex_lock(&signers->lock);
    if (word) {
        word->kind = event == MM_POOL_WORKER_READY ? MM_SIGNERS_HEARD_READY : MM_SIGNERS_HEARD_FAILED;
        word->at = mm_clock_now(&MM_SYSTEM_CLOCK);
        (void)snprintf(word->detail, sizeof word->detail, "%s", detail);
    }
    (void)pthread_mutex_unlock(&signers->lock);
    if (signers->options.observer)
        signers->options.observer(signers->options.observer_context, event, hsm_token, kid, detail);
}

/* A pool that works, or that was not to be waited for; NULL otherwise. */
static struct mm_pool *start_pool(struct mm_signers *signers, const struct mm_signer *signer, enum mm_signers_wait wait,
                                  struct mm_error *err)
{
    const struct mm_pool_options options = {
        .config = signers->options.config,
        .launcher = signers->options.launcher,
        .key = signer->key,
        .queue = signers->options.queue,
        .mode = wait == MM_SIGNERS_WAIT ? MM_POOL_ON_TRIAL : MM_POOL_FOR_GOOD,
        .gate = &signers->gates[signer->token],
        .is_draining = &signers->is_draining,
        .observer = on_event,
        .observer_context = signers,
    };
    mm_cleanup(mm_pool_stop) struct mm_pool *pool = mm_pool_start(&options, err);
    if (!pool || (wait == MM_SIGNERS_WAIT && !mm_pool_wait(pool, err)))
        return NULL;
    return MM_TAKE(pool);
}

bool mm_signers_add(struct mm_signers *signers, const struct mm_pool_key *key, enum mm_signers_wait wait,
                    struct mm_error *err)
{
    if (wait == MM_SIGNERS_WAIT && atomic_load(&signers->is_draining))
        return mm_fail(err, MM_SHUTTING_DOWN, "the service is shutting down");
    mm_cleanup(signer_free) struct mm_signer *signer = signer_new(signers, key, err);
    if (!signer)
        return false;
    (void)pthread_mutex_lock(&signers->lock);
    bool is_listed = list_locked(signers, signer, err);
    (void)pthread_mutex_unlock(&signers->lock);
    if (!is_listed)
        return false;
    struct mm_pool *pool = start_pool(signers, signer, wait, err);
    (void)pthread_mutex_lock(&signers->lock);
    signer->pool = pool;
    signer->phase = STANDBY;
    if (!pool) {
        unlist_locked(signers, signer);
        signers->n_on_token[signer->token]--;
    }
    (void)pthread_mutex_unlock(&signers->lock);
    if (!pool)
        return false;
    (void)MM_TAKE(signer);
    return true;
}

/* One that has joined. */
static struct mm_signer *find_joined_locked(const struct mm_signers *signers, const char *kid, struct mm_error *err)
{
    struct mm_signer *signer = mm_signers_find_locked(signers, kid);
    if (signer && signer->phase != JOINING)
        return signer;
    (void)mm_fail(err, MM_NOT_FOUND, "key %s has no workers", kid);
    return NULL;
}

bool mm_signers_activate(struct mm_signers *signers, const char *kid, struct mm_error *err)
{
    (void)pthread_mutex_lock(&signers->lock);
    struct mm_signer *signer = find_joined_locked(signers, kid, err);
    if (signer)
        signer->phase = ACTIVE;
    (void)pthread_mutex_unlock(&signers->lock);
    return signer != NULL;
}

bool mm_signers_remove(struct mm_signers *signers, const char *kid, int64_t deadline_ns, struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(deadline_ns);
    (void)pthread_mutex_lock(&signers->lock);
    struct mm_signer *signer = find_joined_locked(signers, kid, err);
    if (signer) {
        unlist_locked(signers, signer);
        signer->phase = LEAVING;
    }
    while (signer && signer->n_users > 0 && mm_monotonic_ns() < deadline_ns)
        (void)pthread_cond_clockwait(&signers->changed, &signers->lock, CLOCK_MONOTONIC, &until);
    (void)pthread_mutex_unlock(&signers->lock);
    if (!signer)
        return false;
    mm_pool_end(signer->pool);
    (void)pthread_mutex_lock(&signers->lock);
    signers->n_on_token[signer->token]--;
    signer->phase = GONE;
    bool is_unused = signer->n_users == 0;
    (void)pthread_mutex_unlock(&signers->lock);
    if (is_unused)
        signer_free(signer);
    return true;
}

static bool is_better_locked(const struct mm_signer *a, const struct mm_signer *b)
{
    bool a_serves = mm_pool_is_serving(a->pool);
    if (a_serves != mm_pool_is_serving(b->pool))
        return a_serves;
    return a->priority != b->priority ? a->priority > b->priority : a->n_users < b->n_users;
}

static bool is_candidate_locked(const struct mm_signer *signer, enum mm_algorithm algorithm, mm_signer_set tried)
{
    return signer->phase == ACTIVE && signer->key.algorithm == algorithm && !(signer->self & tried);
}

static struct mm_signer *pick_locked(struct mm_signers *signers, enum mm_algorithm algorithm, mm_signer_set tried)
{
    struct mm_signer *best = NULL;
    size_t place = 0;
    for (size_t i = 0; i < signers->n_listed; i++) {
        size_t next = (signers->turn + i) % signers->n_listed;
        struct mm_signer *signer = signers->listed[next];
        if (is_candidate_locked(signer, algorithm, tried) && (!best || is_better_locked(signer, best))) {
            best = signer;
            place = next;
        }
    }
    if (best) {
        signers->turn = place + 1;
        best->n_users++;
    }
    return best;
}

struct mm_signer *mm_signers_pick(struct mm_signers *signers, enum mm_algorithm algorithm, mm_signer_set *tried,
                                  struct mm_error *err)
{
    (void)pthread_mutex_lock(&signers->lock);
    struct mm_signer *signer = pick_locked(signers, algorithm, *tried);
    (void)pthread_mutex_unlock(&signers->lock);
    if (signer)
        *tried |= signer->self;
    else
        (void)mm_fail(err, MM_HSM_UNAVAILABLE, "no %sactive key signs %s", *tried ? "other " : "",
                      mm_algorithm_name(algorithm));
    return signer;
}

void mm_signer_unref(struct mm_signer *signer)
{
    if (!signer)
        return;
    struct mm_signers *signers = signer->signers;
    (void)pthread_mutex_lock(&signers->lock);
    assert(signer->n_users > 0);
    bool is_unused = --signer->n_users == 0;
    bool is_last = is_unused && signer->phase == GONE;
    if (is_unused && signer->phase == LEAVING)
        (void)pthread_cond_broadcast(&signers->changed);
    (void)pthread_mutex_unlock(&signers->lock);
    if (is_last)
        signer_free(signer);
}

const char *mm_signer_kid(const struct mm_signer *signer)
{
    return mm_pubkey_thumbprint(signer->pubkey);
}

bool mm_signers_generate(struct mm_signers *signers, const char *hsm_token, enum mm_algorithm algorithm,
                         json_t **ret_key, struct mm_error *err)
{
    const struct mm_config *config = signers->options.config;
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, hsm_token, err);
    if (!token)
        return false;
    const struct mm_key_maker maker = {
        .config = config,
        .launcher = signers->options.launcher,
        .spec = (size_t)(token - config->hsm_tokens),
        .gate = &signers->gates[token - config->hsm_tokens],
        .algorithm = algorithm,
        .is_cancelled = &signers->is_draining,
    };
    return mm_key_maker_run(&maker, ret_key, err);
}

void mm_signers_drain(struct mm_signers *signers)
{
    atomic_store(&signers->is_draining, true);
}

static bool has_other_locked(const struct mm_signers *signers, enum mm_algorithm algorithm, mm_signer_set tried)
{
    for (size_t i = 0; i < signers->n_listed; i++)
        if (is_candidate_locked(signers->listed[i], algorithm, tried) && mm_pool_is_serving(signers->listed[i]->pool))
            return true;
    return false;
}

bool mm_signer_sign(struct mm_signer *signer, const struct mm_pool_order *order, mm_signer_set tried, mm_pool_done done,
                    void *context, struct mm_error *err)
{
    struct mm_signers *signers = signer->signers;
    struct mm_pool_order chosen = *order;
    (void)pthread_mutex_lock(&signers->lock);
    bool has_other = has_other_locked(signers, signer->key.algorithm, tried | signer->self);
    (void)pthread_mutex_unlock(&signers->lock);
    chosen.patience = has_other ? MM_POOL_IMPATIENT : MM_POOL_PATIENT;
    return mm_pool_sign(signer->pool, &chosen, done, context, err);
}

void mm_signers_stop(struct mm_signers *signers)
{
    if (!signers)
        return;
    mm_signers_drain(signers);
    /* All at once: one that hangs takes its time. */
    for (size_t i = 0; i < signers->n_listed; i++)
        mm_pool_begin_end(signers->listed[i]->pool);
    for (size_t i = 0; i < signers->n_listed; i++) {
        assert(signers->listed[i]->n_users == 0 && signers->listed[i]->phase != JOINING);
        mm_pool_end(signers->listed[i]->pool);
        signer_free(signers->listed[i]);
    }
    (void)pthread_cond_destroy(&signers->changed);
    (void)pthread_mutex_destroy(&signers->lock);
    free(signers);
}
