/* SPDX-License-Identifier: Apache-2.0 */
#include "client/source.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "client/retry.h"
#include "client/service_token.h"
#include "util/clock.h"

enum {
    MARGIN_MAX_MS = 5000,  /* a token this close to its end isn't worth sending */
    RETRY_FLOOR_MS = 1000, /* between two renewals that fail, at least */
    RETRY_MOST_MS = 59000, /* the random part, at most */
    LATE_ANSWER_MS = 2000, /* what a call may outlast its time-out by */
    IDLE_MS = 3600 * 1000, /* how long the thread sleeps when nobody wants anything */
    NS_PER_MS = 1000000,
};

static const int64_t NS_PER_S = 1000000000;

struct mm_token_source {
    /* immutable after opening */
    const struct mm_client *client;
    json_t *body;
    struct mm_source_parts parts;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* the thread: somebody wants a token, or the source closes */
    pthread_cond_t outcome; /* who has no token: a try has ended */
    /* guarded by lock */
    bool is_closing;
    bool is_wanted; /* somebody has asked since the last request began */
    struct mm_service_token *token;
    int64_t usable_until_ns;
    int64_t next_try_ns;     /* when to renew, or to try again */
    unsigned n_failures;     /* in a row */
    struct mm_error failure; /* of the last try */
};

static int64_t now_ns(const struct mm_token_source *source)
{
    return source->parts.now_ns(source->parts.context);
}

static bool is_usable_locked(const struct mm_token_source *source, int64_t now)
{
    return source->token && now < source->usable_until_ns;
}

static void wait_locked(struct mm_token_source *source, pthread_cond_t *condition, int64_t deadline_ns)
{
    struct timespec until = mm_deadline_timespec(deadline_ns);
    (void)pthread_cond_clockwait(condition, &source->lock, CLOCK_MONOTONIC, &until);
}

/* --- the source's thread */

static bool is_closing(void *context)
{
    struct mm_token_source *source = context;
    (void)pthread_mutex_lock(&source->lock);
    bool is = source->is_closing;
    (void)pthread_mutex_unlock(&source->lock);
    return is;
}

/* Between two attempts of one call. */
static bool wait_for_retry(void *context, int64_t milliseconds)
{
    struct mm_token_source *source = context;
    int64_t deadline_ns = mm_deadline_after_ms(milliseconds);
    (void)pthread_mutex_lock(&source->lock);
    while (!source->is_closing && mm_monotonic_ns() < deadline_ns)
        wait_locked(source, &source->wake, deadline_ns);
    bool goes_on = !source->is_closing;
    (void)pthread_mutex_unlock(&source->lock);
    return goes_on;
}

/* `started`: before the token was asked for, so that what is measured from there ends before the token does. */
static void take_token_locked(struct mm_token_source *source, struct mm_service_token *token, int64_t started)
{
    int64_t lifetime_ms = token->expires_in * 1000;
    int64_t margin_ms = lifetime_ms / 10 < MARGIN_MAX_MS ? lifetime_ms / 10 : MARGIN_MAX_MS;
    int64_t renew_ms = lifetime_ms * 6 / 10 + mm_random_up_to(source->parts.random, lifetime_ms * 2 / 10);
    mm_service_token_unref(source->token);
    source->token = token;
    source->usable_until_ns = started + (lifetime_ms - margin_ms) * NS_PER_MS;
    source->next_try_ns = started + renew_ms * NS_PER_MS;
    source->n_failures = 0;
    source->failure = (struct mm_error){0};
}

/* Who waits is told of the failure. While the old token lasts nobody waits, and they shouldn't have to once it has ended. */
static void take_failure_locked(struct mm_token_source *source, const struct mm_error *why, int64_t retry_after_ms)
{
    int64_t floor_ms = retry_after_ms > RETRY_FLOOR_MS ? retry_after_ms : RETRY_FLOOR_MS;
    int64_t now = now_ns(source);
    source->failure = *why;
    source->n_failures++;
    source->next_try_ns =
        now + mm_retry_delay_ms(source->parts.random, source->n_failures, floor_ms, RETRY_FLOOR_MS, RETRY_MOST_MS) *
                  NS_PER_MS;
    source->is_wanted = is_usable_locked(source, now);
}

static void try_locked(struct mm_token_source *source)
{
    const struct mm_call call = {.wait = wait_for_retry,
                                 .is_cancelled = is_closing,
                                 .context = source,
                                 .random = source->parts.random};
    struct mm_service_token *token = NULL;
    struct mm_error why = {0};
    int64_t retry_after_ms = 0;
    int64_t started = now_ns(source);
    source->is_wanted = false;
    (void)pthread_mutex_unlock(&source->lock);
    bool is_issued = mm_client_call(source->client, source->body, &call, &token, &retry_after_ms, &why);
    (void)pthread_mutex_lock(&source->lock);
    if (is_issued)
        take_token_locked(source, token, started);
    else
        take_failure_locked(source, &why, retry_after_ms);
    (void)pthread_cond_broadcast(&source->outcome);
}

static void *renew(void *context)
{
    struct mm_token_source *source = context;
    (void)pthread_mutex_lock(&source->lock);
    while (!source->is_closing) {
        int64_t until_due_ns = source->is_wanted ? source->next_try_ns - now_ns(source) : (int64_t)IDLE_MS * NS_PER_MS;
        if (until_due_ns <= 0)
            try_locked(source);
        else
            wait_locked(source, &source->wake, mm_monotonic_ns() + until_due_ns);
    }
    (void)pthread_mutex_unlock(&source->lock);
    return NULL;
}

/* --- everybody else's threads */

/* Wake the thread only when that makes a difference: it waits for a first wish, or has overslept. */
static void want_locked(struct mm_token_source *source, int64_t now)
{
    if (!source->is_wanted || now >= source->next_try_ns)
        (void)pthread_cond_signal(&source->wake);
    source->is_wanted = true;
}

static bool get_locked(struct mm_token_source *source, struct mm_service_token **ret_token, struct mm_error *err)
{
    int64_t deadline_ns = mm_deadline_after_ms(mm_client_total_timeout_ms(source->client) + LATE_ANSWER_MS);
    for (;;) {
        int64_t now = now_ns(source);
        if (is_usable_locked(source, now)) {
            want_locked(source, now);
            *ret_token = mm_service_token_ref(source->token);
            return true;
        }
        if (source->failure.code != MM_OK && now < source->next_try_ns)
            return mm_fail(err, source->failure.code, "%s", source->failure.message);
        if (mm_monotonic_ns() >= deadline_ns)
            return mm_fail(err, MM_UNREACHABLE, "no token in time");
        want_locked(source, now);
        wait_locked(source, &source->outcome, deadline_ns);
    }
}

bool mm_token_source_get(struct mm_token_source *source, struct mm_service_token **ret_token, struct mm_error *err)
{
    mm_error_clear(err);
    (void)pthread_mutex_lock(&source->lock);
    bool is_got = get_locked(source, ret_token, err);
    (void)pthread_mutex_unlock(&source->lock);
    return is_got;
}

/* --- life */

/* With every signal blocked: the program's handlers run on the program's own threads. */
static bool start_thread(struct mm_token_source *source, struct mm_error *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&source->thread, NULL, renew, source);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 || mm_fail(err, MM_NO_MEMORY, "no thread: %s", strerror(failed));
}

static void free_source(struct mm_token_source *source)
{
    mm_service_token_unref(source->token);
    json_decref(source->body);
    (void)pthread_cond_destroy(&source->outcome);
    (void)pthread_cond_destroy(&source->wake);
    (void)pthread_mutex_destroy(&source->lock);
    free(source);
}

struct mm_token_source *mm_source_open(const struct mm_client *client, const struct mm_client_request *request,
                                       const struct mm_source_parts *parts, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *body = mm_client_request_body(request, err);
    struct mm_token_source *source = body ? calloc(1, sizeof *source) : NULL;
    if (!source) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    source->client = client;
    source->body = MM_TAKE(body);
    source->parts = *parts;
    (void)pthread_mutex_init(&source->lock, NULL);
    (void)pthread_cond_init(&source->wake, NULL);
    (void)pthread_cond_init(&source->outcome, NULL);
    if (start_thread(source, err))
        return source;
    free_source(source);
    return NULL;
}

static int64_t boot_time_ns(void *context)
{
    (void)context;
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

struct mm_token_source *mm_token_source_open(const struct mm_client *client, const struct mm_client_request *request,
                                             struct mm_error *err)
{
    static const struct mm_source_parts PARTS = {.now_ns = boot_time_ns, .random = &MM_SYSTEM_RANDOM};
    mm_error_clear(err);
    return mm_source_open(client, request, &PARTS, err);
}

void mm_token_source_close(struct mm_token_source *source)
{
    if (!source)
        return;
    (void)pthread_mutex_lock(&source->lock);
    source->is_closing = true;
    (void)pthread_cond_signal(&source->wake);
    (void)pthread_mutex_unlock(&source->lock);
    (void)pthread_join(source->thread, NULL);
    free_source(source);
}
