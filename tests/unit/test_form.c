/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/form.h"

/* Copied, so that what is read beyond its end shows. */
struct body {
    char *text;
    size_t length;
};

static void body_free_cleanup(struct body *body)
{
    free(body->text);
}

static struct body body_of(const char *text, size_t length)
{
    struct body body = {.text = malloc(length + 1), .length = length};
    assert_non_null(body.text);
    memcpy(body.text, text, length);
    body.text[length] = '\0';
    return body;
}

/* The fields as `name=value;` each, or the failure's code as a number. */
static void assert_form(const char *text, size_t length, const char *expected)
{
    mm_cleanup(body_free) struct body body = body_of(text, length);
    mm_cleanup(mm_form_clear) struct mm_form form;
    struct mm_error err = {0};
    char found[1024] = "";
    if (mm_form_parse(body.text, length, &form, &err)) {
        for (size_t i = 0; i < form.n; i++) {
            size_t end = strlen(found);
            (void)snprintf(found + end, sizeof found - end, "%s=%s;", form.fields[i].name, form.fields[i].value);
        }
    } else {
        assert_int_equal(err.code, MM_INVALID_REQUEST);
        (void)snprintf(found, sizeof found, "refused");
    }
    if (strcmp(found, expected) != 0)
        fail_msg("%s: %s instead of %s", text, found, expected);
}

static void fields_come_out_decoded(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"", ""},
        {"a=b", "a=b;"},
        {"a=b&c=d", "a=b;c=d;"},
        {"&&a=b&", "a=b;"},
        {"a=b=c&d==", "a=b=c;d==;"},
        {"scope=read%3Arepo+read:blob", "scope=read:repo read:blob;"},
        {"scope=a%20b%2Bc", "scope=a b+c;"},
        {"%61=%62%3d%26", "a=b=&;"},
        {"a%3Db=c", "a=b=c;"},
        {"a=%C3%A4%e2%82%ac", "a=\xc3\xa4\xe2\x82\xac;"},
        {"a=%0A%09", "a=\n\t;"},
        {"=x", "=x;"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_form(CASES[i][0], strlen(CASES[i][0]), CASES[i][1]);
}

static void a_field_without_a_value_counts_as_omitted(void **state)
{
    (void)state;
    assert_form("a=&b&c=d&=", strlen("a=&b&c=d&="), "c=d;");
    assert_form("a=&a=b", strlen("a=&a=b"), "a=b;");
}

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "a=%",         "a=%4",           "a=%4&b=c",        "a=%g1",       "a=%1g", "a=% 1",       "a=%+1",
        "a=%00",       "%00=a",          "a=b%00",          "a=b c",       "a=b\n", "a=b\r\n&c=d", "a=\t",
        "a=\x7f",      "a=\xc3\xa4",     "\xef\xbb\xbfx=b", "a=%ff",       "a=%c3", "a=%c3%28",    "a=%c0%80",
        "a=%ed%a0%80", "a=%f4%90%80%80", "%ff=a",           "a=%C3&b=%A4", "%=a",   "a=b&%",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_form(CASES[i], strlen(CASES[i]), "refused");
    assert_form("a=b\0c=d", 7, "refused");
    assert_form("a=b\0", 4, "refused");
}

/* `n` fields `x=y`. */
static struct body many(size_t n)
{
    struct body body = body_of("", 0);
    body.text = realloc(body.text, 4 * n + 1);
    assert_non_null(body.text);
    for (size_t i = 0; i < n; i++)
        memcpy(body.text + 4 * i, "x=y&", 5);
    body.length = 4 * n;
    return body;
}

static bool parses(struct body *body)
{
    mm_cleanup(mm_form_clear) struct mm_form form;
    return mm_form_parse(body->text, body->length, &form, NULL);
}

static void more_fields_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    mm_cleanup(body_free) struct body most = many(MM_FORM_FIELDS_MAX);
    mm_cleanup(body_free) struct body more = many(MM_FORM_FIELDS_MAX + 1);
    assert_true(parses(&most));
    assert_false(parses(&more));
}

/* A field whose name and value have so many bytes, each written as an escape or not. */
static struct body sized(const char *byte, size_t name, size_t value)
{
    struct body body = body_of("", 0);
    body.text = realloc(body.text, strlen(byte) * (name + value) + 2);
    assert_non_null(body.text);
    char *end = body.text;
    for (size_t i = 0; i < name; i++)
        end = stpcpy(end, byte);
    end = stpcpy(end, "=");
    for (size_t i = 0; i < value; i++)
        end = stpcpy(end, byte);
    body.length = (size_t)(end - body.text);
    return body;
}

static void long_names_and_values_are_refused_by_what_they_decode_to(void **state)
{
    (void)state;
    static const char *const BYTES[] = {"a", "%61"};
    static const struct {
        size_t name;
        size_t value;
        bool is_taken;
    } CASES[] = {{MM_FORM_NAME_MAX, MM_FORM_VALUE_MAX, true},
                 {MM_FORM_NAME_MAX + 1, 1, false},
                 {1, MM_FORM_VALUE_MAX + 1, false},
                 {MM_FORM_NAME_MAX + 1, 0, false}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        for (size_t j = 0; j < MM_ARRAY_SIZE(BYTES); j++) {
            mm_cleanup(body_free) struct body body = sized(BYTES[j], CASES[i].name, CASES[i].value);
            assert_int_equal(parses(&body), CASES[i].is_taken);
        }
}

static void a_repeated_name_is_refused_unless_it_may_be(void **state)
{
    (void)state;
    static const char *const MAY_REPEAT[] = {"resource", NULL};
    static const struct {
        const char *text;
        bool is_taken;
    } CASES[] = {{"a=b&c=d", true},
                 {"a=b&a=b", false},
                 {"a=b&%61=c", false},
                 {"a=b&a=", true},
                 {"resource=a&resource=b", true},
                 {"resourcE=a&resourcE=b", false},
                 {"=a&=b", false}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(body_free) struct body body = body_of(CASES[i].text, strlen(CASES[i].text));
        mm_cleanup(mm_form_clear) struct mm_form form;
        assert_true(mm_form_parse(body.text, body.length, &form, NULL));
        assert_int_equal(mm_form_check_repeats(&form, MAY_REPEAT, NULL), CASES[i].is_taken);
    }
}

static void a_value_is_found_by_its_exact_name(void **state)
{
    (void)state;
    mm_cleanup(body_free) struct body body = body_of("scope=a&Scope=b&x=c", 19);
    mm_cleanup(mm_form_clear) struct mm_form form;
    assert_true(mm_form_parse(body.text, body.length, &form, NULL));
    assert_string_equal(mm_form_value(&form, "Scope"), "b");
    assert_null(mm_form_value(&form, "SCOPE"));
    assert_null(mm_form_value(&form, "scop"));
}

static void a_token_loses_the_end_of_its_line_alone(void **state)
{
    (void)state;
    static const char BODY[] = "a=x.y%0A&b=x.y%0D%0A%0A&c=%0Ax%0A.y+%0A&d=%0A&e=x.y";
    mm_cleanup(body_free) struct body body = body_of(BODY, strlen(BODY));
    mm_cleanup(mm_form_clear) struct mm_form form;
    assert_true(mm_form_parse(body.text, body.length, &form, NULL));
    assert_string_equal(mm_form_token(&form, "a"), "x.y");
    assert_string_equal(mm_form_token(&form, "b"), "x.y");
    assert_string_equal(mm_form_token(&form, "c"), "\nx\n.y ");
    assert_null(mm_form_token(&form, "d"));
    assert_string_equal(mm_form_token(&form, "e"), "x.y");
    assert_null(mm_form_token(&form, "f"));
}

static void a_body_is_left_as_it_was(void **state)
{
    (void)state;
    static const char BODY[] = "client_secret=a%20b&scope=x+y";
    mm_cleanup(body_free) struct body body = body_of(BODY, strlen(BODY));
    for (int i = 0; i < 2; i++) {
        mm_cleanup(mm_form_clear) struct mm_form form;
        assert_true(mm_form_parse(body.text, body.length, &form, NULL));
        assert_string_equal(mm_form_value(&form, "client_secret"), "a b");
        mm_form_clear(&form);
        assert_int_equal(form.n, 0);
        assert_string_equal(body.text, BODY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_out_decoded),
        cmocka_unit_test(a_field_without_a_value_counts_as_omitted),
        cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
        cmocka_unit_test(more_fields_than_there_is_room_for_are_refused),
        cmocka_unit_test(long_names_and_values_are_refused_by_what_they_decode_to),
        cmocka_unit_test(a_repeated_name_is_refused_unless_it_may_be),
        cmocka_unit_test(a_value_is_found_by_its_exact_name),
        cmocka_unit_test(a_token_loses_the_end_of_its_line_alone),
        cmocka_unit_test(a_body_is_left_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
