/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request's resource and audience name, and whose client_id it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "oauth/client.h"
#include "oauth/exchange.h"
#include "oauth/target.h"
#include "policy/template.h"

#define LORE "https://lore.acme.example/"
#define PART "https://lore.acme.example/partitions/"
#define ID   "0194b726b34e72b0b45550b88a967076"

static char *text(const char *literal)
{
    return (char *)(uintptr_t)literal;
}

static struct mm_tenant tenant_of(void)
{
    static char *audience[2];
    audience[0] = text(LORE);
    audience[1] = text("cache.acme.example");
    return (struct mm_tenant){.id = text("acme"),
                              .audience = {.items = audience, .n = 2},
                              .resource_template = {.uri = text(PART "{id}"), .resource = text("urc-{id}")}};
}

static enum mm_code resolve(const struct mm_oauth_target_request *request, struct mm_oauth_target *ret_target)
{
    struct mm_error err = {0};
    struct mm_tenant tenant = tenant_of();
    bool is_resolved = mm_oauth_target_resolve(&tenant, request, ret_target, &err);
    assert_int_equal(is_resolved, err.code == MM_OK);
    return err.code;
}

static enum mm_code resolve_one(const char *uri, struct mm_oauth_target *ret_target)
{
    return resolve(&(struct mm_oauth_target_request){.uris = {uri}, .n_uris = 1}, ret_target);
}

static void a_resource_is_an_audience_or_what_the_template_makes_of_it(void **state)
{
    (void)state;
    struct mm_oauth_target target;
    assert_int_equal(resolve_one(LORE, &target), MM_OK);
    assert_string_equal(target.audience, LORE);
    assert_false(target.has_resource);
    assert_int_equal(resolve_one(PART ID, &target), MM_OK);
    assert_null(target.audience);
    assert_true(target.has_resource);
    assert_string_equal(target.resource_id, "urc-" ID);
}

static void one_audience_and_one_resource_go_together(void **state)
{
    (void)state;
    struct mm_oauth_target target;
    assert_int_equal(resolve(&(struct mm_oauth_target_request){.uris = {PART ID, LORE}, .n_uris = 2}, &target), MM_OK);
    assert_string_equal(target.audience, LORE);
    assert_string_equal(target.resource_id, "urc-" ID);
    struct mm_oauth_target_request same = {.uris = {PART ID, PART ID}, .n_uris = 2, .audience = LORE, .n_audiences = 1};
    assert_int_equal(resolve(&same, &target), MM_OK);
    assert_string_equal(target.audience, LORE);
}

static void without_either_nothing_is_chosen(void **state)
{
    (void)state;
    struct mm_oauth_target target;
    assert_int_equal(resolve(&(struct mm_oauth_target_request){0}, &target), MM_OK);
    assert_null(target.audience);
    assert_false(target.has_resource);
}

static void two_of_a_kind_are_refused(void **state)
{
    (void)state;
    static const struct mm_oauth_target_request CASES[] = {
        {.uris = {PART "a", PART "b"}, .n_uris = 2},
        {.uris = {LORE}, .n_uris = 1, .audience = "cache.acme.example", .n_audiences = 1},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_oauth_target target;
        assert_int_equal(resolve(&CASES[i], &target), MM_INVALID_TARGET);
    }
}

static void what_names_nothing_is_refused(void **state)
{
    (void)state;
    static const char *const URIS[] = {
        "cache.acme.example", /* an audience, but no URI */
        "urc-" ID,
        "/partitions/" ID,
        "//lore.acme.example/partitions/" ID,
        "https:",
        ":x",
        "1https://lore.acme.example/",
        LORE "#",
        PART ID "#x",
        "https://lore.acme.example", /* not the audience, byte by byte */
        "HTTPS://lore.acme.example/",
        PART,
        PART "a/b",
        PART "a/",
        PART "..",
        PART "a.b",
        PART "*",
        PART "urc-*",
        PART "a%2Fb",
        PART "%61",
        PART "a?b=c",
        PART "a b",
        PART "{id}",
        PART "\xd0\xb0",
        "http://lore.acme.example/partitions/" ID,
        "https://lore.acme.example:443/partitions/" ID,
        "https://lore.acme.example/../partitions/" ID,
        "https://evil.example/?" PART ID,
        "https://lore.acme.example@evil.example/partitions/" ID,
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(URIS); i++) {
        struct mm_oauth_target target;
        if (resolve_one(URIS[i], &target) != MM_INVALID_TARGET)
            fail_msg("let through: %s", URIS[i]);
    }
}

static void ids_and_resources_are_bounded(void **state)
{
    (void)state;
    char uri[300];
    for (int n = 128; n <= 129; n++) {
        struct mm_oauth_target target;
        (void)snprintf(uri, sizeof uri, PART "%0*d", n, 7);
        assert_int_equal(resolve_one(uri, &target), n == 128 ? MM_OK : MM_INVALID_TARGET);
    }
    char resource[MM_RESOURCE_LENGTH_MAX + 1];
    char wide[300];
    (void)snprintf(wide, sizeof wide, "%0250d{id}", 7);
    struct mm_resource_template template = {.uri = text("https://a/{id}"), .resource = wide};
    assert_true(mm_template_render(&template, "https://a/123456", resource));
    assert_false(mm_template_render(&template, "https://a/1234567", resource));
}

static void what_stands_behind_the_hole_must_be_there(void **state)
{
    (void)state;
    assert_true(mm_template_has("https://a/{id}/x", "https://a/b/x"));
    assert_false(mm_template_has("https://a/{id}/x", "https://a//x"));
    assert_false(mm_template_has("https://a/{id}/x", "https://a/b"));
    assert_false(mm_template_has("https://a/{id}/x", "https://a/b/x/x"));
    assert_false(mm_template_has("https://a/{id}/x", "https://a/x"));
    assert_false(mm_template_has("https://a/id", "https://a/id"));
    assert_false(mm_template_has(NULL, "https://a/b"));
}

static void without_a_template_only_audiences_are_named(void **state)
{
    (void)state;
    struct mm_tenant tenant = tenant_of();
    tenant.resource_template = (struct mm_resource_template){0};
    struct mm_oauth_target target;
    struct mm_oauth_target_request request = {.uris = {PART ID}, .n_uris = 1};
    struct mm_error err = {0};
    assert_false(mm_oauth_target_resolve(&tenant, &request, &target, &err));
    assert_int_equal(err.code, MM_INVALID_TARGET);
}

static void an_audience_is_visible_and_not_too_long(void **state)
{
    (void)state;
    char longest[MM_AUDIENCE_LENGTH_MAX + 2];
    (void)snprintf(longest, sizeof longest, "%0*d", MM_AUDIENCE_LENGTH_MAX + 1, 7);
    const char *const BAD[] = {"a b", "a\n", "\xd0\xb0", longest};
    struct mm_oauth_target target;
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_int_equal(resolve(&(struct mm_oauth_target_request){.audience = BAD[i], .n_audiences = 1}, &target),
                         MM_INVALID_TARGET);
    /* Whether it is the tenant's is the policy's to say. */
    assert_int_equal(resolve(&(struct mm_oauth_target_request){.audience = longest + 1, .n_audiences = 1}, &target),
                     MM_OK);
}

/* --- client_id */

static void the_tenant_is_the_first_that_is_named(void **state)
{
    (void)state;
    struct mm_tenant tenants[2] = {{.id = text("acme")}, {.id = text("globex")}};
    static const struct {
        size_t n_tenants;
        const char *tenant_id;
        const char *client_id;
        const char *tenant; /* NULL: refused */
    } CASES[] = {
        {2, "acme", NULL, "acme"},
        {2, "acme", "globex/ci", "acme"},
        {2, NULL, "globex/ci", "globex"},
        {2, NULL, "unknown/x", "unknown"},
        {2, NULL, "/ci", ""},
        {2, NULL, "ci", NULL},
        {2, NULL, NULL, NULL},
        {1, NULL, "ci", "acme"},
        {1, NULL, NULL, "acme"},
        {1, "globex", "ci", "globex"},
        {0, NULL, "ci", NULL},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_policy policy = {.tenants = tenants, .n_tenants = CASES[i].n_tenants};
        char found[MM_CLIENT_TENANT_MAX + 1] = "-";
        struct mm_error err = {0};
        bool is_named = mm_client_tenant(&policy, CASES[i].tenant_id, CASES[i].client_id, found, &err);
        assert_int_equal(is_named, CASES[i].tenant != NULL);
        assert_string_equal(found, CASES[i].tenant ? CASES[i].tenant : "-");
        assert_int_equal(err.code, is_named ? MM_OK : MM_INVALID_REQUEST);
    }
}

static void a_tenant_of_a_length_that_none_has_is_unknown(void **state)
{
    (void)state;
    char name[MM_CLIENT_TENANT_MAX + 4];
    char found[MM_CLIENT_TENANT_MAX + 1];
    const struct mm_policy policy = {0};
    for (int n = MM_CLIENT_TENANT_MAX; n <= MM_CLIENT_TENANT_MAX + 1; n++) {
        struct mm_error err = {0};
        (void)snprintf(name, sizeof name, "%0*d", n, 7);
        assert_int_equal(mm_client_tenant(&policy, name, NULL, found, &err), n == MM_CLIENT_TENANT_MAX);
        assert_int_equal(err.code, n == MM_CLIENT_TENANT_MAX ? MM_OK : MM_ACCESS_DENIED);
        (void)snprintf(name, sizeof name, "%0*d/x", n, 7);
        assert_int_equal(mm_client_tenant(&policy, NULL, name, found, NULL), n == MM_CLIENT_TENANT_MAX);
    }
}

static void a_client_id_is_the_account_or_nobody(void **state)
{
    (void)state;
    const struct mm_account account = {.id = text("ci"), .identity = text("acme/ci")};
    static const char *const OTHERS[] = {"CI",       "acme/CI",  "acme/deploy", "globex/ci", "/ci",  "acme/",
                                         "acme/ci/", "acme//ci", "ci ",         "\xd1\x81i", "acme", "acme%2Fci"};
    assert_true(mm_client_check(&account, NULL, NULL));
    assert_true(mm_client_check(&account, "ci", NULL));
    assert_true(mm_client_check(&account, "acme/ci", NULL));
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++) {
        struct mm_error err = {0};
        assert_false(mm_client_check(&account, OTHERS[i], &err));
        assert_int_equal(err.code, MM_ACCESS_DENIED);
    }
}

/* --- of an exchange */

static void an_exchange_names_one_partition_in_one_way(void **state)
{
    (void)state;
    static const struct {
        const char *uris[2];
        const char *scopes[3];
        const char *resource; /* NULL: refused */
        size_t n_scopes;      /* left */
    } CASES[] = {
        {{PART ID}, {NULL}, "urc-" ID, 0},
        {{PART ID}, {"read:repo", "read:blob"}, "urc-" ID, 2},
        {{NULL}, {"partition:" ID}, "urc-" ID, 0},
        {{NULL}, {"read:repo", "partition:" ID}, "urc-" ID, 1},
        {{NULL}, {NULL}, NULL, 0},
        {{NULL}, {"read:repo"}, NULL, 0},
        {{PART ID}, {"partition:" ID}, NULL, 0},
        {{PART ID, PART ID}, {NULL}, NULL, 0},
        {{PART ID, LORE}, {NULL}, NULL, 0},
        {{LORE}, {NULL}, NULL, 0},
        {{NULL}, {"partition:1", "partition:2"}, NULL, 0},
        {{NULL}, {"partition:"}, NULL, 0},
        {{NULL}, {"partition:*"}, NULL, 0},
        {{NULL}, {"partition:.."}, NULL, 0},
        {{NULL}, {"partition:%2e"}, NULL, 0},
        {{NULL}, {"partition:a/b"}, NULL, 0},
        {{NULL}, {"partition:\xd0\xb0"}, NULL, 0},
        {{NULL}, {"Partition:" ID}, NULL, 0},
        {{"urc-" ID}, {NULL}, NULL, 0},
    };
    struct mm_tenant tenant = tenant_of();
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_oauth_target_request request = {.audience = "cache.acme.example", .n_audiences = 1};
        for (; request.n_uris < 2 && CASES[i].uris[request.n_uris]; request.n_uris++)
            request.uris[request.n_uris] = CASES[i].uris[request.n_uris];
        size_t n_scopes = 0;
        while (n_scopes < 3 && CASES[i].scopes[n_scopes])
            n_scopes++;
        struct mm_exchange_target target;
        struct mm_error err = {0};
        bool is_resolved = mm_exchange_target_resolve(&tenant, &request, CASES[i].scopes, n_scopes, &target, &err);
        if (is_resolved != (CASES[i].resource != NULL) || (!is_resolved && err.code != MM_INVALID_TARGET))
            fail_msg("case %zu: %s", i, err.message);
        if (!is_resolved)
            continue;
        assert_string_equal(target.resource_id, CASES[i].resource);
        assert_string_equal(target.audience, "cache.acme.example");
        assert_int_equal(target.n_scopes, CASES[i].n_scopes);
    }
    tenant.resource_template = (struct mm_resource_template){0};
    static const char *const SCOPES[] = {"partition:" ID};
    struct mm_exchange_target target;
    assert_false(mm_exchange_target_resolve(&tenant, &(struct mm_oauth_target_request){0}, SCOPES, 1, &target, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resource_is_an_audience_or_what_the_template_makes_of_it),
        cmocka_unit_test(one_audience_and_one_resource_go_together),
        cmocka_unit_test(without_either_nothing_is_chosen),
        cmocka_unit_test(two_of_a_kind_are_refused),
        cmocka_unit_test(what_names_nothing_is_refused),
        cmocka_unit_test(ids_and_resources_are_bounded),
        cmocka_unit_test(what_stands_behind_the_hole_must_be_there),
        cmocka_unit_test(without_a_template_only_audiences_are_named),
        cmocka_unit_test(an_audience_is_visible_and_not_too_long),
        cmocka_unit_test(the_tenant_is_the_first_that_is_named),
        cmocka_unit_test(a_tenant_of_a_length_that_none_has_is_unknown),
        cmocka_unit_test(a_client_id_is_the_account_or_nobody),
        cmocka_unit_test(an_exchange_names_one_partition_in_one_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
