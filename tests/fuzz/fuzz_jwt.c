/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JWT, taken apart, verified and described as `mintmark inspect` does it. What is taken has one spelling; what verifies is
 * what was signed; what is shown can't drive a terminal.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "cli/describe.h"
#include "cli/judge.h"
#include "token/jws.h"
#include "util/base64url.h"

/* The key whose private half is 1: anyone can sign for it, and make_corpus.py does. */
static const char JWKS[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\",\"kid\":\"one\",\"alg\":\"ES256\"}]}";

/* The signing input of the one token that was ever signed with it. */
static const char SIGNED[] = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im9uZSIsInR5cCI6ImF0K2p3dCJ9.";

enum { NOW = 1800000000 };

static void check_part(const char *text, size_t length, const json_t *expected)
{
    char again[MM_JWT_MAX + 1];
    uint8_t bytes[MM_JWT_MAX];
    size_t n;
    bool is_decoded = mm_base64url_decode(text, length, bytes, &n);
    assert(is_decoded);
    mm_base64url_encode(bytes, n, again);
    assert(strlen(again) == length && memcmp(again, text, length) == 0);
    mm_cleanup(json_decref) json_t *value = mm_json_parse(bytes, n, NULL);
    assert(json_is_object(value) && json_equal(value, expected));
}

static void check_parts(const char *text, const struct mm_jws *jws)
{
    size_t n_header = strcspn(text, ".");
    size_t n_input = jws->signing_input_length;
    assert(n_input < strlen(text) && text[n_input] == '.' && n_header < n_input);
    check_part(text, n_header, jws->header);
    check_part(text + n_header + 1, n_input - n_header - 1, jws->payload);
    assert(jws->signature_length >= 1 && jws->signature_length <= MM_FOREIGN_SIGNATURE_MAX);

    mm_cleanup(free) char *input = strndup(text, n_input);
    struct mm_bytes signature = {jws->signature, jws->signature_length};
    mm_cleanup(free) char *again = mm_jws_compact(input, signature, NULL);
    assert(again && strcmp(again, text) == 0);
}

static void check_verdict(const char *text, const struct mm_jws *jws)
{
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *jwks = mm_json_parse(JWKS, strlen(JWKS), NULL);
    bool is_verified = mm_jws_verify(jws, text, jwks, &err);
    assert(is_verified == (err.code == MM_OK) && (is_verified || err.code == MM_TOKEN_INVALID));
    if (is_verified)
        assert(strncmp(text, SIGNED, strlen(SIGNED)) == 0 && strcmp(mm_json_string(jws->payload, "jti"), "seed") == 0);
    if (mm_claims_judge(jws->header, jws->payload, NULL, NOW, NULL))
        assert(mm_json_integer(jws->payload, "exp", 0) > NOW);
}

static void check_description(const struct mm_jws *jws)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert(out);
    mm_describe_claims(out, jws->payload, NOW);
    (void)fclose(out);
    for (size_t i = 0; i < length; i++)
        assert((uint8_t)text[i] >= ' ' && text[i] != 0x7f);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (memchr(data, '\0', size))
        return 0; /* `inspect` refuses it before */
    mm_cleanup(free) char *text = strndup((const char *)data, size);
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    struct mm_error err = {0};
    assert(text);
    if (!mm_jws_parse(text, &jws, &err)) {
        assert(err.code == MM_TOKEN_INVALID && !jws.header && !jws.payload);
        return 0;
    }
    check_parts(text, &jws);
    check_verdict(text, &jws);
    check_description(&jws);
    return 0;
}
