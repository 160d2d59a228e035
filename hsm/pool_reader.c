/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread a worker process: receives what it says and believes none of it. A signature leaves only once it has been
 * verified with the pinned public key; anything out of order ends the process.
 */
#include <string.h>

#include "hsm/pool_internal.h"
#include "token/jws.h"
#include "util/base64url.h"
#include "util/clock.h"

/* What the pool hands out can be taken apart again. */
_Static_assert((MM_PAYLOAD_MAX + MM_HEADER_MAX + MM_SIGNATURE_MAX) / 3 * 4 + 16 <= MM_JWT_MAX, "every JWT must parse");

enum { ANSWER_MAX = 4096 }; /* of a packet; nothing that a worker says needs more */

struct header {
    char text[MM_HEADER_MAX]; /* decoded */
    size_t length;
};

struct reader {
    struct mm_pool *pool;
    struct mm_pool_worker *worker;
    int fd;
    struct header access_token;
    size_t n_threads;
    uint64_t n_verified;
    uint8_t nonce[MM_PROBE_NONCE]; /* of the probe that was answered last */
};

/* The protected header of access tokens may say nothing but this (RFC 9068 section 2.1, RFC 7515 section 4.1). */
static bool header_is_right(const struct mm_pool_key *key, const json_t *header)
{
    const char *typ = mm_json_string(header, "typ");
    const char *alg = mm_json_string(header, "alg");
    const char *kid = mm_json_string(header, "kid");
    return json_object_size(header) == 3 && typ && strcmp(typ, "at+jwt") == 0 && alg &&
           strcmp(alg, mm_algorithm_name(key->algorithm)) == 0 && kid &&
           strcmp(kid, mm_pubkey_thumbprint(key->pubkey)) == 0;
}

static bool take_header(struct reader *reader, const char *encoded, struct mm_error *err)
{
    struct header *header = &reader->access_token;
    size_t length = encoded ? strlen(encoded) : 0;
    if (length == 0 || length > MM_HEADER_MAX ||
        !mm_base64url_decode(encoded, length, (uint8_t *)header->text, &header->length))
        return mm_fail(err, MM_INTERNAL, "the worker sent no protected header");
    mm_cleanup(json_decref) json_t *parsed = mm_json_parse(header->text, header->length, NULL);
    return header_is_right(&reader->pool->key, parsed) ||
           mm_fail(err, MM_INTERNAL, "the worker sent a protected header of another key or type");
}

static bool take_ready(struct reader *reader, const struct mm_message *message, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *ready = NULL;
    if (!mm_pool_worker_take_ready(message, &ready, err))
        return false;
    const char *kid = mm_json_string(ready, "kid");
    if (!kid || strcmp(kid, mm_pubkey_thumbprint(reader->pool->key.pubkey)) != 0)
        return mm_fail(err, MM_KEY_MISMATCH, "the worker loaded another key than the pinned one");
    json_int_t threads = json_integer_value(json_object_get(ready, "threads"));
    if (threads < 1 || threads > MM_POOL_SLOTS_MAX)
        return mm_fail(err, MM_INTERNAL, "the worker said that it signs %lld at once", (long long)threads);
    reader->n_threads = (size_t)threads;
    return take_header(reader, mm_json_string(json_object_get(ready, "headers"), "access_token"), err);
}

static void announce_ready(struct reader *reader)
{
    struct mm_pool *pool = reader->pool;
    (void)pthread_mutex_lock(&pool->lock);
    if (reader->worker->state == MM_POOL_STARTING) {
        reader->worker->state = MM_POOL_READY;
        reader->worker->history = MM_POOL_BECAME_READY;
        reader->worker->n_threads = reader->n_threads;
        reader->worker->health.asked_ns = mm_monotonic_ns();
        pool->verdict = MM_POOL_WORKS;
        (void)pthread_cond_broadcast(&pool->started);
        (void)pthread_cond_signal(&pool->wake);
        mm_pool_publish_locked(pool, mm_monotonic_ns());
        mm_pool_dispatch_locked(pool);
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

/* What an answer says of the HSM; a request that was refused for what it is says nothing. */
static void judge_health_locked(struct mm_pool_health *health, const struct mm_message *message, int64_t now)
{
    if (message->code == MM_OK) {
        health->n_refused = 0;
        health->asked_ns = now;
        return;
    }
    if (message->code == MM_OVERLOADED && health->n_refused++ == 0)
        health->refusing_ns = now;
    if (message->code == MM_OVERLOADED || message->code == MM_HSM_UNAVAILABLE)
        mm_pool_worker_reason(message, health->refusal, sizeof health->refusal);
}

/* Take the slot that a SIGNED answers. The request in it is NULL if nobody waits for it. */
static bool take_slot_locked(struct reader *reader, const struct mm_message *message, struct mm_pool_slot *ret_slot,
                             struct mm_error *err)
{
    struct mm_pool *pool = reader->pool;
    struct mm_pool_worker *worker = reader->worker;
    if (message->kind != MM_MESSAGE_SIGNED || message->id == 0)
        return mm_fail(err, MM_INTERNAL, "the worker sent something else than signatures");
    struct mm_pool_slot *slot = mm_pool_worker_slot(worker, message->id);
    if (!slot)
        return mm_fail(err, MM_INTERNAL, "the worker answered a request that it doesn't have");
    int64_t now = mm_monotonic_ns();
    if (message->code == MM_DEADLINE_EXCEEDED && slot->request && now < slot->request->deadline_ns)
        return mm_fail(err, MM_INTERNAL, "the worker called a request expired that wasn't");
    *ret_slot = *slot;
    if (slot->request)
        pool->n_requests--;
    if (message->code == MM_OK)
        mm_latency_add(&pool->latency, mm_pool_worker_measure(worker, slot, now), now);
    judge_health_locked(&worker->health, message, now);
    if (slot->is_probe) {
        memcpy(reader->nonce, worker->health.nonce, sizeof reader->nonce);
        worker->health.is_probed = false;
    }
    *slot = (struct mm_pool_slot){0};
    worker->n_in_flight--;
    /* Its last word: nothing more must be sent there, least of all what it failed. */
    if (message->code == MM_HSM_UNAVAILABLE)
        mm_pool_worker_end(worker);
    return true;
}

/* The slots that a batch answers, up to the first answer that is out of order; then the worker's next requests are on their way. */
static size_t take_slots(struct reader *reader, const struct mm_messages *batch, struct mm_pool_slot *ret_slots,
                         struct mm_error *err)
{
    struct mm_pool *pool = reader->pool;
    size_t n = 0;
    (void)pthread_mutex_lock(&pool->lock);
    while (n < batch->n && take_slot_locked(reader, &batch->items[n], &ret_slots[n], err))
        n++;
    int64_t now = mm_monotonic_ns();
    mm_pool_worker_move_up(reader->worker, now);
    mm_pool_publish_locked(pool, now);
    mm_pool_dispatch_locked(pool);
    mm_pool_answer_failed_locked(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    return n;
}

static void retry(struct mm_pool *pool, struct mm_pool_request *request, enum mm_code code, const char *reason)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->n_requests++;
    mm_pool_retry_locked(pool, request, code, reason);
    mm_pool_dispatch_locked(pool);
    mm_pool_answer_failed_locked(pool);
    (void)pthread_mutex_unlock(&pool->lock);
}

/* The compact JWS of a signature that verifies; NULL otherwise. */
static char *compose(const struct reader *reader, const struct mm_pool_request *request,
                     const struct mm_message *message, struct mm_error *err)
{
    const struct mm_pool_key *key = &reader->pool->key;
    struct mm_bytes signature = {message->data, message->length};
    mm_cleanup(free) char *input = mm_jws_signing_input(reader->access_token.text, reader->access_token.length,
                                                        request->payload, request->length, err);
    if (!input)
        return NULL;
    struct mm_bytes data = {input, strlen(input)};
    if (!mm_pubkey_verify(key->pubkey, key->algorithm, data, signature, err))
        return NULL;
    return mm_jws_compact(input, signature, err);
}

static void kill_worker(struct reader *reader, const struct mm_error *why)
{
    (void)pthread_mutex_lock(&reader->pool->lock);
    (void)mm_fail(&reader->worker->why, why->code, "%s", why->message);
    mm_pool_worker_kill(reader->pool->launcher, reader->worker);
    mm_pool_publish_locked(reader->pool, mm_monotonic_ns());
    (void)pthread_mutex_unlock(&reader->pool->lock);
}

static bool check_probe(struct reader *reader, const struct mm_message *message, struct mm_error *err)
{
    const struct mm_pool_key *key = &reader->pool->key;
    uint8_t input[MM_PROBE_INPUT];
    mm_probe_input(reader->nonce, input);
    if (message->code != MM_OK || mm_pubkey_verify(key->pubkey, key->algorithm, (struct mm_bytes){input, sizeof input},
                                                   (struct mm_bytes){message->data, message->length}, NULL))
        return true;
    return mm_fail(err, MM_SIGNATURE_INVALID, "a probe's signature doesn't verify with the pinned key");
}

/* A request whose caller is to be told: the JWS, or why there is none. No request: nobody is. */
struct outcome {
    struct mm_pool_request *request;
    char *jws;
    struct mm_error why;
};

static void tell(struct outcome *outcome)
{
    if (!outcome->request)
        return;
    outcome->request->done(outcome->request->context, outcome->jws, outcome->jws ? NULL : &outcome->why);
    mm_pool_request_free(outcome->request);
    free(outcome->jws);
}

/* False: the worker must not be listened to any longer, and `err` says why. */
static bool take_signed(struct reader *reader, const struct mm_message *message, const struct mm_pool_slot *slot,
                        struct outcome *outcome, struct mm_error *err)
{
    if (slot->is_probe)
        return check_probe(reader, message, err);
    struct mm_pool_request *request = slot->request;
    if (!request)
        return true;
    if (message->code == MM_HSM_UNAVAILABLE) {
        retry(reader->pool, request, MM_HSM_UNAVAILABLE, "the HSM can't sign at present");
        return true;
    }
    if (message->code == MM_OK)
        outcome->jws = compose(reader, request, message, &outcome->why);
    else
        mm_pool_worker_refuse(message, &outcome->why);
    if (outcome->why.code == MM_SIGNATURE_INVALID) {
        /* First the worker, so that the second try goes to another. */
        (void)mm_fail(err, MM_SIGNATURE_INVALID, "a signature doesn't verify with the pinned key");
        kill_worker(reader, err);
        retry(reader->pool, request, MM_SIGNATURE_INVALID, "the HSM's signatures don't verify with the pinned key");
        return false;
    }
    if (outcome->jws)
        reader->n_verified++;
    outcome->request = request;
    return true;
}

/*
 * First the slots, so that the worker has its next requests before what it signed is checked. Every answer whose slot was taken
 * is seen to, also after one that is wrong. Last the callers, so that the threads that answer them are woken once a batch.
 */
static bool take_batch(struct reader *reader, const struct mm_messages *batch, struct mm_error *err)
{
    struct mm_pool_slot slots[MM_MESSAGES_MAX];
    size_t n = take_slots(reader, batch, slots, err);
    bool in_order = n == batch->n;
    struct outcome outcomes[MM_MESSAGES_MAX] = {0};
    for (size_t i = 0; i < n; i++)
        in_order = take_signed(reader, &batch->items[i], &slots[i], &outcomes[i], err) && in_order;
    for (size_t i = 0; i < n; i++)
        tell(&outcomes[i]);
    return in_order;
}

/* What a worker leaves behind goes to another; one that broke the rules is killed, but not while it may be logging in. */
static void leave(struct reader *reader, const struct mm_error *why)
{
    struct mm_pool *pool = reader->pool;
    struct mm_pool_worker *worker = reader->worker;
    (void)pthread_mutex_lock(&pool->lock);
    if (why->code != MM_OK)
        (void)mm_fail(&worker->why, why->code, "%s", why->message);
    if (why->code != MM_OK && worker->history != MM_POOL_NEVER_READY)
        mm_pool_worker_kill(pool->launcher, worker);
    else
        mm_pool_worker_end(worker);
    mm_pool_publish_locked(pool, mm_monotonic_ns());
    worker->n_signed = reader->n_verified;
    for (size_t i = 0; i < MM_POOL_SLOTS_MAX; i++)
        if (worker->slots[i].request)
            mm_pool_retry_locked(pool, worker->slots[i].request, MM_HSM_UNAVAILABLE, "the HSM's worker was lost");
    memset(worker->slots, 0, sizeof worker->slots);
    worker->n_in_flight = 0;
    mm_pool_dispatch_locked(pool);
    (void)pthread_cond_signal(&pool->wake);
    mm_pool_answer_failed_locked(pool);
    (void)pthread_mutex_unlock(&pool->lock);
}

void *mm_pool_reader(void *argument)
{
    struct mm_pool_worker *worker = argument;
    struct reader reader = {.pool = worker->pool, .worker = worker, .fd = worker->fd};
    uint8_t packets[MM_MESSAGES_MAX][ANSWER_MAX];
    struct mm_messages batch;
    struct mm_error err = {0};
    if (mm_messages_receive(reader.fd, packets[0], ANSWER_MAX, 1, &batch, &err) == MM_RECEIVED &&
        take_ready(&reader, &batch.items[0], &err)) {
        announce_ready(&reader);
        enum mm_received received;
        do
            received = mm_messages_receive(reader.fd, packets[0], ANSWER_MAX, MM_MESSAGES_MAX, &batch, &err);
        while (take_batch(&reader, &batch, &err) && received == MM_RECEIVED);
    }
    leave(&reader, &err);
    return NULL;
}
