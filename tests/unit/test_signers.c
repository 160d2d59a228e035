/* SPDX-License-Identifier: Apache-2.0 */
/* Which key signs, how keys come and go, and what is told of them. */
#include "support/signers_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "token/jws.h"
#include "util/clock.h"

enum { PATIENCE_MS = 10000, N_THREADS = 4, N_EACH = 150 };

static struct mm_signer *pick(struct signers_fixture *fixture, mm_signer_set *tried)
{
    struct mm_error err = {0};
    struct mm_signer *signer = mm_signers_pick(fixture->signers, MM_ES256, tried, &err);
    if (!signer)
        fail_msg("%s", err.message);
    return signer;
}

/* The best of all keys is key number `key`. */
static void assert_best(struct signers_fixture *fixture, size_t key)
{
    mm_signer_set tried = 0;
    mm_cleanup(mm_signer_unref) struct mm_signer *signer = pick(fixture, &tried);
    assert_string_equal(mm_signer_kid(signer), kid_of(fixture, key));
}

/* A request, and what came of it. */
struct reply {
    const struct signers_fixture *fixture;
    struct mm_signer *signer; /* let go of once it is answered */
    atomic_int n_answers;
    enum mm_code code;
    char kid[MM_THUMBPRINT_LENGTH + 1];
    int64_t answered_ns;
};

static void take_reply(void *context, const char *compact, const struct mm_error *err)
{
    struct reply *reply = context;
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    reply->code = compact ? MM_OK : err->code;
    if (compact && (!mm_jws_parse(compact, &jws, NULL) || !mm_jws_verify(&jws, compact, reply->fixture->jwks, NULL)))
        reply->code = MM_TOKEN_INVALID;
    const char *kid = jws.header ? mm_json_string(jws.header, "kid") : NULL;
    (void)snprintf(reply->kid, sizeof reply->kid, "%s", kid ? kid : "");
    reply->answered_ns = mm_monotonic_ns();
    mm_signer_unref(MM_TAKE(reply->signer));
    (void)atomic_fetch_add(&reply->n_answers, 1);
}

/* Have the best key sign. */
static bool ask(struct signers_fixture *fixture, struct reply *reply, mm_signer_set *tried, struct mm_error *err)
{
    const struct mm_pool_order order = {
        .sentence = MM_SENTENCE_ACCESS_TOKEN,
        .tenant = "acme",
        .payload = "{\"n\":1}",
        .length = 7,
        .deadline_ns = mm_deadline_after_ms(PATIENCE_MS),
    };
    struct mm_signer *signer = mm_signers_pick(fixture->signers, MM_ES256, tried, err);
    if (!signer)
        return false;
    *reply = (struct reply){.fixture = fixture, .signer = signer};
    if (mm_signer_sign(signer, &order, *tried, take_reply, reply, err))
        return true;
    mm_signer_unref(signer);
    return false;
}

static void await(struct reply *reply)
{
    int64_t until = mm_deadline_after_ms(PATIENCE_MS);
    while (atomic_load(&reply->n_answers) == 0 && mm_monotonic_ns() < until)
        sleep_ms(1);
    assert_int_equal(atomic_load(&reply->n_answers), 1);
}

/* Two keys, in the HSM tokens 0 and 1. */
static void open_two(struct signers_fixture *fixture)
{
    open_signers(fixture);
    assert_int_equal(activate_at(fixture, 0, MM_SIGNERS_WAIT), 0);
    assert_int_equal(activate_at(fixture, 1, MM_SIGNERS_WAIT), 1);
}

static void the_hsm_token_of_higher_priority_is_preferred(void **state)
{
    struct signers_fixture *fixture = *state;
    fixture->tokens[1].priority = 1;
    open_two(fixture);
    for (int i = 0; i < 3; i++)
        assert_best(fixture, 1);
}

static void equal_keys_share_the_work(void **state)
{
    struct signers_fixture *fixture = *state;
    open_two(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    struct mm_signer *held[9];
    size_t n_of[3] = {0};
    for (size_t i = 0; i < MM_ARRAY_SIZE(held); i++) {
        mm_signer_set tried = 0;
        held[i] = pick(fixture, &tried);
        for (size_t key = 0; key < 3; key++)
            n_of[key] += strcmp(mm_signer_kid(held[i]), kid_of(fixture, key)) == 0;
    }
    for (size_t key = 0; key < 3; key++)
        assert_int_equal(n_of[key], 3);
    /* Those of one key are done: it is the one with room now. */
    const char *free_kid = mm_signer_kid(held[0]);
    for (size_t i = 0; i < MM_ARRAY_SIZE(held); i += 3)
        mm_signer_unref(held[i]);
    mm_signer_set tried = 0;
    mm_cleanup(mm_signer_unref) struct mm_signer *next = pick(fixture, &tried);
    assert_string_equal(mm_signer_kid(next), free_kid);
    for (size_t i = 0; i < MM_ARRAY_SIZE(held); i++)
        if (i % 3)
            mm_signer_unref(held[i]);
}

static void idle_keys_take_turns(void **state)
{
    struct signers_fixture *fixture = *state;
    open_two(fixture);
    for (size_t i = 0; i < 6; i++)
        assert_best(fixture, i % 2);
}

static void a_key_without_a_ready_worker_comes_last(void **state)
{
    struct signers_fixture *fixture = *state;
    fixture->tokens[1].priority = 100;
    behave_at(fixture, 1, "exit=4");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    (void)activate_at(fixture, 1, MM_SIGNERS_DONT_WAIT);
    assert_best(fixture, 0);
    mm_signer_set tried = 0;
    mm_signer_unref(pick(fixture, &tried));
    mm_cleanup(mm_signer_unref) struct mm_signer *second = pick(fixture, &tried);
    assert_string_equal(mm_signer_kid(second), kid_of(fixture, 1));
}

static void a_key_that_was_tried_is_not_picked_again(void **state)
{
    struct signers_fixture *fixture = *state;
    struct mm_error err = {0};
    mm_signer_set tried = 0;
    open_two(fixture);
    mm_cleanup(mm_signer_unref) struct mm_signer *first = pick(fixture, &tried);
    mm_cleanup(mm_signer_unref) struct mm_signer *second = pick(fixture, &tried);
    assert_ptr_not_equal(first, second);
    assert_null(mm_signers_pick(fixture->signers, MM_ES256, &tried, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
}

static void only_an_active_key_of_the_algorithm_is_picked(void **state)
{
    struct signers_fixture *fixture = *state;
    struct mm_error err = {0};
    mm_signer_set tried = 0;
    open_signers(fixture);
    size_t key = make_key_at(fixture, 0);
    assert_true(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, NULL));
    assert_null(mm_signers_pick(fixture->signers, MM_ES256, &tried, &err));
    assert_int_equal(mm_signers_health(fixture->signers), MM_SIGNERS_DOWN);
    assert_true(mm_signers_activate(fixture->signers, kid_of(fixture, key), NULL));
    assert_null(mm_signers_pick(fixture->signers, MM_RS256, &tried, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    assert_best(fixture, key);
    err = (struct mm_error){0};
    assert_false(mm_signers_activate(fixture->signers, "another", &err));
    assert_int_equal(err.code, MM_NOT_FOUND);
}

static void two_keys_of_one_hsm_token_start_one_after_the_other_and_sign(void **state)
{
    struct signers_fixture *fixture = *state;
    fixture->tokens[0].workers = 2;
    behave_at(fixture, 0, "answer start=100");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_DONT_WAIT);
    (void)activate_at(fixture, 0, MM_SIGNERS_DONT_WAIT);
    assert_true(mm_signers_wait_any(fixture->signers, NULL));
    wait_for_health(fixture, MM_SIGNERS_READY);
    struct mm_signers_state told;
    do {
        sleep_ms(2);
        mm_signers_state(fixture->signers, &told);
    } while (told.hsm_tokens[0].pool.n_ready < 4);
    assert_int_equal(count_log_at(fixture, 0, "start "), 4);
    assert_int_equal(count_log_at(fixture, 0, "overlap"), 0);
    for (size_t i = 0; i < 4; i++) {
        struct reply reply;
        mm_signer_set tried = 0;
        assert_true(ask(fixture, &reply, &tried, NULL));
        await(&reply);
        assert_int_equal(reply.code, MM_OK);
        assert_string_equal(reply.kid, kid_of(fixture, i % 2));
    }
}

static void the_first_workers_reason_is_that_of_who_waits_for_a_key(void **state)
{
    struct signers_fixture *fixture = *state;
    struct mm_error err = {0};
    char line[32];
    (void)snprintf(line, sizeof line, "ready=%d\nanswer", MM_KEY_NOT_FOUND);
    behave_at(fixture, 0, line);
    open_signers(fixture);
    size_t key = make_key_at(fixture, 0);
    assert_false(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, &err));
    assert_int_equal(err.code, MM_KEY_NOT_FOUND);
    assert_int_equal(count_log_at(fixture, 0, "start "), 1);
    assert_true(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, NULL));
    err = (struct mm_error){0};
    assert_false(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, &err));
    assert_int_equal(err.code, MM_INTERNAL);
    fixture->keys[key].key.hsm_token = "nowhere";
    err = (struct mm_error){0};
    assert_false(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, &err));
    assert_int_equal(err.code, MM_CONFIG_INVALID);
}

static void one_key_that_works_is_enough_to_begin_with(void **state)
{
    struct signers_fixture *fixture = *state;
    behave_at(fixture, 1, "exit=4\nexit=4\nexit=4\nanswer");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_DONT_WAIT);
    (void)activate_at(fixture, 1, MM_SIGNERS_DONT_WAIT);
    assert_true(mm_signers_wait_any(fixture->signers, NULL));
    assert_int_equal(mm_signers_health(fixture->signers), MM_SIGNERS_DEGRADED);
    wait_for_health(fixture, MM_SIGNERS_READY);
}

static void if_none_works_the_preferred_ones_reason_is_told(void **state)
{
    struct signers_fixture *fixture = *state;
    struct mm_error err = {0};
    char line[32];
    fixture->tokens[1].priority = 1;
    behave_at(fixture, 0, "exit=4");
    (void)snprintf(line, sizeof line, "ready=%d start=300", MM_KEY_CUSTODY);
    behave_at(fixture, 1, line);
    open_signers(fixture);
    assert_false(mm_signers_wait_any(fixture->signers, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    (void)activate_at(fixture, 0, MM_SIGNERS_DONT_WAIT);
    (void)activate_at(fixture, 1, MM_SIGNERS_DONT_WAIT);
    err = (struct mm_error){0};
    assert_false(mm_signers_wait_any(fixture->signers, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
    assert_int_equal(mm_signers_health(fixture->signers), MM_SIGNERS_DOWN);
}

struct removal {
    struct signers_fixture *fixture;
    int64_t within_ms;
    atomic_bool is_over;
};

static void *remove_first(void *context)
{
    struct removal *removal = context;
    assert_true(mm_signers_remove(removal->fixture->signers, kid_of(removal->fixture, 0),
                                  mm_deadline_after_ms(removal->within_ms), NULL));
    atomic_store(&removal->is_over, true);
    return NULL;
}

static void a_key_is_removed_once_its_requests_have_ended(void **state)
{
    struct signers_fixture *fixture = *state;
    struct removal removal = {.fixture = fixture, .within_ms = PATIENCE_MS};
    struct reply reply;
    mm_signer_set tried = 0;
    pthread_t thread;
    behave_at(fixture, 0, "answer delay=600");
    open_two(fixture);
    assert_true(ask(fixture, &reply, &tried, NULL));
    assert_int_equal(pthread_create(&thread, NULL, remove_first, &removal), 0);
    struct mm_signers_state told;
    do {
        sleep_ms(2);
        mm_signers_state(fixture->signers, &told);
    } while (told.n_keys > 1);
    assert_best(fixture, 1);
    assert_best(fixture, 1);
    assert_false(atomic_load(&removal.is_over));
    assert_int_equal(mm_signers_health(fixture->signers), MM_SIGNERS_READY);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&reply.n_answers), 1);
    assert_int_equal(reply.code, MM_OK);
    struct mm_error err = {0};
    assert_false(mm_signers_remove(fixture->signers, kid_of(fixture, 0), 0, &err));
    assert_int_equal(err.code, MM_NOT_FOUND);
    /* It may come back. */
    assert_true(mm_signers_add(fixture->signers, &fixture->keys[0].key, MM_SIGNERS_WAIT, NULL));
}

static void a_removal_waits_no_longer_than_its_deadline(void **state)
{
    struct signers_fixture *fixture = *state;
    struct removal removal = {.fixture = fixture, .within_ms = 100};
    struct mm_error err = {0};
    struct reply hung;
    mm_signer_set tried = 0;
    behave_at(fixture, 0, "hang");
    open_two(fixture);
    assert_true(ask(fixture, &hung, &tried, NULL));
    assert_string_equal(mm_signer_kid(hung.signer), kid_of(fixture, 0));
    tried = 0;
    mm_signer_unref(pick(fixture, &tried)); /* the other's turn */
    mm_cleanup(mm_signer_unref) struct mm_signer *holder = pick(fixture, &tried);
    assert_string_equal(mm_signer_kid(holder), kid_of(fixture, 0));
    (void)remove_first(&removal);
    assert_int_equal(atomic_load(&hung.n_answers), 1);
    assert_int_not_equal(hung.code, MM_OK);
    /* Who holds it still learns that it is gone. */
    const struct mm_pool_order order = {MM_SENTENCE_ACCESS_TOKEN,          "acme",         "{\"n\":1}", 7,
                                        mm_deadline_after_ms(PATIENCE_MS), MM_POOL_PATIENT};
    assert_false(mm_signer_sign(holder, &order, tried, take_reply, NULL, &err));
    assert_int_equal(err.code, MM_SHUTTING_DOWN);
    assert_string_equal(mm_signer_kid(holder), kid_of(fixture, 0));
}

static void a_request_behind_a_hang_comes_back_in_time_for_another_key(void **state)
{
    struct signers_fixture *fixture = *state;
    struct reply first;
    struct reply second;
    fixture->tokens[0].priority = 1;
    fixture->tokens[0].sign_timeout_ms = 300;
    behave_at(fixture, 0, "hang");
    open_two(fixture);
    int64_t before = mm_monotonic_ns();
    mm_signer_set tried = 0;
    assert_true(ask(fixture, &first, &tried, NULL));
    await(&first);
    assert_int_equal(first.code, MM_HSM_UNAVAILABLE);
    assert_in_range(first.answered_ns - before, 290000000, 2000000000);
    assert_true(ask(fixture, &second, &tried, NULL));
    await(&second);
    assert_int_equal(second.code, MM_OK);
    assert_string_equal(second.kid, kid_of(fixture, 1));
}

static void the_last_key_is_given_its_time(void **state)
{
    struct signers_fixture *fixture = *state;
    struct reply reply;
    mm_signer_set tried = 0;
    behave_at(fixture, 0, "die=0\nanswer");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    assert_true(ask(fixture, &reply, &tried, NULL));
    await(&reply);
    assert_int_equal(reply.code, MM_OK);
}

static void what_is_told_of_keys_and_hsm_tokens(void **state)
{
    struct signers_fixture *fixture = *state;
    static struct mm_signers_state told;
    char lines[64];
    (void)snprintf(lines, sizeof lines, "answer\nanswer\nready=%d", MM_PIN_REFUSED);
    fixture->tokens[0].restart_delay_ms = 500;
    behave_at(fixture, 0, lines);
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    size_t standby = make_key_at(fixture, 0);
    assert_true(mm_signers_add(fixture->signers, &fixture->keys[standby].key, MM_SIGNERS_WAIT, NULL));
    mm_signers_state(fixture->signers, &told);
    assert_int_equal(told.n_keys, 2);
    assert_string_equal(told.keys[0].kid, kid_of(fixture, 0));
    assert_string_equal(told.keys[0].hsm_token, "hsm-0");
    assert_int_equal(told.keys[0].role, MM_SIGNER_ACTIVE);
    assert_int_equal(told.keys[0].algorithm, MM_ES256);
    assert_int_equal(told.keys[1].role, MM_SIGNER_STANDBY);
    assert_int_equal(told.n_hsm_tokens, 2);
    assert_string_equal(told.hsm_tokens[1].name, "hsm-1");
    assert_int_equal(told.hsm_tokens[1].n_keys, 0);
    assert_int_equal(told.hsm_tokens[0].n_keys, 2);
    assert_int_equal(told.hsm_tokens[0].pool.n_workers, 2);
    assert_int_equal(told.hsm_tokens[0].pool.n_ready, 2);
    assert_false(told.hsm_tokens[0].pool.is_latched);
    /* One PIN, refused to one worker: nobody sends it again. */
    kill_workers_at(fixture, 0);
    wait_for_health(fixture, MM_SIGNERS_DOWN);
    do {
        sleep_ms(10);
        mm_signers_state(fixture->signers, &told);
    } while (!told.keys[0].pool.is_latched || !told.keys[1].pool.is_latched);
    assert_int_equal(count_log_at(fixture, 0, "start "), 3);
    assert_true(mm_monotonic_ns() - mm_signers_beat_ns(fixture->signers) < 5000000000);
}

static void readiness_follows_the_active_keys(void **state)
{
    struct signers_fixture *fixture = *state;
    behave_at(fixture, 0, "answer\nstart=700");
    behave_at(fixture, 1, "answer\nstart=700");
    open_two(fixture);
    assert_int_equal(mm_signers_health(fixture->signers), MM_SIGNERS_READY);
    kill_workers_at(fixture, 0);
    wait_for_health(fixture, MM_SIGNERS_DEGRADED);
    kill_workers_at(fixture, 1);
    wait_for_health(fixture, MM_SIGNERS_DOWN);
    wait_for_health(fixture, MM_SIGNERS_READY);
}

static void an_hsm_token_has_room_for_so_many_keys(void **state)
{
    struct signers_fixture *fixture = *state;
    struct mm_error err = {0};
    open_signers(fixture);
    for (size_t i = 0; i < MM_SIGNERS_PER_TOKEN_MAX; i++)
        (void)activate_at(fixture, 0, MM_SIGNERS_DONT_WAIT);
    size_t key = make_key_at(fixture, 0);
    assert_false(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_DONT_WAIT, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    wait_for_health(fixture, MM_SIGNERS_READY);
    assert_int_equal(count_log_at(fixture, 0, "overlap"), 0);
    assert_true(mm_signers_remove(fixture->signers, kid_of(fixture, 0), mm_deadline_after_ms(PATIENCE_MS), NULL));
    assert_true(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, NULL));
}

static struct mm_signers_token_state told_of(struct signers_fixture *fixture, size_t token)
{
    static struct mm_signers_state told;
    mm_signers_state(fixture->signers, &told);
    return told.hsm_tokens[token];
}

/* As a key is vetted before it is on standby. */
static bool add_and_remove(struct signers_fixture *fixture, size_t key, struct mm_error *err)
{
    return mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, err) &&
           mm_signers_remove(fixture->signers, kid_of(fixture, key), mm_deadline_after_ms(PATIENCE_MS), err);
}

static void of_an_hsm_token_without_a_key_what_was_heard_last_is_told(void **state)
{
    struct signers_fixture *fixture = *state;
    char lines[64];
    struct mm_error err = {0};
    int64_t before = mm_clock_now(&MM_SYSTEM_CLOCK);
    (void)snprintf(lines, sizeof lines, "answer\nready=%d\nanswer", MM_KEY_NOT_FOUND);
    behave_at(fixture, 1, lines);
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    size_t standby = make_key_at(fixture, 1);
    assert_int_equal(told_of(fixture, 0).word, MM_SIGNERS_TOKEN_UP);
    assert_int_equal(told_of(fixture, 1).word, MM_SIGNERS_TOKEN_NOT_IN_USE);
    assert_int_equal(told_of(fixture, 1).last.kind, MM_SIGNERS_HEARD_NOTHING);
    assert_true(add_and_remove(fixture, standby, NULL));
    assert_int_equal(told_of(fixture, 1).word, MM_SIGNERS_TOKEN_NOT_IN_USE);
    assert_int_equal(told_of(fixture, 1).last.kind, MM_SIGNERS_HEARD_READY);
    assert_in_range(told_of(fixture, 1).last.at, before, mm_clock_now(&MM_SYSTEM_CLOCK));
    assert_false(add_and_remove(fixture, standby, &err));
    assert_int_equal(told_of(fixture, 1).last.kind, MM_SIGNERS_HEARD_FAILED);
    assert_non_null(strstr(told_of(fixture, 1).last.detail, "the fake's?reason"));
    assert_true(add_and_remove(fixture, standby, NULL));
    assert_int_equal(told_of(fixture, 1).last.kind, MM_SIGNERS_HEARD_READY);
    assert_int_equal(told_of(fixture, 0).word, MM_SIGNERS_TOKEN_UP);
}

static void an_hsm_token_whose_workers_are_lost_is_down(void **state)
{
    struct signers_fixture *fixture = *state;
    behave_at(fixture, 0, "answer\nexit=4");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    kill_workers_at(fixture, 0);
    wait_for_health(fixture, MM_SIGNERS_DOWN);
    assert_int_equal(told_of(fixture, 0).word, MM_SIGNERS_TOKEN_DOWN);
    while (told_of(fixture, 0).last.kind != MM_SIGNERS_HEARD_FAILED)
        sleep_ms(2);
}

static void a_latch_shows_where_no_key_is_used(void **state)
{
    struct signers_fixture *fixture = *state;
    open_signers(fixture);
    mm_cleanup(free) char *path = mm_latch_path(&fixture->config, "hsm-1", NULL);
    mm_cleanup(free) char *folder = mm_latch_folder(&fixture->config, NULL);
    assert_true(mm_latch_make_folder(&fixture->config, NULL));
    assert_true(mm_latch_set(path, 1764000000, "set by a command", NULL));
    assert_int_equal(told_of(fixture, 1).word, MM_SIGNERS_TOKEN_LOCKED_OUT);
    assert_true(told_of(fixture, 1).pool.is_latched);
    assert_int_equal(told_of(fixture, 0).word, MM_SIGNERS_TOKEN_NOT_IN_USE);
    assert_true(mm_latch_clear(path, NULL));
    assert_int_equal(told_of(fixture, 1).word, MM_SIGNERS_TOKEN_NOT_IN_USE);
    /* Where that can't be told nobody may log in either. */
    assert_int_equal(rmdir(folder), 0);
    FILE *file = fopen(folder, "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(told_of(fixture, 1).word, MM_SIGNERS_TOKEN_LOCKED_OUT);
}

static void a_key_serves_while_it_is_active_and_a_worker_is_ready(void **state)
{
    struct signers_fixture *fixture = *state;
    behave_at(fixture, 0, "answer\nstart=700");
    open_signers(fixture);
    size_t key = make_key_at(fixture, 0);
    assert_true(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, NULL));
    assert_false(mm_signers_serves(fixture->signers, kid_of(fixture, key)));
    assert_true(mm_signers_activate(fixture->signers, kid_of(fixture, key), NULL));
    assert_true(mm_signers_serves(fixture->signers, kid_of(fixture, key)));
    assert_false(mm_signers_serves(fixture->signers, "another"));
    kill_workers_at(fixture, 0);
    wait_for_health(fixture, MM_SIGNERS_DOWN);
    assert_false(mm_signers_serves(fixture->signers, kid_of(fixture, key)));
    wait_for_health(fixture, MM_SIGNERS_READY);
    assert_true(mm_signers_serves(fixture->signers, kid_of(fixture, key)));
}

struct addition {
    struct signers_fixture *fixture;
    size_t key;
    struct mm_error err;
    int64_t ended_ns;
};

static void *add_one(void *context)
{
    struct addition *addition = context;
    struct signers_fixture *fixture = addition->fixture;
    assert_false(mm_signers_add(fixture->signers, &fixture->keys[addition->key].key, MM_SIGNERS_WAIT, &addition->err));
    addition->ended_ns = mm_monotonic_ns();
    return NULL;
}

static void as_the_service_ends_nobody_waits_for_a_worker_and_no_login_is_killed(void **state)
{
    struct signers_fixture *fixture = *state;
    pthread_t thread;
    fixture->tokens[1].start_timeout = 30;
    behave_at(fixture, 1, "stuck");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    struct addition addition = {.fixture = fixture, .key = make_key_at(fixture, 1)};
    assert_int_equal(pthread_create(&thread, NULL, add_one, &addition), 0);
    while (count_log_at(fixture, 1, "start ") == 0)
        sleep_ms(2);
    int64_t before = mm_monotonic_ns();
    mm_signers_drain(fixture->signers);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(addition.err.code, MM_SHUTTING_DOWN);
    assert_in_range(addition.ended_ns - before, 0, 4000000000);
    mm_cleanup(free) char *log = read_log_at(fixture, 1);
    assert_int_equal(kill(atoi(strstr(log, "start ") + strlen("start ")), 0), 0);
    (void)add_one(&addition);
    assert_int_equal(addition.err.code, MM_SHUTTING_DOWN);
    assert_int_equal(count_log_at(fixture, 1, "start "), 1);
    /* Keys that sign do so until the end. */
    struct reply reply;
    mm_signer_set tried = 0;
    assert_true(ask(fixture, &reply, &tried, NULL));
    await(&reply);
    assert_int_equal(reply.code, MM_OK);
    kill_workers_at(fixture, 1);
}

static void nobody_starts_beside_a_login_that_was_left_behind(void **state)
{
    struct signers_fixture *fixture = *state;
    pthread_t thread;
    fixture->tokens[0].start_timeout = 30;
    behave_at(fixture, 0, "answer\nstuck\nanswer");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_WAIT);
    struct addition addition = {.fixture = fixture, .key = make_key_at(fixture, 0)};
    assert_int_equal(pthread_create(&thread, NULL, add_one, &addition), 0);
    while (count_log_at(fixture, 0, "start ") < 2)
        sleep_ms(2);
    mm_signers_drain(fixture->signers);
    assert_int_equal(pthread_join(thread, NULL), 0);
    kill_workers_at(fixture, 0);
    wait_for_health(fixture, MM_SIGNERS_DOWN);
    sleep_ms(500);
    assert_int_equal(count_log_at(fixture, 0, "start "), 2);
}

static void a_stop_leaves_a_worker_that_is_starting_to_the_launcher(void **state)
{
    struct signers_fixture *fixture = *state;
    fixture->tokens[0].start_timeout = 30;
    behave_at(fixture, 0, "stuck");
    open_signers(fixture);
    (void)activate_at(fixture, 0, MM_SIGNERS_DONT_WAIT);
    while (count_log_at(fixture, 0, "start ") == 0)
        sleep_ms(2);
    int64_t before = mm_monotonic_ns();
    mm_signers_stop(MM_TAKE(fixture->signers));
    assert_in_range(mm_monotonic_ns() - before, 0, 4000000000);
    mm_cleanup(free) char *log = read_log_at(fixture, 0);
    assert_int_equal(kill(atoi(strstr(log, "start ") + strlen("start ")), 0), 0);
    kill_workers_at(fixture, 0);
}

struct caller {
    struct signers_fixture *fixture;
    size_t n_signed;
    size_t n_other; /* anything but signed, or let down by a key that was leaving */
};

static void *sign_often(void *context)
{
    struct caller *caller = context;
    for (size_t i = 0; i < N_EACH; i++) {
        struct reply reply;
        struct mm_error err = {0};
        mm_signer_set tried = 0;
        if (ask(caller->fixture, &reply, &tried, &err))
            await(&reply);
        else
            reply.code = err.code;
        caller->n_signed += reply.code == MM_OK;
        caller->n_other += reply.code != MM_OK && reply.code != MM_SHUTTING_DOWN;
    }
    return NULL;
}

static void keys_come_and_go_while_others_sign(void **state)
{
    struct signers_fixture *fixture = *state;
    struct caller callers[N_THREADS];
    pthread_t threads[N_THREADS];
    behave_at(fixture, 0, "answer delay=1");
    behave_at(fixture, 1, "answer delay=1");
    open_two(fixture);
    for (size_t i = 0; i < N_THREADS; i++) {
        callers[i] = (struct caller){.fixture = fixture};
        assert_int_equal(pthread_create(&threads[i], NULL, sign_often, &callers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        size_t key = i % 2;
        static struct mm_signers_state told;
        assert_true(mm_signers_remove(fixture->signers, kid_of(fixture, key), mm_deadline_after_ms(i * 20), NULL));
        mm_signers_state(fixture->signers, &told);
        assert_int_equal(told.n_keys, 1);
        assert_true(mm_signers_add(fixture->signers, &fixture->keys[key].key, MM_SIGNERS_WAIT, NULL));
        assert_true(mm_signers_activate(fixture->signers, kid_of(fixture, key), NULL));
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(callers[i].n_other, 0);
        assert_true(callers[i].n_signed > N_EACH / 2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, signers_fixture_set_up, signers_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_hsm_token_of_higher_priority_is_preferred),
        TEST(equal_keys_share_the_work),
        TEST(idle_keys_take_turns),
        TEST(a_key_without_a_ready_worker_comes_last),
        TEST(a_key_that_was_tried_is_not_picked_again),
        TEST(only_an_active_key_of_the_algorithm_is_picked),
        TEST(two_keys_of_one_hsm_token_start_one_after_the_other_and_sign),
        TEST(the_first_workers_reason_is_that_of_who_waits_for_a_key),
        TEST(one_key_that_works_is_enough_to_begin_with),
        TEST(if_none_works_the_preferred_ones_reason_is_told),
        TEST(a_key_is_removed_once_its_requests_have_ended),
        TEST(a_removal_waits_no_longer_than_its_deadline),
        TEST(a_request_behind_a_hang_comes_back_in_time_for_another_key),
        TEST(the_last_key_is_given_its_time),
        TEST(what_is_told_of_keys_and_hsm_tokens),
        TEST(readiness_follows_the_active_keys),
        TEST(an_hsm_token_has_room_for_so_many_keys),
        TEST(of_an_hsm_token_without_a_key_what_was_heard_last_is_told),
        TEST(an_hsm_token_whose_workers_are_lost_is_down),
        TEST(a_latch_shows_where_no_key_is_used),
        TEST(a_key_serves_while_it_is_active_and_a_worker_is_ready),
        TEST(as_the_service_ends_nobody_waits_for_a_worker_and_no_login_is_killed),
        TEST(nobody_starts_beside_a_login_that_was_left_behind),
        TEST(a_stop_leaves_a_worker_that_is_starting_to_the_launcher),
        TEST(keys_come_and_go_while_others_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
