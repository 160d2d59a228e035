/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines as they leave the process: one valid JSON object a line, whatever is put in.
 */
#include "util/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/json.h"

/* What was written to standard error between capture_begin() and capture_end(). */
struct capture {
    int saved;
    int read_end;
};

static struct capture capture_begin(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct capture capture = {.saved = dup(STDERR_FILENO), .read_end = ends[0]};
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    assert_int_equal(close(ends[1]), 0);
    return capture;
}

/* The one line that was logged, parsed. */
static json_t *capture_end(struct capture capture)
{
    char line[8192];
    ssize_t length = read(capture.read_end, line, sizeof line);
    assert_true(dup2(capture.saved, STDERR_FILENO) >= 0);
    assert_int_equal(close(capture.saved), 0);
    assert_int_equal(close(capture.read_end), 0);
    assert_true(length > 1 && length <= 4096);
    assert_ptr_equal(memchr(line, '\n', (size_t)length), line + length - 1);
    json_t *parsed = mm_json_parse(line, (size_t)length - 1, NULL);
    assert_non_null(parsed);
    return parsed;
}

static void a_line_is_one_json_object(void **state)
{
    (void)state;
    struct capture capture = capture_begin();
    mm_log(MM_LOG_INFO, "ready", "listen", "127.0.0.1:1", "absent", NULL, NULL);
    mm_cleanup(json_decref) json_t *line = capture_end(capture);
    assert_string_equal(mm_json_string(line, "level"), "info");
    assert_string_equal(mm_json_string(line, "event"), "ready");
    assert_string_equal(mm_json_string(line, "listen"), "127.0.0.1:1");
    assert_null(json_object_get(line, "absent"));
    assert_non_null(mm_json_string(line, "time"));
}

static void a_failure_brings_its_code_and_cause(void **state)
{
    (void)state;
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_LEDGER_UNAVAILABLE, "the disk is full");
    struct capture capture = capture_begin();
    mm_log_error("failed", &err, "request_id", "r1", NULL);
    mm_cleanup(json_decref) json_t *line = capture_end(capture);
    assert_string_equal(mm_json_string(line, "level"), "error");
    assert_string_equal(mm_json_string(line, "code"), "ledger_unavailable");
    assert_string_equal(mm_json_string(line, "error"), "the disk is full");
    assert_string_equal(mm_json_string(line, "request_id"), "r1");
}

static void no_value_can_start_a_line_of_its_own(void **state)
{
    (void)state;
    static const char HOSTILE[] = "x\"}\n{\"event\":\"forged\"}\n\x1b[2J";
    struct capture capture = capture_begin();
    mm_log(MM_LOG_WARNING, "odd", "value", HOSTILE, NULL);
    mm_cleanup(json_decref) json_t *line = capture_end(capture);
    assert_string_equal(mm_json_string(line, "value"), HOSTILE);
    assert_string_equal(mm_json_string(line, "event"), "odd");
}

static void what_is_not_utf_8_is_said_to_be_so(void **state)
{
    (void)state;
    struct capture capture = capture_begin();
    mm_log(MM_LOG_INFO, "odd", "value", "\xff\xfe", NULL);
    mm_cleanup(json_decref) json_t *line = capture_end(capture);
    assert_string_equal(mm_json_string(line, "value"), "(not UTF-8)");
}

static void long_values_are_cut_and_the_line_stays_valid(void **state)
{
    (void)state;
    char value[3000];
    memset(value, '"', sizeof value - 1); /* each takes two characters when escaped */
    value[sizeof value - 1] = '\0';
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_INTERNAL, "%s", value);
    struct capture capture = capture_begin();
    mm_log_error("long", &err, "a", value, NULL);
    mm_cleanup(json_decref) json_t *line = capture_end(capture);
    assert_string_equal(mm_json_string(line, "event"), "long");
    assert_int_equal(strlen(mm_json_string(line, "a")), 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object),
        cmocka_unit_test(a_failure_brings_its_code_and_cause),
        cmocka_unit_test(no_value_can_start_a_line_of_its_own),
        cmocka_unit_test(what_is_not_utf_8_is_said_to_be_so),
        cmocka_unit_test(long_values_are_cut_and_the_line_stays_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
