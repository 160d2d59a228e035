/* SPDX-License-Identifier: Apache-2.0 */
/* mintmarkd's side of a key that is generated: what it believes of a worker, and that it sees each to its end. */
#include "hsm/key_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/pool_fixture.h"
#include "util/clock.h"

/* What the fake says, and who else is there. */
struct world {
    struct fixture *fixture;
    struct mm_pool_gate gate;
    atomic_bool is_cancelled;
};

static void say_generated(const struct fixture *fixture, const char *ready)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s.generated", fixture->file);
    FILE *stream = fopen(path, "we");
    assert_non_null(stream);
    assert_true(fputs(ready, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

/* The fixture's key, as a worker that has made it would name it. */
static json_t *described(const struct fixture *fixture)
{
    json_t *jwk = mm_pubkey_to_jwk(fixture->pubkey, MM_ES256, NULL);
    return json_pack("{ss ss ss so}", "kid", mm_pubkey_thumbprint(fixture->pubkey), "id", "0a0b", "label", "new", "jwk",
                     jwk);
}

static void say_described(const struct fixture *fixture, json_t *ready)
{
    mm_cleanup(free) char *text = json_dumps(ready, JSON_COMPACT);
    json_decref(ready);
    say_generated(fixture, text);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct mm_error err = {0};
    assert_non_null(world);
    assert_int_equal(fixture_set_up((void **)&world->fixture), 0);
    struct fixture *fixture = world->fixture;
    const struct mm_worker_spec spec = {fixture->worker_program, fixture->file, "primary", -1, 1};
    fixture->launcher = mm_launcher_start(&spec, 1, &err);
    assert_non_null(fixture->launcher);
    say_described(fixture, described(fixture));
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    int status = fixture_tear_down((void **)&world->fixture);
    free(world);
    return status;
}

static bool generate(struct world *world, json_t **ret_key, struct mm_error *err)
{
    const struct mm_key_maker maker = {
        .config = &world->fixture->config,
        .launcher = world->fixture->launcher,
        .gate = &world->gate,
        .algorithm = MM_ES256,
        .is_cancelled = &world->is_cancelled,
    };
    return mm_key_maker_run(&maker, ret_key, err);
}

static void assert_fails(struct world *world, enum mm_code code, const char *words)
{
    struct mm_error err = {0};
    json_t *key = NULL;
    assert_false(generate(world, &key, &err));
    assert_null(key);
    if (err.code != code || !strstr(err.message, words))
        fail_msg("code %d: %s", (int)err.code, err.message);
    assert_null(atomic_load(&world->gate.holder));
}

static void the_key_that_was_made_is_told_with_its_place(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *key = NULL;
    if (!generate(world, &key, &err))
        fail_msg("%s", err.message);
    assert_string_equal(mm_json_string(key, "kid"), mm_pubkey_thumbprint(world->fixture->pubkey));
    assert_string_equal(mm_json_string(key, "alg"), "ES256");
    assert_string_equal(mm_json_string(key, "hsm_token"), "primary");
    assert_string_equal(mm_json_string(key, "hsm_id"), "0a0b");
    assert_string_equal(mm_json_string(key, "hsm_label"), "new");
    assert_int_equal(json_object_size(key), 6);
    assert_int_equal(count_log(world->fixture, "generate ES256"), 1);
    /* The one worker that may run is gone: there is room for the next. */
    mm_cleanup(json_decref) json_t *another = NULL;
    assert_true(generate(world, &another, NULL));
}

/* A key that is asked for on another thread. */
struct order {
    struct world *world;
    pthread_t thread;
    json_t *key;
    struct mm_error err;
};

static void *carry_out(void *context)
{
    struct order *order = context;
    (void)generate(order->world, &order->key, &order->err);
    return NULL;
}

static struct order *begin(struct world *world)
{
    struct order *order = calloc(1, sizeof *order);
    assert_non_null(order);
    order->world = world;
    assert_int_equal(pthread_create(&order->thread, NULL, carry_out, order), 0);
    return order;
}

/* Whether it was made. */
static bool end(struct order *order, struct mm_error *ret_err)
{
    assert_int_equal(pthread_join(order->thread, NULL), 0);
    bool is_made = order->key != NULL;
    *ret_err = order->err;
    json_decref(order->key);
    free(order);
    return is_made;
}

static void wait_for_log(const struct world *world, const char *prefix)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s.log", world->fixture->file);
    for (int waited = 0; access(path, R_OK) != 0 || count_log(world->fixture, prefix) == 0; waited += 5) {
        assert_true(waited < 10000);
        sleep_ms(5);
    }
}

static void while_the_hsm_makes_a_key_others_may_log_in(void **state)
{
    struct world *world = *state;
    const int other = 0;
    struct mm_error err = {0};
    behave(world->fixture, "makes=1500");
    struct order *order = begin(world);
    wait_for_log(world, "logged in");
    int64_t begun_ns = mm_monotonic_ns();
    while (!mm_pool_gate_take(&world->gate, &other)) {
        assert_true(mm_monotonic_ns() - begun_ns < 1000 * 1000000LL);
        sleep_ms(5);
    }
    assert_true(end(order, &err));
    /* Its end lets nobody in whom another keeps out. */
    assert_true(mm_pool_gate_is_held(&world->gate, &other));
    mm_pool_gate_leave(&world->gate, &other);
}

static void while_it_logs_in_nobody_else_may(void **state)
{
    struct world *world = *state;
    const int other = 0;
    struct mm_error err = {0};
    behave(world->fixture, "start=800");
    struct order *order = begin(world);
    wait_for_log(world, "start ");
    while (count_log(world->fixture, "logged in") == 0)
        if (mm_pool_gate_take(&world->gate, &other))
            break;
    assert_int_equal(count_log(world->fixture, "logged in"), 1);
    assert_true(end(order, &err));
    mm_pool_gate_leave(&world->gate, &other);
}

static void who_says_things_out_of_turn_is_not_believed(void **state)
{
    struct world *world = *state;
    behave(world->fixture, "logins=0");
    assert_fails(world, MM_INTERNAL, "without a login");
    behave(world->fixture, "logins=2");
    assert_fails(world, MM_INTERNAL, "something else than READY");
    behave(world->fixture, "logins=1000");
    assert_fails(world, MM_INTERNAL, "something else than READY");
}

static void a_login_that_does_not_end_is_given_time_and_then_ended(void **state)
{
    struct world *world = *state;
    behave(world->fixture, "stuck");
    world->fixture->settings.start_timeout = 1;
    int64_t begun_ns = mm_monotonic_ns();
    assert_fails(world, MM_HSM_UNAVAILABLE, "didn't log in within 1 s");
    assert_in_range((mm_monotonic_ns() - begun_ns) / 1000000000, 10, 15);
}

static void what_is_no_such_key_is_not_believed(void **state)
{
    struct world *world = *state;
    static const char *const TEXTS[] = {"nonsense", "[]", "{}", "{\"kid\":\"x\",\"jwk\":{\"kty\":\"oct\"}}"};
    static const char *const MEMBERS[] = {"kid", "id", "label", "jwk"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++) {
        say_generated(world->fixture, TEXTS[i]);
        assert_fails(world, MM_INTERNAL, i == 0 ? "READY isn't JSON" : "no such key");
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(MEMBERS); i++) {
        json_t *ready = described(world->fixture);
        (void)json_object_set_new(ready, MEMBERS[i], json_string(""));
        if (strcmp(MEMBERS[i], "label") == 0)
            (void)json_object_set_new(ready, "label", json_integer(1));
        say_described(world->fixture, ready);
        assert_fails(world, MM_INTERNAL, "no such key");
    }
    char id[600];
    memset(id, 'a', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    json_t *ready = described(world->fixture);
    (void)json_object_set_new(ready, "id", json_string(id));
    say_described(world->fixture, ready);
    assert_fails(world, MM_INTERNAL, "no such key");
}

static void why_none_was_made_is_told(void **state)
{
    struct world *world = *state;
    char behaviour[64];
    (void)snprintf(behaviour, sizeof behaviour, "ready=%d", (int)MM_KEY_LIMIT);
    behave(world->fixture, behaviour);
    assert_fails(world, MM_KEY_LIMIT, "the fake's?reason");
    behave(world->fixture, "exit=4");
    assert_fails(world, MM_HSM_UNAVAILABLE, "ended without a word");
    behave(world->fixture, "crash");
    assert_fails(world, MM_HSM_UNAVAILABLE, "ended without a word");
    behave(world->fixture, "answer");
    mm_cleanup(json_decref) json_t *key = NULL;
    assert_true(generate(world, &key, NULL));
}

static void a_refused_pin_is_not_sent_again(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    char behaviour[64];
    mm_cleanup(free) char *latch = mm_latch_path(&world->fixture->config, "primary", NULL);
    (void)snprintf(behaviour, sizeof behaviour, "ready=%d", (int)MM_PIN_REFUSED);
    const char *const refusals[] = {behaviour, "exit=5"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(refusals); i++) {
        json_t *key = NULL;
        behave(world->fixture, refusals[i]);
        assert_false(generate(world, &key, NULL));
        size_t n = n_starts(world->fixture);
        assert_fails(world, MM_PIN_LATCHED, "token unlock");
        assert_int_equal(n_starts(world->fixture), n);
        assert_true(mm_latch_clear(latch, &err));
    }
    behave(world->fixture, "answer");
    mm_cleanup(json_decref) json_t *key = NULL;
    assert_true(generate(world, &key, NULL));
}

/* The disk is full when it is refused: whoever shares the HSM token still doesn't send it, and the latch is written once that can be done. */
static void a_refused_pin_is_not_sent_again_though_that_cannot_be_recorded(void **state)
{
    struct world *world = *state;
    struct fixture *fixture = world->fixture;
    struct mm_error err = {0};
    char behaviour[64];
    mm_cleanup(free) char *folder = mm_latch_folder(&fixture->config, NULL);
    mm_cleanup(free) char *latch = mm_latch_path(&fixture->config, "primary", NULL);
    (void)snprintf(behaviour, sizeof behaviour, "start=500 ready=%d logins=0", (int)MM_PIN_REFUSED);
    behave(fixture, behaviour);
    struct order *order = begin(world);
    wait_for_log(world, "start ");
    assert_int_equal(rmdir(folder), 0);
    assert_false(end(order, &err));
    assert_int_equal(err.code, MM_PIN_REFUSED);

    behave(fixture, "answer");
    size_t n = n_starts(fixture);
    struct mm_error why = {0};
    assert_false(mm_pool_gate_check_latch(&world->gate, latch, "primary", &why));
    assert_int_equal(why.code, MM_PIN_LATCHED);
    assert_non_null(strstr(why.message, "can't be recorded"));
    assert_fails(world, MM_PIN_LATCHED, "token unlock"); /* it has made the folder anew */
    assert_false(mm_latch_check(latch, "primary", NULL));
    assert_int_equal(n_starts(fixture), n);
    assert_true(mm_latch_clear(latch, NULL));
    mm_cleanup(json_decref) json_t *key = NULL;
    assert_true(generate(world, &key, NULL));
}

/* A pool at the same gate. */
static void what_was_refused_for_a_key_is_not_sent_to_sign(void **state)
{
    struct world *world = *state;
    struct fixture *fixture = world->fixture;
    struct mm_error err = {0};
    mm_cleanup(free) char *latch = mm_latch_path(&fixture->config, "primary", NULL);
    behave(fixture, "answer");
    fixture->options.gate = &world->gate;
    fixture->options.launcher = fixture->launcher;
    assert_false(mm_pool_gate_latch(&world->gate, latch, "PIN refused", NULL)); /* there is no folder yet */
    fixture->pool = mm_pool_start(&fixture->options, &err);
    assert_null(fixture->pool);
    assert_int_equal(err.code, MM_PIN_LATCHED);
    assert_int_equal(n_starts(fixture), 0);
}

static void a_worker_that_another_starts_is_waited_for(void **state)
{
    struct world *world = *state;
    const int other = 0;
    world->fixture->settings.start_timeout = 1;
    atomic_store(&world->gate.holder, &other);
    struct mm_error err = {0};
    json_t *key = NULL;
    assert_false(generate(world, &key, &err));
    assert_int_equal(err.code, MM_OVERLOADED);
    assert_ptr_equal(atomic_load(&world->gate.holder), &other);
    assert_int_equal(n_starts(world->fixture), 0);
    atomic_store(&world->gate.holder, NULL);
}

static void a_service_that_stops_waits_for_no_key(void **state)
{
    struct world *world = *state;
    const int other = 0;
    atomic_store(&world->is_cancelled, true);
    assert_fails(world, MM_SHUTTING_DOWN, "shutting down");
    atomic_store(&world->gate.holder, &other);
    struct mm_error err = {0};
    json_t *key = NULL;
    assert_false(generate(world, &key, &err));
    assert_int_equal(err.code, MM_SHUTTING_DOWN);
    assert_int_equal(n_starts(world->fixture), 0);
    atomic_store(&world->gate.holder, NULL);
}

static void *cancel(void *context)
{
    struct world *world = context;
    while (n_starts(world->fixture) == 0)
        sleep_ms(5);
    atomic_store(&world->is_cancelled, true);
    return NULL;
}

static void one_that_hangs_is_ended_when_the_service_stops(void **state)
{
    struct world *world = *state;
    pthread_t thread;
    behave(world->fixture, "stuck");
    assert_int_equal(pthread_create(&thread, NULL, cancel, world), 0);
    int64_t begun_ns = mm_monotonic_ns();
    assert_fails(world, MM_SHUTTING_DOWN, "shutting down");
    /* It was given the time of a login to end by itself, and no more. */
    assert_in_range((mm_monotonic_ns() - begun_ns) / 1000000000, 9, 14);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(the_key_that_was_made_is_told_with_its_place),
        in_world(while_the_hsm_makes_a_key_others_may_log_in),
        in_world(while_it_logs_in_nobody_else_may),
        in_world(who_says_things_out_of_turn_is_not_believed),
        in_world(a_login_that_does_not_end_is_given_time_and_then_ended),
        in_world(what_is_no_such_key_is_not_believed),
        in_world(why_none_was_made_is_told),
        in_world(a_refused_pin_is_not_sent_again),
        in_world(a_refused_pin_is_not_sent_again_though_that_cannot_be_recorded),
        in_world(what_was_refused_for_a_key_is_not_sent_to_sign),
        in_world(a_worker_that_another_starts_is_waited_for),
        in_world(a_service_that_stops_waits_for_no_key),
        in_world(one_that_hangs_is_ended_when_the_service_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
