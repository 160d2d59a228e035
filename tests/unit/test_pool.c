/* SPDX-License-Identifier: Apache-2.0 */
/* What callers of a pool of healthy workers get: signatures, turns, deadlines, bounds, an end. */
#include "support/pool_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/clock.h"

static void every_request_gets_its_own_verified_signature(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    start_ok(fixture);
    for (int i = 0; i < 500; i++)
        (void)ask_ok(fixture, i % 3 ? "acme" : "globex", 9000);
    wait_for_answers(fixture);
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK), 500);
}

static void all_workers_get_ready_one_after_another(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 4;
    behave(fixture, "start=60");
    start_ok(fixture);
    assert_true(mm_pool_state(fixture->pool).n_ready < 4);
    wait_for_event(fixture, MM_POOL_WORKER_READY, 4);
    struct mm_pool_state at_end = mm_pool_state(fixture->pool);
    assert_int_equal(at_end.n_workers, 4);
    assert_int_equal(at_end.n_ready, 4);
    assert_false(at_end.is_latched);
    assert_int_equal(count_log(fixture, "start"), 4);
    assert_int_equal(count_log(fixture, "overlap"), 0);
}

static void one_request_of_a_tenant_overtakes_anothers_backlog(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "threads=1 delay=2");
    start_ok(fixture);
    for (int i = 0; i < 1000; i++)
        (void)ask_ok(fixture, "acme", 60000);
    struct answer *other = ask_ok(fixture, "globex", 60000);
    wait_for_answers(fixture);
    assert_int_equal(other->state, SIGNED);
    assert_in_range(other->order, 1, 200);
}

static void more_than_the_bound_is_refused_at_once(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.queue = 5;
    behave(fixture, "hang");
    start_ok(fixture);
    for (int i = 0; i < 5; i++)
        (void)ask_ok(fixture, "acme", 300);
    struct mm_error err = {0};
    assert_null(ask(fixture, "acme", 300, &err));
    assert_int_equal(err.code, MM_OVERLOADED);
    wait_for_answers(fixture);
    assert_non_null(ask(fixture, "acme", 300, NULL));
}

static void an_expired_request_is_answered_and_never_sent(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "threads=1 chatty delay=300");
    start_ok(fixture);
    struct answer *first = ask_ok(fixture, "acme", 5000);
    int64_t asked_ns = mm_monotonic_ns();
    struct answer *second = ask_ok(fixture, "acme", 100);
    wait_for_answers(fixture);
    assert_int_equal(first->state, SIGNED);
    assert_int_equal(second->code, MM_DEADLINE_EXCEEDED);
    assert_in_range(second->answered_ns - asked_ns, 90000000, 250000000);
    struct answer *third = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(third->state, SIGNED);
    assert_int_equal(count_log(fixture, "sign"), 2);
    assert_int_equal(count_log(fixture, "sign {\"n\":1}"), 0);
}

static void a_request_in_flight_is_answered_at_its_deadline_and_its_late_signature_dropped(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "delay=300");
    start_ok(fixture);
    int64_t asked_ns = mm_monotonic_ns();
    struct answer *answer = ask_ok(fixture, "acme", 100);
    wait_for_answers(fixture);
    assert_int_equal(answer->code, MM_DEADLINE_EXCEEDED);
    assert_in_range(answer->answered_ns - asked_ns, 90000000, 250000000);
    struct answer *next = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(next->state, SIGNED);
    assert_int_equal(fixture->n_events[MM_POOL_WORKER_LOST] + fixture->n_events[MM_POOL_WORKER_KILLED], 0);
}

static void how_long_signatures_take_is_told(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "threads=1 delay=60");
    start_ok(fixture);
    struct mm_pool_state told = mm_pool_state(fixture->pool);
    assert_int_equal(mm_latency_n(&told.latency), 0);
    for (int i = 0; i < 3; i++)
        (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    told = mm_pool_state(fixture->pool);
    assert_int_equal(mm_latency_n(&told.latency), 3);
    /* The wait for those before it isn't in it. */
    assert_in_range(mm_latency_percentile_us(&told.latency, 50), 60000, 115000);
}

static void a_deadline_that_cannot_be_met_is_refused_at_once(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "threads=1 delay=40");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    for (int i = 0; i < 20; i++)
        (void)ask_ok(fixture, "acme", 9000);
    struct mm_error err = {0};
    assert_null(ask(fixture, "acme", 400, &err));
    assert_int_equal(err.code, MM_DEADLINE_EXCEEDED);
    /* Another tenant's turn comes after one of the twenty. */
    assert_non_null(ask(fixture, "globex", 400, NULL));
    err = (struct mm_error){0};
    assert_null(ask(fixture, "initech", 0, &err));
    assert_int_equal(err.code, MM_DEADLINE_EXCEEDED);
    wait_for_answers(fixture);
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK), 22);
}

static void a_slow_past_does_not_refuse_for_ever(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "threads=1 delay=300 die=1\nthreads=1");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    for (int i = 0; i < 40; i++) {
        struct answer *answer = ask_ok(fixture, "acme", 200);
        wait_for_answers(fixture);
        assert_int_equal(answer->state, SIGNED);
    }
}

static void a_payload_that_no_worker_may_see_is_refused(void **state)
{
    struct fixture *fixture = *state;
    start_ok(fixture);
    static char large[MM_PAYLOAD_MAX + 1];
    const struct mm_pool_order wrong[] = {
        {MM_SENTENCE_ACCESS_TOKEN, "acme", large, sizeof large, mm_deadline_after_ms(1000), MM_POOL_PATIENT},
        {MM_SENTENCE_ACCESS_TOKEN, "acme", "", 0, mm_deadline_after_ms(1000), MM_POOL_PATIENT},
        {(enum mm_sentence)9, "acme", "{}", 2, mm_deadline_after_ms(1000), MM_POOL_PATIENT},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(wrong); i++) {
        struct mm_error err = {0};
        assert_false(mm_pool_sign(fixture->pool, &wrong[i], NULL, NULL, &err));
        assert_int_equal(err.code, MM_SENTENCE_REFUSED);
    }
    assert_int_equal(mm_pool_state(fixture->pool).n_ready, 1);
}

static void a_workers_refusal_reaches_the_caller_as_one_printable_line(void **state)
{
    struct fixture *fixture = *state;
    char line[32];
    (void)snprintf(line, sizeof line, "code=%d", MM_SENTENCE_REFUSED);
    behave(fixture, line);
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->code, MM_SENTENCE_REFUSED);
    assert_string_equal(answer->message, "the fake's?reason");
    assert_int_equal(mm_pool_state(fixture->pool).n_ready, 1);
}

static void stopping_answers_what_waits_and_leaves_no_process(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    behave(fixture, "hang deaf");
    start_ok(fixture);
    wait_for_ready(fixture, 2);
    for (int i = 0; i < 100; i++)
        (void)ask_ok(fixture, "acme", 60000);
    int64_t before = mm_monotonic_ns();
    mm_pool_stop(MM_TAKE(fixture->pool));
    assert_in_range(mm_monotonic_ns() - before, 1900000000, 4000000000);
    assert_int_equal(count_answers(fixture, REFUSED, MM_SHUTTING_DOWN), 100);
}

static void stopping_lets_a_signature_in_flight_arrive(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "delay=200");
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    mm_pool_stop(MM_TAKE(fixture->pool));
    assert_int_equal(answer->state, SIGNED);
}

static void an_idle_pool_stops_at_once(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 3;
    start_ok(fixture);
    wait_for_ready(fixture, 3);
    sleep_ms(50);
    int64_t before = mm_monotonic_ns();
    mm_pool_stop(MM_TAKE(fixture->pool));
    assert_in_range(mm_monotonic_ns() - before, 0, 1000000000);
}

/* Signs again from within `done`, as an issuer with a backlog does. */
static struct mm_pool_order first_order(void)
{
    return (struct mm_pool_order){
        MM_SENTENCE_ACCESS_TOKEN, "acme", "{\"n\":1}", 7, mm_deadline_after_ms(5000), MM_POOL_PATIENT,
    };
}

struct chain {
    struct fixture *fixture;
    int left;
    bool is_broken;
};

static void sign_again(void *context, const char *jws, const struct mm_error *err)
{
    struct chain *chain = context;
    (void)err;
    chain->is_broken |= !jws;
    bool is_over = chain->left == 0 || chain->is_broken;
    if (!is_over) {
        chain->left--;
        struct mm_pool_order order = first_order();
        chain->is_broken |= !mm_pool_sign(chain->fixture->pool, &order, sign_again, chain, NULL);
    }
    if (is_over || chain->is_broken) {
        (void)pthread_mutex_lock(&chain->fixture->lock);
        chain->fixture->n_answered++;
        (void)pthread_cond_broadcast(&chain->fixture->changed);
        (void)pthread_mutex_unlock(&chain->fixture->lock);
    }
}

static void done_may_ask_for_another_signature(void **state)
{
    struct fixture *fixture = *state;
    start_ok(fixture);
    struct chain chain = {.fixture = fixture, .left = 50};
    fixture->n_asked++;
    struct mm_pool_order order = first_order();
    assert_true(mm_pool_sign(fixture->pool, &order, sign_again, &chain, NULL));
    wait_for_answers(fixture);
    assert_false(chain.is_broken);
    assert_int_equal(chain.left, 0);
}

/* Keeps the thread that hands out a worker's signatures. */
static void take_slowly(void *context, const char *jws, const struct mm_error *err)
{
    struct fixture *fixture = context;
    (void)err;
    sleep_ms(200);
    (void)pthread_mutex_lock(&fixture->lock);
    fixture->n_answered++;
    fixture->n_forged += !jws;
    (void)pthread_cond_broadcast(&fixture->changed);
    (void)pthread_mutex_unlock(&fixture->lock);
}

static void a_second_try_is_minded_though_the_pool_had_gone_to_rest(void **state)
{
    struct fixture *fixture = *state;
    char lines[64];
    /* Two are signed; the third is refused, tried again with the worker's successor, and then never answered. */
    (void)snprintf(lines, sizeof lines, "code=%d signs=2\nhang", MM_HSM_UNAVAILABLE);
    behave(fixture, lines);
    start_ok(fixture);
    int64_t before = mm_monotonic_ns();
    struct mm_pool_order order = first_order();
    for (int i = 0; i < 2; i++, fixture->n_asked++)
        assert_true(mm_pool_sign(fixture->pool, &order, take_slowly, fixture, NULL));
    struct answer *answer = ask_ok(fixture, "acme", 700);
    wait_for_answers(fixture);
    assert_int_equal(answer->code, MM_DEADLINE_EXCEEDED);
    assert_in_range(answer->answered_ns - before, 700000000, 1000000000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_request_gets_its_own_verified_signature),
        TEST(all_workers_get_ready_one_after_another),
        TEST(one_request_of_a_tenant_overtakes_anothers_backlog),
        TEST(more_than_the_bound_is_refused_at_once),
        TEST(an_expired_request_is_answered_and_never_sent),
        TEST(a_request_in_flight_is_answered_at_its_deadline_and_its_late_signature_dropped),
        TEST(how_long_signatures_take_is_told),
        TEST(a_deadline_that_cannot_be_met_is_refused_at_once),
        TEST(a_slow_past_does_not_refuse_for_ever),
        TEST(a_payload_that_no_worker_may_see_is_refused),
        TEST(a_workers_refusal_reaches_the_caller_as_one_printable_line),
        TEST(stopping_answers_what_waits_and_leaves_no_process),
        TEST(stopping_lets_a_signature_in_flight_arrive),
        TEST(an_idle_pool_stops_at_once),
        TEST(a_second_try_is_minded_though_the_pool_had_gone_to_rest),
        TEST(done_may_ask_for_another_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
