/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that the service has generated, on a real keeper and a real ledger, with an HSM that is told what to do: when one is made and where, what
 * becomes of a failure, and how often it is tried. With the floors of test builds.
 */
#include "keyring/supply.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/sign.h"
#include "tests/unit/ledger_support.h"

enum { N_KEYS = 4, PATIENCE_MS = 20000, A_WHILE_MS = 1500 };

static const struct mm_key_author CUSTODIAN = {"test", "because"};

struct world {
    struct place *place;
    struct mm_pubkey *pubkeys[N_KEYS];
    struct mm_hsm_token_config tokens[2]; /* a, b */
    char names[2][2];
    struct mm_config config;
    struct mm_key_plan plan;
    struct mm_ledger *ledger;
    struct mm_keeper *keeper;
    struct mm_supply *supply;
    atomic_int broken;      /* the HSM token that makes no key: 'a', 'b'; 0: none; '*': both */
    atomic_int broken_code; /* what it says then */
    atomic_int is_unfit;    /* no key passes its vetting */
    atomic_int takes_ms;    /* an HSM over a key */
    atomic_size_t n_asked;  /* HSMs, for a key */
    atomic_size_t n_told;   /* failures */
    atomic_size_t n_made;   /* keys; the first wasn't made here */
    atomic_int last_asked;  /* the HSM token */
    atomic_int n_at_once;
};

static bool generate(void *context, const char *hsm_token, enum mm_algorithm algorithm, json_t **ret_key,
                     struct mm_error *err)
{
    struct world *world = context;
    assert_int_equal(algorithm, MM_ES256);
    assert_int_equal(atomic_fetch_add(&world->n_at_once, 1), 0);
    (void)atomic_fetch_add(&world->n_asked, 1);
    atomic_store(&world->last_asked, hsm_token[0]);
    (void)usleep((useconds_t)world->takes_ms * 1000);
    int broken = world->broken;
    bool is_broken = broken == '*' || broken == hsm_token[0];
    if (!is_broken) {
        size_t i = atomic_fetch_add(&world->n_made, 1) + 1;
        assert_true(i < N_KEYS);
        const struct mm_key key = {.kid = mm_pubkey_thumbprint(world->pubkeys[i]),
                                   .pubkey = world->pubkeys[i],
                                   .algorithm = MM_ES256,
                                   .hsm_token = hsm_token,
                                   .hsm_id = "01",
                                   .hsm_label = "mintmark-auto-x"};
        *ret_key = mm_key_entry(&key, NULL);
    }
    (void)atomic_fetch_sub(&world->n_at_once, 1);
    return !is_broken || mm_fail(err, (enum mm_code)world->broken_code, "no room");
}

static void told_of_generation(void *context, const char *hsm_token, const char *kid,
                               const struct mm_key_author *author, const struct mm_error *why)
{
    (void)hsm_token, (void)author;
    struct world *world = context;
    assert_true((kid == NULL) == (why != NULL));
    (void)atomic_fetch_add(&world->n_told, why ? 1 : 0);
}

static bool vet(void *context, const struct mm_key *key, struct mm_error *err)
{
    (void)key;
    const struct world *world = context;
    return !world->is_unfit || mm_fail(err, MM_KEY_CUSTODY, "it could be read");
}

static bool take_in(void *context, const struct mm_key *key, struct mm_error *err)
{
    (void)context, (void)key, (void)err;
    return true;
}

static void let_sign(void *context, const struct mm_key *key)
{
    (void)context, (void)key;
}

static bool serves(void *context, const struct mm_key *key)
{
    (void)context, (void)key;
    return true;
}

static bool show(void *context, struct mm_keyring *keyring, struct mm_error *err)
{
    (void)context, (void)keyring, (void)err;
    return true;
}

static void told(void *context, const char *what, const char *kid, const struct mm_key_author *author,
                 const struct mm_error *why)
{
    (void)context, (void)what, (void)kid, (void)author, (void)why;
}

static void open_service(struct world *world)
{
    struct mm_error err = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->place->file, &err);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_load(reader, &err);
    assert_non_null(keyring);
    world->ledger = mm_ledger_open(world->place->file, &MM_SYSTEM_CLOCK, 0, &err);
    assert_non_null(world->ledger);
    const struct mm_keeper_parts keeper = {
        .turn_ms = 45000,
        .ledger = world->ledger,
        .clock = &MM_SYSTEM_CLOCK,
        .plan = world->plan,
        .effects = {world, vet, take_in, let_sign, let_sign, serves, show, told},
    };
    world->keeper = mm_keeper_start(&keeper, keyring, &err);
    assert_non_null(world->keeper);
    const struct mm_supply_parts supply = {
        .keeper = world->keeper,
        .config = &world->config,
        .clock = &MM_SYSTEM_CLOCK,
        .effects = {world, generate, told_of_generation},
    };
    world->supply = mm_supply_start(&supply, &err);
    assert_non_null(world->supply);
}

static void close_service(struct world *world)
{
    mm_supply_drain(world->supply);
    mm_supply_stop(MM_TAKE(world->supply));
    mm_keeper_stop(MM_TAKE(world->keeper));
    mm_ledger_close(MM_TAKE(world->ledger));
}

/* One active key on `a`; opened by each test, once it has said what is allowed. */
static int make_world(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    (void)place_make((void **)&world->place);
    for (size_t i = 0; i < N_KEYS; i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *key = make_private_key(MM_ES256);
        world->pubkeys[i] = make_pubkey(MM_ES256, key);
    }
    for (size_t i = 0; i < 2; i++) {
        world->names[i][0] = (char)('a' + i);
        world->tokens[i].name = world->names[i];
    }
    world->config = (struct mm_config){.hsm_tokens = world->tokens, .n_hsm_tokens = 2};
    world->plan = (struct mm_key_plan){.algorithms = mm_algorithm_bit(MM_ES256), .publish_ahead = 2, .max_ttl = 1};
    world->broken_code = MM_HSM_UNAVAILABLE;
    const struct mm_key first = {.kid = mm_pubkey_thumbprint(world->pubkeys[0]),
                                 .pubkey = world->pubkeys[0],
                                 .algorithm = MM_ES256,
                                 .hsm_token = "a",
                                 .hsm_id = "01",
                                 .hsm_label = "x"};
    mm_cleanup(json_decref) json_t *entry = mm_key_entry(&first, NULL);
    const struct mm_entry entries[] = {{MM_ENTRY_KEY_ACTIVATED, entry}};
    assert_true(mm_ledger_create(world->place->file, &MM_SYSTEM_CLOCK, entries, 1, NULL));
    *state = world;
    return 0;
}

static int free_world(void **state)
{
    struct world *world = *state;
    close_service(world);
    for (size_t i = 0; i < N_KEYS; i++)
        mm_pubkey_free(world->pubkeys[i]);
    (void)place_remove((void **)&world->place);
    free(world);
    return 0;
}

static enum mm_key_state state_of(struct world *world, size_t i)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(world->keeper);
    const struct mm_key *key = mm_keyring_find(keyring, mm_pubkey_thumbprint(world->pubkeys[i]));
    return key ? key->life.state : MM_N_KEY_STATES;
}

static void await_state(struct world *world, size_t i, enum mm_key_state expected)
{
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    while (state_of(world, i) != expected && mm_monotonic_ns() < deadline)
        (void)usleep(10000);
    assert_int_equal(state_of(world, i), expected);
}

static bool is_wanted(struct world *world)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(world->keeper);
    return mm_keyring_wanted(keyring) != NULL;
}

static bool rotate(struct world *world, const char *hsm_token, struct mm_error *err)
{
    char kid[MM_THUMBPRINT_LENGTH + 1];
    const struct mm_rotation_order rotation = {MM_ES256, hsm_token};
    return mm_supply_rotate(world->supply, &rotation, &CUSTODIAN, kid, err);
}

static void a_standby_that_nobody_has_staged_is_generated(void **state)
{
    struct world *world = *state;
    world->plan.standby = 2;
    world->tokens[0].service_keys = world->tokens[1].service_keys = 8;
    world->tokens[1].priority = 1;
    open_service(world);
    await_state(world, 1, MM_KEY_PUBLISHED);
    assert_int_equal(world->last_asked, 'b');
    /* The second one follows in its time. */
    await_state(world, 2, MM_KEY_PUBLISHED);
    (void)usleep(A_WHILE_MS * 1000);
    assert_int_equal(world->n_asked, 2);
    assert_int_equal(mm_supply_state(world->supply).failed_at, 0);
}

static void where_it_is_not_allowed_nothing_is_generated(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    world->plan.standby = 1;
    open_service(world);
    assert_false(rotate(world, NULL, &err));
    assert_int_equal(err.code, MM_KEY_STATE);
    (void)usleep(A_WHILE_MS * 1000);
    assert_int_equal(world->n_asked, 0);
    assert_false(is_wanted(world));
}

static void a_rotation_generates_its_key_where_it_goes_to(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    world->tokens[1].service_keys = 8;
    open_service(world);
    assert_false(rotate(world, "a", &err));
    assert_int_equal(err.code, MM_KEY_STATE);
    assert_true(rotate(world, "b", NULL));
    assert_int_equal(world->last_asked, 'b');
    /* The next is refused, and nothing made for it. */
    err = (struct mm_error){0};
    assert_false(rotate(world, NULL, &err));
    assert_int_equal(err.code, MM_KEY_STATE);
    await_state(world, 1, MM_KEY_ACTIVE);
    await_state(world, 0, MM_KEY_RETIRED);
    assert_int_equal(world->n_asked, 1);
}

static void a_rotation_that_fails_is_over(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    world->tokens[0].service_keys = 8;
    world->broken = 'a';
    open_service(world);
    assert_false(rotate(world, NULL, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    assert_false(is_wanted(world));
    world->broken = 0;
    (void)usleep(A_WHILE_MS * 1000);
    assert_int_equal(world->n_asked, 1);
    /* One whose key proves unfit as well. */
    world->is_unfit = 1;
    err = (struct mm_error){0};
    assert_false(rotate(world, NULL, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
    assert_false(is_wanted(world));
}

static void a_rotation_that_the_services_end_cuts_off_goes_on(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    world->tokens[1].service_keys = 8;
    world->broken = 'b';
    world->broken_code = MM_SHUTTING_DOWN;
    open_service(world);
    assert_false(rotate(world, "b", &err));
    assert_int_equal(err.code, MM_SHUTTING_DOWN);
    close_service(world);
    world->broken = 0;
    open_service(world);
    await_state(world, 1, MM_KEY_ACTIVE);
    await_state(world, 0, MM_KEY_RETIRED);
    assert_false(is_wanted(world));
}

static void a_rotation_that_was_cut_off_goes_nowhere_that_is_not_allowed_any_more(void **state)
{
    struct world *world = *state;
    world->tokens[1].service_keys = 8;
    world->broken = 'b';
    world->broken_code = MM_SHUTTING_DOWN;
    open_service(world);
    assert_false(rotate(world, "b", NULL));
    close_service(world);
    size_t n_asked = world->n_asked;
    world->broken = 0;
    world->tokens[1].service_keys = 0;
    open_service(world);
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    while (is_wanted(world) && mm_monotonic_ns() < deadline)
        (void)usleep(10000);
    assert_false(is_wanted(world));
    assert_int_equal(world->n_asked, n_asked);
}

static void a_failure_is_told_once_and_another_hsm_token_tried(void **state)
{
    struct world *world = *state;
    world->plan.standby = 1;
    world->tokens[0].service_keys = world->tokens[1].service_keys = 8;
    world->broken = 'a';
    open_service(world);
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    while (world->n_told == 0 && mm_monotonic_ns() < deadline)
        (void)usleep(10000);
    struct mm_supply_state failure = mm_supply_state(world->supply);
    assert_string_equal(failure.hsm_token, "a");
    assert_int_equal(failure.why.code, MM_HSM_UNAVAILABLE);
    assert_true(failure.failed_at > 0 && failure.next_at >= failure.failed_at + 5);
    await_state(world, 1, MM_KEY_PUBLISHED);
    assert_int_equal(world->last_asked, 'b');
    assert_int_equal(world->n_asked, 2);
    assert_int_equal(world->n_told, 1);
    (void)usleep(A_WHILE_MS * 1000);
    assert_int_equal(mm_supply_state(world->supply).failed_at, 0);
}

static void a_key_that_proves_unfit_is_not_followed_by_another_at_once(void **state)
{
    struct world *world = *state;
    world->plan.standby = 1;
    world->tokens[0].service_keys = 8;
    world->is_unfit = 1;
    open_service(world);
    await_state(world, 1, MM_KEY_STAGED);
    (void)usleep(2 * A_WHILE_MS * 1000);
    assert_int_equal(world->n_asked, 1);
    assert_int_equal(state_of(world, 1), MM_KEY_STAGED);
}

static void no_more_is_tried_within_a_day_than_may_be_over_restarts(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    world->tokens[0].service_keys = 64;
    world->broken = '*';
    open_service(world);
    for (size_t i = 0; i < MM_GENERATIONS_PER_DAY; i++) {
        err = (struct mm_error){0};
        assert_false(rotate(world, NULL, &err));
        assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    }
    close_service(world);
    open_service(world);
    err = (struct mm_error){0};
    assert_false(rotate(world, NULL, &err));
    assert_int_equal(err.code, MM_KEY_LIMIT);
    assert_int_equal(world->n_asked, MM_GENERATIONS_PER_DAY);
}

static void who_revokes_every_key_has_stopped_it(void **state)
{
    struct world *world = *state;
    world->plan.standby = 1;
    world->tokens[0].service_keys = 8;
    world->broken = '*';
    open_service(world);
    const struct mm_key_order order = {MM_KEY_REVOKE, mm_pubkey_thumbprint(world->pubkeys[0])};
    assert_true(mm_keeper_change(world->keeper, &order, &CUSTODIAN, NULL));
    size_t n_asked = world->n_asked;
    world->broken = 0;
    (void)usleep(6000000); /* longer than the first pause between two tries */
    assert_int_equal(world->n_asked, n_asked);
    /* And says when to go on. */
    assert_true(rotate(world, NULL, NULL));
    await_state(world, 1, MM_KEY_ACTIVE);
}

struct ordered {
    struct world *world;
    bool is_begun;
    struct mm_error err;
};

static void *order_rotation(void *context)
{
    struct ordered *ordered = context;
    ordered->is_begun = rotate(ordered->world, NULL, &ordered->err);
    return NULL;
}

static void two_orders_at_once_make_one_key(void **state)
{
    struct world *world = *state;
    pthread_t thread;
    world->tokens[0].service_keys = 8;
    world->takes_ms = 300;
    open_service(world);
    struct ordered one = {.world = world};
    struct ordered other = {.world = world};
    assert_int_equal(pthread_create(&thread, NULL, order_rotation, &one), 0);
    (void)order_rotation(&other);
    (void)pthread_join(thread, NULL);
    /* Whichever is first: the other finds a rotation under way. */
    assert_true(one.is_begun != other.is_begun);
    assert_int_equal(one.is_begun ? other.err.code : one.err.code, MM_KEY_STATE);
    assert_int_equal(world->n_asked, 1);
}

static void nothing_is_begun_while_the_service_stops(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    world->tokens[0].service_keys = 8;
    open_service(world);
    mm_supply_drain(world->supply);
    assert_false(rotate(world, NULL, &err));
    assert_int_equal(err.code, MM_SHUTTING_DOWN);
    assert_int_equal(world->n_asked, 0);
    assert_false(is_wanted(world));
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, make_world, free_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(a_standby_that_nobody_has_staged_is_generated),
        in_world(where_it_is_not_allowed_nothing_is_generated),
        in_world(a_rotation_generates_its_key_where_it_goes_to),
        in_world(a_rotation_that_fails_is_over),
        in_world(a_rotation_that_the_services_end_cuts_off_goes_on),
        in_world(a_rotation_that_was_cut_off_goes_nowhere_that_is_not_allowed_any_more),
        in_world(a_failure_is_told_once_and_another_hsm_token_tried),
        in_world(a_key_that_proves_unfit_is_not_followed_by_another_at_once),
        in_world(no_more_is_tried_within_a_day_than_may_be_over_restarts),
        in_world(who_revokes_every_key_has_stopped_it),
        in_world(two_orders_at_once_make_one_key),
        in_world(nothing_is_begun_while_the_service_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
