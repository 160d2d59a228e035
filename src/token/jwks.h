/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JWK set document (RFC 7517 section 5): serialised once, served from memory.
 */
#ifndef MM_TOKEN_JWKS_H
#define MM_TOKEN_JWKS_H

#include "crypto/pubkey.h"

struct mm_jwks_key {
    const struct mm_pubkey *key;
    enum mm_algorithm algorithm;
};

/* `{"keys":[…]}` of the given keys, compact. The caller frees it. NULL: MM_NO_MEMORY. */
MM_MUST_USE char *mm_jwks_document(const struct mm_jwks_key *keys, size_t n, struct mm_error *err);

#endif
