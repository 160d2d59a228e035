/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/keeper.h"

#include <string.h>

#include "keyring/keeper_internal.h"

enum {
    TICK_MS = 250,
    RETRY_MS = 5000, /* after something due couldn't be done */
    STAGED_MAX = 64, /* keys that wait to be published */
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

struct mm_key_plan mm_keeper_plan(struct mm_keeper *keeper)
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

/*
 * Turns: one thread changes keys, and one prepares a key of an HSM token, which takes as long as the HSM does. Whoever is in both took the
 * latter first.
 */
static bool is_taken_locked(const struct mm_keeper *keeper, const char *hsm_token)
{
    if (!hsm_token)
        return keeper->is_changing;
    for (size_t i = 0; i < keeper->n_preparing; i++)
        if (strcmp(keeper->preparing[i], hsm_token) == 0)
            return true;
    return keeper->n_preparing == MM_PREPARING_MAX;
}

static void take_locked(struct mm_keeper *keeper, const char *hsm_token)
{
    if (hsm_token)
        keeper->preparing[keeper->n_preparing++] = hsm_token;
    else
        keeper->is_changing = true;
}

/* The turn to prepare a key of `hsm_token`, which lives until the turn ends; NULL: to change keys. */
static bool take_turn(struct mm_keeper *keeper, const char *hsm_token, struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(keeper->parts.turn_ms));
    int status = 0;
    (void)pthread_mutex_lock(&keeper->lock);
    while (is_taken_locked(keeper, hsm_token) && !keeper->is_draining && status == 0)
        status = pthread_cond_clockwait(&keeper->wake, &keeper->lock, CLOCK_MONOTONIC, &until);
    bool is_draining = keeper->is_draining;
    bool is_begun = !is_draining && !is_taken_locked(keeper, hsm_token);
    if (is_begun)
        take_locked(keeper, hsm_token);
    (void)pthread_mutex_unlock(&keeper->lock);
    if (is_draining)
        return mm_fail(err, MM_SHUTTING_DOWN, "stopping");
    return is_begun ||
           mm_fail(err, MM_OVERLOADED, "another %s%s is still being %s", hsm_token ? "key of HSM token " : "",
                   hsm_token ? hsm_token : "change of the keys", hsm_token ? "prepared" : "made");
}

static void end_turn(struct mm_keeper *keeper, const char *hsm_token)
{
    size_t i = 0;
    (void)pthread_mutex_lock(&keeper->lock);
    if (hsm_token) {
        while (strcmp(keeper->preparing[i], hsm_token) != 0)
            i++;
        keeper->preparing[i] = keeper->preparing[--keeper->n_preparing];
    } else {
        keeper->is_changing = false;
    }
    (void)pthread_cond_broadcast(&keeper->wake);
    (void)pthread_mutex_unlock(&keeper->lock);
}

bool mm_keeper_begin_change(struct mm_keeper *keeper, struct mm_error *err)
{
    return take_turn(keeper, NULL, err);
}

void mm_keeper_end_change(struct mm_keeper *keeper)
{
    end_turn(keeper, NULL);
}

static bool check_author(const struct mm_key_author *author, struct mm_error *err)
{
    return strlen(author->by) + strlen(author->reason) <= MM_KEY_AUTHOR_MAX ||
           mm_fail(err, MM_INVALID_REQUEST, "a reason of more than %d bytes", MM_KEY_AUTHOR_MAX);
}

static bool change(struct mm_keeper *keeper, const struct mm_key_order *order, enum mm_pace pace,
                   const struct mm_key_author *author, struct mm_error *err)
{
    if (!mm_keeper_begin_change(keeper, err))
        return false;
    bool is_done = mm_keeper_carry_out(keeper, order, pace, author, err);
    mm_keeper_end_change(keeper);
    return is_done;
}

/* What takes an HSM's time, outside of any change: it is asked again afterwards whether the order may be carried out. */
static bool prepare(struct mm_keeper *keeper, const struct mm_key_order *order, enum mm_pace pace, struct mm_error *err)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    if (!mm_keeper_check(keeper, keyring, order, pace, err))
        return false;
    const struct mm_key *key = mm_keyring_find(keyring, order->kid);
    return order->change == MM_KEY_PUBLISH ? effects->vet(effects->context, key, err)
                                           : effects->take_in(effects->context, key, err);
}

/* One that was taken in and then found no turn. */
static void give_up(struct mm_keeper *keeper, const struct mm_key_order *order)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    const struct mm_key *key = mm_keyring_find(keyring, order->kid);
    if (order->change == MM_KEY_ACTIVATE && key->life.state != MM_KEY_ACTIVE)
        effects->take_out(effects->context, key);
}

static bool prepare_and_change(struct mm_keeper *keeper, const struct mm_key_order *order, enum mm_pace pace,
                               const struct mm_key_author *author, struct mm_error *err)
{
    if (!prepare(keeper, order, pace, err))
        return false;
    if (!mm_keeper_begin_change(keeper, err)) {
        give_up(keeper, order);
        return false;
    }
    bool is_done = mm_keeper_carry_out(keeper, order, pace, author, err);
    mm_keeper_end_change(keeper);
    return is_done;
}

bool mm_keeper_execute(struct mm_keeper *keeper, const struct mm_key_order *order, enum mm_pace pace,
                       const struct mm_key_author *author, struct mm_error *err)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    if (!mm_keeper_check(keeper, keyring, order, pace, err))
        return false;
    if (order->change != MM_KEY_PUBLISH && order->change != MM_KEY_ACTIVATE)
        return change(keeper, order, pace, author, err);
    const char *hsm_token = mm_keyring_find(keyring, order->kid)->hsm_token;
    if (!take_turn(keeper, hsm_token, err))
        return false;
    bool is_done = prepare_and_change(keeper, order, pace, author, err);
    end_turn(keeper, hsm_token);
    return is_done;
}

static bool has_active(const struct mm_keeper *keeper, const struct mm_keyring *keyring, enum mm_algorithm algorithm)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        if (key->algorithm == algorithm && key->life.state == MM_KEY_ACTIVE && effects->serves(effects->context, key))
            return true;
    }
    return false;
}

/* False: none of those that are published could be activated, and it is to be tried again. */
static bool activate_standby(struct mm_keeper *keeper, enum mm_algorithm algorithm, const struct mm_key_author *author)
{
    bool is_tried = false;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    if (has_active(keeper, keyring, algorithm))
        return true;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        struct mm_error why = {0};
        if (key->life.state != MM_KEY_PUBLISHED || key->algorithm != algorithm)
            continue;
        if (mm_keeper_execute(keeper, &(struct mm_key_order){MM_KEY_ACTIVATE, key->kid}, MM_AT_ONCE, author, &why))
            return true;
        mm_keeper_tell(keeper, mm_key_change_name(MM_KEY_ACTIVATE), key->kid, author, &why);
        is_tried = true;
    }
    return !is_tried;
}

bool mm_keeper_replace_revoked(struct mm_keeper *keeper, const struct mm_key_author *author)
{
    (void)pthread_mutex_lock(&keeper->lock);
    mm_algorithm_set bereft = keeper->bereft;
    (void)pthread_mutex_unlock(&keeper->lock);
    mm_algorithm_set left = 0;
    for (int i = 0; i < MM_N_ALGORITHMS; i++)
        if (mm_algorithms_have(bereft, (enum mm_algorithm)i) && !activate_standby(keeper, (enum mm_algorithm)i, author))
            left |= (mm_algorithm_set)1 << i;
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->bereft &= (mm_algorithm_set) ~(bereft & (mm_algorithm_set)~left);
    (void)pthread_mutex_unlock(&keeper->lock);
    return left == 0;
}

/* Out at once, before anything that is being changed has ended. Should there be no turn, or no entry, the keeper's own thread goes on. */
static bool revoke_at_once(struct mm_keeper *keeper, const struct mm_key_order *order,
                           const struct mm_key_author *author, struct mm_error *err)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    if (!mm_keeper_check(keeper, keyring, order, MM_AT_ONCE, err) ||
        !mm_keeper_condemn(keeper, mm_keyring_find(keyring, order->kid), author, err) ||
        !mm_keeper_begin_change(keeper, err))
        return false;
    bool is_done = mm_keeper_revoke(keeper, order->kid, author, err);
    mm_keeper_end_change(keeper);
    (void)mm_keeper_replace_revoked(keeper, author);
    return is_done;
}

bool mm_keeper_change(struct mm_keeper *keeper, const struct mm_key_order *order, const struct mm_key_author *author,
                      struct mm_error *err)
{
    return check_author(author, err) &&
           (order->change == MM_KEY_REVOKE ? revoke_at_once(keeper, order, author, err)
                                           : mm_keeper_execute(keeper, order, MM_IN_TIME, author, err));
}

static bool has_room_for_staged(const struct mm_keyring *keyring, struct mm_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++)
        n += mm_keyring_key(keyring, i)->life.state == MM_KEY_STAGED;
    return n < STAGED_MAX || mm_fail(err, MM_KEY_STATE, "%d keys are staged already: withdraw some", STAGED_MAX);
}

bool mm_keeper_stage(struct mm_keeper *keeper, const json_t *entry, const struct mm_key_author *author,
                     struct mm_error *err)
{
    if (!check_author(author, err) || !mm_keeper_begin_change(keeper, err))
        return false;
    const char *kid = mm_json_string(entry, "kid");
    mm_cleanup(json_decref) json_t *fields = mm_key_entry_again(entry, err);
    bool is_done = fields && has_room_for_staged(keeper->keyring, err) &&
                   mm_keeper_record(keeper, MM_ENTRY_KEY_STAGED, fields, author, err);
    if (is_done)
        mm_keeper_tell(keeper, "stage", kid, author, NULL);
    mm_keeper_end_change(keeper);
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
    if (!fields || !mm_keeper_begin_change(keeper, err))
        return false;
    bool is_done = mm_keeper_record(keeper, MM_ENTRY_KEY_ATTESTED, fields, author, err);
    if (is_done)
        mm_keeper_tell(keeper, "attest", kid, author, NULL);
    mm_keeper_end_change(keeper);
    if (is_done)
        *ret_entry = MM_TAKE(fields);
    return is_done;
}

bool mm_keeper_note_generation(struct mm_keeper *keeper, enum mm_entry_type type, json_t *fields,
                               const struct mm_key_author *author, struct mm_error *err)
{
    if (!check_author(author, err) || !mm_keeper_begin_change(keeper, err))
        return false;
    bool is_done = mm_keeper_record(keeper, type, fields, author, err);
    mm_keeper_end_change(keeper);
    return is_done;
}

bool mm_keeper_accept_clock(struct mm_keeper *keeper, const struct mm_key_author *author, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *fields = json_object();
    if (!check_author(author, err) || !mm_keeper_begin_change(keeper, err))
        return false;
    bool is_done = mm_keeper_record(keeper, MM_ENTRY_CLOCK_ACCEPTED, fields, author, err);
    mm_keeper_end_change(keeper);
    return is_done;
}

/* The key to go to; NULL if there is none, or a rotation is under way. */
static const struct mm_key *choose_successor(struct mm_keeper *keeper, const struct mm_keyring *keyring,
                                             const struct mm_rotation_order *rotation, struct mm_error *err)
{
    const char *algorithm = mm_algorithm_name(rotation->algorithm);
    const struct mm_key *under_way = mm_plan_in_the_way(keyring, rotation);
    const struct mm_key_plan plan = mm_keeper_plan(keeper);
    const struct mm_key *key = mm_plan_candidate(&plan, keyring, rotation);
    if (!mm_algorithms_have(keeper->parts.plan.algorithms, rotation->algorithm))
        (void)mm_fail(err, MM_KEY_STATE, "%s isn't one of keys.algorithms", algorithm);
    else if (under_way)
        (void)mm_fail(err, MM_KEY_STATE,
                      "a rotation to key %s on HSM token %s is under way: name another HSM token to go there instead",
                      under_way->kid, under_way->hsm_token);
    else if (!key)
        (void)mm_fail(err, MM_KEY_STATE, "no %s key for it is published or staged%s%s: generate and stage one",
                      algorithm, rotation->hsm_token ? " on HSM token " : "",
                      rotation->hsm_token ? rotation->hsm_token : "");
    else
        return key;
    return NULL;
}

bool mm_keeper_record_rotation(struct mm_keeper *keeper, const struct mm_rotation_order *rotation,
                               const struct mm_key_author *author, char *ret_kid, struct mm_error *err)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_ref(keeper->keyring);
    const struct mm_key *key = choose_successor(keeper, keyring, rotation, err);
    if (!key)
        return false;
    mm_cleanup(json_decref) json_t *fields = json_pack("{ss}", "kid", key->kid);
    if (!mm_keeper_record(keeper, MM_ENTRY_KEY_ROTATION, fields, author, err))
        return false;
    mm_keeper_tell(keeper, "rotate", key->kid, author, NULL);
    memcpy(ret_kid, key->kid, MM_THUMBPRINT_LENGTH + 1);
    return true;
}

static bool is_published(struct mm_keeper *keeper, const char *kid)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    return mm_keyring_find(keyring, kid)->life.state == MM_KEY_PUBLISHED;
}

/* The key that a rotation goes to, if it is yet to be published, goes the way of any such key; the keeper may be faster. */
static bool publish_successor(struct mm_keeper *keeper, const struct mm_rotation_order *rotation,
                              const struct mm_key_author *author, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    const struct mm_key *key = choose_successor(keeper, keyring, rotation, err);
    if (!key || key->life.state != MM_KEY_STAGED)
        return key != NULL;
    const struct mm_key_order order = {MM_KEY_PUBLISH, key->kid};
    return mm_keeper_execute(keeper, &order, MM_IN_TIME, author, &why) || is_published(keeper, key->kid) ||
           mm_fail(err, why.code, "%s", why.message);
}

bool mm_keeper_rotate(struct mm_keeper *keeper, const struct mm_rotation_order *rotation,
                      const struct mm_key_author *author, char *ret_kid, struct mm_error *err)
{
    if (!check_author(author, err) || !publish_successor(keeper, rotation, author, err) ||
        !mm_keeper_begin_change(keeper, err))
        return false;
    bool is_begun = mm_keeper_record_rotation(keeper, rotation, author, ret_kid, err);
    mm_keeper_end_change(keeper);
    return is_begun;
}

static void *mind(void *context)
{
    struct mm_keeper *keeper = context;
    int64_t not_before = 0;
    (void)pthread_mutex_lock(&keeper->lock);
    while (!keeper->is_stopping) {
        struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(TICK_MS));
        (void)pthread_cond_clockwait(&keeper->wake, &keeper->lock, CLOCK_MONOTONIC, &until);
        if (keeper->is_stopping || keeper->is_draining || mm_monotonic_ns() < not_before)
            continue;
        (void)pthread_mutex_unlock(&keeper->lock);
        bool is_done = mm_keeper_do_due(keeper);
        not_before = is_done ? 0 : mm_deadline_after_ms(RETRY_MS);
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
