/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token source: one token for many threads, one request at a time, whatever service and clock do.
 */
#include "client/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "client/service_token.h"
#include "peer.h"
#include "util/clock.h"

enum { N_THREADS = 16 };

static const char *const SCOPES[] = {"read:repo"};
static const struct mm_client_request REQUEST = {.size = sizeof REQUEST,
                                                 .tenant_id = "acme",
                                                 .scopes = SCOPES,
                                                 .n_scopes = 1};

/* The real clock and what the test adds to it. */
static _Atomic int64_t ahead_ns;

static int64_t test_now_ns(void *context)
{
    (void)context;
    return mm_monotonic_ns() + ahead_ns;
}

static void advance(double seconds)
{
    ahead_ns += (int64_t)(seconds * 1e9);
}

/* A random number's lowest and highest value, as mm_random_up_to(…, largest) has it. */
static bool fill(void *context, void *out, size_t length)
{
    (void)length;
    memcpy(out, context, sizeof(int64_t));
    return true;
}

struct fixture {
    struct mm_client *client;
    struct mm_token_source *source;
    struct mm_source_parts parts;
    void (*on_failure)(void *context, const struct mm_client_failure *failure);
    const char *oidc_token_file; /* in place of the certificate */
};

static void open_with(struct fixture *fixture, int64_t total_timeout_ms, const struct mm_random *random)
{
    struct mm_error err = {0};
    const struct mm_client_options options = {
        .size = sizeof options,
        .url = peer_url(""),
        .ca_file = peer_file("ca.pem"),
        .certificate_file = fixture->oidc_token_file ? NULL : peer_file("client.pem"),
        .key_file = fixture->oidc_token_file ? NULL : peer_file("client.key"),
        .oidc_token_file = fixture->oidc_token_file,
        .total_timeout_ms = total_timeout_ms,
        .on_failure = fixture->on_failure,
    };
    ahead_ns = 0;
    fixture->parts = (struct mm_source_parts){.now_ns = test_now_ns, .random = random};
    fixture->client = mm_client_open(&options, &err);
    assert_string_equal(err.message, "");
    fixture->source = mm_source_open(fixture->client, &REQUEST, &fixture->parts, &err);
    assert_non_null(fixture->source);
}

static void fixture_close_cleanup(struct fixture *fixture)
{
    mm_token_source_close(fixture->source);
    mm_client_close(fixture->client);
}

/* The number of the token that comes, 0 for a failure. */
static int get(struct mm_token_source *source, struct mm_error *err)
{
    struct mm_service_token *token = NULL;
    struct mm_error why = {0};
    int number = 0;
    bool is_got = mm_token_source_get(source, &token, &why);
    assert_int_equal(is_got, token != NULL);
    assert_int_equal(is_got, why.code == MM_OK);
    if (is_got)
        assert_int_equal(sscanf(token->token_id, "token-%d", &number), 1);
    mm_service_token_unref(token);
    if (err)
        *err = why;
    return number;
}

static void assert_fails(struct mm_token_source *source, enum mm_code code)
{
    struct mm_error err;
    assert_int_equal(get(source, &err), 0);
    assert_int_equal(err.code, code);
}

/* Renewals happen on the source's own thread: wait until so many requests have come. */
static void wait_for_requests(size_t n)
{
    for (int i = 0; i < 1000 && peer_n_requests() < n; i++)
        (void)usleep(10000);
    assert_int_equal(peer_n_requests(), n);
}

/* The same, until the token with that number is handed out. */
static void wait_for_token(struct mm_token_source *source, int number)
{
    for (int i = 0; i < 1000 && get(source, NULL) != number; i++)
        (void)usleep(10000);
    assert_int_equal(get(source, NULL), number);
}

static void assert_still(size_t n)
{
    (void)usleep(200000);
    assert_int_equal(peer_n_requests(), n);
}

/* --- many threads */

struct asking {
    struct mm_token_source *source;
    pthread_barrier_t *start;
    int64_t until_ns; /* ask again until then */
    size_t n_got;
    size_t n_failed;
    int first;
};

static void *ask(void *context)
{
    struct asking *asking = context;
    (void)pthread_barrier_wait(asking->start);
    do {
        int number = get(asking->source, NULL);
        asking->n_got += number > 0;
        asking->n_failed += number == 0;
        if (!asking->first)
            asking->first = number;
        (void)usleep(100);
    } while (mm_monotonic_ns() < asking->until_ns);
    return NULL;
}

static void ask_from_threads(struct mm_token_source *source, int64_t for_ms, struct asking asked[N_THREADS])
{
    pthread_barrier_t start;
    pthread_t threads[N_THREADS];
    assert_int_equal(pthread_barrier_init(&start, NULL, N_THREADS), 0);
    int64_t until_ns = mm_deadline_after_ms(for_ms);
    for (int i = 0; i < N_THREADS; i++) {
        asked[i] = (struct asking){.source = source, .start = &start, .until_ns = until_ns};
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &asked[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    (void)pthread_barrier_destroy(&start);
}

static void sixteen_threads_share_one_request(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    struct asking asked[N_THREADS];
    peer_script("[{\"delay\": 0.5}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    ask_from_threads(fixture.source, 0, asked);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(asked[i].first, 1);
    ask_from_threads(fixture.source, 200, asked);
    assert_int_equal(peer_n_requests(), 1);
}

static void sixteen_threads_share_one_failure(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    struct asking asked[N_THREADS];
    peer_script("[{\"delay\": 0.5, \"status\": 403}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    ask_from_threads(fixture.source, 0, asked);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(asked[i].n_failed, 1);
    assert_int_equal(peer_n_requests(), 1);
}

static void sixteen_threads_never_see_a_renewal(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    struct asking asked[N_THREADS];
    peer_script("[{\"set\": {\"expires_in\": 1}}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    ask_from_threads(fixture.source, 4000, asked);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(asked[i].n_failed, 0);
        assert_true(asked[i].n_got > 100);
    }
    /* Renewed after 0.6 s to 0.8 s each. */
    assert_in_range(peer_n_requests(), 3, 8);
    assert_int_equal(peer_most_at_once(), 1);
}

/* --- renewal */

static void nothing_is_sent_before_somebody_asks(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_still(0);
}

static void assert_renewed_between(int64_t random_value, double before, double after)
{
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    const struct mm_random random = {.fill = fill, .context = &random_value};
    peer_script("[{\"set\": {\"expires_in\": 1000}}]");
    open_with(&fixture, 0, &random);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(before);
    assert_int_equal(get(fixture.source, NULL), 1);
    assert_still(1);
    advance(after - before);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_token(fixture.source, 2);
    assert_still(2);
}

static void a_token_is_renewed_between_60_and_80_percent_of_its_life(void **state)
{
    (void)state;
    assert_renewed_between(0, 590, 601);
    assert_renewed_between(200000, 790, 801);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void assert_authorization(size_t request, const char *expected)
{
    mm_cleanup(free) char *sent = peer_authorization(request);
    assert_string_equal(sent, expected);
}

static void a_renewal_sends_what_the_platforms_token_file_holds_by_then(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s", peer_file("oidc-token"));
    mm_cleanup(fixture_close) struct fixture fixture = {.oidc_token_file = path};
    peer_script("[{\"set\": {\"expires_in\": 1000}}]");
    write_file(path, "eyJ.e30.b25l");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    write_file(path, "eyJ.e30.dHdv\n");
    advance(801);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_token(fixture.source, 2);
    assert_authorization(0, "Bearer eyJ.e30.b25l");
    assert_authorization(1, "Bearer eyJ.e30.dHdv");
    /* Gone for a while: the token that is there serves on, and the file is looked at again. */
    assert_int_equal(unlink(path), 0);
    advance(801);
    assert_int_equal(get(fixture.source, NULL), 2);
    assert_still(2);
    write_file(path, "eyJ.e30.dHJl");
    advance(100);
    wait_for_token(fixture.source, 3);
    assert_authorization(2, "Bearer eyJ.e30.dHJl");
}

static void the_old_token_is_served_while_a_renewal_is_under_way(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"set\": {\"expires_in\": 100}}, {\"delay\": 2}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(81);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_requests(2);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_token(fixture.source, 2);
}

static void the_old_token_is_served_after_a_renewal_that_failed(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"set\": {\"expires_in\": 100}}, {\"status\": 500}, {\"status\": 500}, {}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(81);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_requests(2);
    assert_int_equal(get(fixture.source, NULL), 1);
    /* The next try is due within 2 s, by itself: somebody had asked. */
    wait_for_requests(3);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_token(fixture.source, 4);
}

static void an_expired_token_is_never_served(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"set\": {\"expires_in\": 100}}, {\"status\": 500}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(94.5);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(1); /* 4.5 s are left: too few to be worth sending */
    assert_fails(fixture.source, MM_UNREACHABLE);
    advance(100);
    assert_fails(fixture.source, MM_UNREACHABLE);
}

static void an_expired_token_is_replaced_by_one_that_is_waited_for(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"set\": {\"expires_in\": 100}}, {\"delay\": 0.5}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(1000);
    assert_int_equal(get(fixture.source, NULL), 2);
    assert_int_equal(peer_n_requests(), 2);
}

static void a_token_nobody_asks_for_is_renewed_once(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"set\": {\"expires_in\": 1}}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_requests(2);
    (void)usleep(2000000);
    assert_int_equal(peer_n_requests(), 2);
    assert_int_equal(get(fixture.source, NULL), 3);
}

/* --- failures */

static void a_failure_is_remembered_until_the_next_try_is_due(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"status\": 403}, {\"status\": 403}, {}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    for (int i = 0; i < 50; i++)
        assert_fails(fixture.source, MM_INVALID_REQUEST);
    assert_int_equal(peer_n_requests(), 1);
    advance(2.5);
    assert_fails(fixture.source, MM_INVALID_REQUEST);
    assert_int_equal(peer_n_requests(), 2);
    advance(3.5);
    assert_int_equal(get(fixture.source, NULL), 3);
}

static void retry_after_holds_the_next_try_back(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"status\": 429, \"headers\": {\"Retry-After\": \"30\"}}, {}]");
    open_with(&fixture, 10000, &MM_SYSTEM_RANDOM);
    assert_fails(fixture.source, MM_OVERLOADED);
    advance(29);
    assert_fails(fixture.source, MM_OVERLOADED);
    assert_int_equal(peer_n_requests(), 1);
    advance(2.5);
    assert_int_equal(get(fixture.source, NULL), 2);
}

static void a_slow_service_is_waited_for_no_longer_than_the_time_out(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"delay\": 30}]");
    open_with(&fixture, 1000, &MM_SYSTEM_RANDOM);
    int64_t start = mm_monotonic_ns();
    assert_fails(fixture.source, MM_UNREACHABLE);
    assert_true(mm_monotonic_ns() - start < 5000000000);
    assert_int_equal(peer_n_requests(), 1);
}

static void dawdle(void *context, const struct mm_client_failure *failure)
{
    (void)context, (void)failure;
    (void)usleep(6000000);
}

/* Whatever keeps the source's own thread. */
static void a_call_ends_two_seconds_after_the_time_out_at_the_latest(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {.on_failure = dawdle};
    peer_script("[{\"status\": 403}]");
    open_with(&fixture, 1000, &MM_SYSTEM_RANDOM);
    int64_t start = mm_monotonic_ns();
    assert_fails(fixture.source, MM_UNREACHABLE);
    assert_in_range((mm_monotonic_ns() - start) / 1000000, 1000, 4500);
}

/* --- clocks */

/* The service's idea of the time of day and this machine's may be years apart. */
static void the_time_of_day_makes_no_difference(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"set\": {\"expires_at\": 5, \"expires_in\": 100}},"
                " {\"set\": {\"expires_at\": 9000000000, \"expires_in\": 100}}, {}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    for (int i = 0; i < 50; i++)
        assert_int_equal(get(fixture.source, NULL), 1);
    advance(96);
    for (int i = 0; i < 50; i++)
        assert_int_equal(get(fixture.source, NULL), 2);
    advance(96);
    assert_int_equal(get(fixture.source, NULL), 3);
}

static void a_clock_that_goes_backwards_makes_no_storm(void **state)
{
    (void)state;
    mm_cleanup(fixture_close) struct fixture fixture = {0};
    peer_script("[{\"set\": {\"expires_in\": 100}}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(-7200);
    for (int i = 0; i < 50; i++)
        assert_int_equal(get(fixture.source, NULL), 1);
    assert_still(1);
    advance(7200 + 81);
    wait_for_token(fixture.source, 2);
}

/* --- the end */

static void assert_closes_soon(const char *script, int64_t timeout_ms)
{
    struct fixture fixture = {0};
    peer_script(script);
    open_with(&fixture, timeout_ms, &MM_SYSTEM_RANDOM);
    assert_int_equal(get(fixture.source, NULL), 1);
    advance(90);
    assert_int_equal(get(fixture.source, NULL), 1);
    wait_for_requests(2);
    int64_t start = mm_monotonic_ns();
    fixture_close_cleanup(&fixture);
    assert_true(mm_monotonic_ns() - start < 5000000000);
}

static void closing_waits_for_no_answer_and_no_retry(void **state)
{
    (void)state;
    assert_closes_soon("[{\"set\": {\"expires_in\": 100}}, {\"delay\": 20}]", 0);
    assert_closes_soon("[{\"set\": {\"expires_in\": 100}}, {\"status\": 503, \"headers\": {\"Retry-After\": \"40\"}}]",
                       60000);
    struct fixture fixture = {0};
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    fixture_close_cleanup(&fixture);
    mm_token_source_close(NULL);
}

static void a_token_outlives_its_source(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    peer_script("[{}]");
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = NULL;
    assert_true(mm_token_source_get(fixture.source, &token, NULL));
    fixture_close_cleanup(&fixture);
    assert_string_equal(token->token_id, "token-1");
}

static void a_request_that_cannot_work_opens_no_source(void **state)
{
    (void)state;
    struct mm_error err = {0};
    struct mm_client_request request = REQUEST;
    struct fixture fixture = {0};
    open_with(&fixture, 0, &MM_SYSTEM_RANDOM);
    request.tenant_id = NULL;
    assert_null(mm_token_source_open(fixture.client, &request, &err));
    assert_int_equal(err.code, MM_USAGE);
    fixture_close_cleanup(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_threads_share_one_request),
        cmocka_unit_test(sixteen_threads_share_one_failure),
        cmocka_unit_test(sixteen_threads_never_see_a_renewal),
        cmocka_unit_test(nothing_is_sent_before_somebody_asks),
        cmocka_unit_test(a_token_is_renewed_between_60_and_80_percent_of_its_life),
        cmocka_unit_test(a_renewal_sends_what_the_platforms_token_file_holds_by_then),
        cmocka_unit_test(the_old_token_is_served_while_a_renewal_is_under_way),
        cmocka_unit_test(the_old_token_is_served_after_a_renewal_that_failed),
        cmocka_unit_test(an_expired_token_is_never_served),
        cmocka_unit_test(an_expired_token_is_replaced_by_one_that_is_waited_for),
        cmocka_unit_test(a_token_nobody_asks_for_is_renewed_once),
        cmocka_unit_test(a_failure_is_remembered_until_the_next_try_is_due),
        cmocka_unit_test(retry_after_holds_the_next_try_back),
        cmocka_unit_test(a_slow_service_is_waited_for_no_longer_than_the_time_out),
        cmocka_unit_test(a_call_ends_two_seconds_after_the_time_out_at_the_latest),
        cmocka_unit_test(the_time_of_day_makes_no_difference),
        cmocka_unit_test(a_clock_that_goes_backwards_makes_no_storm),
        cmocka_unit_test(closing_waits_for_no_answer_and_no_retry),
        cmocka_unit_test(a_token_outlives_its_source),
        cmocka_unit_test(a_request_that_cannot_work_opens_no_source),
    };
    return cmocka_run_group_tests(tests, peer_start, peer_stop);
}
