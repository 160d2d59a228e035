/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's life: answers that come from elsewhere, limits on connections, reload, drain.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "fake_mint.h"
#include "http/tls.h"
#include "tls_client.h"
#include "util/clock.h"

enum { PATIENCE_MS = 15000, N_CLIENTS = 500, N_THREADS = 50 };

#define HEALTH "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

#define TOKENS_HEAD \
    "POST /v1/service-tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " \
    "61\r\n\r\n"

static struct fake_mint mint;

static int open_mint(void **state)
{
    (void)state;
    fake_mint_open(&mint);
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

static bool ask_for_token(struct tls_client *client)
{
    char text[512];
    (void)snprintf(text, sizeof text,
                   "POST /v1/service-tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   strlen(FAKE_REQUEST), FAKE_REQUEST);
    return tls_client_send_text(client, text);
}

static int status_of_next(struct tls_client *client)
{
    return tls_client_reply(client, HTTP_WITH_BODY, PATIENCE_MS).status;
}

static bool serves(struct tls_client *client)
{
    return tls_client_send_text(client, HEALTH) && status_of_next(client) == 200;
}

static int64_t ms_since(int64_t start_ns)
{
    return (mm_monotonic_ns() - start_ns) / 1000000;
}

/* --- answers from elsewhere */

static void an_answer_may_come_at_once_or_from_another_thread(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    for (int i = 0; i < 300; i++) {
        fake_answer_set(i % 2 ? FAKE_AT_ONCE : FAKE_ON_A_THREAD);
        assert_true(ask_for_token(client));
        assert_int_equal(status_of_next(client), 201);
    }
}

static void other_requests_are_served_while_tokens_are_waited_for(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_HOLD);
    struct tls_client *waiting[20];
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++) {
        waiting[i] = connect_client();
        assert_true(ask_for_token(waiting[i]));
    }
    assert_true(fake_wait_held(MM_ARRAY_SIZE(waiting)));
    mm_cleanup(tls_client_close) struct tls_client *other = connect_client();
    int64_t start = mm_monotonic_ns();
    for (int i = 0; i < 50; i++)
        assert_true(serves(other));
    assert_true(ms_since(start) < 5000);
    fake_release();
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++) {
        assert_int_equal(status_of_next(waiting[i]), 201);
        tls_client_close(waiting[i]);
    }
}

static void *ask_from_thread(void *context)
{
    atomic_int *n_served = context;
    for (int i = 0; i < N_CLIENTS / N_THREADS; i++) {
        mm_cleanup(tls_client_close) struct tls_client *client =
            tls_client_open(mint.port, mint.client_certificate, mint.client_key);
        if (!client || !ask_for_token(client) || status_of_next(client) != 201 || !serves(client))
            continue;
        atomic_fetch_add(n_served, 1);
    }
    return NULL;
}

static void five_hundred_connections_from_fifty_threads_each_get_a_token(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_ON_A_THREAD);
    atomic_int n_served = 0;
    pthread_t threads[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_from_thread, &n_served), 0);
    for (size_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(n_served, N_CLIENTS);
}

static void five_hundred_connections_wait_at_once_and_each_get_a_token(void **state)
{
    (void)state;
    fake_limits.header_timeout = 60;
    fake_limits.idle_timeout = 60;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_HOLD);
    static struct tls_client *clients[N_CLIENTS];
    for (size_t i = 0; i < N_CLIENTS; i++) {
        clients[i] = connect_client();
        assert_true(ask_for_token(clients[i]));
    }
    assert_true(fake_wait_held(N_CLIENTS));
    fake_release();
    for (size_t i = 0; i < N_CLIENTS; i++) {
        assert_int_equal(status_of_next(clients[i]), 201);
        tls_client_close(clients[i]);
    }
}

/* --- limits */

static void connections_past_the_limit_are_turned_away_until_one_leaves(void **state)
{
    (void)state;
    fake_limits.connections = 2;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *first = connect_client();
    struct tls_client *second = connect_client();
    assert_null(tls_client_open(mint.port, NULL, NULL));
    assert_true(serves(first) && serves(second));
    tls_client_close(second);
    bool is_in = false;
    for (int i = 0; i < 100 && !is_in; i++) {
        mm_cleanup(tls_client_close) struct tls_client *third = tls_client_open(mint.port, NULL, NULL);
        is_in = third && serves(third);
        (void)usleep(20000);
    }
    assert_true(is_in);
}

static void one_address_is_limited_and_others_are_not(void **state)
{
    (void)state;
    fake_limits.connections_per_address = 1;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *first =
        tls_client_open_as(mint.port, NULL, NULL, NULL, "127.0.0.2");
    assert_non_null(first);
    assert_null(tls_client_open_as(mint.port, NULL, NULL, NULL, "127.0.0.2"));
    mm_cleanup(tls_client_close) struct tls_client *other =
        tls_client_open_as(mint.port, NULL, NULL, NULL, "127.0.0.3");
    assert_non_null(other);
    assert_true(serves(first) && serves(other));
}

static void silent_connections_are_cut_before_and_after_their_handshake(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *silent = connect_client();
    int64_t start = mm_monotonic_ns();
    assert_true(tls_client_is_closed(silent, PATIENCE_MS));
    assert_in_range(ms_since(start), 1000, 5000);
    mm_cleanup(tls_client_close) struct tls_client *idle = connect_client();
    assert_true(serves(idle));
    start = mm_monotonic_ns();
    assert_true(tls_client_is_closed(idle, PATIENCE_MS));
    assert_in_range(ms_since(start), 2000, 7000);
}

/* --- TLS */

static void only_tls_1_2_and_1_3_are_spoken(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    static const struct {
        const char *priorities;
        bool is_spoken;
    } VERSIONS[] = {
        {"NORMAL:-VERS-ALL:+VERS-TLS1.3", true},
        {"NORMAL:-VERS-ALL:+VERS-TLS1.2", true},
        {"NORMAL:-VERS-ALL:+VERS-TLS1.1", false},
        {"NORMAL:-VERS-ALL:+VERS-TLS1.0", false},
        {"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", false},
        {"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC", false},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(VERSIONS); i++) {
        mm_cleanup(tls_client_close) struct tls_client *client =
            tls_client_open_as(mint.port, mint.client_certificate, mint.client_key, VERSIONS[i].priorities, NULL);
        assert_int_equal(client != NULL, VERSIONS[i].is_spoken);
        if (!client)
            continue;
        assert_true(ask_for_token(client));
        assert_int_equal(status_of_next(client), 201);
    }
}

static void x25519_is_preferred_whatever_the_client_lists_first(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *client =
        tls_client_open_as(mint.port, NULL, NULL,
                           "NORMAL:-VERS-ALL:+VERS-TLS1.2:-GROUP-ALL:+GROUP-SECP256R1:+GROUP-X25519", NULL);
    assert_non_null(client);
    assert_int_equal(gnutls_group_get(client->session), GNUTLS_GROUP_X25519);
}

/* The library asks a connection in its handshake for bytes over and over; four of them would keep every thread busy. */
static void handshakes_that_stall_cost_no_processor_time(void **state)
{
    (void)state;
    static const char PARTIAL_HELLO[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    fake_limits.header_timeout = 10;
    fake_mint_start(&mint);
    int stalled[4];
    for (size_t i = 0; i < MM_ARRAY_SIZE(stalled); i++) {
        stalled[i] = tcp_client_open(mint.port, NULL);
        assert_int_equal(send(stalled[i], PARTIAL_HELLO, sizeof PARTIAL_HELLO - 1, 0), sizeof PARTIAL_HELLO - 1);
    }
    (void)usleep(200000);
    clock_t before = clock();
    (void)usleep(1000000);
    double used = (double)(clock() - before) / CLOCKS_PER_SEC;
    assert_true(used < 0.5);
    mm_cleanup(tls_client_close) struct tls_client *other = connect_client();
    int64_t start = mm_monotonic_ns();
    for (int i = 0; i < 50; i++)
        assert_true(serves(other));
    assert_true(ms_since(start) < 1000);
    for (size_t i = 0; i < MM_ARRAY_SIZE(stalled); i++)
        assert_int_equal(close(stalled[i]), 0);
}

/* A second handshake could bring another certificate than the one that was read. */
static void a_renegotiation_is_refused(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *client =
        tls_client_open_as(mint.port, mint.client_certificate, mint.client_key, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL);
    assert_non_null(client);
    assert_true(serves(client));
    assert_true(gnutls_handshake(client->session) < 0);
    assert_false(serves(client));
}

/*
 * A client that waits for acknowledgements (the test's own sets no TCP_NODELAY) isn't made to wait for a delayed one: neither
 * after its handshake, whose last flight it sends in one piece here, nor between a head and its body.
 */
static void a_first_reply_is_not_held_up_by_delayed_acknowledgements(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    int64_t best_ms = INT64_MAX;
    for (int i = 0; i < 10; i++) {
        mm_cleanup(tls_client_close) struct tls_client *client =
            tls_client_open_as(mint.port, mint.client_certificate, mint.client_key, "NORMAL:%DISABLE_TLS13_COMPAT_MODE",
                               NULL);
        int64_t start = mm_monotonic_ns();
        assert_true(tls_client_send_text(client, TOKENS_HEAD));
        assert_true(tls_client_send_text(client, FAKE_REQUEST));
        assert_int_equal(status_of_next(client), 201);
        if (ms_since(start) < best_ms)
            best_ms = ms_since(start);
    }
    assert_true(best_ms < 30);
}

static void credentials_that_can_t_serve_are_refused_by_name(void **state)
{
    (void)state;
    char certificate[128], key[128], other[128];
    (void)snprintf(certificate, sizeof certificate, "%s/server.pem", mint.folder);
    (void)snprintf(key, sizeof key, "%s/server.key", mint.folder);
    (void)snprintf(other, sizeof other, "%s/other.key", mint.folder);
    fake_server_certificate(&mint, "other", NULL);
    const char *const PAIRS[][2] = {{certificate, other}, {key, key}, {certificate, certificate}, {"/none", key}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(PAIRS); i++) {
        struct mm_error err = {0};
        assert_null(mm_tls_load(PAIRS[i][0], PAIRS[i][1], &err));
        assert_int_equal(err.code, MM_CONFIG_INVALID);
        assert_non_null(strstr(err.message, PAIRS[i][0]));
    }
}

/* --- start */

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    struct mm_config *config = fake_config_new(&mint, "server", mint.ca);
    config->listen[0].port = mint.port;
    struct mm_error err = {0};
    struct mm_server_parts parts = {.clock = &MM_SYSTEM_CLOCK, .random = &MM_SYSTEM_RANDOM};
    assert_null(mm_server_start(&parts, config, &err));
    assert_int_equal(err.code, MM_CANNOT_LISTEN);
    char port[16];
    (void)snprintf(port, sizeof port, "%u", mint.port);
    assert_non_null(strstr(err.message, "127.0.0.1"));
    assert_non_null(strstr(err.message, port));
    assert_non_null(strstr(err.message, "in use"));
    mm_config_unref(config);
}

/* --- reload */

static bool presents(const struct tls_client *client, const struct test_certificate *certificate)
{
    unsigned n = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(client->session, &n);
    return n > 0 && chain[0].size == certificate->der_length &&
           memcmp(chain[0].data, certificate->der, certificate->der_length) == 0;
}

static bool reload(const char *certificate, const struct test_certificate *ca, struct mm_error *err)
{
    mm_cleanup(mm_config_unref) struct mm_config *config = fake_config_new(&mint, certificate, ca);
    return mm_server_reload(mint.server, config, NULL, NULL, err);
}

static void a_new_certificate_serves_new_connections_while_old_ones_live(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(test_certificate_free) struct test_certificate *renewed = NULL;
    fake_server_certificate(&mint, "renewed", &renewed);
    mm_cleanup(tls_client_close) struct tls_client *old = connect_client();
    assert_true(serves(old));
    assert_false(presents(old, renewed));
    assert_true(reload("renewed", mint.ca, NULL));
    mm_cleanup(tls_client_close) struct tls_client *new = connect_client();
    assert_true(presents(new, renewed));
    assert_true(serves(new) && serves(old));
}

static void a_new_client_ca_holds_for_the_next_request_of_every_connection(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *before = connect_client();
    assert_true(ask_for_token(before));
    assert_int_equal(status_of_next(before), 201);
    assert_true(reload("server", mint.other_ca, NULL));
    assert_true(ask_for_token(before));
    assert_int_equal(status_of_next(before), 403);
    mm_cleanup(tls_client_close) struct tls_client *after =
        tls_client_open(mint.port, mint.stranger_certificate, mint.stranger_key);
    assert_non_null(after);
    assert_true(ask_for_token(after));
    assert_int_equal(status_of_next(after), 201);
}

static void new_limits_hold_from_then_on(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    assert_true(ask_for_token(client));
    assert_int_equal(status_of_next(client), 201);
    fake_limits.body_bytes = 10;
    fake_limits.connections = 1;
    fake_limits.idle_timeout = 1;
    assert_true(reload("server", mint.ca, NULL));
    assert_true(ask_for_token(client));
    assert_int_equal(status_of_next(client), 413);
    assert_null(tls_client_open(mint.port, NULL, NULL));
    fake_limits.connections = 1000;
    assert_true(reload("server", mint.ca, NULL));
    mm_cleanup(tls_client_close) struct tls_client *idle = connect_client();
    assert_true(serves(idle));
    int64_t start = mm_monotonic_ns();
    assert_true(tls_client_is_closed(idle, PATIENCE_MS));
    assert_in_range(ms_since(start), 500, 2900);
}

static void a_reload_that_fails_changes_nothing(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    struct mm_error err = {0};
    assert_false(reload("missing", mint.other_ca, &err));
    assert_int_equal(err.code, MM_CONFIG_INVALID);
    mm_cleanup(tls_client_close) struct tls_client *client = connect_client();
    assert_true(ask_for_token(client));
    assert_int_equal(status_of_next(client), 201);
}

static bool refuse(void *context, const struct mm_config *config, struct mm_error *err)
{
    (void)config;
    ++*(int *)context;
    return mm_fail(err, MM_LEDGER_UNAVAILABLE, "not now");
}

static void a_reload_that_is_not_approved_changes_nothing(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(mm_config_unref) struct mm_config *config = fake_config_new(&mint, "server", mint.other_ca);
    struct mm_error err = {0};
    int asked = 0;
    assert_false(mm_server_reload(mint.server, config, refuse, &asked, &err));
    assert_int_equal(err.code, MM_LEDGER_UNAVAILABLE);
    assert_int_equal(asked, 1);
    err = (struct mm_error){0};
    mm_cleanup(mm_config_unref) struct mm_config *broken = fake_config_new(&mint, "missing", mint.other_ca);
    assert_false(mm_server_reload(mint.server, broken, refuse, &asked, &err));
    assert_int_equal(asked, 1); /* what can't be loaded is not up for approval */
}

static void reloads_under_load_lose_no_request(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_ON_A_THREAD);
    atomic_int n_served = 0;
    pthread_t threads[8];
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_from_thread, &n_served), 0);
    for (int i = 0; i < 30; i++) {
        assert_true(reload("server", mint.ca, NULL));
        (void)usleep(3000);
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(n_served, MM_ARRAY_SIZE(threads) * (N_CLIENTS / N_THREADS));
}

/* --- drain */

struct drain {
    int64_t patience_ms;
    int64_t took_ms;
};

static void *drain_on_thread(void *context)
{
    struct drain *drain = context;
    int64_t start = mm_monotonic_ns();
    mm_server_drain(mint.server, mm_deadline_after_ms(drain->patience_ms));
    drain->took_ms = ms_since(start);
    return NULL;
}

static void a_drain_waits_for_answers_and_then_closes(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_HOLD);
    mm_cleanup(tls_client_close) struct tls_client *waiting = connect_client();
    mm_cleanup(tls_client_close) struct tls_client *idle = connect_client();
    assert_true(serves(idle));
    assert_true(ask_for_token(waiting));
    assert_true(fake_wait_held(1));
    struct drain drain = {.patience_ms = 10000};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain_on_thread, &drain), 0);
    (void)usleep(300000);
    /* A connection that is open is still served, once. */
    assert_true(tls_client_send_text(idle, HEALTH));
    struct http_reply last = tls_client_reply(idle, HTTP_WITH_BODY, PATIENCE_MS);
    assert_int_equal(last.status, 200);
    assert_string_equal(http_reply_header(&last, "Connection"), "close");
    assert_null(tls_client_open(mint.port, NULL, NULL));
    fake_release();
    struct http_reply reply = tls_client_reply(waiting, HTTP_WITH_BODY, PATIENCE_MS);
    assert_int_equal(reply.status, 201);
    assert_string_equal(http_reply_header(&reply, "Connection"), "close");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_in_range(drain.took_ms, 250, 5000);
}

static void a_drain_gives_up_what_is_never_answered(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_HOLD);
    struct tls_client *waiting[10];
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++) {
        waiting[i] = connect_client();
        assert_true(ask_for_token(waiting[i]));
    }
    assert_true(fake_wait_held(MM_ARRAY_SIZE(waiting)));
    struct drain drain = {.patience_ms = 500};
    (void)drain_on_thread(&drain);
    assert_in_range(drain.took_ms, 450, 3000);
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++) {
        struct http_reply reply = tls_client_reply(waiting[i], HTTP_WITH_BODY, PATIENCE_MS);
        assert_int_equal(reply.status, 503);
        assert_non_null(strstr(reply.body, "\"shutting_down\""));
        assert_string_equal(http_reply_header(&reply, "Retry-After"), "1");
        tls_client_close(waiting[i]);
    }
    /* The issuer answers after all, once the server is gone. */
    mm_server_stop(MM_TAKE(mint.server));
    fake_release();
}

static void a_stop_without_a_drain_gives_up_at_once(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_HOLD);
    mm_cleanup(tls_client_close) struct tls_client *waiting = connect_client();
    assert_true(ask_for_token(waiting));
    assert_true(fake_wait_held(1));
    int64_t start = mm_monotonic_ns();
    mm_server_stop(MM_TAKE(mint.server));
    assert_true(ms_since(start) < 3000);
    assert_int_equal(status_of_next(waiting), 503);
    fake_release();
}

static void *release_on_thread(void *context)
{
    (void)context;
    fake_release();
    return NULL;
}

/* The drain and the issuer settle the same requests at the same time: each is answered once, by either. */
static void answers_that_race_with_the_drain_are_each_given_once(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        fake_mint_start(&mint);
        fake_answer_set(FAKE_HOLD);
        struct tls_client *waiting[20];
        for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++) {
            waiting[i] = connect_client();
            assert_true(ask_for_token(waiting[i]));
        }
        assert_true(fake_wait_held(MM_ARRAY_SIZE(waiting)));
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, release_on_thread, NULL), 0);
        mm_server_drain(mint.server, 0);
        mm_server_stop(MM_TAKE(mint.server));
        assert_int_equal(pthread_join(thread, NULL), 0);
        for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++) {
            int status = status_of_next(waiting[i]);
            assert_true(status == 201 || status == 503);
            assert_true(tls_client_is_closed(waiting[i], PATIENCE_MS));
            tls_client_close(waiting[i]);
        }
    }
}

static void a_drain_with_nothing_to_do_is_short(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *idle = connect_client();
    assert_true(serves(idle));
    struct drain drain = {.patience_ms = 10000};
    (void)drain_on_thread(&drain);
    assert_true(drain.took_ms < 1000);
}

static void new_work_is_refused_once_the_drain_gave_up(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(tls_client_close) struct tls_client *open = connect_client();
    assert_true(serves(open));
    mm_server_drain(mint.server, 0);
    assert_true(ask_for_token(open));
    struct http_reply reply = tls_client_reply(open, HTTP_WITH_BODY, PATIENCE_MS);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"shutting_down\""));
}

static void expect_oauth_drained(struct tls_client *client)
{
    struct http_reply reply = tls_client_reply(client, HTTP_WITH_BODY, PATIENCE_MS);
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "{\"error\":\"temporarily_unavailable\","
                                    "\"error_description\":\"The service is shutting down.\"}");
    assert_string_equal(http_reply_header(&reply, "Retry-After"), "1");
}

static void oauth_is_told_of_a_drain_in_its_own_form_early_and_late(void **state)
{
    (void)state;
    static const char FORM[] = "POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\n"
                               "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 47\r\n\r\n"
                               "grant_type=client_credentials&scope=read%3Arepo";
    fake_mint_start(&mint);
    fake_answer_set(FAKE_HOLD);
    mm_cleanup(tls_client_close) struct tls_client *waiting = connect_client();
    mm_cleanup(tls_client_close) struct tls_client *open = connect_client();
    assert_true(serves(open));
    assert_true(tls_client_send_text(waiting, FORM));
    assert_true(fake_wait_held(1));
    mm_server_drain(mint.server, 0);
    expect_oauth_drained(waiting);
    assert_true(tls_client_send_text(open, FORM));
    expect_oauth_drained(open);
    mm_server_stop(MM_TAKE(mint.server));
    fake_release();
}

#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, open_mint, close_mint)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(an_answer_may_come_at_once_or_from_another_thread),
        SERVER_TEST(other_requests_are_served_while_tokens_are_waited_for),
        SERVER_TEST(five_hundred_connections_from_fifty_threads_each_get_a_token),
        SERVER_TEST(five_hundred_connections_wait_at_once_and_each_get_a_token),
        SERVER_TEST(connections_past_the_limit_are_turned_away_until_one_leaves),
        SERVER_TEST(one_address_is_limited_and_others_are_not),
        SERVER_TEST(silent_connections_are_cut_before_and_after_their_handshake),
        SERVER_TEST(only_tls_1_2_and_1_3_are_spoken),
        SERVER_TEST(x25519_is_preferred_whatever_the_client_lists_first),
        SERVER_TEST(handshakes_that_stall_cost_no_processor_time),
        SERVER_TEST(a_renegotiation_is_refused),
        SERVER_TEST(a_first_reply_is_not_held_up_by_delayed_acknowledgements),
        SERVER_TEST(credentials_that_can_t_serve_are_refused_by_name),
        SERVER_TEST(a_port_in_use_is_named),
        SERVER_TEST(a_new_certificate_serves_new_connections_while_old_ones_live),
        SERVER_TEST(a_new_client_ca_holds_for_the_next_request_of_every_connection),
        SERVER_TEST(new_limits_hold_from_then_on),
        SERVER_TEST(a_reload_that_fails_changes_nothing),
        SERVER_TEST(a_reload_that_is_not_approved_changes_nothing),
        SERVER_TEST(reloads_under_load_lose_no_request),
        SERVER_TEST(a_drain_waits_for_answers_and_then_closes),
        SERVER_TEST(a_drain_gives_up_what_is_never_answered),
        SERVER_TEST(a_stop_without_a_drain_gives_up_at_once),
        SERVER_TEST(answers_that_race_with_the_drain_are_each_given_once),
        SERVER_TEST(a_drain_with_nothing_to_do_is_short),
        SERVER_TEST(new_work_is_refused_once_the_drain_gave_up),
        SERVER_TEST(oauth_is_told_of_a_drain_in_its_own_form_early_and_late),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
