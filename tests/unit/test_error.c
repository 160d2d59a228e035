/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error table, on whose numbers and names clients, ledgers and worker processes depend.
 */
#include <mintmark/error.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/base.h"

static const int NUMBERS[] = {
#define NUMBER(symbol, number, wire, http, status) number,
    MM_ERROR_TABLE(NUMBER)
#undef NUMBER
};

enum { N_CODES = sizeof NUMBERS / sizeof NUMBERS[0] };

static void every_code_has_a_number_of_its_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CODES; i++) {
        assert_true(mm_code_is_known(NUMBERS[i]));
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(NUMBERS[i], NUMBERS[j]);
    }
    assert_false(mm_code_is_known(-1));
    assert_false(mm_code_is_known(19));
    assert_false(mm_code_is_known(100000));
}

/* Changing a line here breaks clients and ledgers that exist: append to the table instead. */
static void published_numbers_and_names_stay(void **state)
{
    (void)state;
    assert_int_equal(MM_INTERNAL, 1);
    assert_int_equal(MM_INVALID_REQUEST, 20);
    assert_int_equal(MM_CERTIFICATE_REQUIRED, 40);
    assert_int_equal(MM_ACCESS_DENIED, 42);
    assert_int_equal(MM_SCOPE_NOT_GRANTED, 60);
    assert_int_equal(MM_OVERLOADED, 80);
    assert_int_equal(MM_HSM_TOKEN_NOT_FOUND, 100);
    assert_int_equal(MM_TOKEN_INVALID, 125);
    assert_string_equal(mm_code_name(MM_ACCESS_DENIED), "access_denied");
    assert_int_equal(mm_code_http_status(MM_ACCESS_DENIED), 403);
    assert_int_equal(mm_code_exit_status(MM_PIN_LATCHED), MM_EXIT_PIN);
}

static void every_code_has_a_fitting_status(void **state)
{
    (void)state;
    for (size_t i = 1; i < N_CODES; i++) {
        enum mm_code code = (enum mm_code)NUMBERS[i];
        assert_in_range(mm_code_http_status(code), 400, 599);
        assert_in_range(mm_code_exit_status(code), MM_EXIT_FAILURE, MM_EXIT_UNVERIFIED);
        assert_true(strspn(mm_code_name(code), "abcdefghijklmnopqrstuvwxyz_") == strlen(mm_code_name(code)));
    }
}

static void unknown_code_counts_as_internal(void **state)
{
    (void)state;
    assert_string_equal(mm_code_name((enum mm_code)19), "internal_error");
    assert_int_equal(mm_code_http_status((enum mm_code)19), 500);
}

static void first_failure_wins(void **state)
{
    (void)state;
    struct mm_error err = {0};
    assert_false(mm_fail(&err, MM_FILE, "%s: %d", "first", 1));
    assert_false(mm_fail(&err, MM_INTERNAL, "second"));
    assert_int_equal(err.code, MM_FILE);
    assert_string_equal(err.message, "first: 1");
    assert_false(mm_fail(NULL, MM_FILE, "nobody asks"));
}

static void long_message_is_cut_not_overrun(void **state)
{
    (void)state;
    struct mm_error err = {0};
    assert_false(mm_fail(&err, MM_FILE, "%2000d", 1));
    assert_int_equal(strlen(err.message), MM_ERROR_MESSAGE_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_number_of_its_own),
        cmocka_unit_test(published_numbers_and_names_stay),
        cmocka_unit_test(every_code_has_a_fitting_status),
        cmocka_unit_test(unknown_code_counts_as_internal),
        cmocka_unit_test(first_failure_wins),
        cmocka_unit_test(long_message_is_cut_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
