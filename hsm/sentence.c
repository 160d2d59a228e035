/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/sentence.h"

#include <assert.h>
#include <string.h>

#include "crypto/pubkey.h"
#include "util/base64url.h"
#include "util/json_scan.h"

/* The `typ` of each sentence; types without one are refused. */
static const char *type_of(enum mm_sentence sentence)
{
    switch (sentence) {
    case MM_SENTENCE_ACCESS_TOKEN:
        return "at+jwt"; /* RFC 9068 section 2.1 */
    case MM_SENTENCE_PROBE:
        break; /* no JWS */
    }
    return NULL;
}

char *mm_sentence_header(enum mm_sentence sentence, const char *kid, enum mm_algorithm algorithm, struct mm_error *err)
{
    const char *type = type_of(sentence);
    if (!type || !mm_thumbprint_is_valid(kid, strlen(kid))) {
        (void)mm_fail(err, MM_SENTENCE_REFUSED, "%s", type ? "kid isn't a thumbprint" : "unknown sentence type");
        return NULL;
    }
    mm_cleanup(json_decref) json_t *header =
        json_pack("{s:s, s:s, s:s}", "alg", mm_algorithm_name(algorithm), "kid", kid, "typ", type);
    mm_cleanup(free) char *text = header ? mm_json_compact(header, err) : NULL;
    char *encoded = text ? malloc(mm_base64url_length(strlen(text)) + 1) : NULL;
    if (!encoded) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    mm_base64url_encode(text, strlen(text), encoded);
    return encoded;
}

/*
 * Some JSON parsers match names without regard to case (Go's, with Unicode folding): to them an "EXP" beside a harmless "exp" would
 * be the one that counts. The scan has left printable ASCII.
 */
static bool check_names(const struct mm_json_members *claims, struct mm_error *err)
{
    for (size_t i = 0; i < claims->n; i++) {
        const char *name = claims->items[i].name.data;
        for (size_t j = 0; j < claims->items[i].name.length; j++)
            if (name[j] >= 'A' && name[j] <= 'Z')
                return mm_fail(err, MM_SENTENCE_REFUSED, "a claim's name isn't lower-case ASCII");
    }
    return true;
}

static bool check_lifetime(const struct mm_json_members *claims, int64_t max_ttl, int64_t now, struct mm_error *err)
{
    int64_t issued;
    int64_t expires;
    if (!mm_json_read_integer(mm_json_members_find(claims, "iat"), &issued) ||
        !mm_json_read_integer(mm_json_members_find(claims, "exp"), &expires))
        return mm_fail(err, MM_SENTENCE_REFUSED, "iat and exp must be integers");
    if (issued < now - MM_SENTENCE_SKEW || issued > now + MM_SENTENCE_SKEW)
        return mm_fail(err, MM_SENTENCE_REFUSED, "iat is more than %d s off", MM_SENTENCE_SKEW);
    /* iat is near now from here on, so neither side overflows. */
    if (expires <= issued)
        return mm_fail(err, MM_SENTENCE_REFUSED, "exp isn't after iat");
    if (expires - issued > max_ttl)
        return mm_fail(err, MM_SENTENCE_REFUSED, "exp is more than %lld s after iat", (long long)max_ttl);
    return true;
}

/*
 * A token that is bound to a certificate says so in one way alone, so that no verifier finds a `cnf` that it could pass
 * over: one it doesn't know, an empty one, two methods at once.
 */
static bool check_confirmation(const struct mm_json_members *claims, struct mm_error *err)
{
    static const char START[] = "{\"x5t#S256\":\"";
    static const char END[] = "\"}";
    const size_t start = sizeof START - 1;
    struct mm_bytes value = mm_json_members_find(claims, "cnf");
    uint8_t digest[MM_SHA256_LENGTH + 1];
    size_t length = 0;
    if (!value.data)
        return true;
    const char *text = value.data;
    bool is_ours = value.length == start + MM_THUMBPRINT_LENGTH + sizeof END - 1 && memcmp(text, START, start) == 0 &&
                   memcmp(text + start + MM_THUMBPRINT_LENGTH, END, sizeof END - 1) == 0 &&
                   mm_base64url_decode(text + start, MM_THUMBPRINT_LENGTH, digest, &length);
    return is_ours || mm_fail(err, MM_SENTENCE_REFUSED, "cnf isn't one certificate's x5t#S256");
}

static bool check_access_token(const struct mm_sentence_limits *limits, struct mm_bytes payload, int64_t now,
                               struct mm_error *err)
{
    struct mm_error why = {0};
    struct mm_json_members claims;
    if (!mm_json_scan(payload, &claims, &why))
        return mm_fail(err, MM_SENTENCE_REFUSED, "payload: %s", why.message);
    if (!mm_json_equals_string(mm_json_members_find(&claims, "iss"), limits->issuer))
        return mm_fail(err, MM_SENTENCE_REFUSED, "iss isn't the configured issuer");
    return check_names(&claims, err) && check_confirmation(&claims, err) &&
           check_lifetime(&claims, limits->max_ttl, now, err);
}

bool mm_sentence_check(enum mm_sentence sentence, const struct mm_sentence_limits *limits, struct mm_bytes payload,
                       int64_t now, struct mm_error *err)
{
    if (payload.length > MM_PAYLOAD_MAX)
        return mm_fail(err, MM_SENTENCE_REFUSED, "payload is longer than %d bytes", MM_PAYLOAD_MAX);
    switch (sentence) {
    case MM_SENTENCE_ACCESS_TOKEN:
        return check_access_token(limits, payload, now, err);
    case MM_SENTENCE_PROBE:
        return payload.length == MM_PROBE_NONCE ||
               mm_fail(err, MM_SENTENCE_REFUSED, "a probe of %zu bytes", payload.length);
    }
    return mm_fail(err, MM_SENTENCE_REFUSED, "unknown sentence type");
}

size_t mm_sentence_signing_input(const char *header, struct mm_bytes payload, char input[MM_SIGNING_INPUT_MAX + 1])
{
    size_t length = strlen(header);
    assert(length <= MM_HEADER_MAX && payload.length <= MM_PAYLOAD_MAX);
    memcpy(input, header, length);
    input[length++] = '.';
    mm_base64url_encode(payload.data, payload.length, input + length);
    return length + mm_base64url_length(payload.length);
}
