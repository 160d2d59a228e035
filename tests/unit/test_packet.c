/* SPDX-License-Identifier: Apache-2.0 */
/* Packets between a process and its fork: whole or not at all, with one descriptor or none. */
#include "util/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void a_packet_brings_the_descriptor_that_was_passed(void **state)
{
    (void)state;
    int ends[2];
    int pipe_ends[2];
    int passed = -1;
    char text[8] = "";
    assert_true(mm_packet_pair(ends));
    assert_int_equal(pipe(pipe_ends), 0);
    assert_true(mm_packet_send(ends[0], "one", 3, pipe_ends[1], MM_PACKET_AT_ONCE));
    assert_int_equal(mm_packet_receive(ends[1], text, sizeof text, &passed, MM_PACKET_WAIT), 3);
    assert_true(passed >= 0 && passed != pipe_ends[1]);
    assert_int_equal(write(passed, "x", 1), 1);
    assert_int_equal(read(pipe_ends[0], text, sizeof text), 1);
    const int opened[] = {ends[0], ends[1], pipe_ends[0], pipe_ends[1], passed};
    for (size_t i = 0; i < MM_ARRAY_SIZE(opened); i++)
        assert_int_equal(close(opened[i]), 0);
}

static void a_packet_that_is_too_long_is_none(void **state)
{
    (void)state;
    int ends[2];
    int passed;
    char text[4];
    assert_true(mm_packet_pair(ends));
    assert_true(mm_packet_send(ends[0], "twelve", 6, -1, MM_PACKET_WAIT));
    assert_int_equal(mm_packet_receive(ends[1], text, sizeof text, &passed, MM_PACKET_WAIT), -1);
    assert_int_equal(passed, -1);
    assert_int_equal(mm_packet_receive(ends[1], text, sizeof text, &passed, MM_PACKET_AT_ONCE), -1);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
}

static void the_end_of_the_other_side_shows(void **state)
{
    (void)state;
    int ends[2];
    int passed;
    char text[4];
    assert_true(mm_packet_pair(ends));
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(mm_packet_receive(ends[1], text, sizeof text, &passed, MM_PACKET_WAIT), 0);
    assert_false(mm_packet_send(ends[1], "x", 1, -1, MM_PACKET_AT_ONCE));
    assert_int_equal(close(ends[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_brings_the_descriptor_that_was_passed),
        cmocka_unit_test(a_packet_that_is_too_long_is_none),
        cmocka_unit_test(the_end_of_the_other_side_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
