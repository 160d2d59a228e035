/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/exchange.h"

static const struct mm_service_terms TERMS = {.issuer = "https://mint.example", .max_ttl = 3600};

#define IDP "https://idp.acme.example/realms/acme"

static const char ENVELOPE[] =
    "{\"audiences\": [\"lore\", \"cache\", \"flat\"], \"resources\": [\"urc-*\"], "
    "\"issuers\": [\"" IDP "\", \"https://gitlab.com\"], \"actions\": [\"read\", \"write\"], \"tiers\": "
    "{\"flat\": 1, \"lore\": 2}}";

static const char TENANT[] = "tenant: acme\n" /* line 1 */
                             "env: production\n"
                             "audience: [lore, cache]\n"
                             "max_ttl: 15m\n"
                             "root_domains: [lore.acme.example]\n" /* 5 */
                             "accounts:\n"
                             "  - id: ci-build\n"
                             "    name: Build farm\n"
                             "    authenticate: [{mtls: {san_dns: ci.acme.example}}]\n"
                             "    grants:\n" /* 10 */
                             "      - scopes: [\"read:repo\", \"read:blob\"]\n"
                             "        resources: [\"urc-1*\"]\n"
                             "        ttl: {default: 10m, max: 15m}\n"
                             "exchange:\n"
                             "  subject_audiences: [\"https://lore.acme.example\"]\n" /* 15 */
                             "  public_clients: [lore-cli, lore-gui]\n"
                             "  rules:\n"
                             "    - subject: {issuer: \"" IDP "\", claims: {groups: [admins]}}\n"
                             "      clients: [lore-cli, ci-build]\n"
                             "      resources: [\"urc-*\"]\n" /* 20 */
                             "      scopes: [\"read:repo\", \"write:repo\"]\n"
                             "      ttl: {default: 5m, max: 10m}\n"
                             "    - subject: {issuer: \"" IDP "\", claims: {groups: [developers, testers]}}\n"
                             "      resources: [\"urc-1*\", \"urc-2\"]\n"
                             "      scopes: [\"read:repo\", \"read:blob\"]\n" /* 25 */
                             "      ttl: {default: 1m, max: 15m}\n"
                             "    - subject: {accounts: [ci-build]}\n"
                             "      clients: [ci-build]\n"
                             "      resources: [\"urc-*\"]\n"
                             "      scopes: [\"read:repo\", \"read:blob\", \"write:repo\"]\n" /* 30 */
                             "      ttl: {default: 2m, max: 3m}\n";

static bool build(const char *text, struct mm_tenant *tenant, struct mm_problems *problems)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(json_decref) json_t *envelope = json_loads(ENVELOPE, 0, NULL);
    assert_true(mm_envelope_build(envelope, MM_ES256, &tenant->envelope, NULL));
    assert_true(mm_yaml_parse("acme.yaml", text, strlen(text), &document, problems));
    if (mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, problems))
        return mm_tenant_build("acme", &document, &TERMS, tenant, problems);
    mm_tenant_check("acme", &document, &tenant->envelope, &TERMS, problems);
    return false;
}

static struct mm_tenant build_whole(const char *text)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    if (!build(text, &tenant, &problems))
        fail_msg("line %d: %s", problems.items[0].line, problems.items[0].reason);
    return tenant;
}

/* `text` with the first `old` in it replaced by `new`; the caller frees it. */
static char *with(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    assert_non_null(at);
    char *out;
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old)) > 0);
    return out;
}

static void an_exchange_is_built_as_its_file_says(void **state)
{
    (void)state;
    struct mm_tenant tenant = build_whole(TENANT);
    const struct mm_exchange *exchange = tenant.exchange;
    assert_non_null(exchange);
    assert_string_equal(tenant.root_domains.items[0], "lore.acme.example");
    assert_string_equal(exchange->subject_audiences.items[0], "https://lore.acme.example");
    assert_int_equal(exchange->n_public_clients, 2);
    assert_string_equal(exchange->public_clients[1].identity, "acme/lore-gui");
    assert_int_equal(exchange->public_clients[1].n_grants, 0);
    assert_int_equal(exchange->n_rules, 3);
    assert_string_equal(exchange->rules[0].issuer, IDP);
    assert_null(exchange->rules[2].issuer);
    assert_string_equal(exchange->rules[2].accounts.items[0], "ci-build");
    assert_int_equal(exchange->rules[1].grant.line, 23);
    assert_int_equal(exchange->rules[1].grant.ttl_max, 900);
    assert_true(mm_exchange_has_issuer(exchange, IDP));
    assert_false(mm_exchange_has_issuer(exchange, IDP "/"));
    mm_tenant_clear(&tenant);
}

static void a_public_client_is_known_by_its_id_and_its_whole_name(void **state)
{
    (void)state;
    struct mm_tenant tenant = build_whole(TENANT);
    static const char *const UNKNOWN[] = {"",         "ci-build", "acme/ci-build", "globex/lore-cli",
                                          "LORE-CLI", "acme/",    "/lore-cli"};
    assert_string_equal(mm_exchange_public_client(&tenant, "lore-cli")->id, "lore-cli");
    assert_string_equal(mm_exchange_public_client(&tenant, "acme/lore-cli")->id, "lore-cli");
    for (size_t i = 0; i < MM_ARRAY_SIZE(UNKNOWN); i++)
        assert_null(mm_exchange_public_client(&tenant, UNKNOWN[i]));
    assert_null(mm_exchange_public_client(&tenant, NULL));
    mm_tenant_clear(&tenant);
    assert_null(mm_exchange_public_client(&(struct mm_tenant){0}, "lore-cli"));
}

struct refusal {
    const char *old;
    const char *new;
    int line;
    const char *words;
};

static void assert_refused(const struct refusal *refusal)
{
    mm_cleanup(free) char *text = with(TENANT, refusal->old, refusal->new);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_false(build(text, &tenant, &problems));
    mm_tenant_clear(&tenant);
    size_t i = 0;
    while (i < problems.n && problems.items[i].severity != MM_PROBLEM_ERROR)
        i++;
    if (problems.n_errors != 1 || problems.items[i].line != refusal->line ||
        !strstr(problems.items[i].reason, refusal->words))
        fail_msg("%s: %zu problems, first on line %d: %s", refusal->new, problems.n_errors,
                 i < problems.n ? problems.items[i].line : 0, i < problems.n ? problems.items[i].reason : "");
}

static void an_exchange_that_breaks_a_rule_is_refused_at_the_right_line(void **state)
{
    (void)state;
    static const struct refusal REFUSALS[] = {
        {"issuer: \"" IDP "\"", "issuer: \"https://idp.evil.example\"", 18, "outside the tenant's envelope"},
        {"issuer: \"" IDP "\", claims: {groups: [admins]}", "issuer: \"" IDP "\"", 18, "which ‹claims›"},
        {"issuer: \"" IDP "\", claims: {groups: [admins]}",
         "issuer: \"https://gitlab.com\", claims: {namespace_path: acme}", 18, "signs for everybody"},
        {"claims: {groups: [admins]}", "claims: {groups: [\"adm*ins\"]}", 18, "*"},
        {"issuer: \"" IDP "\", claims: {groups: [admins]}", "issuer: \"" IDP "\", accounts: [ci-build]", 18, "either"},
        {"accounts: [ci-build]}", "accounts: [ci-build], claims: {groups: [x]}}", 27, "are an issuer's"},
        {"subject: {accounts: [ci-build]}", "subject: {}", 27, "either"},
        {"subject: {accounts: [ci-build]}", "subject: {accounts: [ci-biuld]}", 27, "no account ‹ci-biuld›"},
        {"subject: {accounts: [ci-build]}", "subject: {accounts: [lore-cli]}", 27, "no account ‹lore-cli›"},
        {"clients: [lore-cli, ci-build]", "clients: [lore-clj]", 19, "‹lore-clj›"},
        {"[lore-cli, lore-gui]", "[lore-cli, lore-gui, ci-build]", 16, "is an account's id"},
        {"[lore-cli, lore-gui]", "[lore-cli, lore/gui]", 16, "lower-case"},
        {"[\"urc-1*\", \"urc-2\"]", "[\"arc-1\"]", 24, "outside the tenant's envelope"},
        {"\"write:repo\"]\n      ttl: {default: 5m, max: 10m}",
         "\"obliterate:repo\"]\n      ttl: {default: 5m, max: 10m}", 21, "outside the tenant's envelope"},
        {"max: 10m", "max: 20m", 22, "longer than the tenant's max_ttl"},
        {"{default: 5m, max: 10m}", "{default: 5m, max: 1m}", 22, "longer than the grant's max"},
        {"subject_audiences: [\"https://lore.acme.example\"]", "subject_audiences: []", 15, "at least 1"},
        {"root_domains: [lore.acme.example]", "root_domains: [example]", 5, "two labels"},
        {"root_domains: [lore.acme.example]", "root_domains: [\"*.acme.example\"]", 5, "two labels"},
        {"root_domains: [lore.acme.example]", "root_domains: [Lore.acme.example]", 5, "lower case"},
        {"root_domains: [lore.acme.example]", "root_domains: [\"https://a.b\"]", 5, "two labels"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSALS); i++)
        assert_refused(&REFUSALS[i]);
}

static void an_exchange_that_nobody_can_use_is_warned_of(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_true(build(TENANT, &tenant, &problems));
    assert_int_equal(problems.n, 2);
    assert_int_equal(problems.items[0].line, 14);
    assert_non_null(strstr(problems.items[0].reason, "resource_template"));
    assert_int_equal(problems.items[1].line, 27); /* its accounts' tokens are for lore and cache */
    assert_non_null(strstr(problems.items[1].reason, "has none of the tenant's ‹audience›"));
    mm_tenant_clear(&tenant);
    mm_cleanup(mm_problems_clear) struct mm_problems none = {0};
    mm_cleanup(free) char *whole =
        with(TENANT, "max_ttl: 15m",
             "max_ttl: 15m\nresource_template: {uri: \"https://lore.acme.example/{id}\", resource: \"urc-{id}\"}");
    mm_cleanup(free) char *text =
        with(whole, "[\"https://lore.acme.example\"]", "[\"https://lore.acme.example\", cache]");
    assert_true(build(text, &tenant, &none));
    assert_int_equal(none.n, 0);
    mm_tenant_clear(&tenant);
}

static void a_limited_grant_is_refused_for_an_audience_that_reads_no_resources(void **state)
{
    (void)state;
    static const struct {
        const char *account; /* the patterns of the account's grant, of the first two rules and of the last */
        const char *first;
        const char *second;
        const char *last;
        size_t n;
    } CASES[] = {
        {"\"urc-*\"", "\"urc-*\"", "\"urc-*\"", "\"urc-*\"", 0},
        {"\"urc-1*\"", "\"urc-*\"", "\"urc-*\"", "\"urc-*\"", 1},
        {"\"urc-*\"", "\"urc-1\"", "\"urc-*\"", "\"urc-*\"", 1},
        {"\"urc-*\"", "\"urc-*\"", "\"urc-1*\", \"urc-2*\"", "\"urc-*\"", 1},
        {"\"urc-*\", \"urc-1\"", "\"urc-*\"", "\"urc-*\"", "\"urc-1\", \"urc-*\"", 0},
        {"\"urc-1\"", "\"urc-1\"", "\"urc-1\"", "\"urc-1\"", 4},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(free) char *a = with(TENANT, "audience: [lore, cache]", "audience: [lore, flat]");
        mm_cleanup(free) char *b = with(a, "\"urc-1*\"]\n        ttl", "(1)]\n        ttl");
        mm_cleanup(free) char *c = with(b, "(1)", CASES[i].account);
        mm_cleanup(free) char *d = with(c, "\"urc-1*\", \"urc-2\"", CASES[i].second);
        mm_cleanup(free) char *e = with(d, "clients: [lore-cli, ci-build]\n      resources: [\"urc-*\"",
                                        "clients: [lore-cli, ci-build]\n      resources: [(2)");
        mm_cleanup(free) char *f = with(e, "(2)", CASES[i].first);
        mm_cleanup(free) char *g =
            with(f, "clients: [ci-build]\n      resources: [\"urc-*\"", "clients: [ci-build]\n      resources: [(3)");
        mm_cleanup(free) char *text = with(g, "(3)", CASES[i].last);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant tenant = {0};
        bool is_built = build(text, &tenant, &problems);
        mm_tenant_clear(&tenant);
        assert_int_equal(problems.n_errors, CASES[i].n);
        assert_int_equal(is_built, CASES[i].n == 0);
        for (size_t j = 0; j < problems.n; j++)
            if (problems.items[j].severity == MM_PROBLEM_ERROR)
                assert_non_null(strstr(problems.items[j].reason, "tier 1"));
    }
}

static void an_audience_of_tier_1_is_shared_only_on_purpose(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        bool do_overlap;
    } CASES[] = {
        {"\"tiers\": {\"lore\": 1}", "\"tiers\": {\"lore\": 1}", true},
        {"\"tiers\": {\"lore\": 2}", "\"tiers\": {\"lore\": 1}", true},
        {"\"tiers\": {\"lore\": 1}", "\"tiers\": {\"lore\": 2}", true},
        {"\"tiers\": {\"lore\": 2}", "\"tiers\": {\"lore\": 2}", false},
        {"\"tiers\": {\"other-a\": 1}", "\"tiers\": {\"other-b\": 1}", false},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_envelope a = {0};
        struct mm_envelope b = {0};
        const char *audience = "";
        char text[256];
        (void)snprintf(text, sizeof text, "{\"audiences\": [\"other-a\", \"lore\"], \"resources\": [\"urc-1*\"], %s}",
                       CASES[i].a);
        mm_cleanup(json_decref) json_t *first = json_loads(text, 0, NULL);
        (void)snprintf(text, sizeof text, "{\"audiences\": [\"lore\", \"other-b\"], \"resources\": [\"urc-2*\"], %s}",
                       CASES[i].b);
        mm_cleanup(json_decref) json_t *second = json_loads(text, 0, NULL);
        assert_true(mm_envelope_build(first, MM_ES256, &a, NULL) && mm_envelope_build(second, MM_ES256, &b, NULL));
        assert_int_equal(mm_envelopes_overlap(&a, &b, &audience), CASES[i].do_overlap);
        assert_string_equal(audience, CASES[i].do_overlap ? "lore" : "");
        mm_envelope_clear(&a);
        mm_envelope_clear(&b);
    }
}

/* --- the decision */

/* Words with spaces between them, as a list; the caller clears it. */
static struct mm_strings list(const char *words)
{
    mm_cleanup(json_decref) json_t *array = json_array();
    mm_cleanup(free) char *text = strdup(words);
    for (char *rest = text, *word; (word = strsep(&rest, " "));)
        if (*word)
            assert_true(mm_json_append(array, json_string(word), NULL));
    struct mm_strings strings = {0};
    assert_true(mm_strings_build(array, &strings, NULL));
    return strings;
}

struct question {
    const char *client;
    const char *claims; /* NULL: a token of ci-build's */
    const char *scopes[3];
    const char *resource;
    const char *audience;
    int64_t ttl;
};

/* `scopes`, `resources` and `audiences` are the subject token's, if it is our own. */
static enum mm_code decide_for(const struct mm_tenant *tenant, const struct question *question, const char *scopes,
                               const char *resources, const char *audiences, struct mm_decision *ret_decision)
{
    mm_cleanup(json_decref) json_t *claims = question->claims ? json_loads(question->claims, 0, NULL) : NULL;
    const struct mm_account *client = mm_exchange_public_client(tenant, question->client);
    struct mm_exchange_subject subject = {
        .issuer = claims ? IDP : NULL,
        .claims = claims,
        .account = claims ? NULL : "ci-build",
        .scopes = list(scopes),
        .resources = list(resources),
        .audiences = list(audiences),
    };
    struct mm_token_request request = {
        .scopes = question->scopes,
        .resource_id = question->resource,
        .audience = question->audience,
        .ttl = question->ttl,
    };
    while (request.n_scopes < 3 && question->scopes[request.n_scopes])
        request.n_scopes++;
    struct mm_error err = {0};
    bool is_granted =
        mm_exchange_decide(tenant, &subject, client ? client : &tenant->accounts[0], &request, ret_decision, &err);
    mm_strings_clear(&subject.scopes);
    mm_strings_clear(&subject.resources);
    mm_strings_clear(&subject.audiences);
    assert_int_equal(is_granted, err.code == MM_OK);
    return err.code;
}

static enum mm_code decide(const struct mm_tenant *tenant, const struct question *question, const char *scopes,
                           const char *resources, struct mm_decision *ret_decision)
{
    char audiences[64];
    assert_int_equal(tenant->audience.n, 2);
    (void)snprintf(audiences, sizeof audiences, "%s %s", tenant->audience.items[0], tenant->audience.items[1]);
    return decide_for(tenant, question, scopes, resources, audiences, ret_decision);
}

#define ADMIN     "{\"groups\": [\"users\", \"admins\"]}"
#define DEVELOPER "{\"groups\": [\"developers\"]}"
#define BOTH      "{\"groups\": [\"admins\", \"testers\"]}"

static void one_rule_must_satisfy_the_whole_request(void **state)
{
    (void)state;
    static const struct {
        struct question question;
        enum mm_code code;
        size_t rule;
        int64_t ttl;
        size_t n_scopes; /* chosen by the rule */
    } CASES[] = {
        {{"lore-cli", ADMIN, {NULL}, "urc-9", NULL, 0}, MM_OK, 0, 300, 2},
        {{"lore-cli", ADMIN, {"read:repo"}, "urc-9", NULL, 600}, MM_OK, 0, 600, 0},
        {{"lore-cli", ADMIN, {"write:repo"}, "urc-9", "cache", 0}, MM_OK, 0, 300, 0},
        {{"lore-gui", DEVELOPER, {NULL}, "urc-17", NULL, 0}, MM_OK, 1, 60, 2},
        {{"lore-gui", DEVELOPER, {"read:blob"}, "urc-2", NULL, 900}, MM_OK, 1, 900, 0},
        {{"ci-build", DEVELOPER, {NULL}, "urc-2", NULL, 0}, MM_OK, 1, 60, 2},
        /* the first that covers it all */
        {{"lore-cli", BOTH, {NULL}, "urc-1", NULL, 0}, MM_OK, 0, 300, 2},
        {{"lore-cli", BOTH, {NULL}, "urc-1", NULL, 900}, MM_OK, 1, 900, 2},
        {{"lore-cli", BOTH, {"read:blob"}, "urc-1", NULL, 0}, MM_OK, 1, 60, 0},
        {{"lore-gui", BOTH, {NULL}, "urc-1", NULL, 0}, MM_OK, 1, 60, 2},
        {{"lore-cli", BOTH, {"read:blob", "write:repo"}, "urc-1", NULL, 0}, MM_SCOPE_NOT_GRANTED, 0, 0, 0},
        {{"lore-cli", BOTH, {"write:repo"}, "urc-1", NULL, 900}, MM_NO_SINGLE_GRANT, 0, 0, 0},
        {{"lore-cli", BOTH, {"read:blob"}, "urc-9", NULL, 0}, MM_NO_SINGLE_GRANT, 0, 0, 0},
        /* nobody's */
        {{"lore-gui", ADMIN, {NULL}, "urc-9", NULL, 0}, MM_SUBJECT_TOKEN_INVALID, 0, 0, 0},
        {{"lore-cli", "{\"groups\": [\"admins2\"]}", {NULL}, "urc-1", NULL, 0}, MM_SUBJECT_TOKEN_INVALID, 0, 0, 0},
        {{"lore-cli", "{\"groups\": \"Admins\"}", {NULL}, "urc-1", NULL, 0}, MM_SUBJECT_TOKEN_INVALID, 0, 0, 0},
        {{"lore-cli", "{\"groups\": {\"admins\": true}}", {NULL}, "urc-1", NULL, 0}, MM_SUBJECT_TOKEN_INVALID, 0, 0, 0},
        {{"lore-cli", "{\"realm_groups\": [\"admins\"]}", {NULL}, "urc-1", NULL, 0}, MM_SUBJECT_TOKEN_INVALID, 0, 0, 0},
        {{"lore-cli", "{}", {NULL}, "urc-1", NULL, 0}, MM_SUBJECT_TOKEN_INVALID, 0, 0, 0},
        {{"lore-cli", ADMIN, {NULL}, NULL, NULL, 0}, MM_INVALID_REQUEST, 0, 0, 0},
        {{"lore-cli", ADMIN, {NULL}, "urc-1", NULL, -1}, MM_INVALID_REQUEST, 0, 0, 0},
        {{"lore-cli", ADMIN, {"read:tree"}, "urc-1", NULL, 0}, MM_SCOPE_NOT_GRANTED, 0, 0, 0},
        {{"lore-cli", ADMIN, {"Read:repo"}, "urc-1", NULL, 0}, MM_SCOPE_NOT_GRANTED, 0, 0, 0},
        {{"lore-cli", ADMIN, {NULL}, "arc-1", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0, 0, 0},
        {{"lore-cli", ADMIN, {NULL}, "urc-*", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0, 0, 0},
        {{"lore-cli", ADMIN, {NULL}, "", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0, 0, 0},
        {{"lore-gui", DEVELOPER, {NULL}, "urc-20", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0, 0, 0},
        {{"lore-cli", ADMIN, {NULL}, "urc-1", "flat", 0}, MM_AUDIENCE_NOT_GRANTED, 0, 0, 0},
        {{"lore-cli", ADMIN, {NULL}, "urc-1", NULL, 601}, MM_TTL_TOO_LONG, 0, 0, 0},
    };
    struct mm_tenant tenant = build_whole(TENANT);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_decision decision = {0};
        enum mm_code code = decide(&tenant, &CASES[i].question, "", "", &decision);
        if (code != CASES[i].code)
            fail_msg("case %zu: %s", i, mm_code_name(code));
        if (code != MM_OK)
            continue;
        assert_int_equal(decision.grant_index, CASES[i].rule);
        assert_ptr_equal(decision.grant, &tenant.exchange->rules[CASES[i].rule].grant);
        assert_int_equal(decision.ttl, CASES[i].ttl);
        assert_int_equal(decision.n_scopes, CASES[i].n_scopes);
    }
    mm_tenant_clear(&tenant);
}

static void a_resource_server_exchanges_nothing_that_it_was_sent(void **state)
{
    (void)state;
    struct mm_tenant tenant = build_whole(TENANT);
    struct mm_account server = {.id = tenant.accounts[0].id, .identity = tenant.accounts[0].identity};
    mm_cleanup(json_decref) json_t *claims = json_loads(DEVELOPER, 0, NULL);
    const struct mm_exchange_subject subject = {.issuer = IDP, .claims = claims};
    const struct mm_token_request request = {.resource_id = "urc-2"};
    struct mm_decision decision;
    struct mm_error err = {0};
    assert_true(mm_exchange_decide(&tenant, &subject, &server, &request, &decision, NULL));
    server.introspects = tenant.audience;
    assert_false(mm_exchange_decide(&tenant, &subject, &server, &request, &decision, &err));
    assert_int_equal(err.code, MM_SUBJECT_TOKEN_INVALID);
    mm_tenant_clear(&tenant);
}

static void a_token_of_our_own_is_only_narrowed(void **state)
{
    (void)state;
    static const struct {
        const char *scopes; /* of the subject token */
        const char *resources;
        struct question question;
        enum mm_code code;
        size_t n_scopes;
    } CASES[] = {
        {"read:repo", "urc-1*", {"ci-build", NULL, {NULL}, "urc-17", NULL, 0}, MM_OK, 1},
        {"read:repo read:blob", "urc-1 urc-2", {"ci-build", NULL, {NULL}, "urc-2", NULL, 0}, MM_OK, 2},
        {"read:repo", "urc-1", {"ci-build", NULL, {"read:blob"}, "urc-1", NULL, 0}, MM_SCOPE_NOT_GRANTED, 0},
        {"read:tree", "urc-1", {"ci-build", NULL, {NULL}, "urc-1", NULL, 0}, MM_SCOPE_NOT_GRANTED, 0},
        {"", "urc-1", {"ci-build", NULL, {NULL}, "urc-1", NULL, 0}, MM_SCOPE_NOT_GRANTED, 0},
        {"read:repo", "urc-1", {"ci-build", NULL, {"read:repo"}, "urc-2", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0},
        {"read:repo", "urc-1", {"ci-build", NULL, {"read:repo"}, "urc-10", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0},
        {"read:repo", "", {"ci-build", NULL, {"read:repo"}, "urc-1", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0},
        {"read:repo", "urc-*", {"lore-cli", NULL, {NULL}, "urc-1", NULL, 0}, MM_SUBJECT_TOKEN_INVALID, 0},
        {"read:repo", "*", {"ci-build", NULL, {NULL}, "arc-1", NULL, 0}, MM_RESOURCE_NOT_GRANTED, 0},
    };
    struct mm_tenant tenant = build_whole(TENANT);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_decision decision = {0};
        enum mm_code code = decide(&tenant, &CASES[i].question, CASES[i].scopes, CASES[i].resources, &decision);
        if (code != CASES[i].code || decision.n_scopes != CASES[i].n_scopes)
            fail_msg("case %zu: %s", i, mm_code_name(code));
    }
    mm_tenant_clear(&tenant);
}

static void a_limited_token_of_our_own_brings_none_for_tier_1(void **state)
{
    (void)state;
    mm_cleanup(free) char *a = with(TENANT, "audience: [lore, cache]", "audience: [lore, flat]");
    mm_cleanup(free) char *b = with(a, "\"urc-1*\"]\n        ttl", "\"urc-*\"]\n        ttl");
    mm_cleanup(free) char *text = with(b, "\"urc-1*\", \"urc-2\"", "\"urc-*\"");
    struct mm_tenant tenant = build_whole(text);
    struct mm_decision decision;
    struct question question = {"ci-build", NULL, {NULL}, "urc-1", "flat", 0};
    assert_int_equal(decide(&tenant, &question, "read:repo", "urc-1*", &decision), MM_AUDIENCE_NOT_GRANTED);
    assert_int_equal(decide(&tenant, &question, "read:repo", "urc-*", &decision), MM_OK);
    question.audience = NULL;
    assert_int_equal(decide(&tenant, &question, "read:repo", "urc-1*", &decision), MM_AUDIENCE_NOT_GRANTED);
    question.audience = "lore";
    assert_int_equal(decide(&tenant, &question, "read:repo", "urc-1*", &decision), MM_OK);
    mm_tenant_clear(&tenant);
}

static void a_token_of_our_own_brings_none_for_whom_it_is_not_for(void **state)
{
    (void)state;
    struct mm_tenant tenant = build_whole(TENANT);
    struct mm_decision decision;
    struct question question = {"ci-build", NULL, {NULL}, "urc-1", "cache", 0};
    assert_int_equal(decide_for(&tenant, &question, "read:repo", "urc-1*", "lore", &decision), MM_AUDIENCE_NOT_GRANTED);
    question.audience = "lore";
    assert_int_equal(decide_for(&tenant, &question, "read:repo", "urc-1*", "lore", &decision), MM_OK);
    question.audience = NULL;
    assert_int_equal(decide_for(&tenant, &question, "read:repo", "urc-1*", "lore", &decision), MM_OK);
    assert_int_equal(decide_for(&tenant, &question, "read:repo", "urc-1*", "", &decision), MM_AUDIENCE_NOT_GRANTED);
    mm_tenant_clear(&tenant);
}

/* --- whatever is asked for, nothing is gained */

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 16;
}

static struct mm_strings some_of(uint32_t *seed, const struct mm_strings *all, char **out)
{
    struct mm_strings strings = {.items = out};
    for (size_t i = 0; i < all->n; i++)
        if (next(seed) % 2)
            out[strings.n++] = all->items[i];
    return strings;
}

static bool has_resource_among(const struct mm_strings *patterns, const char *resource)
{
    for (size_t i = 0; i < patterns->n; i++) {
        size_t length = strcspn(patterns->items[i], "*");
        if (patterns->items[i][length] ? strncmp(patterns->items[i], resource, length) == 0
                                       : strcmp(patterns->items[i], resource) == 0)
            return true;
    }
    return false;
}

enum { WORDS_MAX = 8 };

/* What one round is made of, and where its lists lie. */
struct round {
    struct mm_exchange_rule rules[2];
    struct mm_exchange exchange;
    struct mm_tenant tenant;
    struct mm_account client;
    struct mm_exchange_subject subject;
    struct mm_token_request request;
    char *words[8][WORDS_MAX];
};

static struct mm_strings all_scopes, all_patterns, all_resources, all_audiences, all_accounts;

static void make_round(uint32_t *seed, struct round *round)
{
    *round = (struct round){.exchange = {.n_rules = 2}};
    for (size_t i = 0; i < 2; i++) {
        round->rules[i].accounts = (struct mm_strings){all_accounts.items, next(seed) % 4 > 0};
        round->rules[i].grant.scopes = some_of(seed, &all_scopes, round->words[i]);
        round->rules[i].grant.resources = some_of(seed, &all_patterns, round->words[2 + i]);
        round->rules[i].grant.ttl_default = 60;
        round->rules[i].grant.ttl_max = 60 + next(seed) % 3 * 60;
    }
    round->exchange.rules = round->rules;
    round->tenant = (struct mm_tenant){.audience = all_audiences, .exchange = &round->exchange};
    round->client = (struct mm_account){.id = all_accounts.items[0], .identity = all_accounts.items[0]};
    round->subject.account = all_accounts.items[0];
    round->subject.scopes = some_of(seed, &all_scopes, round->words[4]);
    round->subject.resources = some_of(seed, &all_patterns, round->words[5]);
    round->subject.audiences = some_of(seed, &all_audiences, round->words[7]);
    if (next(seed) % 2)
        round->request.audience = all_audiences.items[next(seed) % all_audiences.n];
    struct mm_strings asked = some_of(seed, &all_scopes, round->words[6]);
    round->request.scopes = (const char *const *)asked.items;
    round->request.n_scopes = asked.n;
    round->request.resource_id = all_resources.items[next(seed) % all_resources.n];
    round->request.ttl = next(seed) % 4 * 60;
}

static void assert_nothing_gained(const struct round *round, const struct mm_decision *decision)
{
    const struct mm_exchange_rule *rule = &round->rules[decision->grant_index];
    const struct mm_token_request *request = &round->request;
    const char *const *granted = request->n_scopes ? request->scopes : decision->scopes;
    size_t n = request->n_scopes ? request->n_scopes : decision->n_scopes;
    assert_true(n > 0 && rule->accounts.n == 1);
    for (size_t i = 0; i < n; i++) {
        assert_true(mm_strings_have(&round->subject.scopes, granted[i]));
        assert_true(mm_strings_have(&rule->grant.scopes, granted[i]));
    }
    assert_true(has_resource_among(&round->subject.resources, request->resource_id));
    assert_true(has_resource_among(&rule->grant.resources, request->resource_id));
    assert_null(strchr(request->resource_id, '*'));
    if (request->audience)
        assert_true(mm_strings_have(&round->subject.audiences, request->audience));
    assert_true(decision->audiences == &round->subject.audiences && decision->audiences->n > 0);
    assert_true(decision->ttl >= 1 && decision->ttl <= rule->grant.ttl_max);
}

static void no_exchange_gains_a_right(void **state)
{
    (void)state;
    enum { ROUNDS = 20000 };
    uint32_t seed = 8693;
    size_t n_granted = 0;
    all_scopes = list("read:repo read:blob write:repo read:tree");
    all_patterns = list("urc-* urc-1* urc-1 urc-10 urc-2");
    all_resources = list("urc-1 urc-10 urc-11 urc-2 urc-3 arc-1 urc-*");
    all_audiences = list("lore cache");
    all_accounts = list("ci-build");
    for (size_t i = 0; i < ROUNDS; i++) {
        struct round round;
        struct mm_decision decision;
        make_round(&seed, &round);
        if (!mm_exchange_decide(&round.tenant, &round.subject, &round.client, &round.request, &decision, NULL))
            continue;
        n_granted++;
        assert_nothing_gained(&round, &decision);
    }
    assert_true(n_granted > ROUNDS / 50);
    struct mm_strings *lists[] = {&all_scopes, &all_patterns, &all_resources, &all_audiences, &all_accounts};
    for (size_t i = 0; i < MM_ARRAY_SIZE(lists); i++)
        mm_strings_clear(lists[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_is_built_as_its_file_says),
        cmocka_unit_test(a_public_client_is_known_by_its_id_and_its_whole_name),
        cmocka_unit_test(an_exchange_that_breaks_a_rule_is_refused_at_the_right_line),
        cmocka_unit_test(an_exchange_that_nobody_can_use_is_warned_of),
        cmocka_unit_test(a_limited_grant_is_refused_for_an_audience_that_reads_no_resources),
        cmocka_unit_test(an_audience_of_tier_1_is_shared_only_on_purpose),
        cmocka_unit_test(one_rule_must_satisfy_the_whole_request),
        cmocka_unit_test(a_token_of_our_own_is_only_narrowed),
        cmocka_unit_test(a_resource_server_exchanges_nothing_that_it_was_sent),
        cmocka_unit_test(a_limited_token_of_our_own_brings_none_for_tier_1),
        cmocka_unit_test(a_token_of_our_own_brings_none_for_whom_it_is_not_for),
        cmocka_unit_test(no_exchange_gains_a_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
