/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/assertion_rules.h"

struct mm_jwt_rules mm_assertion_rules(const char *issuer, const char *const *audiences)
{
    static const char *const TYPES[] = {"", "JWT", "client-authentication+jwt", NULL};
    return (struct mm_jwt_rules){
        .issuer = issuer,
        .audiences = audiences,
        .audience = MM_AUDIENCE_SOLE,
        .types = TYPES,
        .leeway = MM_JWT_LEEWAY,
        .max_lifetime = MM_ASSERTION_LIFETIME_MAX,
    };
}
