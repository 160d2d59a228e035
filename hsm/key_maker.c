/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/key_maker.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hsm/pool_worker.h"
#include "util/clock.h"

enum {
    POLL_MS = 20,
    GENERATE_S = 60, /* after a login: some devices take most of that over a big RSA key */
    LOST_MS = 5000,  /* for the kernel to end a killed process */
    ID_MAX = 510,
    LABEL_MAX = 255,
};

/* One worker, from its start to its end. */
struct attempt {
    const struct mm_key_maker *maker;
    const struct mm_hsm_token_config *token;
    struct mm_launched worker;
    char *latch_path;
    uint8_t packet[MM_PACKET_MAX];
};

static void attempt_clear_cleanup(struct attempt *attempt)
{
    free(attempt->latch_path);
}

static void pause_ms(long ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&pause, NULL);
}

static bool is_cancelled(const struct attempt *attempt, struct mm_error *err)
{
    return atomic_load(attempt->maker->is_cancelled) && !mm_fail(err, MM_SHUTTING_DOWN, "the service is shutting down");
}

/* Whoever else has a worker started there is waited for. */
static bool take_gate(const struct attempt *attempt, struct mm_error *err)
{
    int64_t until_ns = mm_deadline_after_ms(attempt->token->start_timeout * 1000);
    while (!mm_pool_gate_take(attempt->maker->gate, attempt)) {
        if (is_cancelled(attempt, err))
            return false;
        if (mm_monotonic_ns() >= until_ns)
            return mm_fail(err, MM_OVERLOADED, "another worker is still starting");
        pause_ms(POLL_MS);
    }
    return true;
}

static bool send_start(struct attempt *attempt, struct mm_error *err)
{
    char digest[MM_SHA256_HEX_LENGTH + 1];
    if (!mm_config_worker_digest(attempt->maker->config, digest, err))
        return false;
    mm_cleanup(json_decref) json_t *start = json_pack("{ss ss ss}", "purpose", "generate", "alg",
                                                      mm_algorithm_name(attempt->maker->algorithm), "config", digest);
    mm_cleanup(free) char *text = start ? mm_json_compact(start, err) : NULL;
    if (!text)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    const struct mm_message message = {.kind = MM_MESSAGE_START, .data = (const uint8_t *)text, .length = strlen(text)};
    return mm_pool_worker_send(attempt->worker.fd, &message, attempt->packet) == MM_POOL_SENT ||
           mm_fail(err, MM_HSM_UNAVAILABLE, "the worker took no START");
}

/* The worker's next message, which points into the attempt's packet; `what` is what hasn't happened if there is none within `seconds`. */
static bool hear(struct attempt *attempt, int64_t seconds, const char *what, struct mm_message *ret_message,
                 struct mm_error *err)
{
    struct pollfd readable = {.fd = attempt->worker.fd, .events = POLLIN};
    int64_t until_ns = mm_deadline_after_ms(seconds * 1000);
    while (poll(&readable, 1, POLL_MS) <= 0) {
        if (is_cancelled(attempt, err))
            return false;
        if (mm_monotonic_ns() >= until_ns)
            return mm_fail(err, MM_HSM_UNAVAILABLE, "%s within %lld s", what, (long long)seconds);
    }
    struct mm_messages messages;
    struct mm_error garbage = {0};
    if (mm_messages_receive(attempt->worker.fd, attempt->packet, sizeof attempt->packet, 1, &messages, &garbage) !=
        MM_RECEIVED)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "the worker ended without a word%s%s", garbage.code ? ": " : "",
                       garbage.message);
    *ret_message = messages.items[0];
    return true;
}

/* Until the worker's login is over. It says so, or why it has none. */
static bool see_logged_in(struct attempt *attempt, struct mm_error *err)
{
    struct mm_message message;
    mm_cleanup(json_decref) json_t *unexpected = NULL;
    if (!hear(attempt, attempt->token->start_timeout, "the worker didn't log in", &message, err))
        return false;
    if (message.kind == MM_MESSAGE_LOGGED_IN)
        return true;
    return mm_pool_worker_take_ready(&message, &unexpected, err) &&
           mm_fail(err, MM_INTERNAL, "the worker was ready without a login");
}

/* The public key that the worker names, if it is of the kind that was asked for. */
static bool check_key(const struct attempt *attempt, const json_t *said, struct mm_error *err)
{
    enum mm_algorithm algorithm = attempt->maker->algorithm;
    const json_t *jwk = json_object_get(said, "jwk");
    const char *kid = mm_json_string(said, "kid");
    const char *id = mm_json_string(said, "id");
    const char *label = mm_json_string(said, "label");
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *pubkey = json_is_object(jwk) ? mm_pubkey_from_jwk(jwk, NULL) : NULL;
    return (pubkey && kid && strcmp(kid, mm_pubkey_thumbprint(pubkey)) == 0 &&
            mm_pubkey_type(pubkey) == mm_algorithm_key_type(algorithm) && id && id[0] && strlen(id) <= ID_MAX &&
            label && strlen(label) <= LABEL_MAX) ||
           mm_fail(err, MM_INTERNAL, "the worker named no such key as it was asked for");
}

static bool take_key(const struct attempt *attempt, const struct mm_message *message, json_t **ret_key,
                     struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *said = NULL;
    if (!mm_pool_worker_take_ready(message, &said, err) || !check_key(attempt, said, err))
        return false;
    *ret_key = json_pack("{sO ss sO ss sO sO}", "kid", json_object_get(said, "kid"), "alg",
                         mm_algorithm_name(attempt->maker->algorithm), "jwk", json_object_get(said, "jwk"), "hsm_token",
                         attempt->token->name, "hsm_id", json_object_get(said, "id"), "hsm_label",
                         json_object_get(said, "label"));
    return *ret_key || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

static bool ask(struct attempt *attempt, json_t **ret_key, struct mm_error *err)
{
    struct mm_message message;
    if (!send_start(attempt, err) || !see_logged_in(attempt, err))
        return false;
    /* The HSM takes its time now, and workers that sign must not wait for that. */
    mm_pool_gate_leave(attempt->maker->gate, attempt);
    return hear(attempt, GENERATE_S, "the HSM made no key", &message, err) && take_key(attempt, &message, ret_key, err);
}

/* It ends by itself, unless it hangs. */
static int see_out(const struct attempt *attempt)
{
    struct mm_launcher *launcher = attempt->maker->launcher;
    int64_t kill_ns = mm_deadline_after_ms(MM_POOL_END_START_MS);
    int64_t until_ns = kill_ns + LOST_MS * 1000000LL;
    int status = 0;
    bool is_killed = false;
    (void)shutdown(attempt->worker.fd, SHUT_WR);
    while (!mm_launcher_reap(launcher, attempt->worker.worker, &status) && mm_monotonic_ns() < until_ns) {
        if (!is_killed && mm_monotonic_ns() >= kill_ns) {
            mm_launcher_kill(launcher, attempt->worker.worker);
            is_killed = true;
        }
        pause_ms(POLL_MS);
    }
    (void)close(attempt->worker.fd);
    return status;
}

/* A PIN that was refused isn't sent again, should the worker itself have been kept from noting that. */
static void latch_refusal(const struct attempt *attempt, int status, const struct mm_error *why)
{
    bool is_refused = why->code == MM_PIN_REFUSED ||
                      (why->code != MM_PIN_LATCHED && WIFEXITED(status) && WEXITSTATUS(status) == MM_EXIT_PIN);
    bool is_saved = is_refused && mm_pool_gate_latch(attempt->maker->gate, attempt->latch_path, why->message, NULL);
    (void)is_saved; /* latched it is in any case */
}

static bool run_worker(struct attempt *attempt, json_t **ret_key, struct mm_error *err)
{
    const struct mm_key_maker *maker = attempt->maker;
    struct mm_error why = {0};
    if (!mm_launcher_spawn(maker->launcher, maker->spec, &attempt->worker, err))
        return false;
    bool is_made = ask(attempt, ret_key, &why);
    int status = see_out(attempt);
    if (!is_made)
        latch_refusal(attempt, status, &why);
    return is_made || mm_fail(err, why.code, "%s", why.message);
}

bool mm_key_maker_run(const struct mm_key_maker *maker, json_t **ret_key, struct mm_error *err)
{
    const struct mm_hsm_token_config *token = &maker->config->hsm_tokens[maker->spec];
    mm_cleanup(attempt_clear) struct attempt attempt = {.maker = maker, .token = token};
    attempt.latch_path = mm_latch_path(maker->config, token->name, err);
    if (!attempt.latch_path || !mm_latch_make_folder(maker->config, err) || is_cancelled(&attempt, err) ||
        !take_gate(&attempt, err))
        return false;
    bool is_made = mm_pool_gate_check_latch(maker->gate, attempt.latch_path, token->name, err) &&
                   run_worker(&attempt, ret_key, err);
    mm_pool_gate_leave(maker->gate, &attempt); /* if its login wasn't seen to end */
    return is_made;
}
