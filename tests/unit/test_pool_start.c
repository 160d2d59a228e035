/* SPDX-License-Identifier: Apache-2.0 */
/* How workers are started, what of it the operator hears, and the PIN latch. */
#include "support/pool_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "util/clock.h"

static struct mm_error start_fails(struct fixture *fixture, enum mm_code code)
{
    struct mm_error err = {0};
    assert_false(start(fixture, &err));
    if (err.code != code)
        fail_msg("%d: %s", err.code, err.message);
    return err;
}

static void behave_ready(struct fixture *fixture, const char *before, enum mm_code code, const char *after)
{
    char lines[128];
    (void)snprintf(lines, sizeof lines, "%sready=%d\n%s", before, code, after);
    behave(fixture, lines);
}

static void the_first_workers_reason_is_the_callers(void **state)
{
    struct fixture *fixture = *state;
    static const enum mm_code CODES[] = {MM_HSM_TOKEN_NOT_FOUND, MM_KEY_NOT_FOUND, MM_KEY_CUSTODY, MM_KEY_MISMATCH};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CODES); i++) {
        behave_ready(fixture, "", CODES[i], "");
        struct mm_error err = start_fails(fixture, CODES[i]);
        assert_string_equal(err.message, "HSM token primary: the fake's?reason");
        assert_int_equal(n_starts(fixture), i + 1);
    }
}

static void a_worker_that_exits_without_a_word_is_a_failure(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "exit=4");
    struct mm_error err = start_fails(fixture, MM_HSM_UNAVAILABLE);
    assert_non_null(strstr(err.message, "status 4"));
    assert_int_equal(n_starts(fixture), 1);
}

static void a_crash_at_the_first_start_is_tried_again(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "crash\nanswer");
    start_ok(fixture);
    assert_int_equal(n_starts(fixture), 2);
}

static void a_module_that_always_crashes_ends_the_start(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 3;
    behave(fixture, "crash");
    struct mm_error err = start_fails(fixture, MM_HSM_UNAVAILABLE);
    assert_non_null(strstr(err.message, "signal 9"));
    assert_int_equal(n_starts(fixture), 3);
}

static void a_missing_program_is_named(void **state)
{
    struct fixture *fixture = *state;
    fixture->worker_program = "/nonexistent/mintmark-hsm";
    struct mm_error err = start_fails(fixture, MM_HSM_UNAVAILABLE);
    assert_non_null(strstr(err.message, "/nonexistent/mintmark-hsm"));
}

static void an_unknown_hsm_token_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.key.hsm_token = "other";
    (void)start_fails(fixture, MM_CONFIG_INVALID);
}

static void a_worker_that_never_gets_ready_is_given_its_time_and_then_killed(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.start_timeout = 1;
    behave(fixture, "stuck");
    int64_t before = mm_monotonic_ns();
    struct mm_error err = start_fails(fixture, MM_HSM_UNAVAILABLE);
    assert_in_range(mm_monotonic_ns() - before, 950000000, 2500000000);
    assert_non_null(strstr(err.message, "1 s"));
}

static void one_that_hangs_up_but_stays_may_be_logging_in_and_is_given_long(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.start_timeout = 20;
    behave(fixture, "mute");
    int64_t before = mm_monotonic_ns();
    struct mm_error err = start_fails(fixture, MM_HSM_UNAVAILABLE);
    assert_in_range(mm_monotonic_ns() - before, 9500000000, 18000000000);
    if (!strstr(err.message, "didn't exit within 10000 ms"))
        fail_msg("%s", err.message);
}

static void a_ready_that_cannot_be_is_not_believed(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "badkid");
    (void)start_fails(fixture, MM_KEY_MISMATCH);
    behave(fixture, "badheader");
    (void)start_fails(fixture, MM_INTERNAL);
    behave(fixture, "threads=0");
    (void)start_fails(fixture, MM_INTERNAL);
    behave(fixture, "threads=17");
    (void)start_fails(fixture, MM_INTERNAL);
}

static void a_worker_inherits_nothing_but_what_it_needs(void **state)
{
    struct fixture *fixture = *state;
    mm_cleanup(mm_close) int pin = open("/dev/null", O_RDONLY | O_CLOEXEC);
    mm_cleanup(mm_close) int high = fcntl(pin, F_DUPFD_CLOEXEC, 60);
    /* Opened by someone who forgot close-on-exec. */
    int below = fcntl(pin, F_DUPFD, 40);
    int above = fcntl(pin, F_DUPFD, 80);
    fixture->settings.pin_source = MM_PIN_FD;
    fixture->settings.pin_fd = high;
    assert_int_equal(setenv("SECRET", "x", 1), 0);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/credentials", 1), 0);
    (void)signal(SIGUSR1, SIG_IGN);
    sigset_t mask;
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &mask, NULL);
    behave(fixture, "chatty");
    start_ok(fixture);
    (void)close(below);
    (void)close(above);
    (void)signal(SIGUSR1, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    (void)unsetenv("SECRET");
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    assert_int_equal(count_log(fixture, "fd "), 5);
    assert_int_equal(count_log(fixture, "fd 0"), 1);
    assert_int_equal(count_log(fixture, "fd 3"), 1);
    assert_int_equal(count_log(fixture, "fd 60"), 1);
    assert_int_equal(count_log(fixture, "env CREDENTIALS_DIRECTORY=/run/credentials"), 1);
    assert_int_equal(count_log(fixture, "env PATH="), 1);
    assert_int_equal(count_log(fixture, "env SECRET"), 0);
    assert_int_equal(count_log(fixture, "env HOME"), 0);
    assert_int_equal(count_log(fixture, "blocked"), 0);
    assert_int_equal(count_log(fixture, "ignored"), 0);
}

static void the_sockets_descriptor_cannot_be_the_pins(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.pin_source = MM_PIN_FD;
    fixture->settings.pin_fd = MM_WORKER_FD;
    (void)start_fails(fixture, MM_CONFIG_INVALID);
}

static char *latch_of(struct fixture *fixture)
{
    char *path = mm_latch_path(&fixture->config, "primary", NULL);
    assert_non_null(path);
    return path;
}

static void a_refused_pin_latches_over_restarts_until_it_is_cleared(void **state)
{
    struct fixture *fixture = *state;
    mm_cleanup(free) char *path = latch_of(fixture);
    behave_ready(fixture, "", MM_PIN_REFUSED, "answer");
    struct mm_error err = start_fails(fixture, MM_PIN_REFUSED);
    assert_non_null(strstr(err.message, "mintmark token unlock"));
    assert_int_equal(fixture->n_events[MM_POOL_PIN_LATCHED], 1);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);

    for (int i = 0; i < 3; i++) {
        err = start_fails(fixture, MM_PIN_LATCHED);
        assert_non_null(strstr(err.message, path));
        assert_non_null(strstr(err.message, "mintmark token unlock"));
    }
    assert_int_equal(n_starts(fixture), 1);

    assert_true(mm_latch_clear(path, NULL));
    start_ok(fixture);
    assert_int_equal(n_starts(fixture), 2);
}

static void an_exit_status_that_says_pin_latches_too(void **state)
{
    struct fixture *fixture = *state;
    mm_cleanup(free) char *path = latch_of(fixture);
    char line[32];
    (void)snprintf(line, sizeof line, "exit=%d", MM_EXIT_PIN);
    behave(fixture, line);
    (void)start_fails(fixture, MM_PIN_REFUSED);
    assert_false(mm_latch_check(path, "primary", NULL));
    (void)start_fails(fixture, MM_PIN_LATCHED);
    assert_int_equal(n_starts(fixture), 1);
}

static void a_pin_refused_to_a_later_worker_stops_all_further_logins(void **state)
{
    struct fixture *fixture = *state;
    mm_cleanup(free) char *path = latch_of(fixture);
    behave_ready(fixture, "die=1\n", MM_PIN_REFUSED, "answer");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    struct answer *second = ask_ok(fixture, "acme", 5000);
    wait_for_event(fixture, MM_POOL_PIN_LATCHED, 1);
    wait_for_answers(fixture);
    assert_int_equal(second->code, MM_HSM_UNAVAILABLE);
    assert_true(mm_pool_state(fixture->pool).is_latched);
    struct mm_error err = {0};
    assert_null(ask(fixture, "acme", 60000, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    sleep_ms(1500);
    assert_int_equal(n_starts(fixture), 2);

    assert_true(mm_latch_clear(path, NULL));
    wait_for_ready(fixture, 1);
    assert_false(mm_pool_state(fixture->pool).is_latched);
    struct answer *third = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(third->state, SIGNED);
}

static void workers_that_are_logged_in_serve_on_while_latched(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    behave_ready(fixture, "answer\n", MM_PIN_REFUSED, "answer");
    start_ok(fixture);
    wait_for_event(fixture, MM_POOL_PIN_LATCHED, 1);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->state, SIGNED);
    sleep_ms(1200);
    assert_int_equal(n_starts(fixture), 2);
}

static void a_latch_that_cannot_be_written_still_latches(void **state)
{
    struct fixture *fixture = *state;
    mm_cleanup(free) char *folder = mm_latch_folder(&fixture->config, NULL);
    behave_ready(fixture, "die=1\n", MM_PIN_REFUSED, "answer");
    start_ok(fixture);
    assert_int_equal(rmdir(folder), 0);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_event(fixture, MM_POOL_PIN_LATCHED, 1);
    sleep_ms(1500);
    assert_true(mm_pool_state(fixture->pool).is_latched);
    assert_int_equal(n_starts(fixture), 2);
}

static void a_latch_set_by_another_process_is_heeded(void **state)
{
    struct fixture *fixture = *state;
    mm_cleanup(free) char *path = latch_of(fixture);
    behave(fixture, "die=1\nanswer");
    start_ok(fixture);
    assert_true(mm_latch_set(path, 1764000000, "set by a command", NULL));
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->code, MM_HSM_UNAVAILABLE);
    assert_int_equal(n_starts(fixture), 1);
}

static void a_pool_for_good_says_what_failed_and_goes_on_trying(void **state)
{
    struct fixture *fixture = *state;
    struct mm_error why = {0};
    fixture->options.mode = MM_POOL_FOR_GOOD;
    fixture->settings.workers = 2;
    behave_ready(fixture, "", MM_KEY_NOT_FOUND, "exit=4\nanswer");
    assert_true(launch(fixture, NULL));
    assert_false(mm_pool_wait(fixture->pool, &why));
    assert_int_equal(why.code, MM_KEY_NOT_FOUND);
    wait_for_ready(fixture, 2);
    assert_int_equal(mm_pool_verdict(fixture->pool, NULL), MM_POOL_WORKS);
    assert_true(mm_pool_wait(fixture->pool, NULL));
    assert_int_equal(n_starts(fixture), 4);
    assert_int_equal(count_log(fixture, "overlap"), 0);
}

static void a_pool_for_good_starts_latched_and_works_once_that_is_cleared(void **state)
{
    struct fixture *fixture = *state;
    struct mm_error why = {0};
    mm_cleanup(free) char *path = latch_of(fixture);
    assert_true(mm_latch_make_folder(&fixture->config, NULL));
    assert_true(mm_latch_set(path, 1764000000, "PIN refused", NULL));
    fixture->options.mode = MM_POOL_FOR_GOOD;
    behave(fixture, "answer");
    assert_true(launch(fixture, NULL));
    assert_false(mm_pool_wait(fixture->pool, &why));
    assert_int_equal(why.code, MM_PIN_LATCHED);
    assert_true(mm_pool_state(fixture->pool).is_latched);
    assert_int_equal(n_starts(fixture), 0);
    assert_true(mm_latch_clear(path, NULL));
    wait_for_ready(fixture, 1);
    assert_int_equal(n_starts(fixture), 1);
}

static void an_ended_pool_refuses_what_comes_later(void **state)
{
    struct fixture *fixture = *state;
    struct mm_error err = {0};
    behave(fixture, "answer");
    start_ok(fixture);
    mm_pool_end(fixture->pool);
    assert_false(mm_pool_is_serving(fixture->pool));
    assert_null(ask(fixture, "acme", 5000, &err));
    assert_int_equal(err.code, MM_SHUTTING_DOWN);
    mm_pool_free(MM_TAKE(fixture->pool));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_workers_reason_is_the_callers),
        TEST(a_worker_that_exits_without_a_word_is_a_failure),
        TEST(a_crash_at_the_first_start_is_tried_again),
        TEST(a_module_that_always_crashes_ends_the_start),
        TEST(a_missing_program_is_named),
        TEST(an_unknown_hsm_token_is_refused),
        TEST(a_worker_that_never_gets_ready_is_given_its_time_and_then_killed),
        TEST(one_that_hangs_up_but_stays_may_be_logging_in_and_is_given_long),
        TEST(a_ready_that_cannot_be_is_not_believed),
        TEST(a_worker_inherits_nothing_but_what_it_needs),
        TEST(the_sockets_descriptor_cannot_be_the_pins),
        TEST(a_refused_pin_latches_over_restarts_until_it_is_cleared),
        TEST(an_exit_status_that_says_pin_latches_too),
        TEST(a_pin_refused_to_a_later_worker_stops_all_further_logins),
        TEST(workers_that_are_logged_in_serve_on_while_latched),
        TEST(a_latch_that_cannot_be_written_still_latches),
        TEST(a_latch_set_by_another_process_is_heeded),
        TEST(a_pool_for_good_says_what_failed_and_goes_on_trying),
        TEST(a_pool_for_good_starts_latched_and_works_once_that_is_cleared),
        TEST(an_ended_pool_refuses_what_comes_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
