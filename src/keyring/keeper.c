/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/keeper.h"

#include <pthread.h>
#include <string.h>

enum {
    TICK_MS = 250,
    RETRY_MS = 5000,   /* after something due couldn't be done */
    CHANGE_MS = 45000, /* for another change to end: it may wait for an HSM's login */
    RECORD_MS = 60000, /* past it nobody knows whether an entry is in the ledger */
    REASON_MAX = 1024,
};

struct mm_keeper {
    /* immutable after mm_keeper_start() */
    struct mm_keeper_parts parts;
    pthread_t thread;

    /* belongs to whoever changes a key */
    enum { SURE, UNSURE } record;   /* unsure: an entry may or may not be in the ledger */
    enum { SHOWN, NOT_SHOWN } view; /* whether verifiers see the keyring in force */

    pthread_mutex_t lock;
    pthread_cond_t wake; /* something may be due, or a change has ended */
    /* guarded by lock */
    bool is_stopping;
    bool is_changing; /* one thread changes keys, and it alone replaces the keyring */
    struct mm_keyring *keyring;
    int64_t anchor_unix; /* the time that was trusted at anchor_ns */
    int64_t anchor_ns;
    int64_t run_since;
};

/* Follows the clock back, but never faster ahead than time passes: a clock that jumps ahead makes nothing due. */
static struct mm_key_moment moment_locked(struct mm_keeper *keeper)
{
    int64_t now_ns = mm_monotonic_ns();
    int64_t wall = mm_clock_now(keeper->parts.clock);
    int64_t steady = keeper->anchor_unix + (now_ns - keeper->anchor_ns) / 1000000000;
    if (wall < steady) {
        keeper->anchor_unix = wall;
        keeper->anchor_ns = now_ns;
        steady = wall;
    }
    if (steady < keeper->run_since)
        keeper->run_since = steady;
    return (struct mm_key_moment){steady, keeper->run_since};
}

struct mm_key_moment mm_keeper_moment(struct mm_keeper *keeper)
{
    (void)pthread_mutex_lock(&keeper->lock);
    struct mm_key_moment moment = moment_locked(keeper);
    (void)pthread_mutex_unlock(&keeper->lock);
    return moment;
}

const struct mm_key_plan *mm_keeper_plan(const struct mm_keeper *keeper)
{
    return &keeper->parts.plan;
}

struct mm_keyring *mm_keeper_keyring(struct mm_keeper *keeper)
{
    (void)pthread_mutex_lock(&keeper->lock);
    struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
    (void)pthread_mutex_unlock(&keeper->lock);
    return keyring;
}

static bool begin_change(struct mm_keeper *keeper, struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(CHANGE_MS));
    int status = 0;
    (void)pthread_mutex_lock(&keeper->lock);
    while (keeper->is_changing && status == 0)
        status = pthread_cond_clockwait(&keeper->wake, &keeper->lock, CLOCK_MONOTONIC, &until);
    bool is_begun = !keeper->is_changing;
    keeper->is_changing = true;
    (void)pthread_mutex_unlock(&keeper->lock);
    return is_begun || mm_fail(err, MM_OVERLOADED, "another change of the keys is still being made");
}

static void end_change(struct mm_keeper *keeper)
{
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->is_changing = false;
    (void)pthread_cond_broadcast(&keeper->wake);
    (void)pthread_mutex_unlock(&keeper->lock);
}

static void tell(const struct mm_keeper *keeper, const char *what, const char *kid, const struct mm_key_author *author,
                 const struct mm_error *why)
{
    keeper->parts.effects.told(keeper->parts.effects.context, what, kid, author, why);
}

/* By whoever changes a key, as all that follows. */
static void show(struct mm_keeper *keeper)
{
    static const struct mm_key_author OURSELVES = {"mintmarkd", ""};
    struct mm_error why = {0};
    bool is_shown = keeper->parts.effects.show(keeper->parts.effects.context, keeper->keyring, &why);
    if (!is_shown && keeper->view == SHOWN)
        tell(keeper, "show", NULL, &OURSELVES, &why);
    keeper->view = is_shown ? SHOWN : NOT_SHOWN;
}

static void replace(struct mm_keeper *keeper, struct mm_keyring *after)
{
    (void)pthread_mutex_lock(&keeper->lock);
    struct mm_keyring *before = keeper->keyring;
    keeper->keyring = after;
    (void)pthread_mutex_unlock(&keeper->lock);
    mm_keyring_unref(before);
}

/* Record an entry, and go on with what the ledger says then. `fields` is the caller's. */
static bool record(struct mm_keeper *keeper, enum mm_entry_type type, json_t *fields,
                   const struct mm_key_author *author, struct mm_error *err)
{
    struct mm_error why = {0};
    struct mm_receipt receipt;
    mm_cleanup(json_decref) json_t *who = json_pack("{ss ss}", "by", author->by, "reason", author->reason);
    if (!fields || !who || json_object_update(fields, who) != 0)
        return mm_fail(err, MM_NO_MEMORY, "the entry can't be built: out of memory, or not UTF-8");
    if (keeper->record == UNSURE)
        return mm_fail(err, MM_LEDGER_UNAVAILABLE,
                       "an earlier change may or may not be in the ledger: restart the service");
    /* Whether it may follow is known before anything is durable. */
    mm_cleanup(mm_keyring_unref) struct mm_keyring *trial =
        mm_keyring_after(keeper->keyring, type, fields, mm_clock_now(keeper->parts.clock), &why);
    if (!trial)
        return mm_fail(err, why.code == MM_LEDGER_CORRUPT ? MM_KEY_STATE : why.code, "%s", why.message);
    if (!mm_ledger_append(keeper->parts.ledger, type, fields, mm_deadline_after_ms(RECORD_MS), &receipt, &why)) {
        keeper->record = why.code == MM_DEADLINE_EXCEEDED ? UNSURE : SURE;
        return mm_fail(err, why.code, "%s", why.message);
    }
    /* By the clock after the entry's: never earlier than what a restart will read. */
    struct mm_keyring *after = mm_keyring_after(keeper->keyring, type, fields, mm_clock_now(keeper->parts.clock), &why);
    if (!after) {
        keeper->record = UNSURE;
        return mm_fail(err, why.code, "recorded, but not in force until the service is restarted: %s", why.message);
    }
    replace(keeper, after);
    show(keeper);
    return true;
}

static json_t *change_fields(struct mm_keeper *keeper, const struct mm_key_order *order)
{
    if (order->change != MM_KEY_RETIRE)
        return json_pack("{ss}", "kid", order->kid);
    /* No token of an earlier run, and none that this one has issued by now. */
    int64_t bound = mm_keyring_exp_bound(keeper->keyring);
    int64_t ours = mm_clock_now(keeper->parts.clock) + 1 + keeper->parts.plan.max_ttl;
    return json_pack("{ss sI}", "kid", order->kid, "last_exp", (json_int_t)(ours > bound ? ours : bound));
}

/* Checked already. */
static bool carry_out(struct mm_keeper *keeper, const struct mm_key_order *order, const struct mm_key_author *author,
                      struct mm_error *err)
{
    static const enum mm_entry_type TYPES[MM_N_KEY_CHANGES] = {
        [MM_KEY_PUBLISH] = MM_ENTRY_KEY_PUBLISHED, [MM_KEY_ACTIVATE] = MM_ENTRY_KEY_ACTIVATED,
        [MM_KEY_RETIRE] = MM_ENTRY_KEY_RETIRING,   [MM_KEY_WITHDRAW] = MM_ENTRY_KEY_RETIRED,
        [MM_KEY_REVOKE] = MM_ENTRY_KEY_REVOKED,    [MM_KEY_DESTROY] = MM_ENTRY_KEY_DESTROYED,
    };
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *before = mm_keyring_ref(keeper->keyring);
    const struct mm_key *key = mm_keyring_find(before, order->kid);
    bool signs = key->life.state == MM_KEY_ACTIVE;
    if (order->change == MM_KEY_PUBLISH && !effects->vet(effects->context, key, err))
        return false;
    if (order->change == MM_KEY_ACTIVATE && !effects->take_in(effects->context, key, err))
        return false;
    if (signs)
        effects->take_out(effects->context, key);
    mm_cleanup(json_decref) json_t *fields = change_fields(keeper, order);
    if (record(keeper, TYPES[order->change], fields, author, err)) {
        tell(keeper, mm_key_change_name(order->change), order->kid, author, NULL);
        return true;
    }
    /* As it was; only a key that was to be revoked doesn't sign again. */
    struct mm_error lost = {0};
    if (order->change == MM_KEY_ACTIVATE)
        effects->take_out(effects->context, key);
    else if (signs && order->change != MM_KEY_REVOKE && !effects->take_in(effects->context, key, &lost))
        tell(keeper, "take_in", key->kid, author, &lost);
    return false;
}

/* On a bad day there must be another to sign, if there is any at all. */
static void activate_standby(struct mm_keeper *keeper, const struct mm_key *revoked, const struct mm_key_author *author)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
    if (mm_keyring_count(keyring, revoked->algorithm, MM_KEY_ACTIVE) > 1)
        return;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        struct mm_error why = {0};
        if (key->life.state != MM_KEY_PUBLISHED || key->algorithm != revoked->algorithm)
            continue;
        if (carry_out(keeper, &(struct mm_key_order){MM_KEY_ACTIVATE, key->kid}, author, &why))
            return;
        tell(keeper, mm_key_change_name(MM_KEY_ACTIVATE), key->kid, author, &why);
    }
}

static bool check_author(const struct mm_key_author *author, struct mm_error *err)
{
    return strlen(author->by) + strlen(author->reason) <= REASON_MAX ||
           mm_fail(err, MM_INVALID_REQUEST, "a reason of more than %d bytes", REASON_MAX);
}

bool mm_keeper_change(struct mm_keeper *keeper, const struct mm_key_order *order, const struct mm_key_author *author,
                      struct mm_error *err)
{
    if (!check_author(author, err) || !begin_change(keeper, err))
        return false;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *before = mm_keyring_ref(keeper->keyring);
    bool is_done = mm_plan_check(&keeper->parts.plan, before, order, &moment, err);
    if (is_done && order->change == MM_KEY_REVOKE && mm_keyring_find(before, order->kid)->life.state == MM_KEY_ACTIVE)
        activate_standby(keeper, mm_keyring_find(before, order->kid), author);
    is_done = is_done && carry_out(keeper, order, author, err);
    end_change(keeper);
    return is_done;
}

bool mm_keeper_stage(struct mm_keeper *keeper, const json_t *entry, const struct mm_key_author *author,
                     struct mm_error *err)
{
    if (!check_author(author, err) || !begin_change(keeper, err))
        return false;
    const char *kid = mm_json_string(entry, "kid");
    mm_cleanup(json_decref) json_t *fields = json_copy((json_t *)(uintptr_t)entry);
    bool is_done = record(keeper, MM_ENTRY_KEY_STAGED, fields, author, err);
    if (is_done)
        tell(keeper, "stage", kid, author, NULL);
    end_change(keeper);
    return is_done;
}

static bool rotate(struct mm_keeper *keeper, const char *hsm_token, const struct mm_key_author *author, char *ret_kid,
                   struct mm_error *err)
{
    const struct mm_key_plan *plan = &keeper->parts.plan;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
    const struct mm_key *under_way = mm_keyring_successor(keyring);
    const struct mm_key *key = mm_plan_candidate(plan, keyring, hsm_token);
    if (under_way)
        return mm_fail(err, MM_KEY_STATE, "a rotation to key %s is under way", under_way->kid);
    if (!key)
        return mm_fail(err, MM_KEY_STATE, "no key for it is published or staged%s%s: generate and stage one",
                       hsm_token ? " on HSM token " : "", hsm_token ? hsm_token : "");
    const struct mm_key_order publish = {MM_KEY_PUBLISH, key->kid};
    if (key->life.state == MM_KEY_STAGED &&
        (!mm_plan_check(plan, keyring, &publish, &moment, err) || !carry_out(keeper, &publish, author, err)))
        return false;
    mm_cleanup(json_decref) json_t *fields = json_pack("{ss}", "kid", key->kid);
    if (!record(keeper, MM_ENTRY_KEY_ROTATION, fields, author, err))
        return false;
    tell(keeper, "rotate", key->kid, author, NULL);
    memcpy(ret_kid, key->kid, MM_THUMBPRINT_LENGTH + 1);
    return true;
}

bool mm_keeper_rotate(struct mm_keeper *keeper, const char *hsm_token, const struct mm_key_author *author,
                      char *ret_kid, struct mm_error *err)
{
    if (!check_author(author, err) || !begin_change(keeper, err))
        return false;
    bool is_begun = rotate(keeper, hsm_token, author, ret_kid, err);
    end_change(keeper);
    return is_begun;
}

/* Everything that is due, one after another; false if something couldn't be done. */
static bool do_due(struct mm_keeper *keeper)
{
    static const struct mm_key_author TIME = {"mintmarkd", "due"};
    static const struct mm_key_author SCHEDULE = {"mintmarkd", "keys.rotate_every"};
    const struct mm_key_plan *plan = &keeper->parts.plan;
    char kid[MM_THUMBPRINT_LENGTH + 1];
    if (keeper->view == NOT_SHOWN)
        show(keeper);
    for (;;) {
        struct mm_error why = {0};
        struct mm_key_order order;
        struct mm_key_moment moment = mm_keeper_moment(keeper);
        mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
        bool wants_rotation = mm_plan_is_rotation_due(plan, keyring, &moment);
        if (wants_rotation && !rotate(keeper, NULL, &SCHEDULE, kid, &why))
            tell(keeper, "rotate", NULL, &SCHEDULE, &why);
        else if (!wants_rotation && !mm_plan_due(plan, keyring, &moment, &order))
            return true;
        else if (!wants_rotation && !carry_out(keeper, &order, &TIME, &why))
            tell(keeper, mm_key_change_name(order.change), order.kid, &TIME, &why);
        if (why.code != MM_OK)
            return false;
    }
}

static void *mind(void *context)
{
    struct mm_keeper *keeper = context;
    int64_t not_before = 0;
    (void)pthread_mutex_lock(&keeper->lock);
    while (!keeper->is_stopping) {
        struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(TICK_MS));
        (void)pthread_cond_clockwait(&keeper->wake, &keeper->lock, CLOCK_MONOTONIC, &until);
        if (keeper->is_stopping || keeper->is_changing || mm_monotonic_ns() < not_before)
            continue;
        keeper->is_changing = true;
        (void)pthread_mutex_unlock(&keeper->lock);
        not_before = do_due(keeper) ? 0 : mm_deadline_after_ms(RETRY_MS);
        end_change(keeper);
        (void)pthread_mutex_lock(&keeper->lock);
    }
    (void)pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

static void keeper_free(struct mm_keeper *keeper)
{
    mm_keyring_unref(keeper->keyring);
    (void)pthread_cond_destroy(&keeper->wake);
    (void)pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}

struct mm_keeper *mm_keeper_start(const struct mm_keeper_parts *parts, struct mm_keyring *keyring, struct mm_error *err)
{
    struct mm_keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    keeper->parts = *parts;
    keeper->keyring = mm_keyring_ref(keyring);
    keeper->anchor_unix = mm_clock_now(parts->clock);
    keeper->anchor_ns = mm_monotonic_ns();
    keeper->run_since = keeper->anchor_unix;
    (void)pthread_mutex_init(&keeper->lock, NULL);
    (void)pthread_cond_init(&keeper->wake, NULL);
    if (pthread_create(&keeper->thread, NULL, mind, keeper) == 0)
        return keeper;
    (void)mm_fail(err, MM_INTERNAL, "can't start the keeper's thread");
    keeper_free(keeper);
    return NULL;
}

void mm_keeper_stop(struct mm_keeper *keeper)
{
    if (!keeper)
        return;
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->is_stopping = true;
    (void)pthread_cond_broadcast(&keeper->wake);
    (void)pthread_mutex_unlock(&keeper->lock);
    (void)pthread_join(keeper->thread, NULL);
    keeper_free(keeper);
}
