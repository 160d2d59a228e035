/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"
#include "policy/rule.h"
#include "policy/syntax.h"

#define FINGERPRINT_PLAIN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FINGERPRINT_COLONS \
    "01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF"

#define TEMPLATE(uri, resource) "resource_template: {uri: \"" uri "\", resource: \"" resource "\"}\nmax_ttl: 15m"

static const struct mm_service_terms TERMS = {.issuer = "https://mint.example", .max_ttl = 3600};

static const char ENVELOPE[] = "file: acme.yaml\n"
                               "tiers: {other.example: 1}\n"
                               "client_ca: ca.pem\n"
                               "audiences: [lore.example, other.example]\n"
                               "resources: [\"urc-*\", \"one\"]\n";

static const char TENANT[] = "tenant: acme\n"
                             "env: production\n"
                             "audience: [lore.example]\n"
                             "max_ttl: 15m\n"
                             "accounts:\n"
                             "  - id: ci-build\n"
                             "    name: Build farm\n"
                             "    authenticate:\n"
                             "      - mtls: {san_uri: \"spiffe://acme.example/ci/build\"}\n"
                             "      - mtls: {san_dns: CI.acme.example}\n"
                             "    grants:\n"
                             "      - scopes: [\"read:repo\", \"read:blob\"]\n"
                             "        resources: [\"urc-01*\", \"one\"]\n"
                             "        ttl: {default: 10m, max: 15m}\n"
                             "  - id: deploy\n"
                             "    name: Deployment\n"
                             "    is_service_account: true\n"
                             "    authenticate:\n"
                             "      - mtls: {fingerprint: \"" FINGERPRINT_COLONS "\"}\n"
                             "    grants:\n"
                             "      - scopes: [\"read:repo\"]\n"
                             "        resources: [\"urc-*\"]\n"
                             "        ttl: {default: 5m, max: 5m}\n";

static void read_yaml(const char *text, struct mm_document *document)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    if (!mm_yaml_parse("acme.yaml", text, strlen(text), document, &problems))
        fail_msg("%s", problems.items[0].reason);
}

static void make_envelope(const char *text, struct mm_envelope *envelope)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    read_yaml(text, &document);
    assert_true(mm_schema_validate(&MM_ENVELOPE_SCHEMA, &document, &problems));
    assert_true(mm_envelope_build(document.root, MM_ES256, envelope, NULL));
}

/* As config/ does it: the schema, then the tenant, or its checks alone where the schema refused. */
static bool build_within(const char *envelope, const char *text, struct mm_tenant *tenant, struct mm_problems *problems)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    make_envelope(envelope, &tenant->envelope);
    (void)!mm_yaml_parse("acme.yaml", text, strlen(text), &document, problems);
    if (!document.root)
        return false;
    if (mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, problems) && problems->n_errors == 0)
        return mm_tenant_build("acme", &document, &TERMS, tenant, problems);
    mm_tenant_check("acme", &document, &tenant->envelope, &TERMS, problems);
    return false;
}

static bool build(const char *text, struct mm_tenant *tenant, struct mm_problems *problems)
{
    return build_within(ENVELOPE, text, tenant, problems);
}

static void a_tenant_is_built_as_its_file_says(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_true(build(TENANT, &tenant, &problems));
    assert_int_equal(problems.n, 0);
    assert_string_equal(tenant.id, "acme");
    assert_string_equal(tenant.env, "production");
    assert_int_equal(tenant.max_ttl, 900);
    assert_int_equal(tenant.audience.n, 1);
    assert_int_equal(tenant.n_accounts, 2);
    const struct mm_account *ci = &tenant.accounts[0];
    assert_string_equal(ci->identity, "acme/ci-build");
    assert_string_equal(ci->name, "Build farm");
    assert_false(ci->is_service_account);
    assert_int_equal(ci->line, 6);
    assert_int_equal(ci->n_mtls, 2);
    assert_string_equal(ci->mtls[0].names[MM_MTLS_SAN_URI], "spiffe://acme.example/ci/build");
    assert_null(ci->mtls[0].names[MM_MTLS_SAN_DNS]);
    assert_string_equal(ci->mtls[1].names[MM_MTLS_SAN_DNS], "ci.acme.example");
    assert_int_equal(ci->n_grants, 1);
    assert_int_equal(ci->grants[0].line, 12);
    assert_int_equal(ci->grants[0].ttl_default, 600);
    assert_int_equal(ci->grants[0].ttl_max, 900);
    assert_string_equal(ci->grants[0].scopes.items[1], "read:blob");
    assert_string_equal(ci->grants[0].resources.items[0], "urc-01*");
    assert_true(tenant.accounts[1].is_service_account);
    assert_string_equal(tenant.accounts[1].mtls[0].names[MM_MTLS_FINGERPRINT], FINGERPRINT_PLAIN);
    mm_tenant_clear(&tenant);
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

static void a_resource_template_is_taken_as_it_is(void **state)
{
    (void)state;
    mm_cleanup(free) char *text = with(TENANT, "max_ttl: 15m", TEMPLATE("https://a.b:8443/p/{id}/x", "urc-{id}.x"));
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_true(build(text, &tenant, &problems));
    assert_string_equal(tenant.resource_template.uri, "https://a.b:8443/p/{id}/x");
    assert_string_equal(tenant.resource_template.resource, "urc-{id}.x");
    mm_tenant_clear(&tenant);
}

static void tokens_are_bound_where_the_account_or_its_tenant_says_so(void **state)
{
    (void)state;
    mm_cleanup(free) char *account = with(TENANT, "is_service_account: true", "certificate_bound: required");
    mm_cleanup(free) char *tenant = with(TENANT, "max_ttl: 15m", "certificate_bound: required\nmax_ttl: 15m");
    const struct {
        const char *text;
        enum mm_binding first;
        enum mm_binding second;
    } cases[] = {{TENANT, MM_BINDING_NONE, MM_BINDING_NONE},
                 {account, MM_BINDING_NONE, MM_BINDING_REQUIRED},
                 {tenant, MM_BINDING_REQUIRED, MM_BINDING_REQUIRED}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant built = {0};
        assert_true(build(cases[i].text, &built, &problems));
        assert_int_equal(built.accounts[0].binding, cases[i].first);
        assert_int_equal(built.accounts[1].binding, cases[i].second);
        mm_tenant_clear(&built);
    }
}

static void a_rate_limit_is_the_files_own_or_its_envelopes(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(free) char *limited =
        with(TENANT, "max_ttl: 15m", "max_ttl: 15m\nrate_limit: {per_minute: 600, burst: 100}");
    mm_cleanup(free) char *text =
        with(limited, "is_service_account: true", "rate_limit: {per_minute: 60}\n    is_service_account: true");
    mm_cleanup(free) char *envelope = NULL;
    assert_true(asprintf(&envelope, "%srate_limit: {per_minute: 30, burst: 7}\n", ENVELOPE) > 0);
    struct mm_tenant tenant = {0};
    assert_true(build(text, &tenant, &problems));
    assert_int_equal(tenant.rate.per_minute, 600);
    assert_int_equal(tenant.rate.burst, 100);
    assert_int_equal(tenant.accounts[0].rate.per_minute, 0);
    assert_int_equal(tenant.accounts[1].rate.per_minute, 60);
    assert_int_equal(tenant.accounts[1].rate.burst, 60);
    mm_tenant_clear(&tenant);
    assert_true(build_within(envelope, TENANT, &tenant, &problems));
    assert_int_equal(tenant.rate.per_minute, 30);
    assert_int_equal(tenant.rate.burst, 7);
    mm_tenant_clear(&tenant);
    assert_true(build(TENANT, &tenant, &problems));
    assert_int_equal(tenant.rate.per_minute, 0);
    mm_tenant_clear(&tenant);
}

static void a_rate_limit_over_the_one_above_it_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *envelope;
        const char *tenant;
        const char *account;
        const char *reason;
    } CASES[] = {
        {"", "{per_minute: 60, burst: 20}", "{per_minute: 61, burst: 20}", "would never be reached"},
        {"", "{per_minute: 60, burst: 20}", "{per_minute: 60, burst: 21}", "would never be reached"},
        {"{per_minute: 60, burst: 20}", "{per_minute: 61, burst: 20}", NULL, "more than the tenant's envelope has"},
        {"{per_minute: 60, burst: 20}", "{per_minute: 60, burst: 21}", NULL, "more than the tenant's envelope has"},
        {"{per_minute: 60, burst: 20}", NULL, "{per_minute: 60, burst: 21}", "would never be reached"},
        {"", "{per_minute: 0}", NULL, "must be at least 1"},
        {"", "{per_minute: 1000001}", NULL, "must be at most 1000000"},
        {"", "{per_minute: 1, burst: 0}", NULL, "must be at least 1"},
        {"", "{burst: 1}", NULL, "missing key"},
        {"", "{per_minute: 1, per_hour: 2}", NULL, "unknown key"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(free) char *envelope = NULL;
        mm_cleanup(free) char *limit = NULL;
        assert_true(
            asprintf(&envelope, "%s%s%s\n", ENVELOPE, *CASES[i].envelope ? "rate_limit: " : "", CASES[i].envelope) > 0);
        assert_true(asprintf(&limit, "max_ttl: 15m%s%s", CASES[i].tenant ? "\nrate_limit: " : "",
                             CASES[i].tenant ? CASES[i].tenant : "") > 0);
        mm_cleanup(free) char *tenant_text = with(TENANT, "max_ttl: 15m", limit);
        mm_cleanup(free) char *account = NULL;
        assert_true(asprintf(&account, "%s%s", CASES[i].account ? "rate_limit: " : "is_service_account: ",
                             CASES[i].account ? CASES[i].account : "true") > 0);
        mm_cleanup(free) char *text = with(tenant_text, "is_service_account: true", account);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant tenant = {0};
        assert_false(build_within(envelope, text, &tenant, &problems));
        assert_int_equal(problems.n_errors, 1);
        if (!strstr(problems.items[0].reason, CASES[i].reason))
            fail_msg("%zu: %s", i, problems.items[0].reason);
        mm_tenant_clear(&tenant);
    }
}

/* A caller's `resource` would be the one or the other. */
static void an_audience_that_the_resource_template_has_is_refused(void **state)
{
    (void)state;
    mm_cleanup(free) char *envelope = with(ENVELOPE, "lore.example", "\"https://a/p/x\", lore.example");
    mm_cleanup(free) char *audience = with(TENANT, "audience: [lore.example]", "audience: [\"https://a/p/x\"]");
    mm_cleanup(free) char *text = with(audience, "max_ttl: 15m", TEMPLATE("https://a/p/{id}", "urc-{id}"));
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    make_envelope(envelope, &tenant.envelope);
    read_yaml(text, &document);
    assert_true(mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, &problems));
    assert_false(mm_tenant_build("acme", &document, &TERMS, &tenant, &problems));
    assert_int_equal(problems.n_errors, 1);
    assert_non_null(strstr(problems.items[0].reason, "resource_template has it"));
    mm_tenant_clear(&tenant);
}

static void an_envelope_has_narrow_defaults(void **state)
{
    (void)state;
    struct mm_envelope envelope = {0};
    make_envelope(ENVELOPE, &envelope);
    assert_int_equal(envelope.actions.n, 1);
    assert_string_equal(envelope.actions.items[0], "read");
    assert_int_equal(envelope.kinds.n, 2);
    assert_int_equal(envelope.shared_with.n, 0);
    mm_envelope_clear(&envelope);
}

struct refusal {
    const char *old;
    const char *new;
    int line;
    const char *words;
};

static void assert_tenant_refused(const struct refusal *refusal)
{
    mm_cleanup(free) char *text = with(TENANT, refusal->old, refusal->new);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_false(build(text, &tenant, &problems));
    mm_tenant_clear(&tenant);
    if (problems.n_errors != 1 || problems.items[0].line != refusal->line ||
        !strstr(problems.items[0].reason, refusal->words) || strcmp(problems.items[0].file, "acme.yaml") != 0)
        fail_msg("%s: %zu problems, first on line %d: %s", refusal->new, problems.n_errors,
                 problems.n ? problems.items[0].line : 0, problems.n ? problems.items[0].reason : "");
}

static void a_file_that_breaks_a_rule_is_refused_at_the_right_line(void **state)
{
    (void)state;
    static const struct refusal REFUSALS[] = {
        {"tenant: acme", "tenant: globex", 1, "for tenant ‹globex›"},
        {"tenant: acme", "tenant: Acme", 1, "lower-case"},
        {"env: production\n", "", 1, "missing key ‹env›"},
        {"env: production", "env: \"a b\"", 2, "without spaces"},
        {"audience: [lore.example]", "audience: [lore.example, evil.example]", 3,
         "audience ‹evil.example› lies outside"},
        {"audience: [lore.example]", "audience: lore.example", 3, "must be a list"},
        {"audience: [lore.example]", "audience: []", 3, "at least 1"},
        {"max_ttl: 15m", "resource_template: {uri: \"https://a/{id}\"}\nmax_ttl: 15m", 4, "missing key ‹resource›"},
        {"max_ttl: 15m", "certificate_bound: optional\nmax_ttl: 15m", 4, "required"},
        {"max_ttl: 15m", "certificate_bound: true\nmax_ttl: 15m", 4, "string"},
        {"is_service_account: true", "certificate_bound: never", 17, "required"},
        {"max_ttl: 15m", TEMPLATE("https://a/x", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a/{id}/{id}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a/{id}}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a/{{id}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a/{ID}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://{id}/a", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a{id}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a:1{id}/", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a/?{id}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a/#{id}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("http://a/{id}", "urc-{id}"), 4, "one {id} in its path"},
        {"max_ttl: 15m", TEMPLATE("https://a/{id}", "urc-*"), 4, "with one {id}"},
        {"max_ttl: 15m", TEMPLATE("https://a/{id}", "urc-{id}*"), 4, "with one {id}"},
        {"max_ttl: 15m", TEMPLATE("https://a/{id}", "urc-{id}{id}"), 4, "with one {id}"},
        {"max_ttl: 15m", TEMPLATE("https://a/{id}", "urc {id}"), 4, "with one {id}"},
        {"max_ttl: 15m", "max_ttl: 61m", 4, "keys.max_ttl"},
        {"max_ttl: 15m", "max_ttl: 14m", 14, "longer than the tenant's max_ttl"},
        {"max_ttl: 15m", "max_ttl: 900", 4, "duration"},
        {"id: deploy", "id: ci-build", 15, "duplicate account ‹ci-build›, first on line 6"},
        {"id: deploy", "id: de/ploy", 15, "lower-case"},
        {"id: deploy", "id: -deploy", 15, "hyphen"},
        {"name: Deployment", "name: \"a\\nb\"", 16, "control characters"},
        {"name: Deployment", "name: \"\"", 16, "at least 1"},
        {"is_service_account: true", "is_service_account: \"true\"", 17, "true or false"},
        {"is_service_account: true", "is_service_acount: true", 17, "did you mean ‹is_service_account›?"},
        {"\"read:repo\", ", "\"write:repo\", ", 12, "its actions don't have ‹write›"},
        {"\"read:repo\", ", "\"read:secret\", ", 12, "unknown scope ‹read:secret›"},
        {"\"read:repo\", ", "\"read\", ", 12, "action:kind"},
        {"\"read:repo\", ", "\"read:repo:x\", ", 12, "action:kind"},
        {"\"read:repo\", ", "\"read:\", ", 12, "action:kind"},
        {"\"read:repo\", ", "\"*:repo\", ", 12, "action:kind"},
        {"\"read:repo\", ", "\"read:blob\", ", 12, "repeats ‹read:blob›"},
        {"[\"read:repo\", \"read:blob\"]", "[]", 12, "at least 1"},
        {"\"urc-01*\", ", "\"arc-01*\", ", 13, "resource ‹arc-01*› lies outside"},
        {"\"urc-01*\", ", "\"urc*\", ", 13, "resource ‹urc*› lies outside"},
        {"\"urc-01*\", ", "\"one*\", ", 13, "resource ‹one*› lies outside"},
        {"\"urc-01*\", ", "\"*\", ", 13, "then at most one *"},
        {"\"urc-01*\", ", "\"urc-*1\", ", 13, "then at most one *"},
        {"\"urc-01*\", ", "\"urc-**\", ", 13, "then at most one *"},
        {"\"urc-01*\", ", "\"urc- 1\", ", 13, "then at most one *"},
        {"\"urc-01*\", ", "\"one\", ", 13, "repeats ‹one›"},
        {"ttl: {default: 10m, max: 15m}", "ttl: {default: 15m, max: 10m}", 14, "default TTL is longer"},
        {"ttl: {default: 10m, max: 15m}", "ttl: {default: 10m, max: 16m}", 14, "longer than the tenant's max_ttl"},
        {"ttl: {default: 10m, max: 15m}", "ttl: {default: 10m}", 14, "missing key ‹max›"},
        {"ttl: {default: 10m, max: 15m}", "ttl: {default: 0s, max: 15m}", 14, "duration"},
        {"spiffe://acme.example/ci/build", "spiffe://acme.example/", 9, "none empty"},
        {"spiffe://acme.example/ci/build", "spiffe://Acme.example/ci", 9, "trust domain"},
        {"spiffe://acme.example/ci/build", "spiffe://acme.example/ci/../x", 9, "no . or .."},
        {"spiffe://acme.example/ci/build", "spiffe://acme.example:8443/ci", 9, "trust domain"},
        {"spiffe://acme.example/ci/build", "SPIFFE://acme.example/ci", 9, "starts with spiffe://"},
        {"spiffe://acme.example/ci/build", "not a uri", 9, "must be a URI"},
        {"san_dns: CI.acme.example", "san_dns: \"*.acme.example\"", 10, "without wildcards"},
        {"san_dns: CI.acme.example", "san_dns: ci..example", 10, "DNS name"},
        {"san_dns: CI.acme.example", "san_dsn: CI.acme.example", 10, "did you mean ‹san_dns›?"},
        {"san_dns: CI.acme.example", "", 10, "must name a san_uri"},
        {"fingerprint: \"", "fingerprint: \"00", 19, "64 hex digits"},
        {"{fingerprint: \"" FINGERPRINT_COLONS "\"}", "{san_dns: ci.ACME.example}", 19,
         "see account ‹ci-build› on line 10"},
        {"{fingerprint: \"", "{san_dns: ci.acme.example, fingerprint: \"", 19, "see account ‹ci-build› on line 10"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSALS); i++)
        assert_tenant_refused(&REFUSALS[i]);
}

static void a_way_to_authenticate_that_there_is_not_is_unknown(void **state)
{
    (void)state;
    mm_cleanup(free) char *text = with(TENANT, "mtls: {san_dns: CI.acme.example}", "api_key: {}");
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_false(build(text, &tenant, &problems));
    mm_tenant_clear(&tenant);
    assert_int_equal(problems.n_errors, 1);
    assert_string_equal(problems.items[0].reason, "unknown key ‹api_key›");
    assert_int_equal(problems.items[0].line, 10);
}

static void an_account_without_credentials_or_grants_is_refused(void **state)
{
    (void)state;
    static const char TEXT[] = "tenant: acme\nenv: e\naudience: [lore.example]\nmax_ttl: 1m\naccounts:\n"
                               "  - id: a\n    name: A\n    authenticate: []\n    grants: []\n  - id: b\n    name: B\n";
    static const int LINES[] = {8, 9, 10, 10};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_false(build(TEXT, &tenant, &problems));
    mm_tenant_clear(&tenant);
    assert_int_equal(problems.n_errors, MM_ARRAY_SIZE(LINES));
    for (size_t i = 0; i < MM_ARRAY_SIZE(LINES); i++)
        assert_int_equal(problems.items[i].line, LINES[i]);
}

static void one_mistake_does_not_hide_another(void **state)
{
    (void)state;
    static const char TEXT[] = "tenant: globex\n"           /* not ours */
                               "env: &e production\n"       /* an anchor */
                               "env: staging\n"             /* a duplicate */
                               "audience: [evil.example]\n" /* outside */
                               "max_ttl: 2h\n"              /* over the cap */
                               "owner: me\n"                /* unknown */
                               "accounts:\n"
                               "  - id: a\n"
                               "    name: 7\n" /* wrong type */
                               "    authenticate: [{mtls: {san_dns: a.b}}]\n"
                               "    grants: &g\n"                        /* an anchor */
                               "      - scopes: [\"write:repo\"]\n"      /* outside */
                               "        resources: [\"x\"]\n"            /* outside */
                               "        ttl: {default: 3h, max: 150m}\n" /* default over max, max over the tenant's */
                               "  - id: a\n"                             /* duplicate */
                               "    name: B\n"
                               "    authenticate: [{mtls: {san_dns: A.b}}]\n" /* the same credential */
                               "    grants: *g\n";                            /* an alias */
    static const bool EXPECTED[] = {
        [1] = true,  [2] = true,  [3] = true,  [4] = true,  [5] = true,  [6] = true,  [9] = true,
        [11] = true, [12] = true, [13] = true, [14] = true, [15] = true, [17] = true, [18] = true};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_false(build(TEXT, &tenant, &problems));
    mm_tenant_clear(&tenant);
    bool found[MM_ARRAY_SIZE(EXPECTED)] = {false};
    for (size_t i = 0; i < problems.n; i++)
        found[problems.items[i].line] = true;
    for (size_t i = 0; i < MM_ARRAY_SIZE(EXPECTED); i++)
        if (found[i] != EXPECTED[i])
            fail_msg("line %zu", i);
    assert_int_equal(problems.n_errors, 15);
}

static void a_wider_rule_of_another_account_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    assert_tenant_refused(&(struct refusal){"{san_dns: CI.acme.example}",
                                            "{san_dns: ci.acme.example, fingerprint: \"" FINGERPRINT_PLAIN "\"}", 19,
                                            "see account ‹ci-build› on line 10"});
}

static void rules_of_one_account_may_overlap(void **state)
{
    (void)state;
    mm_cleanup(free) char *text = with(TENANT, "{san_dns: CI.acme.example}",
                                       "{san_dns: ci.example, san_uri: \"spiffe://acme.example/ci/build\"}");
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_true(build(text, &tenant, &problems));
    mm_tenant_clear(&tenant);
}

static void a_rule_covers_those_that_ask_for_more(void **state)
{
    (void)state;
    static char URI[] = "spiffe://a/b";
    static char DNS[] = "a.b";
    static char OTHER[] = "c.d";
    const struct mm_mtls_rule none = {0};
    const struct mm_mtls_rule uri = {.names = {[MM_MTLS_SAN_URI] = URI}};
    const struct mm_mtls_rule dns = {.names = {[MM_MTLS_SAN_DNS] = DNS}};
    const struct mm_mtls_rule both = {.names = {[MM_MTLS_SAN_URI] = URI, [MM_MTLS_SAN_DNS] = DNS}};
    const struct mm_mtls_rule other = {.names = {[MM_MTLS_SAN_URI] = URI, [MM_MTLS_SAN_DNS] = OTHER}};
    assert_true(mm_mtls_rule_covers(&uri, &uri));
    assert_true(mm_mtls_rule_covers(&uri, &both));
    assert_false(mm_mtls_rule_covers(&both, &uri));
    assert_false(mm_mtls_rule_covers(&uri, &dns));
    assert_false(mm_mtls_rule_covers(&both, &other));
    assert_false(mm_mtls_rule_covers(&none, &uri));
    assert_false(mm_mtls_rule_covers(&none, &none));
}

static struct mm_strings one_string(char **item)
{
    return (struct mm_strings){.items = item, .n = 1};
}

static void a_pattern_covers_by_prefix_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *outer;
        const char *inner;
        bool is_covered;
    } CASES[] = {
        {"urc-*", "urc-1", true},         {"urc-*", "urc-", true},     {"urc-*", "urc-*", true},
        {"urc-*", "urc-01*", true},       {"urc-*", "urc", false},     {"urc-*", "urc*", false},
        {"urc-*", "u*", false},           {"urc-*", "*", false},       {"urc-*", "", false},
        {"urc-*", "xurc-1", false},       {"urc-*", "URC-1", false},   {"urc-*", "urc-1**", false},
        {"urc-*", "urc-*1", false},       {"urc-*", "urc-1 ", false},  {"urc-*", "urc-1\n", false},
        {"urc-*", "urc-\xc3\xa4", false}, {"urc-", "urc-", true},      {"urc-", "urc-*", false},
        {"urc-", "urc-1", false},         {"urc-1", "urc-1", true},    {"urc-1", "urc-1*", false},
        {"urc-1", "urc-10", false},       {"urc-10", "urc-1", false},  {"urc-1*", "urc-*", false},
        {"urc-1*", "urc-1*", true},       {"urc-1*", "urc-10*", true}, {"urc-1*", "urc-2", false},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(free) char *outer = strdup(CASES[i].outer);
        const struct mm_strings patterns = one_string(&outer);
        bool is_literal = !strchr(CASES[i].inner, '*');
        if (mm_pattern_is_covered(&patterns, CASES[i].inner) != CASES[i].is_covered ||
            mm_resource_is_covered(&patterns, CASES[i].inner) != (CASES[i].is_covered && is_literal))
            fail_msg("%s covers %s", CASES[i].outer, CASES[i].inner);
    }
    const struct mm_strings none = {0};
    assert_false(mm_pattern_is_covered(&none, "urc-1"));
}

/* Every pattern over a small alphabet against every other: what is covered matches no string the outer one doesn't. */
static void coverage_agrees_with_matching_every_short_string(void **state)
{
    (void)state;
    static const char *const PATTERNS[] = {"a",   "b",   "aa",  "ab",  "ba",  "bb",   "a*",  "b*",
                                           "aa*", "ab*", "ba*", "bb*", "aab", "aab*", "aba", "aba*"};
    static const char *const STRINGS[] = {"a",   "b",   "aa",  "ab",  "ba",   "bb",   "aaa",  "aab",  "aba", "abb",
                                          "baa", "bab", "bba", "bbb", "aaba", "aabb", "abaa", "abab", "aaab"};
    for (size_t o = 0; o < MM_ARRAY_SIZE(PATTERNS); o++)
        for (size_t i = 0; i < MM_ARRAY_SIZE(PATTERNS); i++) {
            mm_cleanup(free) char *outer = strdup(PATTERNS[o]);
            mm_cleanup(free) char *inner = strdup(PATTERNS[i]);
            const struct mm_strings outer_list = one_string(&outer);
            const struct mm_strings inner_list = one_string(&inner);
            bool is_subset = true;
            for (size_t s = 0; s < MM_ARRAY_SIZE(STRINGS); s++)
                is_subset &=
                    !mm_resource_is_covered(&inner_list, STRINGS[s]) || mm_resource_is_covered(&outer_list, STRINGS[s]);
            if (strchr(inner, '*') && !strchr(outer, '*'))
                is_subset = false; /* a prefix has longer strings than those above */
            if (mm_pattern_is_covered(&outer_list, inner) != is_subset)
                fail_msg("%s covers %s", outer, inner);
        }
}

static void envelopes_overlap_at_a_common_audience_and_resource(void **state)
{
    (void)state;
    static const struct {
        const char *audience;
        const char *resource;
        bool overlaps;
    } CASES[] = {
        {"lore.example", "urc-*", true},   {"lore.example", "urc-1", true},  {"lore.example", "u*", true},
        {"lore.example", "urc-12*", true}, {"lore.example", "urc", false},   {"lore.example", "one", true},
        {"lore.example", "one*", true},    {"lore.example", "one1", false},  {"lore.example", "x*", false},
        {"third.example", "urc-*", false}, {"other.example", "urc-1", true}, {"LORE.example", "urc-1", false},
    };
    struct mm_envelope envelope = {0};
    make_envelope(ENVELOPE, &envelope);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(free) char *audience = strdup(CASES[i].audience);
        mm_cleanup(free) char *resource = strdup(CASES[i].resource);
        const struct mm_envelope other = {.audiences = one_string(&audience), .resources = one_string(&resource)};
        const char *common = NULL;
        assert_int_equal(mm_envelopes_overlap(&envelope, &other, &common), CASES[i].overlaps);
        assert_int_equal(mm_envelopes_overlap(&other, &envelope, &common), CASES[i].overlaps);
        if (CASES[i].overlaps)
            assert_string_equal(common, CASES[i].audience);
    }
    mm_envelope_clear(&envelope);
}

static const struct {
    const char *(*check)(const char *);
    const char *string;
    bool is_fine;
} SPELLINGS[] = {
    {mm_check_https_origin, "https://mint.example.com", true},
    {mm_check_https_origin, "https://mint.example.com:8443", true},
    {mm_check_https_origin, "https://[::1]:8443", true},
    {mm_check_https_origin, "https://localhost:8443", true},
    {mm_check_https_origin, "http://mint.example.com", false},
    {mm_check_https_origin, "HTTPS://mint.example.com", false},
    {mm_check_https_origin, "https://Mint.example.com", false},
    {mm_check_https_origin, "https://mint.example.com/", false},
    {mm_check_https_origin, "https://mint.example.com/x", false},
    {mm_check_https_origin, "https://mint.example.com?x", false},
    {mm_check_https_origin, "https://mint.example.com#x", false},
    {mm_check_https_origin, "https://user@mint.example.com", false},
    {mm_check_https_origin, "https://user:pw@mint.example.com", false},
    {mm_check_https_origin, "https://mint.example.com:", false},
    {mm_check_https_origin, "https://mint.example.com:0", false},
    {mm_check_https_origin, "https://mint.example.com:65536", false},
    {mm_check_https_origin, "https://mint.example.com:08443", false},
    {mm_check_https_origin, "https://mint.example.com:8443x", false},
    {mm_check_https_origin, "https://", false},
    {mm_check_https_origin, "https://:8443", false},
    {mm_check_https_origin, "https://[::1", false},
    {mm_check_https_origin, "https://[]", false},
    {mm_check_https_origin, "https://a b", false},
    {mm_check_https_origin, "https://a..b", false},
    {mm_check_https_origin, "https://-a", false},
    {mm_check_https_origin, "https://a\\b", false},
    {mm_check_https_url, "https://ci.example.com/a/b/", true},
    {mm_check_https_url, "https://ci.example.com", true},
    {mm_check_https_url, "https://ci.example.com/a?b", false},
    {mm_check_https_url, "https://ci.example.com/a#b", false},
    {mm_check_https_url, "https://ci.example.com/a b", false},
    {mm_check_id, "a", true},
    {mm_check_id, "0-a", true},
    {mm_check_id, "", false},
    {mm_check_id, "a_b", false},
    {mm_check_id, "a/b", false},
    {mm_check_id, "../a", false},
    {mm_check_id, "123456789012345678901234567890123456789012345678901234567890123", true},
    {mm_check_id, "1234567890123456789012345678901234567890123456789012345678901234", false},
    {mm_check_san_uri, "spiffe://example.org", true},
    {mm_check_san_uri, "spiffe://example.org/a/B_c.d-1", true},
    {mm_check_san_uri, "spiffe:///a", false},
    {mm_check_san_uri, "spiffe://example.org/a//b", false},
    {mm_check_san_uri, "spiffe://example.org/a/", false},
    {mm_check_san_uri, "spiffe://example.org/.", false},
    {mm_check_san_uri, "spiffe://example.org/a%2fb", false},
    {mm_check_san_uri, "spiffe://example.org/a?b", false},
    {mm_check_san_uri, "spiffe://u@example.org/a", false},
    {mm_check_san_uri, "spiffe:example", false},
    {mm_check_san_uri, "urn:uuid:1", true},
    {mm_check_san_uri, "https://example.org/x y", false},
    {mm_check_san_uri, ":x", false},
    {mm_check_san_uri, "x:", false},
    {mm_check_san_uri, "1x:y", false},
    {mm_check_fingerprint, FINGERPRINT_PLAIN, true},
    {mm_check_fingerprint, FINGERPRINT_COLONS, true},
    {mm_check_fingerprint, FINGERPRINT_PLAIN "0", false},
    {mm_check_fingerprint, "", false},
    {mm_check_dns_name, "a.b", true},
    {mm_check_dns_name, "a.b.", false},
    {mm_check_dns_name, ".a", false},
    {mm_check_dns_name, "a_b", false},
    {mm_check_dns_name, "a-.b", false},
    {mm_check_word, "read", true},
    {mm_check_word, "push-protected", true},
    {mm_check_word, "Read", false},
    {mm_check_word, "", false},
    {mm_check_word, "1a", false},
    {mm_check_visible, "lore.example", true},
    {mm_check_visible, "\xc3\xa4", false},
    {mm_check_visible, "a b", false},
    {mm_check_line, "a b \xc3\xa4", true},
    {mm_check_line, "a\x1b", false},
};

static void names_have_one_spelling(void **state)
{
    (void)state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(SPELLINGS); i++)
        if ((SPELLINGS[i].check(SPELLINGS[i].string) == NULL) != SPELLINGS[i].is_fine)
            fail_msg("%zu: %s", i, SPELLINGS[i].string);
}

static void resources_of_a_grant_fit_into_a_token(void **state)
{
    (void)state;
    mm_cleanup(free) char *list = calloc(1, 50000);
    for (int i = 0; i < 100; i++)
        (void)snprintf(list + strlen(list), 400, "\"urc-%0200d\",", i);
    mm_cleanup(free) char *text = with(TENANT, "\"urc-01*\",", list);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_false(build(text, &tenant, &problems));
    mm_tenant_clear(&tenant);
    assert_int_equal(problems.items[0].line, 13);
}

static void a_policys_digest_names_all_that_decides(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_tenant tenant = {0};
    assert_true(build(TENANT, &tenant, &problems));
    struct mm_policy policy = {.tenants = &tenant, .n_tenants = 1};
    char first[sizeof policy.digest];
    assert_true(mm_policy_seal(&policy, NULL));
    memcpy(first, policy.digest, sizeof first);
    assert_true(mm_policy_seal(&policy, NULL));
    assert_string_equal(policy.digest, first);
    char *const parts[] = {tenant.digest,
                           tenant.client_ca_digest,
                           tenant.id,
                           tenant.envelope.audiences.items[1],
                           tenant.envelope.resources.items[0],
                           tenant.envelope.actions.items[0],
                           tenant.envelope.kinds.items[1],
                           tenant.envelope.tier_1.items[0]};
    for (size_t i = 0; i < MM_ARRAY_SIZE(parts); i++) {
        char kept[2] = {parts[i][0], parts[i][1]};
        memcpy(parts[i], kept[0] ? "z" : "z\0", kept[0] ? 1 : 2);
        assert_true(mm_policy_seal(&policy, NULL));
        assert_string_not_equal(policy.digest, first);
        memcpy(parts[i], kept, 2);
    }
    assert_true(mm_policy_seal(&policy, NULL));
    assert_string_equal(policy.digest, first);
    mm_tenant_clear(&tenant);
}

static void a_tenant_is_found_by_its_id_alone(void **state)
{
    (void)state;
    static char IDS[][8] = {"a", "acme", "acme2", "b"};
    struct mm_tenant tenants[4] = {{.id = IDS[0]}, {.id = IDS[1]}, {.id = IDS[2]}, {.id = IDS[3]}};
    const struct mm_policy policy = {.tenants = tenants, .n_tenants = 4};
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(mm_policy_tenant(&policy, IDS[i]), &tenants[i]);
    assert_null(mm_policy_tenant(&policy, "acm"));
    assert_null(mm_policy_tenant(&policy, ""));
    assert_null(mm_policy_tenant(&policy, "ACME"));
    const struct mm_policy empty = {0};
    assert_null(mm_policy_tenant(&empty, "acme"));
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void mutated_files_are_built_or_refused(void **state)
{
    (void)state;
    static const char ALPHABET[] = "&*!|>'\"[]{}:,-?%@#\\\n \xc3"
                                   "0azM";
    uint32_t seed = 7;
    for (int round = 0; round < 3000; round++) {
        char text[sizeof TENANT];
        memcpy(text, TENANT, sizeof TENANT);
        for (uint32_t n = 1 + next_random(&seed) % 6; n > 0; n--) {
            uint32_t at = next_random(&seed) % (sizeof TENANT - 1);
            uint32_t from = next_random(&seed) % (sizeof TENANT - 1);
            text[at] = text[from];
            if (n % 2)
                text[at] = ALPHABET[next_random(&seed) % (sizeof ALPHABET - 1)];
        }
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant tenant = {0};
        bool is_built = build(text, &tenant, &problems);
        assert_int_equal(is_built, problems.n_errors == 0);
        mm_tenant_clear(&tenant);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenant_is_built_as_its_file_says),
        cmocka_unit_test(a_resource_template_is_taken_as_it_is),
        cmocka_unit_test(an_audience_that_the_resource_template_has_is_refused),
        cmocka_unit_test(a_rate_limit_is_the_files_own_or_its_envelopes),
        cmocka_unit_test(a_rate_limit_over_the_one_above_it_is_refused),
        cmocka_unit_test(an_envelope_has_narrow_defaults),
        cmocka_unit_test(a_file_that_breaks_a_rule_is_refused_at_the_right_line),
        cmocka_unit_test(a_way_to_authenticate_that_there_is_not_is_unknown),
        cmocka_unit_test(an_account_without_credentials_or_grants_is_refused),
        cmocka_unit_test(one_mistake_does_not_hide_another),
        cmocka_unit_test(a_wider_rule_of_another_account_is_refused_wherever_it_stands),
        cmocka_unit_test(rules_of_one_account_may_overlap),
        cmocka_unit_test(a_rule_covers_those_that_ask_for_more),
        cmocka_unit_test(a_pattern_covers_by_prefix_and_nothing_else),
        cmocka_unit_test(coverage_agrees_with_matching_every_short_string),
        cmocka_unit_test(envelopes_overlap_at_a_common_audience_and_resource),
        cmocka_unit_test(names_have_one_spelling),
        cmocka_unit_test(resources_of_a_grant_fit_into_a_token),
        cmocka_unit_test(a_policys_digest_names_all_that_decides),
        cmocka_unit_test(a_tenant_is_found_by_its_id_alone),
        cmocka_unit_test(mutated_files_are_built_or_refused),
        cmocka_unit_test(tokens_are_bound_where_the_account_or_its_tenant_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
