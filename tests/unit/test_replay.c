/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWTs that may be used once: once it is, whoever asks, in whatever order, however many, and whatever the clock does.
 */
#include "oauth/replay.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ISSUER "https://ci.acme.example"
#define NOW    1790000000

static struct mm_replay *make(size_t capacity)
{
    struct mm_replay *replay = mm_replay_new(capacity, &MM_SYSTEM_RANDOM, NULL);
    assert_non_null(replay);
    return replay;
}

static enum mm_code use_of(struct mm_replay *replay, const char *issuer, const char *jti, int64_t until, int64_t now)
{
    uint8_t digest[MM_SHA256_LENGTH];
    struct mm_error err = {0};
    mm_replay_digest(issuer, jti, digest);
    bool is_first = mm_replay_use(replay, issuer, digest, until, now, &err);
    assert_int_equal(is_first, err.code == MM_OK);
    return err.code;
}

/* Use so many of an issuer's, valid until `until`; how many of them could be. */
static size_t use_many(struct mm_replay *replay, const char *issuer, size_t n, int64_t until)
{
    size_t n_used = 0;
    for (size_t i = 0; i < n; i++) {
        char jti[32];
        (void)snprintf(jti, sizeof jti, "%zu", i);
        enum mm_code code = use_of(replay, issuer, jti, until, NOW);
        assert_true(code == MM_OK || code == MM_OVERLOADED);
        n_used += code == MM_OK;
    }
    return n_used;
}

static void a_jwt_is_used_once(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(8);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 300, NOW), MM_OK);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 300, NOW), MM_TOKEN_INVALID);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 300, NOW + 299), MM_TOKEN_INVALID);
    assert_int_equal(use_of(replay, ISSUER, "b", NOW + 300, NOW), MM_OK);
    assert_int_equal(mm_replay_n(replay), 2);
}

/* Who signs can give one jti two lifetimes: the first use stands. */
static void another_end_makes_no_other_jwt(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(8);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 300, NOW), MM_OK);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 299, NOW), MM_TOKEN_INVALID);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 900, NOW), MM_TOKEN_INVALID);
}

static void issuer_and_jti_are_told_apart(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(64);
    assert_int_equal(use_of(replay, "a", "bc", NOW + 300, NOW), MM_OK);
    assert_int_equal(use_of(replay, "ab", "c", NOW + 300, NOW), MM_OK);
    assert_int_equal(use_of(replay, "abc", "", NOW + 300, NOW), MM_OK);
    assert_int_equal(use_of(replay, "other", "bc", NOW + 300, NOW), MM_OK);
    assert_int_equal(use_of(replay, "a", "bc", NOW + 300, NOW), MM_TOKEN_INVALID);
}

/* It is recorded, and read again by later versions. */
static void the_digest_never_changes(void **state)
{
    (void)state;
    uint8_t digest[MM_SHA256_LENGTH];
    uint8_t expected[MM_SHA256_LENGTH];
    static const char BYTES[] = "mintmark jti 1\0" ISSUER "\0j-1";
    mm_replay_digest(ISSUER, "j-1", digest);
    mm_sha256(BYTES, sizeof BYTES - 1, expected);
    assert_memory_equal(digest, expected, sizeof digest);
}

static void an_expired_jwt_is_not_used(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(8);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW, NOW), MM_TOKEN_INVALID);
    assert_int_equal(use_of(replay, ISSUER, "b", NOW - 1, NOW), MM_TOKEN_INVALID);
    assert_int_equal(use_of(replay, ISSUER, "c", INT64_MIN, NOW), MM_TOKEN_INVALID);
    assert_int_equal(mm_replay_n(replay), 0);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 1, NOW), MM_OK);
}

static void without_room_nothing_more_is_used_and_nothing_forgotten(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(8);
    assert_int_equal(use_many(replay, ISSUER, 20, NOW + 300), 4);
    assert_int_equal(use_of(replay, ISSUER, "new", NOW + 300, NOW + 299), MM_OVERLOADED);
    for (int i = 0; i < 4; i++)
        assert_int_equal(use_of(replay, ISSUER, (char[]){(char)('0' + i), 0}, NOW + 300, NOW + 299), MM_TOKEN_INVALID);
}

static void what_has_expired_makes_room(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(8);
    assert_int_equal(use_of(replay, ISSUER, "short", NOW + 10, NOW), MM_OK);
    assert_int_equal(use_many(replay, ISSUER, 20, NOW + 300), 3);
    assert_int_equal(use_of(replay, ISSUER, "new", NOW + 300, NOW + 9), MM_OVERLOADED);
    assert_int_equal(use_of(replay, ISSUER, "new", NOW + 300, NOW + 10), MM_OK);
    assert_int_equal(use_of(replay, ISSUER, "newer", NOW + 300, NOW + 10), MM_OVERLOADED);
    assert_int_equal(mm_replay_n(replay), 4);
}

/* Two issuers of a salt's byte share a share, once in 256: with another salt they don't. */
static void no_issuer_takes_all_the_room(void **state)
{
    (void)state;
    for (int salt = 0; salt < 20; salt++) {
        mm_cleanup(mm_replay_free) struct mm_replay *replay = make(60);
        size_t first = use_many(replay, "https://a.example", 100, NOW + 300);
        size_t second = use_many(replay, "https://b.example", 100, NOW + 300);
        size_t third = use_many(replay, "https://c.example", 100, NOW + 300);
        assert_int_equal(first, 30);
        if (second == 15 && third > 0)
            return;
    }
    fail_msg("one issuer keeps another out");
}

/* Of a thousand tenants, each of which is heard of now and then. */
static void issuers_that_hardly_use_anything_leave_the_room_to_one_that_does(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(10000);
    for (int i = 0; i < 1000; i++) {
        char issuer[32];
        (void)snprintf(issuer, sizeof issuer, "https://%d.example", i);
        assert_int_equal(use_of(replay, issuer, "a", NOW + 300, NOW), MM_OK);
    }
    size_t n = use_many(replay, "https://busy.example", 10000, NOW + 300);
    assert_in_range(n, 4400, 4500); /* half of what was left, less who shares its share */
    assert_int_equal(use_of(replay, "https://new.example", "a", NOW + 300, NOW), MM_OK);
}

static void a_clock_set_back_lets_nothing_be_used_twice(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(2);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 300, NOW), MM_OK);
    assert_int_equal(use_of(replay, ISSUER, "b", NOW + 9000, NOW + 5000), MM_OK); /* a is forgotten */
    assert_int_equal(mm_replay_n(replay), 1);
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 300, NOW), MM_TOKEN_INVALID);
    assert_int_equal(use_of(replay, ISSUER, "c", NOW + 299, NOW), MM_TOKEN_INVALID); /* it may have been */
    assert_int_equal(use_of(replay, ISSUER, "d", NOW + 301, NOW), MM_OVERLOADED);    /* it can't have been */
}

static void uses_that_were_recorded_hold_after_a_restart(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *before = make(8);
    mm_cleanup(mm_replay_free) struct mm_replay *after = make(8);
    uint8_t recorded[MM_SHA256_LENGTH];
    mm_replay_digest(ISSUER, "a", recorded);
    assert_true(mm_replay_use(before, ISSUER, recorded, NOW + 300, NOW, NULL));
    assert_true(mm_replay_use(after, ISSUER, recorded, NOW + 300, NOW + 5, NULL));
    assert_int_equal(use_of(after, ISSUER, "a", NOW + 300, NOW + 6), MM_TOKEN_INVALID);
}

/* A start by a clock that was ahead, and is set right again. */
static void a_recorded_use_that_had_expired_holds_when_the_clock_is_set_back(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(8);
    uint8_t recorded[MM_SHA256_LENGTH];
    mm_replay_digest(ISSUER, "a", recorded);
    mm_replay_remember(replay, ISSUER, recorded, NOW + 300, NOW + 5000);
    assert_int_equal(mm_replay_n(replay), 0); /* it takes no room */
    assert_int_equal(use_of(replay, ISSUER, "a", NOW + 300, NOW + 10), MM_TOKEN_INVALID);
    assert_int_equal(use_of(replay, ISSUER, "b", NOW + 301, NOW + 10), MM_OK);
    mm_replay_remember(replay, ISSUER, recorded, NOW + 300, NOW + 10);
    mm_replay_remember(replay, ISSUER, recorded, NOW + 300, NOW + 10); /* known already: nothing is forgotten for it */
    assert_int_equal(use_of(replay, ISSUER, "c", NOW + 301, NOW + 10), MM_OK);
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Against a list of all that was ever used. */
static void nothing_is_ever_used_twice_whatever_comes(void **state)
{
    (void)state;
    enum { N_JWTS = 2000, N_STEPS = 100000 };
    static bool was_used[N_JWTS];
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(50);
    uint32_t random = 7519;
    size_t n_first = 0;
    for (int step = 0; step < N_STEPS; step++) {
        /* On the whole, time passes; but this clock goes a minute back at any moment, and sometimes far ahead. */
        int time = step / (N_STEPS / N_JWTS);
        int64_t now = NOW + time - next_random(&random) % 60 + (next_random(&random) % 500 == 0 ? 10000 : 0);
        unsigned which = ((unsigned)time + next_random(&random) % 120) % N_JWTS;
        int64_t until = NOW + which; /* each has an end of its own */
        char jti[16];
        (void)snprintf(jti, sizeof jti, "%u", which);
        bool is_first = use_of(replay, which % 3 ? "x" : "y", jti, until, now) == MM_OK;
        assert_false(is_first && was_used[which]);
        assert_false(is_first && until <= now);
        was_used[which] = was_used[which] || is_first;
        n_first += is_first;
        assert_true(mm_replay_n(replay) <= 50);
    }
    assert_in_range(n_first, N_JWTS / 4, N_JWTS);
}

static bool fill_nothing(void *context, void *out, size_t length)
{
    (void)context;
    (void)out;
    (void)length;
    return false;
}

static void without_randomness_there_is_none(void **state)
{
    (void)state;
    struct mm_error err = {0};
    assert_null(mm_replay_new(8, &(struct mm_random){.fill = fill_nothing}, &err));
    assert_int_equal(err.code, MM_INTERNAL);
}

enum { N_THREADS = 4, N_JTIS = 500 };

static void *use_all(void *context)
{
    struct mm_replay *replay = context;
    size_t n_first = 0;
    for (int i = 0; i < N_JTIS; i++) {
        char jti[16];
        (void)snprintf(jti, sizeof jti, "%d", i);
        n_first += use_of(replay, ISSUER, jti, NOW + 300, NOW) == MM_OK;
    }
    return (void *)(uintptr_t)n_first;
}

static void of_many_threads_one_is_the_first(void **state)
{
    (void)state;
    mm_cleanup(mm_replay_free) struct mm_replay *replay = make(2 * (size_t)N_JTIS);
    pthread_t threads[N_THREADS];
    size_t n_first = 0;
    for (size_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_all, replay), 0);
    for (size_t i = 0; i < N_THREADS; i++) {
        void *n;
        assert_int_equal(pthread_join(threads[i], &n), 0);
        n_first += (size_t)(uintptr_t)n;
    }
    assert_int_equal(n_first, N_JTIS);
    assert_int_equal(mm_replay_n(replay), N_JTIS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_jwt_is_used_once),
        cmocka_unit_test(another_end_makes_no_other_jwt),
        cmocka_unit_test(issuer_and_jti_are_told_apart),
        cmocka_unit_test(the_digest_never_changes),
        cmocka_unit_test(an_expired_jwt_is_not_used),
        cmocka_unit_test(without_room_nothing_more_is_used_and_nothing_forgotten),
        cmocka_unit_test(what_has_expired_makes_room),
        cmocka_unit_test(no_issuer_takes_all_the_room),
        cmocka_unit_test(issuers_that_hardly_use_anything_leave_the_room_to_one_that_does),
        cmocka_unit_test(a_clock_set_back_lets_nothing_be_used_twice),
        cmocka_unit_test(uses_that_were_recorded_hold_after_a_restart),
        cmocka_unit_test(a_recorded_use_that_had_expired_holds_when_the_clock_is_set_back),
        cmocka_unit_test(nothing_is_ever_used_twice_whatever_comes),
        cmocka_unit_test(without_randomness_there_is_none),
        cmocka_unit_test(of_many_threads_one_is_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
