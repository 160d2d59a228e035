/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker is willing to sign: whole sentences of known types, within limits that it read from the configuration itself, under a
 * header that it composes itself. Whoever takes over mintmarkd gets nothing signed but what mintmarkd could have issued. Pure
 * functions: no HSM, no clock.
 */
#ifndef MM_HSM_SENTENCE_H
#define MM_HSM_SENTENCE_H

#include "crypto/digest.h"
#include "hsm/protocol.h"

enum {
    MM_SENTENCE_SKEW = 60, /* seconds that `iat` may be off, either way */
    /* header and payload in base64url, and the dot between them */
    MM_SIGNING_INPUT_MAX = MM_HEADER_MAX + 1 + (MM_PAYLOAD_MAX * 4 + 2) / 3,
};

struct mm_sentence_limits {
    const char *issuer;
    int64_t max_ttl; /* seconds */
};

/*
 * The protected header of a sentence, base64url, always the same bytes for one key: {"alg","kid","typ"}. The caller frees it.
 * MM_SENTENCE_REFUSED for a type that is no JWS or a kid that isn't a thumbprint.
 */
MM_MUST_USE char *mm_sentence_header(enum mm_sentence sentence, const char *kid, enum mm_algorithm algorithm,
                                     struct mm_error *err);

/*
 * Whether `payload` is a sentence of that type within the limits at `now` (Unix seconds). An access token: a JSON
 * object in the form that util/json_scan takes, with names in lower-case ASCII only; `iss` the configured issuer; `iat`
 * and `exp` integers, `iat` within MM_SENTENCE_SKEW of now, `exp` after it by at most the longest TTL; `cnf`, if there
 * is one, a certificate's `x5t#S256` and nothing else. A probe: MM_PROBE_NONCE bytes. MM_SENTENCE_REFUSED, saying which
 * rule.
 */
MM_MUST_USE bool mm_sentence_check(enum mm_sentence sentence, const struct mm_sentence_limits *limits,
                                   struct mm_bytes payload, int64_t now, struct mm_error *err);

/*
 * What is signed (RFC 7515 section 5.1): `header`, a dot, the payload, which was checked, in base64url; and a NUL. Returns its length without
 * that.
 */
size_t mm_sentence_signing_input(const char *header, struct mm_bytes payload, char input[MM_SIGNING_INPUT_MAX + 1]);

#endif
