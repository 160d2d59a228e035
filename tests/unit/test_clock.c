/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timestamps and durations as files, command lines and logs write them.
 */
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_timestamp(const char *text, int64_t expected)
{
    int64_t seconds = -1;
    assert_true(mm_timestamp_parse(text, &seconds));
    assert_int_equal(seconds, expected);
}

static void assert_duration(const char *text, int64_t expected)
{
    int64_t seconds = -1;
    assert_true(mm_duration_parse(text, &seconds));
    assert_int_equal(seconds, expected);
}

static void timestamps_are_rfc_3339_in_utc(void **state)
{
    (void)state;
    char text[MM_TIMESTAMP_MAX];
    mm_timestamp(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00Z");
    mm_timestamp(1800000000, text);
    assert_string_equal(text, "2027-01-15T08:00:00Z");
    mm_timestamp(4102444800, text);
    assert_string_equal(text, "2100-01-01T00:00:00Z");
    mm_timestamp(INT64_MAX, text);
    assert_string_equal(text, "9223372036854775807");
}

static void timestamps_are_read_in_each_form(void **state)
{
    (void)state;
    assert_timestamp("2027-01-15T08:00:00Z", 1800000000);
    assert_timestamp("2027-01-15t08:00:00z", 1800000000);
    assert_timestamp("2027-01-15 08:00:00Z", 1800000000);
    assert_timestamp("2027-01-15T09:30:00+01:30", 1800000000);
    assert_timestamp("2027-01-15T00:00:00-08:00", 1800000000);
    assert_timestamp("2027-01-15", 1799971200);
    assert_timestamp("2027-01-15T08:00:00.25Z", 1800000000);
    assert_timestamp("2028-02-29", 1835395200);
    assert_timestamp("1800000000", 1800000000);
    assert_timestamp("0", 0);
}

static void other_timestamps_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",
        "now",
        "-1",
        "+1",
        "1.5",
        "99999999999999999999",
        "2027-13-01",
        "2027-01-32",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00Z",
        "2027-01-15T25:00:00Z",
        "2027-01-15T08:00:00+1",
        "2027-01-15T08:00:00+24:00",
        "2027-01-15T08:00:00Zx",
        "2027-01-15x",
        "2027-01-15T",
        "2026-02-30",
        "2027-00-01",
        "2027-01-00",
        " 2027-01-15",
        "2027-1-5",
        "2027-01-15T8:0:0Z",
        "2027-01-15T08:00:00+ 1:00",
        "2027-01-15T08:00:00+1:30x",
        "2027-01-15T08:00:00.Z",
        "\t5",
    };
    int64_t seconds = -7;
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(mm_timestamp_parse(BAD[i], &seconds));
    assert_int_equal(seconds, -7);
}

static void durations_have_a_unit(void **state)
{
    (void)state;
    assert_duration("90s", 90);
    assert_duration("10m", 600);
    assert_duration("1h", 3600);
    assert_duration("7d", 604800);
    assert_duration("3653d", 3653LL * 86400);
}

static void other_durations_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",      "10",   "m",   "0s",   "-5m",   "+5m",
                                      " 5m",   "5 m",  "5m ", "5M",   "1w",    "1.5h",
                                      "1h30m", "0x5m", "5ms", "\t5s", "3654d", "99999999999999999999s"};
    int64_t seconds = -7;
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(mm_duration_parse(BAD[i], &seconds));
    assert_int_equal(seconds, -7);
}

static void monotonic_time_goes_forward(void **state)
{
    (void)state;
    int64_t before = mm_monotonic_ns();
    int64_t deadline = mm_deadline_after_ms(1500);
    int64_t after = mm_monotonic_ns();
    assert_true(deadline >= before + 1500000000 && deadline <= after + 1500000000);
    struct timespec spec = mm_deadline_timespec(deadline);
    assert_int_equal(spec.tv_sec * 1000000000LL + spec.tv_nsec, deadline);
    assert_in_range(spec.tv_nsec, 0, 999999999);
}

static int64_t fixed_ms(void *context)
{
    return *(int64_t *)context;
}

static void clock_can_be_set(void **state)
{
    (void)state;
    int64_t now_ms = 42999;
    const struct mm_clock clock = {fixed_ms, &now_ms};
    assert_int_equal(mm_clock_now(&clock), 42);
    assert_int_equal(mm_clock_now_ms(&clock), 42999);
    now_ms = 43000;
    assert_int_equal(mm_clock_now(&clock), 43);
    assert_true(mm_clock_now(&MM_SYSTEM_CLOCK) > 1700000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timestamps_are_rfc_3339_in_utc),
        cmocka_unit_test(timestamps_are_read_in_each_form),
        cmocka_unit_test(other_timestamps_are_refused),
        cmocka_unit_test(durations_have_a_unit),
        cmocka_unit_test(other_durations_are_refused),
        cmocka_unit_test(monotonic_time_goes_forward),
        cmocka_unit_test(clock_can_be_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
