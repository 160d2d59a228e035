/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "http/routes.h"

static mm_handler find(const char *method, const char *path, enum mm_code *ret_code, const struct mm_route **ret_near)
{
    struct mm_error err = {0};
    const struct mm_route *route = mm_route_find(method, path, ret_near, &err);
    *ret_code = err.code;
    return route ? route->handle : NULL;
}

static void every_route_is_found_by_its_method_and_path(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        mm_handler handler;
    } FOUND[] = {
        {"POST", "/v1/service-tokens", mm_serve_service_tokens},
        {"POST", "/oauth2/token", mm_serve_token},
        {"POST", "/oauth2/revoke", mm_serve_revocation},
        {"POST", "/oauth2/introspect", mm_serve_introspection},
        {"GET", "/oauth2/authorize?response_type=code", mm_serve_authorization},
        {"GET", "/.well-known/jwks.json", mm_serve_jwks},
        {"HEAD", "/.well-known/jwks.json", mm_serve_jwks},
        {"GET", "/.well-known/openid-configuration", mm_serve_openid_configuration},
        {"GET", "/.well-known/oauth-authorization-server", mm_serve_oauth_authorization_server},
        {"GET", "/healthz?verbose", mm_serve_healthz},
        {"GET", "/readyz?", mm_serve_readyz},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(FOUND); i++) {
        enum mm_code code;
        const struct mm_route *near = NULL;
        assert_ptr_equal(find(FOUND[i].method, FOUND[i].path, &code, &near), FOUND[i].handler);
        assert_ptr_equal(near->handle, FOUND[i].handler);
        assert_int_equal(code, MM_OK);
    }
}

static void another_method_is_told_which_are_allowed(void **state)
{
    (void)state;
    static const char *const CASES[][3] = {
        {"GET", "/v1/service-tokens", "POST"},  {"HEAD", "/v1/service-tokens", "POST"},
        {"post", "/v1/service-tokens", "POST"}, {"POST", "/healthz", "GET, HEAD"},
        {"OPTIONS", "/readyz", "GET, HEAD"},    {"", "/readyz", "GET, HEAD"},
        {"GET", "/oauth2/token", "POST"},       {"POST", "/oauth2/authorize", "GET, HEAD"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        enum mm_code code;
        const struct mm_route *near = NULL;
        assert_null(find(CASES[i][0], CASES[i][1], &code, &near));
        assert_int_equal(code, MM_METHOD_NOT_ALLOWED);
        assert_string_equal(near->allow, CASES[i][2]);
    }
}

static void any_other_path_is_not_found(void **state)
{
    (void)state;
    static const char *const PATHS[] = {"",        "/",          "*",         "/healthz/", "//healthz", "/HEALTHZ",
                                        "healthz", "/health%7a", "/healthz#", "/v1",       "/healthz;a"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(PATHS); i++) {
        enum mm_code code;
        const struct mm_route *near = NULL;
        assert_null(find("GET", PATHS[i], &code, &near));
        assert_int_equal(code, MM_NOT_FOUND);
        assert_null(near);
    }
}

static void oauths_paths_tell_of_failures_as_oauth_does_and_no_other(void **state)
{
    (void)state;
    const struct mm_route *route;
    size_t n = 0;
    for (; (route = mm_route_at(n)); n++)
        assert_int_equal(route->errors == MM_ERRORS_OAUTH, strncmp(route->path, "/oauth2/", 8) == 0);
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_found_by_its_method_and_path),
        cmocka_unit_test(another_method_is_told_which_are_allowed),
        cmocka_unit_test(any_other_path_is_not_found),
        cmocka_unit_test(oauths_paths_tell_of_failures_as_oauth_does_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
