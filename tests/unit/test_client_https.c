/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTPS client against a real, badly behaved server (tests/support/https_peer.py).
 */
#include "client/https.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "peer.h"
#include "util/clock.h"
#include "util/json.h"

static struct mm_https *client(struct mm_https_options options)
{
    struct mm_error err = {0};
    options.ca_file = options.ca_file ? options.ca_file : peer_file("ca.pem");
    struct mm_https *https = mm_https_new(&options, &err);
    assert_string_equal(err.message, "");
    assert_non_null(https);
    return https;
}

static void assert_fails(struct mm_https *https, const char *url, enum mm_code code)
{
    struct mm_error err = {0};
    struct mm_https_response response = {0};
    assert_false(mm_https_get(https, url, &response, &err));
    assert_int_equal(err.code, code);
    assert_null(response.body.data);
}

static json_t *echo(struct mm_https *https, const char *body)
{
    struct mm_error err = {0};
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    bool answered = body ? mm_https_post_json(https, peer_url("/echo"), body, &response, &err)
                         : mm_https_get(https, peer_url("/echo"), &response, &err);
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
    mm_cleanup(mm_https_free) struct mm_https *https = client(
        (struct mm_https_options){.certificate_file = peer_file("client.pem"), .key_file = peer_file("client.key")});
    mm_cleanup(json_decref) json_t *seen = echo(https, "{\"a\":1}");
    assert_string_equal(mm_json_string(seen, "method"), "POST");
    assert_string_equal(mm_json_string(seen, "body"), "{\"a\":1}");
    assert_string_equal(mm_json_string(seen, "content_type"), "application/json");
    assert_true(json_is_true(json_object_get(seen, "has_certificate")));
}

static void a_get_after_a_post_carries_no_body(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    mm_cleanup(json_decref) json_t *first = echo(https, "{}");
    assert_string_equal(mm_json_string(first, "method"), "POST");
    mm_cleanup(json_decref) json_t *second = echo(https, NULL);
    assert_string_equal(mm_json_string(second, "method"), "GET");
    assert_string_equal(mm_json_string(second, "body"), "");
    assert_true(json_is_null(json_object_get(second, "content_type")));
    assert_true(json_is_false(json_object_get(second, "has_certificate")));
}

static void a_bearer_token_goes_with_each_request(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){.bearer = "a.b-c_~+/=="});
    for (int i = 0; i < 2; i++) {
        mm_cleanup(json_decref) json_t *seen = echo(https, i ? "{}" : NULL);
        assert_string_equal(mm_json_string(seen, "authorization"), "Bearer a.b-c_~+/==");
    }
    mm_cleanup(mm_https_free) struct mm_https *without = client((struct mm_https_options){0});
    mm_cleanup(json_decref) json_t *seen = echo(without, "{}");
    assert_null(mm_json_string(seen, "authorization"));
}

static void a_bearer_token_that_could_end_its_header_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"", "=", "a b", "a\r\nHost: b", "a\n", "a=b", "\xc3\xa4", "a,b"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        struct mm_error err = {0};
        struct mm_https_options options = {.bearer = BAD[i]};
        assert_null(mm_https_new(&options, &err));
        assert_int_equal(err.code, MM_USAGE);
    }
}

static void a_refusal_is_an_answer_not_a_failure(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    assert_true(mm_https_get(https, peer_url("/nothing"), &response, &err));
    assert_int_equal(response.status, 404);
    assert_string_equal(response.content_type, "application/problem+json");
    assert_string_equal((const char *)response.body.data, "{\"code\":\"not_found\"}");
}

static void an_empty_answer_is_an_empty_string(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    assert_true(mm_https_get(https, peer_url("/empty"), &response, &err));
    assert_string_equal((const char *)response.body.data, "");
    assert_string_equal(response.content_type, "");
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    assert_true(mm_https_get(https, peer_url("/redirect"), &response, &err));
    assert_int_equal(response.status, 302);
    assert_string_equal((const char *)response.body.data, "elsewhere");
}

static void an_answer_past_the_cap_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *small = client((struct mm_https_options){.body_max = 99999});
    assert_fails(small, peer_url("/big"), MM_UNREACHABLE);
    assert_fails(small, peer_url("/endless"), MM_UNREACHABLE);
    struct mm_error err = {0};
    mm_cleanup(mm_https_free) struct mm_https *enough = client((struct mm_https_options){.body_max = 100000});
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    assert_true(mm_https_get(enough, peer_url("/big"), &response, &err));
    assert_int_equal(response.body.length, 100000);
}

static void a_slow_answer_ends_at_the_deadline(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){.total_timeout_ms = 400});
    int64_t start = mm_monotonic_ns();
    assert_fails(https, peer_url("/silent"), MM_UNREACHABLE);
    assert_true(mm_https_is_unanswered(https));
    assert_fails(https, peer_url("/drip"), MM_UNREACHABLE);
    assert_true(mm_https_is_unanswered(https));
    assert_true(mm_monotonic_ns() - start < 5000000000);
    assert_fails(https, peer_url("/hangup"), MM_UNREACHABLE);
    assert_false(mm_https_is_unanswered(https));
}

static void an_answer_cut_short_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    assert_fails(https, peer_url("/cut"), MM_UNREACHABLE);
}

static void a_server_of_another_ca_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *https =
        client((struct mm_https_options){.ca_file = peer_file("other.pem")});
    assert_fails(https, peer_url("/echo"), MM_UNREACHABLE);
}

static void a_server_of_another_name_is_refused(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%s/echo", peer_port());
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    assert_fails(https, url, MM_UNREACHABLE);
}

static void tls_1_1_is_refused(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "https://localhost:%s/echo", peer_old_port());
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    assert_fails(https, url, MM_UNREACHABLE);
}

/* They would be taken apart before any of them is verified. */
static void a_server_with_more_certificates_than_it_needs_is_refused(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "https://localhost:%s/echo", peer_long_port());
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    assert_fails(https, url, MM_UNREACHABLE);
}

static void nobody_listening_is_unreachable(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    assert_fails(https, "https://localhost:1/", MM_UNREACHABLE);
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
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    for (size_t i = 0; i < MM_ARRAY_SIZE(URLS); i++)
        assert_fails(https, URLS[i], MM_USAGE);
    char longest[4200];
    memset(longest, 'a', sizeof longest - 1);
    memcpy(longest, "https://localhost:1/", 20);
    longest[4097] = '\0';
    assert_fails(https, longest, MM_USAGE);
    longest[4096] = '\0';
    assert_fails(https, longest, MM_UNREACHABLE);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct mm_error err = {0};
    struct mm_https_options options = {.ca_file = "/nowhere/ca.pem"};
    assert_null(mm_https_new(&options, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, "/nowhere/ca.pem"));
}

static void a_file_that_holds_no_certificate_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *no_ca =
        client((struct mm_https_options){.ca_file = peer_file("leaf.cnf")});
    assert_fails(no_ca, peer_url("/echo"), MM_FILE);
    mm_cleanup(mm_https_free) struct mm_https *no_key = client(
        (struct mm_https_options){.certificate_file = peer_file("client.pem"), .key_file = peer_file("server.key")});
    assert_fails(no_key, peer_url("/echo"), MM_FILE);
}

static void a_certificate_without_its_key_is_refused(void **state)
{
    (void)state;
    struct mm_error err = {0};
    struct mm_https_options options = {.certificate_file = peer_file("client.pem")};
    assert_null(mm_https_new(&options, &err));
    assert_int_equal(err.code, MM_USAGE);
}

/* libcurl by itself sends a request again when a kept connection ends without an answer: a second token nobody knows of. */
static void a_post_is_sent_once_even_after_a_kept_connection(void **state)
{
    (void)state;
    struct mm_error err = {0};
    struct mm_https_response response = {0};
    peer_script("[{\"hangup\": true}]");
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    for (int i = 0; i < 2; i++) {
        mm_cleanup(json_decref) json_t *seen = echo(https, NULL);
        assert_non_null(seen);
        err = (struct mm_error){0};
        assert_false(mm_https_post_json(https, peer_url("/v1/service-tokens"), "{}", &response, &err));
        assert_int_equal(err.code, MM_UNREACHABLE);
        assert_false(mm_https_is_unsent(https));
    }
    assert_int_equal(peer_n_requests(), 2);
}

static void what_was_never_sent_is_told_apart(void **state)
{
    (void)state;
    char other_name[64];
    (void)snprintf(other_name, sizeof other_name, "https://127.0.0.1:%s/echo", peer_port());
    const struct {
        const char *url;
        bool is_unsent;
    } cases[] = {
        {"https://localhost:1/", true},
        {"https://name.invalid/", true},
        {other_name, false}, /* unsent, but no other try will end otherwise */
        {"http://localhost/", false},
    };
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){.total_timeout_ms = 5000});
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        struct mm_https_response response = {0};
        assert_false(mm_https_get(https, cases[i].url, &response, NULL));
        assert_int_equal(mm_https_is_unsent(https), cases[i].is_unsent);
    }
    peer_drop(1);
    assert_fails(https, peer_url("/echo"), MM_UNREACHABLE);
    assert_true(mm_https_is_unsent(https));
    assert_fails(https, peer_url("/cut"), MM_UNREACHABLE);
    assert_false(mm_https_is_unsent(https));
}

static struct mm_https *client_with_encrypted_key(const struct mm_secret *passphrase)
{
    return client((struct mm_https_options){.certificate_file = peer_file("client.pem"),
                                            .key_file = peer_file("encrypted.key"),
                                            .key_passphrase = passphrase});
}

static void an_encrypted_key_needs_its_passphrase_and_never_asks_for_it(void **state)
{
    (void)state;
    mm_cleanup(mm_secret_free) struct mm_secret *right = mm_secret_new(PEER_PASSPHRASE, strlen(PEER_PASSPHRASE), NULL);
    mm_cleanup(mm_secret_free) struct mm_secret *wrong = mm_secret_new("nonsense", 8, NULL);
    mm_cleanup(mm_https_free) struct mm_https *https = client_with_encrypted_key(right);
    mm_cleanup(json_decref) json_t *seen = echo(https, NULL);
    assert_true(json_is_true(json_object_get(seen, "has_certificate")));
    mm_cleanup(mm_https_free) struct mm_https *refused = client_with_encrypted_key(wrong);
    assert_fails(refused, peer_url("/echo"), MM_FILE);
    mm_cleanup(mm_https_free) struct mm_https *without = client_with_encrypted_key(NULL);
    assert_fails(without, peer_url("/echo"), MM_FILE);
}

static int64_t retry_after_of(struct mm_https *https, const char *value)
{
    char script[256];
    (void)snprintf(script, sizeof script, "[{\"status\": 503, \"headers\": {\"Retry-After\": \"%s\"}}]", value);
    peer_script(script);
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    assert_true(mm_https_post_json(https, peer_url("/v1/service-tokens"), "{}", &response, NULL));
    assert_int_equal(response.status, 503);
    return response.retry_after_seconds;
}

static void retry_after_is_read_as_seconds_and_as_a_date(void **state)
{
    (void)state;
    char date[64];
    time_t soon = time(NULL) + 100;
    struct tm parts;
    assert_non_null(gmtime_r(&soon, &parts));
    assert_true(strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts) > 0);
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){0});
    assert_int_equal(retry_after_of(https, "7"), 7);
    assert_in_range(retry_after_of(https, date), 90, 100);
    assert_int_equal(retry_after_of(https, "Sun, 06 Nov 1994 08:49:37 GMT"), 0);
    assert_int_equal(retry_after_of(https, "-5"), 0);
    assert_int_equal(retry_after_of(https, "soon"), 0);
    /* of the answer before, nothing is left */
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    assert_true(mm_https_get(https, peer_url("/empty"), &response, NULL));
    assert_int_equal(response.retry_after_seconds, 0);
}

static bool is_cancelled(void *context)
{
    (void)context;
    return true;
}

static void a_request_can_be_cancelled(void **state)
{
    (void)state;
    mm_cleanup(mm_https_free) struct mm_https *https = client((struct mm_https_options){.is_cancelled = is_cancelled});
    int64_t start = mm_monotonic_ns();
    assert_fails(https, peer_url("/silent"), MM_UNREACHABLE);
    assert_true(mm_monotonic_ns() - start < 5000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_arrives_with_its_body_and_the_client_certificate),
        cmocka_unit_test(a_get_after_a_post_carries_no_body),
        cmocka_unit_test(a_bearer_token_goes_with_each_request),
        cmocka_unit_test(a_bearer_token_that_could_end_its_header_is_refused),
        cmocka_unit_test(a_refusal_is_an_answer_not_a_failure),
        cmocka_unit_test(an_empty_answer_is_an_empty_string),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(an_answer_past_the_cap_is_refused),
        cmocka_unit_test(a_slow_answer_ends_at_the_deadline),
        cmocka_unit_test(an_answer_cut_short_is_refused),
        cmocka_unit_test(a_server_of_another_ca_is_refused),
        cmocka_unit_test(a_server_of_another_name_is_refused),
        cmocka_unit_test(tls_1_1_is_refused),
        cmocka_unit_test(a_server_with_more_certificates_than_it_needs_is_refused),
        cmocka_unit_test(nobody_listening_is_unreachable),
        cmocka_unit_test(only_https_urls_without_credentials_are_used),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_file_that_holds_no_certificate_is_refused),
        cmocka_unit_test(a_certificate_without_its_key_is_refused),
        cmocka_unit_test(a_post_is_sent_once_even_after_a_kept_connection),
        cmocka_unit_test(what_was_never_sent_is_told_apart),
        cmocka_unit_test(an_encrypted_key_needs_its_passphrase_and_never_asks_for_it),
        cmocka_unit_test(retry_after_is_read_as_seconds_and_as_a_date),
        cmocka_unit_test(a_request_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, peer_start, peer_stop);
}
