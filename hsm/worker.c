/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmark-hsm: the process that holds the vendor's module, the PIN and the keys of one HSM token, and signs sentences for
 * mintmarkd over a socketpair. It reads its limits from mintmark.yaml itself and trusts nothing that mintmarkd says but which key
 * to use. Crash-only: whatever goes wrong with the HSM, it says so if it can and ends; mintmarkd starts another. Where the
 * configuration allows that, one is started to generate a key instead, and ends.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <openssl/crypto.h>

#include "config/config.h"
#include "confine/privileges.h"
#include "hsm/key.h"
#include "hsm/latch.h"
#include "hsm/module.h"
#include "hsm/protocol.h"
#include "hsm/reach.h"
#include "hsm/sentence.h"
#include "hsm/service_key.h"
#include "hsm/signing.h"
#include "hsm/start.h"
#include "util/clock.h"

enum {
    START_TIMEOUT_MS = 30000, /* from the program's start to START */
    SEND_TIMEOUT_S = 30,      /* mintmarkd doesn't read: it hangs */
    LOGIN_GRACE_MS = 120000,  /* how long a login may outlive mintmarkd */
    BATCH_MAX = 8,
    BATCH_BELOW_NS = 500000, /* sentences signed in less are taken in batches */
};

_Static_assert((int)BATCH_MAX <= (int)MM_MESSAGES_MAX, "a batch is received in one go");

/* Sentences taken in one go and answered in one go. An answer takes the place of its request. */
struct batch {
    struct mm_messages requests;
    size_t answer_lengths[BATCH_MAX];
    uint8_t packets[BATCH_MAX][MM_PACKET_MAX];
};

struct worker {
    /* immutable once the signer threads run */
    const char *config_file;
    const char *token_name;
    struct mm_config *config;
    const struct mm_hsm_token_config *token;
    struct mm_sentence_limits limits;
    json_t *start_json;
    struct mm_start start; /* points into it */
    enum mm_landlock reach;
    struct mm_module *module;
    struct mm_hsm_key *key;
    struct mm_hsm_signing signing;
    char *header; /* of access tokens, base64url */

    /* Held while a login may be going on: the process must not end in the middle of one. Guards no field. */
    pthread_mutex_t login;
};

struct signer {
    const struct worker *worker;
    size_t thread;
};

static void send_message(const struct mm_message *message)
{
    uint8_t packet[MM_PACKET_MAX];
    size_t length = 0;
    struct mm_error err = {0};
    if (!mm_message_encode(message, packet, &length, &err) ||
        send(MM_WORKER_FD, packet, length, MSG_NOSIGNAL) != (ssize_t)length)
        _exit(MM_EXIT_FAILURE); /* nobody to tell */
}

static struct mm_message failure(enum mm_message_kind kind, uint64_t id, const struct mm_error *err)
{
    return (struct mm_message){.kind = kind,
                               .id = id,
                               .code = err->code,
                               .data = (const uint8_t *)err->message,
                               .length = strlen(err->message)};
}

/* Ends the process when mintmarkd is gone or talks nonsense. */
static void end_unless_received(enum mm_received received)
{
    if (received != MM_RECEIVED)
        _exit(received == MM_RECEIVED_HUNG_UP ? MM_EXIT_OK : MM_EXIT_FAILURE);
}

static void write_answer(struct batch *batch, size_t i, const struct mm_message *message)
{
    struct mm_error err = {0};
    if (!mm_message_encode(message, batch->packets[i], &batch->answer_lengths[i], &err))
        _exit(MM_EXIT_FAILURE);
}

/* Those from `*sent` up to `n`. */
static void send_answers(struct batch *batch, size_t *sent, size_t n)
{
    struct iovec packets[BATCH_MAX];
    struct mmsghdr headers[BATCH_MAX] = {0};
    for (size_t i = *sent; i < n; i++) {
        packets[i] = (struct iovec){batch->packets[i], batch->answer_lengths[i]};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &packets[i], .msg_iovlen = 1};
    }
    while (*sent < n) {
        int done = sendmmsg(MM_WORKER_FD, headers + *sent, (unsigned)(n - *sent), MSG_NOSIGNAL);
        if (done <= 0)
            _exit(MM_EXIT_FAILURE); /* nobody to tell */
        *sent += (size_t)done;
    }
}

/* Ends the process when mintmarkd is gone, whatever the HSM is doing, except that a login is given time to end. */
static void *watch(void *context)
{
    struct worker *worker = context;
    struct pollfd hang_up = {.fd = MM_WORKER_FD, .events = POLLRDHUP};
    while (poll(&hang_up, 1, -1) <= 0)
        ;
    struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(LOGIN_GRACE_MS));
    (void)pthread_mutex_clocklock(&worker->login, CLOCK_MONOTONIC, &until);
    _exit(MM_EXIT_OK);
}

static bool read_config(struct worker *worker, struct mm_error *err)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    worker->config = mm_config_load_service(worker->config_file, &problems);
    for (size_t i = 0; !worker->config && i < problems.n; i++) {
        char text[MM_ERROR_MESSAGE_MAX];
        if (problems.items[i].severity == MM_PROBLEM_ERROR)
            return mm_fail(err, MM_CONFIG_INVALID, "%s", mm_problem_format(&problems.items[i], text, sizeof text));
    }
    if (!worker->config)
        return mm_fail(err, MM_CONFIG_INVALID, "%s can't be loaded", worker->config_file);
    worker->limits = (struct mm_sentence_limits){worker->config->issuer, worker->config->max_ttl};
    worker->token = mm_config_hsm_token(worker->config, worker->token_name, err);
    return worker->token != NULL;
}

/* The file may have changed since mintmarkd read it; two halves of a service that disagree must not sign. */
static bool check_agreement(const struct worker *worker, struct mm_error *err)
{
    const char *theirs = worker->start.config;
    char ours[MM_SHA256_HEX_LENGTH + 1];
    if (!mm_config_worker_digest(worker->config, ours, err))
        return false;
    return (theirs && strcmp(theirs, ours) == 0) ||
           mm_fail(err, MM_CONFIG_INVALID,
                   "%s: issuer, keys, store or hsm changed since the service started: restart it", worker->config_file);
}

/* Only now: a thread that was there before would reach everything still. */
static bool start_watch(struct worker *worker, struct mm_error *err)
{
    pthread_t watcher;
    return pthread_create(&watcher, NULL, watch, worker) == 0 || mm_fail(err, MM_INTERNAL, "no thread");
}

static bool generates(const struct worker *worker)
{
    return worker->start.purpose == MM_PURPOSE_GENERATE;
}

/* A module that may not open its files says anything but that. */
static const char *reach_hint(const struct worker *worker, enum mm_code code)
{
    bool may_be_reach = worker->reach == MM_LANDLOCK_IN_FORCE && !(generates(worker) && worker->module) &&
                        access(worker->token->module, R_OK) == 0 &&
                        (code == MM_HSM_UNAVAILABLE || code == MM_HSM_TOKEN_NOT_FOUND);
    return may_be_reach ? " (does the module need files that hsm.tokens[].paths doesn't give it?)" : "";
}

/* Takes `description`, which may be NULL. */
static bool send_ready(json_t *description, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *ready = description;
    mm_cleanup(free) char *text = ready ? mm_json_compact(ready, err) : NULL;
    if (!text)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    struct mm_message message = {.kind = MM_MESSAGE_READY, .data = (const uint8_t *)text, .length = strlen(text)};
    send_message(&message);
    return true;
}

/* Log in. The PIN is gone when this returns, but for what `ret_pin` got: the engine's copy is made of that. */
static bool log_in(struct worker *worker, enum mm_module_purpose purpose, struct mm_secret **ret_pin,
                   struct mm_error *err)
{
    bool needs_pin = worker->token->pin_source != MM_PIN_NONE;
    mm_cleanup(mm_secret_free) struct mm_secret *pin = needs_pin ? mm_config_read_pin(worker->token, err) : NULL;
    if (needs_pin && !pin)
        return false;
    mm_cleanup(free) char *latch_path = mm_latch_path(worker->config, worker->token->name, err);
    if (!latch_path)
        return false;
    worker->module = mm_module_open(worker->token, pin, purpose, latch_path, err);
    if (!worker->module)
        return false;
    *ret_pin = MM_TAKE(pin);
    return true;
}

/* Log in, find the key, check it, get ready to sign. */
static bool open_hsm(struct worker *worker, struct mm_error *err)
{
    mm_cleanup(mm_secret_free) struct mm_secret *pin = NULL;
    if (!log_in(worker, MM_MODULE_SIGN, &pin, err))
        return false;
    worker->key = mm_hsm_key_find(worker->module, worker->start.id, worker->start.label, err);
    const struct mm_hsm_signing_parts parts = {worker->module, worker->key, worker->token, worker->start.algorithm,
                                               pin};
    return worker->key && mm_hsm_key_check_custody(worker->key, err) &&
           mm_hsm_key_check_pinned(worker->key, worker->start.pinned, err) &&
           mm_hsm_signing_open(&worker->signing, &parts, err);
}

/* Generate a key and say so. Closing the module lets go of the session at the HSM. */
static bool generate(struct worker *worker, struct mm_error *err)
{
    mm_cleanup(mm_secret_free) struct mm_secret *pin = NULL;
    if (!log_in(worker, MM_MODULE_CUSTODY, &pin, err))
        return false;
    mm_secret_free(MM_TAKE(pin));
    /* Others may log in while this takes its time. */
    send_message(&(const struct mm_message){.kind = MM_MESSAGE_LOGGED_IN});
    worker->key = mm_service_key_generate(worker->module, worker->token, worker->start.algorithm, err);
    if (!worker->key || !send_ready(mm_service_key_describe(worker->key, worker->start.algorithm, err), err))
        return false;
    mm_hsm_key_free(MM_TAKE(worker->key));
    mm_module_close(MM_TAKE(worker->module));
    return true;
}

/* Neither a login nor the making of a key is cut off when mintmarkd goes. */
static bool undisturbed(struct worker *worker, bool (*work)(struct worker *, struct mm_error *), struct mm_error *err)
{
    struct mm_error why = {0};
    (void)pthread_mutex_lock(&worker->login);
    bool ok = work(worker, &why);
    (void)pthread_mutex_unlock(&worker->login);
    return ok || mm_fail(err, why.code, "%s%s", why.message, reach_hint(worker, why.code));
}

static bool say_ready_to_sign(const struct worker *worker, struct mm_error *err)
{
    json_t *ready = json_pack("{s:s, s:s, s:i, s:{s:s}}", "kid", mm_pubkey_thumbprint(worker->start.pinned), "signing",
                              worker->signing.engine ? "engine" : "direct", "threads", (int)worker->signing.n_threads,
                              "headers", "access_token", worker->header);
    return send_ready(ready, err);
}

/* The packet lives on in `worker->start_json`. */
static bool receive_start(struct worker *worker, struct mm_error *err)
{
    struct pollfd readable = {.fd = MM_WORKER_FD, .events = POLLIN};
    if (poll(&readable, 1, START_TIMEOUT_MS) != 1)
        return mm_fail(err, MM_INTERNAL, "no START within %d s", START_TIMEOUT_MS / 1000);
    uint8_t packet[MM_PACKET_MAX];
    struct mm_messages messages;
    end_unless_received(mm_messages_receive(MM_WORKER_FD, packet, sizeof packet, 1, &messages, NULL));
    const struct mm_message *message = &messages.items[0];
    if (message->kind != MM_MESSAGE_START)
        _exit(MM_EXIT_FAILURE);
    worker->start_json = mm_json_parse(message->data, message->length, NULL);
    if (!worker->start_json)
        return mm_fail(err, MM_INTERNAL, "START isn't JSON");
    return mm_start_parse(worker->start_json, &worker->start, err);
}

static bool start_signing(struct worker *worker, struct mm_error *err)
{
    worker->header = mm_sentence_header(MM_SENTENCE_ACCESS_TOKEN, mm_pubkey_thumbprint(worker->start.pinned),
                                        worker->start.algorithm, err);
    return worker->header && undisturbed(worker, open_hsm, err) &&
           mm_hsm_signing_test(&worker->signing, worker->start.pinned, err) && say_ready_to_sign(worker, err);
}

/* By what is configured, whatever START says; before the PIN is read. */
static bool may_generate(const struct worker *worker, struct mm_error *err)
{
    return !generates(worker) || mm_service_key_is_allowed(worker->config, worker->token, worker->start.algorithm, err);
}

/* Everything from START to READY. */
static bool start(struct worker *worker, struct mm_error *err)
{
    if (!receive_start(worker, err) || !read_config(worker, err) || !check_agreement(worker, err) ||
        !may_generate(worker, err) || !mm_reach_restrict(worker->config, worker->token, &worker->reach, err) ||
        !start_watch(worker, err))
        return false;
    return generates(worker) ? undisturbed(worker, generate, err) : start_signing(worker, err);
}

static bool sign_sentence(const struct signer *signer, const struct mm_message *request, uint8_t *signature,
                          size_t *ret_length, struct mm_error *err)
{
    const struct worker *worker = signer->worker;
    struct mm_bytes payload = {request->data, request->length};
    if (request->deadline_ns <= mm_monotonic_ns())
        return mm_fail(err, MM_DEADLINE_EXCEEDED, "expired before it was signed");
    if (!mm_sentence_check(request->sentence, &worker->limits, payload, mm_clock_now(&MM_SYSTEM_CLOCK), err))
        return false;
    if (request->sentence == MM_SENTENCE_PROBE) {
        uint8_t probe[MM_PROBE_INPUT];
        mm_probe_input(request->data, probe);
        return mm_hsm_signing_sign(&worker->signing, signer->thread, (struct mm_bytes){probe, sizeof probe}, signature,
                                   ret_length, err);
    }
    char input[MM_SIGNING_INPUT_MAX + 1];
    struct mm_bytes message = {input, mm_sentence_signing_input(worker->header, payload, input)};
    return mm_hsm_signing_sign(&worker->signing, signer->thread, message, signature, ret_length, err);
}

/* Whether the next signature may still work in this process. */
static bool is_survivable(enum mm_code code)
{
    return code == MM_SENTENCE_REFUSED || code == MM_DEADLINE_EXCEEDED || code == MM_OVERLOADED;
}

/* Whether the process may go on; the answer lies in the batch. */
static bool answer(const struct signer *signer, struct batch *batch, size_t i)
{
    const struct mm_message request = batch->requests.items[i];
    if (request.kind != MM_MESSAGE_SIGN)
        _exit(MM_EXIT_FAILURE);
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t length = 0;
    struct mm_error err = {0};
    if (sign_sentence(signer, &request, signature, &length, &err)) {
        struct mm_message reply = {.kind = MM_MESSAGE_SIGNED, .id = request.id, .data = signature, .length = length};
        write_answer(batch, i, &reply);
        return true;
    }
    bool survives = is_survivable(err.code);
    if (!survives)
        err.code = MM_HSM_UNAVAILABLE;
    struct mm_message refusal = failure(MM_MESSAGE_SIGNED, request.id, &err);
    write_answer(batch, i, &refusal);
    return survives;
}

static void *serve(void *context)
{
    const struct signer *signer = context;
    struct batch batch;
    for (size_t most = 1;;) {
        enum mm_received received =
            mm_messages_receive(MM_WORKER_FD, batch.packets[0], MM_PACKET_MAX, most, &batch.requests, NULL);
        size_t sent = 0;
        int64_t start_ns = mm_monotonic_ns();
        for (size_t i = 0; i < batch.requests.n; i++) {
            bool survives = answer(signer, &batch, i);
            /* What waits here is beyond the reach of other threads, and behind an HSM that turns slow it waits long. */
            bool is_fast = mm_monotonic_ns() - start_ns < BATCH_BELOW_NS * (int64_t)(i + 1);
            most = is_fast && signer->worker->signing.n_threads == 1 ? BATCH_MAX : 1;
            if (!survives || most == 1 || i + 1 == batch.requests.n)
                send_answers(&batch, &sent, i + 1);
            if (!survives)
                _exit(MM_EXIT_HSM);
        }
        end_unless_received(received);
    }
}

/* The socket gives each packet to one thread; this one is the first. Never returns. */
static void serve_all(const struct worker *worker)
{
    struct signer signers[MM_HSM_SIGNING_THREADS_MAX];
    for (size_t i = 0; i < worker->signing.n_threads; i++)
        signers[i] = (struct signer){worker, i};
    for (size_t i = 1; i < worker->signing.n_threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, &signers[i]) != 0)
            _exit(MM_EXIT_FAILURE);
    }
    serve(&signers[0]);
}

/* Nothing may be left behind by this process or slip into it: no core, no tracer, no configuration of OpenSSL's. */
static bool harden(void)
{
    struct rlimit lockable;
    /* mintmarkd ends its workers by closing the socket, once it has drained; a signal meant for the group must not. */
    static const int IGNORED[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < MM_ARRAY_SIZE(IGNORED); i++)
        (void)signal(IGNORED[i], SIG_IGN);
    static const char *const VARIABLES[] = {"OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES",
                                            "OPENSSL_CONF_INCLUDE"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(VARIABLES); i++)
        (void)unsetenv(VARIABLES[i]);
    /* Where that costs nobody anything, keep what the module and libp11 hold off the swap, too. A PIN of ours always is. */
    if (getrlimit(RLIMIT_MEMLOCK, &lockable) == 0 && lockable.rlim_cur == RLIM_INFINITY)
        (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    return mm_privileges_drop(NULL, NULL) && OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1;
}

static bool parse_arguments(int argc, char **argv, struct worker *worker)
{
    static const struct option OPTIONS[] = {{"config", required_argument, NULL, 'c'},
                                            {"hsm-token", required_argument, NULL, 't'},
                                            {0}};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (option == 'c')
            worker->config_file = optarg;
        else if (option == 't')
            worker->token_name = optarg;
        else
            return false;
    }
    return worker->config_file && worker->token_name && optind == argc;
}

static bool socket_is_sound(void)
{
    int type = 0;
    int domain = 0;
    socklen_t length = sizeof type;
    const struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
    return getsockopt(MM_WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
           getsockopt(MM_WORKER_FD, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && type == SOCK_SEQPACKET &&
           domain == AF_UNIX && setsockopt(MM_WORKER_FD, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0;
}

int main(int argc, char **argv)
{
    static struct worker worker = {.login = PTHREAD_MUTEX_INITIALIZER};
    if (!parse_arguments(argc, argv, &worker) || !socket_is_sound()) {
        (void)fputs(
            "mintmark-hsm: started by mintmarkd only: --config FILE --hsm-token NAME, its socket on descriptor 3\n",
            stderr);
        return MM_EXIT_USAGE;
    }
    if (!harden()) {
        (void)fputs("mintmark-hsm: can't confine this process\n", stderr);
        return MM_EXIT_FAILURE;
    }
    struct mm_error err = {0};
    if (!start(&worker, &err)) {
        struct mm_message refusal = failure(MM_MESSAGE_READY, 0, &err);
        send_message(&refusal);
        _exit(mm_code_exit_status(err.code));
    }
    if (generates(&worker))
        _exit(MM_EXIT_OK);
    serve_all(&worker);
    return MM_EXIT_OK;
}
