/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "admin/routes.h"

#define KID "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0-_8"

static struct mm_reply serve(struct mm_admin_request *request)
{
    (void)request;
    return (struct mm_reply){.status = 200};
}

static const struct mm_admin_route ROUTES[] = {
    {"GET", "/v1/keys", MM_ROLE_VIEWER, serve},
    {"POST", "/v1/keys/stage", MM_ROLE_CUSTODIAN, serve},
    {"POST", "/v1/keys/{kid}/publish", MM_ROLE_CUSTODIAN, serve},
    {"GET", "/v1/keys/{kid}", MM_ROLE_VIEWER, serve},
    {"DELETE", "/v1/keys/{kid}", MM_ROLE_CUSTODIAN, serve},
};
static const struct mm_admin_routes TABLE = {ROUTES, MM_ARRAY_SIZE(ROUTES)};

static void a_route_is_found_by_its_method_and_path(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        const char *kid;
        size_t route;
    } CASES[] = {
        {"GET", "/v1/keys", "", 0},        {"GET", "/v1/keys?all", "", 0},
        {"POST", "/v1/keys/stage", "", 1}, {"POST", "/v1/keys/" KID "/publish", KID, 2},
        {"GET", "/v1/keys/" KID, KID, 3},  {"DELETE", "/v1/keys/" KID "?x=/publish", KID, 4},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_admin_match match;
        assert_true(mm_admin_route_find(&TABLE, CASES[i].method, CASES[i].path, &match, NULL));
        assert_ptr_equal(match.route, &ROUTES[CASES[i].route]);
        assert_string_equal(match.kid, CASES[i].kid);
    }
}

static void another_method_is_told_which_are_allowed(void **state)
{
    (void)state;
    static const char *const CASES[][3] = {
        {"POST", "/v1/keys", "GET"},
        {"get", "/v1/keys", "GET"},
        {"HEAD", "/v1/keys", "GET"},
        {"", "/v1/keys", "GET"},
        {"POST", "/v1/keys/" KID, "GET, DELETE"},
        {"GET", "/v1/keys/" KID "/publish", "POST"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_error err = {0};
        struct mm_admin_match match;
        assert_false(mm_admin_route_find(&TABLE, CASES[i][0], CASES[i][1], &match, &err));
        assert_int_equal(err.code, MM_METHOD_NOT_ALLOWED);
        assert_string_equal(match.allow, CASES[i][2]);
        assert_null(match.route);
    }
}

static void any_other_path_is_not_found(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "",
        "/",
        "*",
        "?",
        "/v1/key",
        "/v1/keys/",
        "/V1/keys",
        "//v1/keys",
        "/v1/./keys",
        "/v1/%6beys",
        "/v1/keys/{kid}",
        "/v1/keys/" KID "/",
        "/v1/keys/" KID "x",
        "/v1/keys/" KID "/publish/",
        "/v1/keys/" KID "/activate",
        "/v1/keys//publish",
        "/v1/keys/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0-_",
        "/v1/keys/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0-.8",
        "/v1/keys/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0-/8",
        "/v1/keys/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0%2d",
        "/v1/keys/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0-?8",
        "/v1/keys/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0-_9",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_error err = {0};
        struct mm_admin_match match;
        if (mm_admin_route_find(&TABLE, "GET", CASES[i], &match, &err) || err.code != MM_NOT_FOUND)
            fail_msg("found: %s", CASES[i]);
    }
}

/* What looking is allowed to is nothing that changes something. */
static void whoever_may_only_look_reaches_nothing_but_gets(void **state)
{
    (void)state;
    assert_true(MM_ADMIN_ROUTES.n > 0);
    for (size_t i = 0; i < MM_ADMIN_ROUTES.n; i++) {
        const struct mm_admin_route *route = &MM_ADMIN_ROUTES.items[i];
        assert_non_null(route->handle);
        assert_int_not_equal(route->role, MM_ROLE_NONE);
        if (route->role == MM_ROLE_VIEWER)
            assert_string_equal(route->method, "GET");
        struct mm_admin_match match;
        char path[256];
        const char *hole = strstr(route->path, "{kid}");
        (void)snprintf(path, sizeof path, "%.*s%s%s", (int)(hole ? hole - route->path : (ptrdiff_t)strlen(route->path)),
                       route->path, hole ? KID : "", hole ? hole + 5 : "");
        assert_true(mm_admin_route_find(&MM_ADMIN_ROUTES, route->method, path, &match, NULL));
        assert_ptr_equal(match.route, route);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_is_found_by_its_method_and_path),
        cmocka_unit_test(another_method_is_told_which_are_allowed),
        cmocka_unit_test(any_other_path_is_not_found),
        cmocka_unit_test(whoever_may_only_look_reaches_nothing_but_gets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
