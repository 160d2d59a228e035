/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTPS client against a real, badly behaved server (tests/support/https_peer.py).
 */
#include "client/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "util/clock.h"
#include "util/json.h"

struct peer {
    char folder[64];
    pid_t pid;
    int keep_alive; /* the peer ends when this closes */
    char port[8];
    char old_port[8];
};

static struct peer peer;

static void read_line(FILE *stream, char *out, size_t size)
{
    assert_non_null(fgets(out, (int)size, stream));
    out[strcspn(out, "\n")] = '\0';
}

static int start_peer(void **state)
{
    (void)state;
    int in[2], out[2];
    (void)strcpy(peer.folder, "/tmp/mintmark-client-XXXXXX");
    if (!mkdtemp(peer.folder) || pipe(in) != 0 || pipe(out) != 0)
        return -1;
    peer.pid = fork();
    if (peer.pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(in[1]);
        (void)execl("/usr/bin/python3", "python3", "-W", "ignore", MM_TEST_SUPPORT "/https_peer.py", peer.folder,
                    (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    peer.keep_alive = in[1];
    FILE *stream = fdopen(out[0], "r");
    read_line(stream, peer.port, sizeof peer.port);
    read_line(stream, peer.old_port, sizeof peer.old_port);
    (void)fclose(stream);
    /* Machines' own OpenSSL settings must not be what refuses old TLS. */
    char lax[96];
    (void)snprintf(lax, sizeof lax, "%s/lax.cnf", peer.folder);
    return setenv("OPENSSL_CONF", lax, 1);
}

static int stop_peer(void **state)
{
    (void)state;
    static const char *const FILES[] = {"ca.pem",     "ca.key",     "other.pem",  "other.key", "server.pem",
                                        "server.key", "client.pem", "client.key", "leaf.cnf",  "lax.cnf"};
    (void)close(peer.keep_alive);
    (void)waitpid(peer.pid, NULL, 0);
    char path[128];
    for (size_t i = 0; i < MM_ARRAY_SIZE(FILES); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", peer.folder, FILES[i]);
        (void)unlink(path);
    }
    return rmdir(peer.folder);
}

/* A file of the peer's folder; four at most are remembered at once. */
static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", peer.folder, name);
    return path;
}

static const char *url_of(const char *path)
{
    static char url[128];
    (void)snprintf(url, sizeof url, "https://localhost:%s%s", peer.port, path);
    return url;
}

static struct mm_http *client(struct mm_http_options options)
{
    struct mm_error err = {0};
    options.ca_file = options.ca_file ? options.ca_file : in_folder("ca.pem");
    struct mm_http *http = mm_http_new(&options, &err);
    assert_string_equal(err.message, "");
    assert_non_null(http);
    return http;
}

static void assert_fails(struct mm_http *http, const char *url, enum mm_code code)
{
    struct mm_error err = {0};
    struct mm_http_response response = {0};
    assert_false(mm_http_get(http, url, &response, &err));
    assert_int_equal(err.code, code);
    assert_null(response.body.data);
}

static json_t *echo(struct mm_http *http, const char *body)
{
    struct mm_error err = {0};
    mm_cleanup(mm_http_response_clear) struct mm_http_response response = {0};
    bool answered = body ? mm_http_post_json(http, url_of("/echo"), body, &response, &err)
                         : mm_http_get(http, url_of("/echo"), &response, &err);
    assert_string_equal(err.message, "");
    assert_true(answered);
    assert_int_equal(response.status, 200);
    assert_string_equal(response.content_type, "application/json");
    json_t *seen = mm_json_parse(response.body.data, response.body.length, &err);
    assert_non_null(seen);
    return seen;
}

static void a_post_arrives_with_its_body_and_the_client_certificate(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *http = client(
        (struct mm_http_options){.certificate_file = in_folder("client.pem"), .key_file = in_folder("client.key")});
    mm_cleanup(json_decref) json_t *seen = echo(http, "{\"a\":1}");
    assert_string_equal(mm_json_string(seen, "method"), "POST");
    assert_string_equal(mm_json_string(seen, "body"), "{\"a\":1}");
    assert_string_equal(mm_json_string(seen, "content_type"), "application/json");
    assert_true(json_is_true(json_object_get(seen, "has_certificate")));
}

static void a_get_after_a_post_carries_no_body(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    mm_cleanup(json_decref) json_t *first = echo(http, "{}");
    assert_string_equal(mm_json_string(first, "method"), "POST");
    mm_cleanup(json_decref) json_t *second = echo(http, NULL);
    assert_string_equal(mm_json_string(second, "method"), "GET");
    assert_string_equal(mm_json_string(second, "body"), "");
    assert_true(json_is_null(json_object_get(second, "content_type")));
    assert_true(json_is_false(json_object_get(second, "has_certificate")));
}

static void a_refusal_is_an_answer_not_a_failure(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    mm_cleanup(mm_http_response_clear) struct mm_http_response response = {0};
    assert_true(mm_http_get(http, url_of("/nothing"), &response, &err));
    assert_int_equal(response.status, 404);
    assert_string_equal(response.content_type, "application/problem+json");
    assert_string_equal((const char *)response.body.data, "{\"code\":\"not_found\"}");
}

static void an_empty_answer_is_an_empty_string(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    mm_cleanup(mm_http_response_clear) struct mm_http_response response = {0};
    assert_true(mm_http_get(http, url_of("/empty"), &response, &err));
    assert_string_equal((const char *)response.body.data, "");
    assert_string_equal(response.content_type, "");
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    mm_cleanup(mm_http_response_clear) struct mm_http_response response = {0};
    assert_true(mm_http_get(http, url_of("/redirect"), &response, &err));
    assert_int_equal(response.status, 302);
    assert_string_equal((const char *)response.body.data, "elsewhere");
}

static void an_answer_past_the_cap_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *small = client((struct mm_http_options){.body_max = 99999});
    assert_fails(small, url_of("/big"), MM_UNREACHABLE);
    assert_fails(small, url_of("/endless"), MM_UNREACHABLE);
    struct mm_error err = {0};
    mm_cleanup(mm_http_free) struct mm_http *enough = client((struct mm_http_options){.body_max = 100000});
    mm_cleanup(mm_http_response_clear) struct mm_http_response response = {0};
    assert_true(mm_http_get(enough, url_of("/big"), &response, &err));
    assert_int_equal(response.body.length, 100000);
}

static void a_slow_answer_ends_at_the_deadline(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){.total_timeout_ms = 400});
    int64_t start = mm_monotonic_ns();
    assert_fails(http, url_of("/silent"), MM_UNREACHABLE);
    assert_fails(http, url_of("/drip"), MM_UNREACHABLE);
    assert_true(mm_monotonic_ns() - start < 5000000000);
}

static void an_answer_cut_short_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    assert_fails(http, url_of("/cut"), MM_UNREACHABLE);
}

static void a_server_of_another_ca_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){.ca_file = in_folder("other.pem")});
    assert_fails(http, url_of("/echo"), MM_UNREACHABLE);
}

static void a_server_of_another_name_is_refused(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%s/echo", peer.port);
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    assert_fails(http, url, MM_UNREACHABLE);
}

static void tls_1_1_is_refused(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "https://localhost:%s/echo", peer.old_port);
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    assert_fails(http, url, MM_UNREACHABLE);
}

static void nobody_listening_is_unreachable(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    assert_fails(http, "https://localhost:1/", MM_UNREACHABLE);
}

static void only_https_urls_without_credentials_are_used(void **state)
{
    (void)state;
    static const char *const URLS[] = {"http://localhost/",
                                       "file:///etc/passwd",
                                       "localhost:8443/",
                                       "",
                                       "https://",
                                       "https://user:secret@localhost/",
                                       "https://user@localhost/"};
    mm_cleanup(mm_http_free) struct mm_http *http = client((struct mm_http_options){0});
    for (size_t i = 0; i < MM_ARRAY_SIZE(URLS); i++)
        assert_fails(http, URLS[i], MM_USAGE);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct mm_error err = {0};
    struct mm_http_options options = {.ca_file = "/nowhere/ca.pem"};
    assert_null(mm_http_new(&options, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, "/nowhere/ca.pem"));
}

static void a_file_that_holds_no_certificate_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_http_free) struct mm_http *no_ca = client((struct mm_http_options){.ca_file = in_folder("leaf.cnf")});
    assert_fails(no_ca, url_of("/echo"), MM_FILE);
    mm_cleanup(mm_http_free) struct mm_http *no_key = client(
        (struct mm_http_options){.certificate_file = in_folder("client.pem"), .key_file = in_folder("server.key")});
    assert_fails(no_key, url_of("/echo"), MM_FILE);
}

static void a_certificate_without_its_key_is_refused(void **state)
{
    (void)state;
    struct mm_error err = {0};
    struct mm_http_options options = {.certificate_file = in_folder("client.pem")};
    assert_null(mm_http_new(&options, &err));
    assert_int_equal(err.code, MM_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_arrives_with_its_body_and_the_client_certificate),
        cmocka_unit_test(a_get_after_a_post_carries_no_body),
        cmocka_unit_test(a_refusal_is_an_answer_not_a_failure),
        cmocka_unit_test(an_empty_answer_is_an_empty_string),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(an_answer_past_the_cap_is_refused),
        cmocka_unit_test(a_slow_answer_ends_at_the_deadline),
        cmocka_unit_test(an_answer_cut_short_is_refused),
        cmocka_unit_test(a_server_of_another_ca_is_refused),
        cmocka_unit_test(a_server_of_another_name_is_refused),
        cmocka_unit_test(tls_1_1_is_refused),
        cmocka_unit_test(nobody_listening_is_unreachable),
        cmocka_unit_test(only_https_urls_without_credentials_are_used),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_file_that_holds_no_certificate_is_refused),
        cmocka_unit_test(a_certificate_without_its_key_is_refused),
    };
    return cmocka_run_group_tests(tests, start_peer, stop_peer);
}
