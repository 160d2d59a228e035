/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subject tokens, ours and others': which are taken, whom the new token is then for, and what none of them can be made to say.
 */
#include "oauth/subject.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sign.h"
#include "token/jws.h"
#include "util/base64url.h"

#define MINT  "https://mint.acme.example"
#define IDP   "https://idp.acme.example/realms/acme"
#define LORE  "https://lore.acme.example"
#define OTHER "https://idp.other.example"

static const int64_t NOW = 1790000000;
static const struct mm_service_terms TERMS = {.issuer = MINT, .max_ttl = 3600};
static const char FINGERPRINT[] = "6f070ad1eb1cdc0082dc3076639fe5112b1713ca3d96d734e4ef3d8dd37e760e";
#define THUMBPRINT "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg4"

static const char ENVELOPE[] =
    "{\"audiences\": [\"lore\"], \"resources\": [\"urc-*\"], \"issuers\": [\"" IDP "\", \"" OTHER "\"]}";

static const char TENANT[] =
    "{tenant: acme, env: prod, audience: [lore], max_ttl: 1h, accounts: ["
    "{id: ci, name: Acme CI, authenticate: [{mtls: {san_dns: ci.example}}], grants: [{scopes: [\"read:repo\"], "
    "resources: [\"urc-*\"], ttl: {default: 1m, max: 1m}}]}, "
    "{id: deploy, name: Deploy, certificate_bound: required, authenticate: [{mtls: {san_dns: d.example}}], grants: "
    "[{scopes: [\"read:repo\"], resources: [\"urc-*\"], ttl: {default: 1m, max: 1m}}]}], "
    "exchange: {subject_audiences: [\"" LORE "\", other], public_clients: [lore-cli], rules: ["
    "{subject: {issuer: \"" IDP "\", claims: {groups: [developers]}}, scopes: [\"read:repo\"], resources: [\"urc-*\"], "
    "ttl: {default: 1m, max: 1m}}]}}";

static struct world {
    EVP_PKEY *key;
    struct mm_jwks *jwks;
    struct mm_tenant tenant;
} world;

static int set_up(void **state)
{
    (void)state;
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *envelope = json_loads(ENVELOPE, 0, NULL);
    assert_true(mm_envelope_build(envelope, MM_ES256, &world.tenant.envelope, NULL));
    if (!mm_yaml_parse("t.yaml", TENANT, strlen(TENANT), &document, &problems) ||
        !mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, &problems) ||
        !mm_tenant_build("acme", &document, &TERMS, &world.tenant, &problems))
        fail_msg("%s", problems.items[0].reason);
    world.key = make_private_key(MM_ES256);
    mm_cleanup(json_decref) json_t *set = json_pack("{s[o]}", "keys", make_jwk(world.key, "1", "ES256"));
    mm_cleanup(free) char *text = mm_json_compact(set, NULL);
    world.jwks = mm_jwks_parse(text, strlen(text), NULL);
    assert_non_null(world.jwks);
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

/* Keycloak's access token for a public client, with what it has by default. */
static json_t *keycloak(void)
{
    json_t *claims =
        json_pack("{sI sI ss ss s[ss] ss ss ss ss s{s[s]} ss ss sb ss ss s[s]}", "exp", (json_int_t)NOW + 300, "iat",
                  (json_int_t)NOW, "jti", "onrtac:2c5cbf8e", "iss", IDP, "aud", LORE, "account", "sub",
                  "9bd11b1c-2e5e-4a43-8c73-7a9a6a0d2e1f", "typ", "Bearer", "azp", "lore-cli", "sid", "e2a3",
                  "realm_access", "roles", "offline_access", "scope", "profile email", "preferred_username", "ada",
                  "email_verified", 1, "name", "Ada L", "acr", "1", "groups", "developers");
    assert_non_null(claims);
    return claims;
}

/* An access token as RFC 9068 has it. */
static json_t *rfc9068(void)
{
    json_t *claims =
        json_pack("{sI sI ss ss ss ss ss s[s]}", "exp", (json_int_t)NOW + 300, "iat", (json_int_t)NOW, "jti", "j1",
                  "iss", IDP, "aud", LORE, "sub", "ada", "client_id", "lore-cli", "groups", "developers");
    assert_non_null(claims);
    return claims;
}

/* One of ours. */
static json_t *ours(void)
{
    json_t *claims =
        json_pack("{sI sI ss ss ss ss ss ss ss s[{ss s[s]}]}", "exp", (json_int_t)NOW + 300, "iat", (json_int_t)NOW,
                  "jti", "j2", "iss", MINT, "aud", LORE, "sub", "acme/ci", "client_id", "acme/ci", "tenant_id", "acme",
                  "scope", "read:repo read:blob", "resources", "resource_id", "urc-1", "permission", "read");
    assert_non_null(claims);
    return claims;
}

static struct mm_jwt *sign(const char *type, const json_t *claims)
{
    char header[128];
    (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"1\"%s%s%s}", type ? ",\"typ\":\"" : "",
                   type ? type : "", type ? "\"" : "");
    mm_cleanup(free) char *payload = mm_json_compact(claims, NULL);
    mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), payload, strlen(payload), NULL);
    struct test_signature made = sign_jws(MM_ES256, world.key, (struct mm_bytes){input, strlen(input)});
    mm_cleanup(free) char *text = mm_jws_compact(input, (struct mm_bytes){made.bytes, made.length}, NULL);
    struct mm_jwt *jwt = mm_jwt_open(text, strlen(text), NULL);
    assert_non_null(jwt);
    return jwt;
}

/* The claims (a reference is taken) with `member` set to JSON text, or taken away if that is NULL. */
static json_t *with(json_t *claims, const char *member, const char *text)
{
    if (!text)
        assert_int_equal(json_object_del(claims, member), 0);
    else
        assert_int_equal(json_object_set_new(claims, member, json_loads(text, JSON_DECODE_ANY, NULL)), 0);
    return claims;
}

struct taken {
    struct mm_jwt *jwt;
    struct mm_subject subject;
};

/* Verify it, its reference taken over; the caller clears what comes of it. */
static enum mm_code take(const char *type, json_t *claims, int64_t now, struct taken *ret_taken)
{
    struct mm_error err = {0};
    *ret_taken = (struct taken){.jwt = sign(type, claims)};
    json_decref(claims);
    bool is_taken = mm_subject_verify(ret_taken->jwt, world.jwks, &world.tenant, MINT, now, &ret_taken->subject, &err);
    assert_int_equal(is_taken, err.code == MM_OK);
    return err.code;
}

static void clear(struct taken *taken)
{
    mm_subject_clear(&taken->subject);
    mm_jwt_free(taken->jwt);
}

static void assert_taken(const char *type, json_t *claims, enum mm_code code, const char *what)
{
    struct taken taken;
    enum mm_code got = take(type, claims, NOW, &taken);
    clear(&taken);
    if (got != code)
        fail_msg("%s: %s", what, mm_code_name(got));
}

static void a_users_access_token_says_whom_the_new_one_is_for(void **state)
{
    (void)state;
    struct taken taken;
    assert_int_equal(take("JWT", keycloak(), NOW, &taken), MM_OK);
    const struct mm_subject *subject = &taken.subject;
    assert_string_equal(subject->identity, IDP "#9bd11b1c-2e5e-4a43-8c73-7a9a6a0d2e1f");
    assert_string_equal(subject->claims.identity, subject->identity);
    assert_string_equal(subject->claims.username, "ada");
    assert_string_equal(subject->claims.provider, IDP);
    assert_string_equal(subject->name, "Ada L");
    assert_string_equal(subject->who.issuer, IDP);
    assert_null(subject->account);
    assert_null(subject->claims.actor);
    assert_int_equal(subject->not_after, NOW + 300);
    assert_int_equal(strlen(subject->jti_digest), MM_SHA256_HEX_LENGTH);
    assert_string_equal(subject->fingerprint, "");
    clear(&taken);
}

static void names_that_could_pass_for_an_accounts_are_not_carried_over(void **state)
{
    (void)state;
    static const struct {
        const char *username;
        const char *name;
        const char *expected_username; /* NULL: the identity */
        const char *expected_name;     /* NULL: the username */
    } CASES[] = {
        {"\"ada\"", "\"Ada \\u00e9\"", "ada", "Ada \xc3\xa9"},
        {"\"acme/ci\"", "\"acme/ci\"", NULL, NULL},
        {"\"ada l\"", "\"\"", NULL, NULL},
        {"\"\\u0430da\"", "\"a\\nb\"", NULL, NULL},
        {"7", "{}", NULL, NULL},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct taken taken;
        json_t *claims = with(with(keycloak(), "preferred_username", CASES[i].username), "name", CASES[i].name);
        assert_int_equal(take("JWT", claims, NOW, &taken), MM_OK);
        const char *username = CASES[i].expected_username ? CASES[i].expected_username : taken.subject.identity;
        assert_string_equal(taken.subject.claims.username, username);
        assert_string_equal(taken.subject.name, CASES[i].expected_name ? CASES[i].expected_name : username);
        clear(&taken);
    }
}

static void only_access_tokens_are_taken(void **state)
{
    (void)state;
    static const struct {
        const char *type;   /* of the header */
        const char *member; /* changed in Keycloak's */
        const char *value;
        enum mm_code code;
    } CASES[] = {
        {"JWT", NULL, NULL, MM_OK},
        {"at+jwt", NULL, NULL, MM_OK},
        {"application/at+jwt", "typ", NULL, MM_OK},
        {"AT+JWT", "typ", NULL, MM_OK},
        /* Keycloak's other tokens say what they are in the payload alone */
        {"JWT", "typ", "\"ID\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "typ", "\"Refresh\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "typ", "\"Offline\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "typ", "\"Logout\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "typ", "\"bearer\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "typ", "[\"Bearer\"]", MM_SUBJECT_TOKEN_INVALID},
        {"at+jwt", "typ", "\"ID\"", MM_SUBJECT_TOKEN_INVALID},
        /* what is no more than a JWT could be anything */
        {"JWT", "typ", NULL, MM_SUBJECT_TOKEN_INVALID},
        {NULL, NULL, NULL, MM_SUBJECT_TOKEN_INVALID},
        {"id+jwt", NULL, NULL, MM_SUBJECT_TOKEN_INVALID},
        {"logout+jwt", NULL, NULL, MM_SUBJECT_TOKEN_INVALID},
        {"secevent+jwt", NULL, NULL, MM_SUBJECT_TOKEN_INVALID},
        /* marks of ID tokens */
        {"JWT", "nonce", "\"n\"", MM_SUBJECT_TOKEN_INVALID},
        {"at+jwt", "nonce", "\"n\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "at_hash", "\"x\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "c_hash", "\"x\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "s_hash", "\"x\"", MM_SUBJECT_TOKEN_INVALID},
        {"JWT", "azp", "\"other\"", MM_OK},
        {"JWT", "aud", "\"other\"", MM_OK},
        {"JWT", "aud", "[\"other\", \"lore-cli\"]", MM_OK},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char what[64];
        (void)snprintf(what, sizeof what, "case %zu", i);
        json_t *claims = keycloak();
        assert_taken(CASES[i].type, CASES[i].member ? with(claims, CASES[i].member, CASES[i].value) : claims,
                     CASES[i].code, what);
    }
    json_t *for_itself = with(with(keycloak(), "azp", "\"other\""), "aud", "\"other\"");
    assert_taken("JWT", for_itself, MM_SUBJECT_TOKEN_INVALID, "aud is azp");
    for_itself = with(with(rfc9068(), "client_id", "\"other\""), "aud", "[\"other\"]");
    assert_taken("at+jwt", for_itself, MM_SUBJECT_TOKEN_INVALID, "aud is client_id");
    assert_taken("at+jwt", rfc9068(), MM_OK, "RFC 9068");
    assert_taken("JWT", rfc9068(), MM_SUBJECT_TOKEN_INVALID, "without its type");
}

static void whose_it_is_and_whom_it_is_for_must_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        const char *value;
    } CASES[] = {
        {"aud", "\"https://cache.acme.example\""},
        {"aud", "[\"https://lore.acme.example/\"]"},
        {"aud", NULL},
        {"iss", "\"" OTHER "\""}, /* in the envelope, and in no rule */
        {"iss", "\"" IDP "/\""},
        {"iss", "\"https://evil.example\""},
        {"iss", "[\"" IDP "\"]"},
        {"iss", NULL},
        {"iss", "\"" MINT "\""},
        {"sub", NULL},
        {"sub", "\"\""},
        {"sub", "7"},
        {"sub", "\"a b\""},
        {"sub", "\"\\u0430da\""},
        {"exp", NULL},
        {"exp", "1790000000"},
        {"exp", "1789999970"}, /* within the leeway: nothing could come of it */
        {"nbf", "1790000061"},
        {"iat", "1790000061"},
        {"act", "{\"sub\": \"somebody\"}"},
        {"cnf", "{\"jkt\": \"" THUMBPRINT "\"}"},
        {"cnf", "{\"x5t#S256\": \"" THUMBPRINT "\", \"jkt\": \"" THUMBPRINT "\"}"},
        {"cnf", "{\"x5t#S256\": \"short\"}"},
        {"cnf", "{\"x5t#S256\": [\"" THUMBPRINT "\"]}"},
        {"cnf", "{}"},
        {"cnf", "null"},
        {"cnf", "\"x5t#S256\""},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char what[64];
        (void)snprintf(what, sizeof what, "case %zu", i);
        assert_taken("JWT", with(keycloak(), CASES[i].member, CASES[i].value), MM_SUBJECT_TOKEN_INVALID, what);
    }
}

static void a_subject_has_a_bounded_name_that_no_other_issuers_has(void **state)
{
    (void)state;
    char sub[MM_SUBJECT_MAX + 3];
    size_t most = MM_SUBJECT_MAX - strlen(IDP "#");
    for (size_t length = most; length <= most + 1; length++) {
        memset(sub, 'a', sizeof sub);
        sub[0] = sub[length + 1] = '"';
        sub[length + 2] = '\0';
        struct taken taken;
        enum mm_code code = take("JWT", with(keycloak(), "sub", sub), NOW, &taken);
        assert_int_equal(code, length == most ? MM_OK : MM_SUBJECT_TOKEN_INVALID);
        clear(&taken);
    }
    struct taken taken;
    assert_int_equal(take("JWT", with(keycloak(), "sub", "\"x#y\""), NOW, &taken), MM_OK);
    assert_string_equal(taken.subject.identity, IDP "#x#y");
    clear(&taken);
}

static void a_fraction_of_a_second_is_no_longer_life(void **state)
{
    (void)state;
    struct taken taken;
    assert_int_equal(take("JWT", with(keycloak(), "exp", "1790000010.5"), NOW, &taken), MM_OK);
    assert_int_equal(taken.subject.not_after, NOW + 10);
    clear(&taken);
    assert_int_equal(take("JWT", with(keycloak(), "exp", "1790000000.5"), NOW, &taken), MM_SUBJECT_TOKEN_INVALID);
    clear(&taken);
}

static void our_own_token_brings_its_rights_as_the_most_that_can_come_of_it(void **state)
{
    (void)state;
    struct taken taken;
    json_t *claims = with(ours(), "aud", "[\"" LORE "\", \"lore\", \"gone\"]");
    assert_int_equal(take("at+jwt", claims, NOW, &taken), MM_OK);
    const struct mm_subject *subject = &taken.subject;
    assert_string_equal(subject->identity, "acme/ci");
    assert_ptr_equal(subject->account, &world.tenant.accounts[0]);
    assert_null(subject->who.issuer);
    assert_string_equal(subject->who.account, "ci");
    assert_int_equal(subject->who.scopes.n, 2);
    assert_string_equal(subject->who.scopes.items[1], "read:blob");
    assert_int_equal(subject->who.resources.n, 1);
    assert_string_equal(subject->who.resources.items[0], "urc-1");
    assert_int_equal(subject->who.audiences.n, 1);
    assert_string_equal(subject->who.audiences.items[0], "lore");
    assert_string_equal(subject->claims.provider, "mintmark");
    assert_string_equal(subject->name, "Acme CI");
    clear(&taken);
}

static void a_token_of_ours_that_is_not_the_tenants_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        const char *value;
    } CASES[] = {
        {"tenant_id", "\"globex\""},
        {"tenant_id", NULL},
        {"sub", "\"globex/ci\""},
        {"sub", "\"acme/gone\""},
        {"sub", "\"acme/lore-cli\""},
        {"sub", "\"ci\""},
        {"sub", "\"" IDP "#ada\""}, /* exchanged once is narrowed for good */
        {"aud", "\"lore\""},
        {"act", "\"somebody\""},
        {"act", "{\"sub\":\"a\",\"act\":{\"sub\":\"b\",\"act\":{\"sub\":\"c\",\"act\":{\"sub\":\"d\"}}}}"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char what[64];
        (void)snprintf(what, sizeof what, "case %zu", i);
        assert_taken("at+jwt", with(ours(), CASES[i].member, CASES[i].value), MM_SUBJECT_TOKEN_INVALID, what);
    }
    assert_taken("JWT", ours(), MM_SUBJECT_TOKEN_INVALID, "a type of others'");
    assert_taken("JWT", with(ours(), "typ", "\"Bearer\""), MM_SUBJECT_TOKEN_INVALID, "a type of others'");
}

/* --- who exchanges it */

static struct mm_principal principal_of(const struct mm_account *account, const char *fingerprint)
{
    struct mm_principal principal = {.tenant = &world.tenant, .account = account, .not_after = NOW + 3600};
    (void)snprintf(principal.fingerprint, sizeof principal.fingerprint, "%s", fingerprint);
    return principal;
}

static enum mm_code act(json_t *claims, const struct mm_account *account, const char *fingerprint, const char *expected)
{
    struct taken taken;
    struct mm_error err = {0};
    bool is_own = strcmp(mm_json_string(claims, "iss"), MINT) == 0;
    assert_int_equal(take(is_own ? "at+jwt" : "JWT", claims, NOW, &taken), MM_OK);
    struct mm_principal principal = principal_of(account, fingerprint);
    if (mm_subject_act(&taken.subject, &principal, &err)) {
        assert_ptr_equal(principal.subject, &taken.subject);
        assert_int_equal(principal.not_after, NOW + 300);
        if (expected)
            assert_string_equal(taken.subject.claims.actor, expected);
        else
            assert_null(taken.subject.claims.actor);
    } else {
        assert_null(principal.subject);
    }
    clear(&taken);
    return err.code;
}

static void act_names_an_authenticated_client_and_those_before_it(void **state)
{
    (void)state;
    const struct mm_account *ci = &world.tenant.accounts[0];
    const struct mm_account *cli = &world.tenant.exchange->public_clients[0];
    static const char BEFORE[] = "{\"sub\":\"acme/deploy\"}";
    assert_int_equal(act(keycloak(), ci, "", "{\"sub\":\"acme/ci\"}"), MM_OK);
    assert_int_equal(act(keycloak(), cli, "", NULL), MM_OK);
    assert_int_equal(act(with(ours(), "act", BEFORE), cli, "", BEFORE), MM_OK);
    assert_int_equal(act(with(ours(), "act", BEFORE), ci, "",
                         "{\"sub\":\"acme/ci\",\"act\":{\"sub\":\"acme/deploy\"}}"),
                     MM_OK);
}

static void may_act_lets_nobody_else(void **state)
{
    (void)state;
    const struct mm_account *ci = &world.tenant.accounts[0];
    const struct mm_account *cli = &world.tenant.exchange->public_clients[0];
    static const struct {
        const char *may_act;
        bool is_allowed;
    } CASES[] = {
        {"{\"sub\": \"acme/ci\"}", true},
        {"{\"sub\": \"acme/ci\", \"iss\": \"" MINT "\"}", true},
        {"{\"sub\": \"acme/ci\", \"iss\": \"" IDP "\"}", false}, /* whoever is called so there */
        {"{\"sub\": \"acme/ci\", \"iss\": \"" OTHER "\"}", false},
        {"{\"sub\": \"acme/ci\", \"iss\": 7}", false},
        {"{\"sub\": \"acme/ci\", \"client_id\": \"acme/ci\"}", false},
        {"{\"sub\": \"acme/deploy\"}", false},
        {"{\"sub\": \"ci\"}", false},
        {"{\"sub\": [\"acme/ci\"]}", false},
        {"{\"client_id\": \"acme/ci\"}", false},
        {"{}", false},
        {"null", false},
        {"\"acme/ci\"", false},
        {"[\"acme/ci\"]", false},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_int_equal(act(with(keycloak(), "may_act", CASES[i].may_act), ci, "", "{\"sub\":\"acme/ci\"}"),
                         CASES[i].is_allowed ? MM_OK : MM_SUBJECT_TOKEN_INVALID);
    /* A public client has proved nothing: anybody could say that it is the one. */
    assert_int_equal(act(with(keycloak(), "may_act", "{\"sub\": \"acme/lore-cli\"}"), cli, "", NULL),
                     MM_SUBJECT_TOKEN_INVALID);
}

static void a_bound_token_wants_its_certificate_on_this_connection(void **state)
{
    (void)state;
    static const char CNF[] = "{\"x5t#S256\": \"" THUMBPRINT "\"}";
    const struct mm_account *cli = &world.tenant.exchange->public_clients[0];
    const struct mm_account *deploy = &world.tenant.accounts[1];
    char other[sizeof FINGERPRINT];
    memcpy(other, FINGERPRINT, sizeof other);
    other[0] = '7';
    assert_int_equal(act(with(keycloak(), "cnf", CNF), cli, FINGERPRINT, NULL), MM_OK);
    assert_int_equal(act(with(keycloak(), "cnf", CNF), cli, other, NULL), MM_SUBJECT_TOKEN_INVALID);
    assert_int_equal(act(with(keycloak(), "cnf", CNF), cli, "", NULL), MM_SUBJECT_TOKEN_INVALID);
    /* `deploy` has none but bound tokens. */
    assert_int_equal(act(keycloak(), deploy, "", NULL), MM_CERTIFICATE_REQUIRED);
    assert_int_equal(act(keycloak(), deploy, other, "{\"sub\":\"acme/deploy\"}"), MM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_users_access_token_says_whom_the_new_one_is_for),
        cmocka_unit_test(names_that_could_pass_for_an_accounts_are_not_carried_over),
        cmocka_unit_test(only_access_tokens_are_taken),
        cmocka_unit_test(whose_it_is_and_whom_it_is_for_must_be_right),
        cmocka_unit_test(a_subject_has_a_bounded_name_that_no_other_issuers_has),
        cmocka_unit_test(a_fraction_of_a_second_is_no_longer_life),
        cmocka_unit_test(our_own_token_brings_its_rights_as_the_most_that_can_come_of_it),
        cmocka_unit_test(a_token_of_ours_that_is_not_the_tenants_is_refused),
        cmocka_unit_test(act_names_an_authenticated_client_and_those_before_it),
        cmocka_unit_test(may_act_lets_nobody_else),
        cmocka_unit_test(a_bound_token_wants_its_certificate_on_this_connection),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
