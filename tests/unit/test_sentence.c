/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/sentence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "token/claims.h"
#include "util/base64url.h"

#define KID "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

enum { NOW = 1800000000, MAX_TTL = 900 };

static const struct mm_sentence_limits LIMITS = {.issuer = "https://mint.example.com", .max_ttl = MAX_TTL};

static bool check(const char *payload, struct mm_error *err)
{
    struct mm_bytes bytes = {payload, strlen(payload)};
    return mm_sentence_check(MM_SENTENCE_ACCESS_TOKEN, &LIMITS, bytes, NOW, err);
}

static void assert_accepted(const char *payload)
{
    struct mm_error err = {0};
    if (!check(payload, &err))
        fail_msg("%s: %s", payload, err.message);
}

/* Refused, and for the reason that is meant. */
static void assert_refused(const char *payload, const char *reason)
{
    struct mm_error err = {0};
    if (check(payload, &err))
        fail_msg("accepted: %s", payload);
    assert_int_equal(err.code, MM_SENTENCE_REFUSED);
    if (!strstr(err.message, reason))
        fail_msg("%s: refused because %s", payload, err.message);
}

#define ISS "\"iss\":\"https://mint.example.com\""

static void a_token_within_the_limits_is_accepted(void **state)
{
    (void)state;
    assert_accepted("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"sub\":\"acme/ci-build\",\"aud\":[\"A\"]}");
    assert_accepted("{" ISS ",\"iat\":1800000000,\"exp\":1800000001}");
    assert_accepted("{" ISS ",\"iat\":1799999940,\"exp\":1800000840}");
    assert_accepted("{" ISS ",\"iat\":1800000060,\"exp\":1800000960}");
    assert_accepted("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"https://lore.org/claims/root_domains\":[]}");
}

/* What needs an escape in JSON, what needs none, and what needs two in other writers. */
static void whatever_a_name_holds_the_claims_are_accepted(void **state)
{
    (void)state;
    static const char *const AUDIENCES[] = {"lore.acme.example"};
    static const char *const SCOPES[] = {"read:repo"};
    const struct mm_claims claims = {
        .issuer = "https://mint.example.com",
        .identity = "acme/ci-build",
        .name = "\"\\/\x01\b\t\n\f\r\x1f\x7f\xc3\xa9\xf0\x9f\x98\x80",
        .env = "production",
        .tenant_id = "acme",
        .audiences = AUDIENCES,
        .n_audiences = 1,
        .scopes = SCOPES,
        .n_scopes = 1,
        .issued_at = 1800000000,
        .expires_at = 1800000900,
        .jti = "AAAAAAAAAAAAAAAAAAAAAA",
    };
    mm_cleanup(free) char *resources = mm_claims_resources(&claims, NULL);
    mm_cleanup(free) char *payload = mm_claims_payload(&claims, resources, NULL);
    assert_non_null(payload);
    assert_accepted(payload);
}

static void a_token_for_somebody_elses_user_is_accepted(void **state)
{
    (void)state;
    assert_accepted(
        "{" ISS ",\"sub\":\"https://idp.acme.example/realms/acme#ada\",\"iat\":1800000000,\"exp\":1800000300,"
        "\"act\":{\"sub\":\"acme/d\",\"act\":{\"sub\":\"acme/c\",\"act\":{\"sub\":\"acme/b\",\"act\":{\"sub\":"
        "\"acme/a\"}}}},\"root_domains\":[\"lore.acme.example\"]}");
}

static void a_foreign_issuer_is_refused(void **state)
{
    (void)state;
    const char *rest = ",\"iat\":1800000000,\"exp\":1800000900}";
    const char *issuers[] = {
        "{\"iss\":\"https://evil.example.com\"",
        "{\"iss\":\"https://mint.example.com/\"",
        "{\"iss\":\"https://mint.example.co\"",
        "{\"iss\":\"HTTPS://mint.example.com\"",
        "{\"iss\":[\"https://mint.example.com\"]",
        "{\"iss\":null",
        "{\"iss\":\"\"",
        "{\"sub\":\"https://mint.example.com\"",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(issuers); i++) {
        char payload[256];
        (void)snprintf(payload, sizeof payload, "%s%s", issuers[i], rest);
        assert_refused(payload, "iss");
    }
}

/* The issuer it is, to a parser that undoes the escapes. */
static void an_issuer_in_another_spelling_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"iss\":\"https:\\/\\/mint.example.com\",\"iat\":1800000000,\"exp\":1800000900}", "escape");
    assert_refused("{\"iss\":\"https://mint\\u002eexample.com\",\"iat\":1800000000,\"exp\":1800000900}", "escape");
}

static void a_lifetime_over_the_cap_is_refused(void **state)
{
    (void)state;
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000901}", "900 s after iat");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":2115360000}", "900 s after iat");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":9223372036854775807}", "900 s after iat");
}

static void an_iat_that_is_off_is_refused(void **state)
{
    (void)state;
    assert_refused("{" ISS ",\"iat\":1799999939,\"exp\":1800000000}", "iat is more than");
    assert_refused("{" ISS ",\"iat\":1800000061,\"exp\":1800000900}", "iat is more than");
    assert_refused("{" ISS ",\"iat\":-9223372036854775808,\"exp\":1800000900}", "iat is more than");
    assert_refused("{" ISS ",\"iat\":9223372036854775807,\"exp\":9223372036854775807}", "iat is more than");
}

static void an_exp_not_after_iat_is_refused(void **state)
{
    (void)state;
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000000}", "exp isn't after");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":-9223372036854775808}", "exp isn't after");
}

static void times_that_are_no_integers_are_refused(void **state)
{
    (void)state;
    assert_refused("{" ISS ",\"iat\":1800000000}", "integers");
    assert_refused("{" ISS ",\"exp\":1800000900}", "integers");
    assert_refused("{" ISS ",\"iat\":1800000000.0,\"exp\":1800000900}", "payload");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1.8e9}", "payload");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":\"1800000900\"}", "integers");
    assert_refused("{" ISS ",\"iat\":true,\"exp\":null}", "integers");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":92233720368547758080}", "payload");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":-0}", "payload");
    assert_refused("{" ISS ",\"iat\":01800000000,\"exp\":1800000900}", "payload");
}

static void a_claim_said_twice_is_refused(void **state)
{
    (void)state;
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"exp\":2115360000}", "payload");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"\\u0065xp\":2115360000}", "payload");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"act\":{\"a\":1,\"a\":2}}", "payload");
}

/* Parsers that ignore case would take these for the claims that were checked. */
static void a_claim_in_another_spelling_is_refused(void **state)
{
    (void)state;
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"EXP\":2115360000}", "lower-case");
    assert_refused("{\"Iss\":\"https://evil.example.com\"," ISS ",\"iat\":1800000000,\"exp\":1800000900}",
                   "lower-case");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"i\xc5\xbf\xc5\xbf\":\"x\"}", "plain ASCII");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"exp \":1}", "plain ASCII");
}

#define TIMES      ",\"iat\":1800000000,\"exp\":1800000900"
#define THUMBPRINT "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg4"

static void a_binding_to_a_certificate_is_said_in_one_way(void **state)
{
    (void)state;
    static const char *const OTHERS[] = {
        "null",
        "{}",
        "[]",
        "\"" THUMBPRINT "\"",
        "{\"x5t#S256\":\"\"}",
        "{\"x5t#S256\":null}",
        "{\"x5t#S256\":\"" THUMBPRINT "A\"}",
        "{\"x5t#S256\":\"" THUMBPRINT "=\"}",
        "{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5+lESsXE8o9ltc05O89jdN+dg4\"}",
        "{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg5\"}", /* bits that nothing decodes to */
        "{\"x5t#s256\":\"" THUMBPRINT "\"}",
        "{\"jkt\":\"" THUMBPRINT "\"}",
        "{\"x5t#S256\":\"" THUMBPRINT "\",\"jkt\":\"" THUMBPRINT "\"}",
        "{\"jwk\":{},\"x5t#S256\":\"" THUMBPRINT "\"}",
    };
    assert_accepted("{" ISS TIMES ",\"cnf\":{\"x5t#S256\":\"" THUMBPRINT "\"}}");
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++) {
        char payload[512];
        (void)snprintf(payload, sizeof payload, "{" ISS TIMES ",\"cnf\":%s}", OTHERS[i]);
        assert_refused(payload, "cnf isn't");
    }
}

static void what_is_no_json_object_is_refused(void **state)
{
    (void)state;
    assert_refused("", "payload");
    assert_refused("[]", "not an object");
    assert_refused("\"x\"", "not an object");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900}{}", "payload");
    assert_refused("{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"a\":\"\xff\"}", "payload");
}

static void an_overlong_payload_is_refused(void **state)
{
    (void)state;
    static const char TOKEN[] = "{" ISS ",\"iat\":1800000000,\"exp\":1800000900,\"a\":\"";
    static char payload[MM_PAYLOAD_MAX + 2];
    memset(payload, 'a', sizeof payload - 1);
    memcpy(payload, TOKEN, strlen(TOKEN));
    memcpy(payload + MM_PAYLOAD_MAX - 1, "\"}", 2);
    assert_refused(payload, "longer than");
    memcpy(payload + MM_PAYLOAD_MAX - 2, "\"}", 3);
    assert_accepted(payload);
}

static void an_unknown_sentence_is_refused(void **state)
{
    (void)state;
    const int types[] = {0, 3, -1, 65535};
    static const char TOKEN[] = "{" ISS ",\"iat\":1800000000,\"exp\":1800000900}";
    struct mm_bytes payload = {TOKEN, sizeof TOKEN - 1};
    for (size_t i = 0; i < MM_ARRAY_SIZE(types); i++) {
        struct mm_error err = {0};
        assert_false(mm_sentence_check((enum mm_sentence)types[i], &LIMITS, payload, NOW, &err));
        assert_int_equal(err.code, MM_SENTENCE_REFUSED);
        err = (struct mm_error){0};
        assert_null(mm_sentence_header((enum mm_sentence)types[i], KID, MM_ES256, &err));
        assert_int_equal(err.code, MM_SENTENCE_REFUSED);
    }
}

static void a_probe_is_a_nonce_that_is_signed_as_nothing_else_could_be(void **state)
{
    (void)state;
    static const uint8_t NONCE[MM_PROBE_NONCE + 1] = "12345678901234567890123456789012";
    uint8_t input[MM_PROBE_INPUT];
    struct mm_error err = {0};
    assert_true(mm_sentence_check(MM_SENTENCE_PROBE, &LIMITS, (struct mm_bytes){NONCE, MM_PROBE_NONCE}, NOW, &err));
    for (size_t length = 0; length < 2; length++) {
        err = (struct mm_error){0};
        struct mm_bytes wrong = {NONCE, MM_PROBE_NONCE - 1 + 2 * length};
        assert_false(mm_sentence_check(MM_SENTENCE_PROBE, &LIMITS, wrong, NOW, &err));
        assert_int_equal(err.code, MM_SENTENCE_REFUSED);
    }
    assert_null(mm_sentence_header(MM_SENTENCE_PROBE, KID, MM_ES256, &err));
    mm_probe_input(NONCE, input);
    assert_int_equal(input[0], 0);
    assert_memory_equal(input + MM_PROBE_INPUT - MM_PROBE_NONCE, NONCE, MM_PROBE_NONCE);
}

static void the_header_is_composed_byte_for_byte(void **state)
{
    (void)state;
    const struct {
        enum mm_algorithm algorithm;
        const char *header;
    } headers[] = {
        {MM_ES256, "{\"alg\":\"ES256\",\"kid\":\"" KID "\",\"typ\":\"at+jwt\"}"},
        {MM_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"" KID "\",\"typ\":\"at+jwt\"}"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(headers); i++) {
        mm_cleanup(free) char *header = mm_sentence_header(MM_SENTENCE_ACCESS_TOKEN, KID, headers[i].algorithm, NULL);
        uint8_t text[MM_HEADER_MAX];
        size_t length = 0;
        assert_non_null(header);
        assert_in_range(strlen(header), 1, MM_HEADER_MAX);
        assert_true(mm_base64url_decode(header, strlen(header), text, &length));
        assert_int_equal(length, strlen(headers[i].header));
        assert_memory_equal(text, headers[i].header, length);
    }
}

static void a_kid_that_is_no_thumbprint_is_refused(void **state)
{
    (void)state;
    const char *kids[] = {"", "short", KID "A", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X\"",
                          "NzbLsXh8uDCcd+6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(kids); i++) {
        struct mm_error err = {0};
        assert_null(mm_sentence_header(MM_SENTENCE_ACCESS_TOKEN, kids[i], MM_ES256, &err));
        assert_int_equal(err.code, MM_SENTENCE_REFUSED);
    }
}

static void the_signing_input_is_header_dot_payload(void **state)
{
    (void)state;
    char input[MM_SIGNING_INPUT_MAX + 1];
    assert_int_equal(mm_sentence_signing_input("aGVhZA", (struct mm_bytes){"{}", 2}, input), 10);
    assert_string_equal(input, "aGVhZA.e30");
}

static void the_longest_signing_input_fits(void **state)
{
    (void)state;
    static uint8_t payload[MM_PAYLOAD_MAX];
    char header[MM_HEADER_MAX + 1];
    memset(header, 'a', MM_HEADER_MAX);
    header[MM_HEADER_MAX] = '\0';
    char input[MM_SIGNING_INPUT_MAX + 1];
    size_t length = mm_sentence_signing_input(header, (struct mm_bytes){payload, sizeof payload}, input);
    assert_int_equal(length, MM_SIGNING_INPUT_MAX);
    assert_int_equal(strlen(input), length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_within_the_limits_is_accepted),
        cmocka_unit_test(whatever_a_name_holds_the_claims_are_accepted),
        cmocka_unit_test(a_token_for_somebody_elses_user_is_accepted),
        cmocka_unit_test(a_foreign_issuer_is_refused),
        cmocka_unit_test(an_issuer_in_another_spelling_is_refused),
        cmocka_unit_test(a_lifetime_over_the_cap_is_refused),
        cmocka_unit_test(an_iat_that_is_off_is_refused),
        cmocka_unit_test(an_exp_not_after_iat_is_refused),
        cmocka_unit_test(times_that_are_no_integers_are_refused),
        cmocka_unit_test(a_claim_said_twice_is_refused),
        cmocka_unit_test(a_claim_in_another_spelling_is_refused),
        cmocka_unit_test(a_binding_to_a_certificate_is_said_in_one_way),
        cmocka_unit_test(what_is_no_json_object_is_refused),
        cmocka_unit_test(an_overlong_payload_is_refused),
        cmocka_unit_test(an_unknown_sentence_is_refused),
        cmocka_unit_test(a_probe_is_a_nonce_that_is_signed_as_nothing_else_could_be),
        cmocka_unit_test(the_header_is_composed_byte_for_byte),
        cmocka_unit_test(a_kid_that_is_no_thumbprint_is_refused),
        cmocka_unit_test(the_signing_input_is_header_dot_payload),
        cmocka_unit_test(the_longest_signing_input_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
