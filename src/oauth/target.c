/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/target.h"

#include <string.h>

#include "policy/syntax.h"
#include "policy/template.h"

enum { URI_MAX = 2048 };

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* absolute-URI of RFC 3986 section 4.3 by its characters: a scheme, and no fragment. */
static bool is_absolute_uri(const char *uri)
{
    size_t scheme = strspn(uri, LETTERS "0123456789+.-");
    return strlen(uri) <= URI_MAX && scheme > 0 && strchr(LETTERS, uri[0]) && uri[scheme] == ':' && uri[scheme + 1] &&
           !mm_check_visible(uri) && !strpbrk(uri, "#\"<>\\^`{|}");
}

static bool set_audience(struct mm_oauth_target *target, const char *audience, struct mm_error *err)
{
    if (target->audience && strcmp(target->audience, audience) != 0)
        return mm_fail(err, MM_INVALID_TARGET, "two audiences are asked for");
    target->audience = audience;
    return true;
}

static bool set_resource(const struct mm_tenant *tenant, struct mm_oauth_target *target, const char *uri,
                         struct mm_error *err)
{
    char resource[MM_RESOURCE_LENGTH_MAX + 1];
    if (!mm_template_render(&tenant->resource_template, uri, resource))
        return mm_fail(err, MM_INVALID_TARGET, "a resource is no audience of tenant %s, nor has its template it",
                       tenant->id);
    if (target->has_resource && strcmp(target->resource_id, resource) != 0)
        return mm_fail(err, MM_INVALID_TARGET, "two resources are asked for");
    target->has_resource = true;
    memcpy(target->resource_id, resource, sizeof resource);
    return true;
}

bool mm_oauth_target_resolve(const struct mm_tenant *tenant, const struct mm_oauth_target_request *request,
                             struct mm_oauth_target *ret_target, struct mm_error *err)
{
    struct mm_oauth_target target = {.audience = request->n_audiences > 0 ? request->audience : NULL};
    if (target.audience && (strlen(target.audience) > MM_AUDIENCE_LENGTH_MAX || mm_check_visible(target.audience)))
        return mm_fail(err, MM_INVALID_TARGET, "the audience is malformed");
    for (size_t i = 0; i < request->n_uris; i++) {
        const char *uri = request->uris[i];
        if (!is_absolute_uri(uri))
            return mm_fail(err, MM_INVALID_TARGET, "a resource isn't an absolute URI without a fragment");
        bool is_audience = mm_strings_have(&tenant->audience, uri);
        if (!(is_audience ? set_audience(&target, uri, err) : set_resource(tenant, &target, uri, err)))
            return false;
    }
    *ret_target = target;
    return true;
}
