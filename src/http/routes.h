/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which handler serves which method at which path. A handler runs once the whole request is there, on the connection's
 * thread, and must not block.
 */
#ifndef MM_HTTP_ROUTES_H
#define MM_HTTP_ROUTES_H

#include "http/request.h"

/* The reply; status 0 if request->pending was begun and will bring it. */
typedef struct mm_reply (*mm_handler)(struct mm_request *request);

struct mm_route {
    const char *path;
    const char *method; /* GET serves HEAD too */
    const char *allow;  /* for 405 at this path */
    mm_handler handle;
    enum mm_error_form errors; /* how its failures are told, early and late */
    const char *metadata;      /* the member of discovery documents that has its URL (RFC 8414 section 2); NULL: none */
};

/*
 * The route for a target's path (which ends at `?`), in `ret_near`, too. MM_NOT_FOUND; MM_METHOD_NOT_ALLOWED sets
 * `ret_near` to a route of the same path. Methods and paths are compared byte by byte, with nothing decoded or
 * normalised.
 */
MM_MUST_USE const struct mm_route *mm_route_find(const char *method, const char *path, const struct mm_route **ret_near,
                                                 struct mm_error *err);

/* The i-th of all routes, from 0; NULL after the last. */
const struct mm_route *mm_route_at(size_t i);

/* What the token endpoint takes, as the discovery documents name it: the i-th from 0 of what is switched on for any tenant; NULL after the last. */
const char *mm_oauth_grant_type(const struct mm_policy *policy, size_t i);
const char *mm_oauth_client_authentication(const struct mm_policy *policy, size_t i);

/* The same without `none`: ways to prove who one is. */
const char *mm_oauth_client_proof(const struct mm_policy *policy, size_t i);

/* What clients may sign their assertions with; nothing where none has keys. */
const char *mm_oauth_assertion_algorithm(const struct mm_policy *policy, size_t i);

/* Whether any account is known by tokens that others issue. */
bool mm_oauth_has_federation(const struct mm_policy *policy);

/* The URL of the route that discovery tells of as `metadata`, for the caller to free; NULL: no memory. */
MM_MUST_USE char *mm_route_url(const char *issuer, const char *metadata);

struct mm_reply mm_serve_service_tokens(struct mm_request *request);
struct mm_reply mm_serve_token(struct mm_request *request);
struct mm_reply mm_serve_revocation(struct mm_request *request);
struct mm_reply mm_serve_introspection(struct mm_request *request);
struct mm_reply mm_serve_authorization(struct mm_request *request);
struct mm_reply mm_serve_jwks(struct mm_request *request);
struct mm_reply mm_serve_openid_configuration(struct mm_request *request);
struct mm_reply mm_serve_oauth_authorization_server(struct mm_request *request);
struct mm_reply mm_serve_healthz(struct mm_request *request);
struct mm_reply mm_serve_readyz(struct mm_request *request);

#endif
