/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's API and the hand-out of requests to workers: who may wait, who is next, who is refused at once.
 */
#include "hsm/pool.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "hsm/pool_internal.h"
#include "util/clock.h"

enum {
    ATTEMPTS_MAX = 2,
    WORKERS_MAX = 256,
    WAIT_STEP_MS = 50, /* how often who waits for a start looks whether the service ends */
};

bool mm_pool_is_serving_locked(const struct mm_pool *pool, int64_t now)
{
    for (size_t i = 0; i < pool->n_workers; i++)
        if (pool->workers[i].state == MM_POOL_READY && !mm_pool_worker_is_failing(&pool->workers[i], now))
            return true;
    return false;
}

void mm_pool_publish_locked(struct mm_pool *pool, int64_t now)
{
    atomic_store_explicit(&pool->is_serving, mm_pool_is_serving_locked(pool, now), memory_order_relaxed);
}

bool mm_pool_is_serving(const struct mm_pool *pool)
{
    return atomic_load_explicit(&pool->is_serving, memory_order_relaxed);
}

bool mm_pool_is_draining(const struct mm_pool *pool)
{
    return pool->is_draining && atomic_load(pool->is_draining);
}

static struct mm_pool_worker *worker_with_room_locked(struct mm_pool *pool)
{
    struct mm_pool_worker *best = NULL;
    int64_t now = mm_monotonic_ns();
    for (size_t i = 0; i < pool->n_workers; i++) {
        struct mm_pool_worker *worker = &pool->workers[i];
        if (worker->state == MM_POOL_READY && mm_pool_worker_has_room(worker) &&
            !mm_pool_worker_is_failing(worker, now) && (!best || worker->n_in_flight < best->n_in_flight))
            best = worker;
    }
    return best;
}

void mm_pool_give_up_locked(struct mm_pool *pool, struct mm_pool_request *request, enum mm_code code,
                            const char *reason)
{
    request->code = code;
    request->reason = reason;
    TAILQ_INSERT_TAIL(&pool->failed, request, link);
    pool->n_requests--;
    (void)pthread_cond_signal(&pool->wake);
}

static void queue_first_locked(struct mm_pool *pool, struct mm_pool_request *request)
{
    if (!mm_pool_queue_push(pool->queue, request, MM_POOL_QUEUE_FIRST, NULL))
        mm_pool_give_up_locked(pool, request, MM_NO_MEMORY, "out of memory");
}

/* Returns whether handing out may go on. */
static bool hand_out_locked(struct mm_pool *pool, struct mm_pool_worker *worker, struct mm_pool_request *request)
{
    int64_t now = mm_monotonic_ns();
    if (request->deadline_ns <= now) {
        mm_pool_give_up_locked(pool, request, MM_DEADLINE_EXCEEDED, "the deadline passed before its turn came");
        return true;
    }
    struct mm_message message = {
        .kind = MM_MESSAGE_SIGN,
        .id = pool->last_id + 1,
        .sentence = request->sentence,
        .deadline_ns = request->deadline_ns,
        .data = (const uint8_t *)request->payload,
        .length = request->length,
    };
    enum mm_pool_sent sent = mm_pool_worker_send(worker->fd, &message, pool->packet);
    if (sent != MM_POOL_SENT) {
        queue_first_locked(pool, request);
        /* Full with nothing in flight: it doesn't read. Otherwise its next answer makes room. */
        if (sent == MM_POOL_FULL && worker->n_in_flight > 0)
            return false;
        mm_pool_worker_end(worker);
        return true;
    }
    pool->last_id++;
    request->n_attempts++;
    mm_pool_worker_take_slot(worker, message.id, now)->request = request;
    return true;
}

void mm_pool_dispatch_locked(struct mm_pool *pool)
{
    for (struct mm_pool_worker *worker; mm_pool_queue_n(pool->queue) > 0 && (worker = worker_with_room_locked(pool));)
        if (!hand_out_locked(pool, worker, mm_pool_queue_pop(pool->queue)))
            return;
}

/* Deadlines of what is under way are minded every few milliseconds, not once a second. */
static void wake_supervisor_locked(struct mm_pool *pool)
{
    if (pool->supervision == MM_POOL_DOZING)
        (void)pthread_cond_signal(&pool->wake);
}

void mm_pool_retry_locked(struct mm_pool *pool, struct mm_pool_request *request, enum mm_code code, const char *reason)
{
    if (pool->phase == MM_POOL_STOPPING)
        mm_pool_give_up_locked(pool, request, MM_SHUTTING_DOWN, "the service is shutting down");
    else if (request->n_attempts >= ATTEMPTS_MAX || request->patience == MM_POOL_IMPATIENT)
        mm_pool_give_up_locked(pool, request, code, reason);
    else
        queue_first_locked(pool, request);
    wake_supervisor_locked(pool);
}

void mm_pool_answer_failed_locked(struct mm_pool *pool)
{
    if (TAILQ_EMPTY(&pool->failed))
        return;
    struct mm_pool_requests failed = TAILQ_HEAD_INITIALIZER(failed);
    TAILQ_CONCAT(&failed, &pool->failed, link);
    (void)pthread_mutex_unlock(&pool->lock);
    for (struct mm_pool_request *request; (request = TAILQ_FIRST(&failed));) {
        TAILQ_REMOVE(&failed, request, link);
        struct mm_error err = {0};
        (void)mm_fail(&err, request->code, "%s", request->reason);
        request->done(request->context, NULL, &err);
        mm_pool_request_free(request);
    }
    (void)pthread_mutex_lock(&pool->lock);
}

int64_t mm_pool_serves_from_ns_locked(const struct mm_pool *pool)
{
    int64_t from = INT64_MAX;
    int64_t now = mm_monotonic_ns();
    for (size_t i = 0; i < pool->n_workers; i++) {
        const struct mm_pool_worker *worker = &pool->workers[i];
        bool is_failing = worker->state == MM_POOL_READY && mm_pool_worker_is_failing(worker, now);
        if (is_failing)
            continue;
        if (worker->state == MM_POOL_READY || worker->state == MM_POOL_STARTING)
            return 0;
        /* One that ends is followed by another soon; how soon is known once it is gone. */
        int64_t again = worker->state == MM_POOL_ENDING ? 0 : worker->until_ns;
        if (pool->latch == MM_POOL_UNLATCHED && again < from)
            from = again;
    }
    return from;
}

/* When a new request of `tenant` can be expected to be signed, by the time that signatures take at present. */
static int64_t signed_by_ns_locked(const struct mm_pool *pool, const char *tenant, int64_t now)
{
    int64_t n_ahead = (int64_t)mm_pool_queue_n_ahead(pool->queue, tenant);
    int64_t n_threads = 0;
    int64_t sign_ns = 0; /* of the slowest */
    for (size_t i = 0; i < pool->n_workers; i++) {
        const struct mm_pool_worker *worker = &pool->workers[i];
        if (worker->state != MM_POOL_READY || mm_pool_worker_is_failing(worker, now))
            continue;
        /* Room: send it whatever the estimate says, or an old estimate could refuse everything for ever. */
        if (mm_pool_worker_has_room(worker))
            return now;
        n_ahead += (int64_t)worker->n_in_flight;
        n_threads += (int64_t)worker->n_threads;
        sign_ns = worker->sign_ns > sign_ns ? worker->sign_ns : sign_ns;
    }
    return n_threads > 0 ? now + sign_ns * (n_ahead + 1) / n_threads : now;
}

static bool admit_locked(const struct mm_pool *pool, const struct mm_pool_order *order, struct mm_error *err)
{
    if (pool->phase == MM_POOL_STOPPING)
        return mm_fail(err, MM_SHUTTING_DOWN, "the service is shutting down");
    if (pool->n_requests >= pool->bound)
        return mm_fail(err, MM_OVERLOADED, "%zu signatures are waiting already", pool->n_requests);
    int64_t now = mm_monotonic_ns();
    if (order->deadline_ns <= now)
        return mm_fail(err, MM_DEADLINE_EXCEEDED, "the deadline has passed");
    if (mm_pool_serves_from_ns_locked(pool) >= order->deadline_ns ||
        (order->patience == MM_POOL_IMPATIENT && !mm_pool_is_serving_locked(pool, now)))
        return mm_fail(err, MM_HSM_UNAVAILABLE, "no HSM worker is ready%s",
                       pool->latch == MM_POOL_UNLATCHED ? "" : ": the PIN was refused");
    if (signed_by_ns_locked(pool, order->tenant, now) > order->deadline_ns)
        return mm_fail(err, MM_DEADLINE_EXCEEDED, "the deadline can't be met: %zu signatures are waiting",
                       mm_pool_queue_n(pool->queue));
    return true;
}

bool mm_pool_sign(struct mm_pool *pool, const struct mm_pool_order *order, mm_pool_done done, void *context,
                  struct mm_error *err)
{
    if (order->sentence != MM_SENTENCE_ACCESS_TOKEN || order->length == 0)
        return mm_fail(err, MM_SENTENCE_REFUSED, "no such sentence can be signed");
    if (order->length > MM_PAYLOAD_MAX)
        return mm_fail(err, MM_SENTENCE_REFUSED, "a payload of %zu bytes is too long to sign", order->length);
    struct mm_pool_request *request =
        mm_pool_request_new(order->sentence, order->tenant, order->payload, order->length, err);
    if (!request)
        return false;
    request->deadline_ns = order->deadline_ns;
    request->patience = order->patience;
    request->done = done;
    request->context = context;
    (void)pthread_mutex_lock(&pool->lock);
    bool is_taken = admit_locked(pool, order, err) && mm_pool_queue_push(pool->queue, request, MM_POOL_QUEUE_LAST, err);
    if (is_taken) {
        pool->n_requests++;
        mm_pool_dispatch_locked(pool);
        wake_supervisor_locked(pool);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (!is_taken)
        mm_pool_request_free(request);
    return is_taken;
}

struct mm_pool_state mm_pool_state(struct mm_pool *pool)
{
    struct mm_pool_state state = {.n_workers = pool->n_workers};
    int64_t now = mm_monotonic_ns();
    (void)pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < pool->n_workers; i++)
        state.n_ready += pool->workers[i].state == MM_POOL_READY && !mm_pool_worker_is_failing(&pool->workers[i], now);
    state.is_latched = pool->latch != MM_POOL_UNLATCHED;
    mm_latency_sum(&pool->latency, now, &state.latency);
    (void)pthread_mutex_unlock(&pool->lock);
    return state;
}

int64_t mm_pool_beat_ns(const struct mm_pool *pool)
{
    return atomic_load(&pool->beat_ns);
}

/* START's data. */
static char *describe_start(const struct mm_pool_key *key, const struct mm_config *config, struct mm_error *err)
{
    char digest[MM_SHA256_HEX_LENGTH + 1];
    json_t *jwk =
        mm_config_worker_digest(config, digest, err) ? mm_pubkey_to_jwk(key->pubkey, key->algorithm, err) : NULL;
    if (!jwk)
        return NULL;
    mm_cleanup(json_decref) json_t *start = json_pack("{ss ss ss ss so ss}", "kid", mm_pubkey_thumbprint(key->pubkey),
                                                      "alg", mm_algorithm_name(key->algorithm), "id", key->hsm_id,
                                                      "label", key->hsm_label, "jwk", jwk, "config", digest);
    return mm_json_compact(start, err);
}

void mm_pool_free(struct mm_pool *pool)
{
    if (!pool)
        return;
    mm_pool_queue_free(pool->queue);
    free(pool->start_json);
    free(pool->latch_path);
    (void)pthread_cond_destroy(&pool->started);
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

MM_DEFINE_CLEANUP(struct mm_pool, mm_pool_free);

static struct mm_pool *pool_new(const struct mm_pool_options *options, const struct mm_hsm_token_config *settings,
                                struct mm_error *err)
{
    size_t n = settings->workers < 1 ? 1 : settings->workers > WORKERS_MAX ? WORKERS_MAX : (size_t)settings->workers;
    mm_cleanup(mm_pool_free) struct mm_pool *pool = calloc(1, sizeof *pool + n * sizeof pool->workers[0]);
    if (!pool) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->wake, NULL);
    (void)pthread_cond_init(&pool->started, NULL);
    TAILQ_INIT(&pool->failed);
    pool->settings = settings;
    pool->launcher = options->launcher;
    pool->spec = (size_t)(settings - options->config->hsm_tokens);
    pool->key = options->key;
    pool->bound = options->queue;
    pool->mode = options->mode;
    pool->gate = options->gate ? options->gate : &pool->own_gate;
    pool->is_draining = options->is_draining;
    pool->observer = options->observer;
    pool->observer_context = options->observer_context;
    pool->n_workers = n;
    for (size_t i = 0; i < n; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].sign_timeout_ns = settings->sign_timeout_ms * 1000000;
        pool->workers[i].fd = -1;
    }
    pool->queue = mm_pool_queue_new(err);
    pool->start_json = describe_start(&options->key, options->config, err);
    pool->latch_path = mm_latch_path(options->config, settings->name, err);
    return pool->queue && pool->start_json && pool->latch_path ? MM_TAKE(pool) : NULL;
}

/* The pool's threads take no signals: those are for the program's own. */
static bool start_supervisor(struct mm_pool *pool, struct mm_error *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&pool->supervisor, NULL, mm_pool_supervisor, pool);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 || mm_fail(err, MM_NO_MEMORY, "no thread: %s", strerror(failed));
}

static enum mm_pool_verdict verdict_locked(const struct mm_pool *pool, struct mm_error *ret_why)
{
    bool is_late = pool->verdict == MM_POOL_PENDING && mm_monotonic_ns() >= pool->verdict_until_ns;
    enum mm_pool_verdict verdict = is_late ? MM_POOL_FAILED : pool->verdict;
    if (verdict != MM_POOL_FAILED || !ret_why)
        return verdict;
    *ret_why = pool->start_error;
    if (ret_why->code == MM_OK)
        (void)mm_fail(ret_why, MM_HSM_UNAVAILABLE, "HSM token %s: no worker became ready within %lld s",
                      pool->settings->name, (long long)pool->settings->start_timeout);
    return verdict;
}

enum mm_pool_verdict mm_pool_verdict(struct mm_pool *pool, struct mm_error *ret_why)
{
    (void)pthread_mutex_lock(&pool->lock);
    enum mm_pool_verdict verdict = verdict_locked(pool, ret_why);
    (void)pthread_mutex_unlock(&pool->lock);
    return verdict;
}

bool mm_pool_wait(struct mm_pool *pool, struct mm_error *err)
{
    struct mm_error why = {0};
    enum mm_pool_verdict verdict;
    (void)pthread_mutex_lock(&pool->lock);
    while ((verdict = verdict_locked(pool, &why)) == MM_POOL_PENDING && !mm_pool_is_draining(pool)) {
        int64_t step_ns = mm_deadline_after_ms(WAIT_STEP_MS);
        struct timespec until =
            mm_deadline_timespec(step_ns < pool->verdict_until_ns ? step_ns : pool->verdict_until_ns);
        (void)pthread_cond_clockwait(&pool->started, &pool->lock, CLOCK_MONOTONIC, &until);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (verdict == MM_POOL_PENDING)
        return mm_fail(err, MM_SHUTTING_DOWN, "the service is shutting down");
    return verdict == MM_POOL_WORKS || mm_fail(err, why.code, "%s", why.message);
}

struct mm_pool *mm_pool_start(const struct mm_pool_options *options, struct mm_error *err)
{
    const struct mm_hsm_token_config *settings = mm_config_hsm_token(options->config, options->key.hsm_token, err);
    if (!settings)
        return NULL;
    mm_cleanup(mm_pool_free) struct mm_pool *pool = pool_new(options, settings, err);
    /* The folder first: workers may write in it, but can't make it. */
    if (!pool || !mm_latch_make_folder(options->config, err) ||
        (pool->mode == MM_POOL_ON_TRIAL &&
         !mm_pool_gate_check_latch(pool->gate, pool->latch_path, settings->name, err)))
        return NULL;
    atomic_init(&pool->beat_ns, mm_monotonic_ns());
    /* Others may be starting at the gate, and one that hangs there takes all its time. */
    pool->verdict_until_ns = mm_deadline_after_ms(2 * settings->start_timeout * 1000 + MM_POOL_START_MARGIN_MS);
    return start_supervisor(pool, err) ? MM_TAKE(pool) : NULL;
}

void mm_pool_begin_end(struct mm_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->phase = MM_POOL_STOPPING;
    (void)pthread_cond_signal(&pool->wake);
    (void)pthread_mutex_unlock(&pool->lock);
}

void mm_pool_end(struct mm_pool *pool)
{
    mm_pool_begin_end(pool);
    (void)pthread_join(pool->supervisor, NULL);
    assert(pool->n_requests == 0 && TAILQ_EMPTY(&pool->failed));
}

void mm_pool_stop(struct mm_pool *pool)
{
    if (!pool)
        return;
    mm_pool_end(pool);
    mm_pool_free(pool);
}
