/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job goes through three hands: the caller's thread drafts it, the ledger's writer reports it recorded, a pool thread
 * brings its signature, or word that there is none: then another key is recorded, and so on. It belongs to exactly one of them at a
 * time; only the timekeeper looks at it from outside, under the lock, to answer it when its deadline has passed. While it waits for
 * its turn it belongs to the lock.
 */
#include "issue/issue.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "issue/draft.h"
#include "issue/refusals.h"
#include "issue/turns.h"
#include "oauth/subject.h"
#include "util/log.h"

enum { TICK_MS = 50, IDLE_TICK_MS = 1000, SWEEP_MS = 1000, ANSWERS_PER_TICK = 64 };

struct job {
    /* immutable once begun */
    struct mm_issuer *issuer;
    struct mm_config *config; /* a reference: the principal borrows from it */
    const char *tenant;
    const char *account;
    const char *client; /* who asked for it: the same, unless there is a subject */
    char *subject;      /* of an exchange: its `account`, which nobody else keeps; NULL otherwise */
    enum mm_algorithm algorithm;
    struct mm_draft draft;
    char request_id[MM_REQUEST_ID_LENGTH + 1];
    int64_t deadline_ns;
    mm_issue_done done;
    void *context;

    /* its owner's */
    struct mm_signer *signer; /* a reference; its key is recorded before it is asked */
    mm_signer_set tried;      /* it and those before it */

    /* guarded by the issuer's lock */
    bool is_answered;
    struct mm_turn turn;
    LIST_ENTRY(job) link;
};

struct mm_issuer {
    /* immutable */
    struct mm_issuer_parts parts;
    struct mm_refusals *refusals;
    struct mm_buckets *buckets;
    pthread_t timekeeper;

    _Atomic int64_t beat_ns;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* a first job, the last job's end, stopping */
    /* guarded by lock */
    LIST_HEAD(, job) jobs;
    size_t n_jobs;
    struct mm_turns *turns;
    bool is_draining;
    bool is_stopping;
};

struct answer {
    mm_issue_done done;
    void *context;
    struct job *over; /* to be freed: its turn never came */
};

static void job_free(struct job *job)
{
    if (!job)
        return;
    mm_signer_unref(job->signer);
    mm_draft_clear(&job->draft);
    free(job->subject);
    mm_config_unref(job->config);
    free(job);
}

MM_DEFINE_CLEANUP(struct job, job_free);

/* Take the job out of the list; whoever waits for the last one is told. The job whose turn comes by that, or NULL. */
static struct job *take_out_locked(struct mm_issuer *issuer, struct job *job)
{
    LIST_REMOVE(job, link);
    if (--issuer->n_jobs == 0)
        (void)pthread_cond_broadcast(&issuer->changed);
    struct mm_turn *turn = mm_turns_leave(issuer->turns, &job->turn);
    return turn ? turn->job : NULL;
}

/*
 * Mark up to ANSWERS_PER_TICK expired jobs as answered and return how to reach their callers. Those that still wait for their
 * turn are over with that.
 */
static size_t take_expired_locked(struct mm_issuer *issuer, struct answer *ret_answers)
{
    int64_t now = mm_monotonic_ns();
    size_t n = 0;
    for (struct job *job = LIST_FIRST(&issuer->jobs), *next; job && n < ANSWERS_PER_TICK; job = next) {
        next = LIST_NEXT(job, link);
        if (job->is_answered || job->deadline_ns > now)
            continue;
        job->is_answered = true;
        ret_answers[n] = (struct answer){.done = job->done, .context = job->context};
        if (!job->turn.has_begun) {
            (void)take_out_locked(issuer, job); /* nobody's turn comes: it had none */
            ret_answers[n].over = job;
        }
        n++;
    }
    return n;
}

static void answer_expired(const struct answer *answers, size_t n)
{
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_DEADLINE_EXCEEDED, "no token within the deadline");
    for (size_t i = 0; i < n; i++) {
        answers[i].done(answers[i].context, NULL, &err);
        job_free(answers[i].over);
    }
}

/* Not each time round, which may be for each token: it takes the lock that whoever asks for one needs. */
static void sweep_revocations(struct mm_issuer *issuer, int64_t *due_ns)
{
    if (mm_monotonic_ns() < *due_ns)
        return;
    *due_ns = mm_deadline_after_ms(SWEEP_MS);
    mm_revocations_sweep(issuer->parts.revocations);
}

static void *keep_time(void *context)
{
    struct mm_issuer *issuer = context;
    struct answer answers[ANSWERS_PER_TICK];
    int64_t sweep_due_ns = 0;
    size_t n = 0;
    (void)pthread_mutex_lock(&issuer->lock);
    while (!issuer->is_stopping) {
        atomic_store(&issuer->beat_ns, mm_monotonic_ns());
        struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(issuer->n_jobs > 0 ? TICK_MS : IDLE_TICK_MS));
        /* A full hand of answers: more may be due already. */
        if (n < ANSWERS_PER_TICK)
            (void)pthread_cond_clockwait(&issuer->changed, &issuer->lock, CLOCK_MONOTONIC, &until);
        n = take_expired_locked(issuer, answers);
        (void)pthread_mutex_unlock(&issuer->lock);
        answer_expired(answers, n);
        mm_refusals_flush(issuer->refusals, MM_REFUSALS_ENDED);
        sweep_revocations(issuer, &sweep_due_ns);
        (void)pthread_mutex_lock(&issuer->lock);
    }
    (void)pthread_mutex_unlock(&issuer->lock);
    return NULL;
}

struct mm_issuer *mm_issuer_start(const struct mm_issuer_parts *parts, struct mm_error *err)
{
    assert(parts->revocations);
    struct mm_issuer *issuer = calloc(1, sizeof *issuer);
    if (!issuer) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    issuer->parts = *parts;
    atomic_init(&issuer->beat_ns, mm_monotonic_ns());
    issuer->turns = mm_turns_new(parts->queue, parts->at_once, err);
    issuer->refusals = mm_refusals_new(parts->ledger, parts->clock, err);
    issuer->buckets = mm_buckets_new(err);
    (void)pthread_mutex_init(&issuer->lock, NULL);
    (void)pthread_cond_init(&issuer->changed, NULL);
    bool is_complete = issuer->turns && issuer->refusals && issuer->buckets;
    if (is_complete && pthread_create(&issuer->timekeeper, NULL, keep_time, issuer) == 0)
        return issuer;
    (void)mm_fail(err, MM_INTERNAL, "can't start the issuer's thread");
    mm_buckets_free(issuer->buckets);
    mm_refusals_free(issuer->refusals);
    mm_turns_free(issuer->turns);
    free(issuer);
    return NULL;
}

int64_t mm_issuer_beat_ns(const struct mm_issuer *issuer)
{
    return atomic_load(&issuer->beat_ns);
}

void mm_issuer_drain(struct mm_issuer *issuer)
{
    (void)pthread_mutex_lock(&issuer->lock);
    issuer->is_draining = true;
    (void)pthread_mutex_unlock(&issuer->lock);
}

bool mm_issuer_wait(struct mm_issuer *issuer, int64_t deadline_ns, struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(deadline_ns);
    (void)pthread_mutex_lock(&issuer->lock);
    while (issuer->n_jobs > 0 && mm_monotonic_ns() < deadline_ns)
        (void)pthread_cond_clockwait(&issuer->changed, &issuer->lock, CLOCK_MONOTONIC, &until);
    size_t n_left = issuer->n_jobs;
    (void)pthread_mutex_unlock(&issuer->lock);
    mm_refusals_flush(issuer->refusals, MM_REFUSALS_ALL);
    return n_left == 0 || mm_fail(err, MM_DEADLINE_EXCEEDED, "%zu tokens still being made", n_left);
}

void mm_issuer_stop(struct mm_issuer *issuer)
{
    if (!issuer)
        return;
    (void)pthread_mutex_lock(&issuer->lock);
    assert(issuer->n_jobs == 0);
    issuer->is_stopping = true;
    (void)pthread_cond_broadcast(&issuer->changed);
    (void)pthread_mutex_unlock(&issuer->lock);
    (void)pthread_join(issuer->timekeeper, NULL);
    mm_buckets_free(issuer->buckets);
    mm_refusals_free(issuer->refusals);
    mm_turns_free(issuer->turns);
    (void)pthread_cond_destroy(&issuer->changed);
    (void)pthread_mutex_destroy(&issuer->lock);
    free(issuer);
}

/* MM_TURN_REFUSED sets `err`; otherwise the job is in the list. */
static enum mm_turns_verdict job_enter(struct job *job, struct mm_error *err)
{
    struct mm_issuer *issuer = job->issuer;
    enum mm_turns_verdict verdict = MM_TURN_REFUSED;
    (void)pthread_mutex_lock(&issuer->lock);
    bool is_draining = issuer->is_draining;
    if (!is_draining)
        verdict = mm_turns_enter(issuer->turns, &job->turn, job->tenant, job->algorithm);
    if (verdict != MM_TURN_REFUSED) {
        LIST_INSERT_HEAD(&issuer->jobs, job, link);
        if (issuer->n_jobs++ == 0)
            (void)pthread_cond_broadcast(&issuer->changed);
    }
    (void)pthread_mutex_unlock(&issuer->lock);
    if (verdict == MM_TURN_REFUSED)
        (void)mm_fail(err, is_draining ? MM_SHUTTING_DOWN : MM_OVERLOADED, "%s",
                      is_draining ? "stopping" : "too many tokens at once");
    return verdict;
}

/* Claim the right to answer the caller; false if the timekeeper was first. */
static bool job_claim(struct job *job)
{
    (void)pthread_mutex_lock(&job->issuer->lock);
    bool is_mine = !job->is_answered;
    job->is_answered = true;
    (void)pthread_mutex_unlock(&job->issuer->lock);
    return is_mine;
}

static bool was_answered(struct job *job)
{
    (void)pthread_mutex_lock(&job->issuer->lock);
    bool is_answered = job->is_answered;
    (void)pthread_mutex_unlock(&job->issuer->lock);
    return is_answered;
}

static void on_recorded(void *context, const struct mm_receipt *receipt, const struct mm_error *why);

static bool job_record(struct job *job, struct mm_error *err)
{
    struct mm_entry_text entry = {job->draft.entry, job->account, job->draft.jti};
    return mm_ledger_submit_text(job->issuer->parts.ledger, MM_ENTRY_TOKEN_ISSUED, &entry, on_recorded, job, err);
}

/* The turn of a job that waited has come. False: it is over already, or now. */
static bool job_go_on(struct job *job)
{
    struct mm_error err = {0};
    if (was_answered(job))
        return false;
    if (job_record(job, &err))
        return true;
    if (job_claim(job))
        job->done(job->context, NULL, &err);
    return false;
}

/* Free the job; another's turn comes, and so on while that is over at once. */
static void job_leave(struct job *job)
{
    while (job) {
        struct mm_issuer *issuer = job->issuer;
        /* Before it is counted out: with the last job the signers may go. */
        mm_signer_unref(MM_TAKE(job->signer));
        (void)pthread_mutex_lock(&issuer->lock);
        struct job *next = take_out_locked(issuer, job);
        (void)pthread_mutex_unlock(&issuer->lock);
        job_free(job);
        job = next && !job_go_on(next) ? next : NULL;
    }
}

static void record_sign_failed(struct job *job, const struct mm_error *why)
{
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss ss ss}", "tenant", job->tenant, "account", job->account, "jti", job->draft.jti, "code",
                  mm_code_name(why->code), "request_id", job->request_id);
    if (!fields)
        (void)mm_fail(&err, MM_NO_MEMORY, "out of memory");
    if (!fields || !mm_ledger_submit(job->issuer->parts.ledger, MM_ENTRY_SIGN_FAILED, fields, NULL, NULL, &err))
        mm_log_error("sign_failed_not_recorded", &err, "jti", job->draft.jti, "request_id", job->request_id, NULL);
}

/* The end of a job whose entry is in the ledger but whose token never leaves. */
static void end_unsigned(struct job *job, const struct mm_error *why)
{
    record_sign_failed(job, why);
    if (job_claim(job))
        job->done(job->context, NULL, why);
    job_leave(job);
}

/* Whether a failure is the key's own, or its HSM's: another may do better. */
static bool is_of_one_key(enum mm_code code)
{
    static const enum mm_code CODES[] = {MM_HSM_UNAVAILABLE, MM_OVERLOADED, MM_DEADLINE_EXCEEDED, MM_SIGNATURE_INVALID,
                                         MM_SHUTTING_DOWN /* the key's workers; the issuer outlives those of all */};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CODES); i++)
        if (code == CODES[i])
            return true;
    return false;
}

static void on_rerouted(void *context, const struct mm_receipt *receipt, const struct mm_error *why);

static json_t *rerouted_entry(const struct job *job, const char *from, const struct mm_error *why)
{
    return json_pack("{ss ss ss ss ss ss ss}", "tenant", job->tenant, "account", job->account, "jti", job->draft.jti,
                     "kid", mm_signer_kid(job->signer), "from", from, "code", mm_code_name(why->code), "request_id",
                     job->request_id);
}

/* Turn to a key that wasn't tried yet, as long as there is time. True: the job is the ledger writer's from here on. */
static bool job_reroute(struct job *job, const struct mm_error *why)
{
    const struct mm_issuer_parts *parts = &job->issuer->parts;
    if (!is_of_one_key(why->code) || mm_monotonic_ns() >= job->deadline_ns)
        return false;
    struct mm_signer *next = mm_signers_pick(parts->signers, job->algorithm, &job->tried, NULL);
    if (!next)
        return false;
    struct mm_signer *from = job->signer;
    job->signer = next;
    mm_cleanup(json_decref) json_t *fields = rerouted_entry(job, mm_signer_kid(from), why);
    /* Before the job can end elsewhere, as in job_leave(). */
    mm_signer_unref(from);
    return fields && mm_ledger_submit(parts->ledger, MM_ENTRY_TOKEN_REROUTED, fields, on_rerouted, job, NULL);
}

/* The end of one key's try. */
static void job_turn(struct job *job, const struct mm_error *why)
{
    if (!job_reroute(job, why))
        end_unsigned(job, why);
}

static void on_signed(void *context, const char *jws, const struct mm_error *why)
{
    struct job *job = context;
    if (!jws) {
        job_turn(job, why);
        return;
    }
    if (!job_claim(job)) {
        struct mm_error late = {0};
        (void)mm_fail(&late, MM_DEADLINE_EXCEEDED, "signed after the caller's deadline; never handed out");
        record_sign_failed(job, &late);
        job_leave(job);
        return;
    }
    struct mm_issued issued = {
        .jwt = jws,
        .jti = job->draft.jti,
        .expires_at = job->draft.expires_at,
        .issued_at = job->draft.issued_at,
        .tenant_id = job->tenant,
        .account = job->account,
        .scopes = job->draft.scopes,
        .resources = job->draft.resources,
        .audiences = job->draft.audiences,
    };
    job->done(job->context, &issued, NULL);
    job_leave(job);
}

/* Nobody has stopped issuance: to whom the token is for, nor to who asked for it. */
static bool is_allowed(const struct job *job, struct mm_error *err)
{
    struct mm_revocations *revocations = job->issuer->parts.revocations;
    return mm_revocations_allow(revocations, job->tenant, job->account, err) &&
           (!job->subject || mm_revocations_allow(revocations, job->tenant, job->client, err));
}

/* Have a token signed that is in the ledger with its signer's key. */
static void job_sign(struct job *job)
{
    struct mm_error err = {0};
    if (was_answered(job)) {
        (void)mm_fail(&err, MM_DEADLINE_EXCEEDED, "recorded after the caller's deadline; never signed");
        end_unsigned(job, &err);
        return;
    }
    /* Drafted before the revocation that stops it, and so hit by it: it isn't signed either, if that can be helped. */
    if (!is_allowed(job, &err)) {
        end_unsigned(job, &err);
        return;
    }
    struct mm_pool_order order = {
        .sentence = MM_SENTENCE_ACCESS_TOKEN,
        .tenant = job->tenant,
        .payload = job->draft.payload,
        .length = strlen(job->draft.payload),
        .deadline_ns = job->deadline_ns,
    };
    if (!mm_signer_sign(job->signer, &order, job->tried, on_signed, job, &err))
        job_turn(job, &err);
}

static void on_recorded(void *context, const struct mm_receipt *receipt, const struct mm_error *why)
{
    struct job *job = context;
    if (receipt) {
        job_sign(job);
        return;
    }
    if (job_claim(job))
        job->done(job->context, NULL, why);
    job_leave(job);
}

static void on_rerouted(void *context, const struct mm_receipt *receipt, const struct mm_error *why)
{
    struct job *job = context;
    if (receipt)
        job_sign(job);
    else
        end_unsigned(job, why);
}

static struct job *job_new(struct mm_issuer *issuer, struct mm_config *config, const struct mm_principal *principal,
                           const char *request_id, struct mm_error *err)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    job->issuer = issuer;
    job->config = mm_config_ref(config);
    job->turn.job = job;
    job->tenant = principal->tenant->id;
    job->client = principal->account->identity;
    job->account = job->client;
    if (principal->subject) {
        job->subject = strdup(principal->subject->identity);
        job->account = job->subject;
    }
    (void)snprintf(job->request_id, sizeof job->request_id, "%s", request_id);
    if (job->account)
        return job;
    (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    job_free(job);
    return NULL;
}

static bool decide(const struct mm_principal *principal, const struct mm_token_request *request,
                   struct mm_decision *ret_decision, struct mm_error *err)
{
    if (principal->subject)
        return mm_exchange_decide(principal->tenant, &principal->subject->who, principal->account, request,
                                  ret_decision, err);
    return mm_policy_decide(principal->tenant, principal->account, request, ret_decision, err);
}

static struct job *job_draft(struct mm_issuer *issuer, struct mm_config *config, const struct mm_principal *principal,
                             const struct mm_token_request *request, const struct mm_decision *decision,
                             const char *request_id, struct mm_error *err)
{
    mm_cleanup(job_free) struct job *job = job_new(issuer, config, principal, request_id, err);
    if (!job)
        return NULL;
    job->algorithm = decision->algorithm;
    job->signer = mm_signers_pick(issuer->parts.signers, job->algorithm, &job->tried, err);
    if (!job->signer || !mm_draft_make(&issuer->parts, &config->policy, principal, request, decision,
                                       mm_signer_kid(job->signer), request_id, &job->draft, err))
        return NULL;
    /* Last: what is revoked after this look has a later moment than the draft's iat, and hits it. */
    if (!is_allowed(job, err))
        return NULL;
    return MM_TAKE(job);
}

/* After policy, so that what that refuses takes nothing from the buckets. */
static bool is_within_limits(struct mm_issuer *issuer, const struct mm_principal *principal,
                             struct mm_rate_state *ret_rate, struct mm_error *err)
{
    return mm_buckets_take(issuer->buckets, principal->tenant, principal->account, mm_monotonic_ns(), ret_rate, err);
}

/* For a token that the service doesn't even begin to make. */
static void give_back(struct mm_issuer *issuer, const struct mm_principal *principal, struct mm_rate_state *ret_rate)
{
    *ret_rate = (struct mm_rate_state){0};
    mm_buckets_give_back(issuer->buckets, principal->tenant, principal->account);
}

/* Decide and draft: all that can refuse a request. */
static struct job *job_prepare(struct mm_issuer *issuer, struct mm_config *config, const struct mm_principal *principal,
                               const struct mm_token_request *request, const char *request_id,
                               struct mm_rate_state *ret_rate, struct mm_error *err)
{
    struct mm_decision decision;
    if (!decide(principal, request, &decision, err) || !mm_ledger_check_clock(issuer->parts.ledger, err) ||
        !is_within_limits(issuer, principal, ret_rate, err))
        return NULL;
    struct job *job = job_draft(issuer, config, principal, request, &decision, request_id, err);
    if (!job)
        give_back(issuer, principal, ret_rate);
    return job;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A token that waited for its signature until it had expired would be of no use, and look like a verifier's fault. */
static int64_t expiry_ns(const struct mm_issuer *issuer, const struct mm_draft *draft)
{
    return mm_deadline_after_ms(draft->expires_at * 1000 - mm_clock_now_ms(issuer->parts.clock));
}

bool mm_issue(struct mm_issuer *issuer, struct mm_config *config, const struct mm_principal *principal,
              const struct mm_token_request *request, const char *request_id, int64_t deadline_ns, mm_issue_done done,
              void *context, struct mm_rate_state *ret_rate, struct mm_error *err)
{
    struct mm_error why = {0};
    *ret_rate = (struct mm_rate_state){0};
    mm_cleanup(job_free) struct job *job = job_prepare(issuer, config, principal, request, request_id, ret_rate, &why);
    if (!job) {
        if (mm_code_http_status(why.code) < 500)
            mm_refusals_note(issuer->refusals, principal, request, request_id, &why);
        return mm_fail(err, why.code, "%s", why.message);
    }
    job->deadline_ns = earlier(deadline_ns, expiry_ns(issuer, &job->draft));
    job->done = done;
    job->context = context;
    enum mm_turns_verdict verdict = job_enter(job, err);
    if (verdict == MM_TURN_REFUSED) {
        give_back(issuer, principal, ret_rate);
        return false;
    }
    /* From here on the job may end on another thread at any moment. */
    struct job *begun = MM_TAKE(job);
    if (verdict == MM_TURN_WAITS || job_record(begun, err))
        return true;
    /* Nobody else holds it, except perhaps the timekeeper who has answered already. */
    bool is_mine = job_claim(begun);
    job_leave(begun);
    if (is_mine)
        give_back(issuer, principal, ret_rate);
    return !is_mine;
}

size_t mm_issuer_limited(struct mm_issuer *issuer, struct mm_limited *ret_limited, size_t max)
{
    return mm_buckets_limited(issuer->buckets, mm_monotonic_ns(), ret_limited, max);
}
