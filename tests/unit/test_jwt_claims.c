/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claims of a JWT that somebody else signed, its signature verified: what they must say to be believed, to the second.
 */
#include "token/jwt_claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ISSUER "https://ci.acme.example"
#define MINT   "https://mint.example.com"
#define NOW    1790000000

static const char *const AUDIENCES[] = {MINT, "mint", NULL};

static const struct mm_jwt_rules RULES = {.issuer = ISSUER, .audiences = AUDIENCES, .leeway = MM_JWT_LEEWAY};

static bool check(const char *payload, const struct mm_jwt_rules *rules, struct mm_jwt_claims *ret_claims,
                  struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *json = mm_json_parse(payload, strlen(payload), NULL);
    assert_non_null(json);
    bool holds = mm_jwt_claims_check(json, rules, NOW, ret_claims, err);
    assert_int_equal(err->code, holds ? MM_OK : MM_TOKEN_INVALID);
    return holds;
}

static void assert_holds_under(const char *payload, const struct mm_jwt_rules *rules)
{
    struct mm_jwt_claims claims;
    struct mm_error err = {0};
    if (!check(payload, rules, &claims, &err))
        fail_msg("%s: %s", payload, err.message);
}

static void assert_refused_under(const char *payload, const struct mm_jwt_rules *rules, const char *reason)
{
    struct mm_jwt_claims claims = {.issuer = "as it was"};
    struct mm_error err = {0};
    if (check(payload, rules, &claims, &err))
        fail_msg("%s holds", payload);
    if (!strstr(err.message, reason))
        fail_msg("%s: %s", payload, err.message);
    assert_string_equal(claims.issuer, "as it was");
}

/* A payload with good `iss` and `aud`, and with `more`. */
static void assert_refused(const char *more, const char *reason)
{
    char payload[4096];
    (void)snprintf(payload, sizeof payload, "{\"iss\":\"" ISSUER "\",\"aud\":\"" MINT "\",%s}", more);
    assert_refused_under(payload, &RULES, reason);
}

static void assert_holds(const char *more)
{
    char payload[4096];
    (void)snprintf(payload, sizeof payload, "{\"iss\":\"" ISSUER "\",\"aud\":\"" MINT "\",%s}", more);
    assert_holds_under(payload, &RULES);
}

static void claims_come_back_typed(void **state)
{
    (void)state;
    static const char PAYLOAD[] =
        "{\"iss\":\"" ISSUER "\",\"aud\":[\"" MINT "\"],\"sub\":\"repo:acme/app\",\"jti\":\"j-1\","
        "\"exp\":1790000300,\"nbf\":1789999999.25,\"iat\":1.79e9,\"repository_id\":\"4711\"}";
    mm_cleanup(json_decref) json_t *json = mm_json_parse(PAYLOAD, strlen(PAYLOAD), NULL);
    struct mm_jwt_claims claims;
    assert_true(mm_jwt_claims_check(json, &RULES, NOW, &claims, NULL));
    assert_ptr_equal(claims.all, json);
    assert_string_equal(claims.issuer, ISSUER);
    assert_string_equal(claims.subject, "repo:acme/app");
    assert_string_equal(claims.id, "j-1");
    assert_int_equal(claims.expires_at, 1790000300);
    assert_int_equal(claims.not_before, 1790000000);
    assert_int_equal(claims.issued_at, 1790000000);
}

static void claims_that_are_not_there_are_said_not_to_be(void **state)
{
    (void)state;
    struct mm_jwt_rules rules = RULES;
    rules.expiry = MM_EXPIRY_OPTIONAL;
    mm_cleanup(json_decref) json_t *json = json_pack("{ss ss}", "iss", ISSUER, "aud", MINT);
    struct mm_jwt_claims claims;
    assert_true(mm_jwt_claims_check(json, &rules, NOW, &claims, NULL));
    assert_null(claims.subject);
    assert_null(claims.id);
    assert_int_equal(claims.expires_at, MM_NO_TIME);
    assert_int_equal(claims.not_before, MM_NO_TIME);
    assert_int_equal(claims.issued_at, MM_NO_TIME);
}

static void issuer_is_exactly_the_one_expected(void **state)
{
    (void)state;
    static const char *const OTHERS[] = {
        "\"https://ci.acme.example/\"",
        "\"https://ci.acme.exampl\"",
        "\"https://CI.acme.example\"",
        "\"http://ci.acme.example\"",
        "\" https://ci.acme.example\"",
        "\"https://ci.acme.example\\n\"",
        "\"https://ci.acm\\u0435.example\"",  /* Cyrillic */
        "\"https://ci\\uff0eacme.example\"",  /* a full-width full stop */
        "\"https://ci.acme.example\\u200b\"", /* a zero-width space */
        "\"https:\\/\\/ci.acme.exa\\u00ad\"", /* a soft hyphen */
        "\"\"",
        "[\"https://ci.acme.example\"]",
        "{\"iss\":\"https://ci.acme.example\"}",
        "null",
        "1",
        "true",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++) {
        char payload[256];
        (void)snprintf(payload, sizeof payload, "{\"iss\":%s,\"aud\":\"" MINT "\",\"exp\":1790000300}", OTHERS[i]);
        assert_refused_under(payload, &RULES, "iss");
    }
    assert_refused_under("{\"aud\":\"" MINT "\",\"exp\":1790000300}", &RULES, "iss");
    assert_holds_under("{\"iss\":\"https:\\/\\/ci.acm\\u0065.example\",\"aud\":\"" MINT "\",\"exp\":1790000300}",
                       &RULES);
}

static const char *with_audience(const char *audience, char payload[1024])
{
    (void)snprintf(payload, 1024, "{\"iss\":\"" ISSUER "\",\"exp\":1790000300,\"aud\":%s}", audience);
    return payload;
}

static void sole_audience_is_one_of_those_and_no_other(void **state)
{
    (void)state;
    char payload[1024];
    assert_holds_under(with_audience("\"" MINT "\"", payload), &RULES);
    assert_holds_under(with_audience("[\"mint\"]", payload), &RULES);
    assert_refused_under(with_audience("[\"" MINT "\",\"other\"]", payload), &RULES, "others as well");
    assert_refused_under(with_audience("[\"mint\",\"mint\"]", payload), &RULES, "others as well");
    assert_refused_under(with_audience("\"other\"", payload), &RULES, "doesn't name");
    assert_refused_under(with_audience("\"" MINT "/\"", payload), &RULES, "doesn't name");
    assert_refused_under(with_audience("\"Mint\"", payload), &RULES, "doesn't name");
}

static void audience_among_others_is_enough_where_the_rule_says_so(void **state)
{
    (void)state;
    char payload[1024];
    struct mm_jwt_rules rules = RULES;
    rules.audience = MM_AUDIENCE_AMONG;
    assert_holds_under(with_audience("[\"other\",\"" MINT "\"]", payload), &rules);
    assert_holds_under(with_audience("\"mint\"", payload), &rules);
    assert_refused_under(with_audience("[\"other\",\"another\"]", payload), &rules, "doesn't name");
    assert_refused_under(with_audience("[\"" MINT "\",7]", payload), &rules, "list of such");
    assert_refused_under(with_audience("[\"" MINT "\",[\"x\"]]", payload), &rules, "list of such");
    assert_refused_under(with_audience("[\"\",\"" MINT "\"]", payload), &rules, "list of such");
}

static void audience_of_no_or_another_type_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"[]", "\"\"", "null", "1", "{\"0\":\"mint\"}", "[[\"mint\"]]", "[null]"};
    char payload[1024];
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_refused_under(with_audience(BAD[i], payload), &RULES, "aud");
    assert_refused_under("{\"iss\":\"" ISSUER "\",\"exp\":1790000300}", &RULES, "aud");
}

static void audience_has_at_most_64_values(void **state)
{
    (void)state;
    struct mm_jwt_rules rules = RULES;
    rules.audience = MM_AUDIENCE_AMONG;
    char list[1024] = "[\"mint\"";
    char payload[1200];
    for (int i = 1; i < MM_FOREIGN_AUDIENCES_MAX; i++)
        (void)strcat(list, ",\"a\"");
    (void)snprintf(payload, sizeof payload, "{\"iss\":\"" ISSUER "\",\"exp\":1790000300,\"aud\":%s]}", list);
    assert_holds_under(payload, &rules);
    (void)snprintf(payload, sizeof payload, "{\"iss\":\"" ISSUER "\",\"exp\":1790000300,\"aud\":%s,\"a\"]}", list);
    assert_refused_under(payload, &rules, "over 64");
}

static void exp_must_be_there_unless_the_rules_say_otherwise(void **state)
{
    (void)state;
    struct mm_jwt_rules rules = RULES;
    rules.expiry = MM_EXPIRY_OPTIONAL;
    static const char WITHOUT[] = "{\"iss\":\"" ISSUER "\",\"aud\":\"mint\"}";
    assert_refused_under(WITHOUT, &RULES, "exp is missing");
    assert_holds_under(WITHOUT, &rules);
    assert_refused_under("{\"iss\":\"" ISSUER "\",\"aud\":\"mint\",\"exp\":1}", &rules, "expired");
    assert_refused_under("{\"iss\":\"" ISSUER "\",\"aud\":\"mint\",\"exp\":null}", &rules, "exp isn't");
    rules.max_lifetime = 300;
    assert_refused_under(WITHOUT, &rules, "exp is missing");
}

static void each_time_has_60_seconds_of_leeway_and_not_one_more(void **state)
{
    (void)state;
    assert_holds("\"exp\":1789999941");
    assert_refused("\"exp\":1789999940", "expired");
    assert_holds("\"exp\":1790000300,\"nbf\":1790000060");
    assert_refused("\"exp\":1790000300,\"nbf\":1790000061", "nbf lies ahead");
    assert_holds("\"exp\":1790000300,\"iat\":1790000060");
    assert_refused("\"exp\":1790000300,\"iat\":1790000061", "iat lies ahead");
}

static void fractions_of_a_second_count(void **state)
{
    (void)state;
    assert_holds("\"exp\":1789999940.5");
    assert_holds("\"exp\":1789999940.000001");
    assert_refused("\"exp\":1789999939.999999", "expired");
    assert_refused("\"exp\":1789999940.0", "expired");
    assert_holds("\"exp\":1790000300,\"nbf\":1790000059.5");
    assert_holds("\"exp\":1790000300,\"nbf\":1790000060.0");
    assert_refused("\"exp\":1790000300,\"nbf\":1790000060.000001", "nbf");
    assert_refused("\"exp\":1790000300,\"iat\":1790000060.5", "iat");
    assert_holds("\"exp\":1.7900003e9,\"iat\":17900000000e-1");
}

static void without_leeway_a_jwt_ends_in_the_second_of_its_exp(void **state)
{
    (void)state;
    struct mm_jwt_rules rules = RULES;
    rules.leeway = 0;
    char payload[256];
    for (int late = 0; late < 2; late++) {
        (void)snprintf(payload, sizeof payload, "{\"iss\":\"" ISSUER "\",\"aud\":\"mint\",\"exp\":%d}", NOW + 1 - late);
        if (late)
            assert_refused_under(payload, &rules, "expired");
        else
            assert_holds_under(payload, &rules);
    }
}

static void a_lifetime_can_be_capped(void **state)
{
    (void)state;
    struct mm_jwt_rules rules = RULES;
    rules.max_lifetime = 300;
    assert_holds_under("{\"iss\":\"" ISSUER "\",\"aud\":\"mint\",\"exp\":1790000360}", &rules);
    assert_refused_under("{\"iss\":\"" ISSUER "\",\"aud\":\"mint\",\"exp\":1790000361}", &rules,
                         "further ahead than 300 s");
    assert_refused_under("{\"iss\":\"" ISSUER "\",\"aud\":\"mint\",\"exp\":1790000360.1}", &rules, "further ahead");
    assert_holds("\"exp\":253402300799");
}

static void times_that_are_no_seconds_from_1970_to_9999_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "-1",
        "-0.5",
        "-1e300",
        "253402300800",
        "253402300799.5",
        "9223372036854775807",
        "1e300",
        "1.7976931348623157e308",
        "\"1790000300\"",
        "null",
        "true",
        "[1790000300]",
        "{}",
        "\"\"",
    };
    static const char *const NAMES[] = {"exp", "nbf", "iat"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        for (size_t j = 0; j < MM_ARRAY_SIZE(NAMES); j++) {
            char more[128];
            (void)snprintf(more, sizeof more, "\"%s\":%s%s", NAMES[j], BAD[i], j ? ",\"exp\":1790000300" : "");
            assert_refused(more, NAMES[j]);
        }
    }
}

static void times_around_nought_are_only_long_ago(void **state)
{
    (void)state;
    static const char *const OLD[] = {"0", "-0", "-0.0", "0.5", "1e3", "1E-300", "4e-324"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(OLD); i++) {
        char more[128];
        (void)snprintf(more, sizeof more, "\"exp\":%s", OLD[i]);
        assert_refused(more, "expired");
        (void)snprintf(more, sizeof more, "\"exp\":1790000300,\"nbf\":%s,\"iat\":%s", OLD[i], OLD[i]);
        assert_holds(more);
    }
}

static void sub_and_jti_are_strings_of_1_to_1024_bytes(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"sub", "jti"};
    static const char *const BAD[] = {"\"\"", "42", "null", "[\"a\"]", "{\"a\":\"b\"}", "false"};
    char longest[MM_FOREIGN_STRING_MAX + 2] = {0};
    char more[1200];
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        for (size_t j = 0; j < MM_ARRAY_SIZE(BAD); j++) {
            (void)snprintf(more, sizeof more, "\"exp\":1790000300,\"%s\":%s", NAMES[i], BAD[j]);
            assert_refused(more, NAMES[i]);
        }
        memset(longest, 'x', MM_FOREIGN_STRING_MAX);
        longest[MM_FOREIGN_STRING_MAX] = '\0';
        (void)snprintf(more, sizeof more, "\"exp\":1790000300,\"%s\":\"%s\"", NAMES[i], longest);
        assert_holds(more);
        longest[MM_FOREIGN_STRING_MAX] = 'x';
        (void)snprintf(more, sizeof more, "\"exp\":1790000300,\"%s\":\"%s\"", NAMES[i], longest);
        assert_refused(more, NAMES[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_come_back_typed),
        cmocka_unit_test(claims_that_are_not_there_are_said_not_to_be),
        cmocka_unit_test(issuer_is_exactly_the_one_expected),
        cmocka_unit_test(sole_audience_is_one_of_those_and_no_other),
        cmocka_unit_test(audience_among_others_is_enough_where_the_rule_says_so),
        cmocka_unit_test(audience_of_no_or_another_type_is_refused),
        cmocka_unit_test(audience_has_at_most_64_values),
        cmocka_unit_test(exp_must_be_there_unless_the_rules_say_otherwise),
        cmocka_unit_test(each_time_has_60_seconds_of_leeway_and_not_one_more),
        cmocka_unit_test(fractions_of_a_second_count),
        cmocka_unit_test(without_leeway_a_jwt_ends_in_the_second_of_its_exp),
        cmocka_unit_test(a_lifetime_can_be_capped),
        cmocka_unit_test(times_that_are_no_seconds_from_1970_to_9999_are_refused),
        cmocka_unit_test(times_around_nought_are_only_long_ago),
        cmocka_unit_test(sub_and_jti_are_strings_of_1_to_1024_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
