/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait for the keys of whoever signed what they bring: woken, too late, too many, in a drain. And for the ledger to know that a
 * credential was used that counts once.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fake_mint.h"
#include "sign.h"
#include "tls_client.h"
#include "token/jws.h"
#include "util/clock.h"

enum { PATIENCE_MS = 15000, NOW = 1800000000 };

static struct fake_mint mint;
static EVP_PKEY *key;

static int open_mint(void **state)
{
    (void)state;
    fake_has_keys = true;
    fake_mint_open(&mint);
    fake_keys_set(FAKE_KEYS_READY);
    key = make_private_key(MM_ES256);
    mm_cleanup(json_decref) json_t *set = json_pack("{s[o]}", "keys", make_jwk(key, "1", "ES256"));
    mm_cleanup(free) char *text = mm_json_compact(set, NULL);
    fake_keys_use(text);
    return 0;
}

static int close_mint(void **state)
{
    (void)state;
    fake_mint_close(&mint);
    EVP_PKEY_free(key);
    return 0;
}

static char *assertion(void)
{
    static const char HEADER[] = "{\"alg\":\"ES256\",\"kid\":\"1\"}";
    static unsigned n;
    char payload[256];
    (void)snprintf(payload, sizeof payload,
                   "{\"iss\":\"acme/ci-build\",\"sub\":\"acme/ci-build\",\"aud\":\"https://mint.example.com\","
                   "\"exp\":%d,\"jti\":\"%u\"}",
                   NOW + 60, n++);
    mm_cleanup(free) char *input = mm_jws_signing_input(HEADER, strlen(HEADER), payload, strlen(payload), NULL);
    struct test_signature made = sign_jws(MM_ES256, key, (struct mm_bytes){input, strlen(input)});
    return mm_jws_compact(input, (struct mm_bytes){made.bytes, made.length}, NULL);
}

static struct tls_client *ask_at(const char *path, const char *fields, const char *jwt)
{
    struct tls_client *client = tls_client_open(mint.port, NULL, NULL);
    mm_cleanup(free) char *body = NULL;
    mm_cleanup(free) char *text = NULL;
    assert_non_null(client);
    assert_true(asprintf(&body,
                         "%s&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&"
                         "client_assertion=%s",
                         fields, jwt) > 0);
    assert_true(asprintf(&text,
                         "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                         "application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n%s",
                         path, strlen(body), body) > 0);
    assert_true(tls_client_send_text(client, text));
    return client;
}

#define TOKEN  "/oauth2/token", "grant_type=client_credentials&scope=read:repo"
#define LOOK   "/oauth2/introspect", "token=none"
#define REVOKE "/oauth2/revoke", "token=none"

static struct tls_client *ask(void)
{
    mm_cleanup(free) char *jwt = assertion();
    return ask_at(TOKEN, jwt);
}

static void expect(struct tls_client *client, int status, const char *retry_after)
{
    struct http_reply reply = tls_client_reply(client, HTTP_WITH_BODY, PATIENCE_MS);
    if (reply.status != status)
        fail_msg("%d: %s", reply.status, reply.body);
    if (retry_after)
        assert_string_equal(http_reply_header(&reply, "Retry-After"), retry_after);
    tls_client_close(client);
}

static void wait_until(size_t (*count)(void), size_t n)
{
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    while (count() != n) {
        assert_true(mm_monotonic_ns() < deadline);
        (void)usleep(1000);
    }
}

static void wait_until_waiting(size_t n)
{
    wait_until(fake_keys_n_waiting, n);
}

static void a_request_goes_on_from_its_start_when_its_keys_are_there(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_keys_set(FAKE_KEYS_AWAITED);
    struct tls_client *waiting[5];
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++)
        waiting[i] = ask();
    wait_until_waiting(MM_ARRAY_SIZE(waiting));
    fake_keys_set(FAKE_KEYS_READY);
    fake_keys_wake();
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++)
        expect(waiting[i], 200, NULL);
}

static void keys_may_come_before_anybody_waits(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    for (int i = 0; i < 20; i++) {
        fake_keys_set(FAKE_KEYS_AT_ONCE);
        expect(ask(), 200, NULL);
    }
}

static void a_request_may_wait_more_than_once_and_then_in_vain(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_keys_set(FAKE_KEYS_AWAITED);
    struct tls_client *client = ask();
    for (int i = 0; i < 3; i++) {
        wait_until_waiting(1);
        if (i == 2)
            fake_keys_set(FAKE_KEYS_FAILED);
        fake_keys_wake();
    }
    expect(client, 503, "5");
}

static void who_has_waited_for_too_long_is_told_so(void **state)
{
    (void)state;
    fake_limits.issue_timeout = 1;
    fake_mint_start(&mint);
    fake_keys_set(FAKE_KEYS_AWAITED);
    int64_t start = mm_monotonic_ns();
    expect(ask(), 503, "2");
    assert_in_range((mm_monotonic_ns() - start) / 1000000, 900, 5000);
    fake_keys_set(FAKE_KEYS_READY);
    fake_keys_wake(); /* finds nothing to do */
    expect(ask(), 200, NULL);
}

static void one_tenants_requests_take_half_of_the_room_and_keys_that_are_there_need_none(void **state)
{
    (void)state;
    fake_limits.queue = 4;
    fake_mint_start(&mint);
    fake_keys_set(FAKE_KEYS_AWAITED);
    struct tls_client *waiting[2];
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++) {
        waiting[i] = ask();
        wait_until_waiting(i + 1);
    }
    expect(ask(), 503, "1");
    fake_keys_set(FAKE_KEYS_READY);
    expect(ask(), 200, NULL);
    fake_keys_wake();
    for (size_t i = 0; i < MM_ARRAY_SIZE(waiting); i++)
        expect(waiting[i], 200, NULL);
}

static void a_drain_answers_who_waits_and_a_late_wake_finds_nobody(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_keys_set(FAKE_KEYS_AWAITED);
    struct tls_client *client = ask();
    wait_until_waiting(1);
    mm_server_drain(mint.server, mm_deadline_after_ms(200));
    expect(client, 503, "1");
    mm_server_stop(MM_TAKE(mint.server));
    fake_keys_wake();
}

static void a_client_that_leaves_while_it_waits_is_forgotten(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_keys_set(FAKE_KEYS_AWAITED);
    struct tls_client *client = ask();
    wait_until_waiting(1);
    tls_client_close(client);
    fake_keys_set(FAKE_KEYS_READY);
    fake_keys_wake();
    expect(ask(), 200, NULL);
}

static struct tls_client *ask_with_new(const char *path, const char *fields)
{
    mm_cleanup(free) char *jwt = assertion();
    return ask_at(path, fields, jwt);
}

static void expect_silence(struct tls_client *client)
{
    struct http_reply reply = tls_client_reply(client, HTTP_WITH_BODY, 100);
    assert_int_equal(reply.status, -1);
}

/* What is refused and what is merely told: in each case something came of the use. */
static void nobody_is_told_what_came_of_a_use_before_that_is_recorded(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_answer_set(FAKE_REFUSE);
    fake_ledger_set(FAKE_LEDGER_HOLD);
    struct tls_client *refused = ask();
    struct tls_client *beyond = ask_with_new("/oauth2/token", "grant_type=client_credentials&resource=urn:x:y");
    struct tls_client *looking = ask_with_new(LOOK);
    struct tls_client *revoking = ask_with_new(REVOKE);
    wait_until(fake_ledger_n_held, 4);
    struct tls_client *all[] = {refused, beyond, looking, revoking};
    for (size_t i = 0; i < MM_ARRAY_SIZE(all); i++)
        expect_silence(all[i]);
    fake_ledger_tell(true);
    expect(refused, 400, NULL);
    expect(beyond, 400, NULL);
    expect(looking, 200, NULL);
    expect(revoking, 200, NULL);
    assert_int_equal(fake_ledger_n(), 4);
}

static void a_use_may_be_recorded_before_there_is_an_answer(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    for (int i = 0; i < 20; i++)
        expect(ask_with_new(LOOK), 200, NULL);
    fake_answer_set(FAKE_REFUSE);
    expect(ask(), 400, NULL);
}

static void a_use_that_can_t_be_recorded_is_answered_with_the_ledgers_failure(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_ledger_set(FAKE_LEDGER_HOLD);
    struct tls_client *looking = ask_with_new(LOOK);
    wait_until(fake_ledger_n_held, 1);
    expect_silence(looking);
    fake_ledger_tell(false);
    expect(looking, 503, "5");
    fake_answer_set(FAKE_REFUSE);
    struct tls_client *refused = ask();
    wait_until(fake_ledger_n_held, 1);
    fake_ledger_tell(false);
    expect(refused, 503, "5");
}

/* Neither a token nor an answer, and the assertion is used up all the same. */
static void without_room_in_the_ledger_nobody_is_known(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    fake_ledger_set(FAKE_LEDGER_FULL);
    mm_cleanup(free) char *jwt = assertion();
    expect(ask_at(TOKEN, jwt), 503, "1");
    expect(ask_with_new(LOOK), 503, "1");
    fake_ledger_set(FAKE_LEDGER_AT_ONCE);
    expect(ask_at(TOKEN, jwt), 401, NULL);
}

static void a_ledger_that_hangs_holds_nobody_for_longer_than_the_deadline(void **state)
{
    (void)state;
    fake_limits.issue_timeout = 1;
    fake_mint_start(&mint);
    fake_ledger_set(FAKE_LEDGER_HOLD);
    expect(ask_with_new(LOOK), 503, "2");
    fake_ledger_tell(true); /* finds nobody */
    struct tls_client *leaving = ask_with_new(LOOK);
    wait_until(fake_ledger_n_held, 1);
    tls_client_close(leaving);
    fake_ledger_tell(true);
    struct tls_client *drained = ask_with_new(LOOK);
    wait_until(fake_ledger_n_held, 1);
    expect_silence(drained);
    mm_server_drain(mint.server, mm_deadline_after_ms(200));
    expect(drained, 503, NULL);
    mm_server_stop(MM_TAKE(mint.server));
    fake_ledger_tell(true);
}

static void what_proves_nothing_writes_nothing(void **state)
{
    (void)state;
    fake_mint_start(&mint);
    mm_cleanup(free) char *jwt = assertion();
    jwt[strlen(jwt) - 10] ^= 1;
    expect(ask_at(TOKEN, jwt), 401, NULL);
    expect(ask_at(LOOK, jwt), 401, NULL);
    assert_int_equal(fake_ledger_n(), 0);
    mm_cleanup(free) char *good = assertion();
    expect(ask_at(TOKEN, good), 200, NULL);
    for (int i = 0; i < 3; i++)
        expect(ask_at(TOKEN, good), 401, NULL);
    assert_int_equal(fake_ledger_n(), 1);
}

#define CALLER_TEST(name) cmocka_unit_test_setup_teardown(name, open_mint, close_mint)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CALLER_TEST(a_request_goes_on_from_its_start_when_its_keys_are_there),
        CALLER_TEST(keys_may_come_before_anybody_waits),
        CALLER_TEST(a_request_may_wait_more_than_once_and_then_in_vain),
        CALLER_TEST(who_has_waited_for_too_long_is_told_so),
        CALLER_TEST(one_tenants_requests_take_half_of_the_room_and_keys_that_are_there_need_none),
        CALLER_TEST(a_drain_answers_who_waits_and_a_late_wake_finds_nobody),
        CALLER_TEST(a_client_that_leaves_while_it_waits_is_forgotten),
        CALLER_TEST(nobody_is_told_what_came_of_a_use_before_that_is_recorded),
        CALLER_TEST(a_use_may_be_recorded_before_there_is_an_answer),
        CALLER_TEST(a_use_that_can_t_be_recorded_is_answered_with_the_ledgers_failure),
        CALLER_TEST(without_room_in_the_ledger_nobody_is_known),
        CALLER_TEST(a_ledger_that_hangs_holds_nobody_for_longer_than_the_deadline),
        CALLER_TEST(what_proves_nothing_writes_nothing),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
