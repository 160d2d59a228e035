/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload of an access token, member by member.
 */
#include "token/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct mm_claims sample(void)
{
    static const char *const AUDIENCES[] = {"lore.acme.example"};
    static const char *const SCOPES[] = {"read:repo", "read:blob"};
    static const char *const RESOURCES[] = {"urc-0194b726b34e72b0b45550b88a967076"};
    return (struct mm_claims){
        .issuer = "https://mint.example.com",
        .identity = "acme/ci-build",
        .name = "Acme build farm",
        .env = "production",
        .tenant_id = "acme",
        .audiences = AUDIENCES,
        .n_audiences = 1,
        .scopes = SCOPES,
        .n_scopes = 2,
        .resources = RESOURCES,
        .n_resources = 1,
        .issued_at = 1800000000,
        .expires_at = 1800000600,
        .jti = "AAAAAAAAAAAAAAAAAAAAAA",
    };
}

static char *payload_text(const struct mm_claims *claims, struct mm_error *err)
{
    mm_cleanup(free) char *resources = mm_claims_resources(claims, err);
    return resources ? mm_claims_payload(claims, resources, err) : NULL;
}

static json_t *built(const struct mm_claims *claims)
{
    struct mm_error err = {0};
    mm_cleanup(free) char *text = payload_text(claims, &err);
    assert_string_equal(err.message, "");
    json_t *payload = mm_json_parse(text, strlen(text), &err);
    assert_non_null(payload);
    return payload;
}

static void assert_member(const json_t *payload, const char *name, const char *expected)
{
    struct mm_error err = {0};
    mm_cleanup(free) char *text = mm_json_compact(json_object_get(payload, name), &err);
    assert_string_equal(text, expected);
}

static void payload_holds_every_claim_in_order(void **state)
{
    (void)state;
    struct mm_claims claims = sample();
    struct mm_error err = {0};
    mm_cleanup(free) char *text = payload_text(&claims, &err);
    assert_string_equal(text,
                        "{\"iss\":\"https://mint.example.com\",\"sub\":\"acme/ci-build\",\"aud\":\"lore.acme.example\","
                        "\"client_id\":\"acme/ci-build\",\"iat\":1800000000,\"exp\":1800000600,"
                        "\"jti\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"scope\":\"read:repo read:blob\",\"tenant_id\":\"acme\","
                        "\"env\":\"production\",\"name\":\"Acme build farm\",\"preferred_username\":\"acme/ci-build\","
                        "\"idp\":\"mintmark\",\"is_service_account\":false,\"resources\":[{\"resource_id\":"
                        "\"urc-0194b726b34e72b0b45550b88a967076\",\"permission\":[\"read\"]}]}");
}

static void a_token_for_somebody_else_names_both(void **state)
{
    (void)state;
    static const char *const DOMAINS[] = {"lore.acme.example", "cache.acme.example"};
    const struct mm_claims_subject subject = {"https://idp#ada", "ada", "https://idp",
                                              "{\"sub\":\"acme/deploy\",\"act\":{\"sub\":\"acme/ci\"}}"};
    struct mm_claims claims = sample();
    claims.subject = &subject;
    claims.name = "Ada";
    claims.root_domains = DOMAINS;
    claims.n_root_domains = 2;
    mm_cleanup(json_decref) json_t *payload = built(&claims);
    assert_member(payload, "sub", "\"https://idp#ada\"");
    assert_member(payload, "client_id", "\"acme/ci-build\"");
    assert_member(payload, "preferred_username", "\"ada\"");
    assert_member(payload, "name", "\"Ada\"");
    assert_member(payload, "idp", "\"https://idp\"");
    assert_member(payload, "act", subject.actor);
    assert_member(payload, "root_domains", "[\"lore.acme.example\",\"cache.acme.example\"]");
}

static void a_binding_to_a_certificate_is_said_only_when_set(void **state)
{
    (void)state;
    struct mm_claims claims = sample();
    mm_cleanup(json_decref) json_t *plain = built(&claims);
    assert_null(json_object_get(plain, "cnf"));
    claims.certificate = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg4";
    mm_cleanup(json_decref) json_t *bound = built(&claims);
    assert_member(bound, "cnf", "{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg4\"}");
}

static void service_account_is_said_only_when_set(void **state)
{
    (void)state;
    struct mm_claims claims = sample();
    claims.is_service_account = true;
    mm_cleanup(json_decref) json_t *payload = built(&claims);
    assert_member(payload, "is_service_account", "true");
}

static void several_audiences_make_an_array(void **state)
{
    (void)state;
    static const char *const AUDIENCES[] = {"b.example", "a.example"};
    struct mm_claims claims = sample();
    claims.audiences = AUDIENCES;
    claims.n_audiences = 2;
    mm_cleanup(json_decref) json_t *payload = built(&claims);
    assert_member(payload, "aud", "[\"b.example\",\"a.example\"]");
}

static void permission_lists_each_action_once(void **state)
{
    (void)state;
    static const char *const SCOPES[] = {"read:repo", "presign:blob", "read:blob", "readx:repo"};
    static const char *const RESOURCES[] = {"urc-a", "urc-*"};
    struct mm_claims claims = sample();
    claims.scopes = SCOPES;
    claims.n_scopes = 4;
    claims.resources = RESOURCES;
    claims.n_resources = 2;
    mm_cleanup(json_decref) json_t *payload = built(&claims);
    assert_member(payload, "scope", "\"read:repo presign:blob read:blob readx:repo\"");
    assert_member(payload, "resources",
                  "[{\"resource_id\":\"urc-a\",\"permission\":[\"read\",\"presign\",\"readx\"]},"
                  "{\"resource_id\":\"urc-*\",\"permission\":[\"read\",\"presign\",\"readx\"]}]");
}

static void no_resource_makes_an_empty_array(void **state)
{
    (void)state;
    struct mm_claims claims = sample();
    claims.n_resources = 0;
    mm_cleanup(json_decref) json_t *payload = built(&claims);
    assert_member(payload, "resources", "[]");
}

static void times_beyond_2038_stay_integers(void **state)
{
    (void)state;
    struct mm_claims claims = sample();
    claims.expires_at = 9007199254740993; /* a double can't hold it */
    mm_cleanup(json_decref) json_t *payload = built(&claims);
    assert_member(payload, "exp", "9007199254740993");
}

static void quotes_in_a_name_cannot_break_out(void **state)
{
    (void)state;
    struct mm_claims claims = sample();
    claims.name = "x\",\"is_service_account\":true,\"y\":\"";
    mm_cleanup(json_decref) json_t *payload = built(&claims);
    assert_member(payload, "is_service_account", "false");
    assert_int_equal(json_object_size(payload), 15);
}

static void malformed_scope_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"read", "", ":repo", "read:repo write:repo", " read:repo"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        struct mm_claims claims = sample();
        claims.scopes = &BAD[i];
        claims.n_scopes = 1;
        struct mm_error err = {0};
        assert_null(payload_text(&claims, &err));
        assert_int_equal(err.code, MM_INTERNAL);
    }
}

static void text_that_is_not_utf_8_is_refused(void **state)
{
    (void)state;
    struct mm_claims claims = sample();
    claims.name = "\xff";
    struct mm_error err = {0};
    assert_null(payload_text(&claims, &err));
    assert_int_not_equal(err.code, MM_OK);
}

static bool fill_with_ones(void *context, void *out, size_t length)
{
    memset(out, 0xff, length);
    *(size_t *)context = length;
    return true;
}

static bool have_no_entropy(void *context, void *out, size_t length)
{
    (void)context;
    (void)out;
    (void)length;
    return false;
}

static void jti_is_the_time_and_128_random_bits(void **state)
{
    (void)state;
    size_t n_asked = 0;
    const struct mm_random ones = {fill_with_ones, &n_asked};
    char jti[MM_JTI_LENGTH + 1];
    struct mm_error err = {0};
    assert_true(mm_jti_make(&ones, 0x010203040506, jti, &err));
    assert_int_equal(n_asked, 16);
    assert_string_equal(jti, "AQIDBAUG_____________________w");
    char other[MM_JTI_LENGTH + 1];
    assert_true(mm_jti_make(&MM_SYSTEM_RANDOM, 1, jti, &err));
    assert_true(mm_jti_make(&MM_SYSTEM_RANDOM, 1, other, &err));
    assert_string_not_equal(jti, other);
}

static void without_entropy_there_is_no_jti(void **state)
{
    (void)state;
    const struct mm_random empty = {have_no_entropy, NULL};
    char jti[MM_JTI_LENGTH + 1] = "unchanged";
    struct mm_error err = {0};
    assert_false(mm_jti_make(&empty, 1, jti, &err));
    assert_int_equal(err.code, MM_INTERNAL);
    assert_string_equal(jti, "unchanged");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payload_holds_every_claim_in_order),
        cmocka_unit_test(service_account_is_said_only_when_set),
        cmocka_unit_test(several_audiences_make_an_array),
        cmocka_unit_test(permission_lists_each_action_once),
        cmocka_unit_test(no_resource_makes_an_empty_array),
        cmocka_unit_test(times_beyond_2038_stay_integers),
        cmocka_unit_test(quotes_in_a_name_cannot_break_out),
        cmocka_unit_test(malformed_scope_is_refused),
        cmocka_unit_test(text_that_is_not_utf_8_is_refused),
        cmocka_unit_test(jti_is_the_time_and_128_random_bits),
        cmocka_unit_test(without_entropy_there_is_no_jti),
        cmocka_unit_test(a_token_for_somebody_else_names_both),
        cmocka_unit_test(a_binding_to_a_certificate_is_said_only_when_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
