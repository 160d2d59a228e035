/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/decide.h"

#include "policy/syntax.h"

static bool has_scopes(const struct mm_grant *grant, const struct mm_token_request *request)
{
    for (size_t i = 0; i < request->n_scopes; i++)
        if (!mm_strings_have(&grant->scopes, request->scopes[i]))
            return false;
    return true;
}

static bool has_resource(const struct mm_grant *grant, const struct mm_token_request *request)
{
    return !request->resource_id || mm_resource_is_covered(&grant->resources, request->resource_id);
}

static bool has_ttl(const struct mm_grant *grant, const struct mm_token_request *request)
{
    return request->ttl <= grant->ttl_max;
}

static bool has_audience(const struct mm_tenant *tenant, const struct mm_token_request *request)
{
    return !request->audience || mm_strings_have(&tenant->audience, request->audience);
}

/* What the caller sent goes into a message only if it is well-formed. */
static const char *shown(const char *string, const char *(*check)(const char *))
{
    return check(string) ? "(malformed)" : string;
}

static bool any_grant_has_scope(const struct mm_account *account, const char *scope)
{
    for (size_t i = 0; i < account->n_grants; i++)
        if (mm_strings_have(&account->grants[i].scopes, scope))
            return true;
    return false;
}

static bool any_grant(const struct mm_account *account, const struct mm_token_request *request,
                      bool (*has)(const struct mm_grant *, const struct mm_token_request *))
{
    for (size_t i = 0; i < account->n_grants; i++)
        if (has(&account->grants[i], request))
            return true;
    return false;
}

/* No grant satisfies the whole request: say which part none covers. */
static bool refuse(const struct mm_tenant *tenant, const struct mm_account *account,
                   const struct mm_token_request *request, struct mm_error *err)
{
    for (size_t i = 0; i < request->n_scopes; i++)
        if (!any_grant_has_scope(account, request->scopes[i]))
            return mm_fail(err, MM_SCOPE_NOT_GRANTED, "scope %s isn't granted",
                           shown(request->scopes[i], mm_check_scope));
    if (!any_grant(account, request, has_resource))
        return mm_fail(err, MM_RESOURCE_NOT_GRANTED, "resource %s isn't granted",
                       shown(request->resource_id, mm_check_resource_pattern));
    if (!has_audience(tenant, request))
        return mm_fail(err, MM_AUDIENCE_NOT_GRANTED, "audience %s isn't granted",
                       shown(request->audience, mm_check_visible));
    if (!any_grant(account, request, has_ttl))
        return mm_fail(err, MM_TTL_TOO_LONG, "no grant allows a TTL of %lld seconds", (long long)request->ttl);
    return mm_fail(err, MM_NO_SINGLE_GRANT, "no single grant covers the scopes, the resource and the TTL together");
}

/* One signature must do for all audiences. */
bool mm_policy_algorithm(const struct mm_envelope *envelope, const char *audience, const struct mm_strings *audiences,
                         enum mm_algorithm *ret_algorithm, struct mm_error *err)
{
    const char *first = audience ? audience : audiences->items[0];
    *ret_algorithm = mm_envelope_algorithm(envelope, first);
    for (size_t i = 1; i < audiences->n && !audience; i++) {
        const char *other = audiences->items[i];
        enum mm_algorithm wanted = mm_envelope_algorithm(envelope, other);
        if (wanted != *ret_algorithm)
            return mm_fail(err, MM_INVALID_REQUEST,
                           "audience %s wants %s and %s wants %s, so that no token is for both: ask for one audience",
                           first, mm_algorithm_name(*ret_algorithm), other, mm_algorithm_name(wanted));
    }
    return true;
}

bool mm_policy_decide(const struct mm_tenant *tenant, const struct mm_account *account,
                      const struct mm_token_request *request, struct mm_decision *ret_decision, struct mm_error *err)
{
    if (request->n_scopes == 0)
        return mm_fail(err, MM_INVALID_REQUEST, "a request names at least one scope");
    if (request->ttl < 0)
        return mm_fail(err, MM_INVALID_REQUEST, "a TTL is a positive number of seconds");
    for (size_t i = 0; i < account->n_grants && has_audience(tenant, request); i++) {
        const struct mm_grant *grant = &account->grants[i];
        if (!has_scopes(grant, request) || !has_resource(grant, request) || !has_ttl(grant, request))
            continue;
        *ret_decision = (struct mm_decision){.grant = grant,
                                             .grant_index = i,
                                             .ttl = request->ttl ? request->ttl : grant->ttl_default};
        return mm_policy_algorithm(&tenant->envelope, request->audience, &tenant->audience, &ret_decision->algorithm,
                                   err);
    }
    return refuse(tenant, account, request, err);
}
