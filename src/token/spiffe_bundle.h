/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The X.509 half of a SPIFFE trust domain's bundle (SPIFFE Trust Domain and Bundle section 4, X.509-SVID section 6): the CAs behind its
 * workloads' certificates. The other half is mm_jwks_parse_bundle()'s.
 */
#ifndef MM_TOKEN_SPIFFE_BUNDLE_H
#define MM_TOKEN_SPIFFE_BUNDLE_H

#include "crypto/certificate.h"

/*
 * The CAs of a bundle's keys for X.509-SVIDs (use `x509-svid`); NULL in `ret_roots` if it has none. MM_CONFIG_INVALID if it isn't a bundle, or
 * such a key hasn't exactly one certificate in its `x5c`, or one that mm_trust_parse() wouldn't take: a root that is left out unseen would
 * be missed when it matters.
 */
MM_MUST_USE bool mm_spiffe_bundle_roots(const void *data, size_t length, struct mm_trust **ret_roots,
                                        struct mm_error *err);

#endif
