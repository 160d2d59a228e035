/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmarkd's side of the protocol: the packets of a worker that an attacker has taken over. Each request is answered at most
 * once, none is lost, and what is handed out verifies and says what was asked for. The input: each packet's length in two
 * bytes, big-endian, then the packet.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "hsm/pool_internal.h"
#include "token/jws.h"
#include "util/clock.h"

enum { N_REQUESTS = 3, N_SLOTS = 2 };

/* The key whose private half is 1: anyone can sign for it, and make_corpus.py does. */
static const char JWKS[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\",\"kid\":\"xx0BcA-wMohw8atYDJOe6peGModklG2wRHBlXHMvl0M\","
    "\"alg\":\"ES256\"}]}";

struct asked {
    const json_t *jwks;
    char payload[64];
    unsigned n_answers;
};

struct harness {
    struct mm_pool *pool; /* of one worker */
    int theirs;
    struct asked asked[N_REQUESTS];
};

static void note_answer(void *context, const char *text, const struct mm_error *err)
{
    struct asked *asked = context;
    asked->n_answers++;
    assert(!text != !err && (!err || (err->code != MM_OK && err->message[0])));
    if (!text)
        return;
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    mm_cleanup(json_decref) json_t *payload = mm_json_parse(asked->payload, strlen(asked->payload), NULL);
    bool is_parsed = mm_jws_parse(text, &jws, NULL);
    assert(is_parsed && json_equal(jws.payload, payload));
    bool is_verified = mm_jws_verify(&jws, text, asked->jwks, NULL);
    assert(is_verified && strcmp(mm_json_string(jws.header, "typ"), "at+jwt") == 0);
}

static void ask(struct harness *harness, const json_t *jwks, size_t i)
{
    struct asked *asked = &harness->asked[i];
    asked->jwks = jwks;
    (void)snprintf(asked->payload, sizeof asked->payload, "{\"jti\":\"%zu\"}", i + 1);
    struct mm_pool_request *request =
        mm_pool_request_new(MM_SENTENCE_ACCESS_TOKEN, "acme", asked->payload, strlen(asked->payload), NULL);
    assert(request);
    request->deadline_ns = mm_deadline_after_ms(3600000);
    request->done = note_answer;
    request->context = asked;
    bool is_queued = mm_pool_queue_push(harness->pool->queue, request, MM_POOL_QUEUE_LAST, NULL);
    assert(is_queued);
    harness->pool->n_requests++;
}

/* A pool without a supervisor, whose worker is starting and was never a process. */
static void set_up(struct harness *harness, const struct mm_pubkey *pubkey, const json_t *jwks)
{
    int ends[2];
    struct mm_pool *pool = calloc(1, sizeof *pool + sizeof pool->workers[0]);
    int failed = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
    assert(pool && !failed);
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->wake, NULL);
    (void)pthread_cond_init(&pool->started, NULL);
    TAILQ_INIT(&pool->failed);
    pool->key = (struct mm_pool_key){.pubkey = pubkey, .algorithm = MM_ES256};
    pool->queue = mm_pool_queue_new(NULL);
    pool->n_workers = 1;
    pool->workers[0].pool = pool;
    pool->workers[0].state = MM_POOL_STARTING;
    pool->workers[0].fd = ends[0];
    *harness = (struct harness){.pool = pool, .theirs = ends[1]};
    for (size_t i = 0; i < N_REQUESTS; i++)
        ask(harness, jwks, i);
}

static void tear_down(struct harness *harness)
{
    struct mm_pool *pool = harness->pool;
    (void)close(harness->theirs);
    (void)close(pool->workers[0].fd);
    mm_pool_queue_free(pool->queue);
    (void)pthread_cond_destroy(&pool->started);
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* All that the worker ever says, then the end. */
static void say(const struct harness *harness, const uint8_t *data, size_t size)
{
    while (size > 2) {
        size_t length = (size_t)data[0] << 8 | data[1];
        if (length > size - 2)
            length = size - 2;
        if (length > 0 && send(harness->theirs, data + 2, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            break; /* more than a socket holds */
        data += 2 + length;
        size -= 2 + length;
    }
    (void)shutdown(harness->theirs, SHUT_WR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mm_cleanup(json_decref) json_t *jwks = mm_json_parse(JWKS, strlen(JWKS), NULL);
    const json_t *jwk = json_array_get(json_object_get(jwks, "keys"), 0);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *pubkey = mm_pubkey_from_jwk(jwk, NULL);
    assert(pubkey && strcmp(mm_pubkey_thumbprint(pubkey), mm_json_string(jwk, "kid")) == 0);
    struct harness harness;
    set_up(&harness, pubkey, jwks);
    say(&harness, data, size);
    (void)mm_pool_reader(&harness.pool->workers[0]);

    size_t n_answered = 0;
    for (size_t i = 0; i < N_REQUESTS; i++) {
        assert(harness.asked[i].n_answers <= 1);
        n_answered += harness.asked[i].n_answers;
    }
    const struct mm_pool *pool = harness.pool;
    assert(pool->n_requests == N_REQUESTS - n_answered && mm_pool_queue_n(pool->queue) == pool->n_requests);
    assert(TAILQ_EMPTY(&pool->failed) && pool->workers[0].n_in_flight == 0);
    assert(pool->workers[0].state == MM_POOL_ENDING && pool->workers[0].n_signed <= n_answered);
    tear_down(&harness);
    return 0;
}
