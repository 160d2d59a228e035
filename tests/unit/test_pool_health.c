/* SPDX-License-Identifier: Apache-2.0 */
/* What the pool knows of an HSM that nobody asks, or that refuses: readiness follows probes, and requests go where they are signed. */
#include "support/pool_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/clock.h"

enum { PATIENCE_MS = 20000, POLL_MS = 20 };

/* The first start refuses with `code`, as `words` say more; `next` is all later ones. */
static void refuse_with(struct fixture *fixture, enum mm_code code, const char *words, const char *next)
{
    char lines[128];
    (void)snprintf(lines, sizeof lines, "code=%d %s\n%s", code, words, next);
    behave(fixture, lines);
}

static void wait_for_n_ready(struct fixture *fixture, size_t n)
{
    int64_t until_ns = mm_deadline_after_ms(PATIENCE_MS);
    while (mm_pool_state(fixture->pool).n_ready != n) {
        assert_true(mm_monotonic_ns() < until_ns);
        sleep_ms(POLL_MS);
    }
}

static void an_idle_hsm_is_probed_and_callers_are_not_counted_on(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.probe_interval = 1;
    fixture->settings.sign_timeout_ms = 300;
    behave(fixture, "chatty hang\nchatty answer");
    start_ok(fixture);
    wait_for_event(fixture, MM_POOL_WORKER_KILLED, 1);
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_KILLED], "300 ms"));
    wait_for_event(fixture, MM_POOL_WORKER_READY, 2);
    assert_int_equal(count_log(fixture, "probe"), 1);
    assert_int_equal(count_log(fixture, "sign"), 0);
}

static void a_probe_that_does_not_verify_ends_the_worker(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.probe_interval = 1;
    behave(fixture, "wrong\nanswer");
    start_ok(fixture);
    wait_for_event(fixture, MM_POOL_WORKER_KILLED, 1);
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_KILLED], "probe"));
}

static void an_hsm_that_refuses_everything_is_not_ready_until_a_probe_succeeds(void **state)
{
    struct fixture *fixture = *state;
    refuse_with(fixture, MM_OVERLOADED, "refusals=5 chatty", "answer");
    start_ok(fixture);
    for (int i = 0; i < 3; i++)
        (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(count_answers(fixture, REFUSED, MM_OVERLOADED), 3);
    assert_int_equal(mm_pool_state(fixture->pool).n_ready, 1); /* it may be a moment's throttling */
    wait_for_n_ready(fixture, 0);
    struct mm_error err = {0};
    assert_null(ask(fixture, "acme", 5000, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    /* Nobody asks any more, and yet it is found to sign again. */
    wait_for_n_ready(fixture, 1);
    assert_int_equal(count_log(fixture, "sign"), 3);
    assert_int_equal(n_starts(fixture), 1);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->state, SIGNED);
}

static void a_worker_that_only_refuses_draws_no_requests_from_one_that_signs(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    refuse_with(fixture, MM_OVERLOADED, "", "answer");
    start_ok(fixture);
    wait_for_ready(fixture, 2);
    int64_t until_ns = mm_deadline_after_ms(PATIENCE_MS);
    while (mm_pool_state(fixture->pool).n_ready > 1) {
        assert_true(mm_monotonic_ns() < until_ns);
        (void)ask_ok(fixture, "acme", 60000);
        sleep_ms(POLL_MS);
    }
    wait_for_answers(fixture);
    size_t n_refused = count_answers(fixture, REFUSED, MM_OVERLOADED);
    for (int i = 0; i < 100; i++)
        (void)ask_ok(fixture, "acme", 60000);
    wait_for_answers(fixture);
    assert_int_equal(count_answers(fixture, REFUSED, MM_OVERLOADED), n_refused);
}

static void a_fresh_process_is_tried_when_refusals_do_not_end(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.busy_timeout = 3;
    refuse_with(fixture, MM_OVERLOADED, "", "answer");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_event(fixture, MM_POOL_WORKER_READY, 1);
    int64_t until_ns = mm_deadline_after_ms(PATIENCE_MS);
    while (n_starts(fixture) < 2) {
        assert_true(mm_monotonic_ns() < until_ns);
        sleep_ms(POLL_MS);
    }
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 1);
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_LOST], "refused every signature for 3 s: the fake's"));
    wait_for_n_ready(fixture, 1);
}

static void the_log_says_what_ended_a_worker(void **state)
{
    struct fixture *fixture = *state;
    refuse_with(fixture, MM_OVERLOADED, "refusals=1 die=1", "answer");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 1);
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_LOST], "signal 9"));
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_LOST], "the fake's?reason"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_hsm_is_probed_and_callers_are_not_counted_on),
        TEST(a_probe_that_does_not_verify_ends_the_worker),
        TEST(an_hsm_that_refuses_everything_is_not_ready_until_a_probe_succeeds),
        TEST(a_worker_that_only_refuses_draws_no_requests_from_one_that_signs),
        TEST(a_fresh_process_is_tried_when_refusals_do_not_end),
        TEST(the_log_says_what_ended_a_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
