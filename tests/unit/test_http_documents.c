/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What anyone may read, as a verifier sees it over TLS.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fake_mint.h"
#include "tls_client.h"

enum { PATIENCE_MS = 15000 };

static const char JWKS[] = "/.well-known/jwks.json";

static struct fake_mint mint;
static struct tls_client *client;

static int open_mint(void **state)
{
    (void)state;
    fake_mint_open(&mint);
    fake_mint_start(&mint);
    client = tls_client_open(mint.port, NULL, NULL);
    return client ? 0 : -1;
}

static int close_mint(void **state)
{
    (void)state;
    tls_client_close(client);
    fake_mint_close(&mint);
    return 0;
}

static struct http_reply request(const char *method, const char *path, const char *fields, enum http_body body)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, path, fields);
    assert_true(tls_client_send_text(client, text));
    return tls_client_reply(client, body, PATIENCE_MS);
}

static json_t *get(const char *path, int status)
{
    struct http_reply reply = request("GET", path, "", HTTP_WITH_BODY);
    assert_int_equal(reply.status, status);
    assert_string_equal(http_reply_header(&reply, "Content-Type"), "application/json");
    json_t *body = mm_json_parse(reply.body, strlen(reply.body), NULL);
    assert_non_null(body);
    return body;
}

static void the_jwks_may_be_cached_and_revalidated(void **state)
{
    (void)state;
    struct http_reply first = request("GET", JWKS, "", HTTP_WITH_BODY);
    assert_int_equal(first.status, 200);
    assert_string_equal(http_reply_header(&first, "Cache-Control"), "public, max-age=300");
    char etag[64];
    (void)snprintf(etag, sizeof etag, "%s", http_reply_header(&first, "ETag"));
    char fields[128];
    (void)snprintf(fields, sizeof fields, "If-None-Match: \"other\", W/%s\r\n", etag);
    struct http_reply again = request("GET", JWKS, fields, HTTP_WITHOUT_BODY);
    assert_int_equal(again.status, 304);
    assert_string_equal(http_reply_header(&again, "ETag"), etag);
    assert_string_equal(http_reply_header(&again, "Cache-Control"), "public, max-age=300");
    assert_int_equal(request("GET", JWKS, "If-None-Match: \"other\"\r\n", HTTP_WITH_BODY).status, 200);
}

static void head_says_what_get_would_without_a_body(void **state)
{
    (void)state;
    struct http_reply whole = request("GET", JWKS, "", HTTP_WITH_BODY);
    struct http_reply head = request("HEAD", JWKS, "", HTTP_WITHOUT_BODY);
    assert_int_equal(head.status, 200);
    char length[32];
    (void)snprintf(length, sizeof length, "%s", http_reply_header(&whole, "Content-Length"));
    assert_string_equal(http_reply_header(&head, "Content-Length"), length);
    /* Nothing is left over: the next reply is where it should be. */
    assert_int_equal(request("GET", JWKS, "", HTTP_WITH_BODY).status, 200);
}

static void the_jwks_is_the_keyring(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *body = get(JWKS, 200);
    const json_t *keys = json_object_get(body, "keys");
    assert_int_equal(json_array_size(keys), 1);
    assert_string_equal(mm_json_string(json_array_get(keys, 0), "alg"), "ES256");
    assert_string_equal(mm_json_string(json_array_get(keys, 0), "kty"), "EC");
}

static void discovery_names_only_what_exists(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *openid = get("/.well-known/openid-configuration", 200);
    mm_cleanup(json_decref) json_t *oauth = get("/.well-known/oauth-authorization-server", 200);
    mm_cleanup(json_decref) json_t *expected_oauth =
        json_pack("{ss ss ss ss ss ss s[] s[s] s[s] s[s] s[s] sb}", "issuer", "https://mint.example.com", "jwks_uri",
                  "https://mint.example.com/.well-known/jwks.json", "token_endpoint",
                  "https://mint.example.com/oauth2/token", "authorization_endpoint",
                  "https://mint.example.com/oauth2/authorize", "revocation_endpoint",
                  "https://mint.example.com/oauth2/revoke", "introspection_endpoint",
                  "https://mint.example.com/oauth2/introspect", "response_types_supported", "grant_types_supported",
                  "client_credentials", "token_endpoint_auth_methods_supported", "tls_client_auth",
                  "revocation_endpoint_auth_methods_supported", "tls_client_auth",
                  "introspection_endpoint_auth_methods_supported", "tls_client_auth",
                  "tls_client_certificate_bound_access_tokens", 1);
    mm_cleanup(json_decref) json_t *expected_openid = json_deep_copy(expected_oauth);
    mm_cleanup(json_decref) json_t *more =
        json_pack("{s[s] s[s]}", "subject_types_supported", "public", "id_token_signing_alg_values_supported", "ES256");
    assert_int_equal(json_object_update(expected_openid, more), 0);
    assert_true(json_equal(oauth, expected_oauth));
    assert_true(json_equal(openid, expected_openid));
}

static void readiness_follows_the_hsm_and_liveness_does_not(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *ready = get("/readyz", 200);
    assert_string_equal(mm_json_string(ready, "status"), "ready");
    assert_string_equal(mm_json_string(json_object_get(ready, "checks"), "hsm"), "ok");
    fake_hsm_set_health(MM_SIGNERS_DEGRADED);
    mm_cleanup(json_decref) json_t *degraded = get("/readyz", 200);
    assert_string_equal(mm_json_string(degraded, "status"), "degraded");
    assert_string_equal(mm_json_string(json_object_get(degraded, "checks"), "hsm"), "degraded");
    fake_hsm_set_health(MM_SIGNERS_DOWN);
    mm_cleanup(json_decref) json_t *unready = get("/readyz", 503);
    assert_string_equal(mm_json_string(unready, "status"), "unavailable");
    assert_string_equal(mm_json_string(json_object_get(unready, "checks"), "hsm"), "unavailable");
    assert_string_equal(mm_json_string(json_object_get(unready, "checks"), "ledger"), "ok");
    mm_cleanup(json_decref) json_t *alive = get("/healthz", 200);
    assert_string_equal(mm_json_string(alive, "status"), "alive");
}

static void readiness_of_several_algorithms_says_which_is_not_there(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *one = get("/readyz", 200);
    assert_null(json_object_get(one, "algorithms"));
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_server_config(mint.server);
    config->algorithms = 1U << MM_ES256 | 1U << MM_RS256;
    mm_cleanup(json_decref) json_t *degraded = get("/readyz", 200);
    assert_string_equal(mm_json_string(degraded, "status"), "degraded");
    assert_string_equal(mm_json_string(json_object_get(degraded, "algorithms"), "ES256"), "ok");
    assert_string_equal(mm_json_string(json_object_get(degraded, "algorithms"), "RS256"), "unavailable");
    assert_int_equal(json_object_size(json_object_get(degraded, "algorithms")), 2);
    fake_hsm_set_algorithms(config->algorithms);
    mm_cleanup(json_decref) json_t *ready = get("/readyz", 200);
    assert_string_equal(mm_json_string(ready, "status"), "ready");
    fake_hsm_set_algorithms(0);
    fake_hsm_set_health(MM_SIGNERS_DOWN);
    mm_cleanup(json_decref) json_t *down = get("/readyz", 503);
    assert_string_equal(mm_json_string(json_object_get(down, "algorithms"), "ES256"), "unavailable");
}

static void health_is_never_cached(void **state)
{
    (void)state;
    struct http_reply reply = request("GET", "/readyz", "", HTTP_WITH_BODY);
    assert_string_equal(http_reply_header(&reply, "Cache-Control"), "no-store");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_jwks_may_be_cached_and_revalidated, open_mint, close_mint),
        cmocka_unit_test_setup_teardown(head_says_what_get_would_without_a_body, open_mint, close_mint),
        cmocka_unit_test_setup_teardown(the_jwks_is_the_keyring, open_mint, close_mint),
        cmocka_unit_test_setup_teardown(discovery_names_only_what_exists, open_mint, close_mint),
        cmocka_unit_test_setup_teardown(readiness_follows_the_hsm_and_liveness_does_not, open_mint, close_mint),
        cmocka_unit_test_setup_teardown(readiness_of_several_algorithms_says_which_is_not_there, open_mint, close_mint),
        cmocka_unit_test_setup_teardown(health_is_never_cached, open_mint, close_mint),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
