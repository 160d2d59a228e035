/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is calling, by client certificate (RFC 8705 section 2, and SPIFFE's X.509-SVIDs).
 */
#ifndef MM_OAUTH_MTLS_H
#define MM_OAUTH_MTLS_H

#include "oauth/principal.h"

/*
 * Find the account of `tenant_id` that `certificate` (NULL: none was sent) stands for, at `now` (Unix seconds).
 * MM_CERTIFICATE_REQUIRED without one; MM_ACCESS_DENIED alike for an unknown tenant, another tenant's certificate and one that
 * no account names; MM_CERTIFICATE_INVALID as mm_trust_verify() or mm_self_signed_verify(); MM_CREDENTIAL_AMBIGUOUS if it matches two
 * accounts.
 *
 * Each kind of rule has its own proof, and no other's: `self_signed` the certificate itself, which then counts for nothing else; `mtls` the
 * tenant's CAs; `spiffe` the roots of the very trust domain, or the tenant's CAs where that has no bundle.
 *
 * The message with MM_ACCESS_DENIED tells the three apart, for the log alone: the caller gets the code and a fixed detail. The
 * time taken still tells an unknown tenant (no certificate is checked) from a known one; tenants' ids aren't secrets, and
 * what a certificate would open stays hidden.
 */
MM_MUST_USE bool mm_mtls_authenticate(const struct mm_policy *policy, const char *tenant_id,
                                      struct mm_certificate *certificate, int64_t now,
                                      struct mm_principal *ret_principal, struct mm_error *err);

/*
 * The only tenant whose account of that bare id the certificate stands for, at `now`. NULL: there is none, there are several, or so many whose rules
 * name what the certificate says that it isn't worth checking each one's CAs.
 */
const struct mm_tenant *mm_mtls_find_tenant(const struct mm_policy *policy, const char *id,
                                            struct mm_certificate *certificate, int64_t now);

#endif
