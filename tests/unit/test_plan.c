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

enum { START = 1800000000, MAX_TTL = 900, AHEAD = 3600, N_KEYS = 6, ROUNDS = 400, STEPS = 80 };

static const struct mm_key_plan PLAN = {.algorithm = MM_ES256,
                                        .publish_ahead = AHEAD,
                                        .max_ttl = MAX_TTL,
                                        .standby = 1};

/* What would be kept in the ledger, without one. */
struct world {
    struct mm_pubkey *pubkeys[N_KEYS];
    struct mm_keyring *keyring;
    struct mm_key_moment moment;
    int64_t last_exp[N_KEYS]; /* that verifiers were given */
    uint64_t random;
};

static int make_keys(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    for (size_t i = 0; i < N_KEYS; i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *key = make_private_key(MM_ES256);
        world->pubkeys[i] = make_pubkey(MM_ES256, key);
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
                               .algorithm = MM_ES256,
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

static bool order(struct world *world, enum mm_key_change change, size_t i, struct mm_error *err)
{
    const struct mm_key_order wanted = {change, kid_of(world, i)};
    return mm_plan_check(&PLAN, world->keyring, &wanted, &world->moment, err) && carry_out(world, change, wanted.kid);
}

static void assert_refused(struct world *world, enum mm_key_change change, size_t i, enum mm_code code)
{
    struct mm_error err = {0};
    assert_false(order(world, change, i, &err));
    assert_int_equal(err.code, code);
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
    const struct mm_key_plan hasty = {.algorithm = MM_ES256, .publish_ahead = 0, .max_ttl = MAX_TTL};
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
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
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
    assert_false(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
    assert_true(stage(world, 1));
    assert_true(stage(world, 2));
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
    assert_true(due.change == MM_KEY_PUBLISH && strcmp(due.kid, kid_of(world, 1)) == 0);
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    assert_false(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
    assert_true(enter(world, MM_ENTRY_KEY_ROTATION, json_pack("{ss}", "kid", kid_of(world, 1))));
    /* It isn't the standby any more. */
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
    assert_true(due.change == MM_KEY_PUBLISH && strcmp(due.kid, kid_of(world, 2)) == 0);
    assert_true(order(world, MM_KEY_PUBLISH, 2, NULL));
    assert_false(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
    pass(world, AHEAD);
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
    assert_true(due.change == MM_KEY_ACTIVATE && strcmp(due.kid, kid_of(world, 1)) == 0);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
    assert_true(mm_plan_due(&PLAN, world->keyring, &world->moment, &due));
    assert_true(due.change == MM_KEY_RETIRE && strcmp(due.kid, kid_of(world, 0)) == 0);
    assert_true(order(world, MM_KEY_RETIRE, 0, NULL));
    assert_null(mm_keyring_successor(world->keyring));
}

static void a_schedule_rotates_when_it_is_time_and_there_is_a_key(void **state)
{
    struct world *world = *state;
    struct mm_key_plan plan = PLAN;
    plan.rotate_every = 90 * 86400;
    begin(world);
    pass(world, plan.rotate_every);
    assert_false(mm_plan_is_rotation_due(&plan, world->keyring, &world->moment));
    assert_true(stage(world, 1));
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
    assert_true(mm_plan_is_rotation_due(&plan, world->keyring, &world->moment));
    world->moment.now -= 1;
    assert_false(mm_plan_is_rotation_due(&plan, world->keyring, &world->moment));
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
    struct mm_key_order due;
    switch (draw(world, 12)) {
    case 0:
    case 1:
        (void)stage(world, i);
        break;
    case 2:
        if (mm_plan_candidate(&PLAN, world->keyring, i % 2 ? "b" : NULL))
            (void)enter(world, MM_ENTRY_KEY_ROTATION,
                        json_pack("{ss}", "kid", mm_plan_candidate(&PLAN, world->keyring, i % 2 ? "b" : NULL)->kid));
        break;
    case 3:
        if (draw(world, 20) == 0)
            (void)order(world, MM_KEY_REVOKE, i, NULL);
        break;
    case 4:
        (void)order(world, MM_KEY_DESTROY, i, NULL);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        (void)order(world, (enum mm_key_change)draw(world, MM_KEY_REVOKE), i, NULL);
        break;
    default:
        while (mm_plan_due(&PLAN, world->keyring, &world->moment, &due))
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

static bool was_revoked(const struct world *world)
{
    for (size_t i = 0; i < mm_keyring_n_keys(world->keyring); i++)
        if (mm_keyring_key(world->keyring, i)->life.trust == MM_KEY_REVOKED)
            return true;
    return false;
}

static void no_sequence_of_commands_and_clock_steps_strands_a_token(void **state)
{
    struct world *world = *state;
    size_t n_rotated = 0;
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
            assert_true(was_revoked(world) || mm_keyring_active(world->keyring, MM_ES256));
        }
        n_rotated += mm_keyring_find(world->keyring, kid_of(world, 0))->life.state >= MM_KEY_RETIRED;
    }
    assert_true(n_rotated > ROUNDS / 4); /* it isn't that nothing ever happens */
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
        keyed(no_sequence_of_commands_and_clock_steps_strands_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
