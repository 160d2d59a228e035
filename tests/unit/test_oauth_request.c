/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/oauth_request.h"

#define GRANT "grant_type=client_credentials"

enum { BODY_MAX = 8192 };

struct asked {
    char body[BODY_MAX];
    struct mm_oauth_request request;
};

static void asked_clear_cleanup(struct asked *asked)
{
    mm_oauth_request_clear(&asked->request);
}

static enum mm_code parse(const char *text, struct asked *asked)
{
    struct mm_error err = {0};
    (void)snprintf(asked->body, sizeof asked->body, "%s", text);
    bool is_taken = mm_oauth_request_parse(asked->body, strlen(asked->body), &asked->request, &err);
    assert_int_equal(is_taken, err.code == MM_OK);
    return err.code;
}

static void assert_code(const char *text, enum mm_code code)
{
    mm_cleanup(asked_clear) struct asked asked;
    enum mm_code found = parse(text, &asked);
    if (found != code)
        fail_msg("%s: %s instead of %s", text, mm_code_name(found), mm_code_name(code));
}

static void a_full_request_is_taken_apart(void **state)
{
    (void)state;
    mm_cleanup(asked_clear) struct asked asked;
    assert_int_equal(parse(GRANT
                           "&scope=read:repo+read%3Ablob&resource=https://lore.example/&audience=lore.example"
                           "&tenant_id=acme&client_id=acme%2Fci-build&ttl_seconds=300&certificate_bound=true&future=x",
                           &asked),
                     MM_OK);
    const struct mm_oauth_request *request = &asked.request;
    assert_string_equal(request->grant_type, "client_credentials");
    assert_int_equal(request->n_scopes, 2);
    assert_string_equal(request->scopes[0], "read:repo");
    assert_string_equal(request->scopes[1], "read:blob");
    assert_int_equal(request->target.n_uris, 1);
    assert_string_equal(request->target.uris[0], "https://lore.example/");
    assert_string_equal(request->target.audience, "lore.example");
    assert_string_equal(mm_form_value(&request->form, "tenant_id"), "acme");
    assert_string_equal(mm_form_value(&request->form, "client_id"), "acme/ci-build");
    assert_int_equal(request->ttl, 300);
    assert_true(request->is_bound);
}

static void what_may_be_left_out_is_left_out(void **state)
{
    (void)state;
    mm_cleanup(asked_clear) struct asked asked;
    assert_int_equal(
        parse(GRANT "&scope=&resource=&audience&tenant_id=&client_id=&ttl_seconds=&client_secret=&certificate_bound=",
              &asked),
        MM_OK);
    assert_int_equal(asked.request.n_scopes + asked.request.target.n_uris + asked.request.target.n_audiences, 0);
    assert_null(mm_form_value(&asked.request.form, "tenant_id"));
    assert_null(mm_form_value(&asked.request.form, "client_id"));
    assert_int_equal(asked.request.ttl, 0);
    assert_false(asked.request.is_bound);
}

static void a_request_without_a_grant_type_is_refused(void **state)
{
    (void)state;
    assert_code("", MM_INVALID_REQUEST);
    assert_code("grant_type=&scope=read:repo", MM_INVALID_REQUEST);
    assert_code("Grant_type=client_credentials", MM_INVALID_REQUEST);
    assert_code("{\"grant_type\":\"client_credentials\"}", MM_INVALID_REQUEST);
}

static void a_repeated_parameter_is_refused_even_an_unknown_one(void **state)
{
    (void)state;
    assert_code(GRANT "&" GRANT, MM_INVALID_REQUEST);
    assert_code(GRANT "&scope=read:repo&scope=read:repo", MM_INVALID_REQUEST);
    assert_code(GRANT "&scope=read:repo&sc%6fpe=read:blob", MM_INVALID_REQUEST);
    assert_code(GRANT "&client_id=a&client_id=a", MM_INVALID_REQUEST);
    assert_code(GRANT "&future=a&future=b", MM_INVALID_REQUEST);
    assert_code(GRANT "&scope=&scope=read:repo", MM_OK);
}

static void a_repeated_scope_counts_once(void **state)
{
    (void)state;
    mm_cleanup(asked_clear) struct asked asked;
    assert_int_equal(parse(GRANT "&scope=read:repo+read:blob+read:repo", &asked), MM_OK);
    assert_int_equal(asked.request.n_scopes, 2);
}

static void a_malformed_scope_is_refused(void **state)
{
    (void)state;
    static const char *const SCOPES[] = {
        "+",
        "+read:repo",
        "read:repo+",
        "read:repo++read:blob",
        "read:repo%09read:blob",
        "read:repo%0A",
        "%22read:repo%22",
        "read:repo%5C",
        "read:rep%D0%BE",
        "%EF%BB%BFread:repo",
        "read:repo%C2%A0read:blob",
        "%7F",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(SCOPES); i++) {
        char text[256];
        (void)snprintf(text, sizeof text, GRANT "&scope=%s", SCOPES[i]);
        assert_code(text, MM_INVALID_SCOPE);
    }
}

static void scopes_are_bounded_in_number_and_length(void **state)
{
    (void)state;
    for (size_t n = MM_SCOPES_MAX; n <= MM_SCOPES_MAX + 1; n++) {
        char text[1024] = GRANT "&scope=";
        for (size_t i = 0; i < n; i++) {
            size_t end = strlen(text);
            (void)snprintf(text + end, sizeof text - end, "%sread:k%zu", i ? "+" : "", i);
        }
        assert_code(text, n == MM_SCOPES_MAX ? MM_OK : MM_INVALID_SCOPE);
    }
    for (size_t n = MM_SCOPE_LENGTH_MAX; n <= MM_SCOPE_LENGTH_MAX + 1; n++) {
        char text[256];
        (void)snprintf(text, sizeof text, GRANT "&scope=%0*d", (int)n, 7);
        assert_code(text, n == MM_SCOPE_LENGTH_MAX ? MM_OK : MM_INVALID_SCOPE);
    }
}

static void more_targets_than_a_token_has_are_refused(void **state)
{
    (void)state;
    assert_code(GRANT "&resource=a:b&resource=c:d", MM_OK);
    assert_code(GRANT "&resource=a:b&resource=c:d&resource=e:f", MM_INVALID_TARGET);
    assert_code(GRANT "&audience=a&audience=a", MM_INVALID_TARGET);
}

static void a_lifetime_is_plain_digits_within_bounds(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "0",      "-1",     "%2B1", "+1", "01", "1.0", "1e3", "0x10", "1s", "31622401", "999999999999999999999",
        "%D9%A1", "300%20", "NaN"};
    assert_code(GRANT "&ttl_seconds=1", MM_OK);
    assert_code(GRANT "&ttl_seconds=31622400", MM_OK);
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        char text[128];
        (void)snprintf(text, sizeof text, GRANT "&ttl_seconds=%s", BAD[i]);
        assert_code(text, MM_INVALID_REQUEST);
    }
}

static void binding_is_asked_for_in_one_spelling(void **state)
{
    (void)state;
    static const char *const BAD[] = {"TRUE", "1", "yes", "required", "true+", "truefalse"};
    mm_cleanup(asked_clear) struct asked asked;
    assert_int_equal(parse(GRANT "&certificate_bound=false", &asked), MM_OK);
    assert_false(asked.request.is_bound);
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        char text[128];
        (void)snprintf(text, sizeof text, GRANT "&certificate_bound=%s", BAD[i]);
        assert_code(text, MM_INVALID_REQUEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_request_is_taken_apart),
        cmocka_unit_test(what_may_be_left_out_is_left_out),
        cmocka_unit_test(a_request_without_a_grant_type_is_refused),
        cmocka_unit_test(a_repeated_parameter_is_refused_even_an_unknown_one),
        cmocka_unit_test(a_repeated_scope_counts_once),
        cmocka_unit_test(a_malformed_scope_is_refused),
        cmocka_unit_test(scopes_are_bounded_in_number_and_length),
        cmocka_unit_test(more_targets_than_a_token_has_are_refused),
        cmocka_unit_test(a_lifetime_is_plain_digits_within_bounds),
        cmocka_unit_test(binding_is_asked_for_in_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
