/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/grant.h"

#include "policy/decide.h"
#include "policy/syntax.h"

const struct mm_schema MM_SCOPE_SCHEMA = {.type = MM_SCHEMA_STRING,
                                          .min = 1,
                                          .max = MM_SCOPE_LENGTH_MAX,
                                          .check = mm_check_scope};
const struct mm_schema MM_RESOURCE_PATTERN_SCHEMA = {.type = MM_SCHEMA_STRING,
                                                     .min = 1,
                                                     .check = mm_check_resource_pattern};

const struct mm_schema MM_TTL_MEMBERS[] = {
    {.name = "default", .type = MM_SCHEMA_DURATION, .presence = MM_REQUIRED, .min = 1, .max = MM_TTL_MAX},
    {.name = "max", .type = MM_SCHEMA_DURATION, .presence = MM_REQUIRED, .min = 1, .max = MM_TTL_MAX},
    {0},
};

bool mm_grant_build(const json_t *json, int line, struct mm_grant *ret_grant)
{
    const json_t *ttl = json_object_get(json, "ttl");
    *ret_grant = (struct mm_grant){
        .ttl_default = mm_json_integer(ttl, "default", 0),
        .ttl_max = mm_json_integer(ttl, "max", 0),
        .line = line,
    };
    return mm_strings_build(json_object_get(json, "scopes"), &ret_grant->scopes, NULL) &&
           mm_strings_build(json_object_get(json, "resources"), &ret_grant->resources, NULL);
}

void mm_grant_clear(struct mm_grant *grant)
{
    mm_strings_clear(&grant->scopes);
    mm_strings_clear(&grant->resources);
}
