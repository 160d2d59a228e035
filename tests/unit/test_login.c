/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One login at a time, and none after one whose end nobody saw.
 */
#include "hsm/login.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/clock.h"

enum { SHORT_MS = 200, LONG_MS = 5000 };

struct place {
    char folder[64];
    char latch[96];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    (void)snprintf(place->folder, sizeof place->folder, "/tmp/mm-login-XXXXXX");
    if (!mkdtemp(place->folder))
        return -1;
    (void)snprintf(place->latch, sizeof place->latch, "%s/primary.pin-refused", place->folder);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf %s", place->folder);
    int status = system(command); /* NOLINT(cert-env33-c): a folder this test made */
    free(place);
    return status;
}

static struct mm_login *begin(const struct place *place, enum mm_login_mode mode, int64_t within_ms,
                              struct mm_error *err)
{
    return mm_login_begin(place->latch, "primary", mode, mm_deadline_after_ms(within_ms), err);
}

static bool is_latched(const struct place *place)
{
    return !mm_latch_check(place->latch, "primary", NULL);
}

static void a_login_that_ends_well_leaves_nothing_behind(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < 3; i++) {
        struct mm_login *login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
        assert_non_null(login);
        mm_login_end(login, MM_LOGIN_GRANTED, NULL);
    }
    assert_false(is_latched(place));
}

static void a_refusal_sets_the_latch_and_bars_the_next(void **state)
{
    const struct place *place = *state;
    mm_login_end(begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL), MM_LOGIN_REFUSED, "wrong");
    assert_true(is_latched(place));
    struct mm_error err = {0};
    assert_null(begin(place, MM_LOGIN_GUARDED, SHORT_MS, &err));
    assert_int_equal(err.code, MM_PIN_LATCHED);
}

/* A full disk: files stay as small as the note is. */
static void make_room(rlim_t size)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size < limit.rlim_max ? size : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_refusal_that_cannot_be_latched_bars_the_next_all_the_same(void **state)
{
    enum { NOTE_ROOM = 8 };
    const struct place *place = *state;
    struct mm_error err = {0};
    (void)signal(SIGXFSZ, SIG_IGN);
    struct mm_login *login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    make_room(NOTE_ROOM);
    mm_login_end(login, MM_LOGIN_REFUSED, "wrong");
    assert_false(is_latched(place));
    assert_null(begin(place, MM_LOGIN_GUARDED, SHORT_MS, &err));
    assert_int_equal(err.code, MM_FILE);
    make_room(RLIM_INFINITY);
    assert_null(begin(place, MM_LOGIN_GUARDED, SHORT_MS, &err));
    assert_true(is_latched(place));
}

/* A child that begins a login and is then killed, or ends it and exits. */
static void die_in_a_login(const struct place *place)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)!begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
        (void)raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void one_login_that_was_cut_off_is_forgiven(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < 3; i++) {
        die_in_a_login(place);
        struct mm_login *login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
        assert_non_null(login);
        mm_login_end(login, MM_LOGIN_GRANTED, NULL);
    }
    assert_false(is_latched(place));
}

static void a_second_login_cut_off_in_a_row_sets_the_latch(void **state)
{
    const struct place *place = *state;
    die_in_a_login(place);
    die_in_a_login(place);
    struct mm_error err = {0};
    assert_null(begin(place, MM_LOGIN_GUARDED, SHORT_MS, &err));
    assert_int_equal(err.code, MM_PIN_LATCHED);
    assert_non_null(strstr(err.message, "cut off"));
    assert_true(is_latched(place));
}

static void fail_a_login(const struct place *place, enum mm_login_outcome outcome)
{
    struct mm_login *login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    assert_non_null(login);
    mm_login_end(login, outcome, NULL);
}

static void a_login_of_unclear_outcome_counts_as_one_that_was_cut_off(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    fail_a_login(place, MM_LOGIN_UNCLEAR);
    fail_a_login(place, MM_LOGIN_GRANTED);
    fail_a_login(place, MM_LOGIN_UNCLEAR);
    fail_a_login(place, MM_LOGIN_UNCLEAR);
    assert_null(begin(place, MM_LOGIN_GUARDED, SHORT_MS, &err));
    assert_int_equal(err.code, MM_PIN_LATCHED);
    assert_true(is_latched(place));
}

static void a_login_that_judged_no_pin_counts_for_nothing_and_forgives_nothing(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < 3; i++)
        fail_a_login(place, MM_LOGIN_UNJUDGED);
    fail_a_login(place, MM_LOGIN_UNCLEAR);
    fail_a_login(place, MM_LOGIN_UNJUDGED);
    fail_a_login(place, MM_LOGIN_UNCLEAR);
    assert_null(begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL));
    assert_true(is_latched(place));
}

static void an_operator_who_vouches_for_the_pin_may_try(void **state)
{
    const struct place *place = *state;
    die_in_a_login(place);
    die_in_a_login(place);
    struct mm_login *login = begin(place, MM_LOGIN_VOUCHED, SHORT_MS, NULL);
    assert_non_null(login);
    mm_login_end(login, MM_LOGIN_GRANTED, NULL);
    login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    assert_non_null(login);
    mm_login_end(login, MM_LOGIN_GRANTED, NULL);
}

static void a_login_that_was_cut_off_can_be_forgotten(void **state)
{
    const struct place *place = *state;
    die_in_a_login(place);
    die_in_a_login(place);
    assert_true(mm_login_forget(place->latch, "primary", mm_deadline_after_ms(100), NULL));
    struct mm_login *login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    assert_non_null(login);
    mm_login_end(login, MM_LOGIN_GRANTED, NULL);
}

static void a_login_under_way_is_not_forgotten(void **state)
{
    const struct place *place = *state;
    struct mm_login *login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    assert_non_null(login);
    struct mm_error err = {0};
    assert_false(mm_login_forget(place->latch, "primary", mm_deadline_after_ms(SHORT_MS), &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    mm_login_end(login, MM_LOGIN_GRANTED, NULL);
}

static void a_child_that_a_module_forked_in_a_login_bars_nobody(void **state)
{
    const struct place *place = *state;
    struct mm_login *login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    assert_non_null(login);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    mm_login_end(login, MM_LOGIN_GRANTED, NULL);
    login = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    (void)kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_non_null(login);
    mm_login_end(login, MM_LOGIN_GRANTED, NULL);
}

static void two_never_log_in_at_once(void **state)
{
    const struct place *place = *state;
    struct mm_login *first = begin(place, MM_LOGIN_GUARDED, SHORT_MS, NULL);
    assert_non_null(first);
    struct mm_error err = {0};
    assert_null(begin(place, MM_LOGIN_GUARDED, SHORT_MS, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    assert_false(is_latched(place)); /* the one under way isn't taken for one that was cut off */
    mm_login_end(first, MM_LOGIN_GRANTED, NULL);
}

/* Ten start at once with a PIN that is refused: one sends it. */
static void of_many_with_a_wrong_pin_one_sends_it(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < 10; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct mm_login *login = begin(place, MM_LOGIN_GUARDED, LONG_MS, NULL);
            (void)usleep(20000);
            mm_login_end(login, MM_LOGIN_REFUSED, "wrong");
            _exit(login ? 1 : 0);
        }
    }
    int n_sent = 0;
    for (int i = 0; i < 10; i++) {
        int status;
        assert_true(waitpid(-1, &status, 0) > 0);
        n_sent += WEXITSTATUS(status);
    }
    assert_int_equal(n_sent, 1);
}

static void without_a_place_for_the_note_no_pin_is_sent(void **state)
{
    (void)state;
    struct mm_error err = {0};
    assert_null(mm_login_begin("/nonexistent/primary.pin-refused", "primary", MM_LOGIN_VOUCHED,
                               mm_deadline_after_ms(SHORT_MS), &err));
    assert_int_equal(err.code, MM_FILE);
}

#define LOGIN_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOGIN_TEST(a_login_that_ends_well_leaves_nothing_behind),
        LOGIN_TEST(a_refusal_sets_the_latch_and_bars_the_next),
        LOGIN_TEST(a_refusal_that_cannot_be_latched_bars_the_next_all_the_same),
        LOGIN_TEST(one_login_that_was_cut_off_is_forgiven),
        LOGIN_TEST(a_second_login_cut_off_in_a_row_sets_the_latch),
        LOGIN_TEST(a_login_of_unclear_outcome_counts_as_one_that_was_cut_off),
        LOGIN_TEST(a_login_that_judged_no_pin_counts_for_nothing_and_forgives_nothing),
        LOGIN_TEST(an_operator_who_vouches_for_the_pin_may_try),
        LOGIN_TEST(a_login_that_was_cut_off_can_be_forgotten),
        LOGIN_TEST(two_never_log_in_at_once),
        LOGIN_TEST(a_login_under_way_is_not_forgotten),
        LOGIN_TEST(a_child_that_a_module_forked_in_a_login_bars_nobody),
        LOGIN_TEST(of_many_with_a_wrong_pin_one_sends_it),
        LOGIN_TEST(without_a_place_for_the_note_no_pin_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
