/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one JSON parser that outside input goes through: what it refuses.
 */
#include "util/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
    struct mm_error err = {0};
    json_t *value = mm_json_parse(text, strlen(text), &err);
    assert_int_equal(err.code, value ? MM_OK : MM_INVALID_JSON);
    return value;
}

static void assert_refused(const char *text)
{
    assert_null(parse(text));
}

static void assert_accepted(const char *text)
{
    json_t *value = parse(text);
    assert_non_null(value);
    json_decref(value);
}

static void any_single_value_is_accepted(void **state)
{
    (void)state;
    assert_accepted("{}");
    assert_accepted(" [1, \"a\", null, true, {\"b\": 1.5}] \n");
    assert_accepted("\"text\"");
    assert_accepted("7");
}

static void broken_json_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",        " ",           "{",           "{\"a\":1,}", "{a:1}",
                                      "{'a':1}", "[1 2]",       "tru",         "{} {}",      "{}x",
                                      "{}\xff",  "01",          "+1",          "NaN",        "\"\x01\"",
                                      "\"\\x\"", "\"\\ud800\"", "\"\\udc00\"", "// c\n1",    "\xef\xbb\xbf{}",
                                      "1,2",     "1],[2",       "1]",          "]",          ",1",
                                      "1,",      "\"a",         "\"a\",\"b\"", "[1",         "1]]"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_refused(BAD[i]);
}

static void duplicate_members_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"a\":1,\"a\":1}");
    assert_refused("{\"a\":1,\"\\u0061\":2}");
    assert_refused("[{\"b\":{\"a\":1,\"a\":2}}]");
    assert_accepted("[{\"a\":1},{\"a\":1}]");
}

static void nul_and_invalid_utf_8_are_refused(void **state)
{
    (void)state;
    assert_refused("\"a\\u0000b\"");
    assert_refused("{\"a\\u0000b\":1}");
    assert_refused("\"\xff\"");
    assert_refused("\"\xc0\x80\"");     /* an overlong NUL */
    assert_refused("\"\xed\xa0\x80\""); /* a surrogate */
    struct mm_error err = {0};
    assert_null(mm_json_parse("1\0", 2, &err));
    assert_null(mm_json_parse("\"a\0b\"", 5, &err));
    assert_int_equal(err.code, MM_INVALID_JSON);
}

static void integers_beyond_64_bits_are_refused(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *largest = parse("9223372036854775807");
    assert_true(json_integer_value(largest) == INT64_MAX);
    assert_refused("9223372036854775808");
    assert_refused("-9223372036854775809");
    assert_refused("1e999");
}

/* `depth` arrays, one in the other. */
static json_t *parse_nested(size_t depth)
{
    mm_cleanup(free) char *text = calloc(1, 2 * depth + 1);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return parse(text);
}

static void nesting_past_32_levels_is_refused(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *deepest = parse_nested(32);
    assert_non_null(deepest);
    assert_null(parse_nested(33));
    assert_null(parse_nested(1000000));
    assert_refused("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{");
}

static void brackets_in_strings_are_no_nesting(void **state)
{
    (void)state;
    assert_accepted("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"");
    assert_accepted("\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"");
    /* The quote after two backslashes ends the string, so what follows does nest. */
    assert_refused("[\"\\\\\",[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
}

static void what_could_not_be_read_back_is_not_written(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *nul = json_pack("{so}", "a", json_stringn("\\\0", 2));
    assert_null(mm_json_compact(nul, &err));
    assert_int_equal(err.code, MM_INTERNAL);
    mm_cleanup(json_decref) json_t *escaped = json_pack("{ss}", "a", "\\\\u0000 \\u0000");
    mm_cleanup(free) char *text = mm_json_compact(escaped, NULL);
    mm_cleanup(json_decref) json_t *again = parse(text);
    assert_true(json_equal(escaped, again));
}

static void compact_text_keeps_the_members_order(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *value = parse("{ \"z\": 1, \"a\": [ true, \"\\u00e9/\" ] }");
    struct mm_error err = {0};
    mm_cleanup(free) char *text = mm_json_compact(value, &err);
    assert_string_equal(text, "{\"z\":1,\"a\":[true,\"\xc3\xa9/\"]}");
}

static void members_of_another_type_are_not_taken(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *value = parse("{\"s\":\"x\",\"i\":5,\"r\":5.0,\"a\":[\"x\",1]}");
    assert_string_equal(mm_json_string(value, "s"), "x");
    assert_null(mm_json_string(value, "i"));
    assert_null(mm_json_string(value, "none"));
    assert_null(mm_json_string(NULL, "s"));
    assert_int_equal(mm_json_integer(value, "i", -1), 5);
    assert_int_equal(mm_json_integer(value, "r", -1), -1);
    assert_int_equal(mm_json_integer(value, "s", -1), -1);
    assert_true(mm_json_array_has(json_object_get(value, "a"), "x"));
    assert_false(mm_json_array_has(json_object_get(value, "a"), "1"));
    assert_false(mm_json_array_has(json_object_get(value, "s"), "x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_single_value_is_accepted),
        cmocka_unit_test(broken_json_is_refused),
        cmocka_unit_test(duplicate_members_are_refused),
        cmocka_unit_test(nul_and_invalid_utf_8_are_refused),
        cmocka_unit_test(integers_beyond_64_bits_are_refused),
        cmocka_unit_test(nesting_past_32_levels_is_refused),
        cmocka_unit_test(brackets_in_strings_are_no_nesting),
        cmocka_unit_test(what_could_not_be_read_back_is_not_written),
        cmocka_unit_test(compact_text_keeps_the_members_order),
        cmocka_unit_test(members_of_another_type_are_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
