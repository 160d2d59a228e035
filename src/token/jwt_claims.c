/* SPDX-License-Identifier: Apache-2.0 */
#include "token/jwt_claims.h"

#include <assert.h>
#include <string.h>

static const int64_t TIME_MAX =
    253402300799; /* the last second of year 9999: no sum with it overflows, and a double holds it exactly */

static bool is_bounded_string(const json_t *value)
{
    return json_is_string(value) && json_string_length(value) > 0 && json_string_length(value) <= MM_FOREIGN_STRING_MAX;
}

const char *mm_jwt_claims_string(const json_t *payload, const char *name)
{
    const json_t *value = json_object_get(payload, name);
    return is_bounded_string(value) ? json_string_value(value) : NULL;
}

const char *mm_jwt_claims_sole_audience(const json_t *payload)
{
    const json_t *aud = json_object_get(payload, "aud");
    return json_string_value(json_array_size(aud) == 1 ? json_array_get(aud, 0) : aud);
}

static bool read_string(const json_t *payload, const char *name, const char **ret_string, struct mm_error *err)
{
    *ret_string = mm_jwt_claims_string(payload, name);
    return *ret_string || !json_object_get(payload, name) ||
           mm_fail(err, MM_TOKEN_INVALID, "%s isn't a string of 1 to %d bytes", name, MM_FOREIGN_STRING_MAX);
}

/* A NumericDate (RFC 7519 section 2), which may have a fraction. */
static bool read_time(const json_t *payload, const char *name, int64_t *ret_time, struct mm_error *err)
{
    const json_t *value = json_object_get(payload, name);
    *ret_time = MM_NO_TIME;
    if (!value)
        return true;
    double number = json_number_value(value); /* exact where it is in bounds */
    if (!json_is_number(value) || !(number >= 0) || !(number <= (double)TIME_MAX))
        return mm_fail(err, MM_TOKEN_INVALID, "%s isn't a number of seconds from 1970 to 9999", name);
    *ret_time = (int64_t)number;
    *ret_time += (double)*ret_time < number;
    return true;
}

static bool is_one_of(const char *const *strings, const char *string)
{
    for (; *strings; strings++)
        if (strcmp(*strings, string) == 0)
            return true;
    return false;
}

/* Every value is looked at, though one may be enough: a malformed list is never believed. */
static bool check_audience(const json_t *payload, const struct mm_jwt_rules *rules, struct mm_error *err)
{
    const json_t *aud = json_object_get(payload, "aud");
    size_t n = json_is_array(aud) ? json_array_size(aud) : 1;
    bool is_named = false;
    if (n == 0 || n > MM_FOREIGN_AUDIENCES_MAX)
        return mm_fail(err, MM_TOKEN_INVALID, "aud has no value, or over %d", MM_FOREIGN_AUDIENCES_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_is_array(aud) ? json_array_get(aud, i) : aud;
        if (!is_bounded_string(value))
            return mm_fail(err, MM_TOKEN_INVALID, "aud isn't a string of 1 to %d bytes, or a list of such",
                           MM_FOREIGN_STRING_MAX);
        is_named = is_named || is_one_of(rules->audiences, json_string_value(value));
    }
    if (!is_named)
        return mm_fail(err, MM_TOKEN_INVALID, "aud doesn't name %s%s", rules->audiences[0],
                       rules->audiences[0] && rules->audiences[1] ? " or another that is expected" : "");
    if (rules->audience == MM_AUDIENCE_SOLE && n != 1)
        return mm_fail(err, MM_TOKEN_INVALID, "aud names others as well");
    return true;
}

static bool check_times(const struct mm_jwt_claims *claims, const struct mm_jwt_rules *rules, int64_t now,
                        struct mm_error *err)
{
    bool has_end = claims->expires_at != MM_NO_TIME;
    if (!has_end && (rules->expiry == MM_EXPIRY_REQUIRED || rules->max_lifetime > 0))
        return mm_fail(err, MM_TOKEN_INVALID, "exp is missing");
    if (has_end && claims->expires_at <= now - rules->leeway)
        return mm_fail(err, MM_TOKEN_INVALID, "it has expired");
    if (claims->not_before > now + rules->leeway)
        return mm_fail(err, MM_TOKEN_INVALID, "nbf lies ahead");
    if (claims->issued_at > now + rules->leeway)
        return mm_fail(err, MM_TOKEN_INVALID, "iat lies ahead");
    if (rules->max_lifetime > 0 && claims->expires_at > now + rules->leeway + rules->max_lifetime)
        return mm_fail(err, MM_TOKEN_INVALID, "exp lies further ahead than %lld s", (long long)rules->max_lifetime);
    return true;
}

bool mm_jwt_claims_check(const json_t *payload, const struct mm_jwt_rules *rules, int64_t now,
                         struct mm_jwt_claims *ret_claims, struct mm_error *err)
{
    assert(rules->audiences && rules->audiences[0] && rules->leeway >= 0 && rules->max_lifetime >= 0);
    struct mm_jwt_claims claims = {.all = payload};
    if (!read_string(payload, "iss", &claims.issuer, err) || !read_string(payload, "sub", &claims.subject, err) ||
        !read_string(payload, "jti", &claims.id, err) || !read_time(payload, "exp", &claims.expires_at, err) ||
        !read_time(payload, "nbf", &claims.not_before, err) || !read_time(payload, "iat", &claims.issued_at, err))
        return false;
    if (rules->issuer && (!claims.issuer || strcmp(claims.issuer, rules->issuer) != 0))
        return mm_fail(err, MM_TOKEN_INVALID, "iss isn't the issuer whose keys were used");
    if (!check_audience(payload, rules, err) || !check_times(&claims, rules, now, err))
        return false;
    *ret_claims = claims;
    return true;
}
