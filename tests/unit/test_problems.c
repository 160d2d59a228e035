/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "util/problems.h"

static void a_problem_names_file_line_and_reason(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    char out[128];
    mm_problems_add(&problems, "a.yaml", 7, "/x", "missing key ‹%s›", "y");
    assert_string_equal(mm_problem_format(&problems.items[0], out, sizeof out), "a.yaml:7: missing key ‹y›");
    mm_problems_add(&problems, "a.yaml", 0, "", "gone");
    assert_string_equal(mm_problem_format(&problems.items[1], out, sizeof out), "a.yaml: gone");
    mm_problems_add(&problems, NULL, 0, "/ttl_seconds", "too long");
    assert_string_equal(mm_problem_format(&problems.items[2], out, sizeof out), "/ttl_seconds: too long");
    mm_problems_add(&problems, NULL, 0, "", "empty");
    assert_string_equal(mm_problem_format(&problems.items[3], out, sizeof out), "empty");
}

static void a_warning_is_no_error(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    char out[128];
    mm_problems_warn(&problems, "a.yaml", 2, "", "old");
    assert_int_equal(problems.n, 1);
    assert_int_equal(problems.n_errors, 0);
    assert_string_equal(mm_problem_format(&problems.items[0], out, sizeof out), "a.yaml:2: warning: old");
}

static void past_the_cap_problems_are_counted_and_not_kept(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    for (int i = 0; i < MM_PROBLEMS_MAX + 50; i++)
        mm_problems_add(&problems, "a.yaml", i + 1, "", "wrong");
    assert_int_equal(problems.n, MM_PROBLEMS_MAX);
    assert_int_equal(problems.n_errors, MM_PROBLEMS_MAX + 50);
    assert_int_equal(problems.items[MM_PROBLEMS_MAX - 1].line, MM_PROBLEMS_MAX);
}

static void a_reason_cannot_steer_a_terminal(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_problems_add(&problems, NULL, 0, "", "%s", "a\x1b[31mb\nc\x7f\xc2\x9bz");
    assert_string_equal(problems.items[0].reason, "a?[31mb?c???z");
}

static void a_long_reason_is_cut_between_characters(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    char text[2048] = "a";
    for (size_t i = 1; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 3);
    mm_problems_add(&problems, NULL, 0, "", "%s", text);
    assert_int_equal(strlen(problems.items[0].reason), 511);
    assert_string_equal(problems.items[0].reason + 509, "\xc3\xa4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_names_file_line_and_reason),
        cmocka_unit_test(a_warning_is_no_error),
        cmocka_unit_test(past_the_cap_problems_are_counted_and_not_kept),
        cmocka_unit_test(a_reason_cannot_steer_a_terminal),
        cmocka_unit_test(a_long_reason_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
