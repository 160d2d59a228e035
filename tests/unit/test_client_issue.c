/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmintmark's one call against a server that answers as it is told (tests/support/https_peer.py): what is asked again, what never
 * is, and how long that may take.
 */
#include "client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/service_token.h"
#include "peer.h"
#include "util/clock.h"

enum { DAY_MS = 24 * 3600 * 1000 };

static const char *const SCOPES[] = {"read:repo", "read:blob"};
static const struct mm_client_request REQUEST = {.size = sizeof REQUEST,
                                                 .tenant_id = "acme",
                                                 .scopes = SCOPES,
                                                 .n_scopes = MM_ARRAY_SIZE(SCOPES)};

static struct mm_client_options options_of(const char *url)
{
    return (struct mm_client_options){
        .size = sizeof(struct mm_client_options),
        .url = url,
        .ca_file = peer_file("ca.pem"),
        .certificate_file = peer_file("client.pem"),
        .key_file = peer_file("client.key"),
    };
}

static struct mm_client *open_client(const struct mm_client_options *options)
{
    struct mm_error err = {0};
    struct mm_client *client = mm_client_open(options, &err);
    assert_string_equal(err.message, "");
    assert_non_null(client);
    return client;
}

static struct mm_client *peer_client(void)
{
    struct mm_client_options options = options_of(peer_url(""));
    return open_client(&options);
}

/* A call that doesn't really wait: it notes what it would have. */
struct waits {
    int64_t ms[16];
    size_t n;
};

static bool note_wait(void *context, int64_t milliseconds)
{
    struct waits *waits = context;
    assert_true(waits->n < MM_ARRAY_SIZE(waits->ms));
    waits->ms[waits->n++] = milliseconds;
    return true;
}

static struct mm_service_token *call(const struct mm_client *client, struct waits *waits, struct mm_error *err)
{
    const struct mm_call call = {.wait = note_wait, .context = waits, .random = &MM_SYSTEM_RANDOM};
    struct mm_service_token *token = NULL;
    int64_t retry_after_ms;
    mm_cleanup(json_decref) json_t *body = mm_client_request_body(&REQUEST, NULL);
    *err = (struct mm_error){0};
    bool is_issued = mm_client_call(client, body, &call, &token, &retry_after_ms, err);
    assert_int_equal(is_issued, token != NULL);
    return token;
}

/* The script leads to failure `code` after exactly so many requests. */
static void assert_ends(const char *script, enum mm_code code, size_t n_requests)
{
    struct waits waits = {0};
    struct mm_error err;
    mm_cleanup(mm_client_close) struct mm_client *client = peer_client();
    peer_script(script);
    mm_service_token_unref(call(client, &waits, &err));
    if (err.code != code || peer_n_requests() != n_requests || waits.n != n_requests - 1)
        fail_msg("%s: %d %s, %zu requests", script, (int)err.code, err.message, peer_n_requests());
}

static void a_request_says_what_was_asked_and_no_more(void **state)
{
    (void)state;
    mm_cleanup(mm_client_close) struct mm_client *client = peer_client();
    struct mm_client_request request = REQUEST;
    struct mm_error err = {0};
    peer_script("[{}]");
    struct mm_service_token *token = NULL;
    assert_true(mm_client_issue_service_token(client, &request, &token, &err));
    assert_string_equal(token->token_id, "token-1");
    mm_service_token_unref(token);
    mm_cleanup(json_decref) json_t *body = peer_first_request();
    mm_cleanup(json_decref) json_t *expected =
        json_pack("{ss s[ss]}", "tenant_id", "acme", "scopes", "read:repo", "read:blob");
    assert_true(json_equal(body, expected));

    request.resource_id = "urc-7";
    request.audience = "cache";
    request.ttl_seconds = 60;
    request.certificate_bound = true;
    peer_script("[{}]");
    assert_true(mm_client_issue_service_token(client, &request, &token, &err));
    mm_service_token_unref(token);
    mm_cleanup(json_decref) json_t *full = peer_first_request();
    (void)json_object_update_new(expected, json_pack("{ss ss si sb}", "resource_id", "urc-7", "audience", "cache",
                                                     "ttl_seconds", 60, "certificate_bound", 1));
    assert_true(json_equal(full, expected));
}

static void what_was_not_served_is_asked_again(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    mm_cleanup(mm_client_close) struct mm_client *client = peer_client();
    peer_script("[{\"status\": 503}, {\"status\": 429}, {\"status\": 503}, {}]");
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(client, &waits, &err);
    assert_string_equal(token->token_id, "token-4");
    assert_int_equal(err.code, MM_OK);
    assert_int_equal(waits.n, 3);
    for (int i = 0; i < 3; i++)
        assert_in_range(waits.ms[i], 0, 200 << i);
}

static void five_attempts_are_made_by_default(void **state)
{
    (void)state;
    assert_ends("[{\"status\": 503, \"type\": \"application/problem+json\","
                " \"text\": \"{\\\"code\\\": \\\"hsm_unavailable\\\"}\"}]",
                MM_HSM_UNAVAILABLE, 5);
}

static void max_attempts_is_obeyed(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    struct mm_client_options options = options_of(peer_url("/"));
    options.max_attempts = 1;
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    peer_script("[{\"status\": 503}]");
    assert_null(call(client, &waits, &err));
    assert_int_equal(peer_n_requests(), 1);
}

/* Each of these may hide a token that was issued, or won't change. */
static void nothing_else_is_asked_again(void **state)
{
    (void)state;
    assert_ends("[{\"hangup\": true}]", MM_UNREACHABLE, 1);
    assert_ends("[{\"set\": {\"service_token\": null}}]", MM_UNREACHABLE, 1);
    assert_ends("[{\"status\": 201, \"type\": \"application/json\", \"text\": \"garbage\"}]", MM_UNREACHABLE, 1);
    assert_ends("[{\"status\": 302, \"headers\": {\"Location\": \"/v1/service-tokens\"}}]", MM_UNREACHABLE, 1);
    static const unsigned STATUSES[] = {200, 400, 401, 403, 404, 408, 500, 502, 504};
    for (size_t i = 0; i < MM_ARRAY_SIZE(STATUSES); i++) {
        char script[64];
        (void)snprintf(script, sizeof script, "[{\"status\": %u}]", STATUSES[i]);
        assert_ends(script, STATUSES[i] / 100 == 4 ? MM_INVALID_REQUEST : MM_UNREACHABLE, 1);
    }
    /* Retry-After makes no difference to that. */
    assert_ends("[{\"status\": 500, \"headers\": {\"Retry-After\": \"0\"}}]", MM_UNREACHABLE, 1);
}

static void an_oversized_answer_is_refused_and_not_asked_for_again(void **state)
{
    (void)state;
    assert_ends("[{\"pad\": 100000}]", MM_UNREACHABLE, 1);
    assert_ends("[{\"pad\": 60000}]", MM_OK, 1);
}

static void a_connection_that_is_not_made_is_tried_again(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    mm_cleanup(mm_client_close) struct mm_client *client = peer_client();
    peer_script("[{}]");
    peer_drop(3);
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(client, &waits, &err);
    assert_non_null(token);
    assert_int_equal(waits.n, 3);
    assert_int_equal(peer_n_requests(), 1);

    struct mm_client_options nobody = options_of("https://localhost:1");
    mm_cleanup(mm_client_close) struct mm_client *hopeless = open_client(&nobody);
    assert_null(call(hopeless, &waits, &err));
    assert_int_equal(err.code, MM_UNREACHABLE);
    assert_int_equal(waits.n, 3 + 4);
}

static void a_server_that_is_not_trusted_is_not_tried_again(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    char url[64];
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%s", peer_port());
    peer_script("[{}]");
    struct mm_client_options options = options_of(url);
    mm_cleanup(mm_client_close) struct mm_client *other_name = open_client(&options);
    assert_null(call(other_name, &waits, &err));
    assert_int_equal(err.code, MM_UNREACHABLE);

    options = options_of(peer_url(""));
    options.ca_file = peer_file("other.pem");
    mm_cleanup(mm_client_close) struct mm_client *other_ca = open_client(&options);
    assert_null(call(other_ca, &waits, &err));
    assert_int_equal(err.code, MM_UNREACHABLE);
    assert_int_equal(waits.n, 0);
    assert_int_equal(peer_n_requests(), 0);
}

static void retry_after_is_waited_for_with_jitter_on_top(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    mm_cleanup(mm_client_close) struct mm_client *client = peer_client();
    peer_script("[{\"status\": 503, \"headers\": {\"Retry-After\": \"5\"}}, {}]");
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(client, &waits, &err);
    assert_non_null(token);
    assert_int_equal(waits.n, 1);
    assert_in_range(waits.ms[0], 5000, 5200);
}

static void a_wait_past_the_time_out_is_not_begun(void **state)
{
    (void)state;
    struct mm_client_options options = options_of(peer_url(""));
    options.total_timeout_ms = 2000;
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    struct mm_service_token *token = NULL;
    struct mm_error err = {0};
    peer_script("[{\"status\": 503, \"headers\": {\"Retry-After\": \"9999999999999\"}}]");
    int64_t start = mm_monotonic_ns();
    assert_false(mm_client_issue_service_token(client, &REQUEST, &token, &err));
    assert_true(mm_monotonic_ns() - start < 1900000000);
    assert_int_equal(err.code, MM_UNREACHABLE);
    assert_null(token);
}

/* Really waited for, in all of one call. */
static void time_outs_bound_the_whole_call(void **state)
{
    (void)state;
    static const char *const SCRIPTS[] = {"[{\"delay\": 30}]", "[{\"drip\": 0.1}]",
                                          "[{\"status\": 503, \"headers\": {\"Retry-After\": \"1\"}}]"};
    struct mm_client_options options = options_of(peer_url(""));
    options.total_timeout_ms = 1500;
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    for (size_t i = 0; i < MM_ARRAY_SIZE(SCRIPTS); i++) {
        peer_script(SCRIPTS[i]);
        struct mm_service_token *token = NULL;
        struct mm_error err = {0};
        int64_t start = mm_monotonic_ns();
        assert_false(mm_client_issue_service_token(client, &REQUEST, &token, &err));
        assert_in_range((mm_monotonic_ns() - start) / 1000000, 900, 3000);
        assert_int_equal(err.code, MM_UNREACHABLE);
        /* A slow answer is waited for once; after Retry-After there is time for one more. */
        assert_in_range(peer_n_requests(), 1, i == 2 ? 2 : 1);
    }
}

struct failures {
    size_t n;
    char text[512];
};

static void note_failure(void *context, const struct mm_client_failure *failure)
{
    struct failures *failures = context;
    failures->n++;
    size_t used = strlen(failures->text);
    (void)snprintf(failures->text + used, sizeof failures->text - used, "%u %u %s %s %s %d;", failure->attempt,
                   failure->status, failure->code ? failure->code : "-", failure->detail ? failure->detail : "-",
                   failure->request_id ? failure->request_id : "-", failure->retry_in_ms >= 0);
    assert_int_not_equal(failure->error->code, MM_OK);
}

static void each_failure_is_told(void **state)
{
    (void)state;
    struct failures failures = {0};
    struct waits waits = {0};
    struct mm_error err;
    struct mm_client_options options = options_of(peer_url(""));
    options.on_failure = note_failure;
    options.context = &failures;
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    peer_script(
        "[{\"status\": 503}, {\"status\": 403, \"type\": \"application/problem+json\", \"text\":"
        " \"{\\\"code\\\": \\\"access_denied\\\", \\\"detail\\\": \\\"No.\\\", \\\"request_id\\\": \\\"r1\\\"}\"}]");
    peer_drop(1);
    assert_null(call(client, &waits, &err));
    assert_string_equal(failures.text, "1 0 - - - 1;2 503 - - - 1;3 403 access_denied No. r1 0;");
    assert_int_equal(err.code, MM_ACCESS_DENIED);
    assert_string_equal(err.message, "access_denied: No. (request r1)");
}

static bool refuse_to_wait(void *context, int64_t milliseconds)
{
    (void)context, (void)milliseconds;
    return false;
}

static void a_call_that_is_cancelled_gives_the_last_failure(void **state)
{
    (void)state;
    const struct mm_call call = {.wait = refuse_to_wait, .random = &MM_SYSTEM_RANDOM};
    struct mm_error err = {0};
    struct mm_service_token *token = NULL;
    int64_t retry_after_ms = 0;
    mm_cleanup(json_decref) json_t *body = mm_client_request_body(&REQUEST, NULL);
    mm_cleanup(mm_client_close) struct mm_client *client = peer_client();
    peer_script("[{\"status\": 429, \"headers\": {\"Retry-After\": \"3\"}}]");
    assert_false(mm_client_call(client, body, &call, &token, &retry_after_ms, &err));
    assert_int_equal(err.code, MM_OVERLOADED);
    assert_int_equal(retry_after_ms, 3000);
    assert_int_equal(peer_n_requests(), 1);
}

static void a_url_holds_host_and_port_and_no_more(void **state)
{
    (void)state;
    static const char *const GOOD[] = {"https://localhost", "https://localhost/", "HTTPS://localhost:8443",
                                       "https://[::1]:8443/"};
    static const char *const BAD[] = {"",
                                      "localhost",
                                      "http://localhost",
                                      "https://localhost/mint",
                                      "https://localhost//",
                                      "https://localhost/.",
                                      "https://localhost/a/..",
                                      "https://localhost\\mint",
                                      "https://localhost?",
                                      "https://localhost/?a",
                                      "https://localhost#",
                                      "https://localhost/#a",
                                      "https://user@localhost",
                                      "https://user:secret@localhost",
                                      "https://@localhost",
                                      "https://:@localhost",
                                      "https://localhost:99999"};
    char longest[5001];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(longest, "https://", 8);
    struct mm_client_options options = options_of(longest);
    struct mm_error err = {0};
    assert_null(mm_client_open(&options, &err));
    assert_int_equal(err.code, MM_USAGE);
    for (size_t i = 0; i < MM_ARRAY_SIZE(GOOD); i++) {
        options.url = GOOD[i];
        mm_client_close(open_client(&options));
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        options.url = BAD[i];
        err = (struct mm_error){0};
        if (mm_client_open(&options, &err))
            fail_msg("taken: %s", BAD[i]);
        assert_int_equal(err.code, MM_USAGE);
    }
}

static void options_that_cannot_work_are_refused(void **state)
{
    (void)state;
    const struct mm_client_options good = options_of(peer_url(""));
    struct mm_client_options bad[] = {good, good, good, good, good, good, good, good, good};
    bad[0].url = NULL;
    bad[1].certificate_file = NULL;
    bad[2].key_file = NULL;
    bad[3].total_timeout_ms = -1;
    bad[4].total_timeout_ms = DAY_MS + 1;
    bad[5].connect_timeout_ms = -1;
    bad[6].connect_timeout_ms = DAY_MS + 1;
    bad[7].max_attempts = 101;
    bad[8].size = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        struct mm_error err = {0};
        assert_null(mm_client_open(&bad[i], &err));
        assert_int_equal(err.code, MM_USAGE);
    }
    struct mm_client_options largest = good;
    largest.total_timeout_ms = largest.connect_timeout_ms = DAY_MS;
    largest.max_attempts = 100;
    mm_client_close(open_client(&largest));
    struct mm_client_options missing = good;
    missing.key_file = "/nowhere/client.key";
    struct mm_error err = {0};
    assert_null(mm_client_open(&missing, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, "/nowhere/client.key"));
}

static void requests_that_cannot_work_are_not_sent(void **state)
{
    (void)state;
    static const char *const MANY[MM_CLIENT_SCOPES_MAX + 1] = {"a:b"};
    static const char *const HOLE[] = {"a:b", NULL};
    static const char *const LATIN[] = {"\xe9:b"};
    struct mm_client_request bad[] = {REQUEST, REQUEST, REQUEST, REQUEST, REQUEST, REQUEST, REQUEST, REQUEST, REQUEST};
    bad[0].tenant_id = NULL;
    bad[1].n_scopes = 0;
    bad[2].scopes = MANY;
    bad[2].n_scopes = MM_ARRAY_SIZE(MANY);
    bad[3].scopes = HOLE;
    bad[4].scopes = LATIN;
    bad[4].n_scopes = 1;
    bad[5].ttl_seconds = -1;
    bad[6].tenant_id = "\xff";
    bad[7].size = offsetof(struct mm_client_request, certificate_bound) - 1;
    bad[8].scopes = NULL;
    mm_cleanup(mm_client_close) struct mm_client *client = peer_client();
    peer_script("[{}]");
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        struct mm_error err = {0};
        struct mm_service_token *token = NULL;
        assert_false(mm_client_issue_service_token(client, &bad[i], &token, &err));
        assert_int_equal(err.code, MM_USAGE);
    }
    assert_int_equal(peer_n_requests(), 0);
}

/* A caller's `err` may hold what went wrong before. */
static void an_error_tells_of_the_last_call_alone(void **state)
{
    (void)state;
    const struct mm_error before = {.code = MM_INTERNAL, .message = "long ago"};
    struct mm_client_options options = options_of(NULL);
    struct mm_error err = before;
    assert_null(mm_client_open(&options, &err));
    assert_int_equal(err.code, MM_USAGE);
    options.url = peer_url("");
    mm_cleanup(mm_client_close) struct mm_client *client = mm_client_open(&options, &err);
    assert_int_equal(err.code, MM_OK);
    assert_string_equal(err.message, "");

    struct mm_client_request incomplete = REQUEST;
    struct mm_service_token *token = NULL;
    incomplete.tenant_id = NULL;
    err = before;
    assert_false(mm_client_issue_service_token(client, &incomplete, &token, &err));
    assert_int_equal(err.code, MM_USAGE);
    peer_script("[{}]");
    assert_true(mm_client_issue_service_token(client, &REQUEST, &token, &err));
    assert_int_equal(err.code, MM_OK);
    mm_service_token_unref(token);

    err = before;
    assert_null(mm_token_source_open(client, &incomplete, &err));
    assert_int_equal(err.code, MM_USAGE);
    struct mm_token_source *source = mm_token_source_open(client, &REQUEST, &err);
    assert_int_equal(err.code, MM_OK);
    peer_script("[{\"status\": 403}]");
    err = before;
    assert_false(mm_token_source_get(source, &token, &err));
    assert_int_equal(err.code, MM_INVALID_REQUEST);
    mm_token_source_close(source);
    source = mm_token_source_open(client, &REQUEST, NULL);
    peer_script("[{}]");
    assert_true(mm_token_source_get(source, &token, &err));
    assert_int_equal(err.code, MM_OK);
    mm_service_token_unref(token);
    mm_token_source_close(source);
}

/* As a program built with a newer header calls this library. */
static void a_longer_struct_is_taken_unless_it_uses_what_is_new(void **state)
{
    (void)state;
    struct {
        struct mm_client_request known;
        const char *new_member;
    } longer = {.known = REQUEST};
    longer.known.size = sizeof longer;
    mm_cleanup(json_decref) json_t *body = mm_client_request_body(&longer.known, NULL);
    assert_non_null(body);
    longer.new_member = "used";
    struct mm_error err = {0};
    assert_null(mm_client_request_body(&longer.known, &err));
    assert_int_equal(err.code, MM_USAGE);
}

static void an_encrypted_key_works_with_its_passphrase(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    struct mm_client_options options = options_of(peer_url(""));
    options.key_file = peer_file("encrypted.key");
    mm_cleanup(mm_client_close) struct mm_client *without = open_client(&options);
    peer_script("[{}]");
    assert_null(call(without, &waits, &err));
    assert_int_equal(err.code, MM_FILE);
    options.key_passphrase = PEER_PASSPHRASE;
    options.url = peer_url("");
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(client, &waits, &err);
    assert_string_equal(err.message, "");
    assert_non_null(token);
    assert_int_equal(waits.n, 0);
}

/* --- with an OIDC token */

static const char OIDC_TOKENS[2][32] = {"eyJhIjoxfQ.e30.Zmlyc3Q", "eyJhIjoxfQ.e30.c2Vjb25k"};

/* Copied: peer_file() remembers few paths. */
static const char *token_path(void)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s", peer_file("oidc-token"));
    return path;
}

static void write_token(const char *path, const char *token)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "%s\n", token) > 0);
    assert_int_equal(fclose(file), 0);
}

static void assert_authorized_with(size_t request, const char *token)
{
    char expected[64];
    mm_cleanup(free) char *sent = peer_authorization(request);
    (void)snprintf(expected, sizeof expected, "%s%s", *token ? "Bearer " : "", token);
    assert_string_equal(sent, expected);
}

/* Without a certificate. */
static struct mm_client_options oidc_options(void)
{
    struct mm_client_options options = options_of(peer_url(""));
    options.certificate_file = options.key_file = NULL;
    return options;
}

static void a_token_file_is_sent_as_a_bearer_token_and_read_for_each_request(void **state)
{
    (void)state;
    const char *path = token_path();
    struct mm_client_options options = oidc_options();
    options.oidc_token_file = path;
    write_token(path, OIDC_TOKENS[0]);
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    peer_script("[{}]");
    for (size_t i = 0; i < 2; i++) {
        struct waits waits = {0};
        struct mm_error err;
        write_token(path, OIDC_TOKENS[i]);
        mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(client, &waits, &err);
        assert_string_equal(err.message, "");
        assert_non_null(token);
        assert_authorized_with(i, OIDC_TOKENS[i]);
    }
}

static void a_token_file_that_is_gone_or_spoilt_fails_the_call_and_names_it(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    const char *path = token_path();
    struct mm_client_options options = oidc_options();
    options.oidc_token_file = path;
    write_token(path, OIDC_TOKENS[0]);
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    peer_script("[{}]");
    write_token(path, "-----BEGIN PRIVATE KEY-----");
    assert_null(call(client, &waits, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_int_equal(unlink(path), 0);
    assert_null(call(client, &waits, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(waits.n + peer_n_requests(), 0);
    /* At the start it is found out, too. */
    options.url = peer_url("");
    assert_null(mm_client_open(&options, &err));
    assert_int_equal(err.code, MM_FILE);
}

struct giver {
    int n_asked;
    int64_t timeout_ms;
    const char *gives; /* NULL: fails */
    const char *why;
    enum mm_code code;
};

static bool give(void *context, int64_t timeout_ms, char *ret_token, size_t size, struct mm_error *err)
{
    struct giver *giver = context;
    giver->n_asked++;
    giver->timeout_ms = timeout_ms;
    if (!giver->gives) {
        err->code = giver->code;
        (void)snprintf(err->message, sizeof err->message, "%s", giver->why);
        return false;
    }
    assert_int_equal(size, MM_CLIENT_OIDC_TOKEN_MAX + 1);
    (void)snprintf(ret_token, size, "%s", giver->gives);
    return true;
}

static void a_program_gives_its_token_for_each_attempt(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    struct giver giver = {.gives = OIDC_TOKENS[0]};
    struct mm_client_options options = oidc_options();
    options.oidc_token = give;
    options.context = &giver;
    options.total_timeout_ms = 20000;
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    assert_int_equal(giver.n_asked, 0);
    peer_script("[{\"status\": 503}, {}]");
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(client, &waits, &err);
    assert_non_null(token);
    assert_int_equal(giver.n_asked, 2);
    assert_in_range(giver.timeout_ms, 1, 20000);
    assert_authorized_with(1, OIDC_TOKENS[0]);
}

static void a_program_without_a_token_fails_the_call_with_its_own_reason(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    struct giver giver = {.why = "the metadata service is away", .code = MM_OVERLOADED};
    struct mm_client_options options = oidc_options();
    options.oidc_token = give;
    options.context = &giver;
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    peer_script("[{}]");
    assert_null(call(client, &waits, &err));
    assert_int_equal(err.code, MM_OVERLOADED);
    assert_string_equal(err.message, "the metadata service is away");
    giver.code = MM_OK;
    giver.why = "";
    assert_null(call(client, &waits, &err));
    assert_int_equal(err.code, MM_USAGE);
    static const char *const BAD[] = {"", "secret", "eyJ.eyJ.c\r\nHost: a"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        giver.gives = BAD[i];
        assert_null(call(client, &waits, &err));
        assert_int_equal(err.code, MM_USAGE);
        assert_null(strstr(err.message, "secret"));
    }
    assert_int_equal(waits.n + peer_n_requests(), 0);
}

static void a_certificate_and_a_token_go_together_and_two_tokens_or_neither_do_not(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    const char *path = token_path();
    write_token(path, OIDC_TOKENS[0]);
    struct mm_client_options options = options_of(peer_url(""));
    options.oidc_token_file = path;
    mm_cleanup(mm_client_close) struct mm_client *both = open_client(&options);
    peer_script("[{}]");
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(both, &waits, &err);
    assert_non_null(token);
    assert_authorized_with(0, OIDC_TOKENS[0]);

    options.url = peer_url("");
    options.oidc_token = give;
    assert_null(mm_client_open(&options, &err));
    assert_int_equal(err.code, MM_USAGE);
    options = oidc_options();
    assert_null(mm_client_open(&options, &err));
    assert_int_equal(err.code, MM_USAGE);
}

/* A program built with the first header, whose struct ended with `context`. */
static void an_older_programs_options_are_taken(void **state)
{
    (void)state;
    struct waits waits = {0};
    struct mm_error err;
    struct mm_client_options options = options_of(peer_url(""));
    options.size = offsetof(struct mm_client_options, context) + sizeof options.context;
    options.oidc_token_file = "what lay behind it in memory";
    mm_cleanup(mm_client_close) struct mm_client *client = open_client(&options);
    peer_script("[{}]");
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = call(client, &waits, &err);
    assert_non_null(token);
    assert_authorized_with(0, "");
}

static void the_version_is_the_projects(void **state)
{
    (void)state;
    char version[32];
    (void)snprintf(version, sizeof version, "%u.%u.%u", mm_client_version() / 10000, mm_client_version() / 100 % 100,
                   mm_client_version() % 100);
    assert_string_equal(version, MM_VERSION);
    assert_string_equal(MM_CLIENT_VERSION, MM_VERSION);
    assert_int_equal(MM_CLIENT_VERSION_NUMBER, mm_client_version());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_says_what_was_asked_and_no_more),
        cmocka_unit_test(what_was_not_served_is_asked_again),
        cmocka_unit_test(five_attempts_are_made_by_default),
        cmocka_unit_test(max_attempts_is_obeyed),
        cmocka_unit_test(nothing_else_is_asked_again),
        cmocka_unit_test(an_oversized_answer_is_refused_and_not_asked_for_again),
        cmocka_unit_test(a_connection_that_is_not_made_is_tried_again),
        cmocka_unit_test(a_server_that_is_not_trusted_is_not_tried_again),
        cmocka_unit_test(retry_after_is_waited_for_with_jitter_on_top),
        cmocka_unit_test(a_wait_past_the_time_out_is_not_begun),
        cmocka_unit_test(time_outs_bound_the_whole_call),
        cmocka_unit_test(each_failure_is_told),
        cmocka_unit_test(a_call_that_is_cancelled_gives_the_last_failure),
        cmocka_unit_test(a_url_holds_host_and_port_and_no_more),
        cmocka_unit_test(options_that_cannot_work_are_refused),
        cmocka_unit_test(requests_that_cannot_work_are_not_sent),
        cmocka_unit_test(an_error_tells_of_the_last_call_alone),
        cmocka_unit_test(a_longer_struct_is_taken_unless_it_uses_what_is_new),
        cmocka_unit_test(an_encrypted_key_works_with_its_passphrase),
        cmocka_unit_test(a_token_file_is_sent_as_a_bearer_token_and_read_for_each_request),
        cmocka_unit_test(a_token_file_that_is_gone_or_spoilt_fails_the_call_and_names_it),
        cmocka_unit_test(a_program_gives_its_token_for_each_attempt),
        cmocka_unit_test(a_program_without_a_token_fails_the_call_with_its_own_reason),
        cmocka_unit_test(a_certificate_and_a_token_go_together_and_two_tokens_or_neither_do_not),
        cmocka_unit_test(an_older_programs_options_are_taken),
        cmocka_unit_test(the_version_is_the_projects),
    };
    return cmocka_run_group_tests(tests, peer_start, peer_stop);
}
