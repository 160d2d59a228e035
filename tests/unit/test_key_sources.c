/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Others' keys, with a clock and a fetcher that do as they are told: when a source is asked, what callers get meanwhile, who waits and for how
 * long.
 */
#include "oauth/key_sources.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/floors.h"
#include "fetch/answer.h"
#include "oauth/key_source.h"
#include "oauth/key_sources_internal.h"
#include "util/base64url.h"
#include "util/clock.h"

#define IDP  "https://idp.example/realms/acme"
#define JWKS "https://idp.example/keys"

enum { PATIENCE_MS = 20000, ASKED_MAX = 80, HOSTS_MAX = 42 };

static const int64_t SECOND_NS = 1000000000;

/* A point of P-256 (RFC 7517 appendix A.1). */
#define KEY(kid) \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"" kid \
    "\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":" \
    "\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}"
#define SET(keys)    "{\"keys\":[" keys "]}"
#define DISCOVERY(i) "{\"issuer\":\"" i "\",\"jwks_uri\":\"" JWKS "\"}"

/* --- a fetcher and a clock */

static struct {
    pthread_mutex_t lock;
    char url[ASKED_MAX][128]; /* asked for, in this order */
    int fd[ASKED_MAX];
    size_t n;
    enum { WORKS, GONE } state;
} fetcher = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Atomic int64_t now_ns;
static atomic_int n_woken;
static atomic_int n_told;
static char told[256]; /* read once n_told has grown */

static int64_t read_clock(void)
{
    return now_ns;
}

static bool fetch(void *context, const char *url, int *ret_fd, struct mm_error *err)
{
    (void)context;
    int ends[2];
    (void)pthread_mutex_lock(&fetcher.lock);
    bool is_taken = fetcher.state == WORKS && fetcher.n < ASKED_MAX && pipe2(ends, O_CLOEXEC) == 0;
    if (is_taken) {
        (void)snprintf(fetcher.url[fetcher.n], sizeof fetcher.url[0], "%s", url);
        fetcher.fd[fetcher.n++] = ends[1];
        *ret_fd = ends[0];
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    }
    (void)pthread_mutex_unlock(&fetcher.lock);
    return is_taken || mm_fail(err, MM_UNREACHABLE, "the fetcher can't be asked");
}

static size_t n_asked(void)
{
    (void)pthread_mutex_lock(&fetcher.lock);
    size_t n = fetcher.n;
    (void)pthread_mutex_unlock(&fetcher.lock);
    return n;
}

static void wait_for(bool (*holds)(const void *context), const void *context)
{
    for (int64_t until = mm_deadline_after_ms(PATIENCE_MS); !holds(context); (void)usleep(500))
        assert_true(mm_monotonic_ns() < until);
}

static bool are_asked(const void *context)
{
    return n_asked() >= *(const size_t *)context;
}

/* The n-th request so far, from 1, is for that. */
static void is_asked(size_t n, const char *url)
{
    wait_for(are_asked, &n);
    assert_int_equal(n_asked(), n);
    assert_string_equal(fetcher.url[n - 1], url);
}

static void say(size_t n, const void *data, size_t length)
{
    ssize_t written = write(fetcher.fd[n - 1], data, length);
    (void)written; /* perhaps nobody reads */
    assert_int_equal(close(fetcher.fd[n - 1]), 0);
    fetcher.fd[n - 1] = -1;
}

static void answer(size_t n, const char *text, int64_t max_age)
{
    uint8_t bytes[16384];
    const struct mm_fetched fetched = {.max_age = max_age};
    size_t length = strlen(text);
    mm_fetch_answer_head(&fetched, length, bytes);
    memcpy(bytes + MM_FETCH_HEAD_LENGTH, text, length);
    say(n, bytes, MM_FETCH_HEAD_LENGTH + length);
}

static void refuse(size_t n, const char *why)
{
    uint8_t bytes[512];
    mm_fetch_answer_head(NULL, strlen(why), bytes);
    memcpy(bytes + MM_FETCH_HEAD_LENGTH, why, strlen(why));
    say(n, bytes, MM_FETCH_HEAD_LENGTH + strlen(why));
}

static void observe(void *context, enum mm_key_source_event event, const char *source, const char *detail)
{
    (void)context;
    (void)snprintf(told, sizeof told, "%s %s %s", source, event == MM_KEY_SOURCE_BACK ? "is back:" : "failed:", detail);
    (void)atomic_fetch_add(&n_told, 1);
}

static bool have_told(const void *context)
{
    return n_told >= *(const int *)context;
}

static void is_told(int n, const char *what)
{
    wait_for(have_told, &n);
    assert_string_equal(told, what);
}

/* --- a service's configuration */

struct world {
    struct mm_tenant tenant;
    char *issuers[4];
    char *hosts[HOSTS_MAX];
    struct mm_issuer_keys keys[1];
    struct mm_config config;
    struct mm_key_sources *sources;
};

static bool fill(void *context, void *out, size_t length)
{
    (void)context;
    memset(out, 0, length);
    return true;
}

static const struct mm_random RANDOM = {fill, NULL};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    fetcher.n = 0;
    fetcher.state = WORKS;
    memset(fetcher.fd, -1, sizeof fetcher.fd);
    now_ns = 1000 * SECOND_NS;
    n_woken = 0;
    n_told = 0;
    world->issuers[0] = (char *)(uintptr_t)IDP;
    world->hosts[0] = (char *)(uintptr_t) "idp.example";
    world->hosts[1] = (char *)(uintptr_t) "other.example";
    world->tenant.id = (char *)(uintptr_t) "acme";
    world->tenant.envelope.issuers = (struct mm_strings){world->issuers, 1};
    world->config.policy = (struct mm_policy){.tenants = &world->tenant, .n_tenants = 1};
    world->config.fetch.hosts = (struct mm_strings){world->hosts, 2};
    world->config.issuers = world->keys;
    const struct mm_key_sources_parts parts = {.fetch = fetch,
                                               .random = &RANDOM,
                                               .monotonic_ns = read_clock,
                                               .observer = observe};
    world->sources = mm_key_sources_start(&parts, NULL);
    assert_non_null(world->sources);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    mm_key_sources_free(world->sources);
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (fetcher.fd[i] >= 0)
            (void)close(fetcher.fd[i]);
    mm_jwks_unref(world->keys[0].jwks);
    free(world);
    return 0;
}

static void use(struct world *world)
{
    struct mm_error err = {0};
    if (!mm_key_sources_use(world->sources, &world->config, &err))
        fail_msg("%s", err.message);
}

/* A JWT that asks for that key. */
static struct mm_jwt *jwt(const char *kid)
{
    char header[128];
    char text[512];
    uint8_t signature[64] = {1};
    (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    mm_base64url_encode((const uint8_t *)header, strlen(header), text);
    (void)strcat(text, ".");
    mm_base64url_encode((const uint8_t *)"{}", 2, text + strlen(text));
    (void)strcat(text, ".");
    mm_base64url_encode(signature, sizeof signature, text + strlen(text));
    struct mm_error err = {0};
    struct mm_jwt *jwt = mm_jwt_open(text, strlen(text), &err);
    assert_string_equal(err.message, "");
    return jwt;
}

static void wake(void *context)
{
    assert_true(context == NULL || *(int *)context == 7);
    (void)atomic_fetch_add(&n_woken, 1);
}

/* What a caller with a JWT of that key gets; READY and without it is -1. */
enum { READY = MM_KEYS_READY, AWAITED = MM_KEYS_AWAITED, FAILED = MM_KEYS_FAILED, WITHOUT = -1 };

static int get_from(struct world *world, const char *source, const char *kid, struct mm_error *err)
{
    mm_cleanup(mm_jwt_free) struct mm_jwt *wanted = jwt(kid);
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = NULL;
    enum mm_keys answer = mm_key_sources_get(world->sources, source, wanted, wake, NULL, &jwks, err);
    assert_int_equal(answer == MM_KEYS_READY, jwks != NULL);
    return answer == MM_KEYS_READY && !mm_jwt_has_key_in(wanted, jwks) ? WITHOUT : (int)answer;
}

static int get(struct world *world, const char *kid)
{
    return get_from(world, IDP, kid, NULL);
}

static void fails(struct world *world, const char *source, enum mm_code code)
{
    struct mm_error err = {0};
    assert_int_equal(get_from(world, source, "a", &err), FAILED);
    assert_int_equal(err.code, code);
}

static bool are_woken(const void *context)
{
    return n_woken >= *(const int *)context;
}

static void are_awake(int n)
{
    wait_for(are_woken, &n);
    assert_int_equal(n_woken, n);
}

static void pass(struct world *world, int64_t seconds)
{
    now_ns += seconds * SECOND_NS;
    mm_key_sources_poke(world->sources);
}

static void pass_ms(struct world *world, int64_t ms)
{
    now_ns += ms * 1000000;
    mm_key_sources_poke(world->sources);
}

static struct mm_key_source_state describe(struct world *world)
{
    struct mm_key_source_state *states = NULL;
    static char error[256];
    size_t n = 0;
    assert_true(mm_key_sources_describe(world->sources, &states, &n, NULL));
    assert_int_equal(n, 1);
    struct mm_key_source_state state = states[0];
    (void)snprintf(error, sizeof error, "%s", state.error ? state.error : "");
    mm_key_source_states_free(states, n);
    state.error = error;
    return state;
}

struct expected {
    struct world *world;
    size_t n_keys;
    int64_t age;
};

static bool is_as(const void *context)
{
    const struct expected *expected = context;
    struct mm_key_source_state state = describe(expected->world);
    return state.n_keys == expected->n_keys && state.age == expected->age;
}

/* Wait until there are so many keys, as old as that. */
static void has_keys(struct world *world, size_t n, int64_t age)
{
    const struct expected expected = {world, n, age};
    wait_for(is_as, &expected);
}

/* The source has its first keys: request 1 and 2. */
static void has_first_keys(struct world *world, int64_t max_age)
{
    use(world);
    is_asked(1, IDP "/.well-known/openid-configuration");
    answer(1, DISCOVERY(IDP), MM_FETCH_AGE_UNSAID);
    is_asked(2, JWKS);
    answer(2, SET(KEY("a")), max_age);
    has_keys(world, 1, 0);
}

/* Nothing more is asked for, as far as a look of the thread can tell. */
static void nothing_is_asked_beyond(struct world *world, size_t n)
{
    int64_t beat = mm_key_sources_beat_ns(world->sources);
    for (int i = 0; i < 3; i++) {
        mm_key_sources_poke(world->sources);
        for (int64_t until = mm_deadline_after_ms(PATIENCE_MS); mm_key_sources_beat_ns(world->sources) == beat;
             (void)usleep(500))
            assert_true(mm_monotonic_ns() < until);
        beat = mm_key_sources_beat_ns(world->sources);
    }
    assert_int_equal(n_asked(), n);
}

/* --- what is asked for, and when */

static void keys_are_fetched_before_anybody_asks_for_them(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 600);
    assert_int_equal(get(world, "a"), READY);
    assert_int_equal(n_woken, 0);
    assert_int_equal(n_told, 0);
}

static void who_comes_before_the_first_keys_waits_for_them(void **state)
{
    struct world *world = *state;
    use(world);
    assert_int_equal(get(world, "a"), AWAITED);
    assert_int_equal(get(world, "b"), AWAITED);
    is_asked(1, IDP "/.well-known/openid-configuration");
    answer(1, DISCOVERY(IDP), 0);
    is_asked(2, JWKS);
    assert_int_equal(n_woken, 0);
    answer(2, SET(KEY("a")), 600);
    are_awake(2);
    assert_int_equal(get(world, "a"), READY);
    assert_int_equal(get(world, "b"), WITHOUT); /* and doesn't wait again */
}

static void keys_are_refreshed_ahead_of_their_end(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 600);
    pass(world, 449);
    nothing_is_asked_beyond(world, 2);
    pass(world, 1);
    is_asked(3, IDP "/.well-known/openid-configuration");
    assert_int_equal(get(world, "a"), READY); /* meanwhile */
    answer(3, DISCOVERY(IDP), 0);
    is_asked(4, JWKS);
    answer(4, SET(KEY("a") "," KEY("b")), 600);
    has_keys(world, 2, 0);
    assert_int_equal(get(world, "b"), READY);
}

static void an_issuer_may_shorten_and_lengthen_that_within_bounds(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 0);
    assert_int_equal(describe(world).next, MM_KEY_FLOORS.fetched_age * 3 / 4);
    pass(world, MM_KEY_FLOORS.fetched_age);
    is_asked(3, IDP "/.well-known/openid-configuration");
    answer(3, DISCOVERY(IDP), 0);
    is_asked(4, JWKS);
    answer(4, SET(KEY("a")), INT32_MAX);
    has_keys(world, 1, 0);
    assert_int_equal(describe(world).next, MM_KEY_AGE_MAX * 3 / 4);
}

static void an_unknown_kid_is_worth_a_fetch_now_and_then(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 6000);
    assert_int_equal(get(world, "b"), WITHOUT); /* they were fetched just now */
    pass(world, MM_KEY_FLOORS.fetch_again);
    assert_int_equal(get(world, "b"), AWAITED);
    assert_int_equal(get(world, "c"), AWAITED); /* the same fetch */
    assert_int_equal(get(world, "a"), READY);   /* waits for nobody */
    is_asked(3, IDP "/.well-known/openid-configuration");
    answer(3, DISCOVERY(IDP), 0);
    is_asked(4, JWKS);
    answer(4, SET(KEY("b")), 6000);
    are_awake(2);
    assert_int_equal(get(world, "b"), READY);
    for (int i = 0; i < 100; i++)
        assert_int_equal(get(world, "c"), WITHOUT);
    assert_int_equal(get(world, "a"), WITHOUT); /* which the issuer withdrew */
    nothing_is_asked_beyond(world, 4);
}

static void one_fetch_at_a_time(void **state)
{
    struct world *world = *state;
    use(world);
    for (int i = 0; i < 50; i++)
        assert_int_equal(get(world, "a"), AWAITED);
    is_asked(1, IDP "/.well-known/openid-configuration");
    nothing_is_asked_beyond(world, 1);
    refuse(1, "no");
    are_awake(50);
}

/* --- failures */

static void without_keys_a_failure_is_one_until_it_is_time_to_try_again(void **state)
{
    struct world *world = *state;
    use(world);
    is_asked(1, IDP "/.well-known/openid-configuration");
    assert_int_equal(get(world, "a"), AWAITED);
    refuse(1, "its status is 503");
    are_awake(1);
    fails(world, IDP, MM_KEYS_UNAVAILABLE);
    is_told(1, IDP " failed: discovery: its status is 503");
    assert_string_equal(describe(world).error, "discovery: its status is 503");
    pass(world, MM_KEY_FLOORS.fetch_again - 1);
    nothing_is_asked_beyond(world, 1);
    fails(world, IDP, MM_KEYS_UNAVAILABLE);
    pass(world, 1);
    is_asked(2, IDP "/.well-known/openid-configuration");
}

static void a_source_that_fails_is_tried_ever_more_seldom(void **state)
{
    struct world *world = *state;
    int64_t wait = MM_KEY_FLOORS.fetch_again;
    use(world);
    for (size_t i = 1; i <= 8; i++) {
        is_asked(i, IDP "/.well-known/openid-configuration");
        refuse(i, "no");
        has_keys(world, 0, -1);
        while (describe(world).next == 0)
            (void)usleep(500);
        assert_int_equal(describe(world).next, wait);
        pass(world, wait);
        wait = wait * 2 < MM_KEY_RETRY_MAX ? wait * 2 : MM_KEY_RETRY_MAX;
    }
    assert_int_equal(wait, MM_KEY_RETRY_MAX);
    is_asked(9, IDP "/.well-known/openid-configuration");
    answer(9, DISCOVERY(IDP), 0);
    is_asked(10, JWKS);
    answer(10, SET(KEY("a")), 600);
    has_keys(world, 1, 0);
    is_told(2, IDP " is back: 1 key");
}

static void keys_serve_on_while_their_issuer_is_away_but_not_for_ever(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 600);
    pass(world, 450);
    is_asked(3, IDP "/.well-known/openid-configuration");
    refuse(3, "away");
    is_told(1, IDP " failed: discovery: away");
    assert_int_equal(get(world, "a"), READY);
    assert_false(describe(world).is_stale);
    fetcher.state = GONE;
    pass(world, 151);
    while (!describe(world).is_stale)
        (void)usleep(500);
    assert_int_equal(get(world, "a"), READY);
    pass(world, MM_KEY_STALE_MAX - 2);
    assert_int_equal(get(world, "a"), READY);
    pass(world, 1);
    is_told(2, IDP " failed: discovery: the fetcher can't be asked");
    while (get(world, "a") == AWAITED) /* it is being tried */
        (void)usleep(500);
    fails(world, IDP, MM_KEYS_UNAVAILABLE);
    assert_int_equal(describe(world).n_keys, 0);
}

static void an_issuer_that_lies_changes_nothing(void **state)
{
    struct world *world = *state;
    static const char *const LIES[] = {
        DISCOVERY("https://idp.example/realms/other"),
        DISCOVERY("https://idp.example/realms/acme/"),
        "{\"issuer\":\"" IDP "\",\"issuer\":\"" IDP "\",\"jwks_uri\":\"" JWKS "\"}",
        "{\"issuer\":\"" IDP "\",\"jwks_uri\":\"http://idp.example/keys\"}",
        "{\"issuer\":\"" IDP "\",\"jwks_uri\":\"https://me@idp.example/keys\"}",
        "{\"issuer\":\"" IDP "\",\"jwks_uri\":[\"" JWKS "\"]}",
        "[]",
        "",
        "<html>",
    };
    has_first_keys(world, 600);
    for (size_t i = 0; i < MM_ARRAY_SIZE(LIES); i++) {
        pass(world, 450);
        is_asked(i + 3, IDP "/.well-known/openid-configuration");
        answer(i + 3, LIES[i], 600);
        while (describe(world).next == 0)
            (void)usleep(500);
        assert_int_equal(get(world, "a"), READY);
        assert_non_null(strstr(describe(world).error, "discovery"));
    }
}

static void a_document_that_is_no_set_changes_nothing(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 600);
    pass(world, 450);
    is_asked(3, IDP "/.well-known/openid-configuration");
    answer(3, DISCOVERY(IDP), 0);
    is_asked(4, JWKS);
    answer(4, "{\"keys\":{}}", 600);
    is_told(1, IDP " failed: JWK set: not a JSON object with an array \"keys\"");
    assert_int_equal(get(world, "a"), READY);
}

static void a_document_of_very_many_parts_is_not_parsed(void **state)
{
    struct world *world = *state;
    enum { LENGTH = 60000 };
    static uint8_t bytes[MM_FETCH_HEAD_LENGTH + LENGTH];
    const struct mm_fetched fetched = {.max_age = 600};
    has_first_keys(world, 600);
    pass(world, 450);
    is_asked(3, IDP "/.well-known/openid-configuration");
    answer(3, DISCOVERY(IDP), 0);
    is_asked(4, JWKS);
    mm_fetch_answer_head(&fetched, LENGTH, bytes);
    for (size_t i = 0; i < LENGTH; i++)
        bytes[MM_FETCH_HEAD_LENGTH + i] = (uint8_t) "{},"[i % 3];
    say(4, bytes, sizeof bytes);
    is_told(1, IDP " failed: the document has more parts than one needs");
    assert_int_equal(get(world, "a"), READY);
}

static void a_fetch_that_ends_without_an_answer_failed(void **state)
{
    struct world *world = *state;
    use(world);
    is_asked(1, IDP "/.well-known/openid-configuration");
    say(1, "", 0);
    is_told(1, IDP " failed: discovery: the fetch ended without an answer");
}

static void a_fetch_without_an_end_is_given_up(void **state)
{
    struct world *world = *state;
    use(world);
    is_asked(1, IDP "/.well-known/openid-configuration");
    pass_ms(world, MM_FETCH_MS + 1999);
    nothing_is_asked_beyond(world, 1);
    assert_int_equal(n_told, 0);
    pass_ms(world, 2);
    is_told(1, IDP " failed: discovery: it took too long");
}

/* --- who waits */

static void nobody_waits_longer_than_the_time_for_it(void **state)
{
    struct world *world = *state;
    use(world);
    is_asked(1, IDP "/.well-known/openid-configuration");
    assert_int_equal(get(world, "a"), AWAITED);
    pass_ms(world, MM_KEY_WAIT_MS - 1);
    assert_int_equal(get(world, "a"), AWAITED); /* until the same moment */
    assert_int_equal(n_woken, 0);
    pass_ms(world, 1);
    are_awake(2);
    fails(world, IDP, MM_KEYS_UNAVAILABLE); /* though it goes on */
    answer(1, DISCOVERY(IDP), 0);
    is_asked(2, JWKS);
    fails(world, IDP, MM_KEYS_UNAVAILABLE);
    answer(2, SET(KEY("a")), 600);
    has_keys(world, 1, 0);
    assert_int_equal(get(world, "a"), READY);
    assert_int_equal(n_woken, 2);
}

static void only_so_many_wait_for_one_source(void **state)
{
    struct world *world = *state;
    use(world);
    for (int i = 0; i < MM_KEY_WAITERS_PER_SOURCE; i++)
        assert_int_equal(get(world, "a"), AWAITED);
    fails(world, IDP, MM_OVERLOADED);
    is_asked(1, IDP "/.well-known/openid-configuration");
    refuse(1, "no");
    are_awake(MM_KEY_WAITERS_PER_SOURCE);
}

static void who_cannot_wait_is_told_so_and_has_the_keys_fetched(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    struct mm_jwks *jwks = NULL;
    has_first_keys(world, 6000);
    pass(world, MM_KEY_FLOORS.fetch_again);
    mm_cleanup(mm_jwt_free) struct mm_jwt *unknown = jwt("b");
    assert_int_equal(mm_key_sources_get(world->sources, IDP, unknown, NULL, NULL, &jwks, &err), MM_KEYS_FAILED);
    assert_int_equal(err.code, MM_OVERLOADED);
    mm_key_sources_poke(world->sources);
    is_asked(3, IDP "/.well-known/openid-configuration");
}

static void the_end_wakes_everybody_and_keys_that_are_there_serve_on(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 6000);
    pass(world, MM_KEY_FLOORS.fetch_again);
    assert_int_equal(get(world, "b"), AWAITED);
    mm_key_sources_drain(world->sources);
    are_awake(1);
    assert_int_equal(get(world, "b"), WITHOUT);
    assert_int_equal(get(world, "a"), READY);
    mm_key_sources_drain(world->sources);
    assert_int_equal(n_woken, 1);
}

static void without_keys_nobody_waits_beyond_the_end(void **state)
{
    struct world *world = *state;
    use(world);
    is_asked(1, IDP "/.well-known/openid-configuration");
    mm_key_sources_drain(world->sources);
    fails(world, IDP, MM_SHUTTING_DOWN);
}

/* --- reloads */

static void what_stays_the_same_keeps_its_keys_and_who_waits(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 6000);
    pass(world, MM_KEY_FLOORS.fetch_again);
    assert_int_equal(get(world, "b"), AWAITED);
    is_asked(3, IDP "/.well-known/openid-configuration");
    use(world);
    assert_int_equal(get(world, "a"), READY);
    assert_int_equal(n_woken, 0);
    answer(3, DISCOVERY(IDP), 0);
    is_asked(4, JWKS);
    answer(4, SET(KEY("b")), 600);
    are_awake(1);
    assert_int_equal(get(world, "b"), READY);
}

static void who_waits_for_what_is_gone_is_woken_and_its_answer_is_nobodys(void **state)
{
    struct world *world = *state;
    use(world);
    is_asked(1, IDP "/.well-known/openid-configuration");
    assert_int_equal(get(world, "a"), AWAITED);
    world->tenant.envelope.issuers.n = 0;
    use(world);
    are_awake(1);
    fails(world, IDP, MM_ACCESS_DENIED);
    answer(1, DISCOVERY(IDP), 0);
    is_asked(2, JWKS); /* it is followed to its end */
    answer(2, SET(KEY("a")), 600);
    world->tenant.envelope.issuers.n = 1;
    use(world);
    is_asked(3, IDP "/.well-known/openid-configuration");
    assert_int_equal(get(world, "a"), AWAITED);
}

static void keys_elsewhere_are_other_keys(void **state)
{
    struct world *world = *state;
    has_first_keys(world, 6000);
    world->keys[0] =
        (struct mm_issuer_keys){.issuer = world->issuers[0], .jwks_uri = (char *)(uintptr_t) "https://other.example/x"};
    world->config.n_issuers = 1;
    use(world);
    is_asked(3, "https://other.example/x");
    assert_int_equal(get(world, "a"), AWAITED);
    answer(3, SET(KEY("b")), 600);
    are_awake(1);
    assert_int_equal(get(world, "a"), WITHOUT);
    assert_int_equal(get(world, "b"), READY);
}

static void a_files_keys_are_there_and_never_fetched(void **state)
{
    struct world *world = *state;
    static const char TEXT[] = SET(KEY("f"));
    world->keys[0] = (struct mm_issuer_keys){.issuer = world->issuers[0],
                                             .jwks_file = (char *)(uintptr_t) "x",
                                             .jwks = mm_jwks_parse(TEXT, sizeof TEXT - 1, NULL)};
    world->config.n_issuers = 1;
    use(world);
    assert_int_equal(get(world, "f"), READY);
    assert_int_equal(get(world, "a"), WITHOUT);
    pass(world, 10 * MM_KEY_STALE_MAX);
    nothing_is_asked_beyond(world, 0);
    assert_int_equal(get(world, "f"), READY);
    assert_int_equal(describe(world).next, -1);
}

static void whose_host_is_not_listed_is_no_source(void **state)
{
    struct world *world = *state;
    world->issuers[1] = (char *)(uintptr_t) "https://unlisted.example";
    world->tenant.envelope.issuers.n = 2;
    use(world);
    fails(world, "https://unlisted.example", MM_ACCESS_DENIED);
    fails(world, "https://never.example", MM_ACCESS_DENIED);
    is_asked(1, IDP "/.well-known/openid-configuration");
}

static void a_client_and_a_trust_domain_have_keys_of_their_own(void **state)
{
    struct world *world = *state;
    struct mm_private_key_jwt_rule rule = {.jwks_uri = (char *)(uintptr_t) "https://idp.example/client"};
    struct mm_account account = {.private_key_jwt = &rule, .n_private_key_jwt = 1};
    struct mm_trust_domain domain = {.name = (char *)(uintptr_t) "acme.example",
                                     .bundle_uri = (char *)(uintptr_t) "https://other.example/bundle"};
    world->tenant.envelope.issuers.n = 0;
    world->tenant.accounts = &account;
    world->tenant.n_accounts = 1;
    world->tenant.envelope.trust_domains = &domain;
    world->tenant.envelope.n_trust_domains = 1;
    use(world);
    size_t both = 2;
    wait_for(are_asked, &both);
    size_t client = strcmp(fetcher.url[0], "https://idp.example/client") == 0 ? 1 : 2;
    assert_string_equal(fetcher.url[client - 1], "https://idp.example/client");
    assert_string_equal(fetcher.url[2 - client], "https://other.example/bundle");
    assert_int_equal(get_from(world, "https://idp.example/client", "a", NULL), AWAITED);
    answer(client, SET(KEY("a")), 600);
    are_awake(1);
    assert_int_equal(get_from(world, "https://idp.example/client", "a", NULL), READY);
    assert_int_equal(get_from(world, "spiffe://acme.example", "s", NULL), AWAITED);
    /* Of a bundle only what is for JWT-SVIDs. */
    answer(3 - client,
           "{\"keys\":[" KEY("x") ",{\"use\":\"jwt-svid\",\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"s\",\"x\":"
                                  "\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":"
                                  "\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}"
                                  "]}",
           600);
    are_awake(2);
    assert_int_equal(get_from(world, "spiffe://acme.example", "s", NULL), READY);
    assert_int_equal(get_from(world, "spiffe://acme.example", "x", NULL), WITHOUT);
}

/* --- slots */

static char names[HOSTS_MAX][64];

/* `n` issuers at so many hosts, in turn: `names`. */
static void has_issuers(struct world *world, size_t n, size_t n_hosts)
{
    static char hosts[HOSTS_MAX][32];
    static char *issuers[HOSTS_MAX];
    for (size_t i = 0; i < n_hosts; i++) {
        (void)snprintf(hosts[i], sizeof hosts[i], "%02zu.example", i);
        world->hosts[i] = hosts[i];
    }
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i], sizeof names[i], "https://%.31s/%02zu", hosts[i % n_hosts], i);
        issuers[i] = names[i];
    }
    world->config.fetch.hosts = (struct mm_strings){world->hosts, n_hosts};
    world->tenant.envelope.issuers = (struct mm_strings){issuers, n};
}

static void sources_that_fail_leave_room_for_one_that_is_waited_for(void **state)
{
    struct world *world = *state;
    enum { N = 40 };
    has_issuers(world, N, N);
    use(world);
    size_t half = MM_FETCHES_MAX / 2;
    wait_for(are_asked, &half);
    nothing_is_asked_beyond(world, half); /* ahead, for nobody, and silent all of them */
    assert_int_equal(get_from(world, names[N - 1], "a", NULL), AWAITED);
    is_asked(half + 1, "https://39.example/39/.well-known/openid-configuration");
    pass_ms(world, MM_KEY_WAIT_MS + 1); /* others have stood in line for longer than anybody waits */
    are_awake(1);
    assert_int_equal(get_from(world, names[N - 2], "a", NULL), AWAITED);
    is_asked(half + 2, "https://38.example/38/.well-known/openid-configuration");
}

static void who_found_no_room_in_time_does_not_wait_again(void **state)
{
    struct world *world = *state;
    enum { N = MM_FETCHES_MAX + 1 };
    has_issuers(world, N, N);
    use(world);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(get_from(world, names[i], "a", NULL), AWAITED);
    size_t all = MM_FETCHES_MAX;
    wait_for(are_asked, &all);
    pass_ms(world, MM_KEY_WAIT_MS);
    are_awake(N);
    for (size_t i = 0; i < N; i++)
        fails(world, names[i], MM_KEYS_UNAVAILABLE);
    nothing_is_asked_beyond(world, all);
}

/* Many realms of a host that has just fallen silent, each with callers, and none known to be slow yet. */
static void the_sources_of_one_host_leave_room_for_those_of_others(void **state)
{
    struct world *world = *state;
    enum { N = MM_FETCHES_MAX + 1, QUARTER = MM_FETCHES_MAX / 4 };
    has_issuers(world, N, 1);
    world->hosts[1] = (char *)(uintptr_t) "idp.example";
    world->config.fetch.hosts.n = 2;
    world->tenant.envelope.issuers.items[N] = (char *)(uintptr_t)IDP;
    world->tenant.envelope.issuers.n = N + 1;
    use(world);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(get_from(world, names[i], "a", NULL), AWAITED);
    assert_int_equal(get(world, "a"), AWAITED);
    size_t all = QUARTER + 1;
    wait_for(are_asked, &all);
    nothing_is_asked_beyond(world, all);
    bool is_there = false;
    for (size_t i = 0; i < all; i++)
        is_there = is_there || strcmp(fetcher.url[i], IDP "/.well-known/openid-configuration") == 0;
    assert_true(is_there);
}

/* A set of as many keys as one may have. */
static char *make_large_set(void)
{
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_non_null(file);
    for (int i = 0; i < MM_FOREIGN_KEYS_MAX; i++)
        (void)fprintf(file,
                      "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"%d\","
                      "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
                      i ? "," : "{\"keys\":[", i);
    (void)fputs("]}", file);
    assert_int_equal(fclose(file), 0);
    return text;
}

static size_t count_keys(struct world *world, size_t *ret_n_failed)
{
    struct mm_key_source_state *states = NULL;
    size_t n = 0;
    size_t n_keys = 0;
    *ret_n_failed = 0;
    assert_true(mm_key_sources_describe(world->sources, &states, &n, NULL));
    for (size_t i = 0; i < n; i++) {
        n_keys += states[i].n_keys;
        *ret_n_failed += states[i].error && strstr(states[i].error, "more than 4096 of its host");
    }
    mm_key_source_states_free(states, n);
    return n_keys;
}

static void one_host_fills_no_memory_with_keys(void **state)
{
    struct world *world = *state;
    enum { N = MM_KEYS_OF_HOST_MAX / MM_FOREIGN_KEYS_MAX + 2 }; /* one too many, and one of another host */
    static char urls[N][48];
    static struct mm_private_key_jwt_rule rules[N];
    struct mm_account account = {.private_key_jwt = rules, .n_private_key_jwt = N};
    mm_cleanup(free) char *set = make_large_set();
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(urls[i], sizeof urls[i], "https://%s.example/%02zu", i + 1 < N ? "idp" : "other", i);
        rules[i].jwks_uri = urls[i];
    }
    world->tenant.envelope.issuers.n = 0;
    world->tenant.accounts = &account;
    world->tenant.n_accounts = 1;
    use(world);
    for (size_t n = 1; n <= N; n++) {
        wait_for(are_asked, &n);
        answer(n, set, 600);
    }
    int one = 1;
    wait_for(have_told, &one);
    size_t n_failed = 0;
    for (int64_t until = mm_deadline_after_ms(PATIENCE_MS);
         count_keys(world, &n_failed) < MM_KEYS_OF_HOST_MAX + MM_FOREIGN_KEYS_MAX; (void)usleep(500))
        assert_true(mm_monotonic_ns() < until);
    assert_int_equal(count_keys(world, &n_failed), MM_KEYS_OF_HOST_MAX + MM_FOREIGN_KEYS_MAX);
    assert_int_equal(n_failed, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_are_fetched_before_anybody_asks_for_them),
        TEST(who_comes_before_the_first_keys_waits_for_them),
        TEST(keys_are_refreshed_ahead_of_their_end),
        TEST(an_issuer_may_shorten_and_lengthen_that_within_bounds),
        TEST(an_unknown_kid_is_worth_a_fetch_now_and_then),
        TEST(one_fetch_at_a_time),
        TEST(without_keys_a_failure_is_one_until_it_is_time_to_try_again),
        TEST(a_source_that_fails_is_tried_ever_more_seldom),
        TEST(keys_serve_on_while_their_issuer_is_away_but_not_for_ever),
        TEST(an_issuer_that_lies_changes_nothing),
        TEST(a_document_that_is_no_set_changes_nothing),
        TEST(a_document_of_very_many_parts_is_not_parsed),
        TEST(a_fetch_that_ends_without_an_answer_failed),
        TEST(a_fetch_without_an_end_is_given_up),
        TEST(nobody_waits_longer_than_the_time_for_it),
        TEST(only_so_many_wait_for_one_source),
        TEST(who_cannot_wait_is_told_so_and_has_the_keys_fetched),
        TEST(the_end_wakes_everybody_and_keys_that_are_there_serve_on),
        TEST(without_keys_nobody_waits_beyond_the_end),
        TEST(what_stays_the_same_keeps_its_keys_and_who_waits),
        TEST(who_waits_for_what_is_gone_is_woken_and_its_answer_is_nobodys),
        TEST(keys_elsewhere_are_other_keys),
        TEST(a_files_keys_are_there_and_never_fetched),
        TEST(whose_host_is_not_listed_is_no_source),
        TEST(a_client_and_a_trust_domain_have_keys_of_their_own),
        TEST(sources_that_fail_leave_room_for_one_that_is_waited_for),
        TEST(who_found_no_room_in_time_does_not_wait_again),
        TEST(the_sources_of_one_host_leave_room_for_those_of_others),
        TEST(one_host_fills_no_memory_with_keys),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
