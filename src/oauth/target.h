/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request's `resource` (RFC 8707) and `audience` (RFC 8693) name: an audience of the tenant's, a resource, or
 * one of each. Whether they are granted is the policy's to say.
 */
#ifndef MM_OAUTH_TARGET_H
#define MM_OAUTH_TARGET_H

#include "policy/decide.h"

enum { MM_OAUTH_TARGET_URIS_MAX = 2 }; /* an audience and a resource */

struct mm_oauth_target_request {
    const char *uris[MM_OAUTH_TARGET_URIS_MAX];
    size_t n_uris;
    const char *audience; /* if there is one */
    size_t n_audiences;
};

struct mm_oauth_target {
    const char *audience; /* borrowed from the request; NULL: all of the tenant's */
    bool has_resource;    /* without one: all of the grant's */
    char resource_id[MM_RESOURCE_LENGTH_MAX + 1];
};

/*
 * MM_INVALID_TARGET for a `resource` that is no absolute URI, has a fragment, or names neither an audience nor, by the
 * tenant's resource_template, a resource; and for two different audiences or resources, in whichever parameters.
 */
MM_MUST_USE bool mm_oauth_target_resolve(const struct mm_tenant *tenant, const struct mm_oauth_target_request *request,
                                         struct mm_oauth_target *ret_target, struct mm_error *err);

#endif
