/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/supply.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    TICK_MS = 250,
    TURN_MS = 45000, /* for another generation to end */
    RETRY_MIN_S = 5,
    RETRY_MAX_S = 7200, /* so that a whole day of failures stays below MM_GENERATIONS_PER_DAY */
    RETRY_DOUBLINGS = 12,
};

struct mm_supply {
    /* immutable after mm_supply_start() */
    struct mm_supply_parts parts;
    const struct mm_hsm_token_config *sources[MM_HSM_TOKENS_MAX]; /* highest priority first */
    size_t n_sources;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* a generation has ended, or there is to be none */
    /* guarded by lock */
    bool is_stopping;
    bool is_draining;
    bool is_busy;     /* one thread generates */
    unsigned n_tries; /* for one need, without its being met */
    int64_t next_ns;  /* monotonic: the thread tries nothing before */
    struct mm_supply_state state;
};

/* What a key is generated for, and where. */
struct task {
    enum mm_algorithm algorithm;
    const char *hsm_token;
    const char *purpose; /* MM_GENERATED_FOR_… */
    const struct mm_key_author *author;
    enum { NOT_RECORDED, RECORDED } state; /* whether the ledger tells that it was begun */
};

static const struct mm_key_author STANDBY = {"mintmarkd", "keys.standby"};
static const struct mm_key_author SCHEDULE = {"mintmarkd", "keys.rotate_every"};
static const struct mm_key_author RESUMED = {"mintmarkd", "a rotation that a restart cut off"};

/* What the keeper knows at one moment. */
struct view {
    struct mm_key_plan plan;
    struct mm_keyring *keyring; /* a reference */
    struct mm_key_moment moment;
};

static void view_clear_cleanup(struct view *view)
{
    mm_keyring_unref(view->keyring);
}

static struct view look(const struct mm_supply *supply)
{
    struct mm_keeper *keeper = supply->parts.keeper;
    return (struct view){mm_keeper_plan(keeper), mm_keeper_keyring(keeper), mm_keeper_moment(keeper)};
}

/* --- one at a time */

static bool take_turn(struct mm_supply *supply, int64_t deadline_ns, struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(deadline_ns);
    int status = 0;
    (void)pthread_mutex_lock(&supply->lock);
    while (supply->is_busy && !supply->is_draining && status == 0)
        status = pthread_cond_clockwait(&supply->wake, &supply->lock, CLOCK_MONOTONIC, &until);
    bool is_draining = supply->is_draining;
    bool is_begun = !supply->is_busy && !is_draining;
    supply->is_busy = supply->is_busy || is_begun;
    (void)pthread_mutex_unlock(&supply->lock);
    return is_begun || mm_fail(err, is_draining ? MM_SHUTTING_DOWN : MM_OVERLOADED, "%s",
                               is_draining ? "stopping" : "another key is still being generated");
}

static void end_turn(struct mm_supply *supply)
{
    (void)pthread_mutex_lock(&supply->lock);
    supply->is_busy = false;
    (void)pthread_cond_broadcast(&supply->wake);
    (void)pthread_mutex_unlock(&supply->lock);
}

/* --- generating; by whoever has the turn, as all that follows */

static bool note(const struct mm_supply *supply, enum mm_entry_type type, const struct task *task, const char *detail,
                 struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss ss*}", "alg", mm_algorithm_name(task->algorithm), "hsm_token", task->hsm_token, "for",
                  task->purpose, "detail", detail);
    return mm_keeper_note_generation(supply->parts.keeper, type, fields, task->author, err);
}

static bool check_quota(const struct mm_supply *supply, struct mm_error *err)
{
    int64_t from;
    char text[MM_TIMESTAMP_MAX];
    mm_cleanup(view_clear) struct view view = look(supply);
    if (mm_keyring_may_generate(view.keyring, view.moment.now, &from))
        return true;
    mm_timestamp(from, text);
    return mm_fail(err, MM_KEY_LIMIT, "%d keys were asked for within a day: the next may be from %s on",
                   MM_GENERATIONS_PER_DAY, text);
}

/* A new key, staged. */
static bool generate(const struct mm_supply *supply, struct task *task, struct mm_error *err)
{
    const struct mm_supply_effects *effects = &supply->parts.effects;
    mm_cleanup(json_decref) json_t *key = NULL;
    if (!check_quota(supply, err) || !note(supply, MM_ENTRY_KEY_GENERATING, task, NULL, err))
        return false;
    task->state = RECORDED;
    if (!effects->generate(effects->context, task->hsm_token, task->algorithm, &key, err) ||
        !mm_keeper_stage(supply->parts.keeper, key, task->author, err))
        return false;
    effects->told(effects->context, task->hsm_token, mm_json_string(key, "kid"), task->author, NULL);
    return true;
}

/* Whoever wanted it knows that nothing comes of it; a service that ends is another matter: that is carried on. */
static void give_up(const struct mm_supply *supply, const struct task *task, const struct mm_error *why)
{
    struct mm_error lost = {0};
    const struct mm_supply_effects *effects = &supply->parts.effects;
    if (task->state == RECORDED && why->code != MM_SHUTTING_DOWN &&
        !note(supply, MM_ENTRY_KEY_NOT_GENERATED, task, why->message, &lost))
        effects->told(effects->context, task->hsm_token, NULL, task->author, &lost);
}

static bool generate_and_rotate(const struct mm_supply *supply, struct task *task, char *ret_kid, struct mm_error *err)
{
    const struct mm_rotation_order rotation = {task->algorithm, task->hsm_token};
    return generate(supply, task, err) && mm_keeper_rotate(supply->parts.keeper, &rotation, task->author, ret_kid, err);
}

/* NULL: the configuration lets none be generated there. */
static const struct mm_hsm_token_config *find_source(const struct mm_supply *supply, const char *hsm_token)
{
    for (size_t i = 0; i < supply->n_sources; i++)
        if (!hsm_token || strcmp(supply->sources[i]->name, hsm_token) == 0)
            return supply->sources[i];
    return NULL;
}

/* Whether a rotation there needs no new key: it has one, or is refused anyway. */
static bool needs_no_key(const struct mm_supply *supply, const struct mm_rotation_order *rotation)
{
    mm_cleanup(view_clear) struct view view = look(supply);
    return !mm_algorithms_have(view.plan.algorithms, rotation->algorithm) ||
           mm_plan_in_the_way(view.keyring, rotation) || mm_plan_candidate(&view.plan, view.keyring, rotation);
}

bool mm_supply_rotate(struct mm_supply *supply, const struct mm_rotation_order *rotation,
                      const struct mm_key_author *author, char *ret_kid, struct mm_error *err)
{
    if (rotation->hsm_token && !mm_config_hsm_token(supply->parts.config, rotation->hsm_token, NULL))
        return mm_fail(err, MM_INVALID_REQUEST, "no HSM token of the configuration is called %.64s",
                       rotation->hsm_token);
    const struct mm_hsm_token_config *source = find_source(supply, rotation->hsm_token);
    if (!source || needs_no_key(supply, rotation))
        return mm_keeper_rotate(supply->parts.keeper, rotation, author, ret_kid, err);
    if (!take_turn(supply, mm_deadline_after_ms(TURN_MS), err))
        return false;
    struct mm_error why = {0};
    struct task task = {.algorithm = rotation->algorithm,
                        .hsm_token = source->name,
                        .purpose = MM_GENERATED_FOR_ROTATION,
                        .author = author};
    if (needs_no_key(supply, rotation)) { /* by now */
        end_turn(supply);
        return mm_keeper_rotate(supply->parts.keeper, rotation, author, ret_kid, err);
    }
    bool is_begun = generate_and_rotate(supply, &task, ret_kid, &why);
    if (!is_begun)
        give_up(supply, &task, &why);
    end_turn(supply);
    return is_begun ||
           mm_fail(err, why.code, "a key on HSM token %s was to be generated: %s", source->name, why.message);
}

/* --- by itself */

/* A rotation whose key was yet to be generated when the service ended. It is given up only where it can't be any more. */
static bool resume(const struct mm_supply *supply, const struct view *view, struct task *task, struct mm_error *err)
{
    char kid[MM_THUMBPRINT_LENGTH + 1];
    const struct mm_rotation_order rotation = {task->algorithm, task->hsm_token};
    bool has_key = mm_plan_candidate(&view->plan, view->keyring, &rotation) != NULL;
    if (!mm_algorithms_have(view->plan.algorithms, task->algorithm) ||
        (!has_key && !find_source(supply, task->hsm_token))) {
        task->state = RECORDED;
        (void)mm_fail(err, MM_CONFIG_INVALID, "the configuration doesn't allow it any more");
        give_up(supply, task, err);
        return false;
    }
    return has_key ? mm_keeper_rotate(supply->parts.keeper, &rotation, task->author, kid, err)
                   : generate_and_rotate(supply, task, kid, err);
}

static bool provide(const struct mm_supply *supply, enum mm_key_need need, struct task *task, struct mm_error *err)
{
    char kid[MM_THUMBPRINT_LENGTH + 1];
    bool is_done = need == MM_NEED_ROTATION ? generate_and_rotate(supply, task, kid, err) : generate(supply, task, err);
    if (!is_done)
        give_up(supply, task, err);
    return is_done;
}

/* Seconds until the next try. */
static int64_t delay(unsigned n_tries)
{
    unsigned doublings = n_tries < RETRY_DOUBLINGS ? n_tries : RETRY_DOUBLINGS;
    int64_t seconds = (int64_t)RETRY_MIN_S << doublings;
    return seconds < RETRY_MAX_S ? seconds : RETRY_MAX_S;
}

/* A try counts whatever came of it: a key that then proves unfit is a failure, too. `why` is told unless it is known. */
static void settle(struct mm_supply *supply, const struct task *task, const struct mm_error *why)
{
    const struct mm_supply_effects *effects = &supply->parts.effects;
    (void)pthread_mutex_lock(&supply->lock);
    struct mm_supply_state *state = &supply->state;
    int64_t now = mm_clock_now(supply->parts.clock);
    int64_t wait = delay(supply->n_tries++);
    bool is_known =
        state->failed_at > 0 && state->why.code == why->code && strcmp(state->why.message, why->message) == 0;
    supply->next_ns = mm_deadline_after_ms(wait * 1000);
    *state = (struct mm_supply_state){0};
    if (why->code != MM_OK) {
        *state = (struct mm_supply_state){.failed_at = now, .next_at = now + wait, .why = *why};
        (void)snprintf(state->hsm_token, sizeof state->hsm_token, "%s", task->hsm_token);
    }
    (void)pthread_mutex_unlock(&supply->lock);
    if (why->code != MM_OK && !is_known)
        effects->told(effects->context, task->hsm_token, NULL, task->author, why);
}

static void forget_failures(struct mm_supply *supply)
{
    (void)pthread_mutex_lock(&supply->lock);
    supply->n_tries = 0;
    supply->next_ns = 0;
    supply->state = (struct mm_supply_state){0};
    (void)pthread_mutex_unlock(&supply->lock);
}

/* What lacks keys: the n-th of the algorithms that do. */
static enum mm_key_need find_need(const struct view *view, unsigned n, enum mm_algorithm *ret_algorithm)
{
    enum mm_key_need needs[MM_N_ALGORITHMS];
    unsigned n_lacking = 0;
    enum mm_key_need none = MM_NEED_NOTHING;
    for (int i = 0; i < MM_N_ALGORITHMS; i++) {
        needs[i] = mm_plan_need(&view->plan, view->keyring, (enum mm_algorithm)i, &view->moment);
        n_lacking += needs[i] == MM_NEED_STANDBY || needs[i] == MM_NEED_ROTATION;
        none = needs[i] == MM_NEED_IS_MET ? needs[i] : none;
    }
    for (int i = 0, skipped = (int)(n_lacking ? n % n_lacking : 0); n_lacking && i < MM_N_ALGORITHMS; i++) {
        if ((needs[i] != MM_NEED_STANDBY && needs[i] != MM_NEED_ROTATION) || skipped-- > 0)
            continue;
        *ret_algorithm = (enum mm_algorithm)i;
        return needs[i];
    }
    return none;
}

/* What is wanted now, if anything is. The best HSM token first, and after a failure the next one; algorithms take turns, too. */
static enum mm_key_need find_task(const struct mm_supply *supply, const struct view *view, unsigned n_tries,
                                  struct task *ret_task)
{
    const struct mm_key_want *want = mm_keyring_wanted(view->keyring);
    enum mm_algorithm algorithm = MM_ES256;
    if (want) {
        *ret_task = (struct task){want->algorithm, want->hsm_token, MM_GENERATED_FOR_ROTATION, &RESUMED, NOT_RECORDED};
        return mm_keyring_successor(view->keyring, want->algorithm) ? MM_NEED_IS_MET : MM_NEED_ROTATION;
    }
    if (supply->n_sources == 0)
        return MM_NEED_NOTHING;
    enum mm_key_need need = find_need(view, n_tries, &algorithm);
    bool rotates = need == MM_NEED_ROTATION;
    *ret_task = (struct task){algorithm, supply->sources[n_tries % supply->n_sources]->name,
                              rotates ? MM_GENERATED_FOR_ROTATION : MM_GENERATED_FOR_STANDBY,
                              rotates ? &SCHEDULE : &STANDBY, NOT_RECORDED};
    return need;
}

/* Where nothing is wanted any more that is seen at once; what is wanted is tried in its time. */
static void tend(struct mm_supply *supply, unsigned n_tries, bool is_time)
{
    struct mm_error why = {0};
    struct task task;
    mm_cleanup(view_clear) struct view view = look(supply);
    enum mm_key_need need = find_task(supply, &view, n_tries, &task);
    if (need == MM_NEED_NOTHING)
        forget_failures(supply);
    if (need == MM_NEED_NOTHING || need == MM_NEED_IS_MET || !is_time)
        return;
    bool is_done =
        mm_keyring_wanted(view.keyring) ? resume(supply, &view, &task, &why) : provide(supply, need, &task, &why);
    if (is_done || why.code != MM_SHUTTING_DOWN)
        settle(supply, &task, &why);
}

static void *mind(void *context)
{
    struct mm_supply *supply = context;
    (void)pthread_mutex_lock(&supply->lock);
    while (!supply->is_stopping) {
        struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(TICK_MS));
        (void)pthread_cond_clockwait(&supply->wake, &supply->lock, CLOCK_MONOTONIC, &until);
        if (supply->is_stopping || supply->is_draining || supply->is_busy)
            continue;
        unsigned n_tries = supply->n_tries;
        bool is_time = mm_monotonic_ns() >= supply->next_ns;
        supply->is_busy = true;
        (void)pthread_mutex_unlock(&supply->lock);
        tend(supply, n_tries, is_time);
        end_turn(supply);
        (void)pthread_mutex_lock(&supply->lock);
    }
    (void)pthread_mutex_unlock(&supply->lock);
    return NULL;
}

struct mm_supply_state mm_supply_state(struct mm_supply *supply)
{
    (void)pthread_mutex_lock(&supply->lock);
    struct mm_supply_state state = supply->state;
    (void)pthread_mutex_unlock(&supply->lock);
    return state;
}

/* In the order of the configuration where priorities are equal. */
static void sort_sources(struct mm_supply *supply)
{
    const struct mm_config *config = supply->parts.config;
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        const struct mm_hsm_token_config *token = &config->hsm_tokens[i];
        size_t place = supply->n_sources;
        if (token->service_keys < 1)
            continue;
        for (; place > 0 && supply->sources[place - 1]->priority < token->priority; place--)
            supply->sources[place] = supply->sources[place - 1];
        supply->sources[place] = token;
        supply->n_sources++;
    }
}

static void supply_free(struct mm_supply *supply)
{
    (void)pthread_cond_destroy(&supply->wake);
    (void)pthread_mutex_destroy(&supply->lock);
    free(supply);
}

struct mm_supply *mm_supply_start(const struct mm_supply_parts *parts, struct mm_error *err)
{
    struct mm_supply *supply = calloc(1, sizeof *supply);
    if (!supply) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    supply->parts = *parts;
    sort_sources(supply);
    (void)pthread_mutex_init(&supply->lock, NULL);
    (void)pthread_cond_init(&supply->wake, NULL);
    if (pthread_create(&supply->thread, NULL, mind, supply) == 0)
        return supply;
    (void)mm_fail(err, MM_INTERNAL, "can't start the supply's thread");
    supply_free(supply);
    return NULL;
}

void mm_supply_drain(struct mm_supply *supply)
{
    if (!supply)
        return;
    (void)pthread_mutex_lock(&supply->lock);
    supply->is_draining = true;
    (void)pthread_cond_broadcast(&supply->wake);
    (void)pthread_mutex_unlock(&supply->lock);
}

void mm_supply_stop(struct mm_supply *supply)
{
    if (!supply)
        return;
    (void)pthread_mutex_lock(&supply->lock);
    supply->is_stopping = true;
    (void)pthread_cond_broadcast(&supply->wake);
    (void)pthread_mutex_unlock(&supply->lock);
    (void)pthread_join(supply->thread, NULL);
    supply_free(supply);
}
