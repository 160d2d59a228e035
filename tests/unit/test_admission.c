/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

#include "http/admission.h"

static struct mm_address_key key_of(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(1234)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(1234)};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return mm_address_key((const struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return mm_address_key((const struct sockaddr *)&in6);
}

static bool is_same(const char *a, const char *b)
{
    struct mm_address_key first = key_of(a);
    struct mm_address_key second = key_of(b);
    return memcmp(&first, &second, sizeof first) == 0;
}

static void an_ipv6_network_is_one_caller(void **state)
{
    (void)state;
    assert_true(is_same("2001:db8:1:2::1", "2001:db8:1:2:ffff::"));
    assert_false(is_same("2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert_false(is_same("192.0.2.1", "192.0.2.2"));
    assert_true(is_same("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(is_same("::1", "0.0.0.1"));
}

static void both_limits_hold_and_room_comes_back(void **state)
{
    (void)state;
    mm_cleanup(mm_admission_free) struct mm_admission *admission = mm_admission_new(3, 2, NULL);
    struct mm_address_key a = key_of("192.0.2.1");
    struct mm_address_key b = key_of("192.0.2.2");
    struct mm_address_key c = key_of("192.0.2.3");
    assert_true(mm_admission_enter(admission, &a));
    assert_true(mm_admission_enter(admission, &a));
    assert_false(mm_admission_has_room(admission, &a));
    assert_false(mm_admission_enter(admission, &a));
    assert_true(mm_admission_enter(admission, &b));
    assert_false(mm_admission_has_room(admission, &c));
    assert_false(mm_admission_enter(admission, &c));
    mm_admission_leave(admission, &a);
    assert_true(mm_admission_enter(admission, &c));
    assert_false(mm_admission_enter(admission, &a));
    mm_admission_leave(admission, &a);
    mm_admission_leave(admission, &b);
    mm_admission_leave(admission, &c);
    assert_true(mm_admission_has_room(admission, &a));
}

static void asking_for_room_takes_none(void **state)
{
    (void)state;
    mm_cleanup(mm_admission_free) struct mm_admission *admission = mm_admission_new(1, 1, NULL);
    struct mm_address_key a = key_of("192.0.2.1");
    for (int i = 0; i < 10; i++)
        assert_true(mm_admission_has_room(admission, &a));
}

static void new_limits_hold_without_ending_what_is_there(void **state)
{
    (void)state;
    mm_cleanup(mm_admission_free) struct mm_admission *admission = mm_admission_new(10, 10, NULL);
    struct mm_address_key a = key_of("192.0.2.1");
    for (int i = 0; i < 5; i++)
        assert_true(mm_admission_enter(admission, &a));
    mm_admission_configure(admission, 10, 3);
    assert_false(mm_admission_enter(admission, &a));
    for (int i = 0; i < 3; i++)
        mm_admission_leave(admission, &a);
    assert_true(mm_admission_enter(admission, &a));
    assert_false(mm_admission_enter(admission, &a));
}

static void *come_and_go(void *context)
{
    for (int i = 0; i < 20000; i++) {
        struct mm_address_key key = {{4, (uint8_t)i, (uint8_t)(i >> 8)}};
        if (mm_admission_enter(context, &key))
            mm_admission_leave(context, &key);
    }
    return NULL;
}

static void many_threads_lose_no_count(void **state)
{
    (void)state;
    mm_cleanup(mm_admission_free) struct mm_admission *admission = mm_admission_new(2, 2, NULL);
    pthread_t threads[4];
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, admission), 0);
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    struct mm_address_key a = key_of("192.0.2.1");
    assert_true(mm_admission_enter(admission, &a));
    assert_true(mm_admission_enter(admission, &a));
    assert_false(mm_admission_enter(admission, &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ipv6_network_is_one_caller), cmocka_unit_test(both_limits_hold_and_room_comes_back),
        cmocka_unit_test(asking_for_room_takes_none),    cmocka_unit_test(new_limits_hold_without_ending_what_is_there),
        cmocka_unit_test(many_threads_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
