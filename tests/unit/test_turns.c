/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "issue/turns.h"

static enum mm_turns_verdict enter(struct mm_turns *turns, struct mm_turn *turn, const char *tenant)
{
    *turn = (struct mm_turn){0};
    return mm_turns_enter(turns, turn, tenant, MM_ES256);
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

static void what_waits_for_keys_of_one_algorithm_holds_up_nothing_of_another(void **state)
{
    (void)state;
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(100, 1, NULL);
    struct mm_turn turn[2];
    struct mm_turn other = {0};
    assert_int_equal(enter(turns, &turn[0], "acme"), MM_TURN_BEGINS);
    assert_int_equal(enter(turns, &turn[1], "acme"), MM_TURN_WAITS);
    assert_int_equal(mm_turns_enter(turns, &other, "acme", MM_RS256), MM_TURN_BEGINS);
    assert_null(mm_turns_leave(turns, &other));
    assert_ptr_equal(mm_turns_leave(turns, &turn[0]), &turn[1]);
    assert_null(mm_turns_leave(turns, &turn[1]));
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

static void one_tenant_takes_half_of_the_room_and_gets_it_back(void **state)
{
    (void)state;
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(5, 1, NULL);
    struct mm_turn acme[3];
    assert_int_equal(enter(turns, &acme[0], "acme"), MM_TURN_BEGINS);
    assert_int_equal(enter(turns, &acme[1], "acme"), MM_TURN_WAITS);
    assert_int_equal(enter(turns, &acme[2], "acme"), MM_TURN_REFUSED);
    assert_null(mm_turns_leave(turns, &acme[1])); /* waited */
    assert_int_equal(enter(turns, &acme[2], "acme"), MM_TURN_WAITS);
    assert_ptr_equal(mm_turns_leave(turns, &acme[0]), &acme[2]);
    assert_null(mm_turns_leave(turns, &acme[2]));
}

static void more_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    static const char *const TENANTS[] = {"a", "b", "c"};
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(2, 1, NULL);
    struct mm_turn turn[3];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(enter(turns, &turn[i], TENANTS[i]), MM_TURN_BEGINS);
        assert_int_equal(enter(turns, &turn[2], TENANTS[i]), MM_TURN_REFUSED);
    }
    assert_int_equal(enter(turns, &turn[2], TENANTS[2]), MM_TURN_REFUSED);
    (void)mm_turns_leave(turns, &turn[0]);
    assert_int_equal(enter(turns, &turn[2], TENANTS[2]), MM_TURN_BEGINS);
    (void)mm_turns_leave(turns, &turn[1]);
    (void)mm_turns_leave(turns, &turn[2]);
}

enum { ROOM = 60, N_FLOODERS = 4 };

struct flooder {
    struct mm_turn turn[ROOM];
    size_t n;
    char name[2];
};

static void fill(struct mm_turns *turns, struct flooder *flooder)
{
    while (flooder->n < ROOM && enter(turns, &flooder->turn[flooder->n], flooder->name) != MM_TURN_REFUSED)
        flooder->n++;
}

/* The last that came, so that order doesn't matter. */
static void end_one(struct mm_turns *turns, struct flooder *flooder)
{
    (void)mm_turns_leave(turns, &flooder->turn[--flooder->n]);
}

static void however_many_tenants_flood_another_finds_room(void **state)
{
    (void)state;
    mm_cleanup(mm_turns_free) struct mm_turns *turns = mm_turns_new(ROOM, 1, NULL);
    struct flooder flooder[N_FLOODERS] = {0};
    struct mm_turn honest;
    for (size_t n = 1; n <= N_FLOODERS; n++) {
        flooder[n - 1].name[0] = (char)('a' + n);
        for (size_t round = 0; round < ROOM; round++) {
            for (size_t i = 0; i < n; i++) {
                if (flooder[i].n > 0)
                    end_one(turns, &flooder[i]);
                fill(turns, &flooder[i]);
            }
        }
        for (size_t i = 0; i < n; i++)
            assert_int_equal(flooder[i].n, ROOM / (n + 1));
        assert_int_equal(enter(turns, &honest, "honest"), MM_TURN_BEGINS);
        assert_null(mm_turns_leave(turns, &honest));
    }
    for (size_t i = 0; i < N_FLOODERS; i++)
        while (flooder[i].n > 0)
            end_one(turns, &flooder[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_tenant_asks_for_beyond_its_turns_waits_in_order),
        cmocka_unit_test(another_tenant_waits_for_none_of_them),
        cmocka_unit_test(what_waits_for_keys_of_one_algorithm_holds_up_nothing_of_another),
        cmocka_unit_test(one_that_gives_up_waiting_takes_nobodys_turn_and_gives_none),
        cmocka_unit_test(one_tenant_takes_half_of_the_room_and_gets_it_back),
        cmocka_unit_test(more_than_there_is_room_for_are_refused),
        cmocka_unit_test(however_many_tenants_flood_another_finds_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
