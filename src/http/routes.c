/* SPDX-License-Identifier: Apache-2.0 */
#include "http/routes.h"

#include <string.h>

static const struct mm_route ROUTES[] = {
    {"/v1/service-tokens", "POST", "POST", mm_serve_service_tokens},
    {"/.well-known/jwks.json", "GET", "GET, HEAD", mm_serve_jwks},
    {"/.well-known/openid-configuration", "GET", "GET, HEAD", mm_serve_openid_configuration},
    {"/.well-known/oauth-authorization-server", "GET", "GET, HEAD", mm_serve_oauth_authorization_server},
    {"/healthz", "GET", "GET, HEAD", mm_serve_healthz},
    {"/readyz", "GET", "GET, HEAD", mm_serve_readyz},
};

static bool has_method(const struct mm_route *route, const char *method)
{
    return strcmp(method, route->method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

const struct mm_route *mm_route_find(const char *method, const char *path, const char **ret_allow, struct mm_error *err)
{
    size_t length = strcspn(path, "?");
    const char *allow = NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ROUTES); i++) {
        const struct mm_route *route = &ROUTES[i];
        if (strlen(route->path) != length || memcmp(route->path, path, length) != 0)
            continue;
        if (has_method(route, method))
            return route;
        allow = route->allow;
    }
    if (!allow) {
        (void)mm_fail(err, MM_NOT_FOUND, "no such path");
        return NULL;
    }
    *ret_allow = allow;
    (void)mm_fail(err, MM_METHOD_NOT_ALLOWED, "not a method of this path");
    return NULL;
}
