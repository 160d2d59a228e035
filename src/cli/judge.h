/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an access token's claims hold now, for a token whose signature already verified (RFC 9068 section 4, RFC 7519
 * section 4.1). `aud` is left out: only the verifier that the token is meant for can judge it.
 */
#ifndef MM_CLI_JUDGE_H
#define MM_CLI_JUDGE_H

#include "util/json.h"

enum { MM_IAT_LEEWAY = 60 /* seconds that the issuer's clock may be ahead of this one */ };

/*
 * MM_TOKEN_INVALID, saying why, unless `typ` is at+jwt, `exp` and `iat` are whole numbers, it hasn't expired at `now` (Unix
 * seconds), `iat` and `nbf` don't lie ahead, and `iss` is `issuer` (NULL: any).
 */
MM_MUST_USE bool mm_claims_judge(const json_t *header, const json_t *claims, const char *issuer, int64_t now,
                                 struct mm_error *err);

#endif
