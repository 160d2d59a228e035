/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants, and what else has their members `scopes`, `resources` and `ttl`: how they are written, and what is made of them.
 */
#ifndef MM_POLICY_GRANT_H
#define MM_POLICY_GRANT_H

#include "policy/policy.h"

enum { MM_GRANT_RESOURCES_MAX = 100, MM_TTL_MAX = 86400 /* seconds */ };

/* Elements of `scopes` and `resources`; the members of `ttl`. */
extern const struct mm_schema MM_SCOPE_SCHEMA;
extern const struct mm_schema MM_RESOURCE_PATTERN_SCHEMA;
extern const struct mm_schema MM_TTL_MEMBERS[];

/* Those three members of a `members` table. */
#define MM_GRANT_MEMBERS \
    {.name = "scopes", \
     .type = MM_SCHEMA_ARRAY, \
     .presence = MM_REQUIRED, \
     .min = 1, \
     .max = MM_SCOPES_MAX, \
     .element = &MM_SCOPE_SCHEMA, \
     .repeats = MM_REPEATS_REFUSED}, \
        {.name = "resources", \
         .type = MM_SCHEMA_ARRAY, \
         .presence = MM_REQUIRED, \
         .min = 1, \
         .max = MM_GRANT_RESOURCES_MAX, \
         .element = &MM_RESOURCE_PATTERN_SCHEMA, \
         .repeats = MM_REPEATS_REFUSED}, \
    { \
        .name = "ttl", .type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = MM_TTL_MEMBERS \
    }

/* Build one from its JSON, which has been validated. False: no memory. It is to be cleared whatever comes of it. */
MM_MUST_USE bool mm_grant_build(const json_t *json, int line, struct mm_grant *ret_grant);
void mm_grant_clear(struct mm_grant *grant);

#endif
