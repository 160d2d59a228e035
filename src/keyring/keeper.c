/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/keeper.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    TICK_MS = 250,
    RETRY_MS = 5000,   /* after something due couldn't be done */
    CHANGE_MS = 45000, /* for another change to end: it may wait for an HSM's login */
    RECORD_MS = 60000, /* past it nobody knows whether an entry is in the ledger */
    REASON_MAX = 1024,
};

struct mm_keeper {
    /* immutable after mm_keeper_start(); what parts.plan finds unfit is guarded by lock */
    struct mm_keeper_parts parts;
    pthread_t thread;

    /* belongs to whoever changes a key */
    enum { SURE, UNSURE } record;            /* unsure: an entry may or may not be in the ledger */
    enum { SHOWN, NOT_SHOWN } view;          /* whether verifiers see the keyring in force */
    char withheld[MM_THUMBPRINT_LENGTH + 1]; /* a key that is out, but whose revocation isn't recorded; empty: none */

    pthread_mutex_t lock;
    pthread_cond_t wake; /* something may be due, or a change has ended */
    /* guarded by lock */
    bool is_stopping;
    bool is_draining;
    bool is_vetting;
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

struct mm_key_plan mm_keeper_plan_now(struct mm_keeper *keeper)
{
    (void)pthread_mutex_lock(&keeper->lock);
    struct mm_key_plan plan = keeper->parts.plan;
    (void)pthread_mutex_unlock(&keeper->lock);
    return plan;
}

struct mm_keyring *mm_keeper_keyring(struct mm_keeper *keeper)
{
    (void)pthread_mutex_lock(&keeper->lock);
    struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
    (void)pthread_mutex_unlock(&keeper->lock);
    return keyring;
}

/* One thread at a time is in each of two turns, to vet a key and to change one: `is_taken` is its flag. */
static bool take_turn(struct mm_keeper *keeper, bool *is_taken, const char *busy, struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(CHANGE_MS));
    int status = 0;
    (void)pthread_mutex_lock(&keeper->lock);
    while (*is_taken && !keeper->is_draining && status == 0)
        status = pthread_cond_clockwait(&keeper->wake, &keeper->lock, CLOCK_MONOTONIC, &until);
    bool is_draining = keeper->is_draining;
    bool is_begun = !*is_taken && !is_draining;
    *is_taken = *is_taken || is_begun;
    (void)pthread_mutex_unlock(&keeper->lock);
    return is_begun ||
           mm_fail(err, is_draining ? MM_SHUTTING_DOWN : MM_OVERLOADED, "%s", is_draining ? "stopping" : busy);
}

static void end_turn(struct mm_keeper *keeper, bool *is_taken)
{
    (void)pthread_mutex_lock(&keeper->lock);
    *is_taken = false;
    (void)pthread_cond_broadcast(&keeper->wake);
    (void)pthread_mutex_unlock(&keeper->lock);
}

static bool begin_change(struct mm_keeper *keeper, struct mm_error *err)
{
    return take_turn(keeper, &keeper->is_changing, "another change of the keys is still being made", err);
}

static void end_change(struct mm_keeper *keeper)
{
    end_turn(keeper, &keeper->is_changing);
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
    /* No token of an earlier run, and none that this one has issued by now, by whatever its clock was then. */
    int64_t bound = mm_keyring_exp_bound(keeper->keyring);
    int64_t now = mm_clock_now(keeper->parts.clock);
    int64_t latest = mm_ledger_latest_issue(keeper->parts.ledger);
    int64_t ours = (latest > now ? latest : now) + 1 + keeper->parts.plan.max_ttl;
    return json_pack("{ss sI}", "kid", order->kid, "last_exp", (json_int_t)(ours > bound ? ours : bound));
}

/* Whether another key of its algorithm signs, as a matter of fact and not only by the ledger. */
static bool another_serves(const struct mm_keeper *keeper, const struct mm_keyring *keyring, const struct mm_key *key)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *other = mm_keyring_key(keyring, i);
        if (other != key && other->life.state == MM_KEY_ACTIVE && other->algorithm == key->algorithm &&
            effects->serves(effects->context, other))
            return true;
    }
    return false;
}

/* Whether there must be a key of that algorithm that signs. */
static bool is_wanted(const struct mm_keeper *keeper, const struct mm_key *key)
{
    return mm_algorithms_have(keeper->parts.plan.algorithms, key->algorithm);
}

/* What the rules don't know: the clock and the HSMs. */
static bool check_world(const struct mm_keeper *keeper, const struct mm_keyring *keyring,
                        const struct mm_key_order *order, struct mm_error *err)
{
    if (order->change == MM_KEY_REVOKE)
        return true;
    if (!mm_ledger_check_clock(keeper->parts.ledger, err))
        return false;
    const struct mm_key *key = mm_keyring_find(keyring, order->kid);
    return order->change != MM_KEY_RETIRE || !is_wanted(keeper, key) || another_serves(keeper, keyring, key) ||
           mm_fail(err, MM_HSM_UNAVAILABLE, "no other key of its algorithm has a worker that signs");
}

/* Effect, record, effect; it is as before if it can't be recorded. */
static bool record_change(struct mm_keeper *keeper, const struct mm_key_order *order, const struct mm_key *key,
                          const struct mm_key_author *author, struct mm_error *err)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    struct mm_error lost = {0};
    if (order->change == MM_KEY_ACTIVATE && !effects->take_in(effects->context, key, err))
        return false;
    if (order->change == MM_KEY_RETIRE)
        effects->take_out(effects->context, key);
    mm_cleanup(json_decref) json_t *fields = change_fields(keeper, order);
    bool is_recorded = record(keeper, mm_key_change_entry(order->change), fields, author, err);
    if (order->change == MM_KEY_ACTIVATE && is_recorded)
        effects->let_sign(effects->context, key);
    else if (order->change == MM_KEY_ACTIVATE)
        effects->take_out(effects->context, key);
    else if (order->change == MM_KEY_RETIRE && !is_recorded && effects->take_in(effects->context, key, &lost))
        effects->let_sign(effects->context, key);
    if (lost.code != MM_OK)
        tell(keeper, "take_in", key->kid, author, &lost);
    return is_recorded;
}

/* Checked by the rules already; a key that is to be published was vetted. */
static bool carry_out(struct mm_keeper *keeper, const struct mm_key_order *order, const struct mm_key_author *author,
                      struct mm_error *err)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *before = mm_keyring_ref(keeper->keyring);
    if (!check_world(keeper, before, order, err) ||
        !record_change(keeper, order, mm_keyring_find(before, order->kid), author, err))
        return false;
    tell(keeper, mm_key_change_name(order->change), order->kid, author, NULL);
    return true;
}

/* After a revocation there must be another to sign, if there is any at all. */
static void activate_standby(struct mm_keeper *keeper, const struct mm_key *revoked, const struct mm_key_author *author)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
    if (!is_wanted(keeper, revoked) || another_serves(keeper, keyring, revoked))
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

static bool was_active(const struct mm_keyring *keyring, const char *kid)
{
    const struct mm_key *key = mm_keyring_find(keyring, kid);
    return key && key->life.state == MM_KEY_ACTIVE;
}

static bool revoke_key(struct mm_keeper *keeper, const struct mm_key_order *order, const struct mm_key_author *author,
                       struct mm_error *err)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *before = mm_keyring_ref(keeper->keyring);
    bool signed_before = was_active(before, order->kid);
    bool is_recorded = carry_out(keeper, order, author, err);
    (void)snprintf(keeper->withheld, sizeof keeper->withheld, "%s", signed_before && !is_recorded ? order->kid : "");
    if (signed_before)
        activate_standby(keeper, mm_keyring_find(before, order->kid), author);
    return is_recorded;
}

/*
 * Outside of any change, since a worker may take long to start: the rules are asked again afterwards. One key at a time: two vettings of
 * the same would be in each other's way, and a login too many.
 */
static bool vet(struct mm_keeper *keeper, const char *kid, struct mm_error *err)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    if (!take_turn(keeper, &keeper->is_vetting, "another key is still being vetted", err))
        return false;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    const struct mm_key *key = mm_keyring_find(keyring, kid);
    bool is_fit = !key || key->life.state != MM_KEY_STAGED || effects->vet(effects->context, key, err);
    end_turn(keeper, &keeper->is_vetting);
    return is_fit;
}

static bool check_author(const struct mm_key_author *author, struct mm_error *err)
{
    return strlen(author->by) + strlen(author->reason) <= REASON_MAX ||
           mm_fail(err, MM_INVALID_REQUEST, "a reason of more than %d bytes", REASON_MAX);
}

/* At once, before anything that is being changed has ended. */
static void take_out_now(struct mm_keeper *keeper, const char *kid)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    if (was_active(keyring, kid))
        effects->take_out(effects->context, mm_keyring_find(keyring, kid));
}

bool mm_keeper_change(struct mm_keeper *keeper, const struct mm_key_order *order, const struct mm_key_author *author,
                      struct mm_error *err)
{
    if (!check_author(author, err))
        return false;
    if (order->change == MM_KEY_REVOKE)
        take_out_now(keeper, order->kid);
    if ((order->change == MM_KEY_PUBLISH && !vet(keeper, order->kid, err)) || !begin_change(keeper, err))
        return false;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    bool is_done = mm_plan_check(&keeper->parts.plan, keeper->keyring, order, &moment, err);
    if (is_done)
        is_done = order->change == MM_KEY_REVOKE ? revoke_key(keeper, order, author, err)
                                                 : carry_out(keeper, order, author, err);
    end_change(keeper);
    return is_done;
}

bool mm_keeper_stage(struct mm_keeper *keeper, const json_t *entry, const struct mm_key_author *author,
                     struct mm_error *err)
{
    if (!check_author(author, err) || !begin_change(keeper, err))
        return false;
    const char *kid = mm_json_string(entry, "kid");
    mm_cleanup(json_decref) json_t *fields = mm_key_entry_again(entry, err);
    bool is_done = fields && record(keeper, MM_ENTRY_KEY_STAGED, fields, author, err);
    if (is_done)
        tell(keeper, "stage", kid, author, NULL);
    end_change(keeper);
    return is_done;
}

bool mm_keeper_attest(struct mm_keeper *keeper, const char *kid, const struct mm_attestation *attestation,
                      const struct mm_key_author *author, json_t **ret_entry, struct mm_error *err)
{
    if (!check_author(author, err))
        return false;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    const struct mm_key *key = mm_keyring_find(keyring, kid);
    if (!key)
        return mm_fail(err, MM_KEY_UNKNOWN, "no key %s: only one that was staged is attested", kid);
    mm_cleanup(json_decref) json_t *fields =
        mm_attested_entry(key, attestation, mm_clock_now(keeper->parts.clock), err);
    if (!fields || !begin_change(keeper, err))
        return false;
    bool is_done = record(keeper, MM_ENTRY_KEY_ATTESTED, fields, author, err);
    if (is_done)
        tell(keeper, "attest", kid, author, NULL);
    end_change(keeper);
    if (is_done)
        *ret_entry = MM_TAKE(fields);
    return is_done;
}

bool mm_keeper_note_generation(struct mm_keeper *keeper, enum mm_entry_type type, json_t *fields,
                               const struct mm_key_author *author, struct mm_error *err)
{
    if (!check_author(author, err) || !begin_change(keeper, err))
        return false;
    bool is_done = (type != MM_ENTRY_KEY_GENERATING || mm_ledger_check_clock(keeper->parts.ledger, err)) &&
                   record(keeper, type, fields, author, err);
    end_change(keeper);
    return is_done;
}

/* The key to go to; NULL if there is none, or a rotation is under way. */
static const struct mm_key *choose_successor(struct mm_keeper *keeper, const struct mm_keyring *keyring,
                                             const struct mm_rotation_order *rotation, struct mm_error *err)
{
    const char *algorithm = mm_algorithm_name(rotation->algorithm);
    const struct mm_key *under_way = mm_keyring_successor(keyring, rotation->algorithm);
    const struct mm_key_plan plan = mm_keeper_plan_now(keeper);
    const struct mm_key *key = mm_plan_candidate(&plan, keyring, rotation);
    if (!mm_algorithms_have(keeper->parts.plan.algorithms, rotation->algorithm))
        (void)mm_fail(err, MM_KEY_STATE, "%s isn't one of keys.algorithms", algorithm);
    else if (under_way)
        (void)mm_fail(err, MM_KEY_STATE, "a rotation to key %s is under way", under_way->kid);
    else if (!key)
        (void)mm_fail(err, MM_KEY_STATE, "no %s key for it is published or staged%s%s: generate and stage one",
                      algorithm, rotation->hsm_token ? " on HSM token " : "",
                      rotation->hsm_token ? rotation->hsm_token : "");
    else
        return key;
    return NULL;
}

static bool rotate(struct mm_keeper *keeper, const struct mm_rotation_order *rotation,
                   const struct mm_key_author *author, char *ret_kid, struct mm_error *err)
{
    const struct mm_key_plan *plan = &keeper->parts.plan;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
    const struct mm_key *key = choose_successor(keeper, keyring, rotation, err);
    if (!key)
        return false;
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

/* The staged key that a rotation would go to is vetted first. */
static bool vet_candidate(struct mm_keeper *keeper, const struct mm_rotation_order *rotation, struct mm_error *err)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    const struct mm_key *key = choose_successor(keeper, keyring, rotation, NULL);
    return !key || vet(keeper, key->kid, err);
}

bool mm_keeper_rotate(struct mm_keeper *keeper, const struct mm_rotation_order *rotation,
                      const struct mm_key_author *author, char *ret_kid, struct mm_error *err)
{
    if (!check_author(author, err) || !vet_candidate(keeper, rotation, err) || !begin_change(keeper, err))
        return false;
    bool is_begun = rotate(keeper, rotation, author, ret_kid, err);
    end_change(keeper);
    return is_begun;
}

/* Once is enough: another try could be the login that locks the HSM token. Whoever stages or publishes it by hand is heard all the same. */
static void note_unfit(struct mm_keeper *keeper, const char *kid)
{
    (void)pthread_mutex_lock(&keeper->lock);
    mm_kid_set_add(&keeper->parts.plan.unfit, kid);
    (void)pthread_mutex_unlock(&keeper->lock);
}

static const struct mm_key_author TIME = {"mintmarkd", "due"};
static const struct mm_key_author SCHEDULE = {"mintmarkd", "keys.rotate_every"};

/* A staged key whose turn as the standby has come; not within a change. */
static void publish_standby(struct mm_keeper *keeper, const char *kid)
{
    struct mm_error why = {0};
    const struct mm_key_order order = {MM_KEY_PUBLISH, kid};
    bool is_fit = vet(keeper, kid, &why);
    if (!begin_change(keeper, NULL))
        return;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    bool is_staged = mm_keyring_find(keeper->keyring, kid)->life.state == MM_KEY_STAGED; /* nobody was faster */
    if (!is_fit && why.code != MM_OVERLOADED)
        note_unfit(keeper, kid);
    if (is_staged && (!is_fit || !mm_plan_check(&keeper->parts.plan, keeper->keyring, &order, &moment, &why) ||
                      !carry_out(keeper, &order, &TIME, &why)))
        tell(keeper, mm_key_change_name(MM_KEY_PUBLISH), kid, &TIME, &why);
    end_change(keeper);
}

/* What a look at everything that is due came to. */
struct due {
    bool has_failed;                        /* some of it is to be tried again */
    char standby[MM_THUMBPRINT_LENGTH + 1]; /* a staged key whose turn as the standby has come; empty: none */
};

/* A revocation that couldn't be recorded. */
static bool mend_withheld(struct mm_keeper *keeper)
{
    struct mm_error why = {0};
    char kid[MM_THUMBPRINT_LENGTH + 1];
    memcpy(kid, keeper->withheld, sizeof kid);
    if (!kid[0] || revoke_key(keeper, &(struct mm_key_order){MM_KEY_REVOKE, kid}, &TIME, &why))
        return true;
    tell(keeper, mm_key_change_name(MM_KEY_REVOKE), kid, &TIME, &why);
    return false;
}

/* All rotations that the schedule wants. */
static bool begin_rotations(struct mm_keeper *keeper)
{
    char kid[MM_THUMBPRINT_LENGTH + 1];
    struct mm_rotation_order rotation;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    while (mm_plan_rotation_due(&keeper->parts.plan, keeper->keyring, &moment, &rotation)) {
        struct mm_error why = {0};
        if (!rotate(keeper, &rotation, &SCHEDULE, kid, &why)) {
            tell(keeper, "rotate", NULL, &SCHEDULE, &why);
            return false;
        }
    }
    return true;
}

/*
 * Everything that is due, one after another, but for a standby. A key that can't be changed, as its HSM is away, keeps no other from its
 * turn.
 */
static void do_due(struct mm_keeper *keeper, struct due *ret_due)
{
    const struct mm_key_plan *plan = &keeper->parts.plan;
    struct mm_kid_set failed = {0};
    *ret_due = (struct due){.has_failed = !begin_rotations(keeper)};
    while (failed.n < MM_KIDS_MAX) {
        struct mm_error why = {0};
        struct mm_key_order order;
        struct mm_key_moment moment = mm_keeper_moment(keeper);
        mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
        if (!mm_plan_due(plan, keyring, &moment, &failed, &order))
            return;
        if (order.change == MM_KEY_PUBLISH) {
            memcpy(ret_due->standby, order.kid, sizeof ret_due->standby);
            return;
        }
        if (carry_out(keeper, &order, &TIME, &why))
            continue;
        tell(keeper, mm_key_change_name(order.change), order.kid, &TIME, &why);
        ret_due->has_failed = true;
        mm_kid_set_add(&failed, order.kid);
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
        if (keeper->is_stopping || keeper->is_draining || keeper->is_changing || mm_monotonic_ns() < not_before)
            continue;
        keeper->is_changing = true;
        (void)pthread_mutex_unlock(&keeper->lock);
        struct due due = {.has_failed = true};
        if (keeper->view == NOT_SHOWN)
            show(keeper);
        if (mend_withheld(keeper))
            do_due(keeper, &due);
        end_change(keeper);
        if (due.standby[0])
            publish_standby(keeper, due.standby);
        not_before = due.has_failed ? mm_deadline_after_ms(RETRY_MS) : 0;
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

void mm_keeper_drain(struct mm_keeper *keeper)
{
    if (!keeper)
        return;
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->is_draining = true;
    (void)pthread_cond_broadcast(&keeper->wake);
    (void)pthread_mutex_unlock(&keeper->lock);
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
