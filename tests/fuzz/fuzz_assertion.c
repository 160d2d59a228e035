/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWTs that say who is calling: input of two lines is a header and a payload, which are signed here as any client, platform or SPIFFE workload could
 * have. By whichever way it comes, what is proven is what the claims say of an account whose rule takes that.
 */
#include "fuzz.h"

#include <string.h>

#include "oauth/assertion.h"
#include "tests/support/sign.h"
#include "token/jws.h"

#define MINT     "https://mint.acme.example"
#define ENDPOINT MINT "/oauth2/token"
#define CI       "https://ci.acme.example"
#define POD      "spiffe://acme.example/pod/"

enum { NOW = 1800000000 };

static const char ENVELOPE[] = "{\"audiences\":[\"lore\"],\"resources\":[\"urc-*\"],\"issuers\":[\"" CI
                               "\"],\"trust_domains\":{\"acme.example\":{\"bundle_file\":\"b\"}}}";
#define GRANTS "grants: [{scopes: [\"read:repo\"], resources: [\"urc-*\"], ttl: {default: 1m, max: 1m}}]"
static const char TENANT[] =
    "{tenant: acme, env: prod, audience: [lore], max_ttl: 1h, accounts: ["
    "{id: own, name: Own, authenticate: [{private_key_jwt: {jwks_file: a}}], " GRANTS "}, "
    "{id: ci, name: CI, authenticate: [{oidc: {issuer: \"" CI "\", claims: {job: build}}}], " GRANTS "}, "
    "{id: once, name: Once, authenticate: [{oidc: {issuer: \"" CI
    "\", claims: {job: once}, single_use: true}}], " GRANTS
    "}, {id: stock, name: Stock, authenticate: [{oidc: {issuer: \"" CI
    "\", claims: {job: stock}, as_client_secret: true}}], " GRANTS "}, "
    "{id: pod, name: Pod, authenticate: [{spiffe: {trust_domain: acme.example, path: \"/pod/*\"}}], " GRANTS "}]}";

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

static char *sign(const char *header, size_t header_length, const char *payload, size_t payload_length)
{
    mm_cleanup(free) char *input = mm_jws_signing_input(header, header_length, payload, payload_length, NULL);
    struct test_signature made = sign_jws(MM_ES256, world.one, (struct mm_bytes){input, strlen(input)});
    char *text = mm_jws_compact(input, (struct mm_bytes){made.bytes, made.length}, NULL);
    assert(text);
    return text;
}

static const char *text_of(const json_t *payload, const char *name)
{
    const char *text = mm_json_string(payload, name);
    return text ? text : "";
}

static void check(const json_t *payload, enum mm_assertion_way way, const struct mm_principal *principal)
{
    const char *id = principal->account->id;
    const json_t *aud = json_object_get(payload, "aud");
    const char *audience = json_is_array(aud) ? json_string_value(json_array_get(aud, 0)) : json_string_value(aud);
    assert(audience && strcmp(audience, MINT) == 0 && json_array_size(aud) <= 1);
    assert(json_number_value(json_object_get(payload, "exp")) > NOW - MM_JWT_LEEWAY);
    bool counts_once = principal->use.until != 0;
    if (strcmp(id, "own") == 0) {
        assert(way == MM_ASSERTION_AS_JWT_BEARER || way == MM_ASSERTION_AS_BEARER);
        assert(strcmp(text_of(payload, "iss"), text_of(payload, "sub")) == 0);
        assert(strcmp(text_of(payload, "iss"), "own") == 0 || strcmp(text_of(payload, "iss"), "acme/own") == 0);
        assert(counts_once && principal->use.until <= NOW + MM_ASSERTION_LIFETIME_MAX + 2 * MM_JWT_LEEWAY);
    } else if (strcmp(id, "pod") == 0) {
        assert(strncmp(text_of(payload, "sub"), POD, strlen(POD)) == 0 && way != MM_ASSERTION_AS_SECRET);
        assert(way == MM_ASSERTION_AS_JWT_SPIFFE || !json_object_get(payload, "iss"));
    } else {
        assert(strcmp(text_of(payload, "iss"), CI) == 0 && way != MM_ASSERTION_AS_JWT_SPIFFE);
        const char *job = strcmp(id, "ci") == 0 ? "build" : id;
        assert(strcmp(text_of(payload, "job"), job) == 0 && counts_once == (strcmp(id, "once") == 0));
        assert(way != MM_ASSERTION_AS_SECRET || strcmp(id, "stock") == 0);
    }
    assert(!counts_once || text_of(payload, "jti")[0]);
}

static void try(const char *text, enum mm_assertion_way way)
{
    static const struct mm_assertion_terms TERMS = {MINT, ENDPOINT, NOW};
    struct mm_error err = {0};
    struct mm_claimant claimant;
    struct mm_claimant_keys keys;
    struct mm_principal principal;
    struct mm_audit_matches audit;
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(text, strlen(text), &err);
    if (!jwt)
        return;
    bool is_proven = mm_assertion_claimant(&world.tenant, NULL, jwt, way, &claimant, &err);
    if (is_proven) {
        bool has_keys = mm_claimant_keys(&claimant, 0, &keys);
        assert(has_keys && !mm_claimant_keys(&claimant, 1, &keys));
        (void)mm_claimant_keys(&claimant, 0, &keys);
        is_proven = mm_assertion_verify(&claimant, &keys, jwt, world.jwks, &TERMS, &principal, &audit, &err);
    }
    assert(is_proven == (err.code == MM_OK));
    assert(is_proven || err.code == MM_TOKEN_INVALID || err.code == MM_ACCESS_DENIED);
    bool is_parsed = mm_jws_parse(text, &jws, NULL);
    assert(is_parsed);
    if (is_proven)
        check(jws.payload, way, &principal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make_world();
    const char *input = size ? (const char *)data : "";
    const char *newline = memchr(input, '\n', size);
    if (!newline)
        return 0;
    size_t n_header = (size_t)(newline - input);
    mm_cleanup(free) char *text = sign(input, n_header, newline + 1, size - n_header - 1);
    for (enum mm_assertion_way way = MM_ASSERTION_AS_JWT_BEARER; way <= MM_ASSERTION_AS_SUBJECT_TOKEN; way++)
        try(text, way);
    return 0;
}
