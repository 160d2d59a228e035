/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "issue/buckets.h"
#include "util/clock.h"

static const int64_t SECOND = INT64_C(1000000000);
static const int64_t START = INT64_C(5000000000);

static char ACME[] = "acme";
static char CI[] = "acme/ci";
static char OTHER[] = "acme/other";

static struct mm_tenant tenant_with(int64_t per_minute, int64_t burst)
{
    return (struct mm_tenant){.id = ACME, .rate = {per_minute, burst}};
}

static struct mm_account account_with(char *identity, int64_t per_minute, int64_t burst)
{
    return (struct mm_account){.identity = identity, .rate = {per_minute, burst}};
}

/* How many of `n` are let through at that moment. */
static int64_t take_many(struct mm_buckets *buckets, const struct mm_tenant *tenant, const struct mm_account *account,
                         int64_t now_ns, int64_t n)
{
    int64_t n_taken = 0;
    for (int64_t i = 0; i < n; i++) {
        struct mm_rate_state state;
        struct mm_error err = {0};
        if (mm_buckets_take(buckets, tenant, account, now_ns, &state, &err))
            n_taken++;
        else
            assert_int_equal(err.code, MM_RATE_LIMITED);
    }
    return n_taken;
}

static void a_bucket_holds_its_burst_and_fills_evenly(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(0, 0);
    struct mm_account account = account_with(CI, 60, 20);
    assert_int_equal(take_many(buckets, &tenant, &account, START, 100), 20);
    assert_int_equal(take_many(buckets, &tenant, &account, START + SECOND - 1, 100), 0);
    assert_int_equal(take_many(buckets, &tenant, &account, START + SECOND, 100), 1);
    assert_int_equal(take_many(buckets, &tenant, &account, START + 6 * SECOND, 100), 5);
    assert_int_equal(take_many(buckets, &tenant, &account, START + 3600 * SECOND, 100), 20);
}

static void without_a_limit_everything_is_let_through_and_nothing_kept(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(0, 0);
    struct mm_account account = account_with(CI, 0, 0);
    struct mm_rate_state rate;
    assert_int_equal(take_many(buckets, &tenant, &account, START, 1000), 1000);
    assert_true(mm_buckets_take(buckets, &tenant, &account, START, &rate, NULL));
    assert_null(rate.limit);
    assert_int_equal(mm_buckets_n(buckets), 0);
}

static void a_tenants_accounts_share_its_bucket_and_have_their_own(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(60, 30);
    struct mm_account ci = account_with(CI, 60, 20);
    struct mm_account other = account_with(OTHER, 0, 0);
    assert_int_equal(take_many(buckets, &tenant, &ci, START, 100), 20);
    assert_int_equal(take_many(buckets, &tenant, &other, START, 100), 10);
    /* What the tenant lacks wasn't taken from the account either. */
    assert_int_equal(take_many(buckets, &tenant, &ci, START + SECOND, 100), 1);
    assert_int_equal(take_many(buckets, &tenant, &other, START + 3 * SECOND, 100), 2);
    assert_int_equal(take_many(buckets, &tenant, &ci, START + 3 * SECOND, 100), 0);
    assert_int_equal(take_many(buckets, &tenant, &ci, START + 6 * SECOND, 100), 3);
    assert_int_equal(take_many(buckets, &tenant, NULL, START + 7 * SECOND, 100), 1);
}

static void the_closest_limit_is_told(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(600, 12);
    struct mm_account account = account_with(CI, 6, 10);
    struct mm_rate_state rate;
    assert_true(mm_buckets_take(buckets, &tenant, &account, START, &rate, NULL));
    assert_string_equal(rate.limit, "account");
    assert_int_equal(rate.per_minute, 6);
    assert_int_equal(rate.remaining, 9);
    assert_int_equal(rate.more_after, 10);
    struct mm_account other = account_with(OTHER, 0, 0);
    assert_int_equal(take_many(buckets, &tenant, &other, START, 100), 11);
    struct mm_error err = {0};
    assert_false(mm_buckets_take(buckets, &tenant, &account, START, &rate, &err));
    assert_string_equal(rate.limit, "tenant");
    assert_int_equal(rate.remaining, 0);
    assert_int_equal(rate.more_after, 1); /* a tenth of a second: never 0, or a client would ask again at once */
    assert_string_equal(err.message, "acme has had its tokens for now: 600 a minute");
}

static void a_reload_refills_nothing_and_changes_the_limit_at_once(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(0, 0);
    struct mm_account before = account_with(CI, 60, 20);
    assert_int_equal(take_many(buckets, &tenant, &before, START, 100), 20);
    struct mm_account same = account_with(CI, 60, 20);
    assert_int_equal(take_many(buckets, &tenant, &same, START, 100), 0);
    struct mm_account slower = account_with(CI, 1, 5);
    assert_int_equal(take_many(buckets, &tenant, &slower, START, 100), 0);
    assert_int_equal(take_many(buckets, &tenant, &slower, START + 59 * SECOND, 100), 0);
    assert_int_equal(take_many(buckets, &tenant, &slower, START + 60 * SECOND, 100), 1);
    struct mm_account larger = account_with(CI, 1, 8);
    assert_int_equal(take_many(buckets, &tenant, &larger, START + 60 * SECOND, 100), 3);
    struct mm_account free_again = account_with(CI, 0, 0);
    assert_int_equal(take_many(buckets, &tenant, &free_again, START + 60 * SECOND, 100), 100);
}

static void time_that_goes_back_brings_nothing(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(60, 2);
    assert_int_equal(take_many(buckets, &tenant, NULL, START, 10), 2);
    assert_int_equal(take_many(buckets, &tenant, NULL, START - SECOND, 10), 0);
    assert_int_equal(take_many(buckets, &tenant, NULL, START, 10), 0);
    assert_int_equal(take_many(buckets, &tenant, NULL, START + SECOND, 10), 1);
}

static void the_largest_and_the_slowest_bucket_count_right(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant largest = tenant_with(MM_RATE_MAX, MM_RATE_MAX);
    assert_int_equal(take_many(buckets, &largest, NULL, START, MM_RATE_MAX + 10), MM_RATE_MAX);
    assert_int_equal(take_many(buckets, &largest, NULL, START + SECOND, MM_RATE_MAX), MM_RATE_MAX / 60);
    assert_int_equal(take_many(buckets, &largest, NULL, INT64_MAX, 10), 10);
    struct mm_account slowest = account_with(CI, 1, 1);
    struct mm_tenant free_tenant = tenant_with(0, 0);
    assert_int_equal(take_many(buckets, &free_tenant, &slowest, START, 10), 1);
    assert_int_equal(take_many(buckets, &free_tenant, &slowest, START + 60 * SECOND - 1, 10), 0);
    assert_int_equal(take_many(buckets, &free_tenant, &slowest, START + 60 * SECOND, 10), 1);
}

static void what_the_service_failed_to_make_is_given_back(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(1, 5);
    struct mm_account account = account_with(CI, 1, 5);
    assert_int_equal(take_many(buckets, &tenant, &account, START, 10), 5);
    mm_buckets_give_back(buckets, &tenant, &account);
    assert_int_equal(take_many(buckets, &tenant, &account, START, 10), 1);
    for (int i = 0; i < 100; i++) /* never more than it holds */
        mm_buckets_give_back(buckets, &tenant, &account);
    assert_int_equal(take_many(buckets, &tenant, &account, START, 10), 5);
    struct mm_tenant unknown = {.id = CI, .rate = {1, 1}};
    mm_buckets_give_back(buckets, &unknown, NULL);
}

enum { N_ACCOUNTS = 20000 };

static void full_buckets_are_forgotten(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(0, 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < N_ACCOUNTS; i++) {
            char identity[64];
            (void)snprintf(identity, sizeof identity, "acme/r%d-%d", round, i);
            struct mm_account account = account_with(identity, 60, 3);
            assert_int_equal(take_many(buckets, &tenant, &account, START + round * 60 * SECOND, 1), 1);
        }
        /* Of the round before all are full again. */
        assert_true(mm_buckets_n(buckets) <= 2 * (size_t)N_ACCOUNTS);
    }
}

static void forgetting_loses_nothing_that_is_used(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(0, 0);
    struct mm_account slow = account_with(CI, 1, 3);
    assert_int_equal(take_many(buckets, &tenant, &slow, START, 10), 3);
    for (int i = 0; i < 1000; i++) {
        char identity[64];
        (void)snprintf(identity, sizeof identity, "acme/%d", i);
        struct mm_account account = account_with(identity, 60000, 1);
        assert_int_equal(take_many(buckets, &tenant, &account, START + i * (SECOND / 100), 1), 1);
    }
    assert_true(mm_buckets_n(buckets) < 200);
    assert_int_equal(take_many(buckets, &tenant, &slow, START + 10 * SECOND, 10), 0);
}

static void those_refused_most_are_listed_while_it_is_recent(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(0, 0);
    for (int i = 0; i < 9; i++) {
        char identity[64];
        (void)snprintf(identity, sizeof identity, "acme/a%d", i);
        struct mm_account account = account_with(identity, 1, 1);
        (void)take_many(buckets, &tenant, &account, START, 1 + (i * 4) % 9);
    }
    struct mm_limited limited[3];
    assert_int_equal(mm_buckets_limited(buckets, START + SECOND, limited, 3), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(limited[i].n_refused, 8 - i);
    assert_string_equal(limited[0].name, "acme/a2");
    assert_int_equal(limited[0].rate.per_minute, 1);
    assert_int_equal(mm_buckets_limited(buckets, START + 60 * SECOND, limited, 3), 0);
    struct mm_account again = account_with(CI, 1, 1);
    (void)take_many(buckets, &tenant, &again, START, 3);
    (void)take_many(buckets, &tenant, &again, START + 61 * SECOND, 3);
    assert_int_equal(mm_buckets_limited(buckets, START + 61 * SECOND, limited, 3), 1);
    assert_int_equal(limited[0].n_refused, 2); /* the two before were another time */
}

enum { N_THREADS = 8, N_TRIES = 40000 };

struct crowd {
    struct mm_buckets *buckets;
    const struct mm_tenant *tenant;
    const struct mm_account *account;
    _Atomic int64_t now_ns;
    atomic_int n_taken;
};

/* Each try moves time on by a microsecond: in all that is 0.32 s, in which 320 of 60000 a minute come back. */
static void *crowd_in(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; i < N_TRIES; i++) {
        int64_t now_ns = atomic_fetch_add(&crowd->now_ns, 1000);
        struct mm_rate_state rate;
        if (mm_buckets_take(crowd->buckets, crowd->tenant, crowd->account, now_ns, &rate, NULL))
            (void)atomic_fetch_add(&crowd->n_taken, 1);
    }
    return NULL;
}

static void however_many_threads_ask_no_more_get_through(void **state)
{
    (void)state;
    mm_cleanup(mm_buckets_free) struct mm_buckets *buckets = mm_buckets_new(NULL);
    struct mm_tenant tenant = tenant_with(60000, 1000);
    struct mm_account account = account_with(CI, 60000, 1000);
    struct crowd crowd = {.buckets = buckets, .tenant = &tenant, .account = &account, .now_ns = START};
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_in, &crowd), 0);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    int64_t most = 1000 + N_THREADS * N_TRIES / 1000;
    assert_true(atomic_load(&crowd.n_taken) <= most);
    assert_true(atomic_load(&crowd.n_taken) >= most - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_holds_its_burst_and_fills_evenly),
        cmocka_unit_test(without_a_limit_everything_is_let_through_and_nothing_kept),
        cmocka_unit_test(a_tenants_accounts_share_its_bucket_and_have_their_own),
        cmocka_unit_test(the_closest_limit_is_told),
        cmocka_unit_test(a_reload_refills_nothing_and_changes_the_limit_at_once),
        cmocka_unit_test(time_that_goes_back_brings_nothing),
        cmocka_unit_test(the_largest_and_the_slowest_bucket_count_right),
        cmocka_unit_test(what_the_service_failed_to_make_is_given_back),
        cmocka_unit_test(full_buckets_are_forgotten),
        cmocka_unit_test(forgetting_loses_nothing_that_is_used),
        cmocka_unit_test(those_refused_most_are_listed_while_it_is_recent),
        cmocka_unit_test(however_many_threads_ask_no_more_get_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
