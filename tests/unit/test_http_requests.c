/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as clients and attackers send them, byte for byte, over real TLS.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fake_mint.h"
#include "tls_client.h"
#include "util/clock.h"

enum { PATIENCE_MS = 15000 };

#define TOKENS "POST /v1/service-tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
#define HEALTH "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

static struct fake_mint mint;

static int open_mint(void **state)
{
    (void)state;
    fake_mint_open(&mint);
    fake_mint_start(&mint);
    return 0;
}

static int close_mint(void **state)
{
    (void)state;
    fake_mint_close(&mint);
    return 0;
}

static struct tls_client *connect_client(void)
{
    struct tls_client *client = tls_client_open(mint.port, mint.client_certificate, mint.client_key);
    assert_non_null(client);
    return client;
}

/* A request for a token with these further header fields and body. */
static char *token_request(const char *fields, const char *body)
{
    char *text;
    assert_true(asprintf(&text, TOKENS "%sContent-Length: %zu\r\n\r\n%s", fields, strlen(body), body) > 0);
    return text;
}

static void send_text(struct tls_client *client, const char *text)
{
    assert_true(tls_client_send_text(client, text));
}

static struct http_reply next_reply(struct tls_client *client)
{
    return tls_client_reply(client, HTTP_WITH_BODY, PATIENCE_MS);
}

static void expect_problem(struct tls_client *client, int status, const char *code)
{
    struct http_reply reply = next_reply(client);
    assert_int_equal(reply.status, status);
    char member[64];
    (void)snprintf(member, sizeof member, "\"code\":\"%s\"", code);
    if (!strstr(reply.body, member))
        fail_msg("%s", reply.body);
    assert_string_equal(http_reply_header(&reply, "Content-Type"), "application/problem+json");
    assert_string_equal(http_reply_header(&reply, "Cache-Control"), "no-store");
}

/* The very first request of a connection gets this problem, the connection is closed, and nothing after it is answered. */
static void expect_refused_and_closed(const void *data, size_t length)
{
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    (void)tls_client_send(client, data, length);
    (void)tls_client_send_text(client, HEALTH);
    expect_problem(client, 400, "invalid_request");
    assert_true(tls_client_is_closed(client, PATIENCE_MS));
}

static void expect_text_refused_and_closed(const char *text)
{
    expect_refused_and_closed(text, strlen(text));
}

/* As above, but the library may answer with its own page, or close without one. */
static void expect_no_success(const void *data, size_t length)
{
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    (void)tls_client_send(client, data, length);
    (void)tls_client_send_text(client, HEALTH);
    struct http_reply reply = next_reply(client);
    if (reply.status != 0 && (reply.status < 400 || reply.status >= 600))
        fail_msg("status %d: %.*s", reply.status, (int)length, (const char *)data);
    assert_int_equal(next_reply(client).status, 0);
}

static void a_good_request_gets_a_token(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    mm_cleanup(free) char *text = token_request("", FAKE_REQUEST);
    send_text(client, text);
    struct http_reply reply = next_reply(client);
    assert_int_equal(reply.status, 201);
    assert_string_equal(reply.body,
                        "{\"service_token\":\"header.payload.signature\",\"token_type\":\"Bearer\","
                        "\"expires_at\":1800000300,\"expires_in\":300,\"token_id\":\"0123456789abcdefABCDEF\","
                        "\"tenant_id\":\"acme\",\"account\":\"acme/ci-build\",\"scopes\":[\"read:repo\"],"
                        "\"resources\":[{\"resource_id\":\"urc-1\",\"permission\":[\"read\"]}],"
                        "\"audience\":[\"lore.acme.example\"]}");
    assert_string_equal(http_reply_header(&reply, "Cache-Control"), "no-store");
    assert_string_equal(http_reply_header(&reply, "Content-Type"), "application/json");
    assert_string_equal(http_reply_header(&reply, "X-Content-Type-Options"), "nosniff");
    assert_int_equal(strlen(http_reply_header(&reply, "X-Request-Id")), MM_REQUEST_ID_LENGTH);
}

static void an_incoming_request_id_is_not_taken_over(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    mm_cleanup(free) char *text = token_request("X-Request-Id: mine\r\n", "{");
    send_text(client, text);
    struct http_reply reply = next_reply(client);
    assert_string_not_equal(http_reply_header(&reply, "X-Request-Id"), "mine");
    assert_non_null(strstr(reply.body, http_reply_header(&reply, "X-Request-Id")));
}

static void content_length_with_transfer_encoding_is_refused_and_closed(void **state)
{
    (void)state;
    expect_text_refused_and_closed(TOKENS "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HEALTH);
    expect_text_refused_and_closed(TOKENS "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" HEALTH);
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HEALTH);
}

static void repeated_framing_fields_are_refused_and_closed(void **state)
{
    (void)state;
    expect_text_refused_and_closed(TOKENS "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" HEALTH);
    expect_text_refused_and_closed(TOKENS "Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello" HEALTH);
    expect_text_refused_and_closed(TOKENS "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    expect_text_refused_and_closed(TOKENS "Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
}

static void unusual_framing_is_refused(void **state)
{
    (void)state;
    static const char *const FIELDS[] = {
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x10",
        "Content-Length: 5, 5",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 5 6",
        "Content-Length:",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(FIELDS); i++) {
        mm_cleanup(free) char *text = NULL;
        assert_true(asprintf(&text, TOKENS "%s\r\n\r\n0\r\n\r\n" HEALTH, FIELDS[i]) > 0);
        print_message("%s\n", FIELDS[i]);
        expect_no_success(text, strlen(text));
    }
}

static void an_encoded_nul_in_a_target_is_refused_and_closed(void **state)
{
    (void)state;
    expect_text_refused_and_closed("GET /healthz%00 HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text_refused_and_closed("GET /healthz%00/x HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text_refused_and_closed("GET /healthz?a=%00 HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text_refused_and_closed("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n");
}

static void a_raw_nul_in_a_target_is_refused_and_closed(void **state)
{
    (void)state;
    static const char INSIDE[] = "GET /healthz\0/x HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char AT_END[] = "GET /healthz\0 HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char IN_QUERY[] = "GET /healthz?a\0b HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char FIRST[] = "GET \0/healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    expect_refused_and_closed(INSIDE, sizeof INSIDE - 1);
    expect_refused_and_closed(AT_END, sizeof AT_END - 1);
    expect_refused_and_closed(IN_QUERY, sizeof IN_QUERY - 1);
    expect_refused_and_closed(FIRST, sizeof FIRST - 1);
}

static void a_nul_in_a_field_is_not_cut_silently(void **state)
{
    (void)state;
    static const char VALUE[] = "GET /healthz HTTP/1.1\r\nHost: x\0y\r\n\r\n";
    static const char NAME[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nX\0Y: z\r\n\r\n";
    static const char VERSION[] = "GET /healthz HTTP/1.1\0\r\nHost: x\r\n\r\n";
    static const char LAST[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n";
    print_message("value\n");
    expect_no_success(VALUE, sizeof VALUE - 1);
    print_message("name\n");
    expect_no_success(NAME, sizeof NAME - 1);
    print_message("version\n");
    expect_no_success(VERSION, sizeof VERSION - 1);
    print_message("last\n");
    expect_no_success(LAST, sizeof LAST - 1);
}

static void lines_that_end_otherwise_than_others_read_them_are_refused(void **state)
{
    (void)state;
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n");
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\r\nHost: x\rContent-Length: 0\r\n\r\n");
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\nHost: x\r\n\r\n");
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\r\nHost: x\n\n");
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n");
}

static void unusual_but_valid_heads_are_read(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    static const char *const HEADS[] = {
        "GET /healthz HTTP/1.1\r\nHost:x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHOST:   x\r\nX-Empty:\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nX-Empty:   \r\nHost:\tx\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x  \r\nX-Empty:\r\nX-Same: 1\r\nX-Same: 2\r\nX-Colon: a:b: c\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=\"d\"; e\r\nAuthorization: Basic Og==\r\n\r\n",
        "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nX-Latin: \xe4\r\n\r\n",
        "GET /healthz?a=b&c=d%20e+f&g HTTP/1.1\r\nHost: x\r\n\r\n",
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
         "Content-Length: 3\r\n\r\na=b"),
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADS); i++) {
        send_text(client, HEADS[i]);
        int status = next_reply(client).status;
        if (status != (HEADS[i][0] == 'P' ? 405 : 200))
            fail_msg("%d: %s", status, HEADS[i]);
    }
}

static void http_1_0_is_served_and_closed(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, "GET /healthz HTTP/1.0\r\n\r\n");
    assert_int_equal(next_reply(client).status, 200);
    assert_true(tls_client_is_closed(client, PATIENCE_MS));
    expect_text_refused_and_closed("POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

static void nothing_is_decoded_or_normalised(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    static const char *const TARGETS[] = {"/health%7a", "//healthz", "/./healthz", "/healthz/", "/HEALTHZ", "*"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(TARGETS); i++) {
        mm_cleanup(free) char *text = NULL;
        assert_true(asprintf(&text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", TARGETS[i]) > 0);
        send_text(client, text);
        expect_problem(client, 404, "not_found");
    }
}

static void a_query_and_the_absolute_form_are_understood(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, "GET /healthz?a=b&c HTTP/1.1\r\nHost: x\r\n\r\n"
                      "GET https://mint.example.com/healthz HTTP/1.1\r\nHost: x\r\n\r\n"
                      "GET HTTPS://mint.example.com HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(next_reply(client).status, 200);
    assert_int_equal(next_reply(client).status, 200);
    assert_int_equal(next_reply(client).status, 404);
}

static void another_method_is_refused_and_the_right_one_named(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, "DELETE /v1/service-tokens HTTP/1.1\r\nHost: x\r\n\r\n");
    struct http_reply reply = next_reply(client);
    assert_int_equal(reply.status, 405);
    assert_string_equal(http_reply_header(&reply, "Allow"), "POST");
    send_text(client, "get /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    reply = next_reply(client);
    assert_int_equal(reply.status, 405);
    assert_string_equal(http_reply_header(&reply, "Allow"), "GET, HEAD");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    fake_answer_set(FAKE_ON_A_THREAD);
    mm_cleanup(free) char *token = token_request("", FAKE_REQUEST);
    mm_cleanup(free) char *bad = token_request("", "{");
    mm_cleanup(free) char *text = NULL;
    assert_true(asprintf(&text, HEALTH "%s%s%s" HEALTH, token, bad, token) > 0);
    send_text(client, text);
    static const int STATUSES[] = {200, 201, 400, 201, 200};
    for (size_t i = 0; i < MM_ARRAY_SIZE(STATUSES); i++)
        assert_int_equal(next_reply(client).status, STATUSES[i]);
}

static void a_body_that_is_too_large_is_refused_and_the_connection_stays_usable(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    const size_t size = 1024 * 1024;
    mm_cleanup(free) char *body = malloc(size + 1);
    memset(body, ' ', size);
    body[size] = '\0';
    mm_cleanup(free) char *text = token_request("", body);
    send_text(client, text);
    expect_problem(client, 413, "body_too_large");
    send_text(client, HEALTH);
    assert_int_equal(next_reply(client).status, 200);
}

static void a_body_at_the_cap_is_read_and_one_byte_more_is_not(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    mm_cleanup(free) char *body = malloc(65538);
    memset(body, ' ', 65537);
    body[65537] = '\0';
    mm_cleanup(free) char *over = token_request("", body);
    send_text(client, over);
    expect_problem(client, 413, "body_too_large");
    body[65536] = '\0';
    memcpy(body, FAKE_REQUEST, strlen(FAKE_REQUEST));
    mm_cleanup(free) char *at = token_request("", body);
    send_text(client, at);
    assert_int_equal(next_reply(client).status, 201);
}

/* How many chunks were sent before the peer closed. */
static size_t send_chunks(struct tls_client *client, size_t n, size_t size)
{
    mm_cleanup(free) char *chunk = malloc(size + 32);
    int head = snprintf(chunk, 16, "%zx\r\n", size);
    memset(chunk + head, ' ', size);
    memcpy(chunk + head + size, "\r\n", 2);
    size_t n_sent = 0;
    while (n_sent < n && tls_client_send(client, chunk, (size_t)head + size + 2))
        n_sent++;
    return n_sent;
}

static void a_chunked_body_is_a_body(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, TOKENS "Transfer-Encoding: chunked\r\n\r\n");
    mm_cleanup(free) char *chunk = NULL;
    assert_true(asprintf(&chunk, "%zx\r\n%s\r\n0\r\n\r\n", strlen(FAKE_REQUEST), FAKE_REQUEST) > 0);
    send_text(client, chunk);
    assert_int_equal(next_reply(client).status, 201);
    assert_true(tls_client_is_closed(client, PATIENCE_MS));
}

static void a_chunked_body_over_the_cap_is_refused(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, TOKENS "Transfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(send_chunks(client, 20, 16384), 20);
    send_text(client, "0\r\n\r\n");
    expect_problem(client, 413, "body_too_large");
    assert_true(tls_client_is_closed(client, PATIENCE_MS));
}

static void an_endless_chunked_body_is_cut(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, TOKENS "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(send_chunks(client, 1000, 16384) < 1000);
    assert_true(tls_client_is_closed(client, PATIENCE_MS));
}

static void an_expected_continue_is_answered_before_a_body_that_is_too_large(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, TOKENS "Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n");
    expect_problem(client, 413, "body_too_large");
    assert_true(tls_client_is_closed(client, PATIENCE_MS));
}

static void an_expected_continue_comes_before_a_good_body(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    mm_cleanup(free) char *text = NULL;
    assert_true(asprintf(&text, TOKENS "Expect: 100-continue\r\nContent-Length: %zu\r\n\r\n", strlen(FAKE_REQUEST)) >
                0);
    send_text(client, text);
    assert_int_equal(next_reply(client).status, 100);
    send_text(client, FAKE_REQUEST);
    assert_int_equal(next_reply(client).status, 201);
}

static void an_announced_body_that_is_not_worth_reading_is_refused_at_once(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, TOKENS "Content-Length: 100000000\r\n\r\n");
    expect_problem(client, 413, "body_too_large");
    assert_true(tls_client_is_closed(client, PATIENCE_MS));
}

static void headers_over_the_limit_are_refused(void **state)
{
    (void)state;
    char field[256];
    memset(field, 'a', sizeof field);
    for (size_t n = 20; n < 200; n += 10) {
        mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
        bool is_sent = tls_client_send_text(client, "GET /healthz HTTP/1.1\r\nHost: x\r\n");
        for (size_t i = 0; i < n && is_sent; i++) {
            char line[256];
            (void)snprintf(line, sizeof line, "X-%zu: %.*s\r\n", i, 190, field);
            is_sent = tls_client_send_text(client, line);
        }
        (void)tls_client_send_text(client, "\r\n");
        struct http_reply reply = next_reply(client);
        print_message("%zu fields: %d\n", n, reply.status);
        if (n * 198 < 8192)
            assert_int_equal(reply.status, 200);
        else
            assert_true(reply.status == 431 || reply.status == 0);
    }
}

static void one_long_field_just_under_the_limit_is_read(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    mm_cleanup(free) char *field = malloc(8001);
    memset(field, 'a', 8000);
    field[8000] = '\0';
    mm_cleanup(free) char *text = NULL;
    assert_true(asprintf(&text, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", field) > 0);
    send_text(client, text);
    assert_int_equal(next_reply(client).status, 200);
}

static void a_request_without_a_host_is_refused_and_closed(void **state)
{
    (void)state;
    expect_text_refused_and_closed("GET /healthz HTTP/1.1\r\n\r\n");
}

static void garbage_is_refused_or_cut(void **state)
{
    (void)state;
    static const char *const GARBAGE[] = {
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /healthz\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
        "GET /healthz HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /healthz x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /h\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n",
        " GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(GARBAGE); i++) {
        print_message("%zu\n", i);
        expect_no_success(GARBAGE[i], strlen(GARBAGE[i]));
    }
}

static void callers_who_are_nobody_here_are_told_alike(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *stranger =
        tls_client_open(mint.port, mint.stranger_certificate, mint.stranger_key);
    mm_cleanup(tls_client_close) struct tls_client *known = connect_client();
    mm_cleanup(free) char *foreign = token_request("", FAKE_REQUEST);
    mm_cleanup(free) char *unknown = token_request("", "{\"tenant_id\":\"globex\",\"scopes\":[\"read:repo\"]}");
    send_text(stranger, foreign);
    send_text(known, unknown);
    struct http_reply first = next_reply(stranger);
    struct http_reply second = next_reply(known);
    assert_int_equal(first.status, 403);
    assert_int_equal(second.status, 403);
    /* Down to the length: only the request id differs. */
    char *first_id = strstr(first.body, "\"request_id\"");
    char *second_id = strstr(second.body, "\"request_id\"");
    assert_non_null(first_id);
    assert_non_null(second_id);
    assert_int_equal(strlen(first.body), strlen(second.body));
    *first_id = *second_id = '\0';
    assert_string_equal(first.body, second.body);
}

static void no_certificate_is_a_401_with_a_challenge(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = tls_client_open(mint.port, NULL, NULL);
    assert_non_null(client);
    mm_cleanup(free) char *text = token_request("", FAKE_REQUEST);
    send_text(client, text);
    struct http_reply reply = next_reply(client);
    assert_int_equal(reply.status, 401);
    assert_non_null(strstr(reply.body, "\"certificate_required\""));
    assert_string_equal(http_reply_header(&reply, "WWW-Authenticate"), "TLS-Client-Certificate");
}

static void refusals_and_failures_of_the_issuer_are_told_without_their_cause(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    mm_cleanup(free) char *text = token_request("", FAKE_REQUEST);
    fake_answer_set(FAKE_REFUSE);
    send_text(client, text);
    struct http_reply reply = next_reply(client);
    assert_int_equal(reply.status, 403);
    assert_non_null(strstr(reply.body, "\"scope_not_granted\""));
    assert_null(strstr(reply.body, "secret-name"));
    fake_answer_set(FAKE_FAIL);
    send_text(client, text);
    reply = next_reply(client);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"hsm_unavailable\""));
    assert_null(strstr(reply.body, "CKR_DEVICE_REMOVED"));
    assert_string_equal(http_reply_header(&reply, "Retry-After"), "5");
}

#define FORM  "POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
#define GRANT "grant_type=client_credentials&scope=read:repo"

static struct http_reply ask_oauth(struct tls_client *client, const char *body)
{
    mm_cleanup(free) char *text = NULL;
    assert_true(asprintf(&text, FORM "Content-Length: %zu\r\n\r\n%s", strlen(body), body) > 0);
    send_text(client, text);
    return next_reply(client);
}

static void oauth_is_answered_in_its_own_form_whoever_answers(void **state)
{
    (void)state;
    static const struct {
        enum fake_answer how;
        int status;
        const char *body; /* its beginning */
    } CASES[] = {
        {FAKE_AT_ONCE, 200,
         "{\"access_token\":\"header.payload.signature\",\"token_type\":\"Bearer\",\"expires_in\":300,"
         "\"scope\":\"read:repo\"}"},
        {FAKE_ON_A_THREAD, 200, "{\"access_token\":"},
        {FAKE_REFUSE, 400, "{\"error\":\"invalid_scope\",\"error_description\":\"A scope is not granted"},
        {FAKE_FAIL, 503, "{\"error\":\"temporarily_unavailable\",\"error_description\":\"Tokens can't be signed"},
    };
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        fake_answer_set(CASES[i].how);
        struct http_reply reply = ask_oauth(client, GRANT);
        assert_int_equal(reply.status, CASES[i].status);
        if (strncmp(reply.body, CASES[i].body, strlen(CASES[i].body)) != 0)
            fail_msg("%s", reply.body);
        assert_string_equal(http_reply_header(&reply, "Content-Type"), "application/json");
        assert_string_equal(http_reply_header(&reply, "Cache-Control"), "no-store");
        assert_string_equal(http_reply_header(&reply, "Pragma"), "no-cache");
    }
}

static void the_only_tenant_need_not_be_named(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    assert_int_equal(ask_oauth(client, GRANT "&client_id=ci-build").status, 200);
    assert_int_equal(ask_oauth(client, GRANT "&client_id=acme%2Fci-build").status, 200);
    assert_int_equal(ask_oauth(client, GRANT "&client_id=deploy").status, 401);
}

static void another_media_type_is_refused(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, "POST /v1/service-tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    expect_problem(client, 415, "unsupported_media_type");
    send_text(client, "POST /v1/service-tokens HTTP/1.1\r\nHost: x\r\nContent-Type: text/json\r\nContent-Length: 2\r\n"
                      "\r\n{}");
    expect_problem(client, 415, "unsupported_media_type");
}

/* Send one byte every 100 ms; how long the connection lived, in ms. */
static int64_t drip(const char *start)
{
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, start);
    int64_t began = mm_monotonic_ns();
    for (int i = 0; i < 100; i++) {
        if (!tls_client_send_text(client, "a") || tls_client_is_closed(client, 100))
            return (mm_monotonic_ns() - began) / 1000000;
    }
    fail_msg("the connection is still open after 10 s");
    return 0;
}

static void dripped_headers_are_cut(void **state)
{
    (void)state;
    int64_t lived = drip("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    assert_in_range(lived, 1000, 4000);
    lived = drip("GET /heal");
    assert_in_range(lived, 1000, 4000);
}

static void a_dripped_body_is_cut(void **state)
{
    (void)state;
    int64_t lived = drip(TOKENS "Content-Length: 9999\r\n\r\n");
    assert_in_range(lived, 3000, 7000);
    lived = drip("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n");
    assert_in_range(lived, 3000, 7000);
}

static void dripped_headers_after_a_first_request_are_cut(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, HEALTH);
    assert_int_equal(next_reply(client).status, 200);
    send_text(client, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    int64_t began = mm_monotonic_ns();
    bool is_cut = false;
    for (int i = 0; i < 100 && !is_cut; i++)
        is_cut = !tls_client_send_text(client, "a") || tls_client_is_closed(client, 100);
    assert_true(is_cut);
    assert_in_range((mm_monotonic_ns() - began) / 1000000, 2000, 8000);
}

static void a_request_that_waits_for_its_token_is_not_cut(void **state)
{
    (void)state;
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    fake_answer_set(FAKE_HOLD);
    mm_cleanup(free) char *text = token_request("", FAKE_REQUEST);
    send_text(client, text);
    assert_true(fake_wait_held(1));
    (void)usleep(6 * 1000 * 1000); /* longer than every limit on the client */
    fake_release();
    assert_int_equal(next_reply(client).status, 201);
}

static void a_client_that_leaves_before_its_answer_harms_nobody(void **state)
{
    (void)state;
    fake_answer_set(FAKE_HOLD);
    mm_cleanup(free) char *text = token_request("", FAKE_REQUEST);
    for (int i = 0; i < 20; i++) {
        mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
        send_text(client, text);
        assert_true(fake_wait_held((size_t)i + 1));
    }
    fake_release();
    fake_answer_set(FAKE_AT_ONCE);
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    send_text(client, text);
    assert_int_equal(next_reply(client).status, 201);
}

#define REQUEST_TEST(name) cmocka_unit_test_setup_teardown(name, open_mint, close_mint)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(a_good_request_gets_a_token),
        REQUEST_TEST(an_incoming_request_id_is_not_taken_over),
        REQUEST_TEST(content_length_with_transfer_encoding_is_refused_and_closed),
        REQUEST_TEST(repeated_framing_fields_are_refused_and_closed),
        REQUEST_TEST(unusual_framing_is_refused),
        REQUEST_TEST(an_encoded_nul_in_a_target_is_refused_and_closed),
        REQUEST_TEST(a_raw_nul_in_a_target_is_refused_and_closed),
        REQUEST_TEST(a_nul_in_a_field_is_not_cut_silently),
        REQUEST_TEST(lines_that_end_otherwise_than_others_read_them_are_refused),
        REQUEST_TEST(unusual_but_valid_heads_are_read),
        REQUEST_TEST(http_1_0_is_served_and_closed),
        REQUEST_TEST(nothing_is_decoded_or_normalised),
        REQUEST_TEST(a_query_and_the_absolute_form_are_understood),
        REQUEST_TEST(another_method_is_refused_and_the_right_one_named),
        REQUEST_TEST(pipelined_requests_are_answered_in_order),
        REQUEST_TEST(a_body_that_is_too_large_is_refused_and_the_connection_stays_usable),
        REQUEST_TEST(a_body_at_the_cap_is_read_and_one_byte_more_is_not),
        REQUEST_TEST(a_chunked_body_is_a_body),
        REQUEST_TEST(a_chunked_body_over_the_cap_is_refused),
        REQUEST_TEST(an_endless_chunked_body_is_cut),
        REQUEST_TEST(an_expected_continue_is_answered_before_a_body_that_is_too_large),
        REQUEST_TEST(an_expected_continue_comes_before_a_good_body),
        REQUEST_TEST(an_announced_body_that_is_not_worth_reading_is_refused_at_once),
        REQUEST_TEST(headers_over_the_limit_are_refused),
        REQUEST_TEST(one_long_field_just_under_the_limit_is_read),
        REQUEST_TEST(a_request_without_a_host_is_refused_and_closed),
        REQUEST_TEST(garbage_is_refused_or_cut),
        REQUEST_TEST(callers_who_are_nobody_here_are_told_alike),
        REQUEST_TEST(no_certificate_is_a_401_with_a_challenge),
        REQUEST_TEST(refusals_and_failures_of_the_issuer_are_told_without_their_cause),
        REQUEST_TEST(oauth_is_answered_in_its_own_form_whoever_answers),
        REQUEST_TEST(the_only_tenant_need_not_be_named),
        REQUEST_TEST(another_media_type_is_refused),
        REQUEST_TEST(dripped_headers_are_cut),
        REQUEST_TEST(a_dripped_body_is_cut),
        REQUEST_TEST(dripped_headers_after_a_first_request_are_cut),
        REQUEST_TEST(a_request_that_waits_for_its_token_is_not_cut),
        REQUEST_TEST(a_client_that_leaves_before_its_answer_harms_nobody),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
