/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWS in compact serialisation (RFC 7515 section 7.1): put together, taken apart, verified.
 */
#ifndef MM_TOKEN_JWS_H
#define MM_TOKEN_JWS_H

#include "crypto/pubkey.h"

enum { MM_JWT_MAX = 24576 }; /* room for the largest payload that is signed (hsm/protocol.h) */

/* `header`.`payload`, base64url: what is signed (RFC 7515 section 5.1). The caller frees it. */
MM_MUST_USE char *mm_jws_signing_input(const char *header, size_t header_length, const char *payload,
                                       size_t payload_length, struct mm_error *err);

/* `signing_input`.`signature`. The caller frees it. */
MM_MUST_USE char *mm_jws_compact(const char *signing_input, struct mm_bytes signature, struct mm_error *err);

struct mm_jws {
    json_t *header;
    json_t *payload;
    enum mm_algorithm algorithm; /* as the header claims */
    size_t signing_input_length; /* of the compact text */
    uint8_t signature[MM_FOREIGN_SIGNATURE_MAX];
    size_t signature_length;
};

/*
 * Take a compact JWT apart without verifying it. At most MM_JWT_MAX characters, exactly three parts, strict base64url, header
 * and payload JSON objects as mm_json_parse() takes them, `alg` one of the table (crypto/algorithm.h), and nothing in the header that
 * changes what the parts mean (`crit`, `b64`, `zip`, `enc`). MM_TOKEN_INVALID otherwise; the message holds nothing of the JWT.
 */
MM_MUST_USE bool mm_jws_parse(const char *compact, struct mm_jws *ret_jws, struct mm_error *err);
void mm_jws_clear(struct mm_jws *jws);
static inline void mm_jws_clear_cleanup(struct mm_jws *jws)
{
    mm_jws_clear(jws);
}

/* Whether `typ` is `type`, a media type without its `application/`, in whatever case (RFC 7515 section 4.1.9). */
bool mm_jws_has_type(const json_t *header, const char *type);

/*
 * Verify the signature of a parsed JWT of Mintmark's against a JWK set (RFC 7517): the key is the one whose `kid` is the header's, and its
 * `alg` must be the header's. MM_TOKEN_INVALID, saying why. For what others signed there is token/jwt.h.
 */
MM_MUST_USE bool mm_jws_verify(const struct mm_jws *jws, const char *compact, const json_t *jwks, struct mm_error *err);

#endif
