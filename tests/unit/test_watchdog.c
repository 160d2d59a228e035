/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "http/watchdog.h"
#include "util/clock.h"

struct pair {
    int ours;
    int theirs;
    struct mm_watch watch;
};

static struct pair make_pair(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    return (struct pair){.ours = fds[0], .theirs = fds[1]};
}

static void close_pair(struct pair *pair)
{
    assert_int_equal(close(pair->ours), 0);
    assert_int_equal(close(pair->theirs), 0);
}

/* Whether the peer sees the end of the stream within `timeout_ms`. */
static bool is_cut(const struct pair *pair, int timeout_ms)
{
    struct pollfd waited = {.fd = pair->theirs, .events = POLLIN};
    char byte;
    return poll(&waited, 1, timeout_ms) == 1 && read(pair->theirs, &byte, 1) == 0;
}

static void what_outstays_its_deadline_is_cut_and_nothing_else(void **state)
{
    (void)state;
    mm_cleanup(mm_watchdog_stop) struct mm_watchdog *watchdog = mm_watchdog_start(NULL, NULL, NULL);
    struct pair soon = make_pair(), later = make_pair(), never = make_pair();
    mm_watchdog_add(watchdog, &never.watch, never.ours, 0);
    mm_watchdog_add(watchdog, &soon.watch, soon.ours, mm_deadline_after_ms(50));
    mm_watchdog_add(watchdog, &later.watch, later.ours, mm_deadline_after_ms(60000));
    assert_true(is_cut(&soon, 2000));
    assert_false(is_cut(&later, 300));
    assert_false(is_cut(&never, 0));
    mm_watchdog_remove(watchdog, &soon.watch);
    mm_watchdog_remove(watchdog, &never.watch);
    mm_watchdog_remove(watchdog, &later.watch);
    close_pair(&soon);
    close_pair(&later);
    close_pair(&never);
}

static void a_deadline_can_be_moved_and_lifted(void **state)
{
    (void)state;
    mm_cleanup(mm_watchdog_stop) struct mm_watchdog *watchdog = mm_watchdog_start(NULL, NULL, NULL);
    struct pair pair = make_pair();
    mm_watchdog_add(watchdog, &pair.watch, pair.ours, mm_deadline_after_ms(400));
    mm_watch_set(&pair.watch, 0);
    assert_false(is_cut(&pair, 800));
    mm_watch_set(&pair.watch, mm_monotonic_ns());
    assert_true(is_cut(&pair, 2000));
    mm_watchdog_remove(watchdog, &pair.watch);
    close_pair(&pair);
}

/* The number of a closed descriptor is given to the next one opened: that one must be left alone. */
static void a_descriptor_that_is_no_longer_watched_is_never_touched(void **state)
{
    (void)state;
    mm_cleanup(mm_watchdog_stop) struct mm_watchdog *watchdog = mm_watchdog_start(NULL, NULL, NULL);
    struct pair old = make_pair();
    mm_watchdog_add(watchdog, &old.watch, old.ours, mm_deadline_after_ms(200));
    mm_watchdog_remove(watchdog, &old.watch);
    close_pair(&old);
    struct pair next = make_pair();
    assert_int_equal(next.ours, old.ours);
    assert_false(is_cut(&next, 600));
    close_pair(&next);
}

static void each_place_in_the_list_can_be_removed(void **state)
{
    (void)state;
    mm_cleanup(mm_watchdog_stop) struct mm_watchdog *watchdog = mm_watchdog_start(NULL, NULL, NULL);
    for (size_t removed = 0; removed < 3; removed++) {
        struct pair pairs[3];
        for (size_t i = 0; i < 3; i++) {
            pairs[i] = make_pair();
            mm_watchdog_add(watchdog, &pairs[i].watch, pairs[i].ours, 0);
        }
        mm_watchdog_remove(watchdog, &pairs[removed].watch);
        for (size_t i = 0; i < 3; i++)
            mm_watch_set(&pairs[i].watch, mm_monotonic_ns());
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(is_cut(&pairs[i], 300), i != removed);
            if (i != removed)
                mm_watchdog_remove(watchdog, &pairs[i].watch);
            close_pair(&pairs[i]);
        }
    }
}

static void count_tick(void *context, int64_t now_ns)
{
    assert_true(now_ns > 0);
    (void)atomic_fetch_add((atomic_int *)context, 1);
}

static void others_are_told_the_time_at_each_tick_until_it_stops(void **state)
{
    (void)state;
    atomic_int n_ticks = 0;
    struct mm_watchdog *watchdog = mm_watchdog_start(count_tick, &n_ticks, NULL);
    int64_t deadline = mm_deadline_after_ms(5000);
    while (atomic_load(&n_ticks) < 3 && mm_monotonic_ns() < deadline)
        (void)poll(NULL, 0, MM_WATCHDOG_TICK_MS);
    mm_watchdog_stop(watchdog);
    int n = atomic_load(&n_ticks);
    assert_true(n >= 3);
    (void)poll(NULL, 0, 3 * MM_WATCHDOG_TICK_MS);
    assert_int_equal(atomic_load(&n_ticks), n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_outstays_its_deadline_is_cut_and_nothing_else),
        cmocka_unit_test(a_deadline_can_be_moved_and_lifted),
        cmocka_unit_test(a_descriptor_that_is_no_longer_watched_is_never_touched),
        cmocka_unit_test(each_place_in_the_list_can_be_removed),
        cmocka_unit_test(others_are_told_the_time_at_each_tick_until_it_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
