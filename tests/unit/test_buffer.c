/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The growing buffer: nothing is cut, nothing passes the cap.
 */
#include "util/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void content_grows_and_stays_terminated(void **state)
{
    (void)state;
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(100000);
    struct mm_error err = {0};
    for (size_t i = 0; i < 10000; i++) {
        assert_true(mm_buffer_append_string(&buffer, "0123456789", &err));
        assert_int_equal(buffer.length, (i + 1) * 10);
        assert_int_equal(buffer.data[buffer.length], '\0');
    }
    assert_memory_equal(buffer.data + 99990, "0123456789", 10);
}

static void nothing_passes_the_cap(void **state)
{
    (void)state;
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(8);
    struct mm_error err = {0};
    assert_true(mm_buffer_append_string(&buffer, "12345678", &err));
    assert_false(mm_buffer_append_string(&buffer, "9", &err));
    assert_int_equal(err.code, MM_BODY_TOO_LARGE);
    assert_string_equal((const char *)buffer.data, "12345678");
    assert_true(mm_buffer_append(&buffer, "", 0, NULL));
}

static void too_much_at_once_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(8);
    struct mm_error err = {0};
    assert_true(mm_buffer_append_string(&buffer, "123", &err));
    assert_false(mm_buffer_append_string(&buffer, "456789", &err));
    assert_false(mm_buffer_append(&buffer, "x", SIZE_MAX, &err));
    assert_string_equal((const char *)buffer.data, "123");
    assert_int_equal(buffer.length, 3);
}

static void zero_bytes_are_kept(void **state)
{
    (void)state;
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(8);
    assert_true(mm_buffer_append(&buffer, "a\0b", 3, NULL));
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(buffer.data, "a\0b", 4);
}

static void cleared_buffer_can_be_used_again(void **state)
{
    (void)state;
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(4);
    assert_true(mm_buffer_append_string(&buffer, "1234", NULL));
    mm_buffer_clear(&buffer);
    assert_int_equal(buffer.length, 0);
    assert_null(buffer.data);
    assert_true(mm_buffer_append_string(&buffer, "5678", NULL));
    assert_false(mm_buffer_append_string(&buffer, "9", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_grows_and_stays_terminated),
        cmocka_unit_test(nothing_passes_the_cap),
        cmocka_unit_test(too_much_at_once_leaves_the_buffer_as_it_was),
        cmocka_unit_test(zero_bytes_are_kept),
        cmocka_unit_test(cleared_buffer_can_be_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
