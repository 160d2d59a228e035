/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/guard.h"

/*
 * A head as the library leaves it in memory: `HTTP/1.1` and the fields of `text`, each ended by a line feed there, become
 * pieces with two bytes after each. A `~` is a byte that the library doesn't hand out.
 */
static bool head_passes(const char *version, const char *text, const char **ret_why)
{
    static char memory[4096];
    static struct mm_error err;
    struct mm_head head;
    err = (struct mm_error){0};
    char *at = memory + sprintf(memory, "%s", version);
    mm_head_begin(&head, memory);
    at += 2;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        size_t length = strcspn(line, "\n");
        bool is_longer = length > 0 && line[length - 1] == '~';
        size_t kept = is_longer ? length - 1 : length;
        memcpy(at, line, length);
        at[kept] = '\0';
        char *colon = memchr(at, ':', kept);
        assert_non_null(colon);
        *colon = '\0';
        mm_head_add(&head, at, (size_t)(colon - at), colon + 1, kept - (size_t)(colon + 1 - at));
        at += length + 2;
    }
    bool is_fine = mm_head_check(&head, memory, at + 2, &err);
    assert_int_equal(err.code, is_fine ? MM_OK : MM_INVALID_REQUEST);
    *ret_why = err.message;
    return is_fine;
}

/* As head_passes(), with a Host unless the case is about it. */
static bool case_passes(const char *version, const char *text, const char **ret_why)
{
    char with_host[1024];
    (void)snprintf(with_host, sizeof with_host, "%s%s", strcasestr(text, "host:") ? "" : "Host: h\n", text);
    return head_passes(version, with_host, ret_why);
}

static void assert_passes(const char *version, const char *text)
{
    const char *why;
    if (!case_passes(version, text, &why))
        fail_msg("%s: %s", text, why);
}

static void assert_refused(const char *version, const char *text, const char *reason)
{
    const char *why;
    if (case_passes(version, text, &why))
        fail_msg("let through: %s", text);
    if (!strstr(why, reason))
        fail_msg("%s: %s", text, why);
}

static void ordinary_heads_pass(void **state)
{
    (void)state;
    assert_passes("HTTP/1.1", "Host: x\n");
    assert_passes("HTTP/1.0", "");
    assert_passes("HTTP/1.1", "Host: x\nContent-Length: 0\n");
    assert_passes("HTTP/1.1", "host:x\ncontent-length:\t10 \nContent-Type: application/json\n");
    assert_passes("HTTP/1.1", "Host: x\nTransfer-Encoding: Chunked\n");
    assert_passes("HTTP/1.1", "Host: x\nX: a\tb\nX: \xc3\xa4\nX:\n");
}

static void two_readings_of_the_length_are_refused(void **state)
{
    (void)state;
    assert_refused("HTTP/1.1", "Content-Length: 5\nTransfer-Encoding: chunked\n", "exclude");
    assert_refused("HTTP/1.1", "TRANSFER-ENCODING: chunked\nCONTENT-LENGTH: 5\n", "exclude");
    assert_refused("HTTP/1.1", "Content-Length: 5\nContent-Length: 5\n", "Content-Length is repeated");
    assert_refused("HTTP/1.1", "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n", "repeated");
    assert_refused("HTTP/1.1", "Content-Length: 5, 5\n", "not a number");
    assert_refused("HTTP/1.1", "Content-Length: +5\n", "not a number");
    assert_refused("HTTP/1.1", "Content-Length: -5\n", "not a number");
    assert_refused("HTTP/1.1", "Content-Length: 0x5\n", "not a number");
    assert_refused("HTTP/1.1", "Content-Length:\n", "not a number");
    assert_refused("HTTP/1.1", "Content-Length: 1 2\n", "not a number");
    assert_refused("HTTP/1.1", "Content-Length: 18446744073709551621\n", "not a number");
    assert_refused("HTTP/1.1", "Transfer-Encoding: gzip, chunked\n", "only Transfer-Encoding");
    assert_refused("HTTP/1.1", "Transfer-Encoding: identity\n", "only Transfer-Encoding");
    assert_refused("HTTP/1.1", "Transfer-Encoding:\n", "only Transfer-Encoding");
    assert_refused("HTTP/1.0", "Transfer-Encoding: chunked\n", "HTTP/1.0");
}

static void names_and_values_that_others_read_otherwise_are_refused(void **state)
{
    (void)state;
    assert_refused("HTTP/1.1", "Content-Length : 5\n", "name");
    assert_refused("HTTP/1.1", " Content-Length: 5\n", "name");
    assert_refused("HTTP/1.1", ": x\n", "name");
    assert_refused("HTTP/1.1", "Content(Length): 5\n", "name");
    assert_refused("HTTP/1.1", "X: a\rb\n", "control");
    assert_refused("HTTP/1.1", "X: a\x7f\n", "control");
    assert_refused("HTTP/1.1", "Host: a\nHost: a\n", "Host is repeated");
    assert_refused("HTTP/1.1", "Content-Type: a\nContent-Type: b\n", "Content-Type is repeated");
    assert_refused("HTTP/1.1", "Host: x\nAuthorization: Bearer a\nauthorization: Bearer b\n",
                   "Authorization is repeated");
    assert_refused("HTTP/1.2", "Host: x\n", "version");
    assert_refused("", "Host: x\n", "version");
}

static void bytes_that_were_not_handed_out_are_noticed(void **state)
{
    (void)state;
    assert_refused("HTTP/1.1", "Host: x~\nX: y\n", "NUL");
    assert_refused("HTTP/1.1", "Host: x\nX: y~\n", "NUL");
}

static void http_1_1_needs_a_host(void **state)
{
    (void)state;
    const char *why;
    assert_false(head_passes("HTTP/1.1", "X: y\n", &why));
    assert_non_null(strstr(why, "Host is missing"));
    assert_true(head_passes("HTTP/1.0", "X: y\n", &why));
}

static void an_expected_continue_is_seen_in_any_case(void **state)
{
    (void)state;
    struct mm_head head;
    mm_head_begin(&head, "HTTP/1.1");
    mm_head_add(&head, "expect", 6, "100-Continue", 12);
    assert_true(head.expects_continue);
}

static void targets_with_a_nul_or_invisible_bytes_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"/%00", "/a%00b", "/?%00", "/%",    "/%0",
                                      "/%zz", "/a b",   "/\t",   "/\x7f", "/\xc3\xa4"};
    static const char *const GOOD[] = {"/", "/healthz", "/%0a", "/%2500", "/?a=%20", "*", "https://x/y", ""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(mm_target_check(BAD[i], strlen(BAD[i]), NULL));
    for (size_t i = 0; i < MM_ARRAY_SIZE(GOOD); i++)
        assert_true(mm_target_check(GOOD[i], strlen(GOOD[i]), NULL));
}

static void the_path_of_a_target_is_found_in_both_forms(void **state)
{
    (void)state;
    assert_string_equal(mm_target_path("/a/b?c"), "/a/b?c");
    assert_string_equal(mm_target_path("https://host:1/a"), "/a");
    assert_string_equal(mm_target_path("HTTP://host/a?b"), "/a?b");
    assert_string_equal(mm_target_path("https://host"), "/");
    assert_string_equal(mm_target_path("https://host?/a"), "/");
    assert_string_equal(mm_target_path("ftp://host/a"), "ftp://host/a");
    assert_string_equal(mm_target_path("*"), "*");
}

static void only_json_in_utf_8_is_json(void **state)
{
    (void)state;
    static const char *const GOOD[] = {"application/json", "Application/JSON", "application/json;charset=utf-8",
                                       "application/json ; charset=UTF-8", "application/json; charset=\"utf-8\""};
    static const char *const BAD[] = {"",
                                      "json",
                                      "application/jsonx",
                                      "application/json; charset=latin1",
                                      "application/json;",
                                      "application/json, text/plain",
                                      "application/json; charset=utf-8; a=b",
                                      "text/json"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(GOOD); i++)
        assert_true(mm_media_type_is(GOOD[i], MM_MEDIA_TYPE_JSON));
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(mm_media_type_is(BAD[i], MM_MEDIA_TYPE_JSON));
    assert_false(mm_media_type_is(NULL, MM_MEDIA_TYPE_JSON));
}

static void an_etag_is_found_in_a_list(void **state)
{
    (void)state;
    static const char *const GOOD[] = {"\"a\"", "*", "\"b\", \"a\"", "W/\"a\"", " \"a\" ,\"b\"", ",\"a\""};
    static const char *const BAD[] = {"", "\"b\"", "a", "\"ab\"", "w/\"a\"", "W/", ",", "\"b\",", "\"a"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(GOOD); i++)
        assert_true(mm_etag_is_listed(GOOD[i], "\"a\""));
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(mm_etag_is_listed(BAD[i], "\"a\""));
    assert_false(mm_etag_is_listed(NULL, "\"a\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_heads_pass),
        cmocka_unit_test(two_readings_of_the_length_are_refused),
        cmocka_unit_test(names_and_values_that_others_read_otherwise_are_refused),
        cmocka_unit_test(bytes_that_were_not_handed_out_are_noticed),
        cmocka_unit_test(http_1_1_needs_a_host),
        cmocka_unit_test(an_expected_continue_is_seen_in_any_case),
        cmocka_unit_test(targets_with_a_nul_or_invisible_bytes_are_refused),
        cmocka_unit_test(the_path_of_a_target_is_found_in_both_forms),
        cmocka_unit_test(only_json_in_utf_8_is_json),
        cmocka_unit_test(an_etag_is_found_in_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
