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

/* A certificate's end of validity in Unix seconds. False if it isn't a time. */
MM_MUST_USE bool mm_x509_not_after(const X509 *x509, int64_t *ret_unix_seconds);

#endif
