/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/diff.h"

static const char ENVELOPE[] = "{\"audiences\": [\"lore\", \"other\"], \"resources\": [\"urc-*\"], "
                               "\"actions\": [\"read\", \"write\"]}";

static const struct mm_service_terms TERMS = {.issuer = "https://mint.example", .max_ttl = 3600};

/* A tenant file of one account unless told otherwise, in JSON, which is YAML too. */
static char *file_of(const char *tenant, const char *accounts)
{
    char *text;
    assert_true(asprintf(&text, "{tenant: %s, env: prod, audience: [lore], max_ttl: 1h, accounts: [%s]}", tenant,
                         accounts) > 0);
    return text;
}

static void add_tenant_within(struct mm_policy *policy, const char *id, const char *within, const char *text)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *envelope = json_loads(within, 0, NULL);
    struct mm_tenant *tenants = realloc(policy->tenants, (policy->n_tenants + 1) * sizeof *tenants);
    assert_non_null(tenants);
    policy->tenants = tenants;
    struct mm_tenant *tenant = &tenants[policy->n_tenants++];
    *tenant = (struct mm_tenant){0};
    assert_true(mm_envelope_build(envelope, MM_ES256, &tenant->envelope, NULL));
    if (!mm_yaml_parse("t.yaml", text, strlen(text), &document, &problems) ||
        !mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, &problems) ||
        !mm_tenant_build(id, &document, &TERMS, tenant, &problems))
        fail_msg("%s", problems.items[0].reason);
}

static void add_tenant(struct mm_policy *policy, const char *id, const char *text)
{
    add_tenant_within(policy, id, ENVELOPE, text);
}

static struct mm_policy one_tenant(const char *accounts)
{
    struct mm_policy policy = {0};
    mm_cleanup(free) char *text = file_of("acme", accounts);
    add_tenant(&policy, "acme", text);
    return policy;
}

/* The difference as lines `tenant[/account] change what`. */
static void assert_diff(const struct mm_policy *before, const struct mm_policy *after, const char *expected)
{
    mm_cleanup(json_decref) json_t *changes = mm_policy_diff(before, after, NULL);
    assert_non_null(changes);
    char text[4096] = "";
    for (size_t i = 0; i < json_array_size(changes); i++) {
        const json_t *change = json_array_get(changes, i);
        const char *account = mm_json_string(change, "account");
        size_t length = strlen(text);
        assert_int_equal(json_object_size(change), 4);
        (void)snprintf(text + length, sizeof text - length, "%s%s%s %s %s\n", mm_json_string(change, "tenant"),
                       account ? "/" : "", account ? account : "", mm_json_string(change, "change"),
                       mm_json_string(change, "what"));
    }
    assert_string_equal(text, expected);
}

#define MTLS            "authenticate: [{mtls: {san_dns: ci.example}}]"
#define ACCOUNT(grants) "{id: ci, name: CI, " MTLS ", grants: [" grants "]}"
#define GRANT(scopes, resources, max) \
    "{scopes: [" scopes "], resources: [" resources "], ttl: {default: 1m, max: " max "}}"
#define REPO      "\"read:repo\""
#define BLOB      "\"read:blob\""
#define REPO_BLOB "\"read:repo\", \"read:blob\""

static void a_change_is_told_as_who_gains_and_who_loses_what(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        const char *after;
        const char *changes;
    } CASES[] = {
        {ACCOUNT(GRANT(REPO, "urc-1", "10m")), ACCOUNT(GRANT(REPO, "urc-1", "10m")), ""},
        /* the same rights, written differently */
        {ACCOUNT(GRANT(REPO_BLOB, "urc-1", "10m")), ACCOUNT(GRANT("\"read:blob\", \"read:repo\"", "urc-1", "10m")), ""},
        {ACCOUNT(GRANT(REPO, "urc-1", "10m")), ACCOUNT(GRANT(REPO, "urc-1", "10m") ", " GRANT(REPO, "urc-1", "5m")),
         ""},
        /* scopes and resources */
        {ACCOUNT(GRANT(REPO, "urc-1", "10m")), ACCOUNT(GRANT(REPO_BLOB, "urc-1", "10m")),
         "acme/ci gains read:blob on urc-1 for up to 10m\n"},
        {ACCOUNT(GRANT(REPO, "urc-1, urc-2", "90s")), ACCOUNT(GRANT(REPO, "urc-1", "90s")),
         "acme/ci loses read:repo on urc-2 for up to 90s\n"},
        {ACCOUNT(GRANT(REPO, "urc-1", "10m")), ACCOUNT(GRANT(REPO, "\"urc-*\"", "10m")),
         "acme/ci gains read:repo on urc-* for up to 10m\n"},
        {ACCOUNT(GRANT(REPO, "\"urc-*\"", "10m")), ACCOUNT(GRANT(REPO, "urc-1", "10m")),
         "acme/ci loses read:repo on urc-* for up to 10m\n"},
        {ACCOUNT(GRANT(REPO, "urc-1", "10m")), ACCOUNT(GRANT("\"write:repo\"", "urc-1", "10m")),
         "acme/ci gains write:repo on urc-1 for up to 10m\n"
         "acme/ci loses read:repo on urc-1 for up to 10m\n"},
        /* TTLs */
        {ACCOUNT(GRANT(REPO, "urc-1", "10m")), ACCOUNT(GRANT(REPO, "urc-1", "1h")),
         "acme/ci changes read:repo on urc-1 for up to 1h, was 10m\n"},
        {ACCOUNT(GRANT(REPO, "urc-1", "1h")), ACCOUNT(GRANT(REPO, "urc-1", "10m")),
         "acme/ci changes read:repo on urc-1 for up to 10m, was 1h\n"},
        {ACCOUNT(GRANT(REPO, "urc-1", "10m")),
         ACCOUNT("{scopes: [" REPO "], resources: [urc-1], ttl: {default: 2m, max: 10m}}"),
         "acme/ci changes read:repo on urc-1 for 2m unless asked otherwise, was 1m\n"},
        /* two grants joined into one, and one parted */
        {ACCOUNT(GRANT(REPO, "urc-1", "10m") ", " GRANT(BLOB, "urc-1", "10m")),
         ACCOUNT(GRANT(REPO_BLOB, "urc-1", "10m")),
         "acme/ci gains in one token: read:repo, read:blob on urc-1 for up to 10m\n"},
        {ACCOUNT(GRANT(REPO_BLOB, "urc-1", "10m")),
         ACCOUNT(GRANT(REPO, "urc-1", "10m") ", " GRANT(BLOB, "urc-1", "10m")),
         "acme/ci loses in one token: read:repo, read:blob on urc-1 for up to 10m\n"},
        {ACCOUNT(GRANT(REPO, "urc-1", "10m") ", " GRANT(REPO, "urc-2", "10m")),
         ACCOUNT(GRANT(REPO, "urc-1, urc-2", "10m")),
         "acme/ci gains in one token: read:repo on urc-1, urc-2 for up to 10m\n"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_policy before = one_tenant(CASES[i].before);
        struct mm_policy after = one_tenant(CASES[i].after);
        assert_diff(&before, &after, CASES[i].changes);
        mm_policy_clear(&before);
        mm_policy_clear(&after);
    }
}

#define CREDENTIAL(list) \
    "{id: ci, name: CI, authenticate: [" list \
    "], grants: [{scopes: [\"read:repo\"], resources: [urc-1], ttl: {default: 1m, max: 1m}}]}"
#define OIDC(rest) "{oidc: {issuer: \"https://idp.example\", " rest "}}"
#define PRINT      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Within an envelope that has others to believe. */
static struct mm_policy federated_tenant(const char *accounts)
{
    struct mm_policy policy = {0};
    mm_cleanup(free) char *text = file_of("acme", accounts);
    add_tenant_within(&policy, "acme",
                      "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"], \"issuers\": [\"https://idp.example\"], "
                      "\"trust_domains\": {\"a.example\": {\"bundle_file\": \"a.json\"}}}",
                      text);
    return policy;
}

static void who_may_call_is_told_for_every_kind_of_credential(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        const char *after;
        const char *changes;
    } CASES[] = {
        {CREDENTIAL(OIDC("claims: {a: x}")), CREDENTIAL(OIDC("claims: {a: x}")), ""},
        {CREDENTIAL(OIDC("claims: {a: x}")), CREDENTIAL(OIDC("claims: {a: [x, \"y/*\"]}")),
         "acme/ci gains tokens of https://idp.example for https://mint.example with a: any of x or y/*\n"},
        {CREDENTIAL(OIDC("claims: {a: x}")), CREDENTIAL(OIDC("claims: {a: x, b: 1}")),
         "acme/ci loses tokens of https://idp.example for https://mint.example with a: x\n"},
        {CREDENTIAL(OIDC("claims: {a: x}, mode: audit")), CREDENTIAL(OIDC("claims: {a: x}")),
         "acme/ci gains tokens of https://idp.example for https://mint.example with a: x\n"
         "acme/ci loses an audit of tokens of https://idp.example for https://mint.example with a: x\n"},
        {CREDENTIAL(OIDC("claims: {a: x}, single_use: true")), CREDENTIAL(OIDC("claims: {a: x}")),
         "acme/ci gains tokens of https://idp.example for https://mint.example with a: x\n"},
        {CREDENTIAL(OIDC("claims: {a: x}")), CREDENTIAL(OIDC("claims: {a: x}, as_client_secret: true")),
         "acme/ci gains tokens of https://idp.example for https://mint.example with a: x, also as a client secret\n"},
        {CREDENTIAL("{spiffe: {trust_domain: a.example, path: \"/ci/*\"}}"),
         CREDENTIAL("{spiffe: {trust_domain: a.example, path: /ci/b}}"),
         "acme/ci loses SPIFFE IDs spiffe://a.example/ci/*\n"},
        {CREDENTIAL("{private_key_jwt: {jwks_uri: \"https://a.b/c\"}}"),
         CREDENTIAL("{private_key_jwt: {jwks_uri: \"https://a.b/c\", assertion_audience: token_endpoint}}"),
         "acme/ci gains assertions signed with keys of https://a.b/c, for the token endpoint\n"
         "acme/ci loses assertions signed with keys of https://a.b/c\n"},
        {CREDENTIAL("{mtls: {san_dns: a.b}}"),
         CREDENTIAL("{mtls: {san_dns: a.b}}, {self_signed: {fingerprint: \"" PRINT "\"}}"),
         "acme/ci gains the certificate with fingerprint " PRINT ", whoever issued it\n"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_policy before = federated_tenant(CASES[i].before);
        struct mm_policy after = federated_tenant(CASES[i].after);
        assert_diff(&before, &after, CASES[i].changes);
        mm_policy_clear(&before);
        mm_policy_clear(&after);
    }
}

/* What a file that the policy names holds counts as what the policy says. */
static void other_keys_in_the_same_file_are_other_credentials(void **state)
{
    (void)state;
    struct mm_policy before = federated_tenant(CREDENTIAL("{private_key_jwt: {jwks_file: ci.json}}"));
    struct mm_policy after = federated_tenant(CREDENTIAL("{private_key_jwt: {jwks_file: ci.json}}"));
    (void)strcpy(before.tenants[0].accounts[0].private_key_jwt[0].jwks_digest, "aaaa");
    (void)strcpy(after.tenants[0].accounts[0].private_key_jwt[0].jwks_digest, "bbbb");
    assert_diff(&before, &after,
                "acme/ci gains assertions signed with keys of ci.json (SHA-256 bbbb…)\n"
                "acme/ci loses assertions signed with keys of ci.json (SHA-256 aaaa…)\n");
    assert_true(mm_policy_seal(&before, NULL) && mm_policy_seal(&after, NULL));
    assert_string_not_equal(before.digest, after.digest);
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void other_keys_of_a_trust_domain_are_told(void **state)
{
    (void)state;
    struct mm_policy before = federated_tenant("");
    struct mm_policy after = federated_tenant("");
    assert_diff(&before, &after, "");
    (void)strcpy(before.tenants[0].envelope.trust_domains[0].bundle_digest, "aaaa");
    (void)strcpy(after.tenants[0].envelope.trust_domains[0].bundle_digest, "bbbb");
    assert_diff(&before, &after,
                "acme gains in its envelope: trust domain a.example by a.json (SHA-256 bbbb…)\n"
                "acme loses in its envelope: trust domain a.example by a.json (SHA-256 aaaa…)\n");
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void credentials_and_claims_count(void **state)
{
    (void)state;
    struct mm_policy before = one_tenant(ACCOUNT(GRANT(REPO, "urc-1", "10m")));
    struct mm_policy after = one_tenant("{id: ci, name: Farm, is_service_account: true, authenticate: [{mtls: "
                                        "{san_uri: \"spiffe://a/b\", san_dns: x.y}}], "
                                        "grants: [" GRANT(REPO, "urc-1", "10m") "]}");
    assert_diff(&before, &after,
                "acme/ci changes name: Farm, was CI\n"
                "acme/ci gains certificates with SAN URI spiffe://a/b and SAN DNS name x.y\n"
                "acme/ci gains the is_service_account claim\n"
                "acme/ci loses certificates with SAN DNS name ci.example\n");
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void a_tenants_own_changes_come_first(void **state)
{
    (void)state;
    struct mm_policy before = one_tenant(ACCOUNT(GRANT(REPO, "urc-1", "10m")));
    struct mm_policy after = {0};
    add_tenant(&after, "acme", "{tenant: acme, env: test, audience: [other], max_ttl: 1h, accounts: []}");
    memcpy(after.tenants[0].client_ca_digest, "00", 3);
    assert_diff(&before, &after,
                "acme changes env: test, was prod\n"
                "acme changes the CA whose client certificates are believed\n"
                "acme gains audience other\n"
                "acme loses audience lore\n"
                "acme/ci loses certificates with SAN DNS name ci.example\n"
                "acme/ci loses read:repo on urc-1 for up to 10m\n");
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void what_a_tenants_file_may_grant_counts_though_it_doesnt(void **state)
{
    (void)state;
    static const char NARROW[] = "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"]}";
    static const char WIDE[] = "{\"audiences\": [\"lore\", \"other\"], \"resources\": [\"urc-1\", \"*\"], "
                               "\"actions\": [\"read\", \"write\"], \"kinds\": [\"repo\", \"blob\", \"lock\"], "
                               "\"issuers\": [\"https://idp.example\"], \"shared_with\": [\"globex\"]}";
    mm_cleanup(free) char *text = file_of("acme", ACCOUNT(GRANT(REPO, "urc-1", "10m")));
    struct mm_policy narrow = {0};
    struct mm_policy wide = {0};
    add_tenant_within(&narrow, "acme", NARROW, text);
    add_tenant_within(&wide, "acme", WIDE, text);
    assert_diff(&narrow, &narrow, "");
    assert_diff(&narrow, &wide,
                "acme gains in its envelope: audience other\n"
                "acme gains in its envelope: resource *\n"
                "acme gains in its envelope: action write\n"
                "acme gains in its envelope: kind lock\n"
                "acme gains in its envelope: issuer https://idp.example\n"
                "acme gains in its envelope: overlap with tenant globex\n");
    assert_diff(&wide, &narrow,
                "acme loses in its envelope: audience other\n"
                "acme loses in its envelope: resource *\n"
                "acme loses in its envelope: action write\n"
                "acme loses in its envelope: kind lock\n"
                "acme loses in its envelope: issuer https://idp.example\n"
                "acme loses in its envelope: overlap with tenant globex\n");
    mm_policy_clear(&narrow);
    mm_policy_clear(&wide);
}

static void what_signs_an_audiences_tokens_is_told_when_it_changes(void **state)
{
    (void)state;
    static const char BEFORE[] = "{\"audiences\": [\"lore\", \"other\"], \"resources\": [\"urc-*\"]}";
    static const char AFTER[] = "{\"audiences\": [\"other\", \"lore\", \"new\"], \"resources\": [\"urc-*\"], "
                                "\"algorithm\": \"RS256\", \"algorithms\": {\"other\": \"ES256\"}}";
    mm_cleanup(free) char *text = file_of("acme", ACCOUNT(GRANT(REPO, "urc-1", "10m")));
    struct mm_policy before = {0};
    struct mm_policy after = {0};
    add_tenant_within(&before, "acme", BEFORE, text);
    add_tenant_within(&after, "acme", AFTER, text);
    assert_diff(&before, &after,
                "acme changes tokens for lore are signed with RS256, was ES256\n"
                "acme gains in its envelope: audience new\n");
    assert_true(mm_policy_seal(&before, NULL) && mm_policy_seal(&after, NULL));
    assert_string_not_equal(before.digest, after.digest);
    struct mm_policy only = {0};
    add_tenant_within(&only, "acme",
                      "{\"audiences\": [\"lore\", \"other\"], \"resources\": [\"urc-*\"], \"algorithm\": \"RS256\"}",
                      text);
    assert_true(mm_policy_seal(&only, NULL));
    assert_string_not_equal(before.digest, only.digest);
    mm_policy_clear(&only);
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void tenants_and_accounts_come_and_go_in_order(void **state)
{
    (void)state;
    mm_cleanup(free) char *a = file_of("a", "{id: z, name: Z, " MTLS ", grants: [" GRANT(REPO, "urc-1", "10m") "]}");
    mm_cleanup(free) char *b = file_of("b", "{id: y, name: Y, authenticate: [{mtls: {san_dns: y.y}}], grants: [" GRANT(
                                                REPO, "urc-1", "10m") "]}, {id: x, name: X, " MTLS
                                                                      ", grants: [" GRANT(BLOB, "urc-1", "10m") "]}");
    struct mm_policy before = {0};
    struct mm_policy after = {0};
    add_tenant(&before, "a", a);
    add_tenant(&after, "b", b);
    assert_diff(&before, &after,
                "a loses in its envelope: audience lore\n"
                "a loses in its envelope: audience other\n"
                "a loses in its envelope: resource urc-*\n"
                "a loses in its envelope: action read\n"
                "a loses in its envelope: action write\n"
                "a loses in its envelope: kind repo\n"
                "a loses in its envelope: kind blob\n"
                "a loses audience lore\n"
                "a/z loses certificates with SAN DNS name ci.example\n"
                "a/z loses read:repo on urc-1 for up to 10m\n"
                "b gains in its envelope: audience lore\n"
                "b gains in its envelope: audience other\n"
                "b gains in its envelope: resource urc-*\n"
                "b gains in its envelope: action read\n"
                "b gains in its envelope: action write\n"
                "b gains in its envelope: kind repo\n"
                "b gains in its envelope: kind blob\n"
                "b gains audience lore\n"
                "b/x gains certificates with SAN DNS name ci.example\n"
                "b/x gains read:blob on urc-1 for up to 10m\n"
                "b/y gains certificates with SAN DNS name y.y\n"
                "b/y gains read:repo on urc-1 for up to 10m\n");
    struct mm_policy empty = {0};
    assert_diff(&empty, &empty, "");
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void a_binding_that_comes_or_goes_is_told(void **state)
{
    (void)state;
    struct mm_policy before = one_tenant(ACCOUNT(GRANT(REPO, "urc-1", "10m")));
    struct mm_policy after = one_tenant("{id: ci, name: CI, certificate_bound: required, " MTLS
                                        ", grants: [" GRANT(REPO, "urc-1", "10m") "]}");
    assert_diff(&before, &after, "acme/ci gains a binding of its tokens to the caller's certificate\n");
    assert_diff(&after, &before, "acme/ci loses a binding of its tokens to the caller's certificate\n");
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void a_rate_limit_that_changes_is_told(void **state)
{
    (void)state;
    static const char UNLIMITED[] = "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"]}";
    static const char LIMITED[] = "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"], "
                                  "\"rate_limit\": {\"per_minute\": 600, \"burst\": 100}}";
    mm_cleanup(free) char *plain = file_of("acme", ACCOUNT(GRANT(REPO, "urc-1", "10m")));
    mm_cleanup(free) char *limited = file_of("acme", "{id: ci, name: CI, rate_limit: {per_minute: 60, burst: 20}, " MTLS
                                                     ", grants: [" GRANT(REPO, "urc-1", "10m") "]}");
    struct mm_policy before = {0};
    struct mm_policy after = {0};
    add_tenant_within(&before, "acme", UNLIMITED, plain);
    add_tenant_within(&after, "acme", LIMITED, limited);
    assert_diff(&before, &after,
                "acme changes rate limit: 600 a minute, 100 at once, was none\n"
                "acme changes in its envelope: rate limit: 600 a minute, 100 at once, was none\n"
                "acme/ci changes rate limit: 60 a minute, 20 at once, was none\n");
    assert_diff(&after, &after, "");
    assert_true(mm_policy_seal(&before, NULL) && mm_policy_seal(&after, NULL));
    assert_string_not_equal(before.digest, after.digest);
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

static void a_resource_template_that_changes_is_told(void **state)
{
    (void)state;
    static const char FILE[] = "{tenant: acme, env: prod, audience: [lore], max_ttl: 1h, accounts: []%s}";
    static const char WITH[] = ", resource_template: {uri: \"https://a/{id}\", resource: \"urc-{id}\"}";
    struct mm_policy before = {0};
    struct mm_policy after = {0};
    mm_cleanup(free) char *plain = NULL;
    mm_cleanup(free) char *templated = NULL;
    assert_true(asprintf(&plain, FILE, "") > 0 && asprintf(&templated, FILE, WITH) > 0);
    add_tenant(&before, "acme", plain);
    add_tenant(&after, "acme", templated);
    assert_diff(&before, &after, "acme gains resources named by URI: https://a/{id} for urc-{id}\n");
    assert_diff(&after, &before, "acme loses resources named by URI: https://a/{id} for urc-{id}\n");
    assert_diff(&after, &after, "");
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

#define EXCHANGE(clients, groups, max) \
    "exchange: {subject_audiences: [" clients "], public_clients: [cli], rules: [{subject: {issuer: \"https://idp\", " \
    "claims: {groups: [" groups "]}}, clients: [cli], scopes: [" REPO "], resources: [\"urc-*\"], " \
    "ttl: {default: 1m, max: " max "}}]}, root_domains: [" clients ".example]"

static void what_a_resource_server_may_ask_about_is_told(void **state)
{
    (void)state;
    static const char WITHIN[] = "{\"audiences\": [\"lore\", \"wiki\"], \"resources\": [\"urc-*\"]}";
    static const char *const AUDIENCES[] = {"lore", "lore, wiki"};
    struct mm_policy policies[2] = {{0}, {0}};
    for (size_t i = 0; i < 2; i++) {
        mm_cleanup(free) char *text = NULL;
        assert_true(asprintf(&text,
                             "{tenant: acme, env: prod, audience: [lore], max_ttl: 1h, accounts: [], "
                             "resource_servers: [{id: rs, audiences: [%s], " MTLS "}]}",
                             AUDIENCES[i]) > 0);
        add_tenant_within(&policies[i], "acme", WITHIN, text);
    }
    assert_diff(&policies[0], &policies[1], "acme/rs gains introspection of tokens for audience wiki\n");
    assert_diff(&policies[1], &policies[0], "acme/rs loses introspection of tokens for audience wiki\n");
    assert_diff(&policies[1], &policies[1], "");
    mm_policy_clear(&policies[0]);
    mm_policy_clear(&policies[1]);
}

static void who_may_exchange_what_is_told_rule_by_rule(void **state)
{
    (void)state;
    static const char WITHIN[] =
        "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"], \"issuers\": [\"https://idp\"]}";
    static const char *const MEMBERS[] = {EXCHANGE("one", "a", "5m"), EXCHANGE("two", "b", "5m")};
    struct mm_policy policies[2] = {{0}, {0}};
    for (size_t i = 0; i < 2; i++) {
        mm_cleanup(free) char *text = NULL;
        assert_true(asprintf(&text, "{tenant: acme, env: prod, audience: [lore], max_ttl: 1h, accounts: [], %s}",
                             MEMBERS[i]) > 0);
        add_tenant_within(&policies[i], "acme", WITHIN, text);
    }
    assert_diff(&policies[0], &policies[1],
                "acme gains root domain two.example\nacme loses root domain one.example\n"
                "acme gains an exchange of tokens for audience two\n"
                "acme gains an exchange of tokens of https://idp with groups: any of b by cli: read:repo on one of "
                "urc-* for 1m, up to 5m\n"
                "acme loses an exchange of tokens for audience one\n"
                "acme loses an exchange of tokens of https://idp with groups: any of a by cli: read:repo on one of "
                "urc-* for 1m, up to 5m\n");
    assert_diff(&policies[1], &policies[1], "");
    mm_policy_clear(&policies[0]);
    mm_policy_clear(&policies[1]);
}

static void an_audience_that_changes_its_tier_is_told(void **state)
{
    (void)state;
    static const char FIRST[] = "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"], \"tiers\": {\"lore\": 1}}";
    static const char SECOND[] = "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"]}";
    mm_cleanup(free) char *text = file_of("acme", "");
    struct mm_policy before = {0};
    struct mm_policy after = {0};
    add_tenant_within(&before, "acme", FIRST, text);
    add_tenant_within(&after, "acme", SECOND, text);
    assert_diff(&before, &after, "acme changes in its envelope: audience lore is of tier 2, was 1\n");
    assert_diff(&after, &before, "acme changes in its envelope: audience lore is of tier 1, was 2\n");
    mm_policy_clear(&before);
    mm_policy_clear(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_told_as_who_gains_and_who_loses_what),
        cmocka_unit_test(who_may_call_is_told_for_every_kind_of_credential),
        cmocka_unit_test(other_keys_in_the_same_file_are_other_credentials),
        cmocka_unit_test(other_keys_of_a_trust_domain_are_told),
        cmocka_unit_test(credentials_and_claims_count),
        cmocka_unit_test(a_tenants_own_changes_come_first),
        cmocka_unit_test(what_a_tenants_file_may_grant_counts_though_it_doesnt),
        cmocka_unit_test(what_signs_an_audiences_tokens_is_told_when_it_changes),
        cmocka_unit_test(tenants_and_accounts_come_and_go_in_order),
        cmocka_unit_test(a_resource_template_that_changes_is_told),
        cmocka_unit_test(a_rate_limit_that_changes_is_told),
        cmocka_unit_test(a_binding_that_comes_or_goes_is_told),
        cmocka_unit_test(what_a_resource_server_may_ask_about_is_told),
        cmocka_unit_test(who_may_exchange_what_is_told_rule_by_rule),
        cmocka_unit_test(an_audience_that_changes_its_tier_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
