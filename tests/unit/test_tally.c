/* SPDX-License-Identifier: Apache-2.0 */
/* Counting by name: names are kept apart, and one that has none is forgotten. */
#include "revocation/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void names_are_counted_by_themselves(void **state)
{
    struct mm_tally *tally = *state;
    assert_true(mm_tally_add(tally, "acme/ci"));
    assert_true(mm_tally_add(tally, "acme/ci"));
    assert_true(mm_tally_add(tally, "acme"));
    assert_int_equal(mm_tally_of(tally, "acme/ci"), 2);
    assert_int_equal(mm_tally_of(tally, "acme"), 1);
    assert_int_equal(mm_tally_of(tally, "globex"), 0);
    mm_tally_remove(tally, "acme/ci");
    mm_tally_remove(tally, "acme");
    assert_int_equal(mm_tally_of(tally, "acme/ci"), 1);
    assert_int_equal(mm_tally_of(tally, "acme"), 0);
    mm_tally_remove(tally, "acme/ci");
}

/* Leaks would show in the runs with AddressSanitizer. */
static void more_names_than_buckets_are_counted(void **state)
{
    struct mm_tally *tally = *state;
    char name[32];
    for (int i = 0; i < 2 * MM_TALLY_BUCKETS; i++) {
        (void)snprintf(name, sizeof name, "acme/%d", i);
        assert_true(mm_tally_add(tally, name));
    }
    for (int i = 0; i < 2 * MM_TALLY_BUCKETS; i++) {
        (void)snprintf(name, sizeof name, "acme/%d", i);
        assert_int_equal(mm_tally_of(tally, name), 1);
        mm_tally_remove(tally, name);
        assert_int_equal(mm_tally_of(tally, name), 0);
    }
}

static int make_tally(void **state)
{
    *state = calloc(1, sizeof(struct mm_tally));
    return *state ? 0 : -1;
}

static int free_tally(void **state)
{
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_are_counted_by_themselves, make_tally, free_tally),
        cmocka_unit_test_setup_teardown(more_names_than_buckets_are_counted, make_tally, free_tally),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
