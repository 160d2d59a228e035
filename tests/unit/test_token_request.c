/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/token_request.h"

/* MM_OK, or why the body was refused; the pointer of its first problem goes to `ret_pointer`. */
static enum mm_code parse(const char *body, char *ret_pointer)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request request = {0};
    struct mm_error err = {0};
    if (mm_service_token_request_parse(body, strlen(body), &request, &problems, &err))
        return MM_OK;
    (void)snprintf(ret_pointer, 64, "%s", problems.n > 0 ? problems.items[0].path : "-");
    return err.code;
}

static void a_full_request_is_taken_apart(void **state)
{
    (void)state;
    static const char BODY[] =
        "{\"tenant_id\":\"acme\",\"scopes\":[\"read:repo\",\"read:blob\"],\"resource_id\":\"urc-1\","
        "\"audience\":\"https://lore.acme.example/\",\"ttl_seconds\":300,\"certificate_bound\":true}";
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request request = {0};
    assert_true(mm_service_token_request_parse(BODY, strlen(BODY), &request, &problems, NULL));
    assert_string_equal(request.tenant_id, "acme");
    assert_int_equal(request.token.n_scopes, 2);
    assert_string_equal(request.token.scopes[0], "read:repo");
    assert_string_equal(request.token.scopes[1], "read:blob");
    assert_string_equal(request.token.resource_id, "urc-1");
    assert_string_equal(request.token.audience, "https://lore.acme.example/");
    assert_int_equal(request.token.ttl, 300);
    assert_true(request.token.is_bound);
}

static void what_may_be_left_out_is_left_out(void **state)
{
    (void)state;
    static const char BODY[] = "{\"tenant_id\":\"acme\",\"scopes\":[\"read:repo\"]}";
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request request = {0};
    assert_true(mm_service_token_request_parse(BODY, strlen(BODY), &request, &problems, NULL));
    assert_null(request.token.resource_id);
    assert_null(request.token.audience);
    assert_int_equal(request.token.ttl, 0);
    assert_false(request.token.is_bound);
}

/* A good request with one member in place of another, or added. */
static void assert_member_refused(const char *member, const char *pointer)
{
    static const struct {
        const char *name;
        const char *text;
    } GOOD[] = {{"\"tenant_id\"", "\"tenant_id\":\"acme\""}, {"\"scopes\"", "\"scopes\":[\"read:repo\"]"}};
    char body[4096];
    int length = snprintf(body, sizeof body, "{%s", member);
    for (size_t i = 0; i < MM_ARRAY_SIZE(GOOD); i++) {
        if (strncmp(member, GOOD[i].name, strlen(GOOD[i].name)) != 0)
            length += snprintf(body + length, sizeof body - (size_t)length, ",%s", GOOD[i].text);
    }
    (void)snprintf(body + length, sizeof body - (size_t)length, "}");
    char found[64] = "";
    if (parse(body, found) != MM_INVALID_REQUEST)
        fail_msg("let through: %s", body);
    assert_string_equal(found, pointer);
}

static void wrong_members_are_refused_by_pointer(void **state)
{
    (void)state;
    assert_member_refused("\"tenant_id\":null", "/tenant_id");
    assert_member_refused("\"tenant_id\":\"\"", "/tenant_id");
    assert_member_refused("\"tenant_id\":\"a b\"", "/tenant_id");
    assert_member_refused("\"tenant_id\":7", "/tenant_id");
    assert_member_refused("\"scopes\":[]", "/scopes");
    assert_member_refused("\"scopes\":\"read:repo\"", "/scopes");
    assert_member_refused("\"scopes\":[\"\"]", "/scopes/0");
    assert_member_refused("\"scopes\":[\"read:repo\",7]", "/scopes/1");
    assert_member_refused("\"scopes\":[\"read:repo read:blob\"]", "/scopes/0");
    assert_member_refused("\"scopes\":[\"a:b\",\"c:d\",\"a:b\"]", "/scopes/2");
    assert_member_refused("\"resource_id\":\"urc-*\"", "/resource_id");
    assert_member_refused("\"resource_id\":\"\"", "/resource_id");
    assert_member_refused("\"resource_id\":\"\\u00e4\"", "/resource_id");
    assert_member_refused("\"resource_id\":null", "/resource_id");
    assert_member_refused("\"ttl_seconds\":0", "/ttl_seconds");
    assert_member_refused("\"ttl_seconds\":-1", "/ttl_seconds");
    assert_member_refused("\"ttl_seconds\":300.0", "/ttl_seconds");
    assert_member_refused("\"ttl_seconds\":\"300\"", "/ttl_seconds");
    assert_member_refused("\"ttl_seconds\":true", "/ttl_seconds");
    assert_member_refused("\"ttl_seconds\":9223372036854775807", "/ttl_seconds");
    assert_member_refused("\"certificate_bound\":\"required\"", "/certificate_bound");
    assert_member_refused("\"certificate_bound\":1", "/certificate_bound");
    assert_member_refused("\"audience\":[\"a\"]", "/audience");
    assert_member_refused("\"audience\":\"\"", "/audience");
    assert_member_refused("\"comment\":\"x\"", "/comment");
}

static void too_many_scopes_are_refused(void **state)
{
    (void)state;
    for (size_t n = MM_SCOPES_MAX; n <= MM_SCOPES_MAX + 1; n++) {
        char body[4096];
        int length = snprintf(body, sizeof body, "{\"tenant_id\":\"acme\",\"scopes\":[");
        for (size_t i = 0; i < n; i++)
            length += snprintf(body + length, sizeof body - (size_t)length, "%s\"read:k%zu\"", i ? "," : "", i);
        (void)snprintf(body + length, sizeof body - (size_t)length, "]}");
        char pointer[64];
        assert_int_equal(parse(body, pointer), n == MM_SCOPES_MAX ? MM_OK : MM_INVALID_REQUEST);
    }
}

static void what_is_not_one_json_object_is_refused(void **state)
{
    (void)state;
    char pointer[64];
    assert_int_equal(parse("", pointer), MM_INVALID_JSON);
    assert_int_equal(parse("{", pointer), MM_INVALID_JSON);
    assert_int_equal(parse("{}{}", pointer), MM_INVALID_JSON);
    assert_int_equal(parse("{\"tenant_id\":\"a\",\"tenant_id\":\"b\",\"scopes\":[\"a:b\"]}", pointer), MM_INVALID_JSON);
    assert_int_equal(parse("[]", pointer), MM_INVALID_REQUEST);
    assert_int_equal(parse("null", pointer), MM_INVALID_REQUEST);
    assert_int_equal(parse("{}", pointer), MM_INVALID_REQUEST);
}

static void every_problem_is_listed_not_the_first_only(void **state)
{
    (void)state;
    static const char BODY[] = "{\"scopes\":[],\"ttl_seconds\":1.5,\"x\":1}";
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request request = {0};
    assert_false(mm_service_token_request_parse(BODY, strlen(BODY), &request, &problems, NULL));
    assert_int_equal(problems.n, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_request_is_taken_apart),
        cmocka_unit_test(what_may_be_left_out_is_left_out),
        cmocka_unit_test(wrong_members_are_refused_by_pointer),
        cmocka_unit_test(too_many_scopes_are_refused),
        cmocka_unit_test(what_is_not_one_json_object_is_refused),
        cmocka_unit_test(every_problem_is_listed_not_the_first_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
