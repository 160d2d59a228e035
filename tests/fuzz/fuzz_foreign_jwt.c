/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JWT that somebody else signed. As it is, none verifies but the seed's. So that more than a forger's can be tried, input of two lines is a
 * header and a payload, which are signed here: what then verifies keeps every rule.
 */
#include "fuzz.h"

#include <string.h>
#include <strings.h>

#include "tests/support/sign.h"
#include "token/jws.h"
#include "token/jwt.h"

#define ISSUER "https://mint.acme.example"

enum { NOW = 1800000000, LIFETIME = 900 };

/* The key whose private half is 1: anyone can sign for it, and make_corpus.py does. */
static const char JWKS[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\",\"kid\":\"one\",\"alg\":\"ES256\"}]}";

static const char *const AUDIENCES[] = {"lore.acme.example", NULL};
static const char *const TYPES[] = {"at+jwt", "", NULL};
static const struct mm_jwt_rules RULES = {
    .issuer = ISSUER, .audiences = AUDIENCES, .types = TYPES, .leeway = MM_JWT_LEEWAY, .max_lifetime = LIFETIME};

static struct world {
    struct mm_jwks *jwks;
    EVP_PKEY *one;
} world;

static void make_world(void)
{
    if (world.jwks)
        return;
    world.jwks = mm_jwks_parse(JWKS, strlen(JWKS), NULL);
    world.one = make_key_of_one();
    assert(world.jwks && world.one);
}

static void check_claims(const struct mm_jwt_claims *claims)
{
    assert(strcmp(claims->issuer, ISSUER) == 0 && json_is_object(claims->all));
    assert(claims->expires_at > NOW - MM_JWT_LEEWAY && claims->expires_at <= NOW + MM_JWT_LEEWAY + LIFETIME);
    assert(claims->not_before <= NOW + MM_JWT_LEEWAY && claims->issued_at <= NOW + MM_JWT_LEEWAY);
    assert(json_real_value(json_object_get(claims->all, "exp")) <= (double)claims->expires_at);
    assert(!claims->subject || (claims->subject[0] && strlen(claims->subject) <= MM_FOREIGN_STRING_MAX));
    assert(!claims->id || (claims->id[0] && strlen(claims->id) <= MM_FOREIGN_STRING_MAX));
    const json_t *aud = json_object_get(claims->all, "aud");
    const char *audience = json_is_array(aud) ? json_string_value(json_array_get(aud, 0)) : json_string_value(aud);
    assert(audience && strcmp(audience, AUDIENCES[0]) == 0 && json_array_size(aud) <= 1);
}

static void check_header(const char *text)
{
    static const char *const REFUSED[] = {"crit", "b64", "zip", "enc"};
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    bool is_parsed = mm_jws_parse(text, &jws, NULL);
    assert(is_parsed && jws.algorithm == MM_ES256 && strcmp(mm_json_string(jws.header, "alg"), "ES256") == 0);
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++)
        assert(!json_object_get(jws.header, REFUSED[i]));
    const char *kid = mm_json_string(jws.header, "kid");
    const char *typ = mm_json_string(jws.header, "typ");
    assert(kid ? strcmp(kid, "one") == 0 : !json_object_get(jws.header, "kid"));
    assert(typ ? strcasestr(typ, "at+jwt") != NULL : !json_object_get(jws.header, "typ"));
}

/* Whether it verifies; what does, keeps the rules. */
static bool verify(const char *text, size_t length)
{
    struct mm_error err = {0};
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(text, length, &err);
    const struct mm_jwt_claims *claims = jwt ? mm_jwt_verify(jwt, world.jwks, &RULES, NOW, &err) : NULL;
    assert((claims != NULL) == (err.code == MM_OK) && (claims || err.code == MM_TOKEN_INVALID));
    if (!claims)
        return false;
    assert(mm_jwt_has_key_in(jwt, world.jwks) && strcmp(mm_jwt_claimed_issuer(jwt), ISSUER) == 0);
    check_claims(claims);
    return true;
}

static char *sign(const char *header, size_t header_length, const char *payload, size_t payload_length)
{
    mm_cleanup(free) char *input = mm_jws_signing_input(header, header_length, payload, payload_length, NULL);
    struct test_signature made = sign_jws(MM_ES256, world.one, (struct mm_bytes){input, strlen(input)});
    char *jwt = mm_jws_compact(input, (struct mm_bytes){made.bytes, made.length}, NULL);
    assert(jwt);
    return jwt;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char SEED[] = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im9uZSIsInR5cCI6ImF0K2p3dCJ9.";
    make_world();
    const char *text = size ? (const char *)data : "";
    const char *newline = memchr(text, '\n', size);
    if (!newline) {
        if (verify(text, size))
            assert(size > strlen(SEED) && memcmp(text, SEED, strlen(SEED)) == 0);
        return 0;
    }
    size_t n_header = (size_t)(newline - text);
    mm_cleanup(free) char *jwt = sign(text, n_header, newline + 1, size - n_header - 1);
    if (verify(jwt, strlen(jwt)))
        check_header(jwt);
    return 0;
}
