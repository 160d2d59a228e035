/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the keys: effect, entry, effect. What isn't in the ledger doesn't count, with one exception: a key that is to be revoked signs
 * nothing from the moment that somebody said so.
 */
#include <stdio.h>
#include <string.h>

#include "keyring/keeper_internal.h"

enum { RECORD_MS = 60000 /* past it nobody knows whether an entry is in the ledger */ };

void mm_keeper_tell(const struct mm_keeper *keeper, const char *what, const char *kid,
                    const struct mm_key_author *author, const struct mm_error *why)
{
    keeper->parts.effects.told(keeper->parts.effects.context, what, kid, author, why);
}

/* A revocation can't wait, what was given up stays so by any clock, and one of them mends the clock. */
bool mm_keeper_check_clock(const struct mm_keeper *keeper, enum mm_entry_type type, struct mm_error *err)
{
    return type == MM_ENTRY_KEY_REVOKED || type == MM_ENTRY_KEY_NOT_GENERATED || type == MM_ENTRY_CLOCK_ACCEPTED ||
           mm_ledger_check_clock(keeper->parts.ledger, err);
}

void mm_keeper_show(struct mm_keeper *keeper)
{
    static const struct mm_key_author OURSELVES = {"mintmarkd", ""};
    struct mm_error why = {0};
    bool is_shown = keeper->parts.effects.show(keeper->parts.effects.context, keeper->keyring, &why);
    if (!is_shown && keeper->view == SHOWN)
        mm_keeper_tell(keeper, "show", NULL, &OURSELVES, &why);
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

bool mm_keeper_record(struct mm_keeper *keeper, enum mm_entry_type type, json_t *fields,
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
    if (!mm_keeper_check_clock(keeper, type, err))
        return false;
    /* Whether it may follow is known before anything is durable. */
    mm_cleanup(mm_keyring_unref) struct mm_keyring *trial =
        mm_keyring_after(keeper->keyring, type, fields, mm_clock_now(keeper->parts.clock), &why);
    if (!trial)
        return mm_fail(err, why.code == MM_LEDGER_CORRUPT ? MM_KEY_STATE : why.code, "%s", why.message);
    if (!mm_ledger_append(keeper->parts.ledger, type, fields, mm_deadline_after_ms(RECORD_MS), &receipt, &why)) {
        keeper->record = why.code == MM_DEADLINE_EXCEEDED ? UNSURE : SURE;
        if (keeper->record == UNSURE)
            mm_keeper_tell(keeper, "record", mm_json_string(fields, "kid"), author, &why);
        return mm_fail(err, why.code, "%s", why.message);
    }
    /* By the clock after the entry's: never earlier than what a restart will read. */
    struct mm_keyring *after = mm_keyring_after(keeper->keyring, type, fields, mm_clock_now(keeper->parts.clock), &why);
    if (!after) {
        keeper->record = UNSURE;
        return mm_fail(err, why.code, "recorded, but not in force until the service is restarted: %s", why.message);
    }
    replace(keeper, after);
    mm_keeper_show(keeper);
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

/* Its place; n_condemned: it isn't condemned. */
static size_t find_condemned_locked(const struct mm_keeper *keeper, const char *kid)
{
    size_t i = 0;
    while (i < keeper->n_condemned && strcmp(keeper->condemned[i].kid, kid) != 0)
        i++;
    return i;
}

static bool is_condemned(struct mm_keeper *keeper, const char *kid)
{
    (void)pthread_mutex_lock(&keeper->lock);
    bool is_among = find_condemned_locked(keeper, kid) < keeper->n_condemned;
    (void)pthread_mutex_unlock(&keeper->lock);
    return is_among;
}

static void pardon(struct mm_keeper *keeper, const char *kid)
{
    (void)pthread_mutex_lock(&keeper->lock);
    size_t place = find_condemned_locked(keeper, kid);
    if (place < keeper->n_condemned)
        keeper->condemned[place] = keeper->condemned[--keeper->n_condemned];
    (void)pthread_mutex_unlock(&keeper->lock);
}

static bool note_condemned_locked(struct mm_keeper *keeper, const char *kid, const struct mm_key_author *author)
{
    size_t place = find_condemned_locked(keeper, kid);
    if (place == MM_CONDEMNED_MAX)
        return false;
    struct mm_condemned *condemned = &keeper->condemned[place];
    (void)snprintf(condemned->kid, sizeof condemned->kid, "%s", kid);
    (void)snprintf(condemned->by, sizeof condemned->by, "%s", author->by);
    (void)snprintf(condemned->reason, sizeof condemned->reason, "%s", author->reason);
    keeper->n_condemned += place == keeper->n_condemned;
    return true;
}

bool mm_keeper_condemn(struct mm_keeper *keeper, const struct mm_key *key, const struct mm_key_author *author,
                       struct mm_error *err)
{
    (void)pthread_mutex_lock(&keeper->lock);
    bool is_noted = note_condemned_locked(keeper, key->kid, author);
    (void)pthread_mutex_unlock(&keeper->lock);
    keeper->parts.effects.take_out(keeper->parts.effects.context, key);
    return is_noted || mm_fail(err, MM_OVERLOADED, "%d revocations can't be recorded already", MM_CONDEMNED_MAX);
}

/* Who condemns a key notes it before he takes it out: either he does that after this, or it is seen here. */
static void let_sign(struct mm_keeper *keeper, const struct mm_key *key)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    if (!is_condemned(keeper, key->kid))
        effects->let_sign(effects->context, key);
    if (is_condemned(keeper, key->kid))
        effects->take_out(effects->context, key);
}

/* What the rules don't know: the clock, the HSMs, and what is on its way. */
static bool check_world(struct mm_keeper *keeper, const struct mm_keyring *keyring, const struct mm_key_order *order,
                        struct mm_error *err)
{
    const struct mm_key *key = mm_keyring_find(keyring, order->kid);
    if (!mm_keeper_check_clock(keeper, mm_key_change_entry(order->change), err))
        return false;
    if (order->change == MM_KEY_ACTIVATE && is_condemned(keeper, order->kid))
        return mm_fail(err, MM_KEY_STATE, "key %s is about to be revoked", order->kid);
    return order->change != MM_KEY_RETIRE || !is_wanted(keeper, key) || another_serves(keeper, keyring, key) ||
           mm_fail(err, MM_HSM_UNAVAILABLE, "no other key of its algorithm has a worker that signs");
}

bool mm_keeper_check(struct mm_keeper *keeper, const struct mm_keyring *keyring, const struct mm_key_order *order,
                     enum mm_pace pace, struct mm_error *err)
{
    static const struct mm_key_moment AFTER_ALL = {INT64_MAX, 0};
    struct mm_key_moment moment = pace == MM_AT_ONCE ? AFTER_ALL : mm_keeper_moment(keeper);
    return mm_plan_check(&keeper->parts.plan, keyring, order, &moment, err) && check_world(keeper, keyring, order, err);
}

/* As it was before, if it can't be recorded; where nobody knows whether it was, the key stays out: another serves. */
static bool retire(struct mm_keeper *keeper, const struct mm_key *key, json_t *fields,
                   const struct mm_key_author *author, struct mm_error *err)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    struct mm_error lost = {0};
    effects->take_out(effects->context, key);
    if (mm_keeper_record(keeper, MM_ENTRY_KEY_RETIRING, fields, author, err))
        return true;
    if (keeper->record == SURE && effects->take_in(effects->context, key, &lost))
        let_sign(keeper, key);
    if (lost.code != MM_OK)
        mm_keeper_tell(keeper, "take_in", key->kid, author, &lost);
    return false;
}

bool mm_keeper_carry_out(struct mm_keeper *keeper, const struct mm_key_order *order, enum mm_pace pace,
                         const struct mm_key_author *author, struct mm_error *err)
{
    const struct mm_keeper_effects *effects = &keeper->parts.effects;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *before = mm_keyring_ref(keeper->keyring);
    const struct mm_key *key = mm_keyring_find(before, order->kid);
    mm_cleanup(json_decref) json_t *fields = change_fields(keeper, order);
    bool is_done = mm_keeper_check(keeper, before, order, pace, err) &&
                   (order->change == MM_KEY_RETIRE
                        ? retire(keeper, key, fields, author, err)
                        : mm_keeper_record(keeper, mm_key_change_entry(order->change), fields, author, err));
    if (order->change == MM_KEY_ACTIVATE && is_done)
        let_sign(keeper, key);
    else if (order->change == MM_KEY_ACTIVATE && key && key->life.state != MM_KEY_ACTIVE)
        effects->take_out(effects->context, key);
    if (is_done)
        mm_keeper_tell(keeper, mm_key_change_name(order->change), order->kid, author, NULL);
    return is_done;
}

bool mm_keeper_revoke(struct mm_keeper *keeper, const char *kid, const struct mm_key_author *author,
                      struct mm_error *err)
{
    const struct mm_key_order order = {MM_KEY_REVOKE, kid};
    mm_cleanup(mm_keyring_unref) struct mm_keyring *before = mm_keyring_ref(keeper->keyring);
    const struct mm_key *key = mm_keyring_find(before, kid);
    if (!is_condemned(keeper, kid))
        return true; /* somebody was faster */
    bool may_be = mm_keeper_check(keeper, before, &order, MM_AT_ONCE, err);
    if (may_be && !mm_keeper_carry_out(keeper, &order, MM_AT_ONCE, author, err))
        return false;
    pardon(keeper, kid); /* done, or not to be done any more */
    if (may_be && key->life.state == MM_KEY_ACTIVE && is_wanted(keeper, key)) {
        (void)pthread_mutex_lock(&keeper->lock);
        keeper->bereft |= (mm_algorithm_set)1 << key->algorithm;
        (void)pthread_mutex_unlock(&keeper->lock);
    }
    return may_be;
}
