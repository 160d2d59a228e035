/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verify JWTs against somebody's JWK set, for a test to compare with what other libraries say.
 *
 *   verify_jwts < {"jwks": "text of the set", "issuer", "audience", "now", "tokens": [...]}
 *
 * The rules are a client assertion's: that audience alone, typ JWT or none, five minutes. Prints a line a token: "ok", or why not.
 */
#include <stdio.h>
#include <string.h>

#include "token/jwt.h"
#include "util/buffer.h"

enum { INPUT_MAX = 64 << 20 };

static json_t *read_task(void)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer input = mm_buffer_make(INPUT_MAX);
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, stdin)) > 0;)
        if (!mm_buffer_append(&input, piece, n, NULL))
            return NULL;
    return mm_json_parse(input.data, input.length, NULL);
}

static void judge(const char *token, const struct mm_jwks *jwks, const struct mm_jwt_rules *rules, int64_t now)
{
    struct mm_error err = {0};
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(token, strlen(token), &err);
    if (jwt && mm_jwt_verify(jwt, jwks, rules, now, &err))
        (void)puts("ok");
    else
        (void)printf("%s: %s\n", mm_code_name(err.code), err.message);
}

int main(void)
{
    static const char *const TYPES[] = {"JWT", "", NULL};
    mm_cleanup(json_decref) json_t *task = read_task();
    const char *set = mm_json_string(task, "jwks");
    const char *audiences[] = {mm_json_string(task, "audience"), NULL};
    const struct mm_jwt_rules rules = {.issuer = mm_json_string(task, "issuer"),
                                       .audiences = audiences,
                                       .types = TYPES,
                                       .leeway = MM_JWT_LEEWAY,
                                       .max_lifetime = 300};
    if (!set || !rules.issuer || !audiences[0])
        return 2;
    struct mm_error err = {0};
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = mm_jwks_parse(set, strlen(set), &err);
    if (!jwks) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const json_t *tokens = json_object_get(task, "tokens");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const char *token = json_string_value(json_array_get(tokens, i));
        if (!token)
            return 2;
        judge(token, jwks, &rules, mm_json_integer(task, "now", 0));
    }
    return 0;
}
