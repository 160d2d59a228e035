/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/latency.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const int64_t MS = 1000000;
static const int64_t S = 1000000000;

static struct mm_latency_counts sum_at(const struct mm_latency *latency, int64_t now)
{
    struct mm_latency_counts sum = {0};
    mm_latency_sum(latency, now, &sum);
    return sum;
}

static void nothing_signed_is_nothing_told(void **state)
{
    (void)state;
    struct mm_latency latency = {0};
    struct mm_latency_counts sum = sum_at(&latency, 3 * S);
    assert_int_equal(mm_latency_n(&sum), 0);
    assert_int_equal(mm_latency_percentile_us(&sum, 99), 0);
}

static void a_duration_is_told_at_most_an_eighth_too_long(void **state)
{
    (void)state;
    for (int64_t us = 1; us < 60000000; us += 1 + us / 37) {
        struct mm_latency latency = {0};
        mm_latency_add(&latency, us * 1000, S);
        struct mm_latency_counts sum = sum_at(&latency, S);
        int64_t told = mm_latency_percentile_us(&sum, 50);
        assert_in_range(told, us, us + us / 8 + 1);
        assert_int_equal(told, mm_latency_percentile_us(&sum, 99));
    }
}

static void what_no_bucket_is_for_is_in_the_first_or_the_last(void **state)
{
    (void)state;
    struct mm_latency latency = {0};
    mm_latency_add(&latency, -5, S);
    mm_latency_add(&latency, 0, S);
    mm_latency_add(&latency, INT64_MAX, S);
    struct mm_latency_counts sum = sum_at(&latency, S);
    assert_int_equal(mm_latency_n(&sum), 3);
    assert_int_equal(mm_latency_percentile_us(&sum, 50), 1);
    assert_int_equal(mm_latency_percentile_us(&sum, 100), 67108864);
}

static void the_slowest_hundredth_shows_in_the_percentile_above_it_alone(void **state)
{
    (void)state;
    struct mm_latency latency = {0};
    for (int i = 0; i < 99; i++)
        mm_latency_add(&latency, MS, S);
    mm_latency_add(&latency, 500 * MS, S);
    struct mm_latency_counts sum = sum_at(&latency, S);
    assert_in_range(mm_latency_percentile_us(&sum, 99), 1000, 1125);
    mm_latency_add(&latency, 500 * MS, S);
    sum = sum_at(&latency, S);
    assert_in_range(mm_latency_percentile_us(&sum, 99), 500000, 562500);
    assert_in_range(mm_latency_percentile_us(&sum, 50), 1000, 1125);
}

static void what_is_older_than_the_window_is_forgotten(void **state)
{
    (void)state;
    struct mm_latency latency = {0};
    const int64_t start = 1000 * S;
    mm_latency_add(&latency, MS, start);
    mm_latency_add(&latency, 9 * MS, start + 30 * S);
    struct mm_latency_counts sum = sum_at(&latency, start + 60 * S);
    assert_int_equal(mm_latency_n(&sum), 2);
    sum = sum_at(&latency, start + 70 * S);
    assert_int_equal(mm_latency_n(&sum), 1);
    assert_in_range(mm_latency_percentile_us(&sum, 50), 9000, 10125);
    sum = sum_at(&latency, start + 100 * S);
    assert_int_equal(mm_latency_n(&sum), 0);
    /* The slice is used again, and holds nothing of before. */
    mm_latency_add(&latency, 2 * MS, start + 100 * S);
    sum = sum_at(&latency, start + 100 * S);
    assert_int_equal(mm_latency_n(&sum), 1);
}

static void counts_of_several_keys_add_up(void **state)
{
    (void)state;
    struct mm_latency fast = {0};
    struct mm_latency slow = {0};
    mm_latency_add(&fast, MS, S);
    mm_latency_add(&slow, 80 * MS, S);
    struct mm_latency_counts sum = sum_at(&fast, S);
    struct mm_latency_counts other = sum_at(&slow, S);
    mm_latency_join(&sum, &other);
    assert_int_equal(mm_latency_n(&sum), 2);
    assert_in_range(mm_latency_percentile_us(&sum, 50), 1000, 1125);
    assert_in_range(mm_latency_percentile_us(&sum, 99), 80000, 90000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_signed_is_nothing_told),
        cmocka_unit_test(a_duration_is_told_at_most_an_eighth_too_long),
        cmocka_unit_test(what_no_bucket_is_for_is_in_the_first_or_the_last),
        cmocka_unit_test(the_slowest_hundredth_shows_in_the_percentile_above_it_alone),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(counts_of_several_keys_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
