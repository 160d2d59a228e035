/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker is sent by the time that its signatures take, and when it counts as hung. */
#include "hsm/pool_worker.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MS = 1000000, TIMEOUT_MS = 2000 };

static struct mm_pool_worker ready(size_t n_threads)
{
    return (struct mm_pool_worker){.state = MM_POOL_READY,
                                   .n_threads = n_threads,
                                   .sign_timeout_ns = (int64_t)TIMEOUT_MS * MS};
}

/* Send what the worker has room for at `now`; returns how many that is. */
static size_t fill(struct mm_pool_worker *worker, int64_t now)
{
    size_t n = 0;
    for (; mm_pool_worker_has_room(worker); n++)
        (void)mm_pool_worker_take_slot(worker, worker->n_in_flight + 1, now);
    return n;
}

/* Every request is answered, each `sign_ns` of its thread's time after the one before it. */
static void drain(struct mm_pool_worker *worker, int64_t sent_ns, int64_t sign_ns)
{
    size_t n = worker->n_in_flight;
    for (uint64_t id = 1; id <= n; id++) {
        struct mm_pool_slot *slot = mm_pool_worker_slot(worker, id);
        assert_non_null(slot);
        assert_int_equal(mm_pool_worker_measure(worker, slot, sent_ns + sign_ns * slot->turn), sign_ns);
        *slot = (struct mm_pool_slot){0};
        worker->n_in_flight--;
    }
}

static void one_that_is_not_known_yet_or_slow_gets_one_a_thread(void **state)
{
    (void)state;
    struct mm_pool_worker worker = ready(4);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fill(&worker, 0), 4);
        drain(&worker, 0, 10 * MS);
        assert_int_equal(worker.sign_ns, 10 * MS);
    }
}

static void one_that_is_fast_stays_so_however_long_the_line_it_is_given(void **state)
{
    (void)state;
    struct mm_pool_worker worker = ready(1);
    assert_int_equal(fill(&worker, 0), 1);
    drain(&worker, 0, MS / 2);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fill(&worker, 0), MM_POOL_SLOTS_MAX);
        drain(&worker, 0, MS / 2);
        assert_int_equal(worker.sign_ns, MS / 2);
    }
}

static void one_that_becomes_slow_gets_one_a_thread_again(void **state)
{
    (void)state;
    struct mm_pool_worker worker = ready(2);
    (void)fill(&worker, 0);
    drain(&worker, 0, MS / 10);
    assert_int_equal(fill(&worker, 0), MM_POOL_SLOTS_MAX);
    drain(&worker, 0, 20 * MS);
    assert_int_equal(fill(&worker, 0), 2);
}

static struct mm_pool_worker fast_with_a_long_line(void)
{
    struct mm_pool_worker worker = ready(1);
    (void)fill(&worker, 0);
    drain(&worker, 0, MS / 10);
    assert_int_equal(fill(&worker, 0), MM_POOL_SLOTS_MAX);
    return worker;
}

/* The one sent first is answered, and another sent. */
static void answer_first(struct mm_pool_worker *worker, uint64_t id, int64_t now)
{
    *mm_pool_worker_slot(worker, id) = (struct mm_pool_slot){0};
    worker->n_in_flight--;
    mm_pool_worker_move_up(worker, now);
    (void)mm_pool_worker_take_slot(worker, id + MM_POOL_SLOTS_MAX, now);
}

static void waiting_in_line_does_not_make_it_hung(void **state)
{
    (void)state;
    const int64_t timeout_ns = (int64_t)TIMEOUT_MS * MS;
    struct mm_pool_worker worker = fast_with_a_long_line();
    assert_false(mm_pool_worker_is_hung(&worker, timeout_ns));
    answer_first(&worker, 1, timeout_ns);
    assert_false(mm_pool_worker_is_hung(&worker, 2 * timeout_ns));
    assert_true(mm_pool_worker_is_hung(&worker, 2 * timeout_ns + 1));
}

static void one_that_stops_amid_a_long_line_is_hung_after_one_timeout(void **state)
{
    (void)state;
    const int64_t timeout_ns = (int64_t)TIMEOUT_MS * MS;
    struct mm_pool_worker worker = fast_with_a_long_line();
    int64_t now = 0;
    for (uint64_t id = 1; id <= 100; id++)
        answer_first(&worker, id, now += MS / 10);
    assert_false(mm_pool_worker_is_hung(&worker, now + timeout_ns));
    assert_true(mm_pool_worker_is_hung(&worker, now + timeout_ns + 1));
}

static void a_thread_that_hangs_is_not_hidden_by_the_others(void **state)
{
    (void)state;
    const int64_t timeout_ns = (int64_t)TIMEOUT_MS * MS;
    struct mm_pool_worker worker = ready(2);
    assert_int_equal(fill(&worker, 0), 2);
    int64_t now = 0;
    for (uint64_t id = 2; id <= 100; id++) {
        *mm_pool_worker_slot(&worker, id) = (struct mm_pool_slot){0};
        worker.n_in_flight--;
        mm_pool_worker_move_up(&worker, now += timeout_ns / 50);
        (void)mm_pool_worker_take_slot(&worker, id + 1, now);
        assert_int_equal(mm_pool_worker_is_hung(&worker, now), now > timeout_ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_not_known_yet_or_slow_gets_one_a_thread),
        cmocka_unit_test(one_that_is_fast_stays_so_however_long_the_line_it_is_given),
        cmocka_unit_test(one_that_becomes_slow_gets_one_a_thread_again),
        cmocka_unit_test(waiting_in_line_does_not_make_it_hung),
        cmocka_unit_test(one_that_stops_amid_a_long_line_is_hung_after_one_timeout),
        cmocka_unit_test(a_thread_that_hangs_is_not_hidden_by_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
