/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/authenticate.h"
#include "policy/index.h"
#include "policy/match.h"

#define GITHUB      "https://token.actions.githubusercontent.com"
#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KEYCLOAK    "https://idp.acme.example/realms/acme"

static const struct mm_service_terms TERMS = {.issuer = "https://mint.example", .max_ttl = 3600};

static const char ENVELOPE[] = "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"], "
                               "\"issuers\": [\"" GITHUB "\", \"" KEYCLOAK "\", \"https://gitlab.com\"], "
                               "\"trust_domains\": {\"acme.example\": {\"bundle_file\": \"bundle.json\"}}}";

/* A tenant with the accounts a, b, …, each with one of the lists, each on a line of its own from the 2nd on. */
static bool build(const char *const *lists, struct mm_tenant *tenant, struct mm_problems *problems)
{
    mm_cleanup(free) char *text = strdup("{tenant: acme, env: e, audience: [lore], max_ttl: 5m, accounts: [\n");
    char id = 'a';
    for (; *lists; lists++, id++) {
        char *longer;
        assert_true(
            asprintf(&longer,
                     "%s{id: %c, name: X, grants: [{scopes: [\"read:repo\"], resources: [urc-1], ttl: {default: 1m, "
                     "max: 5m}}], authenticate: [%s]},\n",
                     text, id, *lists) > 0);
        free(text);
        text = longer;
    }
    char *whole;
    assert_true(asprintf(&whole, "%s]}", text) > 0);
    free(text);
    text = whole;
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(json_decref) json_t *envelope = mm_json_parse(ENVELOPE, strlen(ENVELOPE), NULL);
    assert_true(mm_envelope_build(envelope, MM_ES256, &tenant->envelope, NULL));
    if (!mm_yaml_parse("acme.yaml", text, strlen(text), &document, problems))
        fail_msg("%s: %s", text, problems->items[0].reason);
    if (mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, problems))
        return mm_tenant_build("acme", &document, &TERMS, tenant, problems);
    mm_tenant_check("acme", &document, &tenant->envelope, &TERMS, problems);
    return false;
}

static void build_well(const char *const *lists, struct mm_tenant *tenant)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    if (!build(lists, tenant, &problems))
        fail_msg("%s", problems.items[0].reason);
}

#define LISTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void every_kind_of_rule_is_taken_as_it_is_written(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    build_well(LISTS(
                   "{mtls: {san_dns: a.b}}, {self_signed: {fingerprint: \"" FINGERPRINT "\"}}, "
                   "{spiffe: {trust_domain: acme.example, path: \"/ci/*\"}}, {private_key_jwt: {jwks_file: ci.json}}, "
                   "{private_key_jwt: {jwks_uri: \"https://a.b/keys\", assertion_audience: token_endpoint}}, "
                   "{oidc: {issuer: \"" KEYCLOAK "\", claims: {azp: ci}}}, "
                   "{oidc: {issuer: \"" KEYCLOAK "\", audience: other, claims: {groups: [a, b], n: 7}, "
                   "single_use: true, mode: audit, as_client_secret: true}}"),
               &tenant);
    const struct mm_account *account = &tenant.accounts[0];
    assert_int_equal(account->n_mtls, 1);
    assert_int_equal(account->n_self_signed, 1);
    assert_string_equal(account->self_signed[0].fingerprint, FINGERPRINT);
    assert_int_equal(account->n_spiffe, 1);
    assert_string_equal(account->spiffe[0].path, "/ci/*");
    assert_int_equal(account->n_private_key_jwt, 2);
    assert_string_equal(account->private_key_jwt[0].jwks_file, "ci.json");
    assert_int_equal(account->private_key_jwt[0].audience, MM_ASSERTION_FOR_ISSUER);
    assert_string_equal(account->private_key_jwt[1].jwks_uri, "https://a.b/keys");
    assert_int_equal(account->private_key_jwt[1].audience, MM_ASSERTION_FOR_TOKEN_ENDPOINT);
    assert_int_equal(account->n_oidc, 2);
    assert_string_equal(account->oidc[0].audience, "https://mint.example");
    assert_int_equal(account->oidc[0].mode, MM_RULE_ENFORCED);
    assert_false(account->oidc[0].is_single_use || account->oidc[0].is_client_secret);
    assert_string_equal(account->oidc[1].audience, "other");
    assert_int_equal(account->oidc[1].mode, MM_RULE_AUDITED);
    assert_true(account->oidc[1].is_single_use && account->oidc[1].is_client_secret);
    assert_string_equal(account->oidc[1].claims.items[1].values.items[0], "7");
    assert_string_equal(tenant.envelope.trust_domains[0].bundle_file, "bundle.json");
    mm_tenant_clear(&tenant);
}

#define OIDC(issuer, rest)   "{oidc: {issuer: \"" issuer "\"" rest "}}"
#define CLAIMED(claims)      OIDC(KEYCLOAK, ", claims: {" claims "}")
#define ON_GITHUB(claims)    OIDC(GITHUB, ", claims: {" claims "}")
#define SPIFFE(domain, path) "{spiffe: {trust_domain: " domain ", path: \"" path "\"}}"

static void a_rule_that_takes_too_much_or_is_no_rule_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        const char *words;
    } REFUSALS[] = {
        {"{}", "must have one of mtls"},
        {"{mtls: {san_dns: a.b}, oidc: {issuer: \"" KEYCLOAK "\", claims: {a: b}}}", "has 2 kinds of rules"},
        {"{self_signed: {}}", "missing key ‹fingerprint›"},
        {"{private_key_jwt: {}}", "one of jwks_file and jwks_uri"},
        {"{private_key_jwt: {jwks_file: a, jwks_uri: \"https://a.b/c\"}}", "one of jwks_file and jwks_uri"},
        {"{private_key_jwt: {jwks_uri: \"http://a.b/c\"}}", "https://"},
        {"{private_key_jwt: {jwks_file: a, assertion_audience: any}}", "must be one of"},
        {SPIFFE("evil.example", "/ci"), "trust domain ‹evil.example› lies outside"},
        {SPIFFE("Acme.example", "/ci"), "lower-case"},
        {SPIFFE("acme.example", "ci"), "starts with a slash"},
        {SPIFFE("acme.example", "/ci*"), "whole segments"},
        {SPIFFE("acme.example", "/ci/"), "none empty"},
        {SPIFFE("acme.example", "/../*"), "no . or .."},
        {SPIFFE("acme.example", "/**"), "would match anything"},
        {OIDC("https://evil.example", ", claims: {a: b}"), "issuer ‹https://evil.example› lies outside"},
        {OIDC(KEYCLOAK "/", ", claims: {a: b}"), "lies outside"},
        {OIDC("http://a.b", ", claims: {a: b}"), "https://"},
        {OIDC(KEYCLOAK, ""), "missing key ‹claims›"},
        {CLAIMED(""), "at least 1"},
        {CLAIMED("a: []"), "between 1 and 100 values"},
        {CLAIMED("a: null"), "must be a string"},
        {CLAIMED("a: {b: c}"), "must be a string"},
        {CLAIMED("a: [[b]]"), "must be a string"},
        {CLAIMED("a: \"\""), "between 1 and 512 bytes"},
        {CLAIMED("a: \"acme*\""), "whole segments"},
        {CLAIMED("a: [b, \"**/c\"]"), "whole segments"},
        {CLAIMED("a: \"*\""), "would match anything"},
        {CLAIMED("a: \"b\\nc\""), "control characters"},
        {CLAIMED("aud: x"), "isn't a claim to be matched"},
        {CLAIMED("iss: x"), "isn't a claim to be matched"},
        {CLAIMED("\"/\": x"), "JSON pointer"},
        {CLAIMED("\"/a//b\": x"), "JSON pointer"},
        {CLAIMED("\"/a/\": x"), "JSON pointer"},
        {CLAIMED("\"/a~2b\": x"), "JSON pointer"},
        {CLAIMED("\"/a~\": x"), "JSON pointer"},
        {CLAIMED("a: b}, mode: off, x: {y: z"), "must be one of"},
        /* tokens that everybody can have */
        {ON_GITHUB("ref: refs/heads/main"), "GitHub Actions signs for everybody"},
        {ON_GITHUB("repository: acme/app"), "GitHub Actions signs for everybody"},
        {ON_GITHUB("repository_owner: acme, environment: production"), "GitHub Actions signs for everybody"},
        {ON_GITHUB("sub: \"repo:acme/app:ref:refs/heads/main\""), "GitHub Actions signs for everybody"},
        {ON_GITHUB("repository_owner_id: \"1/*\""), "GitHub Actions signs for everybody"},
        {ON_GITHUB("actor_id: \"1\""), "GitHub Actions signs for everybody"},
        {OIDC("https://gitlab.com", ", claims: {project_path: acme/app}"), "GitLab.com signs for everybody"},
        {OIDC("https://gitlab.com", ", mode: audit, claims: {project_path: acme/app}"), "signs for everybody"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSALS); i++) {
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant tenant = {0};
        bool is_built = build(LISTS(REFUSALS[i].list), &tenant, &problems);
        bool is_told = false;
        for (size_t j = 0; j < problems.n; j++)
            is_told = is_told || (problems.items[j].severity == MM_PROBLEM_ERROR && problems.items[j].line == 2 &&
                                  strstr(problems.items[j].reason, REFUSALS[i].words));
        if (is_built || !is_told)
            fail_msg("%s: %s", REFUSALS[i].list, problems.n ? problems.items[0].reason : "taken");
        mm_tenant_clear(&tenant);
    }
}

static void what_is_risky_is_warned_of(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        const char *words; /* NULL: nothing */
    } WARNINGS[] = {
        {ON_GITHUB("repository_owner_id: \"65\", repository: acme/app"), "demand repository_id beside it"},
        {ON_GITHUB("repository_id: \"1\", repository: acme/app"), NULL},
        {ON_GITHUB("repository_owner_id: \"65\", ref: refs/heads/main"), NULL},
        {ON_GITHUB("repository_owner_id: \"65\", sub: \"repo:acme/app:ref:refs/heads/main\""), "repository_id"},
        {ON_GITHUB("sub: \"repo:acme@65/app@1:ref:refs/heads/main\""), NULL},
        {OIDC("https://gitlab.com", ", claims: {namespace_id: \"1\", project_path: acme/app}"), "demand project_id"},
        {CLAIMED("repository: acme/app"), NULL},
        {"{private_key_jwt: {jwks_file: a, assertion_audience: token_endpoint}}", "RFC 10070"},
        {"{private_key_jwt: {jwks_file: a, assertion_audience: issuer}}", NULL},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(WARNINGS); i++) {
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant tenant = {0};
        assert_true(build(LISTS(WARNINGS[i].list), &tenant, &problems));
        const char *words = WARNINGS[i].words;
        if (problems.n != (words ? 1 : 0) || (words && !strstr(problems.items[0].reason, words)))
            fail_msg("%s: %s", WARNINGS[i].list, problems.n ? problems.items[0].reason : "no warning");
        mm_tenant_clear(&tenant);
    }
}

static void one_credential_for_two_accounts_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        const char *words; /* NULL: they are two */
    } CASES[] = {
        {CLAIMED("azp: ci"), CLAIMED("azp: ci"), "one token would match two accounts"},
        {CLAIMED("azp: ci"), CLAIMED("azp: ci, env: prod"), "one token would match two accounts"},
        {CLAIMED("azp: ci, env: prod"), CLAIMED("azp: ci"), "one token would match two accounts"},
        {CLAIMED("azp: [ci, cd]"), CLAIMED("azp: cd"), "one token would match two accounts"},
        {CLAIMED("ref: \"refs/heads/*\""), CLAIMED("ref: refs/heads/main"), "one token would match two accounts"},
        {CLAIMED("azp: ci"), CLAIMED("azp: cd"), NULL},
        {CLAIMED("azp: ci"), OIDC(KEYCLOAK, ", claims: {azp: ci}, audience: other"), NULL},
        {CLAIMED("azp: ci"), OIDC(KEYCLOAK, ", claims: {azp: ci}, mode: audit"), NULL},
        {CLAIMED("project_id: \"1\""), OIDC("https://gitlab.com", ", claims: {project_id: \"1\"}"), NULL},
        {SPIFFE("acme.example", "/ci/*"), SPIFFE("acme.example", "/ci/build"), "one SPIFFE ID would match"},
        {SPIFFE("acme.example", "/ci/*"), SPIFFE("acme.example", "/cd/build"), NULL},
        {SPIFFE("acme.example", "/ci/*"), "{mtls: {san_uri: \"spiffe://acme.example/ci/x\"}}", "one certificate would"},
        {SPIFFE("acme.example", "/ci/*"), "{mtls: {san_uri: \"spiffe://acme.example.evil/ci/x\"}}", NULL},
        {"{self_signed: {fingerprint: \"" FINGERPRINT "\"}}", "{self_signed: {fingerprint: \"" FINGERPRINT "\"}}",
         "one certificate would"},
        {"{self_signed: {fingerprint: \"" FINGERPRINT "\"}}", "{mtls: {fingerprint: \"" FINGERPRINT "\"}}",
         "one certificate would"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant tenant = {0};
        bool is_built = build(LISTS(CASES[i].a, CASES[i].b), &tenant, &problems);
        if (is_built != !CASES[i].words ||
            (CASES[i].words && (problems.items[0].line != 3 || !strstr(problems.items[0].reason, CASES[i].words) ||
                                !strstr(problems.items[0].reason, "‹a› on line 2"))))
            fail_msg("%s and %s: %s", CASES[i].a, CASES[i].b, problems.n ? problems.items[0].reason : "taken");
        mm_tenant_clear(&tenant);
    }
}

static enum mm_code match(const struct mm_tenant *tenant, const struct mm_account *account, const char *issuer,
                          const char *claims, struct mm_oidc_match *ret_match, struct mm_audit_matches *ret_audit)
{
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *payload = mm_json_parse(claims, strlen(claims), NULL);
    assert_non_null(payload);
    bool matches = mm_policy_match_oidc(tenant, account, issuer, payload, ret_match, ret_audit, &err);
    assert_int_equal(matches, err.code == MM_OK);
    return err.code;
}

#define PAYLOAD(aud, rest) "{\"aud\": " aud ", " rest "}"
#define OURS(rest)         PAYLOAD("\"https://mint.example\"", rest)

static void a_token_stands_for_the_account_whose_rule_it_satisfies(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    struct mm_oidc_match found = {0};
    build_well(LISTS(ON_GITHUB("repository_id: \"1\", ref: refs/heads/main"),
                     ON_GITHUB("repository_id: \"2\"") ", " CLAIMED("azp: ci"), CLAIMED("azp: cd"),
                     CLAIMED("env: prod")),
               &tenant);
    const struct mm_account *accounts = tenant.accounts;
    assert_int_equal(match(&tenant, NULL, GITHUB, OURS("\"repository_id\": \"2\""), &found, NULL), MM_OK);
    assert_ptr_equal(found.account, &accounts[1]);
    assert_ptr_equal(found.rule, &accounts[1].oidc[0]);
    assert_int_equal(match(&tenant, &accounts[1], KEYCLOAK, OURS("\"azp\": \"ci\""), &found, NULL), MM_OK);
    assert_ptr_equal(found.rule, &accounts[1].oidc[1]);
    assert_int_equal(match(&tenant, NULL, KEYCLOAK, PAYLOAD("[\"https://mint.example\"]", "\"azp\": \"cd\""), &found,
                           NULL),
                     MM_OK);
    static const struct {
        const char *issuer;
        const char *claims;
        enum mm_code code;
    } REFUSALS[] = {
        {GITHUB, OURS("\"repository_id\": \"3\""), MM_ACCESS_DENIED},
        {GITHUB, OURS("\"repository_id\": \"1\", \"ref\": \"refs/heads/evil\""), MM_ACCESS_DENIED},
        {KEYCLOAK, OURS("\"repository_id\": \"2\""), MM_ACCESS_DENIED}, /* of another issuer */
        {GITHUB "/acme", OURS("\"repository_id\": \"2\""), MM_ACCESS_DENIED},
        {GITHUB, PAYLOAD("\"https://mint.example/\"", "\"repository_id\": \"2\""), MM_ACCESS_DENIED},
        {GITHUB, PAYLOAD("[\"https://mint.example\", \"https://other.example\"]", "\"repository_id\": \"2\""),
         MM_ACCESS_DENIED},
        {GITHUB, PAYLOAD("[]", "\"repository_id\": \"2\""), MM_ACCESS_DENIED},
        {GITHUB, "{\"repository_id\": \"2\"}", MM_ACCESS_DENIED},
        {KEYCLOAK, OURS("\"azp\": \"ci\", \"env\": \"prod\""), MM_CREDENTIAL_AMBIGUOUS},
    };
    found = (struct mm_oidc_match){0};
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSALS); i++) {
        assert_int_equal(match(&tenant, NULL, REFUSALS[i].issuer, REFUSALS[i].claims, &found, NULL), REFUSALS[i].code);
        assert_int_equal(match(&tenant, &accounts[1], REFUSALS[i].issuer, REFUSALS[i].claims, &found, NULL),
                         REFUSALS[i].code);
        assert_null(found.account);
    }
    assert_int_equal(match(&tenant, &accounts[0], GITHUB, OURS("\"repository_id\": \"2\""), &found, NULL),
                     MM_ACCESS_DENIED); /* somebody else's */
    mm_tenant_clear(&tenant);
}

static void count(void *context, const struct mm_account *account, const struct mm_oidc_rule *rule)
{
    (void)account, (void)rule;
    (*(size_t *)context)++;
}

/* A token has room for thousands of values, and a tenant's file for as many rules that one of them may satisfy. */
static void a_list_has_each_rule_asked_for_once_whatever_it_repeats(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    size_t n = 0;
    build_well(LISTS(CLAIMED("groups: [a, b]"), CLAIMED("groups: [b, c]")), &tenant);
    mm_cleanup(json_decref) json_t *claims = json_pack("{s[sssssss]}", "groups", "a", "a", "b", "c", "b", "a", "d");
    assert_true(mm_index_visit_oidc(tenant.index, KEYCLOAK, claims, count, &n));
    assert_int_equal(n, 2);
    mm_tenant_clear(&tenant);
}

static void a_rule_in_audit_mode_is_told_of_and_grants_nothing(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    struct mm_oidc_match found = {0};
    struct mm_audit_matches audit = {0};
    build_well(LISTS(OIDC(KEYCLOAK, ", claims: {azp: ci}, mode: audit"), CLAIMED("azp: ci, env: prod")), &tenant);
    assert_int_equal(match(&tenant, NULL, KEYCLOAK, OURS("\"azp\": \"ci\""), &found, &audit), MM_ACCESS_DENIED);
    assert_int_equal(audit.n, 1);
    assert_ptr_equal(audit.items[0].account, &tenant.accounts[0]);
    assert_int_equal(match(&tenant, &tenant.accounts[0], KEYCLOAK, OURS("\"azp\": \"ci\""), &found, &audit),
                     MM_ACCESS_DENIED);
    assert_int_equal(audit.n, 1);
    assert_int_equal(match(&tenant, NULL, KEYCLOAK, OURS("\"azp\": \"ci\", \"env\": \"prod\""), &found, &audit), MM_OK);
    assert_ptr_equal(found.account, &tenant.accounts[1]);
    assert_int_equal(audit.n, 1);
    assert_int_equal(match(&tenant, NULL, KEYCLOAK, OURS("\"azp\": \"x\""), &found, &audit), MM_ACCESS_DENIED);
    assert_int_equal(audit.n, 0);
    mm_tenant_clear(&tenant);
}

static void assert_would_refuse(const struct mm_audit_matches *audit, const struct mm_account *account,
                                const char *reason)
{
    char text[256];
    assert_int_equal(audit->n, 0);
    assert_int_equal(audit->n_refusals, 1);
    assert_ptr_equal(audit->refusals[0].match.account, account);
    if (reason)
        assert_string_equal(mm_claim_mismatch_format(&audit->refusals[0].why, text, sizeof text), reason);
    else
        assert_null(audit->refusals[0].why.rule);
}

/* Of what has the rule's most telling claim, or comes for its account; of nobody else's. */
static void a_rule_in_audit_mode_says_why_it_would_refuse(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    struct mm_oidc_match found = {0};
    struct mm_audit_matches audit = {0};
    build_well(LISTS(OIDC(KEYCLOAK, ", claims: {azp: ci, env: prod}, mode: audit"), CLAIMED("azp: other")), &tenant);
    const struct mm_account *tried = &tenant.accounts[0];
    static const char NEAR[] = OURS("\"azp\": \"ci\", \"env\": \"a-secret\"");
    assert_int_equal(match(&tenant, NULL, KEYCLOAK, NEAR, &found, &audit), MM_ACCESS_DENIED);
    assert_would_refuse(&audit, tried, "env isn't prod");
    assert_int_equal(match(&tenant, tried, KEYCLOAK, NEAR, &found, &audit), MM_ACCESS_DENIED);
    assert_would_refuse(&audit, tried, "env isn't prod");
    static const char FAR[] = OURS("\"azp\": \"x\", \"env\": \"prod\"");
    assert_int_equal(match(&tenant, tried, KEYCLOAK, FAR, &found, &audit), MM_ACCESS_DENIED);
    assert_would_refuse(&audit, tried, "azp isn't ci");
    assert_int_equal(match(&tenant, NULL, KEYCLOAK, FAR, &found, &audit), MM_ACCESS_DENIED);
    assert_int_equal(audit.n_refusals, 0);
    static const char ELSEWHERE[] = "{\"aud\": \"x\", \"azp\": \"ci\", \"env\": \"prod\"}";
    assert_int_equal(match(&tenant, tried, KEYCLOAK, ELSEWHERE, &found, &audit), MM_ACCESS_DENIED);
    assert_would_refuse(&audit, tried, NULL);
    assert_int_equal(match(&tenant, tried, KEYCLOAK "x", NEAR, &found, &audit), MM_ACCESS_DENIED);
    assert_int_equal(audit.n_refusals, 0);
    assert_int_equal(match(&tenant, NULL, KEYCLOAK, OURS("\"azp\": \"other\""), &found, &audit), MM_OK);
    assert_int_equal(audit.n + audit.n_refusals, 0);
    mm_tenant_clear(&tenant);
}

static void a_client_is_found_by_either_of_its_names(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    build_well(LISTS("{mtls: {san_dns: a.b}}", "{mtls: {san_dns: b.b}}"), &tenant);
    assert_ptr_equal(mm_tenant_client(&tenant, "b"), &tenant.accounts[1]);
    assert_ptr_equal(mm_tenant_client(&tenant, "acme/a"), &tenant.accounts[0]);
    static const char *const NOBODY[] = {"",         "c",  "acme", "acme/", "acme/c", "acme/acme/a",
                                         "globex/a", "a/", "/a",   "A"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NOBODY); i++)
        assert_null(mm_tenant_client(&tenant, NOBODY[i]));
    mm_tenant_clear(&tenant);
}

static void audiences_are_those_of_the_rules_on_an_issuer(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    build_well(LISTS(CLAIMED("azp: ci"), CLAIMED("azp: cd"), OIDC(KEYCLOAK, ", audience: other, claims: {azp: ce}"),
                     OIDC("https://gitlab.com", ", audience: third, claims: {project_id: 1}")),
               &tenant);
    const char *const *audiences = mm_policy_oidc_audiences(&tenant, KEYCLOAK);
    assert_non_null(audiences);
    assert_string_equal(audiences[0], "https://mint.example");
    assert_string_equal(audiences[1], "other");
    assert_null(audiences[2]);
    assert_null(mm_policy_oidc_audiences(&tenant, GITHUB));
    mm_tenant_clear(&tenant);
}

static void a_spiffe_id_stands_for_the_account_whose_path_it_has(void **state)
{
    (void)state;
    struct mm_tenant tenant = {0};
    build_well(LISTS(SPIFFE("acme.example", "/ci/*"), SPIFFE("acme.example", "/cd/**"), SPIFFE("acme.example", "/*/x")),
               &tenant);
    static const struct {
        const char *id;
        enum mm_code code;
        size_t account;
    } CASES[] = {
        {"spiffe://acme.example/ci/build", MM_OK, 0},
        {"spiffe://acme.example/cd/a/b", MM_OK, 1},
        {"spiffe://acme.example/y/x", MM_OK, 2},
        {"spiffe://acme.example/ci/x", MM_CREDENTIAL_AMBIGUOUS, 0},
        {"spiffe://acme.example/ci/build/y", MM_ACCESS_DENIED, 0},
        {"spiffe://acme.example/ci", MM_ACCESS_DENIED, 0},
        {"spiffe://acme.example/ci/", MM_ACCESS_DENIED, 0},
        {"spiffe://acme.example.evil/ci/build", MM_ACCESS_DENIED, 0},
        {"spiffe://evil.example/ci/build", MM_ACCESS_DENIED, 0},
        {"spiffe://ACME.example/ci/build", MM_ACCESS_DENIED, 0},
        {"SPIFFE://acme.example/ci/build", MM_ACCESS_DENIED, 0},
        {"spiffe://acme.example/ci/..", MM_ACCESS_DENIED, 0},
        {"spiffe://acme.example:443/ci/build", MM_ACCESS_DENIED, 0},
        {"spiffe://acme.example/ci/build?x", MM_ACCESS_DENIED, 0},
        {"https://acme.example/ci/build", MM_ACCESS_DENIED, 0},
        {"", MM_ACCESS_DENIED, 0},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_error err = {0};
        const struct mm_account *account = NULL;
        bool matches = mm_policy_match_spiffe(&tenant, NULL, CASES[i].id, &account, &err);
        if (err.code != CASES[i].code || (matches && account != &tenant.accounts[CASES[i].account]))
            fail_msg("%s: %s", CASES[i].id, err.message);
    }
    struct mm_error err = {0};
    const struct mm_account *account = NULL;
    assert_false(
        mm_policy_match_spiffe(&tenant, &tenant.accounts[1], "spiffe://acme.example/ci/build", &account, &err));
    assert_int_equal(err.code, MM_ACCESS_DENIED);
    mm_tenant_clear(&tenant);
}

static uint32_t next_random(void)
{
    static uint32_t state = 2463534242U;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static const char *pick(const char *const *choices, size_t n)
{
    return choices[next_random() % n];
}

/* Of few values, so that many rules have something in common. */
static char *random_rule(void)
{
    static const char *const VALUES[] = {"x", "y", "[x, y]", "\"*/z\"", "x/z", "[x, \"*/z\"]"};
    static const char *const SUBJECTS[] = {"\"repo:o/r:x\"", "\"repo:o@1/r@2:x\"", "\"repo:o/*:x\"",
                                           "\"repo:o@1/*:x\""};
    static const char *const MODES[] = {"enforce", "enforce", "audit"};
    const char *a = pick(VALUES, MM_ARRAY_SIZE(VALUES));
    const char *b = pick(VALUES, MM_ARRAY_SIZE(VALUES));
    const char *mode = pick(MODES, MM_ARRAY_SIZE(MODES));
    char *rule;
    if (next_random() % 3 == 0)
        assert_true(asprintf(&rule, "{oidc: {issuer: \"" GITHUB "\", mode: %s, claims: {repository_id: 2, sub: %s}}}",
                             mode, pick(SUBJECTS, MM_ARRAY_SIZE(SUBJECTS))) > 0);
    else if (next_random() % 2 == 0)
        assert_true(asprintf(&rule, "{oidc: {issuer: \"" KEYCLOAK "\", mode: %s, claims: {a: %s}}}", mode, a) > 0);
    else
        assert_true(
            asprintf(&rule, "{oidc: {issuer: \"" KEYCLOAK "\", mode: %s, claims: {a: %s, b: %s}}}", mode, a, b) > 0);
    return rule;
}

/* What is looked at of many rules comes to the same as looking at all of them. */
static void no_overlap_is_missed_among_many_rules(void **state)
{
    (void)state;
    for (size_t round = 0; round < 500; round++) {
        mm_cleanup(free) char *a = random_rule();
        mm_cleanup(free) char *b = random_rule();
        struct mm_tenant apart[2] = {0};
        struct mm_tenant together = {0};
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        build_well(LISTS(a), &apart[0]);
        build_well(LISTS(b), &apart[1]);
        const struct mm_oidc_rule *rules[] = {apart[0].accounts[0].oidc, apart[1].accounts[0].oidc};
        bool overlap = rules[0]->mode == MM_RULE_ENFORCED && rules[1]->mode == MM_RULE_ENFORCED &&
                       (mm_oidc_rule_covers(rules[0], rules[1]) || mm_oidc_rule_covers(rules[1], rules[0]));
        if (build(LISTS("{mtls: {san_dns: a.b}}", a, "{mtls: {san_dns: a.c}}", b), &together, &problems) == overlap)
            fail_msg("%s and %s", a, b);
        assert_int_equal(problems.n_errors, overlap ? 1 : 0);
        mm_tenant_clear(&apart[0]);
        mm_tenant_clear(&apart[1]);
        mm_tenant_clear(&together);
    }
}

static char *random_claims(void)
{
    static const char *const VALUES[] = {"\"x\"", "\"y\"", "[\"y\", \"x\"]", "\"w/z\"", "\"x/z\"", "7", "null", "[]"};
    static const char *const SUBJECTS[] = {"repo:o/r:x", "repo:o@1/r@2:x", "repo:o@1/q@2:x"};
    char *claims;
    assert_true(asprintf(&claims,
                         "{\"aud\": \"https://mint.example\", \"sub\": \"%s\", \"repository_id\": 2, "
                         "\"repository_owner_id\": 1, \"a\": %s, \"b\": %s}",
                         pick(SUBJECTS, MM_ARRAY_SIZE(SUBJECTS)), pick(VALUES, MM_ARRAY_SIZE(VALUES)),
                         pick(VALUES, MM_ARRAY_SIZE(VALUES))) > 0);
    return claims;
}

static void no_rule_is_missed_among_many(void **state)
{
    (void)state;
    for (size_t round = 0; round < 300; round++) {
        char *rules[4] = {random_rule(), random_rule(), random_rule(), random_rule()};
        mm_cleanup(free) char *several = NULL;
        assert_true(asprintf(&several, "%s, %s", rules[2], rules[3]) > 0);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_tenant tenant = {0};
        bool is_built = build(LISTS(rules[0], rules[1], several), &tenant, &problems);
        for (size_t i = 0; is_built && i < 20; i++) {
            mm_cleanup(free) char *text = random_claims();
            mm_cleanup(json_decref) json_t *claims = mm_json_parse(text, strlen(text), NULL);
            const char *issuer = next_random() % 2 ? GITHUB : KEYCLOAK;
            size_t n_accounts = 0;
            size_t n_audited = 0;
            const struct mm_oidc_rule *first = NULL;
            for (size_t a = 0; a < tenant.n_accounts; a++) {
                bool matches = false;
                for (size_t r = 0; r < tenant.accounts[a].n_oidc; r++) {
                    const struct mm_oidc_rule *rule = &tenant.accounts[a].oidc[r];
                    if (!mm_oidc_rule_matches(rule, issuer, claims, NULL))
                        continue;
                    n_audited += rule->mode == MM_RULE_AUDITED;
                    matches = matches || rule->mode == MM_RULE_ENFORCED;
                    first = !first && rule->mode == MM_RULE_ENFORCED ? rule : first;
                }
                n_accounts += matches;
            }
            struct mm_oidc_match found = {0};
            struct mm_audit_matches audit = {0};
            enum mm_code code = match(&tenant, NULL, issuer, text, &found, &audit);
            assert_int_equal(code, n_accounts == 0   ? MM_ACCESS_DENIED
                                   : n_accounts == 1 ? MM_OK
                                                     : MM_CREDENTIAL_AMBIGUOUS);
            assert_int_equal(audit.n, n_audited);
            if (code == MM_OK)
                assert_ptr_equal(found.rule, first);
        }
        mm_tenant_clear(&tenant);
        for (size_t i = 0; i < MM_ARRAY_SIZE(rules); i++)
            free(rules[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_rule_is_taken_as_it_is_written),
        cmocka_unit_test(a_rule_that_takes_too_much_or_is_no_rule_is_refused),
        cmocka_unit_test(what_is_risky_is_warned_of),
        cmocka_unit_test(one_credential_for_two_accounts_is_refused),
        cmocka_unit_test(no_overlap_is_missed_among_many_rules),
        cmocka_unit_test(no_rule_is_missed_among_many),
        cmocka_unit_test(a_token_stands_for_the_account_whose_rule_it_satisfies),
        cmocka_unit_test(a_list_has_each_rule_asked_for_once_whatever_it_repeats),
        cmocka_unit_test(a_rule_in_audit_mode_is_told_of_and_grants_nothing),
        cmocka_unit_test(a_rule_in_audit_mode_says_why_it_would_refuse),
        cmocka_unit_test(a_client_is_found_by_either_of_its_names),
        cmocka_unit_test(audiences_are_those_of_the_rules_on_an_issuer),
        cmocka_unit_test(a_spiffe_id_stands_for_the_account_whose_path_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
