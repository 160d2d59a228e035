/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that minds processes and time: starts workers one after another, ends those that hang, reaps, backs off, keeps
 * the PIN latch, answers requests whose deadline has passed. At most one worker may be logging in at any time, and nobody
 * logs in while the latch is set.
 */
#include <assert.h>
#include <stdio.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "hsm/pool_internal.h"
#include "util/clock.h"

enum {
    TICK_MS = 10,          /* while requests or processes are on their way */
    DOZE_MS = 1000,        /* otherwise; also how often the latch is looked at */
    START_CRASHES_MAX = 3, /* of the very first worker: more than bad luck */
    PROBE_REFUSING_MS = 1000,
    LOST_MS = 5000, /* for the kernel to end a killed process when the pool stops */
};

static bool has_starting_locked(const struct mm_pool *pool)
{
    for (size_t i = 0; i < pool->n_workers; i++)
        if (pool->workers[i].state != MM_POOL_DOWN && pool->workers[i].history == MM_POOL_NEVER_READY)
            return true;
    return false;
}

static bool holds_gate(const struct mm_pool *pool)
{
    return mm_pool_gate_is_held(pool->gate, pool);
}

static bool take_gate(struct mm_pool *pool, int64_t now)
{
    return holds_gate(pool) || (now >= pool->gate_from_ns && mm_pool_gate_take(pool->gate, pool));
}

/* Let another pool's worker start; it looks each tick, so that this one's next mustn't be there first. */
static void leave_gate_locked(struct mm_pool *pool, int64_t now)
{
    if (!holds_gate(pool) || has_starting_locked(pool) || pool->has_left_login)
        return;
    pool->gate_from_ns = now + 2 * TICK_MS * 1000000LL;
    mm_pool_gate_leave(pool->gate, pool);
}

static void notify_locked(struct mm_pool *pool, enum mm_pool_event event, const char *detail)
{
    if (!pool->observer)
        return;
    (void)pthread_mutex_unlock(&pool->lock);
    pool->observer(pool->observer_context, event, pool->settings->name, mm_pubkey_thumbprint(pool->key.pubkey), detail);
    (void)pthread_mutex_lock(&pool->lock);
}

/* Between half and all of restart_delay_ms, doubled for each failure: workers of many machines must not come back in step. */
static int64_t backoff_ns(const struct mm_hsm_token_config *settings, unsigned n_failures)
{
    int64_t max = settings->restart_delay_max * 1000;
    int64_t ms = settings->restart_delay_ms;
    for (; n_failures > 0 && ms < max; n_failures--)
        ms *= 2;
    ms = ms < max ? ms : max;
    return (ms / 2 + arc4random_uniform((uint32_t)(ms / 2 + 1))) * 1000000;
}

/* How a process ended: by its own decision, or by a signal without having said why. */
enum end { ENDED, CRASHED };

static bool is_pin_failure(enum mm_code code)
{
    return code == MM_PIN_REFUSED || code == MM_PIN_LATCHED;
}

/* Set the latch. */
static void latch_locked(struct mm_pool *pool, const char *reason)
{
    (void)pthread_mutex_unlock(&pool->lock);
    struct mm_error err = {0};
    bool is_saved = mm_pool_gate_latch(pool->gate, pool->latch_path, reason, &err);
    (void)pthread_mutex_lock(&pool->lock);
    bool is_news = pool->latch == MM_POOL_UNLATCHED;
    pool->latch = MM_POOL_LATCHED;
    if (is_news)
        notify_locked(pool, MM_POOL_PIN_LATCHED, is_saved ? reason : err.message);
}

static void fail_start_locked(struct mm_pool *pool)
{
    pool->verdict = MM_POOL_FAILED;
    (void)pthread_cond_broadcast(&pool->started);
}

/* Follow what others did to the latch: an operator who cleared it, a command or whoever shares the gate that set it. */
static void look_at_latch_locked(struct mm_pool *pool)
{
    (void)pthread_mutex_unlock(&pool->lock);
    struct mm_error err = {0};
    bool is_clear = mm_pool_gate_check_latch(pool->gate, pool->latch_path, pool->settings->name, &err);
    (void)pthread_mutex_lock(&pool->lock);
    bool was_clear = pool->latch == MM_POOL_UNLATCHED;
    pool->latch = is_clear ? MM_POOL_UNLATCHED : MM_POOL_LATCHED;
    if (!is_clear && pool->verdict == MM_POOL_PENDING && !has_starting_locked(pool)) {
        pool->start_error = err;
        fail_start_locked(pool);
    }
    if (was_clear && !is_clear)
        notify_locked(pool, MM_POOL_PIN_LATCHED, err.message);
    for (size_t i = 0; is_clear && !was_clear && i < pool->n_workers; i++) {
        struct mm_pool_worker *worker = &pool->workers[i];
        worker->n_failures = 0;
        if (worker->state == MM_POOL_DOWN)
            worker->until_ns = 0;
    }
}

/* The first worker's failure is what mm_pool_wait() reports; only a crash may be bad luck. */
static void judge_start_locked(struct mm_pool *pool, const struct mm_pool_worker *worker, enum end end)
{
    if (pool->verdict != MM_POOL_PENDING)
        return;
    pool->start_error = (struct mm_error){0};
    (void)mm_fail(&pool->start_error, worker->why.code, "HSM token %s: %s%s", pool->settings->name, worker->why.message,
                  is_pin_failure(worker->why.code) ? "; no further try before `mintmark token unlock`" : "");
    if (end == CRASHED && worker->n_failures < START_CRASHES_MAX && mm_monotonic_ns() < pool->start_deadline_ns)
        return;
    fail_start_locked(pool);
}

/* The worker has no process any more (or got none); `why` is set. */
static void go_down_locked(struct mm_pool *pool, struct mm_pool_worker *worker, enum end end)
{
    if (worker->n_signed > 0)
        worker->n_failures = 0;
    worker->state = MM_POOL_DOWN;
    worker->until_ns = mm_monotonic_ns() + backoff_ns(pool->settings, worker->n_failures++);
    struct mm_error why = worker->why;
    if (is_pin_failure(why.code))
        latch_locked(pool, why.message);
    judge_start_locked(pool, worker, end);
    if (pool->phase == MM_POOL_RUNNING)
        notify_locked(pool, worker->fate == MM_POOL_KILLED ? MM_POOL_WORKER_KILLED : MM_POOL_WORKER_LOST, why.message);
}

/* `refusal` is what the worker last said of a signature. */
static void explain_status(struct mm_error *why, int status, const char *refusal)
{
    bool has_exited = WIFEXITED(status);
    if (has_exited && WEXITSTATUS(status) == MM_EXIT_PIN && !is_pin_failure(why->code)) {
        *why = (struct mm_error){0};
        (void)mm_fail(why, MM_PIN_REFUSED, "the worker exited with status %d: PIN refused", MM_EXIT_PIN);
    } else if (has_exited) {
        (void)mm_fail(why, MM_HSM_UNAVAILABLE, "the worker exited with status %d%s%s", WEXITSTATUS(status),
                      refusal[0] ? ": " : "", refusal);
    } else {
        (void)mm_fail(why, MM_HSM_UNAVAILABLE, "the worker was ended by signal %d (%s)%s%s", WTERMSIG(status),
                      strsignal(WTERMSIG(status)), refusal[0] ? "; its last word: " : "", refusal);
    }
}

static void bury_locked(struct mm_pool *pool, struct mm_pool_worker *worker, int status)
{
    (void)pthread_mutex_unlock(&pool->lock);
    if (worker->has_reader)
        (void)pthread_join(worker->reader, NULL);
    (void)pthread_mutex_lock(&pool->lock);
    worker->has_reader = false;
    (void)close(worker->fd);
    worker->fd = -1;
    enum end end = WIFSIGNALED(status) && worker->why.code == MM_OK ? CRASHED : ENDED;
    explain_status(&worker->why, status, worker->health.refusal);
    go_down_locked(pool, worker, end);
}

static bool launch_locked(struct mm_pool *pool, struct mm_pool_worker *worker, struct mm_error *err)
{
    struct mm_launched launched = {.fd = -1};
    /* Nobody else looks at the process of a worker that has none. */
    (void)pthread_mutex_unlock(&pool->lock);
    bool is_running = mm_pool_gate_check_latch(pool->gate, pool->latch_path, pool->settings->name, err) &&
                      mm_launcher_spawn(pool->launcher, pool->spec, &launched, err);
    (void)pthread_mutex_lock(&pool->lock);
    worker->process = launched.worker;
    worker->pid = launched.pid;
    worker->fd = launched.fd;
    if (!is_running)
        return false;
    int failed = pthread_create(&worker->reader, NULL, mm_pool_reader, worker);
    worker->has_reader = failed == 0;
    return failed == 0 || mm_fail(err, MM_HSM_UNAVAILABLE, "no thread for a worker: %s", strerror(failed));
}

static void start_locked(struct mm_pool *pool, struct mm_pool_worker *worker)
{
    worker->history = MM_POOL_NEVER_READY;
    worker->fate = MM_POOL_NOT_KILLED;
    worker->why = (struct mm_error){0};
    worker->n_signed = 0;
    worker->sign_ns = 0;
    worker->health = (struct mm_pool_health){0};
    worker->until_ns = mm_deadline_after_ms(pool->settings->start_timeout * 1000);
    if (!pool->start_deadline_ns) {
        /* The verdict's time begins only now: the first worker may have waited at the gate. */
        pool->start_deadline_ns = worker->until_ns;
        pool->verdict_until_ns = worker->until_ns + MM_POOL_START_MARGIN_MS * 1000000LL;
    }
    worker->state = MM_POOL_STARTING;
    if (!launch_locked(pool, worker, &worker->why)) {
        /* One that runs hasn't been told its key and so isn't logging in. */
        if (worker->process)
            mm_pool_worker_kill(pool->launcher, worker);
        else
            go_down_locked(pool, worker, ENDED);
        return;
    }
    struct mm_message start = {
        .kind = MM_MESSAGE_START,
        .data = (const uint8_t *)pool->start_json,
        .length = strlen(pool->start_json),
    };
    if (mm_pool_worker_send(worker->fd, &start, pool->packet) != MM_POOL_SENT)
        mm_pool_worker_end(worker);
}

/* Whether it is time for a worker to be started, whoever else may be starting. */
static bool is_due_locked(const struct mm_pool *pool, const struct mm_pool_worker *worker, int64_t now)
{
    if (worker->state != MM_POOL_DOWN || pool->phase == MM_POOL_STOPPING || pool->latch != MM_POOL_UNLATCHED ||
        now < worker->until_ns || (pool->mode == MM_POOL_ON_TRIAL && pool->verdict == MM_POOL_FAILED))
        return false;
    /* Until the first is ready the others would only repeat its failure. */
    return pool->verdict == MM_POOL_WORKS || worker == &pool->workers[0];
}

static bool may_start_locked(struct mm_pool *pool, const struct mm_pool_worker *worker, int64_t now)
{
    return is_due_locked(pool, worker, now) && !has_starting_locked(pool) && take_gate(pool, now);
}

static void kill_for_time_locked(struct mm_pool *pool, struct mm_pool_worker *worker, const char *what, int64_t limit,
                                 const char *unit)
{
    (void)mm_fail(&worker->why, MM_HSM_UNAVAILABLE, "%s within %lld %s", what, (long long)limit, unit);
    mm_pool_worker_kill(pool->launcher, worker);
}

/* Whether the process is gone; then its reader soon will be, too. */
static bool reap_locked(struct mm_pool *pool, struct mm_pool_worker *worker, int *ret_status)
{
    uint64_t process = worker->process;
    (void)pthread_mutex_unlock(&pool->lock);
    bool is_gone = mm_launcher_reap(pool->launcher, process, ret_status);
    (void)pthread_mutex_lock(&pool->lock);
    if (is_gone) {
        worker->process = 0;
        (void)shutdown(worker->fd, SHUT_RDWR);
    }
    return is_gone;
}

/* Have a nonce signed, by the way that requests go: a probe that hangs ends its worker like any other signature. */
static void probe_locked(struct mm_pool *pool, struct mm_pool_worker *worker, int64_t now)
{
    struct mm_pool_health *health = &worker->health;
    arc4random_buf(health->nonce, sizeof health->nonce);
    health->asked_ns = now;
    struct mm_message message = {
        .kind = MM_MESSAGE_SIGN,
        .id = ++pool->last_id,
        .sentence = MM_SENTENCE_PROBE,
        .deadline_ns = mm_deadline_after_ms(pool->settings->sign_timeout_ms),
        .data = health->nonce,
        .length = sizeof health->nonce,
    };
    if (mm_pool_worker_send(worker->fd, &message, pool->packet) != MM_POOL_SENT) {
        mm_pool_worker_end(worker);
        return;
    }
    mm_pool_worker_take_slot(worker, message.id, now)->is_probe = true;
    health->is_probed = true;
}

/* A worker with nothing to do must not learn from a caller that its HSM is gone. */
static void mind_health_locked(struct mm_pool *pool, struct mm_pool_worker *worker, int64_t now)
{
    const struct mm_pool_health *health = &worker->health;
    int64_t patience_ms = health->n_refused > 0 ? PROBE_REFUSING_MS : pool->settings->probe_interval * 1000;
    int64_t busy_timeout = pool->settings->busy_timeout;
    if (mm_pool_worker_is_failing(worker, now) && now - health->refusing_ns >= busy_timeout * 1000000000) {
        /* A fresh process is the cure that works with every module. */
        (void)mm_fail(&worker->why, MM_HSM_UNAVAILABLE, "the HSM refused every signature for %lld s: %s",
                      (long long)busy_timeout, health->refusal);
        mm_pool_worker_end(worker);
    } else if (!health->is_probed && mm_pool_worker_has_room(worker) &&
               now - health->asked_ns >= patience_ms * 1000000) {
        probe_locked(pool, worker, now);
    }
}

static void mind_locked(struct mm_pool *pool, struct mm_pool_worker *worker, int64_t now)
{
    int64_t sign_timeout_ms = pool->settings->sign_timeout_ms;
    int status;
    if (worker->history == MM_POOL_BECAME_READY) {
        worker->history = MM_POOL_WAS_READY;
        char detail[32];
        (void)snprintf(detail, sizeof detail, "pid %ld", (long)worker->pid);
        notify_locked(pool, MM_POOL_WORKER_READY, detail);
    }
    if (pool->phase == MM_POOL_STOPPING)
        mm_pool_worker_end(worker);
    switch (worker->state) {
    case MM_POOL_DOWN:
        if (may_start_locked(pool, worker, now))
            start_locked(pool, worker);
        break;
    case MM_POOL_STARTING:
        if (now >= worker->until_ns)
            kill_for_time_locked(pool, worker, "the worker wasn't ready", pool->settings->start_timeout, "s");
        break;
    case MM_POOL_READY:
        if (mm_pool_worker_is_hung(worker, now))
            kill_for_time_locked(pool, worker, "the HSM gave no signature", sign_timeout_ms, "ms");
        else
            mind_health_locked(pool, worker, now);
        break;
    case MM_POOL_ENDING:
        if (reap_locked(pool, worker, &status))
            bury_locked(pool, worker, status);
        else if (now >= worker->until_ns && worker->fate != MM_POOL_KILLED)
            kill_for_time_locked(pool, worker, "the worker didn't exit", worker->grace_ms, "ms");
        break;
    }
}

static void give_up_all_locked(struct mm_pool *pool, struct mm_pool_requests *requests, enum mm_code code,
                               const char *reason)
{
    for (struct mm_pool_request *request; (request = TAILQ_FIRST(requests));) {
        TAILQ_REMOVE(requests, request, link);
        mm_pool_give_up_locked(pool, request, code, reason);
    }
}

static void give_up_expired_locked(struct mm_pool *pool, int64_t horizon_ns, enum mm_code code, const char *reason)
{
    struct mm_pool_requests expired = TAILQ_HEAD_INITIALIZER(expired);
    mm_pool_queue_take_expired(pool->queue, horizon_ns, &expired);
    give_up_all_locked(pool, &expired, code, reason);
}

/* Who has another key to turn to waits for no worker. */
static void give_up_impatient_locked(struct mm_pool *pool)
{
    struct mm_pool_requests impatient = TAILQ_HEAD_INITIALIZER(impatient);
    mm_pool_queue_take_impatient(pool->queue, &impatient);
    give_up_all_locked(pool, &impatient, MM_HSM_UNAVAILABLE, "no HSM worker is ready");
}

/* Nobody waits past a deadline, nor for a worker that won't be there before it. */
static void expire_locked(struct mm_pool *pool, int64_t now)
{
    give_up_expired_locked(pool, now, MM_DEADLINE_EXCEEDED, "no HSM worker was free before the deadline");
    if (pool->phase == MM_POOL_STOPPING)
        give_up_expired_locked(pool, INT64_MAX, MM_SHUTTING_DOWN, "the service is shutting down");
    int64_t from = mm_pool_serves_from_ns_locked(pool);
    if (from > now)
        give_up_expired_locked(pool, from, MM_HSM_UNAVAILABLE, "no HSM worker is ready");
    if (mm_pool_queue_n(pool->queue) > 0 && !mm_pool_is_serving_locked(pool, now))
        give_up_impatient_locked(pool);
    for (size_t i = 0; i < pool->n_workers; i++) {
        struct mm_pool_worker *worker = &pool->workers[i];
        for (size_t j = 0; j < MM_POOL_SLOTS_MAX; j++) {
            struct mm_pool_request *request = worker->slots[j].request;
            if (!request || request->deadline_ns > now)
                continue;
            worker->slots[j].request = NULL;
            mm_pool_give_up_locked(pool, request, MM_DEADLINE_EXCEEDED, "the HSM didn't sign before the deadline");
        }
    }
    mm_pool_answer_failed_locked(pool);
}

static bool is_idle_locked(const struct mm_pool *pool, int64_t now)
{
    for (size_t i = 0; i < pool->n_workers; i++) {
        const struct mm_pool_worker *worker = &pool->workers[i];
        if (worker->state == MM_POOL_STARTING || worker->state == MM_POOL_ENDING || worker->n_in_flight > 0 ||
            is_due_locked(pool, worker, now))
            return false;
    }
    return pool->n_requests == 0 && TAILQ_EMPTY(&pool->failed);
}

/* Sleep until woken, or until something is due. */
static void sleep_locked(struct mm_pool *pool, int64_t now, uint64_t *last_id)
{
    /* Awake for one tick past the last request: under load nobody needs to be woken. */
    bool may_doze = is_idle_locked(pool, now) && *last_id == pool->last_id;
    int64_t until_ns = mm_deadline_after_ms(may_doze ? DOZE_MS : TICK_MS);
    *last_id = pool->last_id;
    for (size_t i = 0; i < pool->n_workers; i++) {
        const struct mm_pool_worker *worker = &pool->workers[i];
        /* One whose time had come at `now` waits for something else than time. */
        if (worker->state == MM_POOL_DOWN && worker->until_ns > now && worker->until_ns < until_ns)
            until_ns = worker->until_ns;
    }
    struct timespec until = mm_deadline_timespec(until_ns);
    pool->supervision = may_doze ? MM_POOL_DOZING : MM_POOL_AWAKE;
    (void)pthread_cond_clockwait(&pool->wake, &pool->lock, CLOCK_MONOTONIC, &until);
    pool->supervision = MM_POOL_AWAKE;
}

/* Whether to leave a process to the launcher: one that the kernel can't end, or, as the service ends, one that may be logging in. */
static bool may_leave_locked(const struct mm_pool *pool, const struct mm_pool_worker *worker, int64_t now)
{
    if (worker->state != MM_POOL_ENDING)
        return false;
    if (worker->fate == MM_POOL_KILLED)
        return now >= worker->until_ns + LOST_MS * 1000000LL;
    int64_t told_ns = worker->until_ns - worker->grace_ms * 1000000;
    return mm_pool_is_draining(pool) && worker->history == MM_POOL_NEVER_READY &&
           now >= told_ns + MM_POOL_END_MS * 1000000LL;
}

/* Its socket goes, and nobody looks at its process any more. */
static void leave_behind_locked(struct mm_pool *pool, struct mm_pool_worker *worker)
{
    pool->has_left_login = pool->has_left_login || worker->fate != MM_POOL_KILLED;
    worker->process = 0;
    (void)shutdown(worker->fd, SHUT_RDWR);
    bury_locked(pool, worker, SIGKILL);
}

/* Whether every process is gone, or left to the launcher. */
static bool has_ended_locked(struct mm_pool *pool, int64_t now)
{
    for (size_t i = 0; i < pool->n_workers; i++) {
        struct mm_pool_worker *worker = &pool->workers[i];
        if (worker->state == MM_POOL_DOWN)
            continue;
        if (!may_leave_locked(pool, worker, now))
            return false;
        leave_behind_locked(pool, worker);
    }
    return true;
}

void *mm_pool_supervisor(void *argument)
{
    struct mm_pool *pool = argument;
    uint64_t last_id = 0;
    int64_t latch_ns = 0;
    (void)pthread_mutex_lock(&pool->lock);
    for (;;) {
        int64_t now = mm_monotonic_ns();
        atomic_store(&pool->beat_ns, now);
        if (now - latch_ns >= DOZE_MS * 1000000LL) {
            latch_ns = now;
            look_at_latch_locked(pool);
        }
        for (size_t i = 0; i < pool->n_workers; i++)
            mind_locked(pool, &pool->workers[i], now);
        leave_gate_locked(pool, now);
        mm_pool_publish_locked(pool, now);
        mm_pool_dispatch_locked(pool);
        expire_locked(pool, now);
        if (pool->phase == MM_POOL_STOPPING && has_ended_locked(pool, now))
            break;
        sleep_locked(pool, now, &last_id);
    }
    leave_gate_locked(pool, mm_monotonic_ns());
    expire_locked(pool, mm_monotonic_ns());
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}
