/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/plan.h"

#include <string.h>

#include "util/clock.h"

struct mm_key_plan mm_plan_make(const struct mm_config *config)
{
    return (struct mm_key_plan){
        .algorithm = config->algorithm,
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

int64_t mm_plan_from(const struct mm_key_plan *plan, const struct mm_key *key, enum mm_key_change change,
                     const struct mm_key_moment *moment)
{
    const struct mm_key_life *life = &key->life;
    int64_t from = mm_key_change_from(life, change, plan->publish_ahead);
    if (change == MM_KEY_ACTIVATE)
        return later(from, moment->run_since + MM_KEY_FLOORS.publish_ahead);
    /* A clock that was put forward while the service was down must not hide keys whose tokens are alive. */
    if (change == MM_KEY_WITHDRAW && life->state == MM_KEY_RETIRING)
        return later(from, moment->run_since + from - life->since);
    return from;
}

static bool refuse_state(const struct mm_key *key, const char *why, struct mm_error *err)
{
    return mm_fail(err, MM_KEY_STATE, "key %s %s", key->kid, why);
}

static size_t n_listed(const struct mm_keyring *keyring)
{
    size_t n = 0;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++)
        n += mm_key_is_listed(&mm_keyring_key(keyring, i)->life);
    return n;
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
    if (order->change == MM_KEY_RETIRE && mm_keyring_count(keyring, key->algorithm, MM_KEY_ACTIVE) < 2)
        return refuse_state(key, "is the last active one of its algorithm: rotate instead", err);
    if (order->change == MM_KEY_PUBLISH && key->algorithm != plan->algorithm)
        return refuse_state(key, "isn't of keys.algorithm", err);
    if (order->change == MM_KEY_PUBLISH && n_listed(keyring) >= MM_KEYRING_LISTED_MAX)
        return refuse_state(key, "has no room in the JWKS", err);
    if (order->change == MM_KEY_WITHDRAW && key == mm_keyring_successor(keyring))
        return refuse_state(key, "is what a rotation is on its way to", err);
    struct mm_key_plan hasty = *plan;
    if (mm_keyring_count(keyring, key->algorithm, MM_KEY_ACTIVE) == 0)
        hasty.publish_ahead = 0; /* nothing is signed meanwhile: only the caches are waited for */
    int64_t from = mm_plan_from(&hasty, key, order->change, moment);
    if (moment->now >= from)
        return true;
    char text[MM_TIMESTAMP_MAX];
    mm_timestamp(from, text);
    return mm_fail(err, MM_KEY_TOO_EARLY, "key %s may %s from %s on", key->kid, mm_key_change_name(order->change),
                   text);
}

static bool is_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key,
                   enum mm_key_change change, const struct mm_key_moment *moment, struct mm_key_order *ret_order)
{
    const struct mm_key_order order = {change, key->kid};
    if (!mm_plan_check(plan, keyring, &order, moment, NULL))
        return false;
    *ret_order = order;
    return true;
}

/* The successor first, then the others of its algorithm make way. */
static bool rotation_is_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                            const struct mm_key_moment *moment, struct mm_key_order *ret_order)
{
    const struct mm_key *successor = mm_keyring_successor(keyring);
    if (!successor)
        return false;
    if (successor->life.state == MM_KEY_PUBLISHED)
        return is_due(plan, keyring, successor, MM_KEY_ACTIVATE, moment, ret_order);
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        if (key != successor && key->algorithm == successor->algorithm && key->life.state == MM_KEY_ACTIVE)
            return is_due(plan, keyring, key, MM_KEY_RETIRE, moment, ret_order);
    }
    return false;
}

/* Published, and nobody's successor. */
static size_t n_standby(const struct mm_key_plan *plan, const struct mm_keyring *keyring)
{
    const struct mm_key *successor = mm_keyring_successor(keyring);
    size_t n = mm_keyring_count(keyring, plan->algorithm, MM_KEY_PUBLISHED);
    bool is_taken = successor && successor->algorithm == plan->algorithm && successor->life.state == MM_KEY_PUBLISHED;
    return n - (is_taken ? 1 : 0);
}

static bool is_among(const char *kid, const struct mm_kid_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (strcmp(set->kids[i], kid) == 0)
            return true;
    return false;
}

static const struct mm_key *first_in(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                                     enum mm_key_state state, const char *hsm_token)
{
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        bool is_unfit = state == MM_KEY_STAGED && is_among(key->kid, &plan->unfit);
        if (key->life.state == state && !is_unfit && key->algorithm == plan->algorithm &&
            (!hsm_token || strcmp(key->hsm_token, hsm_token) == 0))
            return key;
    }
    return NULL;
}

bool mm_plan_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key_moment *moment,
                 struct mm_key_order *ret_order)
{
    if (mm_keyring_count(keyring, plan->algorithm, MM_KEY_ACTIVE) == 0) {
        const struct mm_key *standby = first_in(plan, keyring, MM_KEY_PUBLISHED, NULL);
        if (standby && is_due(plan, keyring, standby, MM_KEY_ACTIVATE, moment, ret_order))
            return true;
    }
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        if (key->life.state == MM_KEY_RETIRING && is_due(plan, keyring, key, MM_KEY_WITHDRAW, moment, ret_order))
            return true;
    }
    if (rotation_is_due(plan, keyring, moment, ret_order))
        return true;
    const struct mm_key *staged = first_in(plan, keyring, MM_KEY_STAGED, NULL);
    return staged && n_standby(plan, keyring) < plan->standby &&
           is_due(plan, keyring, staged, MM_KEY_PUBLISH, moment, ret_order);
}

const struct mm_key *mm_plan_candidate(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                                       const char *hsm_token)
{
    const struct mm_key *published = first_in(plan, keyring, MM_KEY_PUBLISHED, hsm_token);
    return published ? published : first_in(plan, keyring, MM_KEY_STAGED, hsm_token);
}

bool mm_plan_is_rotation_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                             const struct mm_key_moment *moment)
{
    const struct mm_key *active = mm_keyring_active(keyring, plan->algorithm);
    return plan->rotate_every > 0 && active && !mm_keyring_successor(keyring) &&
           moment->now >= active->activated_at + plan->rotate_every &&
           first_in(plan, keyring, MM_KEY_PUBLISHED, NULL) != NULL;
}

bool mm_plan_next(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key,
                  const struct mm_key_moment *moment, enum mm_key_change *ret_change, int64_t *ret_time)
{
    const struct mm_key *successor = mm_keyring_successor(keyring);
    bool makes_way =
        key->life.state == MM_KEY_ACTIVE && successor && successor != key && successor->algorithm == key->algorithm;
    bool is_last = key->life.state == MM_KEY_ACTIVE && plan->rotate_every > 0 && key->algorithm == plan->algorithm;
    if (key->life.state == MM_KEY_RETIRING) {
        *ret_change = MM_KEY_WITHDRAW;
        *ret_time = mm_plan_from(plan, key, MM_KEY_WITHDRAW, moment);
    } else if (key == successor && key->life.state == MM_KEY_PUBLISHED) {
        *ret_change = MM_KEY_ACTIVATE;
        *ret_time = mm_plan_from(plan, key, MM_KEY_ACTIVATE, moment);
    } else if (makes_way) {
        *ret_change = MM_KEY_RETIRE;
        *ret_time = mm_plan_from(plan, successor, MM_KEY_ACTIVATE, moment);
    } else if (is_last) {
        *ret_change = MM_KEY_RETIRE;
        *ret_time = key->activated_at + plan->rotate_every;
    } else {
        return false;
    }
    return true;
}
