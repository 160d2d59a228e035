/* SPDX-License-Identifier: Apache-2.0 */
#include "http/routes.h"

#include <stdio.h>
#include <string.h>

static const struct mm_route ROUTES[] = {
    {"/v1/service-tokens", "POST", "POST", mm_serve_service_tokens, MM_ERRORS_PROBLEM, NULL},
    {"/oauth2/token", "POST", "POST", mm_serve_token, MM_ERRORS_OAUTH, "token_endpoint"},
    {"/oauth2/revoke", "POST", "POST", mm_serve_revocation, MM_ERRORS_OAUTH, "revocation_endpoint"},
    {"/oauth2/introspect", "POST", "POST", mm_serve_introspection, MM_ERRORS_OAUTH, "introspection_endpoint"},
    {"/oauth2/authorize", "GET", "GET, HEAD", mm_serve_authorization, MM_ERRORS_OAUTH, "authorization_endpoint"},
    {"/.well-known/jwks.json", "GET", "GET, HEAD", mm_serve_jwks, MM_ERRORS_PROBLEM, "jwks_uri"},
    {"/.well-known/openid-configuration", "GET", "GET, HEAD", mm_serve_openid_configuration, MM_ERRORS_PROBLEM, NULL},
    {"/.well-known/oauth-authorization-server", "GET", "GET, HEAD", mm_serve_oauth_authorization_server,
     MM_ERRORS_PROBLEM, NULL},
    {"/healthz", "GET", "GET, HEAD", mm_serve_healthz, MM_ERRORS_PROBLEM, NULL},
    {"/readyz", "GET", "GET, HEAD", mm_serve_readyz, MM_ERRORS_PROBLEM, NULL},
};

static bool has_method(const struct mm_route *route, const char *method)
{
    return strcmp(method, route->method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

const struct mm_route *mm_route_find(const char *method, const char *path, const struct mm_route **ret_near,
                                     struct mm_error *err)
{
    size_t length = strcspn(path, "?");
    const struct mm_route *near = NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ROUTES); i++) {
        const struct mm_route *route = &ROUTES[i];
        if (strlen(route->path) != length || memcmp(route->path, path, length) != 0)
            continue;
        near = route;
        if (has_method(route, method))
            break;
    }
    if (!near) {
        (void)mm_fail(err, MM_NOT_FOUND, "no such path");
        return NULL;
    }
    *ret_near = near;
    if (has_method(near, method))
        return near;
    (void)mm_fail(err, MM_METHOD_NOT_ALLOWED, "not a method of this path");
    return NULL;
}

const struct mm_route *mm_route_at(size_t i)
{
    return i < MM_ARRAY_SIZE(ROUTES) ? &ROUTES[i] : NULL;
}

char *mm_route_url(const char *issuer, const char *metadata)
{
    char *url = NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ROUTES); i++)
        if (ROUTES[i].metadata && strcmp(ROUTES[i].metadata, metadata) == 0 &&
            asprintf(&url, "%s%s", issuer, ROUTES[i].path) < 0)
            return NULL;
    return url;
}
