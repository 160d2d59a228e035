/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "issue/turns.h"

static enum mm_turns_verdict enter(struct mm_turns *turns, struct mm_turn *turn, const char *tenant)
{
    *turn = (struct mm_turn){0};
    return mm_turns_enter(turns, turn, tenant);
}

static void what_a_tenant_asks_for_beyond_its_turns_waits_in_order(void **state)
{
    (void)state;
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(100, 2, NULL);
    struct mm_turn turn[5];
    assert_int_equal(enter(turns, &turn[0], "acme"), MM_TURN_BEGINS);
    assert_int_equal(enter(turns, &turn[1], "acme"), MM_TURN_BEGINS);
    for (size_t i = 2; i < 5; i++)
        assert_int_equal(enter(turns, &turn[i], "acme"), MM_TURN_WAITS);
    assert_ptr_equal(mm_turns_leave(turns, &turn[1]), &turn[2]);
    assert_true(turn[2].has_begun);
    assert_ptr_equal(mm_turns_leave(turns, &turn[0]), &turn[3]);
    assert_ptr_equal(mm_turns_leave(turns, &turn[2]), &turn[4]);
    assert_null(mm_turns_leave(turns, &turn[3]));
    assert_null(mm_turns_leave(turns, &turn[4]));
}

static void another_tenant_waits_for_none_of_them(void **state)
{
    (void)state;
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(100, 1, NULL);
    struct mm_turn acme[2];
    struct mm_turn globex[2];
    assert_int_equal(enter(turns, &acme[0], "acme"), MM_TURN_BEGINS);
    assert_int_equal(enter(turns, &acme[1], "acme"), MM_TURN_WAITS);
    assert_int_equal(enter(turns, &globex[0], "globex"), MM_TURN_BEGINS);
    assert_int_equal(enter(turns, &globex[1], "globex"), MM_TURN_WAITS);
    assert_ptr_equal(mm_turns_leave(turns, &globex[0]), &globex[1]);
    assert_ptr_equal(mm_turns_leave(turns, &acme[0]), &acme[1]);
    assert_null(mm_turns_leave(turns, &acme[1]));
    assert_null(mm_turns_leave(turns, &globex[1]));
}

static void one_that_gives_up_waiting_takes_nobodys_turn_and_gives_none(void **state)
{
    (void)state;
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(100, 1, NULL);
    struct mm_turn turn[3];
    assert_int_equal(enter(turns, &turn[0], "acme"), MM_TURN_BEGINS);
    assert_int_equal(enter(turns, &turn[1], "acme"), MM_TURN_WAITS);
    assert_int_equal(enter(turns, &turn[2], "acme"), MM_TURN_WAITS);
    assert_null(mm_turns_leave(turns, &turn[1]));
    assert_ptr_equal(mm_turns_leave(turns, &turn[0]), &turn[2]);
    assert_null(mm_turns_leave(turns, &turn[2]));
}

static void one_tenant_takes_half_of_the_room_and_all_of_them_no_more_than_there_is(void **state)
{
    (void)state;
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(5, 1, NULL);
    struct mm_turn acme[4];
    struct mm_turn globex[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_not_equal(enter(turns, &acme[i], "acme"), MM_TURN_REFUSED);
    assert_int_equal(enter(turns, &acme[3], "acme"), MM_TURN_REFUSED);
    for (size_t i = 0; i < 2; i++)
        assert_int_not_equal(enter(turns, &globex[i], "globex"), MM_TURN_REFUSED);
    assert_int_equal(enter(turns, &globex[2], "globex"), MM_TURN_REFUSED);
    assert_null(mm_turns_leave(turns, &acme[2])); /* waited */
    assert_int_equal(enter(turns, &globex[2], "globex"), MM_TURN_WAITS);
    assert_ptr_equal(mm_turns_leave(turns, &acme[0]), &acme[1]);
    assert_null(mm_turns_leave(turns, &acme[1]));
    for (size_t i = 0; i < 3; i++)
        (void)mm_turns_leave(turns, &globex[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_tenant_asks_for_beyond_its_turns_waits_in_order),
        cmocka_unit_test(another_tenant_waits_for_none_of_them),
        cmocka_unit_test(one_that_gives_up_waiting_takes_nobodys_turn_and_gives_none),
        cmocka_unit_test(one_tenant_takes_half_of_the_room_and_all_of_them_no_more_than_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
