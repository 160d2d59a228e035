/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of a key's life, one by one, and then against random commands and clock steps: whatever is ordered, no verifier with a
 * cache as old as it may be meets a token that it can't check.
 */
#include "keyring/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sign.h"

enum { START = 1800000000, MAX_TTL = 900, AHEAD = 3600, N_KEYS = 10, N_ES256 = 6, ROUNDS = 400, STEPS = 80 };

static const struct mm_key_plan PLAN = {.algorithms = 1U << MM_ES256,
                                        .publish_ahead = AHEAD,
                                        .max_ttl = MAX_TTL,
                                        .standby = 1};

/* The same of an issuer with two algorithms: keys from N_ES256 on are for the other. */
static const struct mm_key_plan BOTH = {.algorithms = 1U << MM_ES256 | 1U << MM_ES384,
                                        .publish_ahead = AHEAD,
                                        .max_ttl = MAX_TTL,
                                        .standby = 1};

static const struct mm_kid_set NOBODY = {0};

/* What would be kept in the ledger, without one. */
struct world {
    struct mm_pubkey *pubkeys[N_KEYS];
    struct mm_keyring *keyring;
    struct mm_key_moment moment;
    int64_t last_exp[N_KEYS]; /* that verifiers were given */
    uint64_t random;
};

static enum mm_algorithm algorithm_of(size_t i)
{
    return i < N_ES256 ? MM_ES256 : MM_ES384;
}

static int make_keys(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    for (size_t i = 0; i < N_KEYS; i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *key = make_private_key(algorithm_of(i));
        world->pubkeys[i] = make_pubkey(algorithm_of(i), key);
    }
    *state = world;
    return 0;
}

static int free_keys(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < N_KEYS; i++)
        mm_pubkey_free(world->pubkeys[i]);
    mm_keyring_unref(world->keyring);
    free(world);
    return 0;
}

static const char *kid_of(const struct world *world, size_t i)
{
    return mm_pubkey_thumbprint(world->pubkeys[i]);
}

/* False: it can't follow. */
static bool enter(struct world *world, enum mm_entry_type type, json_t *entry)
{
    struct mm_keyring *after = mm_keyring_after(world->keyring, type, entry, world->moment.now, NULL);
    json_decref(entry);
    if (!after)
        return false;
    mm_keyring_unref(world->keyring);
    world->keyring = after;
    return true;
}

static bool stage(struct world *world, size_t i)
{
    const struct mm_key key = {.kid = kid_of(world, i),
                               .pubkey = world->pubkeys[i],
                               .algorithm = algorithm_of(i),
                               .hsm_token = i % 2 ? "b" : "a",
                               .hsm_id = "01",
                               .hsm_label = "x"};
    return enter(world, MM_ENTRY_KEY_STAGED, mm_key_entry(&key, NULL));
}

static bool carry_out(struct world *world, enum mm_key_change change, const char *kid)
{
    return enter(world, mm_key_change_entry(change),
                 json_pack("{ss sI}", "kid", kid, "last_exp", (json_int_t)(world->moment.now + MAX_TTL)));
}

/* The first key, as `mintmark init` leaves it. */
static void begin(struct world *world)
{
    mm_keyring_unref(MM_TAKE(world->keyring));
    memset(world->last_exp, 0, sizeof world->last_exp);
    world->moment = (struct mm_key_moment){START, START - 100000};
    assert_true(stage(world, 0));
    assert_true(carry_out(world, MM_KEY_PUBLISH, kid_of(world, 0)));
    assert_true(carry_out(world, MM_KEY_ACTIVATE, kid_of(world, 0)));
}

static bool order_by(struct world *world, const struct mm_key_plan *plan, enum mm_key_change change, size_t i,
                     struct mm_error *err)
{
    const struct mm_key_order wanted = {change, kid_of(world, i)};
    return mm_plan_check(plan, world->keyring, &wanted, &world->moment, err) && carry_out(world, change, wanted.kid);
}

static bool order(struct world *world, enum mm_key_change change, size_t i, struct mm_error *err)
{
    return order_by(world, &PLAN, change, i, err);
}

static void assert_refused(struct world *world, enum mm_key_change change, size_t i, enum mm_code code)
{
    struct mm_error err = {0};
    assert_false(order(world, change, i, &err));
    assert_int_equal(err.code, code);
}

/* What is due by the plan of both algorithms is that, and is done. */
static void assert_due(struct world *world, enum mm_key_change change, size_t i)
{
    struct mm_key_order due;
    assert_true(mm_plan_due(&BOTH, world->keyring, &world->moment, &NOBODY, &due));
    assert_string_equal(mm_key_change_name(due.change), mm_key_change_name(change));
    assert_string_equal(due.kid, kid_of(world, i));
    assert_true(carry_out(world, due.change, due.kid));
}

static void assert_nothing_due(struct world *world)
{
    struct mm_key_order due;
    assert_false(mm_plan_due(&BOTH, world->keyring, &world->moment, &NOBODY, &due));
}

static bool begin_rotation(struct world *world, size_t i)
{
    return enter(world, MM_ENTRY_KEY_ROTATION, json_pack("{ss}", "kid", kid_of(world, i)));
}

static void pass(struct world *world, int64_t seconds)
{
    world->moment.now += seconds;
}

static void key_signs_only_after_every_cache_has_it(void **state)
{
    struct world *world = *state;
    begin(world);
    assert_true(stage(world, 1));
    assert_refused(world, MM_KEY_ACTIVATE, 1, MM_KEY_STATE);
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    pass(world, AHEAD - 1);
    assert_refused(world, MM_KEY_ACTIVATE, 1, MM_KEY_TOO_EARLY);
    pass(world, 1);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
}

static void the_floor_holds_whatever_is_configured(void **state)
{
    struct world *world = *state;
    const struct mm_key_plan hasty = {.algorithms = 1U << MM_ES256, .publish_ahead = 0, .max_ttl = MAX_TTL};
    begin(world);
    assert_true(stage(world, 1));
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    const struct mm_key_order activate = {MM_KEY_ACTIVATE, kid_of(world, 1)};
    pass(world, 359);
    assert_false(mm_plan_check(&hasty, world->keyring, &activate, &world->moment, NULL));
    pass(world, 1);
    assert_true(mm_plan_check(&hasty, world->keyring, &activate, &world->moment, NULL));
}

/* The clock may have been put forward while nobody served the JWKS. */
static void a_restart_gives_caches_their_time_again(void **state)
{
    struct world *world = *state;
    begin(world);
    assert_true(stage(world, 1));
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    pass(world, 1000000);
    world->moment.run_since = world->moment.now;
    assert_refused(world, MM_KEY_ACTIVATE, 1, MM_KEY_TOO_EARLY);
    pass(world, 360);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
    assert_true(order(world, MM_KEY_RETIRE, 0, NULL));
    pass(world, 1000000);
    world->moment.run_since = world->moment.now;
    pass(world, MAX_TTL + 59);
    assert_refused(world, MM_KEY_WITHDRAW, 0, MM_KEY_TOO_EARLY);
    pass(world, 1);
    assert_true(order(world, MM_KEY_WITHDRAW, 0, NULL));
}

static void the_last_active_key_can_not_retire(void **state)
{
    struct world *world = *state;
    begin(world);
    assert_refused(world, MM_KEY_RETIRE, 0, MM_KEY_STATE);
    assert_refused(world, MM_KEY_WITHDRAW, 0, MM_KEY_STATE);
    assert_refused(world, MM_KEY_DESTROY, 0, MM_KEY_STATE);
    assert_refused(world, MM_KEY_PUBLISH, 1, MM_KEY_UNKNOWN);
}

static void key_is_listed_until_its_last_token_has_expired(void **state)
{
    struct world *world = *state;
    begin(world);
    assert_true(stage(world, 1));
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    pass(world, AHEAD);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
    assert_true(order(world, MM_KEY_RETIRE, 0, NULL));
    pass(world, MAX_TTL + 59);
    assert_refused(world, MM_KEY_WITHDRAW, 0, MM_KEY_TOO_EARLY);
    assert_refused(world, MM_KEY_DESTROY, 0, MM_KEY_STATE);
    pass(world, 1);
    struct mm_key_order due;
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_int_equal(due.change, MM_KEY_WITHDRAW);
    assert_string_equal(due.kid, kid_of(world, 0));
    assert_true(order(world, MM_KEY_WITHDRAW, 0, NULL));
    assert_true(order(world, MM_KEY_DESTROY, 0, NULL));
}

static void a_standby_is_published_and_a_rotation_carried_on_by_themselves(void **state)
{
    struct world *world = *state;
    struct mm_key_order due;
    begin(world);
    assert_false(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_true(stage(world, 1));
    assert_true(stage(world, 2));
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_true(due.change == MM_KEY_PUBLISH && strcmp(due.kid, kid_of(world, 1)) == 0);
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    assert_false(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_true(enter(world, MM_ENTRY_KEY_ROTATION, json_pack("{ss}", "kid", kid_of(world, 1))));
    /* It isn't the standby any more. */
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_true(due.change == MM_KEY_PUBLISH && strcmp(due.kid, kid_of(world, 2)) == 0);
    assert_true(order(world, MM_KEY_PUBLISH, 2, NULL));
    assert_false(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    pass(world, AHEAD);
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_true(due.change == MM_KEY_ACTIVATE && strcmp(due.kid, kid_of(world, 1)) == 0);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_true(due.change == MM_KEY_RETIRE && strcmp(due.kid, kid_of(world, 0)) == 0);
    assert_true(order(world, MM_KEY_RETIRE, 0, NULL));
    assert_null(mm_keyring_successor(world->keyring, MM_ES256));
}

static void a_schedule_rotates_when_it_is_time_and_there_is_a_key(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = PLAN;
    plan.rotate_every = 90 * 86400;
    begin(world);
    pass(world, plan.rotate_every);
    struct mm_rotation_order wanted;
    assert_false(mm_plan_rotation_due(&plan, world->keyring, &world->moment, &wanted));
    assert_true(stage(world, 1));
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    assert_true(mm_plan_rotation_due(&plan, world->keyring, &world->moment, &wanted));
    assert_true(wanted.algorithm == MM_ES256 && !wanted.hsm_token);
    world->moment.now -= 1;
    assert_false(mm_plan_rotation_due(&plan, world->keyring, &world->moment, &wanted));
}

/* Key 0 signs ES256, key N_ES256 the other algorithm. */
static void begin_both(struct world *world)
{
    begin(world);
    assert_true(stage(world, N_ES256));
    assert_due(world, MM_KEY_PUBLISH, N_ES256);
    pass(world, AHEAD);
    assert_due(world, MM_KEY_ACTIVATE, N_ES256);
    assert_nothing_due(world);
}

static void the_first_key_of_a_further_algorithm_signs_once_every_cache_has_it(void **state)
{
    struct world *world = *state;
    const struct mm_key_order activate = {MM_KEY_ACTIVATE, kid_of(world, N_ES256)};
    enum mm_key_change change;
    int64_t at;
    begin(world);
    assert_true(stage(world, N_ES256));
    assert_true(stage(world, N_ES256 + 1));
    assert_due(world, MM_KEY_PUBLISH, N_ES256);
    assert_nothing_due(world); /* one on standby is enough */
    const struct mm_key *key = mm_keyring_find(world->keyring, kid_of(world, N_ES256));
    assert_true(mm_plan_next(&BOTH, world->keyring, key, &world->moment, &change, &at));
    assert_true(change == MM_KEY_ACTIVATE && at == START + 360);
    assert_int_equal(mm_plan_from(&BOTH, world->keyring, key, MM_KEY_ACTIVATE, &world->moment), at);
    pass(world, 359);
    assert_nothing_due(world);
    assert_false(mm_plan_check(&BOTH, world->keyring, &activate, &world->moment, NULL));
    pass(world, 1);
    assert_due(world, MM_KEY_ACTIVATE, N_ES256);
    assert_due(world, MM_KEY_PUBLISH, N_ES256 + 1);
    assert_nothing_due(world);
    assert_string_equal(mm_keyring_active(world->keyring, MM_ES256)->kid, kid_of(world, 0));
}

static void each_algorithm_has_its_own_standby_and_rotation(void **state)
{
    struct world *world = *state;
    begin_both(world);
    assert_true(stage(world, N_ES256 + 1));
    assert_due(world, MM_KEY_PUBLISH, N_ES256 + 1);
    assert_true(stage(world, 1));
    assert_due(world, MM_KEY_PUBLISH, 1);
    assert_true(begin_rotation(world, N_ES256 + 1));
    assert_null(mm_keyring_successor(world->keyring, MM_ES256));
    assert_true(begin_rotation(world, 1));
    pass(world, AHEAD);
    assert_due(world, MM_KEY_ACTIVATE, 1);
    assert_due(world, MM_KEY_RETIRE, 0);
    assert_null(mm_keyring_successor(world->keyring, MM_ES256));
    assert_string_equal(mm_keyring_successor(world->keyring, MM_ES384)->kid, kid_of(world, N_ES256 + 1));
    assert_due(world, MM_KEY_ACTIVATE, N_ES256 + 1);
    assert_due(world, MM_KEY_RETIRE, N_ES256);
    assert_null(mm_keyring_successor(world->keyring, MM_ES384));
    assert_nothing_due(world);
    assert_false(order_by(world, &BOTH, MM_KEY_RETIRE, 1, NULL));
    assert_false(order_by(world, &BOTH, MM_KEY_RETIRE, N_ES256 + 1, NULL));
}

static void the_schedule_serves_each_algorithm(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = BOTH;
    struct mm_rotation_order wanted;
    plan.rotate_every = 90 * 86400;
    begin_both(world);
    assert_true(stage(world, 1));
    assert_true(stage(world, N_ES256 + 1));
    assert_due(world, MM_KEY_PUBLISH, 1);
    assert_due(world, MM_KEY_PUBLISH, N_ES256 + 1);
    pass(world, plan.rotate_every - AHEAD); /* the first key's turn, an hour before the other's */
    assert_true(mm_plan_rotation_due(&plan, world->keyring, &world->moment, &wanted));
    assert_int_equal(wanted.algorithm, MM_ES256);
    assert_true(begin_rotation(world, 1));
    assert_false(mm_plan_rotation_due(&plan, world->keyring, &world->moment, &wanted));
    pass(world, AHEAD);
    assert_true(mm_plan_rotation_due(&plan, world->keyring, &world->moment, &wanted));
    assert_int_equal(wanted.algorithm, MM_ES384);
    assert_string_equal(mm_plan_candidate(&plan, world->keyring, &wanted)->kid, kid_of(world, N_ES256 + 1));
    wanted.hsm_token = "elsewhere";
    assert_null(mm_plan_candidate(&plan, world->keyring, &wanted));
}

/* Its HSM is away, say. */
static void a_key_that_can_not_be_changed_keeps_no_other_from_its_turn(void **state)
{
    struct world *world = *state;
    struct mm_kid_set but = {0};
    struct mm_key_order due;
    begin(world);
    assert_true(stage(world, N_ES256));
    assert_due(world, MM_KEY_PUBLISH, N_ES256);
    assert_true(stage(world, 1));
    assert_due(world, MM_KEY_PUBLISH, 1);
    assert_true(begin_rotation(world, 1));
    pass(world, AHEAD);
    assert_true(mm_plan_due(&BOTH, world->keyring, &world->moment, &but, &due));
    assert_string_equal(due.kid, kid_of(world, N_ES256));
    mm_kid_set_add(&but, due.kid);
    mm_kid_set_add(&but, due.kid);
    assert_int_equal(but.n, 1);
    assert_true(mm_plan_due(&BOTH, world->keyring, &world->moment, &but, &due));
    assert_true(due.change == MM_KEY_ACTIVATE && strcmp(due.kid, kid_of(world, 1)) == 0);
    mm_kid_set_add(&but, due.kid);
    assert_false(mm_plan_due(&BOTH, world->keyring, &world->moment, &but, &due));
}

static void a_key_of_an_algorithm_that_is_not_wanted_any_more_may_only_go(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    begin_both(world);
    assert_true(stage(world, N_ES256 + 1));
    assert_due(world, MM_KEY_PUBLISH, N_ES256 + 1);
    assert_true(stage(world, N_ES256 + 2));
    pass(world, AHEAD);
    assert_refused(world, MM_KEY_PUBLISH, N_ES256 + 2, MM_KEY_STATE);
    assert_refused(world, MM_KEY_ACTIVATE, N_ES256 + 1, MM_KEY_STATE);
    if (!order(world, MM_KEY_RETIRE, N_ES256, &err) || !order(world, MM_KEY_WITHDRAW, N_ES256 + 1, &err))
        fail_msg("%s", err.message);
    assert_refused(world, MM_KEY_WITHDRAW, N_ES256, MM_KEY_TOO_EARLY);
    struct mm_key_order due;
    pass(world, MAX_TTL + 60);
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &NOBODY, &due));
    assert_true(due.change == MM_KEY_WITHDRAW && strcmp(due.kid, kid_of(world, N_ES256)) == 0);
}

static void a_key_that_would_break_a_reader_is_not_published(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = BOTH;
    struct mm_error err = {0};
    plan.readers = mm_reader_bit(MM_READER_LORE);
    begin(world);
    assert_true(stage(world, N_ES256));
    assert_true(mm_plan_check_readers(&plan, world->keyring, &err));
    plan.readers |= mm_reader_bit(MM_READER_RSA);
    assert_false(order_by(world, &plan, MM_KEY_PUBLISH, N_ES256, &err));
    assert_int_equal(err.code, MM_KEY_STATE);
    assert_non_null(strstr(err.message, "could refuse the whole JWKS for one key of ES384"));
    struct mm_key_order due;
    assert_false(mm_plan_due(&plan, world->keyring, &world->moment, &NOBODY, &due));
    plan.readers = mm_reader_bit(MM_READER_LORE);
    assert_true(order_by(world, &plan, MM_KEY_PUBLISH, N_ES256, NULL));
}

static void a_key_that_is_left_in_the_jwks_counts_for_its_readers_too(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = PLAN;
    begin(world);
    assert_true(stage(world, 1));
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    pass(world, AHEAD);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
    assert_true(order(world, MM_KEY_RETIRE, 0, NULL));
    plan.readers = mm_reader_bit(MM_READER_RSA);
    for (size_t n_left = 2; n_left > 0; n_left--) {
        struct mm_error err = {0};
        assert_false(mm_plan_check_readers(&plan, world->keyring, &err));
        assert_int_equal(err.code, MM_CONFIG_INVALID);
        assert_non_null(strstr(err.message, n_left == 2 ? "retiring" : "active"));
        assert_true(carry_out(world, MM_KEY_REVOKE, kid_of(world, 2 - n_left)));
    }
    assert_true(mm_plan_check_readers(&plan, world->keyring, NULL));
}

static void a_key_is_needed_where_one_signs_and_none_waits(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = PLAN;
    begin(world);
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_STANDBY);
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES384, &world->moment), MM_NEED_NOTHING);
    assert_true(stage(world, 1));
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_IS_MET);
    plan.unfit.n = 1;
    (void)snprintf(plan.unfit.kids[0], sizeof plan.unfit.kids[0], "%s", kid_of(world, 1));
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_STANDBY);
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_NOTHING);
    /* What a rotation goes to waits for no bad day any more. */
    assert_true(enter(world, MM_ENTRY_KEY_ROTATION, json_pack("{ss}", "kid", kid_of(world, 1))));
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_STANDBY);
    /* Who revokes every key has stopped the service. */
    assert_true(order(world, MM_KEY_REVOKE, 0, NULL));
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_NOTHING);
}

static void a_schedule_without_a_standby_needs_a_key_when_it_is_time(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = PLAN;
    plan.standby = 0;
    plan.rotate_every = 90 * 86400;
    begin(world);
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_NOTHING);
    pass(world, plan.rotate_every);
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_ROTATION);
    assert_true(stage(world, 1));
    assert_int_equal(mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment), MM_NEED_NOTHING);
}

static uint64_t draw(struct world *world, uint64_t n)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random % n;
}

static void do_something(struct world *world)
{
    size_t i = draw(world, N_KEYS);
    const struct mm_rotation_order rotation = {algorithm_of(draw(world, N_KEYS)), i % 2 ? "b" : NULL};
    const struct mm_key *candidate = mm_plan_candidate(&BOTH, world->keyring, &rotation);
    struct mm_kid_set but = {0};
    struct mm_key_order due;
    switch (draw(world, 12)) {
    case 0:
    case 1:
        (void)stage(world, i);
        break;
    case 2:
        if (candidate)
            (void)enter(world, MM_ENTRY_KEY_ROTATION, json_pack("{ss}", "kid", candidate->kid));
        break;
    case 3:
        if (draw(world, 20) == 0)
            (void)order_by(world, &BOTH, MM_KEY_REVOKE, i, NULL);
        break;
    case 4:
        (void)order_by(world, &BOTH, MM_KEY_DESTROY, i, NULL);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        (void)order_by(world, &BOTH, (enum mm_key_change)draw(world, MM_KEY_REVOKE), i, NULL);
        break;
    case 9:
        /* As a service that generates its keys would. */
        if (mm_plan_need(&BOTH, world->keyring, algorithm_of(i), &world->moment) == MM_NEED_STANDBY)
            (void)stage(world, i);
        break;
    default:
        if (draw(world, 4) == 0)
            mm_kid_set_add(&but, kid_of(world, i)); /* it can't be changed just now */
        while (mm_plan_due(&BOTH, world->keyring, &world->moment, &but, &due))
            assert_true(carry_out(world, due.change, due.kid));
    }
}

/* Each active key signs a token for as long as may be; then every verifier looks at every token that is alive. */
static void sign_and_verify(struct world *world)
{
    for (size_t i = 0; i < N_KEYS; i++) {
        const struct mm_key *key = mm_keyring_find(world->keyring, kid_of(world, i));
        if (!key)
            continue;
        if (key->life.state == MM_KEY_ACTIVE) {
            world->last_exp[i] = world->moment.now + MAX_TTL;
            /* The first one apart, a cache filled max-age ago has it. */
            assert_true(i == 0 || key->life.published_at <= world->moment.now - MM_KEY_FLOORS.max_age - 60);
        }
        bool is_alive = world->moment.now < world->last_exp[i] + 60;
        if (is_alive && key->life.trust == MM_KEY_TRUSTED)
            assert_true(mm_key_is_listed(&key->life));
        if (key->life.trust == MM_KEY_REVOKED)
            assert_false(mm_key_is_listed(&key->life));
    }
}

static bool was_revoked(const struct world *world, enum mm_algorithm algorithm)
{
    for (size_t i = 0; i < mm_keyring_n_keys(world->keyring); i++) {
        const struct mm_key *key = mm_keyring_key(world->keyring, i);
        if (key->algorithm == algorithm && key->life.trust == MM_KEY_REVOKED)
            return true;
    }
    return false;
}

/* Whether a key of the algorithm began to sign at any time. */
static bool has_signed(const struct world *world, enum mm_algorithm algorithm)
{
    for (size_t i = 0; i < mm_keyring_n_keys(world->keyring); i++) {
        const struct mm_key *key = mm_keyring_key(world->keyring, i);
        if (key->algorithm == algorithm && key->activated_at > 0)
            return true;
    }
    return false;
}

/* Once a key signed with an algorithm, one always does, unless somebody revoked some. */
static void assert_always_signs(const struct world *world, enum mm_algorithm algorithm)
{
    assert_true(!has_signed(world, algorithm) || was_revoked(world, algorithm) ||
                mm_keyring_active(world->keyring, algorithm));
}

static bool is_over(const struct world *world, size_t i)
{
    const struct mm_key *key = mm_keyring_find(world->keyring, kid_of(world, i));
    return key && key->activated_at > 0 && key->life.state >= MM_KEY_RETIRED;
}

static void no_sequence_of_commands_and_clock_steps_strands_a_token(void **state)
{
    struct world *world = *state;
    size_t n_rotated = 0, n_others_signed = 0, n_others_rotated = 0;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        world->random = round * 0x9e3779b97f4a7c15U;
        begin(world);
        for (int step = 0; step < STEPS; step++) {
            static const int64_t SECONDS[] = {0, 1, 59, 299, 361, 901, AHEAD, 2 * AHEAD};
            pass(world, SECONDS[draw(world, MM_ARRAY_SIZE(SECONDS))]);
            if (draw(world, 10) == 0)
                world->moment.run_since = world->moment.now; /* a restart */
            do_something(world);
            sign_and_verify(world);
            assert_always_signs(world, MM_ES256);
            assert_always_signs(world, MM_ES384);
            for (int i = 0; i < MM_N_ALGORITHMS; i++)
                assert_true(mm_keyring_active(world->keyring, (enum mm_algorithm)i) ||
                            mm_plan_need(&BOTH, world->keyring, (enum mm_algorithm)i, &world->moment) ==
                                MM_NEED_NOTHING);
        }
        n_rotated += is_over(world, 0);
        n_others_signed += has_signed(world, MM_ES384);
        for (size_t i = N_ES256; i < N_KEYS; i++)
            n_others_rotated += is_over(world, i);
    }
    /* It isn't that nothing ever happens. */
    assert_true(n_rotated > ROUNDS / 4);
    assert_true(n_others_signed > ROUNDS / 2);
    assert_true(n_others_rotated > ROUNDS / 10);
}

/* With nobody there: each period has one rotation, and each rotation one new key. */
static void a_service_that_generates_its_keys_rotates_with_nobody_there(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = PLAN;
    struct mm_key_order due;
    struct mm_rotation_order rotation;
    plan.rotate_every = 8 * AHEAD;
    begin(world);
    size_t n_made = 1;
    size_t n_rotations = 0;
    for (int64_t hour = 0; n_made < N_ES256; hour++) {
        pass(world, AHEAD);
        if (mm_plan_need(&plan, world->keyring, MM_ES256, &world->moment) == MM_NEED_STANDBY)
            assert_true(stage(world, n_made++));
        while (mm_plan_due(&plan, world->keyring, &world->moment, &NOBODY, &due))
            assert_true(carry_out(world, due.change, due.kid));
        if (mm_plan_rotation_due(&plan, world->keyring, &world->moment, &rotation)) {
            const char *kid = mm_plan_candidate(&plan, world->keyring, &rotation)->kid;
            assert_true(enter(world, MM_ENTRY_KEY_ROTATION, json_pack("{ss}", "kid", kid)));
            n_rotations++;
        }
        sign_and_verify(world);
        assert_true(hour < 100);
    }
    assert_int_equal(n_rotations, n_made - 2);
}

#define keyed(test) cmocka_unit_test_setup_teardown(test, make_keys, free_keys)

int main(void)
{
    const struct CMUnitTest tests[] = {
        keyed(key_signs_only_after_every_cache_has_it),
        keyed(the_floor_holds_whatever_is_configured),
        keyed(a_restart_gives_caches_their_time_again),
        keyed(the_last_active_key_can_not_retire),
        keyed(key_is_listed_until_its_last_token_has_expired),
        keyed(a_standby_is_published_and_a_rotation_carried_on_by_themselves),
        keyed(a_schedule_rotates_when_it_is_time_and_there_is_a_key),
        keyed(the_first_key_of_a_further_algorithm_signs_once_every_cache_has_it),
        keyed(each_algorithm_has_its_own_standby_and_rotation),
        keyed(the_schedule_serves_each_algorithm),
        keyed(a_key_that_can_not_be_changed_keeps_no_other_from_its_turn),
        keyed(a_key_of_an_algorithm_that_is_not_wanted_any_more_may_only_go),
        keyed(a_key_that_would_break_a_reader_is_not_published),
        keyed(a_key_that_is_left_in_the_jwks_counts_for_its_readers_too),
        keyed(a_key_is_needed_where_one_signs_and_none_waits),
        keyed(a_schedule_without_a_standby_needs_a_key_when_it_is_time),
        keyed(a_service_that_generates_its_keys_rotates_with_nobody_there),
        keyed(no_sequence_of_commands_and_clock_steps_strands_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
