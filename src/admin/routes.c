/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/routes.h"

#include <stdio.h>
#include <string.h>

static const char KID[] = "{kid}";

static const struct mm_admin_route ROUTES[] = {
    {"GET", "/v1/status", MM_ROLE_VIEWER, mm_admin_serve_status},
    {"POST", "/v1/reload", MM_ROLE_OPERATOR, mm_admin_serve_reload},
    {"GET", "/v1/keys", MM_ROLE_VIEWER, mm_admin_serve_keys},
    {"POST", "/v1/keys", MM_ROLE_CUSTODIAN, mm_admin_serve_stage},
    {"POST", "/v1/keys/{kid}/publish", MM_ROLE_CUSTODIAN, mm_admin_serve_publish},
    {"POST", "/v1/keys/{kid}/activate", MM_ROLE_CUSTODIAN, mm_admin_serve_activate},
    {"POST", "/v1/keys/{kid}/retire", MM_ROLE_CUSTODIAN, mm_admin_serve_retire},
    {"POST", "/v1/keys/{kid}/withdraw", MM_ROLE_CUSTODIAN, mm_admin_serve_withdraw},
    {"POST", "/v1/keys/{kid}/revoke", MM_ROLE_CUSTODIAN, mm_admin_serve_revoke},
    {"POST", "/v1/keys/{kid}/destroy", MM_ROLE_CUSTODIAN, mm_admin_serve_destroy},
    {"POST", "/v1/keys/{kid}/attestations", MM_ROLE_CUSTODIAN, mm_admin_serve_attestation},
    {"POST", "/v1/rotation", MM_ROLE_CUSTODIAN, mm_admin_serve_rotation},
    {"GET", "/v1/revocations", MM_ROLE_VIEWER, mm_admin_serve_revocations},
    {"POST", "/v1/revocations", MM_ROLE_OPERATOR, mm_admin_serve_revoke_tokens},
    {"POST", "/v1/revocations/lift", MM_ROLE_OPERATOR, mm_admin_serve_lift},
    {"POST", "/v1/clock", MM_ROLE_OPERATOR, mm_admin_serve_clock},
};

const struct mm_admin_routes MM_ADMIN_ROUTES = {ROUTES, MM_ARRAY_SIZE(ROUTES)};

/* Whether `path` is what `pattern` stands for; its kid, if it has one, goes to `kid`. */
static bool matches(const char *pattern, const char *path, size_t length, char kid[MM_THUMBPRINT_LENGTH + 1])
{
    const char *hole = strstr(pattern, KID);
    size_t before = hole ? (size_t)(hole - pattern) : strlen(pattern);
    const char *tail = hole ? hole + strlen(KID) : "";
    size_t middle = hole ? MM_THUMBPRINT_LENGTH : 0;
    if (length != before + middle + strlen(tail) || memcmp(path, pattern, before) != 0 ||
        memcmp(path + before + middle, tail, strlen(tail)) != 0 ||
        (hole && !mm_thumbprint_is_valid(path + before, middle)))
        return false;
    memcpy(kid, path + before, middle);
    kid[middle] = '\0';
    return true;
}

static void allow(struct mm_admin_match *match, const char *method)
{
    size_t length = strlen(match->allow);
    (void)snprintf(match->allow + length, sizeof match->allow - length, "%s%s", length ? ", " : "", method);
}

bool mm_admin_route_find(const struct mm_admin_routes *routes, const char *method, const char *path,
                         struct mm_admin_match *ret_match, struct mm_error *err)
{
    size_t length = strcspn(path, "?");
    *ret_match = (struct mm_admin_match){0};
    for (size_t i = 0; i < routes->n; i++) {
        const struct mm_admin_route *route = &routes->items[i];
        if (!matches(route->path, path, length, ret_match->kid))
            continue;
        if (strcmp(route->method, method) == 0) {
            ret_match->route = route;
            return true;
        }
        allow(ret_match, route->method);
    }
    return ret_match->allow[0] ? mm_fail(err, MM_METHOD_NOT_ALLOWED, "this path has %s", ret_match->allow)
                               : mm_fail(err, MM_NOT_FOUND, "there is nothing at this path");
}
