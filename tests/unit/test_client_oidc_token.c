/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The platform's OIDC token, from its file or a string: a JWT and nothing else.
 */
#include "client/oidc_token.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static const char JWT[] = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhIn0.c2lnbmF0dXJl";

static char path[64];

static int make_path(void **state)
{
    (void)state;
    (void)strcpy(path, "/tmp/mintmark-oidc-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 || close(fd) != 0;
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const void *data, size_t length)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void assert_read(const char *content, const char *expected)
{
    struct mm_error err = {0};
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = mm_oidc_token_new(&err);
    write_file(content, strlen(content));
    bool is_read = mm_oidc_token_from_file(path, token, &err);
    assert_string_equal(err.message, "");
    assert_true(is_read);
    assert_string_equal(token->text, expected);
}

static void assert_refused(const void *content, size_t length)
{
    struct mm_error err = {0};
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = mm_oidc_token_new(&err);
    write_file(content, length);
    assert_false(mm_oidc_token_from_file(path, token, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, path));
    assert_null(strstr(err.message, "eyJ"));
    assert_null(strstr(err.message, "KEY"));
}

static void a_jwt_is_read_with_one_newline_behind_it_or_none(void **state)
{
    (void)state;
    char line[sizeof JWT + 2];
    assert_read(JWT, JWT);
    (void)snprintf(line, sizeof line, "%s\n", JWT);
    assert_read(line, JWT);
    (void)snprintf(line, sizeof line, "%s\r\n", JWT);
    assert_read(line, JWT);
}

/* A wrong path must not send a private key to whoever the service is. */
static void what_is_no_jwt_is_refused_and_not_shown(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",
                                      "\n",
                                      "eyJ",
                                      "eyJ.eyJ",
                                      "eyJ.eyJ.",
                                      "eyJ.eyJ.c2ln.c2ln",
                                      ".eyJ.",
                                      "eyJ..c",
                                      " eyJ",
                                      "eyJ.eyJ.c=",
                                      "eyJ.eyJ.c\n\n",
                                      "eyJ.eyJ.c\nHost: a",
                                      "-----BEGIN PRIVATE KEY-----\n"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_refused(BAD[i], strlen(BAD[i]));
    assert_refused("eyJ.eyJ.c\0", 10);
    assert_refused("eyJ.eyJ.c\0d", 11);
}

static void the_longest_token_is_read_and_one_byte_more_is_not(void **state)
{
    (void)state;
    struct mm_error err = {0};
    char longest[MM_CLIENT_OIDC_TOKEN_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[1] = longest[3] = '.';
    longest[MM_CLIENT_OIDC_TOKEN_MAX] = '\0';
    assert_read(longest, longest);
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = mm_oidc_token_new(&err);
    assert_true(mm_oidc_token_copy(longest, "it", token, &err));
    assert_string_equal(token->text, longest);
    longest[MM_CLIENT_OIDC_TOKEN_MAX] = 'a';
    assert_refused(longest, MM_CLIENT_OIDC_TOKEN_MAX + 1);
    longest[MM_CLIENT_OIDC_TOKEN_MAX + 1] = '\0';
    assert_false(mm_oidc_token_copy(longest, "it", token, &err));
    assert_int_equal(err.code, MM_USAGE);
}

static void a_string_is_named_and_not_shown_when_it_is_no_jwt(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = mm_oidc_token_new(&err);
    assert_true(mm_oidc_token_copy(JWT, "MINTMARK_ID_TOKEN", token, &err));
    assert_string_equal(token->text, JWT);
    assert_false(mm_oidc_token_copy("hunter2", "MINTMARK_ID_TOKEN", token, &err));
    assert_non_null(strstr(err.message, "MINTMARK_ID_TOKEN"));
    assert_null(strstr(err.message, "hunter2"));
}

/* Kubernetes puts links in place; a pipe would be waited for. */
static void a_link_is_followed_and_a_pipe_or_nothing_refused(void **state)
{
    (void)state;
    struct mm_error err = {0};
    char other[80];
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = mm_oidc_token_new(&err);
    (void)snprintf(other, sizeof other, "%s.other", path);
    write_file(JWT, strlen(JWT));
    assert_int_equal(symlink(path, other), 0);
    assert_true(mm_oidc_token_from_file(other, token, &err));
    assert_int_equal(unlink(other), 0);
    assert_false(mm_oidc_token_from_file(other, token, &err));
    assert_int_equal(err.code, MM_FILE);
    err = (struct mm_error){0};
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_false(mm_oidc_token_from_file(other, token, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_int_equal(unlink(other), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_jwt_is_read_with_one_newline_behind_it_or_none),
        cmocka_unit_test(what_is_no_jwt_is_refused_and_not_shown),
        cmocka_unit_test(the_longest_token_is_read_and_one_byte_more_is_not),
        cmocka_unit_test(a_string_is_named_and_not_shown_when_it_is_no_jwt),
        cmocka_unit_test(a_link_is_followed_and_a_pipe_or_nothing_refused),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
