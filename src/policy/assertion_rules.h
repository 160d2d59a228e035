/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client's own assertion must be (RFC 7523 section 3, as RFC 10070 has it), for whoever verifies one and whoever explains why one isn't. That
 * `sub` is `iss`, and that it counts once, are for them to see to.
 */
#ifndef MM_POLICY_ASSERTION_RULES_H
#define MM_POLICY_ASSERTION_RULES_H

#include "token/jwt_claims.h"

enum { MM_ASSERTION_LIFETIME_MAX = 300 }; /* seconds that it may have ahead of it, leeway apart */

/* Both are borrowed; `audiences` are NULL-terminated, and one of them must be its only one. */
struct mm_jwt_rules mm_assertion_rules(const char *issuer, const char *const *audiences);

#endif
