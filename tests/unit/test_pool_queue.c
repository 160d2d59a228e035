/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/pool_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void push(struct mm_pool_queue *queue, const char *tenant, int number, int64_t deadline_ns,
                 enum mm_pool_queue_end end)
{
    char payload[16];
    int length = snprintf(payload, sizeof payload, "%d", number);
    struct mm_pool_request *request =
        mm_pool_request_new(MM_SENTENCE_ACCESS_TOKEN, tenant, payload, (size_t)length, NULL);
    assert_non_null(request);
    request->deadline_ns = deadline_ns;
    assert_true(mm_pool_queue_push(queue, request, end, NULL));
}

static void expect(struct mm_pool_queue *queue, const char *tenant, int number)
{
    mm_cleanup(mm_pool_request_free) struct mm_pool_request *request = mm_pool_queue_pop(queue);
    assert_non_null(request);
    assert_string_equal(request->tenant, tenant);
    char payload[16];
    (void)snprintf(payload, sizeof payload, "%.*s", (int)request->length, request->payload);
    assert_int_equal(atoi(payload), number);
}

static void a_tenants_requests_keep_their_order(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    for (int i = 0; i < 100; i++)
        push(queue, "acme", i, 0, MM_POOL_QUEUE_LAST);
    for (int i = 0; i < 100; i++)
        expect(queue, "acme", i);
    assert_null(mm_pool_queue_pop(queue));
}

static void a_backlog_delays_another_tenant_by_one_turn_only(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    for (int i = 0; i < 1000; i++)
        push(queue, "acme", i, 0, MM_POOL_QUEUE_LAST);
    push(queue, "globex", 1, 0, MM_POOL_QUEUE_LAST);
    expect(queue, "acme", 0);
    expect(queue, "globex", 1);
    expect(queue, "acme", 1);
}

static void tenants_take_turns(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    for (int i = 0; i < 2; i++) {
        push(queue, "a", i, 0, MM_POOL_QUEUE_LAST);
        push(queue, "b", i, 0, MM_POOL_QUEUE_LAST);
        push(queue, "c", i, 0, MM_POOL_QUEUE_LAST);
    }
    for (int i = 0; i < 2; i++) {
        expect(queue, "a", i);
        expect(queue, "b", i);
        expect(queue, "c", i);
    }
}

static void a_tenant_gains_nothing_by_coming_back(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    push(queue, "a", 0, 0, MM_POOL_QUEUE_LAST);
    push(queue, "b", 0, 0, MM_POOL_QUEUE_LAST);
    expect(queue, "a", 0);
    push(queue, "a", 1, 0, MM_POOL_QUEUE_LAST);
    expect(queue, "b", 0);
    expect(queue, "a", 1);
}

static void a_retried_request_is_next(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    push(queue, "a", 0, 0, MM_POOL_QUEUE_LAST);
    push(queue, "b", 0, 0, MM_POOL_QUEUE_LAST);
    push(queue, "b", 9, 0, MM_POOL_QUEUE_FIRST);
    expect(queue, "b", 9);
    expect(queue, "a", 0);
    expect(queue, "b", 0);
}

static void expired_requests_are_taken_out_and_no_other(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    for (int i = 0; i < 10; i++)
        push(queue, i % 3 ? "a" : "b", i, i, MM_POOL_QUEUE_LAST);
    push(queue, "c", 10, 4, MM_POOL_QUEUE_LAST);
    struct mm_pool_requests expired = TAILQ_HEAD_INITIALIZER(expired);
    mm_pool_queue_take_expired(queue, 4, &expired);
    size_t n = 0;
    for (struct mm_pool_request *request; (request = TAILQ_FIRST(&expired)); n++) {
        assert_true(request->deadline_ns <= 4);
        TAILQ_REMOVE(&expired, request, link);
        mm_pool_request_free(request);
    }
    assert_int_equal(n, 6);
    assert_int_equal(mm_pool_queue_n(queue), 5);
    expect(queue, "b", 6);
    expect(queue, "a", 5);
    expect(queue, "b", 9);
    expect(queue, "a", 7);
    expect(queue, "a", 8);
    assert_null(mm_pool_queue_pop(queue));
}

static void impatient_requests_are_taken_out_and_no_other(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    push(queue, "a", 1, 0, MM_POOL_QUEUE_LAST);
    struct mm_pool_request *hasty = mm_pool_request_new(MM_SENTENCE_ACCESS_TOKEN, "a", "{}", 2, NULL);
    hasty->patience = MM_POOL_IMPATIENT;
    assert_true(mm_pool_queue_push(queue, hasty, MM_POOL_QUEUE_LAST, NULL));
    struct mm_pool_requests impatient = TAILQ_HEAD_INITIALIZER(impatient);
    mm_pool_queue_take_impatient(queue, &impatient);
    assert_ptr_equal(TAILQ_FIRST(&impatient), hasty);
    assert_null(TAILQ_NEXT(hasty, link));
    mm_pool_request_free(hasty);
    expect(queue, "a", 1);
    assert_null(mm_pool_queue_pop(queue));
}

static void the_number_ahead_counts_turns_not_backlogs(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    assert_int_equal(mm_pool_queue_n_ahead(queue, "a"), 0);
    for (int i = 0; i < 100; i++)
        push(queue, "a", i, 0, MM_POOL_QUEUE_LAST);
    assert_int_equal(mm_pool_queue_n_ahead(queue, "a"), 100);
    assert_int_equal(mm_pool_queue_n_ahead(queue, "b"), 1);
}

static void many_tenants_are_told_apart(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    char name[16];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1000; i++) {
            (void)snprintf(name, sizeof name, "t%d", i);
            push(queue, name, i * 2 + round, 0, MM_POOL_QUEUE_LAST);
        }
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1000; i++) {
            (void)snprintf(name, sizeof name, "t%d", i);
            expect(queue, name, i * 2 + round);
        }
    assert_int_equal(mm_pool_queue_n(queue), 0);
}

static void a_queue_is_freed_with_what_waits_in_it(void **state)
{
    (void)state;
    mm_cleanup(mm_pool_queue_free) struct mm_pool_queue *queue = mm_pool_queue_new(NULL);
    push(queue, "a", 0, 0, MM_POOL_QUEUE_LAST);
    push(queue, "b", 0, 0, MM_POOL_QUEUE_LAST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenants_requests_keep_their_order),
        cmocka_unit_test(a_backlog_delays_another_tenant_by_one_turn_only),
        cmocka_unit_test(tenants_take_turns),
        cmocka_unit_test(a_tenant_gains_nothing_by_coming_back),
        cmocka_unit_test(a_retried_request_is_next),
        cmocka_unit_test(expired_requests_are_taken_out_and_no_other),
        cmocka_unit_test(impatient_requests_are_taken_out_and_no_other),
        cmocka_unit_test(the_number_ahead_counts_turns_not_backlogs),
        cmocka_unit_test(many_tenants_are_told_apart),
        cmocka_unit_test(a_queue_is_freed_with_what_waits_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
