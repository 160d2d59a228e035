/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWTs that say who is calling: whom each claims to come from, whose keys count for it, and what it proves.
 */
#include "oauth/assertion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "oauth/replay.h"
#include "policy/authenticate.h"
#include "tests/support/sign.h"
#include "token/jws.h"

#define MINT     "https://mint.acme.example"
#define ENDPOINT MINT "/oauth2/token"
#define CI       "https://ci.acme.example"

static const int64_t NOW = 1790000000;

static const char ENVELOPE[] = "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"], \"issuers\": [\"" CI
                               "\", \"" MINT "\"], \"trust_domains\": {\"acme.example\": {\"bundle_file\": \"b\"}}}";

#define GRANTS "grants: [{scopes: [\"read:repo\"], resources: [\"urc-*\"], ttl: {default: 1m, max: 1m}}]"
static const char TENANT[] =
    "{tenant: acme, env: prod, audience: [lore], max_ttl: 1h, accounts: ["
    "{id: own, name: Own, authenticate: [{private_key_jwt: {jwks_file: a}}, {private_key_jwt: {jwks_uri: "
    "\"https://a.example/jwks\", assertion_audience: token_endpoint}}], " GRANTS "}, "
    "{id: ci, name: CI, authenticate: [{oidc: {issuer: \"" CI "\", claims: {job: build}}}], " GRANTS "}, "
    "{id: once, name: Once, authenticate: [{oidc: {issuer: \"" CI
    "\", claims: {job: once}, single_use: true}}], " GRANTS "}, "
    "{id: stock, name: Stock, authenticate: [{oidc: {issuer: \"" CI
    "\", claims: {job: stock}, as_client_secret: true}}], " GRANTS "}, "
    "{id: tried, name: Tried, authenticate: [{oidc: {issuer: \"" CI "\", claims: {job: tried}, mode: audit}}], " GRANTS
    "}, "
    "{id: pod, name: Pod, authenticate: [{spiffe: {trust_domain: acme.example, path: /pod}}], " GRANTS "}]}";

static struct world {
    EVP_PKEY *key;
    struct mm_jwks *jwks;
    struct mm_tenant tenant;
} world;

static int set_up(void **state)
{
    (void)state;
    static const struct mm_service_terms TERMS = {.issuer = MINT, .max_ttl = 3600};
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *envelope = json_loads(ENVELOPE, 0, NULL);
    assert_true(mm_envelope_build(envelope, MM_ES256, &world.tenant.envelope, NULL));
    if (!mm_yaml_parse("t.yaml", TENANT, strlen(TENANT), &document, &problems) ||
        !mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, &problems) ||
        !mm_tenant_build("acme", &document, &TERMS, &world.tenant, &problems))
        fail_msg("%s", problems.n ? problems.items[0].reason : "?");
    world.key = make_private_key(MM_ES256);
    mm_cleanup(json_decref) json_t *set = json_pack("{s[o]}", "keys", make_jwk(world.key, "1", "ES256"));
    mm_cleanup(free) char *text = mm_json_compact(set, NULL);
    world.jwks = mm_jwks_parse(text, strlen(text), NULL);
    assert_non_null(world.jwks);
    world.tenant.accounts[0].private_key_jwt[0].jwks = mm_jwks_ref(world.jwks);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mm_tenant_clear(&world.tenant);
    EVP_PKEY_free(world.key);
    mm_jwks_unref(world.jwks);
    return 0;
}

/* The usual claims, with those that the text, members of an object, says; null takes one away. */
static json_t *claims(const char *iss, const char *sub, const char *changes)
{
    mm_cleanup(free) char *text = NULL;
    assert_true(asprintf(&text, "{%s}", changes) > 0);
    json_t *made = json_pack("{ss ss ss sI sI ss}", "iss", iss, "sub", sub, "aud", MINT, "exp", (json_int_t)NOW + 120,
                             "iat", (json_int_t)NOW, "jti", "j");
    mm_cleanup(json_decref) json_t *changed = json_loads(text, 0, NULL);
    assert_non_null(changed);
    assert_int_equal(json_object_update(made, changed), 0);
    const char *name;
    json_t *value;
    json_object_foreach(changed, name, value) if (json_is_null(value)) assert_int_equal(json_object_del(made, name), 0);
    return made;
}

static struct mm_jwt *sign(const char *type, json_t *payload)
{
    char header[128];
    mm_cleanup(json_decref) json_t *owned = payload;
    (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"1\"%s%s%s}", type ? ",\"typ\":\"" : "",
                   type ? type : "", type ? "\"" : "");
    mm_cleanup(free) char *text = mm_json_compact(owned, NULL);
    mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), text, strlen(text), NULL);
    struct test_signature made = sign_jws(MM_ES256, world.key, (struct mm_bytes){input, strlen(input)});
    mm_cleanup(free) char *jws = mm_jws_compact(input, (struct mm_bytes){made.bytes, made.length}, NULL);
    struct mm_jwt *jwt = mm_jwt_open(jws, strlen(jws), NULL);
    assert_non_null(jwt);
    return jwt;
}

struct outcome {
    enum mm_code code;
    char account[64];
    struct mm_one_use use;
    size_t n_audited;
};

/* What comes of a JWT with keys of the claimant's `place`; it is freed. */
static struct outcome judge(struct mm_jwt *jwt, enum mm_assertion_way way, const char *client_id, size_t place)
{
    static const struct mm_assertion_terms TERMS = {MINT, ENDPOINT, NOW};
    mm_cleanup(mm_jwt_free) struct mm_jwt *owned = jwt;
    struct outcome outcome = {.code = MM_OK};
    struct mm_error err = {0};
    struct mm_claimant claimant;
    struct mm_claimant_keys keys;
    struct mm_audit_matches audit = {0};
    struct mm_principal principal;
    bool is_proven = mm_assertion_claimant(&world.tenant, client_id, owned, way, &claimant, &err);
    if (is_proven) {
        assert_true(mm_claimant_keys(&claimant, place, &keys));
        is_proven = mm_assertion_verify(&claimant, &keys, owned, world.jwks, &TERMS, &principal, &audit, &err);
    }
    assert_int_equal(is_proven, err.code == MM_OK);
    outcome.code = err.code;
    outcome.n_audited = audit.n;
    if (is_proven) {
        assert_ptr_equal(principal.tenant, &world.tenant);
        (void)snprintf(outcome.account, sizeof outcome.account, "%s", principal.account->id);
        outcome.use = principal.use;
    }
    return outcome;
}

static void assert_account(struct outcome outcome, const char *account)
{
    assert_int_equal(outcome.code, MM_OK);
    assert_string_equal(outcome.account, account);
}

static enum mm_code own(const char *type, const char *changes)
{
    return judge(sign(type, claims("acme/own", "acme/own", changes)), MM_ASSERTION_AS_JWT_BEARER, NULL, 0).code;
}

static void an_assertion_of_its_own_proves_a_client_and_counts_once(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"acme/own", "own"};
    uint8_t digest[MM_SHA256_LENGTH];
    mm_replay_digest("acme/own", "j", digest);
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        struct outcome outcome =
            judge(sign("JWT", claims(NAMES[i], NAMES[i], "")), MM_ASSERTION_AS_JWT_BEARER, "own", 0);
        assert_account(outcome, "own");
        assert_memory_equal(outcome.use.digest, digest, sizeof digest);
        assert_int_equal(outcome.use.until, NOW + 120 + MM_JWT_LEEWAY);
    }
}

static void an_assertion_obeys_every_rule(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        const char *changes;
        enum mm_code code;
    } CASES[] = {
        {NULL, "", MM_OK},
        {"client-authentication+jwt", "", MM_OK},
        {"at+jwt", "", MM_TOKEN_INVALID},
        {NULL, "\"aud\": [\"" MINT "\"]", MM_OK},
        {NULL, "\"aud\": [\"" MINT "\", \"x\"]", MM_TOKEN_INVALID},
        {NULL, "\"aud\": \"" ENDPOINT "\"", MM_TOKEN_INVALID},
        {NULL, "\"aud\": null", MM_TOKEN_INVALID},
        {NULL, "\"sub\": \"own\"", MM_TOKEN_INVALID},
        {NULL, "\"sub\": null", MM_TOKEN_INVALID},
        {NULL, "\"jti\": null", MM_TOKEN_INVALID},
        {NULL, "\"exp\": null", MM_TOKEN_INVALID},
        {NULL, "\"exp\": 1790000360", MM_OK},
        {NULL, "\"exp\": 1790000361", MM_TOKEN_INVALID},
        {NULL, "\"exp\": 1789999941", MM_OK},
        {NULL, "\"exp\": 1789999940", MM_TOKEN_INVALID},
        {NULL, "\"iat\": null", MM_OK},
        {NULL, "\"iat\": 1790000061", MM_TOKEN_INVALID},
        {NULL, "\"nbf\": 1790000061", MM_TOKEN_INVALID},
        {NULL, "\"iss\": \"acme/ci\", \"sub\": \"acme/ci\"", MM_ACCESS_DENIED},
        {NULL, "\"iss\": \"acme/nobody\", \"sub\": \"acme/nobody\"", MM_ACCESS_DENIED},
        {NULL, "\"iss\": \"globex/own\", \"sub\": \"globex/own\"", MM_ACCESS_DENIED},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        if (own(CASES[i].type, CASES[i].changes) != CASES[i].code)
            fail_msg("%s %s", CASES[i].type ? CASES[i].type : "no type", CASES[i].changes);
}

static void the_audience_is_that_of_the_keys_that_signed(void **state)
{
    (void)state;
    struct mm_jwt *jwt = sign(NULL, claims("own", "own", "\"aud\": \"" ENDPOINT "\""));
    assert_account(judge(jwt, MM_ASSERTION_AS_JWT_BEARER, NULL, 1), "own");
    jwt = sign(NULL, claims("own", "own", ""));
    assert_int_equal(judge(jwt, MM_ASSERTION_AS_JWT_BEARER, NULL, 1).code, MM_TOKEN_INVALID);
}

static struct mm_jwt *job(const char *name, const char *changes)
{
    char text[256];
    (void)snprintf(text, sizeof text, "\"job\": \"%s\"%s%s", name, changes[0] ? ", " : "", changes);
    return sign("JWT", claims(CI, "repo:acme/widgets", text));
}

static void a_platforms_token_proves_the_account_that_its_rule_names(void **state)
{
    (void)state;
    struct outcome outcome = judge(job("build", ""), MM_ASSERTION_AS_BEARER, NULL, 0);
    assert_account(outcome, "ci");
    assert_int_equal(outcome.use.until, 0);
    assert_account(judge(job("build", ""), MM_ASSERTION_AS_SUBJECT_TOKEN, "acme/ci", 0), "ci");
    assert_int_equal(judge(job("build", ""), MM_ASSERTION_AS_BEARER, "once", 0).code, MM_ACCESS_DENIED);
    assert_int_equal(judge(job("nothing", ""), MM_ASSERTION_AS_BEARER, NULL, 0).code, MM_ACCESS_DENIED);
    assert_int_equal(judge(job("build", "\"exp\": null"), MM_ASSERTION_AS_BEARER, NULL, 0).code, MM_TOKEN_INVALID);
}

static void a_token_that_counts_once_says_which_it_is_and_is_short_lived(void **state)
{
    (void)state;
    struct outcome outcome = judge(job("once", ""), MM_ASSERTION_AS_BEARER, NULL, 0);
    assert_account(outcome, "once");
    assert_int_equal(outcome.use.until, NOW + 120 + MM_JWT_LEEWAY);
    assert_int_equal(judge(job("once", "\"jti\": null"), MM_ASSERTION_AS_BEARER, NULL, 0).code, MM_TOKEN_INVALID);
    assert_int_equal(judge(job("once", "\"exp\": 1790007260"), MM_ASSERTION_AS_BEARER, NULL, 0).code, MM_OK);
    assert_int_equal(judge(job("once", "\"exp\": 1790007261"), MM_ASSERTION_AS_BEARER, NULL, 0).code, MM_TOKEN_INVALID);
}

static void only_a_rule_that_says_so_takes_a_secret(void **state)
{
    (void)state;
    assert_account(judge(job("stock", ""), MM_ASSERTION_AS_SECRET, "stock", 0), "stock");
    assert_int_equal(judge(job("build", ""), MM_ASSERTION_AS_SECRET, "ci", 0).code, MM_ACCESS_DENIED);
    assert_int_equal(judge(job("build", ""), MM_ASSERTION_AS_SECRET, "stock", 0).code, MM_ACCESS_DENIED);
}

static void each_way_takes_its_own_kinds(void **state)
{
    (void)state;
    static const enum mm_assertion_way WAYS[] = {MM_ASSERTION_AS_SECRET, MM_ASSERTION_AS_SUBJECT_TOKEN,
                                                 MM_ASSERTION_AS_JWT_SPIFFE};
    for (size_t i = 0; i < MM_ARRAY_SIZE(WAYS); i++) {
        struct mm_jwt *jwt = sign(NULL, claims("acme/own", "acme/own", ""));
        assert_int_equal(judge(jwt, WAYS[i], NULL, 0).code, MM_ACCESS_DENIED);
    }
    struct mm_jwt *svid = sign(NULL, claims("", "spiffe://acme.example/pod", "\"iss\": null"));
    assert_int_equal(judge(svid, MM_ASSERTION_AS_SECRET, "pod", 0).code, MM_ACCESS_DENIED);
    assert_int_equal(judge(job("build", ""), MM_ASSERTION_AS_JWT_SPIFFE, NULL, 0).code, MM_ACCESS_DENIED);
}

static void a_rule_in_audit_mode_is_told_and_proves_nothing(void **state)
{
    (void)state;
    struct outcome outcome = judge(job("tried", ""), MM_ASSERTION_AS_BEARER, NULL, 0);
    assert_int_equal(outcome.code, MM_ACCESS_DENIED);
    assert_int_equal(outcome.n_audited, 1);
}

static void a_jwt_svid_proves_the_account_of_its_id(void **state)
{
    (void)state;
    static const char SUB[] = "spiffe://acme.example/pod";
    assert_account(judge(sign("JOSE", claims("", SUB, "\"iss\": null")), MM_ASSERTION_AS_JWT_BEARER, NULL, 0), "pod");
    struct mm_jwt *jwt = sign(NULL, claims("https://spire.example", SUB, "\"jti\": null"));
    assert_account(judge(jwt, MM_ASSERTION_AS_JWT_SPIFFE, NULL, 0), "pod");
    jwt = sign(NULL, claims("https://spire.example", SUB, ""));
    assert_int_equal(judge(jwt, MM_ASSERTION_AS_JWT_BEARER, NULL, 0).code, MM_ACCESS_DENIED);
    static const char *const STRANGERS[] = {"spiffe://acme.example/pod/x", "spiffe://acme.example/",
                                            "spiffe://acme.example",       "spiffe://acme.exampl/pod",
                                            "spiffe://acme.example.x/pod", "pod"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(STRANGERS); i++) {
        jwt = sign(NULL, claims("", STRANGERS[i], "\"iss\": null"));
        assert_int_equal(judge(jwt, MM_ASSERTION_AS_JWT_BEARER, NULL, 0).code, MM_ACCESS_DENIED);
    }
}

/* Even where an envelope lists us as an issuer: what we issued proves nothing to us (RFC 8725 section 2.8). */
static void a_token_of_our_own_proves_nothing(void **state)
{
    (void)state;
    struct mm_jwt *jwt = sign("JWT", claims(MINT, "acme/ci", "\"job\": \"build\""));
    assert_int_equal(judge(jwt, MM_ASSERTION_AS_BEARER, NULL, 0).code, MM_ACCESS_DENIED);
}

static void what_was_used_before_a_restart_stays_used_even_without_room(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = mm_replay_new(2, &MM_SYSTEM_RANDOM, NULL);
    uint8_t digest[MM_SHA256_LENGTH] = {0};
    for (uint8_t i = 0; i < 4; i++) {
        digest[0] = i;
        mm_replay_remember(replay, "acme", digest, NOW + 100 + i, NOW);
    }
    for (uint8_t i = 0; i < 4; i++) {
        digest[0] = i;
        assert_false(mm_replay_use(replay, "acme", digest, NOW + 100 + i, NOW, NULL));
    }
    digest[0] = 9;
    assert_false(mm_replay_use(replay, "acme", digest, NOW + 50, NOW, NULL)); /* it may have been */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_assertion_of_its_own_proves_a_client_and_counts_once),
        cmocka_unit_test(an_assertion_obeys_every_rule),
        cmocka_unit_test(the_audience_is_that_of_the_keys_that_signed),
        cmocka_unit_test(a_platforms_token_proves_the_account_that_its_rule_names),
        cmocka_unit_test(a_token_that_counts_once_says_which_it_is_and_is_short_lived),
        cmocka_unit_test(only_a_rule_that_says_so_takes_a_secret),
        cmocka_unit_test(each_way_takes_its_own_kinds),
        cmocka_unit_test(a_rule_in_audit_mode_is_told_and_proves_nothing),
        cmocka_unit_test(a_jwt_svid_proves_the_account_of_its_id),
        cmocka_unit_test(a_token_of_our_own_proves_nothing),
        cmocka_unit_test(what_was_used_before_a_restart_stays_used_even_without_room),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
