/* SPDX-License-Identifier: Apache-2.0 */
#include "token/jwt.h"

#include <assert.h>
#include <string.h>

#include "token/jws.h"

struct mm_jwt {
    struct mm_jws jws;
    struct mm_jwt_claims claims; /* valid once verified */
    size_t length;
    char text[]; /* with a NUL */
};

static bool check_header(const json_t *header, struct mm_error *err)
{
    const json_t *kid = json_object_get(header, "kid");
    const json_t *typ = json_object_get(header, "typ");
    if (kid && (json_string_length(kid) == 0 || json_string_length(kid) > MM_KID_MAX))
        return mm_fail(err, MM_TOKEN_INVALID, "header: kid isn't a string of 1 to %d bytes", MM_KID_MAX);
    if (typ && !json_is_string(typ))
        return mm_fail(err, MM_TOKEN_INVALID, "header: typ isn't a string");
    return true;
}

struct mm_jwt *mm_jwt_open(const void *data, size_t length, struct mm_error *err)
{
    if (length > MM_JWT_MAX || memchr(data, '\0', length)) {
        (void)mm_fail(err, MM_TOKEN_INVALID, "longer than %d characters, or with a NUL", MM_JWT_MAX);
        return NULL;
    }
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = calloc(1, sizeof *jwt + length + 1);
    if (!jwt) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    jwt->length = length;
    memcpy(jwt->text, data, length);
    if (!mm_jws_parse(jwt->text, &jwt->jws, err) || !check_header(jwt->jws.header, err))
        return NULL;
    return MM_TAKE(jwt);
}

void mm_jwt_free(struct mm_jwt *jwt)
{
    if (!jwt)
        return;
    mm_jws_clear(&jwt->jws);
    explicit_bzero(jwt->text, jwt->length);
    free(jwt);
}

const char *mm_jwt_claimed_issuer(const struct mm_jwt *jwt)
{
    return mm_jwt_claims_string(jwt->jws.payload, "iss");
}

const char *mm_jwt_kid(const struct mm_jwt *jwt)
{
    return mm_json_string(jwt->jws.header, "kid");
}

bool mm_jwt_has_type(const struct mm_jwt *jwt, const char *type)
{
    return mm_jws_has_type(jwt->jws.header, type);
}

const char *mm_jwt_claimed_subject(const struct mm_jwt *jwt)
{
    return mm_jwt_claims_string(jwt->jws.payload, "sub");
}

static const struct mm_jwks_key *find_key(const struct mm_jwt *jwt, const struct mm_jwks *jwks, struct mm_error *err)
{
    return mm_jwks_find(jwks, mm_json_string(jwt->jws.header, "kid"), jwt->jws.algorithm, err);
}

bool mm_jwt_has_key_in(const struct mm_jwt *jwt, const struct mm_jwks *jwks)
{
    return find_key(jwt, jwks, NULL) != NULL;
}

static bool has_accepted_type(const json_t *header, const char *const *types)
{
    bool has_none = !json_object_get(header, "typ");
    for (; *types; types++)
        if (has_none ? (*types)[0] == '\0' : (*types)[0] && mm_jws_has_type(header, *types))
            return true;
    return false;
}

static bool check_signature(const struct mm_jwt *jwt, const struct mm_jwks *jwks, struct mm_error *err)
{
    const struct mm_jwks_key *key = find_key(jwt, jwks, err);
    struct mm_bytes input = {jwt->text, jwt->jws.signing_input_length};
    struct mm_bytes signature = {jwt->jws.signature, jwt->jws.signature_length};
    struct mm_error why = {0};
    if (!key)
        return false;
    /* The key's algorithm, never the header's. */
    if (mm_pubkey_verify(key->key, key->algorithm, input, signature, &why))
        return true;
    return mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_TOKEN_INVALID, "%s", why.message);
}

const struct mm_jwt_claims *mm_jwt_verify(struct mm_jwt *jwt, const struct mm_jwks *jwks,
                                          const struct mm_jwt_rules *rules, int64_t now, struct mm_error *err)
{
    assert(rules->types && rules->types[0]);
    if (!has_accepted_type(jwt->jws.header, rules->types)) {
        (void)mm_fail(err, MM_TOKEN_INVALID, "header: typ isn't one that is taken here");
        return NULL;
    }
    if (!check_signature(jwt, jwks, err) || !mm_jwt_claims_check(jwt->jws.payload, rules, now, &jwt->claims, err))
        return NULL;
    return &jwt->claims;
}
