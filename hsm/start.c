/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/start.h"

#include <string.h>

enum { GENERATE_MEMBERS = 3 }; /* purpose, alg, config */

static bool parse_purpose(const json_t *json, struct mm_start *start, struct mm_error *err)
{
    const json_t *purpose = json_object_get(json, "purpose");
    start->purpose = MM_PURPOSE_SIGN;
    if (!purpose)
        return true;
    start->purpose = MM_PURPOSE_GENERATE;
    return (json_is_string(purpose) && strcmp(json_string_value(purpose), "generate") == 0 &&
            json_object_size(json) == GENERATE_MEMBERS && start->config) ||
           mm_fail(err, MM_INTERNAL, "START says no purpose that there is, or more than its purpose wants");
}

static bool parse_key(const json_t *json, struct mm_start *start, struct mm_error *err)
{
    const char *kid = mm_json_string(json, "kid");
    start->id = mm_json_string(json, "id");
    start->label = mm_json_string(json, "label");
    if (!kid || !start->id || !start->label)
        return mm_fail(err, MM_INTERNAL, "START lacks kid, id or label");
    start->pinned = mm_pubkey_from_jwk(json_object_get(json, "jwk"), err);
    if (!start->pinned)
        return false;
    return strcmp(mm_pubkey_thumbprint(start->pinned), kid) == 0 ||
           mm_fail(err, MM_KEY_MISMATCH, "kid %s isn't the thumbprint of the pinned key", kid);
}

bool mm_start_parse(const json_t *json, struct mm_start *ret_start, struct mm_error *err)
{
    const char *algorithm = mm_json_string(json, "alg");
    ret_start->config = mm_json_string(json, "config");
    if (!algorithm || !mm_algorithm_parse(algorithm, &ret_start->algorithm))
        return mm_fail(err, MM_INTERNAL, "START lacks an alg that there is");
    return parse_purpose(json, ret_start, err) &&
           (ret_start->purpose == MM_PURPOSE_GENERATE || parse_key(json, ret_start, err));
}

void mm_start_clear(struct mm_start *start)
{
    mm_pubkey_free(start->pinned);
    start->pinned = NULL;
}
