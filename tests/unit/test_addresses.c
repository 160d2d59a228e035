/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/addresses.h"

static const int64_t SECOND = INT64_C(1000000000);
static const int64_t START = INT64_C(5000000000);
static const struct mm_failure_limits LIMITS = {.per_minute = 60, .held_of_address = 1000, .held = 10000};

static struct mm_address_key key_of(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return mm_address_key((const struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return mm_address_key((const struct sockaddr *)&in6);
}

/* The n-th of many addresses. */
static struct mm_address_key nth(uint32_t n)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000 + n)};
    return mm_address_key((const struct sockaddr *)&in);
}

static struct mm_addresses *new_addresses(void)
{
    struct mm_addresses *addresses = mm_addresses_new(&MM_SYSTEM_RANDOM, NULL);
    assert_non_null(addresses);
    return addresses;
}

/* The delay of one more failure, of which the answer is given at once. */
static int64_t delay_after(struct mm_addresses *addresses, const struct mm_address_key *key, int64_t now_ns)
{
    int64_t delay_ms;
    enum mm_failure_verdict verdict = mm_addresses_fail(addresses, key, &LIMITS, now_ns, &delay_ms);
    assert_int_equal(verdict, delay_ms > 0 ? MM_FAILURE_HELD : MM_FAILURE_ANSWERED);
    if (verdict == MM_FAILURE_HELD)
        mm_addresses_release(addresses, key);
    return delay_ms;
}

static void the_first_failures_are_answered_at_once_and_then_later_each_time(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    struct mm_address_key key = key_of("192.0.2.1");
    for (int i = 0; i < 60; i++)
        assert_int_equal(delay_after(addresses, &key, START), 0);
    static const int64_t STEPS[] = {1000, 2000, 4000, 8000, 8000, 8000};
    for (size_t step = 0; step < MM_ARRAY_SIZE(STEPS); step++)
        for (int i = 0; i < 15; i++)
            assert_int_equal(delay_after(addresses, &key, START), STEPS[step]);
}

static void who_stops_failing_is_answered_at_once_again(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    struct mm_address_key key = key_of("192.0.2.1");
    for (int i = 0; i < 100000; i++)
        (void)delay_after(addresses, &key, START);
    assert_int_equal(delay_after(addresses, &key, START + 15 * SECOND), 8000);
    assert_int_equal(delay_after(addresses, &key, START + 50 * SECOND), 1000);
    assert_int_equal(delay_after(addresses, &key, START + 65 * SECOND), 0); /* however many there were */
    assert_int_equal(delay_after(addresses, &key, START + 65 * SECOND), 0);
}

static void one_failure_a_second_is_never_held_up(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    struct mm_address_key key = key_of("192.0.2.1");
    for (int i = 0; i < 1000; i++)
        assert_int_equal(delay_after(addresses, &key, START + i * SECOND), 0);
}

static void another_address_waits_for_nothing_but_a_64_is_one(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    struct mm_address_key bad = key_of("2001:db8:1:2::1");
    struct mm_address_key same = key_of("2001:db8:1:2:ffff::9");
    struct mm_address_key other = key_of("2001:db8:1:3::1");
    for (int i = 0; i < 70; i++)
        (void)delay_after(addresses, &bad, START);
    assert_int_equal(delay_after(addresses, &same, START), 1000);
    assert_int_equal(delay_after(addresses, &other, START), 0);
}

static void only_so_many_answers_are_held_of_an_address_and_in_all(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    const struct mm_failure_limits limits = {.per_minute = 1, .held_of_address = 3, .held = 5};
    struct mm_address_key first = key_of("192.0.2.1");
    struct mm_address_key second = key_of("192.0.2.2");
    int64_t delay_ms;
    assert_int_equal(mm_addresses_fail(addresses, &first, &limits, START, &delay_ms), MM_FAILURE_ANSWERED);
    assert_int_equal(mm_addresses_fail(addresses, &second, &limits, START, &delay_ms), MM_FAILURE_ANSWERED);
    for (int i = 0; i < 3; i++)
        assert_int_equal(mm_addresses_fail(addresses, &first, &limits, START, &delay_ms), MM_FAILURE_HELD);
    assert_int_equal(mm_addresses_fail(addresses, &first, &limits, START, &delay_ms), MM_FAILURE_TURNED_AWAY);
    assert_true(delay_ms >= MM_FAILURE_DELAY_MIN_MS);
    for (int i = 0; i < 2; i++)
        assert_int_equal(mm_addresses_fail(addresses, &second, &limits, START, &delay_ms), MM_FAILURE_HELD);
    assert_int_equal(mm_addresses_fail(addresses, &second, &limits, START, &delay_ms), MM_FAILURE_TURNED_AWAY);
    mm_addresses_release(addresses, &first);
    assert_int_equal(mm_addresses_fail(addresses, &second, &limits, START, &delay_ms), MM_FAILURE_HELD);
    for (int i = 0; i < 100; i++) /* more than there were */
        mm_addresses_release(addresses, &first);
    assert_int_equal(mm_addresses_fail(addresses, &first, &limits, START, &delay_ms), MM_FAILURE_HELD);
}

/* However many addresses come: who fails most keeps its place, and so does whoever waits. */
static void a_hundred_thousand_addresses_push_out_nobody_who_fails_often(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    struct mm_address_key worst = key_of("192.0.2.1");
    for (int i = 0; i < 90; i++)
        (void)delay_after(addresses, &worst, START);
    for (uint32_t i = 0; i < 100000; i++) {
        struct mm_address_key key = nth(i);
        assert_int_equal(delay_after(addresses, &key, START), 0);
    }
    assert_true(delay_after(addresses, &worst, START) >= 4000);
}

static void what_is_held_is_not_forgotten(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    const struct mm_failure_limits limits = {.per_minute = 1, .held_of_address = 100000, .held = 100000};
    int64_t delay_ms;
    size_t n_held = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        struct mm_address_key key = nth(i);
        for (int j = 0; j < 2; j++)
            n_held += mm_addresses_fail(addresses, &key, &limits, START, &delay_ms) == MM_FAILURE_HELD;
    }
    assert_in_range(n_held, 3500, 4096); /* then there is no place for others, and they are turned away */
    for (uint32_t i = 0; i < 20000; i++) {
        struct mm_address_key key = nth(i);
        mm_addresses_release(addresses, &key);
    }
    struct mm_slowed slowed[5];
    assert_int_equal(mm_addresses_slowed(addresses, 1, START + 600 * SECOND, slowed, 5), 0);
}

static void a_flood_of_lines_is_cut_and_its_size_is_told(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    struct mm_address_key loud = key_of("192.0.2.1");
    struct mm_address_key quiet = key_of("2001:db8::7");
    struct mm_left_out left_out;
    int n_logged = 0;
    for (int i = 0; i < 10000; i++)
        n_logged += mm_addresses_may_log(addresses, &loud, START);
    assert_int_equal(n_logged, 300);
    assert_true(mm_addresses_may_log(addresses, &quiet, START));
    assert_false(mm_addresses_take_left_out(addresses, START + 59 * SECOND, &left_out));
    assert_true(mm_addresses_take_left_out(addresses, START + 60 * SECOND, &left_out));
    assert_int_equal(left_out.lines, 9700);
    assert_string_equal(left_out.address, "192.0.2.1");
    assert_int_equal(left_out.of_address, 9700);
    assert_false(mm_addresses_take_left_out(addresses, INT64_MAX, &left_out));
    n_logged = 0;
    for (int i = 0; i < 10000; i++)
        n_logged += mm_addresses_may_log(addresses, &loud, START + 60 * SECOND);
    assert_int_equal(n_logged, 60);
}

static void a_flood_from_everywhere_is_cut_too(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    int n_logged = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        struct mm_address_key key = nth(i);
        n_logged += mm_addresses_may_log(addresses, &key, START);
    }
    assert_int_equal(n_logged, 2000);
    struct mm_left_out left_out;
    assert_true(mm_addresses_take_left_out(addresses, INT64_MAX, &left_out));
    assert_int_equal(left_out.lines, 98000); /* of addresses that were forgotten, too */
}

static void the_slowed_are_listed_the_worst_first(void **state)
{
    (void)state;
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = new_addresses();
    static const struct {
        const char *address;
        int n;
    } FAILURES[] = {{"192.0.2.1", 65}, {"2001:db8:1:2::1", 100}, {"192.0.2.3", 60}, {"192.0.2.4", 70}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(FAILURES); i++) {
        struct mm_address_key key = key_of(FAILURES[i].address);
        for (int j = 0; j < FAILURES[i].n; j++)
            (void)delay_after(addresses, &key, START);
    }
    struct mm_slowed slowed[2];
    assert_int_equal(mm_addresses_slowed(addresses, 60, START, slowed, 2), 2);
    assert_string_equal(slowed[0].address, "2001:db8:1:2::/64");
    assert_int_equal(slowed[0].n_failures, 40);
    assert_string_equal(slowed[1].address, "192.0.2.4");
    assert_int_equal(slowed[1].n_held, 0);
    assert_int_equal(mm_addresses_slowed(addresses, 60, START + 60 * SECOND, slowed, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failures_are_answered_at_once_and_then_later_each_time),
        cmocka_unit_test(who_stops_failing_is_answered_at_once_again),
        cmocka_unit_test(one_failure_a_second_is_never_held_up),
        cmocka_unit_test(another_address_waits_for_nothing_but_a_64_is_one),
        cmocka_unit_test(only_so_many_answers_are_held_of_an_address_and_in_all),
        cmocka_unit_test(a_hundred_thousand_addresses_push_out_nobody_who_fails_often),
        cmocka_unit_test(what_is_held_is_not_forgotten),
        cmocka_unit_test(a_flood_of_lines_is_cut_and_its_size_is_told),
        cmocka_unit_test(a_flood_from_everywhere_is_cut_too),
        cmocka_unit_test(the_slowed_are_listed_the_worst_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
