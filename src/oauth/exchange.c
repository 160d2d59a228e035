/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/exchange.h"

#include <string.h>

#include "policy/template.h"

static const char PARTITION[] = "partition:";

bool mm_exchange_check_parameters(const struct mm_exchange_parameters *parameters, struct mm_error *err)
{
    const char *wanted = parameters->requested_token_type;
    if (!parameters->subject_token || !parameters->subject_token_type)
        return mm_fail(err, MM_INVALID_REQUEST, "the parameter subject_token or subject_token_type is missing");
    if (parameters->actor_token || parameters->actor_token_type)
        return mm_fail(err, MM_INVALID_REQUEST, "no actor_token is taken: who acts is the client that authenticates");
    return !wanted || strcmp(wanted, MM_TOKEN_TYPE_ACCESS_TOKEN) == 0 ||
           mm_fail(err, MM_INVALID_REQUEST, "no requested_token_type but %s is supported", MM_TOKEN_TYPE_ACCESS_TOKEN);
}

/* The partitions that the scopes name are counted, the last of them is in `ret_id`; the others go on to `target`. */
static size_t split_scopes(const char *const *scopes, size_t n, struct mm_exchange_target *target, const char **ret_id)
{
    size_t n_partitions = 0;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(scopes[i], PARTITION, strlen(PARTITION)) == 0) {
            *ret_id = scopes[i] + strlen(PARTITION);
            n_partitions++;
        } else {
            target->scopes[target->n_scopes++] = scopes[i];
        }
    }
    return n_partitions;
}

bool mm_exchange_target_resolve(const struct mm_tenant *tenant, const struct mm_oauth_target_request *request,
                                const char *const *scopes, size_t n_scopes, struct mm_exchange_target *ret_target,
                                struct mm_error *err)
{
    struct mm_exchange_target target = {0};
    const char *id = NULL;
    size_t n_partitions = split_scopes(scopes, n_scopes, &target, &id);
    if (n_partitions + request->n_uris != 1)
        return mm_fail(err, MM_INVALID_TARGET, "an exchange names one partition, by one resource or by one scope");
    struct mm_oauth_target named = {0};
    if (!mm_oauth_target_resolve(tenant, request, &named, err))
        return false;
    if (request->n_uris == 1 && !named.has_resource)
        return mm_fail(err, MM_INVALID_TARGET, "the resource is an audience of tenant %s, and no partition",
                       tenant->id);
    if (named.has_resource)
        memcpy(target.resource_id, named.resource_id, sizeof target.resource_id);
    else if (!mm_template_fill(&tenant->resource_template, id, target.resource_id))
        return mm_fail(err, MM_INVALID_TARGET, "the scope's partition is none of tenant %s", tenant->id);
    target.audience = named.audience;
    *ret_target = target;
    return true;
}
