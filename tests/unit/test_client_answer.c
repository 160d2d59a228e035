/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libmintmark makes of a service's answers, of the documented and of all others; and how it spreads its retries.
 */
#include "client/answer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/retry.h"
#include "client/service_token.h"
#include "token/jws.h"

static const char REQUEST[] = "{'tenant_id': 'acme', 'scopes': ['read:repo', 'read:blob']}";
static const char NARROW_REQUEST[] =
    "{'tenant_id': 'acme', 'scopes': ['read:repo', 'read:blob'], 'resource_id': 'urc-1',"
    " 'audience': 'lore'}";
static const char ANSWER[] = "{'service_token': 'aA0_.bB-1.cC2', 'token_type': 'Bearer', 'expires_at': 1795512345,"
                             " 'expires_in': 300, 'token_id': 'jti', 'tenant_id': 'acme', 'account': 'acme/ci',"
                             " 'scopes': ['read:repo', 'read:blob'], 'audience': ['lore'],"
                             " 'resources': [{'resource_id': 'urc-1', 'permission': ['read', 'list']}]}";

/* JSON with ' for " */
static json_t *json_of(const char *text)
{
    mm_cleanup(free) char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *value = mm_json_parse(copy, strlen(copy), NULL);
    assert_non_null(value);
    return value;
}

static struct mm_service_token *read_text(unsigned status, const char *content_type, const char *text,
                                          const char *request, struct mm_refusal *ret_refusal, struct mm_error *err)
{
    struct mm_https_response response = {.status = status, .body = mm_buffer_make(MM_HTTPS_BODY_MAX)};
    (void)snprintf(response.content_type, sizeof response.content_type, "%s", content_type);
    assert_true(mm_buffer_append_string(&response.body, text, NULL));
    mm_cleanup(json_decref) json_t *body = json_of(request);
    struct mm_service_token *token = mm_answer_read(&response, body, ret_refusal, err);
    mm_https_response_clear(&response);
    return token;
}

/* The answer with `changes` merged in; a member that is null there is taken away. */
static struct mm_service_token *read_changed(const char *changes, const char *request, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *answer = json_of(ANSWER);
    mm_cleanup(json_decref) json_t *given = json_of(changes);
    const char *name;
    json_t *value;
    json_object_foreach(given, name, value)
    {
        assert_int_equal(json_is_null(value) ? json_object_del(answer, name) : json_object_set(answer, name, value), 0);
    }
    mm_cleanup(free) char *text = mm_json_compact(answer, NULL);
    mm_cleanup(mm_refusal_clear) struct mm_refusal refusal = {0};
    return read_text(201, "application/json", text, request, &refusal, err);
}

static void a_token_has_every_member_of_the_answer(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token =
        read_changed("{'new': {'a': [1]}, 'resources': [{'resource_id': 'urc-1', 'permission': ['read', 'list']},"
                     " {'resource_id': 'urc-2', 'permission': ['write']}]}",
                     REQUEST, &err);
    assert_string_equal(err.message, "");
    assert_string_equal(token->service_token, "aA0_.bB-1.cC2");
    assert_string_equal(token->token_id, "jti");
    assert_string_equal(token->tenant_id, "acme");
    assert_string_equal(token->account, "acme/ci");
    assert_int_equal(token->expires_at, 1795512345);
    assert_int_equal(token->expires_in, 300);
    assert_int_equal(token->n_scopes, 2);
    assert_string_equal(token->scopes[0], "read:repo");
    assert_string_equal(token->scopes[1], "read:blob");
    assert_int_equal(token->n_audiences, 1);
    assert_string_equal(token->audiences[0], "lore");
    assert_int_equal(token->n_resources, 2);
    assert_string_equal(token->resources[0]->resource_id, "urc-1");
    assert_int_equal(token->resources[0]->n_permissions, 2);
    assert_string_equal(token->resources[0]->permissions[1], "list");
    assert_string_equal(token->resources[1]->resource_id, "urc-2");
    assert_string_equal(token->resources[1]->permissions[0], "write");
    mm_cleanup(json_decref) json_t *whole = mm_json_parse(token->json, strlen(token->json), NULL);
    assert_non_null(json_object_get(whole, "new"));
}

static void a_reference_keeps_a_token(void **state)
{
    (void)state;
    struct mm_service_token *token = read_changed("{}", REQUEST, NULL);
    struct mm_service_token *same = mm_service_token_ref(token);
    mm_service_token_unref(token);
    assert_string_equal(same->token_id, "jti");
    mm_service_token_unref(same);
    mm_service_token_unref(NULL);
}

/* What lies at an address, be it freed: read by the kernel, whom no sanitizer minds. */
static void read_memory(uintptr_t address, char *out, size_t size)
{
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    assert_true(memory >= 0);
    assert_int_equal(pread(memory, out, size, (off_t)address), size);
    (void)close(memory);
}

static void a_token_is_zeroed_with_its_last_reference(void **state)
{
    (void)state;
    char left[8] = {0};
    struct mm_service_token *token = mm_service_token_ref(read_changed("{}", REQUEST, NULL));
    uintptr_t jwt = (uintptr_t)token->service_token;
    uintptr_t in_json = (uintptr_t)strstr(token->json, "aA0_.bB-");
    mm_service_token_unref(token);
    read_memory(jwt, left, sizeof left);
    assert_memory_equal(left, "aA0_.bB-", sizeof left);
    mm_service_token_unref(token);
    read_memory(jwt, left, sizeof left);
    assert_memory_not_equal(left, "aA0_.bB-", sizeof left);
    read_memory(in_json, left, sizeof left);
    assert_memory_not_equal(left, "aA0_.bB-", sizeof left);
}

static void an_answer_that_is_not_as_documented_is_refused(void **state)
{
    (void)state;
    static const char *const CHANGES[] = {
        "{'service_token': null}",
        "{'service_token': 7}",
        "{'service_token': ''}",
        "{'service_token': 'a.b'}",
        "{'service_token': 'a.b.'}",
        "{'service_token': 'a.b.c.d'}",
        "{'service_token': 'a.b.c\\r\\nX-Evil: 1'}",
        "{'service_token': 'a.b c.d'}",
        "{'service_token': 'a.b.c='}",
        "{'token_type': null}",
        "{'token_type': 'DPoP'}",
        "{'expires_at': null}",
        "{'expires_at': '1795512345'}",
        "{'expires_at': 1795512345.5}",
        "{'expires_at': 0}",
        "{'expires_in': null}",
        "{'expires_in': 0}",
        "{'expires_in': -300}",
        "{'expires_in': 9223372036854775807}",
        "{'token_id': null}",
        "{'token_id': ''}",
        "{'tenant_id': null}",
        "{'account': null}",
        "{'scopes': null}",
        "{'scopes': []}",
        "{'scopes': 'read:repo'}",
        "{'scopes': ['read:repo', 7]}",
        "{'audience': null}",
        "{'audience': 'lore'}",
        "{'audience': []}",
        "{'resources': null}",
        "{'resources': []}",
        "{'resources': {}}",
        "{'resources': [7]}",
        "{'resources': [{'permission': ['read']}]}",
        "{'resources': [{'resource_id': 'urc-1'}]}",
        "{'resources': [{'resource_id': 'urc-1', 'permission': []}]}",
        "{'resources': [{'resource_id': 'urc-1', 'permission': 'read'}]}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CHANGES); i++) {
        struct mm_error err = {0};
        if (read_changed(CHANGES[i], REQUEST, &err))
            fail_msg("taken: %s", CHANGES[i]);
        assert_int_equal(err.code, MM_UNREACHABLE);
        assert_null(strstr(err.message, "X-Evil"));
    }
}

static void an_answer_to_another_question_is_refused(void **state)
{
    (void)state;
    static const char *const CHANGES[] = {
        "{'tenant_id': 'globex'}",
        "{'scopes': ['read:repo']}",
        "{'scopes': ['read:repo', 'read:blob', 'write:repo']}",
        "{'audience': ['lore', 'cache']}",
        "{'audience': ['cache']}",
        "{'resources': [{'resource_id': 'urc-2', 'permission': ['read']}]}",
        "{'resources': [{'resource_id': 'urc-1', 'permission': ['read']}, {'resource_id': 'b', 'permission': ['c']}]}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CHANGES); i++) {
        struct mm_error err = {0};
        if (read_changed(CHANGES[i], NARROW_REQUEST, &err))
            fail_msg("taken: %s", CHANGES[i]);
        assert_int_equal(err.code, MM_UNREACHABLE);
    }
}

static void a_jwt_of_the_largest_size_fits_and_no_larger_one(void **state)
{
    (void)state;
    char changes[MM_JWT_MAX + 64];
    for (int excess = 0; excess < 2; excess++) {
        char jwt[MM_JWT_MAX + 2];
        memset(jwt, 'a', sizeof jwt);
        jwt[1] = jwt[3] = '.';
        jwt[MM_JWT_MAX + excess] = '\0';
        (void)snprintf(changes, sizeof changes, "{'service_token': '%s'}", jwt);
        mm_cleanup(mm_service_token_unref) struct mm_service_token *token = read_changed(changes, REQUEST, NULL);
        assert_int_equal(token != NULL, excess == 0);
    }
}

static void garbage_is_not_a_token(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"",    "null", "[]", "\"a.b.c\"", "{", "{} {}", "<html>", "{\"a\":1,\"a\":1}",
                                        "\xff"};
    struct mm_refusal refusal;
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++) {
        struct mm_error err = {0};
        assert_null(read_text(201, "application/json", TEXTS[i], REQUEST, &refusal, &err));
        assert_int_equal(err.code, MM_UNREACHABLE);
        mm_refusal_clear(&refusal);
    }
}

static void a_token_comes_with_201_and_as_json_only(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *answer = json_of(ANSWER);
    mm_cleanup(free) char *text = mm_json_compact(answer, NULL);
    struct mm_refusal refusal;
    assert_null(read_text(200, "application/json", text, REQUEST, &refusal, NULL));
    assert_null(read_text(201, "text/html", text, REQUEST, &refusal, NULL));
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token =
        read_text(201, "application/json", text, REQUEST, &refusal, NULL);
    assert_non_null(token);
}

static void a_problem_document_becomes_the_error_it_names(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *code;
        enum mm_code expected;
    } CASES[] = {
        {400, "invalid_request", MM_INVALID_REQUEST},
        {401, "certificate_required", MM_CERTIFICATE_REQUIRED},
        {403, "scope_not_granted", MM_SCOPE_NOT_GRANTED},
        {403, "from_the_future", MM_INVALID_REQUEST},
        {429, "rate_limited", MM_RATE_LIMITED},
        {429, "from_the_future", MM_OVERLOADED},
        {500, "internal_error", MM_INTERNAL},
        {500, "from_the_future", MM_INTERNAL},
        {503, "overloaded", MM_OVERLOADED},
        {503, "hsm_unavailable", MM_HSM_UNAVAILABLE},
        {503, "ledger_unavailable", MM_LEDGER_UNAVAILABLE},
        {403, "hsm_unavailable", MM_INVALID_REQUEST}, /* a code with another's status */
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "{\"code\":\"%s\",\"detail\":\"Why.\",\"request_id\":\"id-1\"}",
                       CASES[i].code);
        struct mm_error err = {0};
        mm_cleanup(mm_refusal_clear) struct mm_refusal refusal = {0};
        assert_null(read_text(CASES[i].status, "application/problem+json", text, REQUEST, &refusal, &err));
        assert_int_equal(err.code, CASES[i].expected);
        assert_string_equal(refusal.code, CASES[i].code);
        assert_string_equal(refusal.detail, "Why.");
        assert_string_equal(refusal.request_id, "id-1");
        assert_non_null(strstr(err.message, CASES[i].code));
        assert_non_null(strstr(err.message, "Why. (request id-1)"));
    }
}

static void what_is_no_problem_document_says_nothing(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *content_type;
        const char *text;
        enum mm_code expected;
    } CASES[] = {
        {302, "text/html", "elsewhere", MM_UNREACHABLE},
        {404, "text/html", "{\"code\":\"access_denied\"}", MM_INVALID_REQUEST},
        {403, "application/problem+json", "{\"code\":7}", MM_INVALID_REQUEST},
        {403, "application/problem+json", "garbage", MM_INVALID_REQUEST},
        {403, "application/problem+json", "{\"code\":\"a\\nb\"}", MM_INVALID_REQUEST},
        {429, "text/html", "slow down", MM_OVERLOADED},
        {502, "text/html", "bad gateway", MM_UNREACHABLE},
        {503, "text/html", "", MM_UNREACHABLE},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_error err = {0};
        mm_cleanup(mm_refusal_clear) struct mm_refusal refusal = {0};
        assert_null(read_text(CASES[i].status, CASES[i].content_type, CASES[i].text, REQUEST, &refusal, &err));
        assert_int_equal(err.code, CASES[i].expected);
        assert_null(refusal.code);
    }
}

static void a_detail_that_would_break_a_log_line_is_left_out(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_refusal_clear) struct mm_refusal refusal = {0};
    assert_null(read_text(403, "application/problem+json",
                          "{\"code\":\"access_denied\",\"detail\":\"a\\nERROR forged\",\"request_id\":\"\\u001b[2J\"}",
                          REQUEST, &refusal, &err));
    assert_string_equal(err.message, "access_denied: no detail (request without an id)");
    assert_null(refusal.detail);
    assert_null(refusal.request_id);
}

static void only_429_and_503_say_that_nothing_was_issued(void **state)
{
    (void)state;
    for (unsigned status = 100; status < 600; status++)
        assert_int_equal(mm_answer_is_unserved(status), status == 429 || status == 503);
}

/* --- retries */

static bool fill_zero(void *context, void *out, size_t length)
{
    (void)context;
    memset(out, 0, length);
    return true;
}

static bool fill_largest(void *context, void *out, size_t length)
{
    (void)length;
    uint64_t value = *(int64_t *)context;
    memcpy(out, &value, sizeof value);
    return true;
}

static bool fill_nothing(void *context, void *out, size_t length)
{
    (void)context, (void)out, (void)length;
    return false;
}

static void a_delay_is_anything_between_the_floor_and_a_bound_that_doubles(void **state)
{
    (void)state;
    static const int64_t BOUNDS[] = {200, 400, 800, 1600, 2000, 2000};
    const struct mm_random zero = {.fill = fill_zero}, none = {.fill = fill_nothing};
    for (unsigned n = 1; n <= MM_ARRAY_SIZE(BOUNDS); n++) {
        int64_t bound = BOUNDS[n - 1];
        const struct mm_random largest = {.fill = fill_largest, .context = &bound};
        assert_int_equal(mm_retry_delay_ms(&zero, n, 50, 200, 2000), 50);
        assert_int_equal(mm_retry_delay_ms(&none, n, 50, 200, 2000), 50);
        assert_int_equal(mm_retry_delay_ms(&largest, n, 50, 200, 2000), 50 + bound);
    }
    assert_in_range(mm_retry_delay_ms(&MM_SYSTEM_RANDOM, 4000000000U, 0, 200, 2000), 0, 2000);
}

static void delays_are_spread_over_the_whole_range(void **state)
{
    (void)state;
    int buckets[4] = {0};
    for (int i = 0; i < 4000; i++) {
        int64_t delay = mm_retry_delay_ms(&MM_SYSTEM_RANDOM, 1, 0, 399, 1000);
        assert_in_range(delay, 0, 399);
        buckets[delay / 100]++;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(buckets); i++)
        assert_in_range(buckets[i], 800, 1200); /* 1000 and seven standard deviations */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_has_every_member_of_the_answer),
        cmocka_unit_test(a_reference_keeps_a_token),
        cmocka_unit_test(a_token_is_zeroed_with_its_last_reference),
        cmocka_unit_test(an_answer_that_is_not_as_documented_is_refused),
        cmocka_unit_test(an_answer_to_another_question_is_refused),
        cmocka_unit_test(a_jwt_of_the_largest_size_fits_and_no_larger_one),
        cmocka_unit_test(garbage_is_not_a_token),
        cmocka_unit_test(a_token_comes_with_201_and_as_json_only),
        cmocka_unit_test(a_problem_document_becomes_the_error_it_names),
        cmocka_unit_test(what_is_no_problem_document_says_nothing),
        cmocka_unit_test(a_detail_that_would_break_a_log_line_is_left_out),
        cmocka_unit_test(only_429_and_503_say_that_nothing_was_issued),
        cmocka_unit_test(a_delay_is_anything_between_the_floor_and_a_bound_that_doubles),
        cmocka_unit_test(delays_are_spread_over_the_whole_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
