/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/judge.h"

#include <string.h>

#include "token/jws.h"

bool mm_claims_judge(const json_t *header, const json_t *claims, const char *issuer, int64_t now, struct mm_error *err)
{
    const json_t *expires = json_object_get(claims, "exp");
    const json_t *issued = json_object_get(claims, "iat");
    const json_t *not_before = json_object_get(claims, "nbf");
    const char *named = mm_json_string(claims, "iss");
    if (!mm_jws_has_type(header, "at+jwt"))
        return mm_fail(err, MM_TOKEN_INVALID, "it isn't an access token: typ isn't at+jwt");
    if (!json_is_integer(expires) || !json_is_integer(issued) || (not_before && !json_is_integer(not_before)))
        return mm_fail(err, MM_TOKEN_INVALID, "exp or iat is missing, or one of exp, iat and nbf isn't a whole number");
    if (issuer && (!named || strcmp(named, issuer) != 0))
        return mm_fail(err, MM_TOKEN_INVALID, "iss isn't the issuer whose keys were used");
    if (json_integer_value(expires) <= now)
        return mm_fail(err, MM_TOKEN_INVALID, "it has expired");
    if (json_integer_value(issued) > now + MM_IAT_LEEWAY || json_integer_value(not_before) > now + MM_IAT_LEEWAY)
        return mm_fail(err, MM_TOKEN_INVALID, "it is from the future: iat or nbf lies ahead of this machine's clock");
    return true;
}
