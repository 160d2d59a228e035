/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper on a real ledger: what it does in which order, what it does by itself, and that nothing counts which isn't recorded.
 * With the floors of test builds.
 */
#include "keyring/keeper.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/sign.h"
#include "tests/unit/ledger_support.h"

enum { N_KEYS = 5, N_ES256 = 3, PATIENCE_MS = 20000, CALLS_MAX = 4096 };
enum { WORKERS_START, NO_WORKERS };

/* publish_ahead, and the second by which the keeper's clock, in whole ones, may be behind the machine's. */
enum { SIGNABLE_S = 3 };

static const struct mm_key_author CUSTODIAN = {"test", "because"};
static const struct mm_rotation_order ES256_ANYWHERE = {MM_ES256, NULL};

struct world {
    struct place *place;
    struct mm_pubkey *pubkeys[N_KEYS];
    struct mm_ledger *ledger;
    struct mm_keeper *keeper;
    _Atomic int64_t clock_ahead; /* seconds */
    atomic_int hsm;              /* WORKERS_START, NO_WORKERS */
    atomic_int stuck;            /* the number of a key whose workers don't start; -1: none */
    mm_algorithm_set algorithms;
    atomic_int dead;      /* the number of a key whose workers don't sign; -1: none */
    atomic_int slow;      /* the number of a key whose workers take until this changes to start; -1: none */
    atomic_int overtaken; /* the number of a key that is out only once the keeper itself has revoked it; -1: none */
    atomic_bool is_stuck_showing;

    pthread_mutex_t lock;
    /* guarded by lock */
    char calls[CALLS_MAX]; /* `take_in 0; show 0=active 1=published; …`, keys by their number */
};

/* The keys from N_ES256 on are for the issuer's other algorithm. */
static enum mm_algorithm algorithm_of(size_t i)
{
    return i < N_ES256 ? MM_ES256 : MM_ES384;
}

static size_t number_of(const struct world *world, const char *kid)
{
    size_t i = 0;
    while (i < N_KEYS && strcmp(mm_pubkey_thumbprint(world->pubkeys[i]), kid) != 0)
        i++;
    return i;
}

static void note(struct world *world, const char *what, const char *kid)
{
    (void)pthread_mutex_lock(&world->lock);
    size_t length = strlen(world->calls);
    (void)snprintf(world->calls + length, sizeof world->calls - length, "%s %zu; ", what, number_of(world, kid));
    (void)pthread_mutex_unlock(&world->lock);
}

static bool vet(void *context, const struct mm_key *key, struct mm_error *err)
{
    struct world *world = context;
    note(world, "vet", key->kid);
    return world->hsm == WORKERS_START || mm_fail(err, MM_KEY_CUSTODY, "it could be read");
}

static bool take_in(void *context, const struct mm_key *key, struct mm_error *err)
{
    struct world *world = context;
    note(world, "in", key->kid);
    while (number_of(world, key->kid) == (size_t)world->slow)
        (void)usleep(10000);
    return (world->hsm == WORKERS_START && number_of(world, key->kid) != (size_t)world->stuck) ||
           mm_fail(err, MM_HSM_UNAVAILABLE, "no worker");
}

static void let_sign(void *context, const struct mm_key *key)
{
    note(context, "sign", key->kid);
}

static bool serves(void *context, const struct mm_key *key)
{
    const struct world *world = context;
    return number_of(world, key->kid) != (size_t)world->dead;
}

static enum mm_key_state state_of(struct world *world, size_t i)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(world->keeper);
    const struct mm_key *key = mm_keyring_find(keyring, mm_pubkey_thumbprint(world->pubkeys[i]));
    assert_non_null(key);
    return key->life.state;
}

static void await(struct world *world, size_t i, enum mm_key_state expected)
{
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    while (state_of(world, i) != expected && mm_monotonic_ns() < deadline)
        (void)usleep(10000);
    assert_string_equal(mm_key_state_name(state_of(world, i)), mm_key_state_name(expected));
}

static void take_out(void *context, const struct mm_key *key)
{
    struct world *world = context;
    size_t number = number_of(world, key->kid);
    note(world, "out", key->kid);
    if (number == (size_t)world->overtaken)
        await(world, number, MM_KEY_RETIRED);
}

static bool show(void *context, struct mm_keyring *keyring, struct mm_error *err)
{
    (void)keyring, (void)err;
    struct world *world = context;
    while (world->is_stuck_showing)
        (void)usleep(10000);
    (void)pthread_mutex_lock(&world->lock);
    strncat(world->calls, "show; ", sizeof world->calls - strlen(world->calls) - 1);
    (void)pthread_mutex_unlock(&world->lock);
    return true;
}

static void told(void *context, const char *what, const char *kid, const struct mm_key_author *author,
                 const struct mm_error *why)
{
    (void)author;
    char text[64];
    (void)snprintf(text, sizeof text, "%s%s", why ? "NOT " : "", what);
    note(context, text, kid ? kid : "");
}

static int64_t unix_ms(void *context)
{
    const struct world *world = context;
    return mm_clock_now_ms(&MM_SYSTEM_CLOCK) + world->clock_ahead * 1000;
}

static json_t *staging(const struct world *world, size_t i)
{
    const struct mm_key key = {.kid = mm_pubkey_thumbprint(world->pubkeys[i]),
                               .pubkey = world->pubkeys[i],
                               .algorithm = algorithm_of(i),
                               .hsm_token = i == 2 ? "b" : "a",
                               .hsm_id = "01",
                               .hsm_label = "x"};
    return mm_key_entry(&key, NULL);
}

static void open_keeper(struct world *world)
{
    static const struct mm_clock *const SYSTEM = &MM_SYSTEM_CLOCK;
    static struct mm_clock clock;
    struct mm_error err = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->place->file, &err);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_load(reader, &err);
    assert_non_null(keyring);
    clock = (struct mm_clock){unix_ms, world};
    world->ledger = mm_ledger_open(world->place->file, SYSTEM, 0, &err);
    assert_non_null(world->ledger);
    const struct mm_keeper_parts parts = {
        .ledger = world->ledger,
        .clock = &clock,
        .plan = {.algorithms = world->algorithms, .publish_ahead = 2, .max_ttl = 1, .standby = 1},
        .turn_ms = 3000,
        .effects = {world, vet, take_in, let_sign, take_out, serves, show, told},
    };
    world->keeper = mm_keeper_start(&parts, keyring, &err);
    assert_non_null(world->keeper);
}

static void close_keeper(struct world *world)
{
    mm_keeper_stop(MM_TAKE(world->keeper));
    mm_ledger_close(MM_TAKE(world->ledger));
}

static int open_world(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->dead = -1;
    world->slow = -1;
    world->overtaken = -1;
    world->stuck = -1;
    world->algorithms = 1U << MM_ES256;
    (void)pthread_mutex_init(&world->lock, NULL);
    (void)place_make((void **)&world->place);
    for (size_t i = 0; i < N_KEYS; i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *key = make_private_key(algorithm_of(i));
        world->pubkeys[i] = make_pubkey(algorithm_of(i), key);
    }
    mm_cleanup(json_decref) json_t *first = staging(world, 0);
    const struct mm_entry entries[] = {{MM_ENTRY_KEY_ACTIVATED, first}};
    assert_true(mm_ledger_create(world->place->file, &MM_SYSTEM_CLOCK, entries, 1, NULL));
    open_keeper(world);
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    struct world *world = *state;
    close_keeper(world);
    for (size_t i = 0; i < N_KEYS; i++)
        mm_pubkey_free(world->pubkeys[i]);
    (void)place_remove((void **)&world->place);
    (void)pthread_mutex_destroy(&world->lock);
    free(world);
    return 0;
}

static void stage(struct world *world, size_t i)
{
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *entry = staging(world, i);
    if (!mm_keeper_stage(world->keeper, entry, &CUSTODIAN, &err))
        fail_msg("%s", err.message);
}

static bool order(struct world *world, enum mm_key_change change, size_t i, struct mm_error *err)
{
    const struct mm_key_order wanted = {change, mm_pubkey_thumbprint(world->pubkeys[i])};
    return mm_keeper_change(world->keeper, &wanted, &CUSTODIAN, err);
}

static size_t count_calls(struct world *world, const char *call)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&world->lock);
    for (const char *at = world->calls; (at = strstr(at, call)); at++)
        n++;
    (void)pthread_mutex_unlock(&world->lock);
    return n;
}

static void await_call(struct world *world, const char *call)
{
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    bool is_there = false;
    while (!is_there && mm_monotonic_ns() < deadline) {
        (void)pthread_mutex_lock(&world->lock);
        is_there = strstr(world->calls, call) != NULL;
        (void)pthread_mutex_unlock(&world->lock);
        (void)usleep(10000);
    }
    assert_true(is_there);
}

static void assert_called(struct world *world, const char *calls)
{
    (void)pthread_mutex_lock(&world->lock);
    bool is_there = strstr(world->calls, calls) != NULL;
    if (!is_there)
        print_error("wanted “%s” in “%s”\n", calls, world->calls);
    (void)pthread_mutex_unlock(&world->lock);
    assert_true(is_there);
}

static void a_staged_key_becomes_the_standby(void **state)
{
    struct world *world = *state;
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    stage(world, 2);
    (void)usleep(700000);
    assert_int_equal(state_of(world, 2), MM_KEY_STAGED);
    assert_called(world, "show; stage 1; vet 1; show; publish 1; show; stage 2; ");
}

static void a_rotation_goes_its_way_by_itself(void **state)
{
    struct world *world = *state;
    char kid[MM_THUMBPRINT_LENGTH + 1];
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    assert_true(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, NULL));
    assert_int_equal(number_of(world, kid), 1);
    await(world, 1, MM_KEY_ACTIVE);
    await(world, 0, MM_KEY_RETIRING);
    /* Workers before the entry, the entry before it counts; and the old one out before it is said to retire. */
    assert_called(world, "rotate 1; in 1; show; sign 1; activate 1; out 0; show; retire 0; ");
    await(world, 0, MM_KEY_RETIRED);
}

static void a_rotation_goes_on_after_a_restart(void **state)
{
    struct world *world = *state;
    char kid[MM_THUMBPRINT_LENGTH + 1];
    stage(world, 1);
    assert_true(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, NULL));
    close_keeper(world);
    open_keeper(world);
    await(world, 1, MM_KEY_ACTIVE);
    await(world, 0, MM_KEY_RETIRED);
}

static void a_rotation_goes_to_the_hsm_token_that_was_named(void **state)
{
    struct world *world = *state;
    char kid[MM_THUMBPRINT_LENGTH + 1];
    struct mm_error err = {0};
    assert_false(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, &err));
    assert_int_equal(err.code, MM_KEY_STATE);
    stage(world, 1);
    stage(world, 2);
    assert_false(mm_keeper_rotate(world->keeper, &(struct mm_rotation_order){MM_ES256, "c"}, &CUSTODIAN, kid, NULL));
    assert_true(mm_keeper_rotate(world->keeper, &(struct mm_rotation_order){MM_ES256, "b"}, &CUSTODIAN, kid, NULL));
    assert_int_equal(number_of(world, kid), 2);
    assert_false(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, NULL));
    await(world, 2, MM_KEY_ACTIVE);
    await(world, 0, MM_KEY_RETIRED);
    assert_int_equal(state_of(world, 1), MM_KEY_PUBLISHED);
}

static void open_both(struct world *world)
{
    close_keeper(world);
    world->algorithms = 1U << MM_ES256 | 1U << MM_ES384;
    open_keeper(world);
}

static void each_algorithm_gets_its_key_and_rotates_apart(void **state)
{
    struct world *world = *state;
    const struct mm_rotation_order other = {MM_ES384, NULL};
    char kid[MM_THUMBPRINT_LENGTH + 1];
    struct mm_error err = {0};
    assert_false(mm_keeper_rotate(world->keeper, &other, &CUSTODIAN, kid, &err));
    assert_int_equal(err.code, MM_KEY_STATE);
    assert_string_equal(err.message, "ES384 isn't one of keys.algorithms");
    open_both(world);
    stage(world, N_ES256);
    await(world, N_ES256, MM_KEY_ACTIVE); /* by itself: nothing signed ES384 */
    stage(world, N_ES256 + 1);
    await(world, N_ES256 + 1, MM_KEY_PUBLISHED);
    assert_true(mm_keeper_rotate(world->keeper, &other, &CUSTODIAN, kid, NULL));
    assert_int_equal(number_of(world, kid), N_ES256 + 1);
    stage(world, 1);
    assert_true(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, NULL)); /* beside it */
    await(world, N_ES256, MM_KEY_RETIRED);
    await(world, 0, MM_KEY_RETIRED);
    assert_int_equal(state_of(world, N_ES256 + 1), MM_KEY_ACTIVE);
    assert_int_equal(state_of(world, 1), MM_KEY_ACTIVE);
}

static void a_key_that_does_not_start_holds_up_no_other_algorithm(void **state)
{
    struct world *world = *state;
    char kid[MM_THUMBPRINT_LENGTH + 1];
    open_both(world);
    world->stuck = N_ES256;
    stage(world, N_ES256); /* to be activated as soon as may be, again and again */
    await(world, N_ES256, MM_KEY_PUBLISHED);
    stage(world, 1);
    assert_true(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, NULL));
    await(world, 1, MM_KEY_ACTIVE);
    await(world, 0, MM_KEY_RETIRED);
    assert_called(world, "NOT activate 3; ");
    assert_int_equal(state_of(world, N_ES256), MM_KEY_PUBLISHED);
    world->stuck = -1;
    await(world, N_ES256, MM_KEY_ACTIVE);
}

static void the_keys_of_an_algorithm_that_is_given_up_may_go(void **state)
{
    struct world *world = *state;
    open_both(world);
    stage(world, N_ES256);
    await(world, N_ES256, MM_KEY_ACTIVE);
    stage(world, N_ES256 + 1);
    await(world, N_ES256 + 1, MM_KEY_PUBLISHED);
    assert_false(order(world, MM_KEY_RETIRE, N_ES256, NULL));
    close_keeper(world);
    world->algorithms = 1U << MM_ES256;
    open_keeper(world);
    (void)sleep(SIGNABLE_S);
    /* A revocation activates no standby that nobody asks for. */
    assert_true(order(world, MM_KEY_REVOKE, N_ES256, NULL));
    (void)usleep(700000);
    assert_int_equal(state_of(world, N_ES256 + 1), MM_KEY_PUBLISHED);
    assert_false(order(world, MM_KEY_ACTIVATE, N_ES256 + 1, NULL));
    assert_true(order(world, MM_KEY_WITHDRAW, N_ES256 + 1, NULL));
}

static void a_key_whose_workers_do_not_start_is_not_activated(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    world->hsm = NO_WORKERS;
    (void)sleep(SIGNABLE_S);
    assert_false(order(world, MM_KEY_ACTIVATE, 1, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    assert_int_equal(state_of(world, 1), MM_KEY_PUBLISHED);
    world->hsm = WORKERS_START;
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
}

static void a_key_that_fails_its_vetting_is_not_published(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    world->hsm = NO_WORKERS;
    stage(world, 1);
    assert_false(order(world, MM_KEY_PUBLISH, 1, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
    assert_int_equal(state_of(world, 1), MM_KEY_STAGED);
    world->hsm = WORKERS_START;
}

static void no_key_is_published_that_was_not_vetted(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    assert_false(order(world, MM_KEY_PUBLISH, 1, &err)); /* it may be staged a moment later */
    assert_int_equal(err.code, MM_KEY_UNKNOWN);
    stage(world, 1);
    stage(world, 2);
    await(world, 1, MM_KEY_PUBLISHED);
    (void)pthread_mutex_lock(&world->lock);
    const char *vetted = strstr(world->calls, "vet 1; ");
    assert_non_null(vetted);
    assert_true(vetted < strstr(world->calls, "publish 1; "));
    (void)pthread_mutex_unlock(&world->lock);
    assert_int_equal(count_calls(world, "vet 1; "), 1);
}

static void a_revoked_key_is_out_at_once_and_the_standby_in(void **state)
{
    struct world *world = *state;
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    assert_true(order(world, MM_KEY_REVOKE, 0, NULL));
    assert_int_equal(state_of(world, 0), MM_KEY_RETIRED);
    assert_int_equal(state_of(world, 1), MM_KEY_ACTIVE);
    assert_called(world, "out 0; show; revoke 0; in 1; show; sign 1; activate 1; ");
}

static void whoever_records_a_revocation_it_is_done(void **state)
{
    struct world *world = *state;
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    world->overtaken = 0;
    assert_true(order(world, MM_KEY_REVOKE, 0, NULL));
    assert_int_equal(count_calls(world, "revoke 0; "), 1);
    await(world, 1, MM_KEY_ACTIVE);
}

static void a_revocation_that_can_not_be_recorded_holds_all_the_same(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    sqlite3 *db = raw_open(world->place->file);
    raw_run(db, "BEGIN EXCLUSIVE");
    assert_false(order(world, MM_KEY_REVOKE, 0, &err));
    assert_int_equal(err.code, MM_LEDGER_UNAVAILABLE);
    assert_called(world, "out 0; ");
    assert_int_equal(state_of(world, 0), MM_KEY_ACTIVE);
    raw_run(db, "ROLLBACK");
    (void)sqlite3_close(db);
    /* It is tried again by itself, and the key was never let in meanwhile. */
    await(world, 0, MM_KEY_RETIRED);
    await(world, 1, MM_KEY_ACTIVE);
    (void)pthread_mutex_lock(&world->lock);
    assert_null(strstr(world->calls, "sign 0; "));
    (void)pthread_mutex_unlock(&world->lock);
}

static void revocations_that_can_not_be_recorded_are_all_made_up_for(void **state)
{
    struct world *world = *state;
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    (void)sleep(SIGNABLE_S);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
    sqlite3 *db = raw_open(world->place->file);
    raw_run(db, "BEGIN EXCLUSIVE");
    assert_false(order(world, MM_KEY_REVOKE, 0, NULL));
    assert_false(order(world, MM_KEY_REVOKE, 1, NULL));
    raw_run(db, "ROLLBACK");
    (void)sqlite3_close(db);
    await(world, 0, MM_KEY_RETIRED);
    await(world, 1, MM_KEY_RETIRED);
}

static void *activate_second(void *context)
{
    (void)order(context, MM_KEY_ACTIVATE, 1, NULL);
    return NULL;
}

static void *revoke_second(void *context)
{
    assert_true(order(context, MM_KEY_REVOKE, 1, NULL));
    return NULL;
}

static void a_key_that_is_revoked_while_it_is_activated_signs_nothing(void **state)
{
    struct world *world = *state;
    pthread_t activation;
    pthread_t revocation;
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    (void)sleep(SIGNABLE_S);
    world->slow = 1;
    assert_int_equal(pthread_create(&activation, NULL, activate_second, world), 0);
    await_call(world, "in 1; ");
    assert_int_equal(pthread_create(&revocation, NULL, revoke_second, world), 0);
    await_call(world, "out 1; ");
    world->slow = -1;
    assert_int_equal(pthread_join(activation, NULL), 0);
    assert_int_equal(pthread_join(revocation, NULL), 0);
    assert_int_equal(state_of(world, 1), MM_KEY_RETIRED);
    (void)pthread_mutex_lock(&world->lock);
    assert_null(strstr(world->calls, "sign 1; "));
    (void)pthread_mutex_unlock(&world->lock);
    /* And none that is about to be revoked is activated. */
    assert_int_equal(state_of(world, 0), MM_KEY_ACTIVE);
}

static void a_revocation_waits_for_no_hsm(void **state)
{
    struct world *world = *state;
    pthread_t activation;
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    (void)sleep(SIGNABLE_S);
    world->slow = 1;
    assert_int_equal(pthread_create(&activation, NULL, activate_second, world), 0);
    await_call(world, "in 1; ");
    stage(world, 2);
    int64_t begun = mm_monotonic_ns();
    assert_true(order(world, MM_KEY_PUBLISH, 2, NULL)); /* of another HSM token */
    assert_true(mm_monotonic_ns() - begun < 1000000000);
    begun = mm_monotonic_ns();
    assert_true(order(world, MM_KEY_REVOKE, 0, NULL));
    assert_true(mm_monotonic_ns() - begun < 4000000000); /* it looks for one that may sign in its place */
    assert_int_equal(state_of(world, 0), MM_KEY_RETIRED);
    assert_int_equal(state_of(world, 2), MM_KEY_ACTIVE);
    world->slow = -1;
    assert_int_equal(pthread_join(activation, NULL), 0);
}

static void a_revocation_that_waits_in_vain_for_its_turn_is_made_up_for(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    pthread_t activation;
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    (void)sleep(SIGNABLE_S);
    world->is_stuck_showing = true;
    assert_int_equal(pthread_create(&activation, NULL, activate_second, world), 0);
    await_call(world, "in 1; ");
    assert_false(order(world, MM_KEY_REVOKE, 0, &err));
    assert_int_equal(err.code, MM_OVERLOADED);
    assert_called(world, "out 0; ");
    world->is_stuck_showing = false;
    assert_int_equal(pthread_join(activation, NULL), 0);
    await(world, 0, MM_KEY_RETIRED);
    assert_int_equal(state_of(world, 1), MM_KEY_ACTIVE);
}

static void no_hsm_is_asked_about_a_key_that_can_not_be_recorded(void **state)
{
    struct world *world = *state;
    sqlite3 *db = raw_open(world->place->file);
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    stage(world, 2);
    assert_true(order(world, MM_KEY_WITHDRAW, 1, NULL)); /* now it is the second's turn */
    raw_run(db, "BEGIN EXCLUSIVE");
    (void)sleep(4);
    assert_true(count_calls(world, "vet 2; ") <= 1);
    raw_run(db, "ROLLBACK");
    (void)sqlite3_close(db);
    await(world, 2, MM_KEY_PUBLISHED);
}

static void by_a_clock_that_is_behind_nothing_is_recorded_but_a_revocation(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    char kid[MM_THUMBPRINT_LENGTH + 1];
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    mm_ledger_expect_time(world->ledger, mm_clock_now(&MM_SYSTEM_CLOCK) + 600, 0);
    mm_cleanup(json_decref) json_t *entry = staging(world, 2);
    assert_false(mm_keeper_stage(world->keeper, entry, &CUSTODIAN, &err));
    assert_int_equal(err.code, MM_CLOCK_UNSAFE);
    err = (struct mm_error){0};
    assert_false(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, &err));
    assert_int_equal(err.code, MM_CLOCK_UNSAFE);
    err = (struct mm_error){0};
    assert_false(order(world, MM_KEY_WITHDRAW, 1, &err));
    assert_int_equal(err.code, MM_CLOCK_UNSAFE);
    assert_true(order(world, MM_KEY_REVOKE, 0, NULL));
    assert_int_equal(state_of(world, 0), MM_KEY_RETIRED);
}

static void a_rotation_to_another_hsm_token_takes_the_place_of_one(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    char kid[MM_THUMBPRINT_LENGTH + 1];
    const struct mm_rotation_order to_a = {MM_ES256, "a"};
    const struct mm_rotation_order to_b = {MM_ES256, "b"};
    stage(world, 2);
    stage(world, 1);
    world->stuck = 2; /* the HSM of the key that it goes to */
    assert_true(mm_keeper_rotate(world->keeper, &to_b, &CUSTODIAN, kid, NULL));
    assert_false(mm_keeper_rotate(world->keeper, &to_b, &CUSTODIAN, kid, NULL));
    assert_false(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, &err));
    assert_int_equal(err.code, MM_KEY_STATE);
    assert_true(mm_keeper_rotate(world->keeper, &to_a, &CUSTODIAN, kid, NULL));
    await(world, 1, MM_KEY_ACTIVE);
    await(world, 0, MM_KEY_RETIRED);
    assert_int_equal(state_of(world, 2), MM_KEY_PUBLISHED);
}

static void the_last_key_that_really_signs_does_not_retire(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    char kid[MM_THUMBPRINT_LENGTH + 1];
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    world->dead = 1; /* starts, is activated, and then its HSM goes */
    assert_true(mm_keeper_rotate(world->keeper, &ES256_ANYWHERE, &CUSTODIAN, kid, NULL));
    await(world, 1, MM_KEY_ACTIVE);
    assert_false(order(world, MM_KEY_RETIRE, 0, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    (void)sleep(1);
    assert_int_equal(state_of(world, 0), MM_KEY_ACTIVE);
    world->dead = -1;
    world->stuck = -1;
    world->algorithms = 1U << MM_ES256;
    await(world, 0, MM_KEY_RETIRED);
}

static void a_key_that_failed_its_vetting_holds_up_no_other(void **state)
{
    struct world *world = *state;
    world->hsm = NO_WORKERS;
    stage(world, 1);
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    bool is_told = false;
    while (!is_told && mm_monotonic_ns() < deadline) {
        (void)pthread_mutex_lock(&world->lock);
        is_told = strstr(world->calls, "NOT publish 1; ") != NULL;
        (void)pthread_mutex_unlock(&world->lock);
        (void)usleep(10000);
    }
    assert_true(is_told);
    world->hsm = WORKERS_START;
    stage(world, 2);
    await(world, 2, MM_KEY_PUBLISHED);
    assert_int_equal(state_of(world, 1), MM_KEY_STAGED);
    /* By hand it is tried again. */
    assert_true(order(world, MM_KEY_PUBLISH, 1, NULL));
}

static void a_key_from_outside_is_recorded_as_what_was_understood_of_it(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *entry = staging(world, 1);
    (void)json_object_set_new(json_object_get(entry, "jwk"), "x5c", json_string("\x1b[31m"));
    (void)json_object_set_new(entry, "more", json_true());
    assert_true(mm_keeper_stage(world->keeper, entry, &CUSTODIAN, NULL));
    sqlite3 *db = raw_open(world->place->file);
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT count(*) FROM entries WHERE bytes LIKE '%x5c%' OR bytes LIKE '%more%'",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    mm_cleanup(json_decref) json_t *forged = staging(world, 2);
    (void)json_object_set_new(forged, "kid", json_string(mm_pubkey_thumbprint(world->pubkeys[1])));
    assert_false(mm_keeper_stage(world->keeper, forged, &CUSTODIAN, &err));
    assert_int_equal(err.code, MM_INVALID_REQUEST);
}

static size_t count_attested(const struct world *world)
{
    sqlite3 *db = raw_open(world->place->file);
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM entries WHERE type = 'key.attested'", -1, &statement,
                                        NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    size_t n = (size_t)sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    return n;
}

static void what_does_not_verify_is_not_recorded_as_attested(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    json_t *entry = NULL;
    stage(world, 1);
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = mm_attestation_make(MM_ATTESTATION_TPM2);
    for (size_t i = 0; i < MM_ATTESTATION_NONCE; i++)
        assert_true(mm_buffer_append_string(&attestation.parts[i], "no TPM made this", NULL));
    assert_false(mm_keeper_attest(world->keeper, mm_pubkey_thumbprint(world->pubkeys[1]), &attestation, &CUSTODIAN,
                                  &entry, &err));
    assert_int_equal(err.code, MM_ATTESTATION_INVALID);
    err.code = MM_OK;
    assert_false(mm_keeper_attest(world->keeper, mm_pubkey_thumbprint(world->pubkeys[2]), &attestation, &CUSTODIAN,
                                  &entry, &err));
    assert_int_equal(err.code, MM_KEY_UNKNOWN);
    assert_null(entry);
    assert_int_equal(count_attested(world), 0);
}

static void a_clock_that_jumps_ahead_makes_nothing_due(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    world->clock_ahead = 100000;
    assert_false(order(world, MM_KEY_ACTIVATE, 1, &err));
    assert_int_equal(err.code, MM_KEY_TOO_EARLY);
    world->clock_ahead = 0;
}

static void what_is_not_recorded_does_not_count(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    stage(world, 1);
    await(world, 1, MM_KEY_PUBLISHED);
    (void)sleep(SIGNABLE_S);
    sqlite3 *db = raw_open(world->place->file);
    raw_run(db, "BEGIN EXCLUSIVE");
    assert_false(order(world, MM_KEY_ACTIVATE, 1, &err));
    assert_int_equal(err.code, MM_LEDGER_UNAVAILABLE);
    assert_int_equal(state_of(world, 1), MM_KEY_PUBLISHED);
    assert_called(world, "in 1; out 1; ");
    raw_run(db, "ROLLBACK");
    (void)sqlite3_close(db);
    assert_true(order(world, MM_KEY_ACTIVATE, 1, NULL));
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(a_staged_key_becomes_the_standby),
        in_world(what_does_not_verify_is_not_recorded_as_attested),
        in_world(a_rotation_goes_its_way_by_itself),
        in_world(a_rotation_goes_on_after_a_restart),
        in_world(a_rotation_goes_to_the_hsm_token_that_was_named),
        in_world(each_algorithm_gets_its_key_and_rotates_apart),
        in_world(a_key_that_does_not_start_holds_up_no_other_algorithm),
        in_world(the_keys_of_an_algorithm_that_is_given_up_may_go),
        in_world(a_key_whose_workers_do_not_start_is_not_activated),
        in_world(a_key_that_fails_its_vetting_is_not_published),
        in_world(no_key_is_published_that_was_not_vetted),
        in_world(a_revoked_key_is_out_at_once_and_the_standby_in),
        in_world(whoever_records_a_revocation_it_is_done),
        in_world(a_revocation_that_can_not_be_recorded_holds_all_the_same),
        in_world(revocations_that_can_not_be_recorded_are_all_made_up_for),
        in_world(a_key_that_is_revoked_while_it_is_activated_signs_nothing),
        in_world(a_revocation_waits_for_no_hsm),
        in_world(a_revocation_that_waits_in_vain_for_its_turn_is_made_up_for),
        in_world(no_hsm_is_asked_about_a_key_that_can_not_be_recorded),
        in_world(by_a_clock_that_is_behind_nothing_is_recorded_but_a_revocation),
        in_world(a_rotation_to_another_hsm_token_takes_the_place_of_one),
        in_world(the_last_key_that_really_signs_does_not_retire),
        in_world(a_key_that_failed_its_vetting_holds_up_no_other),
        in_world(a_key_from_outside_is_recorded_as_what_was_understood_of_it),
        in_world(a_clock_that_jumps_ahead_makes_nothing_due),
        in_world(what_is_not_recorded_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
