/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "policy/decide.h"

#define LIST(...) \
    { \
        .items = (char *[]){__VA_ARGS__}, .n = sizeof((char *[]){__VA_ARGS__}) / sizeof(char *) \
    }

static char REPO[] = "read:repo";
static char BLOB[] = "read:blob";
static char TREE[] = "read:tree";
static char ONE[] = "urc-1";
static char TWO[] = "urc-2";
static char ALL[] = "urc-*";
static char LORE[] = "lore.example";
static char OTHER[] = "other.example";

/* Repositories of `urc-1` for long; repo and blob of both for a short while; the tree of everything. */
static struct mm_grant GRANTS[] = {
    {.scopes = LIST(REPO), .resources = LIST(ONE), .ttl_default = 600, .ttl_max = 3600},
    {.scopes = LIST(REPO, BLOB), .resources = LIST(ONE, TWO), .ttl_default = 60, .ttl_max = 300},
    {.scopes = LIST(TREE), .resources = LIST(ALL), .ttl_default = 60, .ttl_max = 60},
};
static const struct mm_account ACCOUNT = {.grants = GRANTS, .n_grants = 3};
static const struct mm_tenant TENANT = {.audience = LIST(LORE, OTHER)};

static enum mm_code decide(const struct mm_token_request *request, struct mm_decision *ret_decision)
{
    struct mm_error err = {0};
    bool is_granted = mm_policy_decide(&TENANT, &ACCOUNT, request, ret_decision, &err);
    assert_int_equal(is_granted, err.code == MM_OK);
    return err.code;
}

static void one_grant_must_satisfy_the_whole_request(void **state)
{
    (void)state;
    static const struct {
        const char *scopes[3];
        size_t n_scopes;
        const char *resource;
        const char *audience;
        int64_t ttl;
        enum mm_code code;
        size_t grant;
        int64_t granted_ttl;
    } CASES[] = {
        {{"read:repo"}, 1, "urc-1", NULL, 0, MM_OK, 0, 600},
        {{"read:repo"}, 1, "urc-1", NULL, 3600, MM_OK, 0, 3600},
        {{"read:repo"}, 1, "urc-1", "other.example", 1, MM_OK, 0, 1},
        {{"read:repo"}, 1, "urc-2", NULL, 0, MM_OK, 1, 60},
        {{"read:repo"}, 1, NULL, NULL, 0, MM_OK, 0, 600},
        {{"read:blob", "read:repo"}, 2, NULL, NULL, 0, MM_OK, 1, 60},
        {{"read:blob", "read:repo"}, 2, "urc-1", NULL, 300, MM_OK, 1, 300},
        {{"read:tree"}, 1, "urc-77", NULL, 0, MM_OK, 2, 60},
        {{"read:tree"}, 1, "urc-*", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:tree"}, 1, "urc-7*", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        /* nobody has it */
        {{NULL}, 0, "urc-1", NULL, 0, MM_INVALID_REQUEST, 0, 0},
        {{"read:repo"}, 1, "urc-1", NULL, -1, MM_INVALID_REQUEST, 0, 0},
        {{"write:repo"}, 1, "urc-1", NULL, 0, MM_SCOPE_NOT_GRANTED, 0, 0},
        {{"read:repo", "write:repo"}, 2, "urc-1", NULL, 0, MM_SCOPE_NOT_GRANTED, 0, 0},
        {{"READ:repo"}, 1, "urc-1", NULL, 0, MM_SCOPE_NOT_GRANTED, 0, 0},
        {{"read:repo read:blob"}, 1, "urc-1", NULL, 0, MM_SCOPE_NOT_GRANTED, 0, 0},
        {{""}, 1, "urc-1", NULL, 0, MM_SCOPE_NOT_GRANTED, 0, 0},
        {{"read:repo"}, 1, "arc-1", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:repo"}, 1, "*", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:repo"}, 1, "", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:tree"}, 1, "urc", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:tree"}, 1, "urc-1\n", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:tree"}, 1, "urc-1\"", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:repo"}, 1, "urc-1", "evil.example", 0, MM_AUDIENCE_NOT_GRANTED, 0, 0},
        {{"read:repo"}, 1, "urc-1", "", 0, MM_AUDIENCE_NOT_GRANTED, 0, 0},
        {{"read:repo"}, 1, "urc-1", NULL, 3601, MM_TTL_TOO_LONG, 0, 0},
        {{"read:repo"}, 1, "urc-1", NULL, INT64_MAX, MM_TTL_TOO_LONG, 0, 0},
        /* somebody has each part, nobody the whole */
        {{"read:repo", "read:tree"}, 2, "urc-1", NULL, 0, MM_NO_SINGLE_GRANT, 0, 0},
        {{"read:repo"}, 1, "urc-3", NULL, 0, MM_NO_SINGLE_GRANT, 0, 0},
        {{"read:repo"}, 1, "urc-*", NULL, 0, MM_RESOURCE_NOT_GRANTED, 0, 0},
        {{"read:blob"}, 1, "urc-1", NULL, 301, MM_NO_SINGLE_GRANT, 0, 0},
        {{"read:repo"}, 1, "urc-2", NULL, 3600, MM_NO_SINGLE_GRANT, 0, 0},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        const struct mm_token_request request = {.scopes = CASES[i].scopes,
                                                 .n_scopes = CASES[i].n_scopes,
                                                 .resource_id = CASES[i].resource,
                                                 .audience = CASES[i].audience,
                                                 .ttl = CASES[i].ttl};
        struct mm_decision decision = {0};
        if (decide(&request, &decision) != CASES[i].code)
            fail_msg("case %zu", i);
        if (CASES[i].code != MM_OK) {
            assert_null(decision.grant);
            continue;
        }
        assert_int_equal(decision.grant_index, CASES[i].grant);
        assert_ptr_equal(decision.grant, &GRANTS[CASES[i].grant]);
        assert_int_equal(decision.ttl, CASES[i].granted_ttl);
    }
}

/* What the grants above say, once more, as bits and without a line of the policy's code. */
enum { BIT_REPO = 1, BIT_BLOB = 2, BIT_TREE = 4, BIT_UNKNOWN = 8 };

static const char *const SCOPES[] = {"read:repo", "read:blob", "read:tree", "read:secret"};
static const char *const RESOURCES[] = {NULL, "urc-1", "urc-2", "urc-3", "urc-*", "urc-1*", "urc", "arc-1"};
static const unsigned RESOURCE_GRANTS[] = {7, 7, 6, 4, 0, 0, 0, 0}; /* which grants have it, as bits */
static const char *const AUDIENCES[] = {NULL, "lore.example", "other.example", "evil.example"};
static const int64_t TTLS[] = {0, 1, 60, 61, 300, 301, 3600, 3601};
static const unsigned TTL_GRANTS[] = {7, 7, 7, 3, 3, 1, 1, 0};
static const unsigned GRANT_SCOPES[] = {BIT_REPO, BIT_REPO | BIT_BLOB, BIT_TREE};

static enum mm_code expected(unsigned scopes, size_t resource, size_t audience, size_t ttl, size_t *ret_grant)
{
    for (size_t g = 0; g < 3; g++)
        if ((scopes & ~GRANT_SCOPES[g]) == 0 && (RESOURCE_GRANTS[resource] >> g & 1) && (TTL_GRANTS[ttl] >> g & 1) &&
            audience < 3) {
            *ret_grant = g;
            return MM_OK;
        }
    if (scopes & BIT_UNKNOWN)
        return MM_SCOPE_NOT_GRANTED;
    if (!RESOURCE_GRANTS[resource])
        return MM_RESOURCE_NOT_GRANTED;
    if (audience == 3)
        return MM_AUDIENCE_NOT_GRANTED;
    return TTL_GRANTS[ttl] ? MM_NO_SINGLE_GRANT : MM_TTL_TOO_LONG;
}

static void every_combination_is_decided_as_the_grants_say(void **state)
{
    (void)state;
    size_t n_granted = 0;
    for (unsigned scopes = 1; scopes < 16; scopes++)
        for (size_t r = 0; r < MM_ARRAY_SIZE(RESOURCES); r++)
            for (size_t a = 0; a < MM_ARRAY_SIZE(AUDIENCES); a++)
                for (size_t t = 0; t < MM_ARRAY_SIZE(TTLS); t++) {
                    const char *names[4];
                    size_t n = 0;
                    for (unsigned bit = 0; bit < 4; bit++)
                        if (scopes >> bit & 1)
                            names[n++] = SCOPES[bit];
                    const struct mm_token_request request = {.scopes = names,
                                                             .n_scopes = n,
                                                             .resource_id = RESOURCES[r],
                                                             .audience = AUDIENCES[a],
                                                             .ttl = TTLS[t]};
                    struct mm_decision decision = {0};
                    size_t grant = 0;
                    enum mm_code code = expected(scopes, r, a, t, &grant);
                    if (decide(&request, &decision) != code)
                        fail_msg("scopes %u, resource %zu, audience %zu, ttl %zu", scopes, r, a, t);
                    if (code == MM_OK) {
                        n_granted++;
                        assert_int_equal(decision.grant_index, grant);
                    }
                }
    assert_int_equal(n_granted, 183);
}

static void an_account_without_grants_may_do_nothing(void **state)
{
    (void)state;
    static const char *const WANTED[] = {"read:repo"};
    static const struct mm_account NOBODY = {0};
    const struct mm_token_request request = {.scopes = WANTED, .n_scopes = 1};
    struct mm_decision decision;
    struct mm_error err = {0};
    assert_false(mm_policy_decide(&TENANT, &NOBODY, &request, &decision, &err));
    assert_int_equal(err.code, MM_SCOPE_NOT_GRANTED);
}

static void a_refusal_never_repeats_what_is_malformed(void **state)
{
    (void)state;
    static const char *const SCOPE[] = {"read:repo\nforged: line"};
    const struct mm_token_request request = {.scopes = SCOPE, .n_scopes = 1};
    struct mm_decision decision;
    struct mm_error err = {0};
    assert_false(mm_policy_decide(&TENANT, &ACCOUNT, &request, &decision, &err));
    assert_null(strstr(err.message, "forged"));
}

/* The tenant wants RS256, but ES256 for OTHER. */
static void the_audience_decides_the_algorithm(void **state)
{
    (void)state;
    struct mm_audience_algorithm exceptions[] = {{.audience = OTHER, .algorithm = MM_ES256}};
    struct mm_tenant tenant = TENANT;
    tenant.envelope.algorithm = MM_RS256;
    tenant.envelope.exceptions = exceptions;
    tenant.envelope.n_exceptions = 1;
    static const char *const WANTED[] = {"read:repo"};
    struct mm_token_request request = {.scopes = WANTED, .n_scopes = 1, .audience = LORE};
    struct mm_decision decision;
    assert_true(mm_policy_decide(&tenant, &ACCOUNT, &request, &decision, NULL));
    assert_int_equal(decision.algorithm, MM_RS256);
    request.audience = OTHER;
    assert_true(mm_policy_decide(&tenant, &ACCOUNT, &request, &decision, NULL));
    assert_int_equal(decision.algorithm, MM_ES256);
    /* One token can't be for both. */
    struct mm_error err = {0};
    request.audience = NULL;
    assert_false(mm_policy_decide(&tenant, &ACCOUNT, &request, &decision, &err));
    assert_int_equal(err.code, MM_INVALID_REQUEST);
    assert_string_equal(err.message,
                        "audience lore.example wants RS256 and other.example wants ES256, so that no token "
                        "is for both: ask for one audience");
    exceptions[0].algorithm = MM_RS256;
    assert_true(mm_policy_decide(&tenant, &ACCOUNT, &request, &decision, NULL));
    assert_int_equal(decision.algorithm, MM_RS256);
    /* What isn't granted is refused for that, whatever would sign it. */
    request.audience = "evil.example";
    assert_false(mm_policy_decide(&tenant, &ACCOUNT, &request, &decision, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_grant_must_satisfy_the_whole_request),
        cmocka_unit_test(every_combination_is_decided_as_the_grants_say),
        cmocka_unit_test(an_account_without_grants_may_do_nothing),
        cmocka_unit_test(a_refusal_never_repeats_what_is_malformed),
        cmocka_unit_test(the_audience_decides_the_algorithm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
