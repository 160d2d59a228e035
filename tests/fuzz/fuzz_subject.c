/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subject tokens: input of two lines is a header and a payload, which are signed here as somebody else's issuer or as ourselves would have. What is
 * taken says whom a new token is for, and that it may be exchanged at all.
 */
#include "fuzz.h"

#include <string.h>

#include "oauth/subject.h"
#include "tests/support/sign.h"
#include "token/jws.h"

#define MINT "https://mint.acme.example"
#define IDP  "https://idp.acme.example"

enum { NOW = 1800000000 };

static const char ENVELOPE[] = "{\"audiences\":[\"lore\"],\"resources\":[\"urc-*\"],\"issuers\":[\"" IDP "\"]}";
static const char TENANT[] =
    "{tenant: acme, env: prod, audience: [lore], max_ttl: 1h, accounts: [{id: ci-build, name: CI, "
    "authenticate: [{mtls: {san_dns: ci.example}}], grants: [{scopes: [\"read:repo\"], resources: [\"urc-*\"], "
    "ttl: {default: 1m, max: 1m}}]}], exchange: {subject_audiences: [lore.acme.example], public_clients: [cli], rules: "
    "[{subject: {issuer: \"" IDP "\", claims: {groups: [a]}}, scopes: [\"read:repo\"], resources: [\"urc-*\"], "
    "ttl: {default: 1m, max: 1m}}]}}";

/* The key whose private half is 1: anyone can sign for it. */
static const char JWKS[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\",\"kid\":\"one\",\"alg\":\"ES256\"}]}";

static struct world {
    struct mm_jwks *jwks;
    EVP_PKEY *one;
    struct mm_tenant tenant;
} world;

static void make_world(void)
{
    static const struct mm_service_terms TERMS = {.issuer = MINT, .max_ttl = 3600};
    if (world.jwks)
        return;
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *envelope = mm_json_parse(ENVELOPE, strlen(ENVELOPE), NULL);
    bool is_built = mm_envelope_build(envelope, MM_ES256, &world.tenant.envelope, NULL) &&
                    mm_yaml_parse("t", TENANT, strlen(TENANT), &document, &problems) &&
                    mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, &problems) &&
                    mm_tenant_build("acme", &document, &TERMS, &world.tenant, &problems);
    world.jwks = mm_jwks_parse(JWKS, strlen(JWKS), NULL);
    world.one = make_key_of_one();
    assert(is_built && world.jwks && world.one);
}

static struct mm_jwt *sign(const char *header, size_t header_length, const char *payload, size_t payload_length)
{
    mm_cleanup(free) char *input = mm_jws_signing_input(header, header_length, payload, payload_length, NULL);
    struct test_signature made = sign_jws(MM_ES256, world.one, (struct mm_bytes){input, strlen(input)});
    mm_cleanup(free) char *text = mm_jws_compact(input, (struct mm_bytes){made.bytes, made.length}, NULL);
    assert(text);
    return mm_jwt_open(text, strlen(text), NULL);
}

static void check_own(const struct mm_subject *subject)
{
    assert(strcmp(subject->identity, "acme/ci-build") == 0 && subject->account == &world.tenant.accounts[0]);
    assert(!subject->who.issuer && strcmp(subject->claims.provider, "mintmark") == 0);
}

static void check_foreign(const struct mm_subject *subject)
{
    assert(strncmp(subject->identity, IDP "#", strlen(IDP "#")) == 0 && subject->identity[strlen(IDP "#")]);
    assert(!subject->account && !subject->actor && strcmp(subject->claims.provider, IDP) == 0);
    assert(strcmp(subject->claims.username, subject->identity) == 0 || !strchr(subject->claims.username, '/'));
    const json_t *typ = json_object_get(subject->token->all, "typ");
    assert(!typ || strcmp(json_string_value(typ), "Bearer") == 0);
    assert(!json_object_get(subject->token->all, "nonce") && !json_object_get(subject->token->all, "at_hash"));
}

static void check(struct mm_subject *subject)
{
    assert(strlen(subject->identity) <= MM_SUBJECT_MAX);
    assert(subject->not_after > NOW);
    assert((double)subject->not_after <= json_number_value(json_object_get(subject->token->all, "exp")));
    assert(!json_object_get(subject->token->all, "cnf") == !subject->fingerprint[0]);
    if (subject->account)
        check_own(subject);
    else
        check_foreign(subject);
}

/* A public client and one that authenticated: what they can't prove they don't get. */
static void check_actors(struct mm_subject *subject)
{
    struct mm_principal cli = {.tenant = &world.tenant,
                               .account = &world.tenant.exchange->public_clients[0],
                               .not_after = INT64_MAX};
    struct mm_principal ci = cli;
    ci.account = &world.tenant.accounts[0];
    bool is_bound = subject->fingerprint[0];
    bool may_cli = mm_subject_act(subject, &cli, NULL);
    assert(!may_cli || (!is_bound && !subject->may_act && cli.not_after == subject->not_after));
    bool may_ci = mm_subject_act(subject, &ci, NULL);
    assert(!may_ci || (!is_bound && strncmp(subject->actor, "{\"sub\":\"acme/ci-build\"", 22) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make_world();
    const char *text = size ? (const char *)data : "";
    const char *newline = memchr(text, '\n', size);
    size_t n_header = newline ? (size_t)(newline - text) : 0;
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt =
        newline ? sign(text, n_header, newline + 1, size - n_header - 1) : NULL;
    mm_cleanup(mm_subject_clear) struct mm_subject subject = {0};
    struct mm_error err = {0};
    if (!jwt)
        return 0;
    if (!mm_subject_verify(jwt, world.jwks, &world.tenant, MINT, NOW, &subject, &err)) {
        assert(err.code == MM_SUBJECT_TOKEN_INVALID);
        return 0;
    }
    check(&subject);
    check_actors(&subject);
    return 0;
}
