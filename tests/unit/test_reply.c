/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/reply.h"

static const char REQUEST_ID[] = "0123456789abcdefABCDEF";

static json_t *problem(enum mm_code code, const char *message, struct mm_reply *ret_reply)
{
    struct mm_error err = {0};
    (void)mm_fail(&err, code, "%s", message);
    *ret_reply = mm_reply_failure(MM_ERRORS_PROBLEM, &err, REQUEST_ID, NULL);
    assert_string_equal(ret_reply->content_type, "application/problem+json");
    json_t *body = mm_json_parse(ret_reply->owned_body, strlen(ret_reply->owned_body), NULL);
    assert_non_null(body);
    return body;
}

static void a_problem_has_the_members_of_rfc_9457_a_code_and_an_id(void **state)
{
    (void)state;
    mm_cleanup(mm_reply_clear) struct mm_reply reply = {0};
    mm_cleanup(json_decref) json_t *body = problem(MM_NOT_FOUND, "x", &reply);
    assert_int_equal(reply.status, 404);
    assert_string_equal(mm_json_string(body, "type"), "about:blank");
    assert_string_equal(mm_json_string(body, "title"), "Not Found");
    assert_int_equal(mm_json_integer(body, "status", 0), 404);
    assert_string_equal(mm_json_string(body, "code"), "not_found");
    assert_string_equal(mm_json_string(body, "request_id"), REQUEST_ID);
    assert_non_null(mm_json_string(body, "detail"));
    assert_int_equal(json_object_size(body), 6);
}

/* Every code there is, those that should never get this far included. */
static void no_code_tells_its_cause_except_what_the_caller_sent(void **state)
{
    (void)state;
    static const enum mm_code CODES[] = {
#define CODE(symbol, number, wire, http, status) symbol,
        MM_ERROR_TABLE(CODE)
#undef CODE
    };
    for (size_t i = 1; i < MM_ARRAY_SIZE(CODES); i++) {
        mm_cleanup(mm_reply_clear) struct mm_reply reply = {0};
        mm_cleanup(json_decref) json_t *body = problem(CODES[i], "hunter2", &reply);
        bool is_theirs = CODES[i] == MM_INVALID_REQUEST || CODES[i] == MM_INVALID_JSON;
        assert_int_equal(strstr(reply.owned_body, "hunter2") != NULL, is_theirs);
        assert_true(reply.status >= 400);
        assert_int_equal(reply.status == 503 || reply.status == 429, reply.retry_after > 0);
        assert_true(reply.retry_after <= 5);
        assert_int_equal(reply.status == 401, reply.challenge != NULL);
        assert_int_equal(reply.cache, MM_CACHE_NEVER);
        assert_int_equal(mm_json_integer(body, "status", 0), reply.status);
    }
}

static void codes_of_one_wire_name_look_alike(void **state)
{
    (void)state;
    static const enum mm_code CODES[] = {MM_PIN_LATCHED, MM_KEY_CUSTODY, MM_SIGNATURE_INVALID, MM_HSM_UNAVAILABLE};
    mm_cleanup(mm_reply_clear) struct mm_reply first = {0};
    json_decref(problem(MM_HSM_UNAVAILABLE, "x", &first));
    for (size_t i = 0; i < MM_ARRAY_SIZE(CODES); i++) {
        mm_cleanup(mm_reply_clear) struct mm_reply reply = {0};
        json_decref(problem(CODES[i], "y", &reply));
        assert_string_equal(reply.owned_body, first.owned_body);
    }
}

static void a_code_without_a_sentence_is_an_internal_error(void **state)
{
    (void)state;
    mm_cleanup(mm_reply_clear) struct mm_reply reply = {0};
    mm_cleanup(json_decref) json_t *body = problem(MM_CONFIG_INVALID, "/etc/secret.yaml", &reply);
    assert_int_equal(reply.status, 500);
    assert_string_equal(mm_json_string(body, "code"), "internal_error");
}

static void an_operator_is_told_the_cause_and_where_it_lies(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_problems_add(&problems, "/etc/mintmark.yaml", 3, "/issuer", "is wrong");
    mm_problems_warn(&problems, NULL, 0, "", "is odd");
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_CONFIG_INVALID, "/etc/mintmark.yaml: 1 problem");
    mm_cleanup(mm_reply_clear) struct mm_reply reply = mm_reply_told_problem(&err, REQUEST_ID, &problems);
    mm_cleanup(json_decref) json_t *body = mm_json_parse(reply.owned_body, strlen(reply.owned_body), NULL);
    assert_string_equal(reply.content_type, "application/problem+json");
    assert_int_equal(reply.status, 422);
    assert_string_equal(mm_json_string(body, "code"), "config_invalid");
    assert_string_equal(mm_json_string(body, "detail"), "/etc/mintmark.yaml: 1 problem");
    const json_t *error = json_array_get(json_object_get(body, "errors"), 0);
    assert_string_equal(mm_json_string(error, "severity"), "error");
    assert_string_equal(mm_json_string(error, "file"), "/etc/mintmark.yaml");
    assert_int_equal(mm_json_integer(error, "line", 0), 3);
    assert_string_equal(mm_json_string(error, "pointer"), "/issuer");
    assert_string_equal(mm_json_string(error, "detail"), "is wrong");
    const json_t *warning = json_array_get(json_object_get(body, "errors"), 1);
    assert_string_equal(mm_json_string(warning, "severity"), "warning");
    assert_string_equal(mm_json_string(warning, "file"), "");
}

static void an_operator_is_told_every_problem(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    for (int i = 0; i < MM_PROBLEMS_MAX; i++)
        mm_problems_add(&problems, "a", i, "", "is wrong");
    struct mm_error err = {.code = MM_INVALID_REQUEST};
    mm_cleanup(mm_reply_clear) struct mm_reply reply = mm_reply_told_problem(&err, REQUEST_ID, &problems);
    mm_cleanup(json_decref) json_t *body = mm_json_parse(reply.owned_body, strlen(reply.owned_body), NULL);
    assert_int_equal(json_array_size(json_object_get(body, "errors")), MM_PROBLEMS_MAX);
}

static void problems_are_listed_up_to_a_cap_and_cut_between_characters(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    char reason[601];
    for (size_t i = 0; i < 600; i += 3)
        memcpy(reason + i, "\xe2\x82\xac", 4);
    for (int i = 0; i < 50; i++)
        mm_problems_add(&problems, NULL, 0, "/scopes/0", "%s", reason);
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_INVALID_REQUEST, "%s", reason);
    mm_cleanup(mm_reply_clear) struct mm_reply reply = mm_reply_failure(MM_ERRORS_PROBLEM, &err, REQUEST_ID, &problems);
    mm_cleanup(json_decref) json_t *body = mm_json_parse(reply.owned_body, strlen(reply.owned_body), NULL);
    const json_t *errors = json_object_get(body, "errors");
    assert_int_equal(json_array_size(errors), MM_REPLY_PROBLEMS_MAX);
    const json_t *first = json_array_get(errors, 0);
    assert_string_equal(mm_json_string(first, "pointer"), "/scopes/0");
    size_t length = strlen(mm_json_string(first, "detail"));
    assert_true(length <= 200 && length > 190 && length % 3 == 0);
}

static void text_that_is_not_utf_8_still_makes_a_problem(void **state)
{
    (void)state;
    mm_cleanup(mm_reply_clear) struct mm_reply reply = {0};
    mm_cleanup(json_decref) json_t *body = problem(MM_INVALID_JSON, "bad \xff byte", &reply);
    assert_string_equal(mm_json_string(body, "code"), "invalid_json");
}

/* --- OAuth */

static json_t *oauth_error(enum mm_code code, const char *message, struct mm_reply *ret_reply)
{
    struct mm_error err = {0};
    (void)mm_fail(&err, code, "%s", message);
    *ret_reply = mm_reply_failure(MM_ERRORS_OAUTH, &err, REQUEST_ID, NULL);
    assert_string_equal(ret_reply->content_type, "application/json");
    assert_int_equal(ret_reply->cache, MM_CACHE_OAUTH);
    json_t *body = mm_json_parse(ret_reply->owned_body, strlen(ret_reply->owned_body), NULL);
    assert_int_equal(json_object_size(body), 2);
    return body;
}

static void oauths_errors_have_its_names_and_its_statuses(void **state)
{
    (void)state;
    static const struct {
        enum mm_code code;
        const char *error;
        unsigned status;
    } CASES[] = {
        {MM_INVALID_REQUEST, "invalid_request", 400},
        {MM_METHOD_NOT_ALLOWED, "invalid_request", 405},
        {MM_BODY_TOO_LARGE, "invalid_request", 413},
        {MM_UNSUPPORTED_MEDIA_TYPE, "invalid_request", 415},
        {MM_HEADERS_TOO_LARGE, "invalid_request", 431},
        {MM_UNSUPPORTED_GRANT_TYPE, "unsupported_grant_type", 400},
        {MM_UNSUPPORTED_RESPONSE_TYPE, "unsupported_response_type", 400},
        {MM_CERTIFICATE_REQUIRED, "invalid_client", 401},
        {MM_CERTIFICATE_INVALID, "invalid_client", 401},
        {MM_ACCESS_DENIED, "invalid_client", 401},
        {MM_CREDENTIAL_AMBIGUOUS, "invalid_client", 401},
        {MM_INVALID_SCOPE, "invalid_scope", 400},
        {MM_SCOPE_NOT_GRANTED, "invalid_scope", 400},
        {MM_NO_SINGLE_GRANT, "invalid_scope", 400},
        {MM_INVALID_TARGET, "invalid_target", 400},
        {MM_RESOURCE_NOT_GRANTED, "invalid_target", 400},
        {MM_AUDIENCE_NOT_GRANTED, "invalid_target", 400},
        {MM_TTL_TOO_LONG, "invalid_request", 400},
        {MM_OVERLOADED, "temporarily_unavailable", 503},
        {MM_SHUTTING_DOWN, "temporarily_unavailable", 503},
        {MM_PIN_LATCHED, "temporarily_unavailable", 503},
        {MM_NO_MEMORY, "server_error", 500},
        {MM_CONFIG_INVALID, "server_error", 500},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(mm_reply_clear) struct mm_reply reply = {0};
        mm_cleanup(json_decref) json_t *body = oauth_error(CASES[i].code, "hunter2", &reply);
        assert_string_equal(mm_json_string(body, "error"), CASES[i].error);
        assert_int_equal(reply.status, CASES[i].status);
        assert_int_equal(reply.status == 401, reply.challenge != NULL);
        assert_int_equal(reply.status == 503, reply.retry_after > 0);
        assert_int_equal(strstr(reply.owned_body, "hunter2") != NULL, CASES[i].code == MM_INVALID_REQUEST);
    }
}

static void a_description_has_only_the_characters_that_oauth_allows(void **state)
{
    (void)state;
    mm_cleanup(mm_reply_clear) struct mm_reply reply = {0};
    mm_cleanup(json_decref) json_t *body = oauth_error(MM_INVALID_REQUEST, "a \"b\\c\x01\x7f\xe2\x82\xac\xff~", &reply);
    assert_string_equal(mm_json_string(body, "error_description"), "a 'b?c????~");
    char longest[400];
    (void)snprintf(longest, sizeof longest, "%0399d", 7);
    mm_cleanup(mm_reply_clear) struct mm_reply cut = {0};
    mm_cleanup(json_decref) json_t *short_body = oauth_error(MM_INVALID_REQUEST, longest, &cut);
    assert_int_equal(strlen(mm_json_string(short_body, "error_description")), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_has_the_members_of_rfc_9457_a_code_and_an_id),
        cmocka_unit_test(no_code_tells_its_cause_except_what_the_caller_sent),
        cmocka_unit_test(codes_of_one_wire_name_look_alike),
        cmocka_unit_test(a_code_without_a_sentence_is_an_internal_error),
        cmocka_unit_test(an_operator_is_told_the_cause_and_where_it_lies),
        cmocka_unit_test(an_operator_is_told_every_problem),
        cmocka_unit_test(problems_are_listed_up_to_a_cap_and_cut_between_characters),
        cmocka_unit_test(text_that_is_not_utf_8_still_makes_a_problem),
        cmocka_unit_test(oauths_errors_have_its_names_and_its_statuses),
        cmocka_unit_test(a_description_has_only_the_characters_that_oauth_allows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
