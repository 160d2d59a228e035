/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What certificate.c and trust.c share, and nobody else sees: a parsed chain as libcrypto holds it.
 */
#ifndef MM_CRYPTO_X509_H
#define MM_CRYPTO_X509_H

#include <openssl/x509.h>

#include "crypto/certificate.h"

/* The certificates in the order sent, leaf first; borrowed. Never changed after parsing. */
STACK_OF(X509) * mm_certificate_chain(const struct mm_certificate *certificate);

/* Unix seconds; false: it isn't a time. */
MM_MUST_USE bool mm_x509_seconds(const ASN1_TIME *time, int64_t *ret_seconds);

/* What a verification found; a plain value, all zero while there was none. */
struct mm_path {
    uint8_t trust[MM_SHA256_LENGTH]; /* the trust's digest */
    int64_t valid_from;              /* Unix seconds: the whole path, anchor included, is valid from here on … */
    int64_t valid_until;             /* … and no longer at this second */
    int64_t not_after;               /* the earliest below the anchor */
};

/* Whether the certificate remembers a path to the trust of that digest; it remembers two, since there may be two trusts to ask. */
MM_MUST_USE bool mm_certificate_find_path(struct mm_certificate *certificate, const uint8_t trust[MM_SHA256_LENGTH],
                                          struct mm_path *ret_path);
void mm_certificate_keep_path(struct mm_certificate *certificate, const struct mm_path *path);

/*
 * The path from the certificate to one of the trust's CAs: each certificate on it is valid at `now` (Unix seconds) and
 * signed as mm_trust_verify() asks, each but the first is a CA; what the leaf is for isn't asked. Borrows both. NULL:
 * MM_ACCESS_DENIED, saying why, or MM_NO_MEMORY. X509_STORE_CTX_get0_chain() has the certificates.
 */
MM_MUST_USE X509_STORE_CTX *mm_trust_find_path(const struct mm_trust *trust, const struct mm_certificate *certificate,
                                               int64_t now, struct mm_error *err);

#endif
