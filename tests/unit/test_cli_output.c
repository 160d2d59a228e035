/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people read: claims in plain words, and outside text that tries to deceive a terminal.
 */
#include "cli/describe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1790000000 }; /* 2026-09-21T14:13:20Z */

/* A stream that ends as a string; one test, one capture at a time. */
static char *captured;
static size_t captured_length;

static FILE *capture(void)
{
    free(captured);
    captured = NULL;
    FILE *stream = open_memstream(&captured, &captured_length);
    assert_non_null(stream);
    return stream;
}

static void assert_captured(FILE *stream, const char *expected)
{
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(captured, expected);
}

static int forget_captured(void **state)
{
    (void)state;
    free(captured);
    captured = NULL;
    return 0;
}

static void assert_described(const char *claims_json, const char *expected)
{
    mm_cleanup(json_decref) json_t *claims = mm_json_parse(claims_json, strlen(claims_json), NULL);
    assert_non_null(claims);
    FILE *stream = capture();
    mm_describe_claims(stream, claims, NOW);
    assert_captured(stream, expected);
}

static void assert_text(const char *text, const char *expected)
{
    FILE *stream = capture();
    mm_print_text(stream, text);
    assert_captured(stream, expected);
}

static void claims_become_a_sentence(void **state)
{
    (void)state;
    assert_described("{\"sub\":\"acme/ci-build\",\"tenant_id\":\"acme\",\"scope\":\"read:repo read:blob\","
                     "\"resources\":[{\"resource_id\":\"urc-1\",\"permission\":[\"read\"]}],\"aud\":\"lore.localhost\","
                     "\"exp\":1790000598}",
                     "account acme/ci-build of tenant acme may read repo and blob on urc-1 at lore.localhost until "
                     "2026-09-21T14:23:18Z (in 9 min 58 s)");
}

static void lists_are_joined_and_actions_gathered(void **state)
{
    (void)state;
    assert_described(
        "{\"sub\":\"a/b\",\"tenant_id\":\"a\",\"scope\":\"read:repo write:repo read:blob read:lock\","
        "\"resources\":[{\"resource_id\":\"r1\"},{\"resource_id\":\"r2\"},{\"resource_id\":\"r3\"}],"
        "\"aud\":[\"x\",\"y\"],\"exp\":1789999990}",
        "account a/b of tenant a may read repo, blob and lock; write repo on r1, r2 and r3 at x and y until "
        "2026-09-21T14:13:10Z (10 s ago)");
}

static void missing_claims_are_said_to_be_missing(void **state)
{
    (void)state;
    assert_described("{}", "an account without a name may do nothing that it names on no resource that it names at no "
                           "audience that it names without an end that it names");
}

static void claims_of_the_wrong_type_do_no_harm(void **state)
{
    (void)state;
    assert_described("{\"sub\":5,\"tenant_id\":[],\"scope\":{},\"resources\":{\"a\":1},\"aud\":7,\"exp\":\"never\"}",
                     "an account without a name may do nothing that it names on no resource that it names at no "
                     "audience that it names without an end that it names");
    assert_described(
        "{\"scope\":\":  x :y a:\",\"resources\":[1,{\"resource_id\":2}],\"aud\":[null,[1]],\"exp\":-5}",
        "an account without a name may use the scope :; use the scope x; use the scope :y; a  on (a resource "
        "without an id) and (a resource without an id) at null and [1] until -5 s since 1970");
}

static void an_end_beyond_the_calendar_is_a_number(void **state)
{
    (void)state;
    FILE *stream = capture();
    mm_print_instant(stream, INT64_MAX, NOW);
    assert_captured(stream, "9223372036854775807 s since 1970");
}

static void a_name_can_not_move_the_cursor(void **state)
{
    (void)state;
    assert_described(
        "{\"sub\":\"x\\u001b[2K\\rVERIFIED\\nacme\",\"scope\":\"a:b\"}",
        "account x\\u001b[2K\\u000dVERIFIED\\u000aacme may a b on no resource that it names at no audience "
        "that it names without an end that it names");
}

static void deceptive_characters_are_spelled_out(void **state)
{
    (void)state;
    assert_text("a\x7f\tb", "a\\u007f\\u0009b");
    assert_text("\xc2\x9b[31m", "\\u009b[31m"); /* a control sequence introducer in one character */
    assert_text("evil\xe2\x80\xae"
                "emca",
                "evil\\u202eemca"); /* right-to-left override */
    assert_text("a\xe2\x80\x8b"
                "b\xef\xbb\xbf",
                "a\\u200bb\\ufeff");             /* zero width */
    assert_text("\xf3\xa0\x81\x81", "\\ue0041"); /* a tag character */
}

static void honest_text_is_left_alone(void **state)
{
    (void)state;
    assert_text("Zürich – 東京 🪙", "Zürich – 東京 🪙");
}

static void what_is_not_utf8_is_spelled_out(void **state)
{
    (void)state;
    assert_text("\xff\xfe", "\\xff\\xfe");
    assert_text("\xc0\xaf", "\\xc0\\xaf");                   /* overlong */
    assert_text("\xe0\x80\xaf", "\\xe0\\x80\\xaf");          /* overlong */
    assert_text("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* a surrogate */
    assert_text("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* past U+10FFFF */
    assert_text("\xe2\x82", "\\xe2\\x82");                   /* cut short */
}

static void assert_duration(int64_t seconds, const char *expected)
{
    FILE *stream = capture();
    mm_print_duration(stream, seconds);
    assert_captured(stream, expected);
}

static void durations_show_their_two_largest_units(void **state)
{
    (void)state;
    assert_duration(0, "0 s");
    assert_duration(59, "59 s");
    assert_duration(60, "1 min");
    assert_duration(-598, "9 min 58 s");
    assert_duration(7500, "2 h 5 min");
    assert_duration(3601, "1 h");
    assert_duration(273601, "3 d 4 h");
    assert_duration(INT64_MIN, "106751991167300 d 15 h");
}

static void a_failure_is_one_line_for_people(void **state)
{
    (void)state;
    const struct mm_error err = {.code = MM_FILE, .message = "x: bad\nname"};
    FILE *stream = capture();
    mm_print_failure(stream, MM_FORM_HUMAN, &err, 1, NULL);
    assert_captured(stream, "mintmark: x: bad\\u000aname\n");
}

static void a_failure_is_one_object_for_programs(void **state)
{
    (void)state;
    const struct mm_error err = {.code = MM_SCOPE_NOT_GRANTED, .message = "no"};
    mm_cleanup(json_decref) json_t *extra = json_pack("{s:s, s:s}", "request_id", "r1", "detail", "never");
    FILE *stream = capture();
    mm_print_failure(stream, MM_FORM_JSON, &err, 8, extra);
    assert_captured(stream,
                    "{\"code\":\"scope_not_granted\",\"detail\":\"never\",\"exit_status\":8,\"request_id\":\"r1\"}\n");
}

static void a_failure_that_is_not_utf8_is_still_json(void **state)
{
    (void)state;
    const struct mm_error err = {.code = MM_FILE, .message = "/tmp/\xff: no"};
    FILE *stream = capture();
    mm_print_failure(stream, MM_FORM_JSON, &err, 1, NULL);
    assert_captured(stream, "{\"code\":\"internal_error\",\"exit_status\":1}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_become_a_sentence),
        cmocka_unit_test(lists_are_joined_and_actions_gathered),
        cmocka_unit_test(missing_claims_are_said_to_be_missing),
        cmocka_unit_test(claims_of_the_wrong_type_do_no_harm),
        cmocka_unit_test(an_end_beyond_the_calendar_is_a_number),
        cmocka_unit_test(a_name_can_not_move_the_cursor),
        cmocka_unit_test(deceptive_characters_are_spelled_out),
        cmocka_unit_test(honest_text_is_left_alone),
        cmocka_unit_test(what_is_not_utf8_is_spelled_out),
        cmocka_unit_test(durations_show_their_two_largest_units),
        cmocka_unit_test(a_failure_is_one_line_for_people),
        cmocka_unit_test(a_failure_is_one_object_for_programs),
        cmocka_unit_test(a_failure_that_is_not_utf8_is_still_json),
    };
    return cmocka_run_group_tests(tests, NULL, forget_captured);
}
