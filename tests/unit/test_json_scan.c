/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scan takes less than JSON allows and nothing that it doesn't; tests/fuzz/fuzz_json.c holds it against jansson.
 */
#include "util/json_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/json.h"

static struct mm_bytes bytes_of(const char *text)
{
    return (struct mm_bytes){text, strlen(text)};
}

static void assert_taken(const char *text, size_t n_members)
{
    struct mm_json_members members;
    struct mm_error err = {0};
    if (!mm_json_scan(bytes_of(text), &members, &err))
        fail_msg("%s: %s", text, err.message);
    assert_int_equal(members.n, n_members);
    mm_cleanup(json_decref) json_t *parsed = mm_json_parse(text, strlen(text), NULL);
    assert_non_null(parsed);
}

static void assert_refused(const char *text, const char *why)
{
    struct mm_json_members members;
    struct mm_error err = {0};
    if (mm_json_scan(bytes_of(text), &members, &err))
        fail_msg("taken: %s", text);
    assert_int_equal(err.code, MM_INVALID_JSON);
    assert_int_equal(members.n, 0);
    if (!strstr(err.message, why))
        fail_msg("%s: refused because %s", text, err.message);
}

static void compact_json_is_taken(void **state)
{
    (void)state;
    assert_taken("{}", 0);
    assert_taken("{\"a\":1}", 1);
    assert_taken("{\"a\":\"\",\"b\":true,\"c\":false,\"d\":null,\"e\":-12}", 5);
    assert_taken("{\"a\":[],\"b\":[1,\"x\",{\"a\":[{}]}],\"c\":{\"a\":{}}}", 3);
    assert_taken("{\"a\":\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001F\\u001f/\xc3\xa9\xf0\x9f\x98\x80\"}", 1);
    assert_taken("{\"https://lore.org/claims/root_domains\":9223372036854775807,\"b\":-9223372036854775808}", 2);
    assert_taken("{\"a\":[[[[[[[]]]]]]]}", 1);
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"",
                                        "[]",
                                        "1",
                                        "{",
                                        "}",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1,}",
                                        "{\"a\":1",
                                        "{,}",
                                        "{\"a\":[1,]}",
                                        "{\"a\":[1",
                                        "{a:1}",
                                        "{\"a\":tru}",
                                        "{\"a\":truex}",
                                        "{\"a\":'b'}",
                                        "{\"a\":\"b}",
                                        "{\"a\":--1}",
                                        "{\"a\":-}",
                                        "{\"a\":01}",
                                        "{\"a\":+1}",
                                        "{\"a\":[}",
                                        "{\"a\":{]}"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++)
        assert_refused(TEXTS[i], "byte");
    assert_refused("{}{}", "more than one value");
    assert_refused("{\"a\":\"\x01\"}", "control character");
    assert_refused("{\"a\":\"\x1f\"}", "control character");
    assert_refused("{\"a\":\"\xff\"}", "UTF-8");
    assert_refused("{\"a\":\"\xc3\"}", "UTF-8");
}

static void what_parsers_may_disagree_on_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"a\":1,\"b\":2,\"a\":1}", "said twice");
    assert_refused("{\"x\":{\"a\":1,\"a\":1}}", "said twice");
    assert_refused("{\"\\u0061\":1}", "plain ASCII");
    assert_refused("{\"\xc3\xa9\":1}", "plain ASCII");
    assert_refused("{\"a b\":1}", "plain ASCII");
    assert_refused("{\"a\x7f\":1}", "plain ASCII");
    assert_refused("{\"a\":\"\\u0041\"}", "escape");
    assert_refused("{\"a\":\"\\u0000\"}", "escape");
    assert_refused("{\"a\":\"\\ud800\"}", "escape");
    assert_refused("{\"a\":\"\\/\"}", "escape");
    assert_refused("{\"a\":\"\\u00", "escape");
    assert_refused("{\"a\":\"\\", "escape");
    assert_refused("{\"a\":1.0}", "without an end");
    assert_refused("{\"a\":1e3}", "without an end");
    assert_refused("{\"a\":-0}", "integer");
    assert_refused("{\"a\":9223372036854775808}", "integer");
    assert_refused("{\"a\":-9223372036854775809}", "integer");
    assert_refused("{\"a\":99999999999999999999999}", "integer");
    assert_refused("{\"a\": 1}", "integer");
    assert_refused("{ }", "not a name");
    assert_refused("{} ", "more than one value");
    struct mm_json_members members;
    assert_false(mm_json_scan((struct mm_bytes){"{\"a\":\"\0\"}", 9}, &members, NULL));
    assert_false(mm_json_scan((struct mm_bytes){"{}\0", 3}, &members, NULL));
}

static void depth_and_members_are_bounded(void **state)
{
    (void)state;
    assert_refused("{\"a\":[[[[[[[[]]]]]]]]}", "nested too deep");
    assert_refused("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}", "nested too deep");
    char text[2048] = "{";
    for (int i = 0; i <= MM_JSON_SCAN_MEMBERS; i++) {
        size_t length = strlen(text);
        (void)snprintf(text + length, sizeof text - length, "%s\"a%d\":%d", i ? "," : "", i, i);
        if (i + 1 == MM_JSON_SCAN_MEMBERS) {
            strcat(text, "}");
            assert_taken(text, MM_JSON_SCAN_MEMBERS);
            text[strlen(text) - 1] = '\0';
        }
    }
    strcat(text, "}");
    assert_refused(text, "too many members");
}

/* The text ends at its length, whatever lies behind. */
static void nothing_is_read_past_the_end(void **state)
{
    (void)state;
    static const char TEXT[] = "{\"a\":[true,\"\\u001f\xf0\x9f\x98\x80\",-12],\"b\":{\"c\":null}}";
    struct mm_json_members members;
    for (size_t length = 0; length < strlen(TEXT); length++) {
        char *exact = malloc(length ? length : 1); /* for AddressSanitizer to guard */
        assert_non_null(exact);
        memcpy(exact, TEXT, length);
        assert_false(mm_json_scan((struct mm_bytes){exact, length}, &members, NULL));
        free(exact);
    }
    assert_taken(TEXT, 2);
}

static void values_are_found_and_compared(void **state)
{
    (void)state;
    static const char TEXT[] = "{\"a\":\"x\",\"ab\":-7,\"b\":\"\\n\",\"c\":[1]}";
    struct mm_json_members members;
    int64_t integer = 0;
    assert_true(mm_json_scan(bytes_of(TEXT), &members, NULL));
    assert_true(mm_json_equals_string(mm_json_members_find(&members, "a"), "x"));
    assert_false(mm_json_equals_string(mm_json_members_find(&members, "a"), ""));
    assert_false(mm_json_equals_string(mm_json_members_find(&members, "a"), "xy"));
    assert_false(mm_json_equals_string(mm_json_members_find(&members, "b"), "n"));
    assert_false(mm_json_equals_string(mm_json_members_find(&members, "c"), "1"));
    assert_true(mm_json_read_integer(mm_json_members_find(&members, "ab"), &integer));
    assert_int_equal(integer, -7);
    assert_false(mm_json_read_integer(mm_json_members_find(&members, "a"), &integer));
    assert_false(mm_json_read_integer(mm_json_members_find(&members, "none"), &integer));
    assert_false(mm_json_equals_string(mm_json_members_find(&members, "none"), ""));
    assert_null(mm_json_members_find(&members, "none").data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact_json_is_taken),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(what_parsers_may_disagree_on_is_refused),
        cmocka_unit_test(depth_and_members_are_bounded),
        cmocka_unit_test(nothing_is_read_past_the_end),
        cmocka_unit_test(values_are_found_and_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
