/* SPDX-License-Identifier: Apache-2.0 */
#include "token/jws.h"

#include <string.h>
#include <strings.h>

#include "util/base64url.h"

static char *out_of_memory(struct mm_error *err)
{
    (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return NULL;
}

char *mm_jws_signing_input(const char *header, size_t header_length, const char *payload, size_t payload_length,
                           struct mm_error *err)
{
    size_t n_header = mm_base64url_length(header_length);
    char *out = malloc(n_header + 1 + mm_base64url_length(payload_length) + 1);
    if (!out)
        return out_of_memory(err);
    mm_base64url_encode(header, header_length, out);
    out[n_header] = '.';
    mm_base64url_encode(payload, payload_length, out + n_header + 1);
    return out;
}

char *mm_jws_compact(const char *signing_input, struct mm_bytes signature, struct mm_error *err)
{
    size_t length = strlen(signing_input);
    char *out = malloc(length + 1 + mm_base64url_length(signature.length) + 1);
    if (!out)
        return out_of_memory(err);
    memcpy(out, signing_input, length);
    out[length] = '.';
    mm_base64url_encode(signature.data, signature.length, out + length + 1);
    return out;
}

struct part {
    const char *text;
    size_t length;
};

static bool split(const char *compact, struct part parts[3], struct mm_error *err)
{
    size_t length = strnlen(compact, MM_JWT_MAX + 1);
    if (length > MM_JWT_MAX)
        return mm_fail(err, MM_TOKEN_INVALID, "longer than %d characters", MM_JWT_MAX);
    const char *first = memchr(compact, '.', length);
    const char *second = first ? strchr(first + 1, '.') : NULL;
    if (!second || strchr(second + 1, '.'))
        return mm_fail(err, MM_TOKEN_INVALID, "not three parts");
    parts[0] = (struct part){compact, (size_t)(first - compact)};
    parts[1] = (struct part){first + 1, (size_t)(second - first - 1)};
    parts[2] = (struct part){second + 1, strlen(second + 1)};
    return true;
}

/* Why a part isn't JSON. jansson quotes what it stumbles over, and that mustn't get into a log. */
static void refuse_json(const char *what, struct mm_error *why, struct mm_error *err)
{
    char *quoted = strstr(why->message, " near ");
    if (quoted)
        *quoted = '\0';
    quoted = strchr(why->message, '\'');
    if (quoted)
        *quoted = '\0';
    if (why->code == MM_NO_MEMORY)
        (void)out_of_memory(err);
    else
        (void)mm_fail(err, MM_TOKEN_INVALID, "%s: not a JSON object: %s", what, why->message);
}

static json_t *decode_object(struct part part, const char *what, struct mm_error *err)
{
    uint8_t bytes[MM_JWT_MAX];
    size_t length;
    if (!mm_base64url_decode(part.text, part.length, bytes, &length)) {
        (void)mm_fail(err, MM_TOKEN_INVALID, "%s: not base64url", what);
        return NULL;
    }
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *value = mm_json_parse(bytes, length, &why);
    if (!value) {
        refuse_json(what, &why, err);
        return NULL;
    }
    if (!json_is_object(value)) {
        (void)mm_fail(err, MM_TOKEN_INVALID, "%s: not a JSON object", what);
        return NULL;
    }
    return MM_TAKE(value);
}

static bool check_header(const json_t *header, enum mm_algorithm *ret_algorithm, struct mm_error *err)
{
    /* No extension is understood, so none may be critical (RFC 7515 section 4.1.11); the others would make these parts mean something else. */
    static const char *const REFUSED[] = {"crit", "b64", "zip", "enc"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++)
        if (json_object_get(header, REFUSED[i]))
            return mm_fail(err, MM_TOKEN_INVALID, "header: %s is not accepted", REFUSED[i]);
    const char *name = mm_json_string(header, "alg");
    if (!name || !mm_algorithm_parse_foreign(name, ret_algorithm))
        return mm_fail(err, MM_TOKEN_INVALID, "header: alg missing or not accepted");
    return true;
}

static bool decode_signature(struct part part, struct mm_jws *jws, struct mm_error *err)
{
    if (!part.length || part.length > mm_base64url_length(MM_FOREIGN_SIGNATURE_MAX) ||
        !mm_base64url_decode(part.text, part.length, jws->signature, &jws->signature_length))
        return mm_fail(err, MM_TOKEN_INVALID, "signature: empty, too long or not base64url");
    return true;
}

bool mm_jws_parse(const char *compact, struct mm_jws *ret_jws, struct mm_error *err)
{
    struct part parts[3] = {0};
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    if (!split(compact, parts, err) || !decode_signature(parts[2], &jws, err))
        return false;
    jws.header = decode_object(parts[0], "header", err);
    if (!jws.header || !check_header(jws.header, &jws.algorithm, err))
        return false;
    jws.payload = decode_object(parts[1], "payload", err);
    if (!jws.payload)
        return false;
    jws.signing_input_length = parts[0].length + 1 + parts[1].length;
    *ret_jws = jws;
    jws = (struct mm_jws){0};
    return true;
}

void mm_jws_clear(struct mm_jws *jws)
{
    json_decref(jws->header);
    json_decref(jws->payload);
    *jws = (struct mm_jws){0};
}

bool mm_jws_has_type(const json_t *header, const char *type)
{
    static const char PREFIX[] = "application/";
    const char *named = mm_json_string(header, "typ");
    if (named && strncasecmp(named, PREFIX, strlen(PREFIX)) == 0)
        named += strlen(PREFIX);
    return named && strcasecmp(named, type) == 0;
}

/* The one JWK called `kid`, borrowed. */
static const json_t *find_key(const json_t *jwks, const char *kid, struct mm_error *err)
{
    const json_t *keys = json_object_get(jwks, "keys");
    const json_t *found = NULL;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        const char *name = mm_json_string(key, "kid");
        if (!name || strcmp(name, kid) != 0)
            continue;
        if (found) {
            (void)mm_fail(err, MM_TOKEN_INVALID, "the JWK set has two keys called by the header's kid");
            return NULL;
        }
        found = key;
    }
    if (!found)
        (void)mm_fail(err, MM_TOKEN_INVALID, "the JWK set has no key called by the header's kid");
    return found;
}

bool mm_jws_verify(const struct mm_jws *jws, const char *compact, const json_t *jwks, struct mm_error *err)
{
    const char *kid = mm_json_string(jws->header, "kid");
    const char *alg = mm_json_string(jws->header, "alg");
    if (!kid || !alg)
        return mm_fail(err, MM_TOKEN_INVALID, "header: kid or alg missing");
    const json_t *jwk = find_key(jwks, kid, err);
    if (!jwk)
        return false;
    const char *key_alg = mm_json_string(jwk, "alg");
    if (!key_alg || strcmp(key_alg, alg) != 0)
        return mm_fail(err, MM_TOKEN_INVALID, "the header's alg is not the key's");

    struct mm_error why = {0};
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = mm_pubkey_from_jwk(jwk, &why);
    struct mm_bytes input = {compact, jws->signing_input_length};
    struct mm_bytes signature = {jws->signature, jws->signature_length};
    if (!key || !mm_pubkey_verify(key, jws->algorithm, input, signature, &why))
        return mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_TOKEN_INVALID, "%s", why.message);
    return true;
}
