/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/plan.h"

#include <string.h>

#include "util/clock.h"

struct mm_key_plan mm_plan_make(const struct mm_config *config)
{
    return (struct mm_key_plan){
        .algorithms = config->algorithms,
        .readers = config->readers,
        .publish_ahead = config->publish_ahead,
        .max_ttl = config->max_ttl,
        .rotate_every = config->rotate_every,
        .standby = (size_t)config->standby,
    };
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* By how long keys are published ahead, and what was recorded in earlier runs. */
static int64_t from_ahead(int64_t publish_ahead, const struct mm_key *key, enum mm_key_change change,
                          const struct mm_key_moment *moment)
{
    const struct mm_key_life *life = &key->life;
    int64_t from = mm_key_change_from(life, change, publish_ahead);
    if (change == MM_KEY_ACTIVATE)
        return later(from, moment->run_since + MM_KEY_FLOORS.publish_ahead);
    /* A clock that was put forward while the service was down must not hide keys whose tokens are alive. */
    if (change == MM_KEY_WITHDRAW && life->state == MM_KEY_RETIRING)
        return later(from, moment->run_since + from - life->since);
    return from;
}

/* Where nothing is signed meanwhile, only the caches are waited for. */
int64_t mm_plan_from(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key,
                     enum mm_key_change change, const struct mm_key_moment *moment)
{
    bool is_signed_meanwhile = mm_keyring_count(keyring, key->algorithm, MM_KEY_ACTIVE) > 0;
    return from_ahead(is_signed_meanwhile ? plan->publish_ahead : 0, key, change, moment);
}

static bool refuse_state(const struct mm_key *key, const char *why, struct mm_error *err)
{
    return mm_fail(err, MM_KEY_STATE, "key %s %s", key->kid, why);
}

/* Whether tokens are signed with its algorithm at all. */
static bool is_wanted(const struct mm_key_plan *plan, const struct mm_key *key)
{
    return mm_algorithms_have(plan->algorithms, key->algorithm);
}

static size_t n_listed(const struct mm_keyring *keyring)
{
    size_t n = 0;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++)
        n += mm_key_is_listed(&mm_keyring_key(keyring, i)->life);
    return n;
}

static bool check_publish(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key,
                          struct mm_error *err)
{
    struct mm_error why = {0};
    if (!is_wanted(plan, key))
        return refuse_state(key, "isn't of keys.algorithms", err);
    if (!mm_readers_check(plan->readers, key->algorithm, &why))
        return mm_fail(err, MM_KEY_STATE, "key %s can't be published: %s", key->kid, why.message);
    return n_listed(keyring) < MM_KEYRING_LISTED_MAX || refuse_state(key, "has no room in the JWKS", err);
}

/* What only some changes ask for. */
static bool check_change(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key,
                         enum mm_key_change change, struct mm_error *err)
{
    if (change == MM_KEY_PUBLISH)
        return check_publish(plan, keyring, key, err);
    if (change == MM_KEY_ACTIVATE && !is_wanted(plan, key))
        return refuse_state(key, "isn't of keys.algorithms", err);
    if (change == MM_KEY_RETIRE && is_wanted(plan, key) && mm_keyring_count(keyring, key->algorithm, MM_KEY_ACTIVE) < 2)
        return refuse_state(key, "is the last active one of its algorithm: rotate instead", err);
    return true;
}

bool mm_plan_check(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key_order *order,
                   const struct mm_key_moment *moment, struct mm_error *err)
{
    const struct mm_key *key = mm_keyring_find(keyring, order->kid);
    enum mm_key_state after;
    if (!key)
        return mm_fail(err, MM_KEY_UNKNOWN, "no key %s was ever staged", order->kid);
    if (!mm_key_state_after(key->life.state, order->change, &after))
        return mm_fail(err, MM_KEY_STATE, "key %s is %s: it can't %s", key->kid, mm_key_state_name(key->life.state),
                       mm_key_change_name(order->change));
    if (!check_change(plan, keyring, key, order->change, err))
        return false;
    int64_t from = mm_plan_from(plan, keyring, key, order->change, moment);
    if (moment->now >= from)
        return true;
    char text[MM_TIMESTAMP_MAX];
    mm_timestamp(from, text);
    return mm_fail(err, MM_KEY_TOO_EARLY, "key %s may %s from %s on", key->kid, mm_key_change_name(order->change),
                   text);
}

bool mm_plan_check_readers(const struct mm_key_plan *plan, const struct mm_keyring *keyring, struct mm_error *err)
{
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        struct mm_error why = {0};
        if (mm_key_is_listed(&key->life) && !mm_readers_check(plan->readers, key->algorithm, &why))
            return mm_fail(err, why.code, "key %s is in the JWKS, %s, from an earlier configuration: %s", key->kid,
                           mm_key_state_name(key->life.state), why.message);
    }
    return true;
}

/* Its place; set->n: it isn't among them. */
static size_t find_kid(const struct mm_kid_set *set, const char *kid)
{
    size_t i = 0;
    while (i < set->n && strcmp(set->kids[i], kid) != 0)
        i++;
    return i;
}

bool mm_kid_set_has(const struct mm_kid_set *set, const char *kid)
{
    return find_kid(set, kid) < set->n;
}

bool mm_kid_set_add(struct mm_kid_set *set, const char *kid)
{
    if (mm_kid_set_has(set, kid))
        return true;
    if (set->n == MM_KIDS_MAX)
        return false;
    memcpy(set->kids[set->n++], kid, MM_THUMBPRINT_LENGTH + 1);
    return true;
}

void mm_kid_set_remove(struct mm_kid_set *set, const char *kid)
{
    size_t place = find_kid(set, kid);
    if (place < set->n)
        memcpy(set->kids[place], set->kids[--set->n], sizeof set->kids[place]);
}

/* What the looks for something due have in common. */
struct look {
    const struct mm_key_plan *plan;
    const struct mm_keyring *keyring;
    const struct mm_key_moment *moment;
    const struct mm_kid_set *but;
};

static bool is_due(const struct look *look, const struct mm_key *key, enum mm_key_change change,
                   struct mm_key_order *ret_order)
{
    const struct mm_key_order order = {change, key->kid};
    if (mm_kid_set_has(look->but, key->kid) || !mm_plan_check(look->plan, look->keyring, &order, look->moment, NULL))
        return false;
    *ret_order = order;
    return true;
}

/* The successor first, then the others of its algorithm make way. */
static bool rotation_is_due(const struct look *look, enum mm_algorithm algorithm, struct mm_key_order *ret_order)
{
    const struct mm_key *successor = mm_keyring_successor(look->keyring, algorithm);
    if (!successor)
        return false;
    if (successor->life.state == MM_KEY_PUBLISHED)
        return is_due(look, successor, MM_KEY_ACTIVATE, ret_order);
    for (size_t i = 0; i < mm_keyring_n_keys(look->keyring); i++) {
        const struct mm_key *key = mm_keyring_key(look->keyring, i);
        if (key != successor && key->algorithm == algorithm && key->life.state == MM_KEY_ACTIVE &&
            is_due(look, key, MM_KEY_RETIRE, ret_order))
            return true;
    }
    return false;
}

/* Published, and nobody's successor. */
static size_t n_standby(const struct mm_keyring *keyring, enum mm_algorithm algorithm)
{
    const struct mm_key *successor = mm_keyring_successor(keyring, algorithm);
    bool is_taken = successor && successor->life.state == MM_KEY_PUBLISHED;
    return mm_keyring_count(keyring, algorithm, MM_KEY_PUBLISHED) - (is_taken ? 1 : 0);
}

static bool is_found_unfit(const struct mm_key_plan *plan, const struct mm_key *key)
{
    return plan->unfit.n == MM_KIDS_MAX || mm_kid_set_has(&plan->unfit, key->kid);
}

static const struct mm_key *first_in(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                                     enum mm_key_state state, const struct mm_rotation_order *order)
{
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        bool is_unfit = state == MM_KEY_STAGED && is_found_unfit(plan, key);
        if (key->life.state == state && !is_unfit && key->algorithm == order->algorithm &&
            (!order->hsm_token || strcmp(key->hsm_token, order->hsm_token) == 0))
            return key;
    }
    return NULL;
}

/* Any of the published ones may do where the first can't. */
static bool activation_is_due(const struct look *look, enum mm_algorithm algorithm, struct mm_key_order *ret_order)
{
    if (mm_keyring_count(look->keyring, algorithm, MM_KEY_ACTIVE) > 0)
        return false;
    for (size_t i = 0; i < mm_keyring_n_keys(look->keyring); i++) {
        const struct mm_key *key = mm_keyring_key(look->keyring, i);
        if (key->algorithm == algorithm && key->life.state == MM_KEY_PUBLISHED &&
            is_due(look, key, MM_KEY_ACTIVATE, ret_order))
            return true;
    }
    return false;
}

static bool withdrawal_is_due(const struct look *look, struct mm_key_order *ret_order)
{
    for (size_t i = 0; i < mm_keyring_n_keys(look->keyring); i++) {
        const struct mm_key *key = mm_keyring_key(look->keyring, i);
        if (key->life.state == MM_KEY_RETIRING && is_due(look, key, MM_KEY_WITHDRAW, ret_order))
            return true;
    }
    return false;
}

static bool standby_is_due(const struct look *look, enum mm_algorithm algorithm, struct mm_key_order *ret_order)
{
    const struct mm_rotation_order any = {algorithm, NULL};
    const struct mm_key *staged = first_in(look->plan, look->keyring, MM_KEY_STAGED, &any);
    return staged && n_standby(look->keyring, algorithm) < look->plan->standby &&
           is_due(look, staged, MM_KEY_PUBLISH, ret_order);
}

static bool any_is_due(const struct look *look,
                       bool (*is_due_of)(const struct look *, enum mm_algorithm, struct mm_key_order *),
                       struct mm_key_order *ret_order)
{
    for (int i = 0; i < MM_N_ALGORITHMS; i++)
        if (mm_algorithms_have(look->plan->algorithms, (enum mm_algorithm)i) &&
            is_due_of(look, (enum mm_algorithm)i, ret_order))
            return true;
    return false;
}

/* What makes a key sign where none does comes first, of whatever algorithm. */
bool mm_plan_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key_moment *moment,
                 const struct mm_kid_set *but, struct mm_key_order *ret_order)
{
    const struct look look = {plan, keyring, moment, but};
    return any_is_due(&look, activation_is_due, ret_order) || withdrawal_is_due(&look, ret_order) ||
           any_is_due(&look, rotation_is_due, ret_order) || any_is_due(&look, standby_is_due, ret_order);
}

const struct mm_key *mm_plan_in_the_way(const struct mm_keyring *keyring, const struct mm_rotation_order *order)
{
    const struct mm_key *successor = mm_keyring_successor(keyring, order->algorithm);
    bool is_elsewhere = successor && order->hsm_token && strcmp(successor->hsm_token, order->hsm_token) != 0;
    return is_elsewhere ? NULL : successor;
}

const struct mm_key *mm_plan_candidate(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                                       const struct mm_rotation_order *order)
{
    const struct mm_key *published = first_in(plan, keyring, MM_KEY_PUBLISHED, order);
    return published ? published : first_in(plan, keyring, MM_KEY_STAGED, order);
}

static bool is_time_to_rotate(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                              enum mm_algorithm algorithm, const struct mm_key_moment *moment)
{
    const struct mm_key *active = mm_keyring_active(keyring, algorithm);
    return plan->rotate_every > 0 && mm_algorithms_have(plan->algorithms, algorithm) && active &&
           !mm_keyring_successor(keyring, algorithm) && moment->now >= active->activated_at + plan->rotate_every;
}

bool mm_plan_rotation_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                          const struct mm_key_moment *moment, struct mm_rotation_order *ret_order)
{
    for (int i = 0; i < MM_N_ALGORITHMS; i++) {
        const struct mm_rotation_order order = {(enum mm_algorithm)i, NULL};
        if (!is_time_to_rotate(plan, keyring, order.algorithm, moment) ||
            !first_in(plan, keyring, MM_KEY_PUBLISHED, &order))
            continue;
        *ret_order = order;
        return true;
    }
    return false;
}

enum mm_key_need mm_plan_need(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                              enum mm_algorithm algorithm, const struct mm_key_moment *moment)
{
    const struct mm_rotation_order any = {algorithm, NULL};
    if (!mm_algorithms_have(plan->algorithms, algorithm) || !mm_keyring_active(keyring, algorithm))
        return MM_NEED_NOTHING;
    if (n_standby(keyring, algorithm) < plan->standby)
        return first_in(plan, keyring, MM_KEY_STAGED, &any) ? MM_NEED_IS_MET : MM_NEED_STANDBY;
    if (plan->standby == 0 && is_time_to_rotate(plan, keyring, algorithm, moment) &&
        !mm_plan_candidate(plan, keyring, &any))
        return MM_NEED_ROTATION;
    return MM_NEED_NOTHING;
}

/* Whether it signs as soon as it may, by a rotation or because no key does. */
static bool comes_next(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key)
{
    const struct mm_rotation_order any = {key->algorithm, NULL};
    if (key->life.state != MM_KEY_PUBLISHED)
        return false;
    return key == mm_keyring_successor(keyring, key->algorithm) ||
           (mm_keyring_count(keyring, key->algorithm, MM_KEY_ACTIVE) == 0 &&
            key == first_in(plan, keyring, MM_KEY_PUBLISHED, &any));
}

bool mm_plan_next(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key,
                  const struct mm_key_moment *moment, enum mm_key_change *ret_change, int64_t *ret_time)
{
    const struct mm_key *successor = mm_keyring_successor(keyring, key->algorithm);
    bool signs = key->life.state == MM_KEY_ACTIVE;
    if (key->life.state == MM_KEY_RETIRING) {
        *ret_change = MM_KEY_WITHDRAW;
        *ret_time = mm_plan_from(plan, keyring, key, MM_KEY_WITHDRAW, moment);
    } else if (!is_wanted(plan, key)) {
        return false; /* nobody carries it on */
    } else if (comes_next(plan, keyring, key)) {
        *ret_change = MM_KEY_ACTIVATE;
        *ret_time = mm_plan_from(plan, keyring, key, MM_KEY_ACTIVATE, moment);
    } else if (signs && successor && successor != key) {
        *ret_change = MM_KEY_RETIRE;
        *ret_time = mm_plan_from(plan, keyring, successor, MM_KEY_ACTIVATE, moment);
    } else if (signs && plan->rotate_every > 0) {
        *ret_change = MM_KEY_RETIRE;
        *ret_time = key->activated_at + plan->rotate_every;
    } else {
        return false;
    }
    return true;
}
