/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON written without a tree must be what jansson would have written, byte for byte.
 */
#include "util/json_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "util/json.h"

static void assert_written_as_jansson_does(const char *string)
{
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    struct mm_error err = {0};
    mm_json_put_string(&writer, string);
    mm_cleanup(free) char *text = mm_json_writer_finish(&writer, &err);
    mm_cleanup(json_decref) json_t *value = json_string(string);
    if (!value) {
        assert_null(text);
        assert_int_equal(err.code, MM_INTERNAL);
        return;
    }
    mm_cleanup(free) char *expected = mm_json_compact(value, NULL);
    assert_string_equal(text, expected);
}

static void every_byte_is_written_as_jansson_does(void **state)
{
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        const char alone[] = {(char)byte, '\0'};
        const char inside[] = {'a', (char)byte, 'b', '\0'};
        assert_written_as_jansson_does(alone);
        assert_written_as_jansson_does(inside);
    }
}

/* Plain characters are judged eight at a time: none hides behind its neighbours, among whom there are the least and the greatest. */
static void every_byte_is_written_as_jansson_does_wherever_it_stands(void **state)
{
    (void)state;
    static const char NEIGHBOURS[] = {' ', '!', '#', '[', ']', '~', '\x7f'};
    for (size_t neighbour = 0; neighbour < MM_ARRAY_SIZE(NEIGHBOURS); neighbour++)
        for (int byte = 1; byte < 256; byte++)
            for (size_t place = 0; place < 19; place++) {
                char text[20] = "";
                memset(text, NEIGHBOURS[neighbour], 19);
                text[place] = (char)byte;
                assert_written_as_jansson_does(text);
            }
}

/* Every pair and many longer ones: what one of the two takes for UTF-8 and the other doesn't would show. */
static void every_sequence_is_judged_as_jansson_does(void **state)
{
    (void)state;
    static const unsigned char SECOND[] = {0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    for (int first = 0x80; first < 256; first++)
        for (size_t i = 0; i < MM_ARRAY_SIZE(SECOND); i++)
            for (size_t j = 0; j < MM_ARRAY_SIZE(SECOND); j++)
                for (size_t n = 1; n <= 4; n++) {
                    const unsigned char all[] = {(unsigned char)first, SECOND[i], SECOND[j], 0xbf};
                    char text[8] = "";
                    memcpy(text, all, n);
                    assert_written_as_jansson_does(text);
                }
}

static void nested_values_have_commas_where_they_belong(void **state)
{
    (void)state;
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_open(&writer, '{');
    mm_json_member_string(&writer, "a", "x");
    mm_json_name(&writer, "b");
    mm_json_open(&writer, '[');
    mm_json_open(&writer, '{');
    mm_json_close(&writer, '}');
    mm_json_put_integer(&writer, INT64_MIN);
    mm_json_put_bool(&writer, false);
    mm_json_put_text(&writer, "[1]");
    mm_json_put_bytes(&writer, "cut", 2);
    mm_json_close(&writer, ']');
    mm_json_member_integer(&writer, "c", INT64_MAX);
    mm_json_close(&writer, '}');
    mm_cleanup(free) char *text = mm_json_writer_finish(&writer, NULL);
    assert_string_equal(text,
                        "{\"a\":\"x\",\"b\":[{},-9223372036854775808,false,[1],\"cu\"],\"c\":9223372036854775807}");
}

static void a_failure_sticks_and_gives_no_text(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_open(&writer, '[');
    mm_json_put_string(&writer, "\xff");
    mm_json_put_string(&writer, "fine");
    mm_json_close(&writer, ']');
    assert_null(mm_json_writer_finish(&writer, &err));
    assert_int_equal(err.code, MM_INTERNAL);
    mm_json_put_integer(&writer, 1);
    mm_cleanup(free) char *text = mm_json_writer_finish(&writer, NULL);
    assert_string_equal(text, "1");
}

static void a_character_cut_by_the_length_is_refused(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_put_bytes(&writer, "\xc3\xa9", 1);
    assert_null(mm_json_writer_finish(&writer, &err));
    assert_int_equal(err.code, MM_INTERNAL);
}

static void text_over_the_cap_is_refused(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(free) char *huge = malloc(MM_JSON_TEXT_MAX + 1);
    memset(huge, 'x', MM_JSON_TEXT_MAX);
    huge[MM_JSON_TEXT_MAX] = '\0';
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_put_string(&writer, huge);
    assert_null(mm_json_writer_finish(&writer, &err));
    assert_int_equal(err.code, MM_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_written_as_jansson_does),
        cmocka_unit_test(every_byte_is_written_as_jansson_does_wherever_it_stands),
        cmocka_unit_test(every_sequence_is_judged_as_jansson_does),
        cmocka_unit_test(nested_values_have_commas_where_they_belong),
        cmocka_unit_test(a_failure_sticks_and_gives_no_text),
        cmocka_unit_test(a_character_cut_by_the_length_is_refused),
        cmocka_unit_test(text_over_the_cap_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
