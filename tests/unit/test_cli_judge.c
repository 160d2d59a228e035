/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1790000000 };

#define ISSUER "https://mint.example.com"

static const char HEADER[] = "{\"typ\":\"at+jwt\"}";

static bool judge(const char *header, const char *claims, const char *issuer, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *header_json = mm_json_parse(header, strlen(header), NULL);
    mm_cleanup(json_decref) json_t *claims_json = mm_json_parse(claims, strlen(claims), NULL);
    assert_non_null(header_json);
    assert_non_null(claims_json);
    return mm_claims_judge(header_json, claims_json, issuer, NOW, err);
}

static void assert_holds(const char *header, const char *claims, const char *issuer)
{
    struct mm_error err = {0};
    assert_true(judge(header, claims, issuer, &err));
    assert_int_equal(err.code, MM_OK);
}

static void assert_refused(const char *header, const char *claims, const char *issuer, const char *reason)
{
    struct mm_error err = {0};
    assert_false(judge(header, claims, issuer, &err));
    assert_int_equal(err.code, MM_TOKEN_INVALID);
    assert_non_null(strstr(err.message, reason));
}

static void a_fresh_token_holds(void **state)
{
    (void)state;
    assert_holds(HEADER, "{\"iss\":\"" ISSUER "\",\"iat\":1790000000,\"exp\":1790000001}", ISSUER);
    assert_holds(HEADER, "{\"iat\":1790000060,\"nbf\":1790000060,\"exp\":1790000900}", NULL);
}

static void a_token_holds_until_the_second_of_its_end(void **state)
{
    (void)state;
    assert_refused(HEADER, "{\"iat\":1789999000,\"exp\":1790000000}", NULL, "expired");
    assert_refused(HEADER, "{\"iat\":1789999000,\"exp\":0}", NULL, "expired");
}

static void a_token_from_the_future_is_refused(void **state)
{
    (void)state;
    assert_refused(HEADER, "{\"iat\":1790000061,\"exp\":1790000900}", NULL, "future");
    assert_refused(HEADER, "{\"iat\":1790000000,\"nbf\":1790000061,\"exp\":1790000900}", NULL, "future");
}

static void times_that_are_not_whole_numbers_are_refused(void **state)
{
    (void)state;
    static const char *const CLAIMS[] = {
        "{}",
        "{\"exp\":1790000900}",
        "{\"iat\":1790000000}",
        "{\"iat\":1790000000,\"exp\":1790000900.0}",
        "{\"iat\":1790000000,\"exp\":\"1790000900\"}",
        "{\"iat\":null,\"exp\":1790000900}",
        "{\"iat\":1790000000,\"nbf\":\"now\",\"exp\":1790000900}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CLAIMS); i++)
        assert_refused(HEADER, CLAIMS[i], NULL, "whole number");
}

static void another_issuer_is_refused(void **state)
{
    (void)state;
    static const char *const OTHERS[] = {"\"" ISSUER "/\"", "\"https://mint.example.co\"", "\"\"", "7", "null"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++) {
        char claims[160];
        (void)snprintf(claims, sizeof claims, "{\"iss\":%s,\"iat\":1790000000,\"exp\":1790000900}", OTHERS[i]);
        assert_refused(HEADER, claims, ISSUER, "iss isn't");
        assert_holds(HEADER, claims, NULL);
    }
    assert_refused(HEADER, "{\"iat\":1790000000,\"exp\":1790000900}", ISSUER, "iss isn't");
}

static void only_access_tokens_are_accepted(void **state)
{
    (void)state;
    static const char CLAIMS[] = "{\"iat\":1790000000,\"exp\":1790000900}";
    assert_holds("{\"typ\":\"application/at+JWT\"}", CLAIMS, NULL);
    static const char *const HEADERS[] = {"{}", "{\"typ\":\"JWT\"}", "{\"typ\":\"statuslist+jwt\"}", "{\"typ\":1}",
                                          "{\"typ\":\"at+jwt \"}"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADERS); i++)
        assert_refused(HEADERS[i], CLAIMS, NULL, "typ isn't at+jwt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_token_holds),
        cmocka_unit_test(a_token_holds_until_the_second_of_its_end),
        cmocka_unit_test(a_token_from_the_future_is_refused),
        cmocka_unit_test(times_that_are_not_whole_numbers_are_refused),
        cmocka_unit_test(another_issuer_is_refused),
        cmocka_unit_test(only_access_tokens_are_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
