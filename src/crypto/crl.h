/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate revocation lists (RFC 5280 section 5) of a trust's own CAs: taken apart and checked once, when they are loaded, so that a
 * path is held against them without a signature more. Only complete lists: what covers some of a CA's certificates would pass the others.
 */
#ifndef MM_CRYPTO_CRL_H
#define MM_CRYPTO_CRL_H

#include "crypto/x509.h"

struct mm_crls; /* opaque; immutable */

/*
 * One CRL in DER, or 1 to 64 in PEM, each signed by one of `cas` (references are taken). MM_CONFIG_INVALID for anything else in the
 * file, a CRL of no such CA or with a bad or weak signature, a second one of the same CA, a delta or an indirect CRL or one that is
 * limited otherwise, an unknown critical extension, one without nextUpdate.
 */
MM_MUST_USE struct mm_crls *mm_crls_parse(const void *data, size_t length, STACK_OF(X509) * cas, struct mm_error *err);
void mm_crls_free(struct mm_crls *crls);
MM_DEFINE_CLEANUP(struct mm_crls, mm_crls_free);

size_t mm_crls_n(const struct mm_crls *crls);
struct mm_crl_facts mm_crls_facts(const struct mm_crls *crls, size_t i);

/*
 * Whether no certificate of `path` (leaf first, verified) is revoked at `now`, nor a CA above its anchor that is one of `cas`, too. Each that
 * has issued one of them needs a CRL that is in force. MM_CERTIFICATE_INVALID, saying which of that it is. `ret_until`: when the first
 * of those CRLs ceases to be, leeway included.
 */
MM_MUST_USE bool mm_crls_check(const struct mm_crls *crls, STACK_OF(X509) * path, int64_t now, int64_t *ret_until,
                               struct mm_error *err);

#endif
