/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines as they leave the process: one valid JSON object a line, whatever is put in.
 */
#include "util/log.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/clock.h"
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

/* --- with a thread that writes --- */

/* FLOOD: more than pipe and queue hold. */
enum { FLOOD = 8000, WAIT_MS = 20000, SOON_MS = 300 };

/* The next line, parsed; NULL: none within WAIT_MS, or the end. */
static json_t *read_line(int fd)
{
    char line[8192];
    size_t length = 0;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    while (length < sizeof line && poll(&readable, 1, WAIT_MS) == 1 && read(fd, line + length, 1) == 1)
        if (line[length++] == '\n') {
            json_t *parsed = mm_json_parse(line, length - 1, NULL);
            assert_non_null(parsed);
            return parsed;
        }
    assert_int_equal(length, 0);
    return NULL;
}

static void log_number(int number)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", number);
    mm_log(MM_LOG_INFO, "line", "number", text, NULL);
}

/* Nobody reads: each line must be taken or dropped at once. */
static void flood(void)
{
    int64_t before = mm_monotonic_ns();
    for (int i = 0; i < FLOOD; i++)
        log_number(i);
    assert_true(mm_monotonic_ns() - before < WAIT_MS * 1000000LL);
}

static void restore(struct capture capture)
{
    assert_true(dup2(capture.saved, STDERR_FILENO) >= 0);
    assert_int_equal(close(capture.saved), 0);
}

static void what_is_queued_is_written_whole_and_in_order_by_the_end(void **state)
{
    (void)state;
    struct capture capture = capture_begin();
    assert_true(mm_log_start(NULL));
    for (int i = 0; i < 100; i++)
        log_number(i);
    mm_log_stop(mm_deadline_after_ms(WAIT_MS));
    mm_log(MM_LOG_INFO, "last", NULL); /* directly again */
    restore(capture);
    for (int i = 0; i < 100; i++) {
        mm_cleanup(json_decref) json_t *line = read_line(capture.read_end);
        assert_int_equal(atoi(mm_json_string(line, "number")), i);
    }
    mm_cleanup(json_decref) json_t *last = read_line(capture.read_end);
    assert_string_equal(mm_json_string(last, "event"), "last");
    assert_int_equal(close(capture.read_end), 0);
}

/* Every line is read, or counted in a `lines_lost` that stands where they are missing. Returns how many were lost. */
static int read_flood(int fd, int n)
{
    int expected = 0;
    int n_lost = 0;
    while (expected < n) {
        mm_cleanup(json_decref) json_t *line = read_line(fd);
        assert_non_null(line);
        if (strcmp(mm_json_string(line, "event"), "lines_lost") == 0) {
            assert_string_equal(mm_json_string(line, "level"), "warning");
            n_lost += atoi(mm_json_string(line, "lines"));
            expected += atoi(mm_json_string(line, "lines"));
        } else {
            assert_int_equal(atoi(mm_json_string(line, "number")), expected);
            expected++;
        }
    }
    assert_int_equal(expected, n);
    return n_lost;
}

static void a_reader_that_stalls_holds_nobody_up_and_is_told_what_it_missed(void **state)
{
    (void)state;
    struct capture capture = capture_begin();
    assert_true(mm_log_start(NULL));
    for (int round = 0; round < 2; round++) {
        flood();
        assert_true(read_flood(capture.read_end, FLOOD) > 0);
    }
    log_number(7);
    mm_cleanup(json_decref) json_t *line = read_line(capture.read_end);
    assert_int_equal(atoi(mm_json_string(line, "number")), 7);
    mm_log_stop(mm_deadline_after_ms(WAIT_MS));
    restore(capture);
    assert_int_equal(close(capture.read_end), 0);
}

static void a_reader_that_asked_not_to_be_waited_for_loses_nothing_either(void **state)
{
    (void)state;
    struct capture capture = capture_begin();
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
    assert_true(mm_log_start(NULL));
    flood();
    assert_true(read_flood(capture.read_end, FLOOD) > 0);
    mm_log_stop(mm_deadline_after_ms(WAIT_MS));
    restore(capture);
    assert_int_equal(close(capture.read_end), 0);
}

/* The last: no other can be started after it. */
static void the_end_waits_for_a_stalled_reader_no_longer_than_it_may(void **state)
{
    (void)state;
    struct capture capture = capture_begin();
    assert_true(mm_log_start(NULL));
    flood();
    int64_t before = mm_monotonic_ns();
    mm_log_stop(mm_deadline_after_ms(SOON_MS));
    assert_true(mm_monotonic_ns() - before >= SOON_MS * 1000000LL);
    assert_true(mm_monotonic_ns() - before < WAIT_MS * 1000000LL);
    log_number(FLOOD); /* too late */
    assert_true(read_flood(capture.read_end, FLOOD + 1) > 0);
    restore(capture);
    assert_int_equal(close(capture.read_end), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object),
        cmocka_unit_test(a_failure_brings_its_code_and_cause),
        cmocka_unit_test(no_value_can_start_a_line_of_its_own),
        cmocka_unit_test(what_is_not_utf_8_is_said_to_be_so),
        cmocka_unit_test(long_values_are_cut_and_the_line_stays_valid),
        cmocka_unit_test(what_is_queued_is_written_whole_and_in_order_by_the_end),
        cmocka_unit_test(a_reader_that_stalls_holds_nobody_up_and_is_told_what_it_missed),
        cmocka_unit_test(a_reader_that_asked_not_to_be_waited_for_loses_nothing_either),
        cmocka_unit_test(the_end_waits_for_a_stalled_reader_no_longer_than_it_may), /* the last */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
