/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPIFFE IDs (SPIFFE-ID section 2), `spiffe://‹trust domain›‹path›`, taken apart in one way for certificates, JWTs and rules. Whether what
 * is taken apart is a well-formed one, mm_check_san_uri() says.
 */
#ifndef MM_POLICY_SPIFFE_H
#define MM_POLICY_SPIFFE_H

#include "policy/policy.h"

#define MM_SPIFFE_SCHEME "spiffe://"

/* Whether `uri` (NULL: none) says that it is one. */
bool mm_is_spiffe_id(const char *uri);

/* The path of an id of that trust domain, with its slash, "" if it has none; borrowed. NULL: it is of another, or no id. */
const char *mm_spiffe_path(const char *id, const char *trust_domain);

/* Which of the envelope's trust domains an id is of; NULL: none. */
const struct mm_trust_domain *mm_spiffe_trust_domain(const struct mm_envelope *envelope, const char *id);

#endif
