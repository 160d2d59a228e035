/* SPDX-License-Identifier: Apache-2.0 */
/* Workers that die, hang, lie or talk nonsense: callers get a signature from another one, or a refusal; never a bad token. */
#include "support/pool_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/clock.h"

enum { PATIENCE_MS = 5000 };

static void a_worker_that_dies_under_load_costs_no_request(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    behave(fixture, "die=20 delay=1\nanswer delay=1");
    start_ok(fixture);
    wait_for_ready(fixture, 2);
    for (int i = 0; i < 300; i++)
        (void)ask_ok(fixture, "acme", 9000);
    wait_for_answers(fixture);
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK), 300);
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 1);
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_LOST], "signal 9"));
    wait_for_event(fixture, MM_POOL_WORKER_READY, 3);
}

/* SIGKILL to the worker that started last. */
static void kill_latest(struct fixture *fixture)
{
    mm_cleanup(free) char *log = read_log(fixture);
    char *line = NULL;
    for (char *next = strstr(log, "start "); next; next = strstr(next + 1, "start "))
        line = next;
    assert_non_null(line);
    (void)kill(atoi(line + strlen("start ")), SIGKILL);
}

static void workers_killed_from_outside_under_load_are_replaced(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    behave(fixture, "answer delay=1");
    start_ok(fixture);
    wait_for_ready(fixture, 2);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 100; i++)
            (void)ask_ok(fixture, "acme", 9000);
        kill_latest(fixture);
        wait_for_answers(fixture);
        wait_for_ready(fixture, 2);
    }
    /* A request may meet two dying workers; no more than that may fail. */
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK) + count_answers(fixture, REFUSED, MM_HSM_UNAVAILABLE), 500);
    assert_in_range(count_answers(fixture, SIGNED, MM_OK), 480, 500);
}

static void a_hung_worker_is_killed_and_another_answers(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    fixture->settings.sign_timeout_ms = 300;
    behave(fixture, "hang\nanswer");
    start_ok(fixture);
    wait_for_ready(fixture, 2);
    int64_t before = mm_monotonic_ns();
    for (int i = 0; i < 100; i++)
        (void)ask_ok(fixture, "acme", 9000);
    wait_for_answers(fixture);
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK), 100);
    assert_in_range(mm_monotonic_ns() - before, 290000000, 2000000000);
    wait_for_event(fixture, MM_POOL_WORKER_KILLED, 1);
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_KILLED], "300 ms"));
}

static void a_request_that_hangs_two_workers_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.sign_timeout_ms = 200;
    behave(fixture, "threads=1 hang\nthreads=1 hang\nthreads=1");
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    /* Tried on two workers, that's all. */
    assert_int_equal(answer->code, MM_HSM_UNAVAILABLE);
    struct answer *next = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(next->state, SIGNED);
}

static void one_hung_signature_is_noticed_while_the_worker_answers_others(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.sign_timeout_ms = 300;
    behave(fixture, "skip=1\nanswer");
    start_ok(fixture);
    struct answer *hung = ask_ok(fixture, "acme", 5000);
    int64_t until_ns = mm_deadline_after_ms(PATIENCE_MS);
    size_t n_killed = 0;
    while (n_killed == 0 && mm_monotonic_ns() < until_ns) {
        (void)ask_ok(fixture, "acme", 5000);
        sleep_ms(5);
        (void)pthread_mutex_lock(&fixture->lock);
        n_killed = fixture->n_events[MM_POOL_WORKER_KILLED];
        (void)pthread_mutex_unlock(&fixture->lock);
    }
    wait_for_answers(fixture);
    assert_int_equal(n_killed, 1);
    assert_int_equal(hung->state, SIGNED);
    assert_int_equal(count_answers(fixture, REFUSED, MM_HSM_UNAVAILABLE), 0);
}

static void a_signature_that_does_not_verify_never_leaves(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "wrong\nanswer");
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->state, SIGNED);
    assert_int_equal(fixture->n_events[MM_POOL_WORKER_KILLED], 1);
    assert_non_null(strstr(fixture->last_detail[MM_POOL_WORKER_KILLED], "verify"));
    assert_int_equal(n_starts(fixture), 2);
}

static void an_hsm_that_only_signs_wrongly_is_named(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "wrong");
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->code, MM_SIGNATURE_INVALID);
    wait_for_event(fixture, MM_POOL_WORKER_KILLED, 2);
}

static void a_worker_that_breaks_the_rules_is_killed_and_another_answers(void **state)
{
    struct fixture *fixture = *state;
    static const char *const LINES[] = {"short\nanswer", "unknown\nanswer", "garbage\nanswer", "noise\nanswer"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(LINES); i++) {
        char path[160];
        (void)snprintf(path, sizeof path, "%s.count", fixture->file);
        (void)unlink(path);
        behave(fixture, LINES[i]);
        start_ok(fixture);
        struct answer *answer = ask_ok(fixture, "acme", 5000);
        wait_for_answers(fixture);
        assert_int_equal(answer->state, SIGNED);
        assert_int_equal(n_starts(fixture), 2);
        assert_int_equal(fixture->n_events[MM_POOL_WORKER_KILLED], i + 1);
        mm_pool_stop(MM_TAKE(fixture->pool));
    }
}

static void a_second_answer_to_one_request_is_an_offence(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "twice\nanswer");
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->state, SIGNED);
    wait_for_event(fixture, MM_POOL_WORKER_KILLED, 1);
}

static void an_hsm_that_cannot_sign_at_present_is_tried_twice(void **state)
{
    struct fixture *fixture = *state;
    char line[64];
    (void)snprintf(line, sizeof line, "chatty code=%d", MM_HSM_UNAVAILABLE);
    behave(fixture, line);
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->code, MM_HSM_UNAVAILABLE);
    assert_int_equal(count_log(fixture, "sign"), 2);
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 2);
}

/* Not by the one that failed it, though that has nothing else to do: it has said its last word. */
static void the_second_try_is_another_workers(void **state)
{
    struct fixture *fixture = *state;
    char lines[64];
    fixture->settings.workers = 2;
    (void)snprintf(lines, sizeof lines, "code=%d\nanswer", MM_HSM_UNAVAILABLE);
    behave(fixture, lines);
    start_ok(fixture);
    wait_for_ready(fixture, 2);
    for (int i = 0; i < 4; i++)
        (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK), 4);
}

static void requests_wait_for_a_worker_that_is_starting(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "die=1\nstart=500");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    struct answer *retried = ask_ok(fixture, "acme", 5000);
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 1);
    struct answer *waiting = ask_ok(fixture, "acme", 5000);
    struct answer *hasty = ask_ok(fixture, "acme", 350);
    wait_for_answers(fixture);
    assert_int_equal(retried->state, SIGNED);
    assert_int_equal(waiting->state, SIGNED);
    assert_int_equal(hasty->code, MM_DEADLINE_EXCEEDED);
}

static void who_has_another_key_to_turn_to_is_not_tried_twice(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    fixture->patience = MM_POOL_IMPATIENT;
    behave(fixture, "die=0\nanswer");
    start_ok(fixture);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->code, MM_HSM_UNAVAILABLE);
}

static void who_has_another_key_to_turn_to_waits_for_no_worker(void **state)
{
    struct fixture *fixture = *state;
    struct mm_error err = {0};
    fixture->settings.restart_delay_ms = 2000;
    fixture->patience = MM_POOL_IMPATIENT;
    behave(fixture, "die=0\nanswer");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 5000);
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 1);
    assert_false(mm_pool_is_serving(fixture->pool));
    assert_null(ask(fixture, "acme", 5000, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    wait_for_ready(fixture, 1);
    while (!mm_pool_is_serving(fixture->pool))
        sleep_ms(2);
    struct answer *answer = ask_ok(fixture, "acme", 5000);
    wait_for_answers(fixture);
    assert_int_equal(answer->state, SIGNED);
}

/* Those that wait behind it, too: a hang is found out after sign_timeout, long before they'd have to give up. */
static void who_has_another_key_to_turn_to_leaves_with_the_hung_worker(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.sign_timeout_ms = 400;
    fixture->patience = MM_POOL_IMPATIENT;
    behave(fixture, "hang threads=2");
    start_ok(fixture);
    int64_t before = mm_monotonic_ns();
    for (int i = 0; i < 10; i++)
        (void)ask_ok(fixture, "acme", 9000);
    wait_for_answers(fixture);
    assert_in_range(mm_monotonic_ns() - before, 390000000, 1500000000);
    assert_int_equal(count_answers(fixture, REFUSED, MM_HSM_UNAVAILABLE), 10);
}

static void a_launcher_that_hangs_holds_up_no_signature(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.workers = 2;
    behave(fixture, "answer");
    start_ok(fixture);
    wait_for_ready(fixture, 2);
    assert_int_equal(kill(mm_launcher_pid(fixture->launcher), SIGSTOP), 0);
    kill_latest(fixture);
    for (int i = 0; i < 20; i++) {
        /* Meanwhile the supervisor asks the launcher for the dead one's status. */
        sleep_ms(20);
        int64_t before = mm_monotonic_ns();
        (void)ask_ok(fixture, "acme", 9000);
        wait_for_answers(fixture);
        assert_in_range(mm_monotonic_ns() - before, 0, 1000000000);
    }
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK), 20);
}

static void without_hope_of_a_worker_requests_are_refused_at_once(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "die=0\nexit=4");
    start_ok(fixture);
    struct answer *first = ask_ok(fixture, "acme", 150);
    wait_for_answers(fixture);
    assert_int_equal(first->state, REFUSED);
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 4);
    /* After four failures the fifth start is at least 400 ms away. */
    struct mm_error err = {0};
    assert_null(ask(fixture, "acme", 100, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    /* One that waited for that start isn't kept until its deadline once the next is too far. */
    struct answer *patient = ask(fixture, "acme", 1200, NULL);
    if (patient) {
        wait_for_answers(fixture);
        assert_int_equal(patient->code, MM_HSM_UNAVAILABLE);
    }
}

static void a_lost_worker_is_replaced_no_sooner_than_its_profile_says_and_no_later(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.restart_delay_ms = 800;
    fixture->settings.restart_delay_max = 1;
    behave(fixture, "die=0\nexit=4\nexit=4\nexit=4\nanswer");
    start_ok(fixture);
    (void)ask_ok(fixture, "acme", 100);
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 1);
    int64_t lost_ns = mm_monotonic_ns();
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 2);
    /* Half of it at least; less what the loss itself took to be heard of. */
    assert_true(mm_monotonic_ns() - lost_ns >= 300 * 1000000LL);
    /* Without its upper bound the next start would be 3.2 s away or more, and this refused at once. */
    wait_for_event(fixture, MM_POOL_WORKER_LOST, 4);
    (void)ask_ok(fixture, "acme", 1500);
    wait_for_event(fixture, MM_POOL_WORKER_READY, 2);
}

static size_t count_entries(const char *path)
{
    size_t n = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    (void)closedir(folder);
    return n;
}

static void fifty_restarts_leak_no_descriptor_thread_or_process(void **state)
{
    struct fixture *fixture = *state;
    behave(fixture, "die=1");
    start_ok(fixture);
    size_t n_fds = count_entries("/proc/self/fd");
    size_t n_threads = count_entries("/proc/self/task");
    for (size_t i = 1; i <= 50; i++) {
        (void)ask_ok(fixture, "acme", 9000);
        wait_for_answers(fixture);
        /* The next finds its worker dead and is signed by its successor. */
    }
    assert_int_equal(count_answers(fixture, SIGNED, MM_OK), 50);
    assert_true(n_starts(fixture) >= 50);
    wait_for_ready(fixture, 1);
    assert_int_equal(count_entries("/proc/self/fd"), n_fds);
    assert_int_equal(count_entries("/proc/self/task"), n_threads);
    char path[64];
    int launcher = mm_launcher_pid(fixture->launcher);
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", launcher, launcher);
    FILE *children = fopen(path, "re");
    int n_children = 0;
    for (int pid; children && fscanf(children, "%d", &pid) == 1;)
        n_children++;
    if (children)
        (void)fclose(children);
    assert_in_range(n_children, 0, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_worker_that_dies_under_load_costs_no_request),
        TEST(workers_killed_from_outside_under_load_are_replaced),
        TEST(a_hung_worker_is_killed_and_another_answers),
        TEST(a_request_that_hangs_two_workers_is_given_up),
        TEST(one_hung_signature_is_noticed_while_the_worker_answers_others),
        TEST(a_signature_that_does_not_verify_never_leaves),
        TEST(an_hsm_that_only_signs_wrongly_is_named),
        TEST(a_worker_that_breaks_the_rules_is_killed_and_another_answers),
        TEST(a_second_answer_to_one_request_is_an_offence),
        TEST(an_hsm_that_cannot_sign_at_present_is_tried_twice),
        TEST(the_second_try_is_another_workers),
        TEST(requests_wait_for_a_worker_that_is_starting),
        TEST(who_has_another_key_to_turn_to_is_not_tried_twice),
        TEST(who_has_another_key_to_turn_to_waits_for_no_worker),
        TEST(who_has_another_key_to_turn_to_leaves_with_the_hung_worker),
        TEST(a_launcher_that_hangs_holds_up_no_signature),
        TEST(without_hope_of_a_worker_requests_are_refused_at_once),
        TEST(a_lost_worker_is_replaced_no_sooner_than_its_profile_says_and_no_later),
        TEST(fifty_restarts_leak_no_descriptor_thread_or_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
