/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parameters of a token exchange (RFC 8693 section 2.1): which kinds of tokens are taken, and which one partition, a resource of the tenant's, the
 * new token is for.
 */
#ifndef MM_OAUTH_EXCHANGE_H
#define MM_OAUTH_EXCHANGE_H

#include "oauth/target.h"

#define MM_TOKEN_TYPE_ACCESS_TOKEN "urn:ietf:params:oauth:token-type:access_token"

/* As they were sent; NULL where they weren't. */
struct mm_exchange_parameters {
    const char *subject_token;
    const char *subject_token_type;
    const char *actor_token;
    const char *actor_token_type;
    const char *requested_token_type;
};

/*
 * MM_INVALID_REQUEST unless there are a subject token and its type, nobody's token to act with, which isn't supported, and an access token is asked
 * for, if anything is.
 */
MM_MUST_USE bool mm_exchange_check_parameters(const struct mm_exchange_parameters *parameters, struct mm_error *err);

/* What is asked for, once the partition is told from the scopes. */
struct mm_exchange_target {
    const char *scopes[MM_SCOPES_MAX]; /* the others; borrowed */
    size_t n_scopes;
    const char *audience; /* borrowed; NULL: all of the tenant's */
    char resource_id[MM_RESOURCE_LENGTH_MAX + 1];
};

/*
 * The one partition that is asked for, by `resource` (RFC 8707) or by a scope `partition:‹id›`, through the tenant's resource_template.
 * MM_INVALID_TARGET for none, for both, for several, and for what the template hasn't.
 */
MM_MUST_USE bool mm_exchange_target_resolve(const struct mm_tenant *tenant,
                                            const struct mm_oauth_target_request *request, const char *const *scopes,
                                            size_t n_scopes, struct mm_exchange_target *ret_target,
                                            struct mm_error *err);

#endif
