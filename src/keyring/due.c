/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the keeper does by itself, on its own thread: what time brings, and what couldn't be done when it was ordered.
 */
#include <string.h>

#include "keyring/keeper_internal.h"

enum { STANDBY_RETRY_MS = 5000, STANDBY_RETRY_MAX_MS = 300000 };

static const struct mm_key_author TIME = {"mintmarkd", "due"};
static const struct mm_key_author SCHEDULE = {"mintmarkd", "keys.rotate_every"};

static bool find_condemned(struct mm_keeper *keeper, struct mm_condemned *ret_condemned)
{
    (void)pthread_mutex_lock(&keeper->lock);
    bool is_there = keeper->n_condemned > 0;
    if (is_there)
        *ret_condemned = keeper->condemned[0];
    (void)pthread_mutex_unlock(&keeper->lock);
    return is_there;
}

/* Revocations that couldn't be recorded, in the name of those who ordered them. */
static bool revoke_condemned(struct mm_keeper *keeper)
{
    struct mm_condemned condemned;
    while (find_condemned(keeper, &condemned)) {
        struct mm_error why = {0};
        const struct mm_key_author author = {condemned.by, condemned.reason};
        if (mm_keeper_revoke(keeper, condemned.kid, &author, &why))
            continue;
        mm_keeper_tell(keeper, mm_key_change_name(MM_KEY_REVOKE), condemned.kid, &author, &why);
        return false;
    }
    return true;
}

/* All rotations that the schedule wants; within a change. */
static bool begin_rotations(struct mm_keeper *keeper)
{
    char kid[MM_THUMBPRINT_LENGTH + 1];
    struct mm_rotation_order rotation;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    while (mm_plan_rotation_due(&keeper->parts.plan, keeper->keyring, &moment, &rotation)) {
        struct mm_error why = {0};
        if (!mm_keeper_record_rotation(keeper, &rotation, &SCHEDULE, kid, &why)) {
            mm_keeper_tell(keeper, "rotate", NULL, &SCHEDULE, &why);
            return false;
        }
    }
    return true;
}

/* What needs no HSM. False: some of it is to be tried again. */
static bool do_at_once(struct mm_keeper *keeper)
{
    if (!mm_keeper_begin_change(keeper, NULL))
        return false;
    if (keeper->view == NOT_SHOWN)
        mm_keeper_show(keeper);
    bool is_done = revoke_condemned(keeper) && begin_rotations(keeper);
    mm_keeper_end_change(keeper);
    return is_done;
}

/* A verdict on the key itself; anything else may be otherwise in a while. */
static bool is_final(enum mm_code code)
{
    static const enum mm_code CODES[] = {MM_KEY_CUSTODY,   MM_KEY_MISMATCH,  MM_KEY_NOT_FOUND,
                                         MM_KEY_AMBIGUOUS, MM_HSM_MECHANISM, MM_SIGNATURE_INVALID};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CODES); i++)
        if (code == CODES[i])
            return true;
    return false;
}

/* Once is enough for a key that is unfit. Whoever publishes it by hand is heard all the same. */
static void note_unfit(struct mm_keeper *keeper, const char *kid)
{
    (void)pthread_mutex_lock(&keeper->lock);
    (void)mm_kid_set_add(&keeper->parts.plan.unfit, kid); /* a full set stands for every key */
    (void)pthread_mutex_unlock(&keeper->lock);
}

/* A standby is tried ever more seldom: each try is a login. */
static bool publish_standby(struct mm_keeper *keeper, const struct mm_key_order *order, struct mm_error *err)
{
    if (!mm_ledger_is_healthy(keeper->parts.ledger))
        return mm_fail(err, MM_LEDGER_UNAVAILABLE, "the ledger can't be written");
    if (mm_keeper_execute(keeper, order, MM_IN_TIME, &TIME, err)) {
        keeper->standby_delay_ms = 0;
        return true;
    }
    if (is_final(err->code)) {
        note_unfit(keeper, order->kid);
        return false;
    }
    int64_t delay = keeper->standby_delay_ms > 0 ? 2 * keeper->standby_delay_ms : STANDBY_RETRY_MS;
    keeper->standby_delay_ms = delay < STANDBY_RETRY_MAX_MS ? delay : STANDBY_RETRY_MAX_MS;
    keeper->standby_not_before = mm_deadline_after_ms(keeper->standby_delay_ms);
    return false;
}

/*
 * Everything that is due, one after another. A key that can't be changed, as its HSM is away, keeps no other from its turn. False: some of it
 * is to be tried again.
 */
static bool do_all(struct mm_keeper *keeper)
{
    struct mm_kid_set failed = {0};
    while (failed.n < MM_KIDS_MAX) {
        struct mm_error why = {0};
        struct mm_key_order order;
        struct mm_key_moment moment = mm_keeper_moment(keeper);
        const struct mm_key_plan plan = mm_keeper_plan(keeper);
        mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
        if (!mm_plan_due(&plan, keyring, &moment, &failed, &order))
            break;
        bool is_standby = order.change == MM_KEY_PUBLISH;
        if (is_standby && mm_monotonic_ns() < keeper->standby_not_before)
            break;
        if (is_standby ? publish_standby(keeper, &order, &why)
                       : mm_keeper_execute(keeper, &order, MM_IN_TIME, &TIME, &why))
            continue;
        if (why.code == MM_SHUTTING_DOWN)
            break;
        mm_keeper_tell(keeper, mm_key_change_name(order.change), order.kid, &TIME, &why);
        (void)mm_kid_set_add(&failed, order.kid);
    }
    return failed.n == 0;
}

bool mm_keeper_do_due(struct mm_keeper *keeper)
{
    return do_at_once(keeper) && mm_keeper_replace_revoked(keeper, &TIME) && do_all(keeper);
}
