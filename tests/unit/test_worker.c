/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real mintmark-hsm over a socketpair, against a real SoftHSM2: what it serves, what it refuses, and when it ends.
 */
#include "hsm/protocol.h"

#include <fcntl.h>
#include <poll.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "hsm/generate.h"
#include "hsm/service_key.h"
#include "tests/support/softhsm.h"
#include "util/base64url.h"
#include "util/buffer.h"
#include "util/clock.h"

enum { WAIT_MS = 20000, MAX_TTL = 900, THREADS = 4 };

#define ISSUER "https://mint.example.com"

/* A configuration, a token, and a key on it that is to be pinned. */
struct deployment {
    struct softhsm softhsm;
    int service_keys; /* of the configuration */
    enum mm_algorithm algorithm;
    char id[2 * MM_KEY_ID_MAX + 1];
    char label[MM_KEY_LABEL_MAX + 1];
    char kid[MM_THUMBPRINT_LENGTH + 1];
    json_t *jwk;
    struct mm_pubkey *pubkey;
    pid_t pid;  /* the worker; 0: none */
    int socket; /* the test's end; -1: none */
    uint8_t packet[MM_PACKET_MAX];
    char header[MM_HEADER_MAX + 1]; /* from READY */
    char signing[16];
};

static void write_config(const struct deployment *deployment, const char *signing)
{
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "version: 1\n"
                   "issuer: " ISSUER "\n"
                   "listen:\n"
                   "  - {address: \"127.0.0.1:0\", certificate: server.pem, key: server.key}\n"
                   "hsm:\n"
                   "  tokens:\n"
                   "    - name: primary\n"
                   "      profile: softhsm2\n"
                   "      module: " SOFTHSM_MODULE "\n"
                   "      environment: {SOFTHSM2_CONF: softhsm2.conf}\n"
                   "      paths: {write: [tokens]}\n"
                   "      label: mintmark\n"
                   "      pin_file: pin\n"
                   "      signing: %s\n"
                   "      threads: %d\n"
                   "      service_keys: %d\n"
                   "keys: {algorithm: ES256, max_ttl: 15m}\n"
                   "store: {sqlite: mintmark.db}\n"
                   "tenants: {}\n",
                   signing, THREADS, deployment->service_keys);
    softhsm_write(&deployment->softhsm, "mintmark.yaml", text);
    softhsm_write(&deployment->softhsm, "server.pem", "-");
    softhsm_write(&deployment->softhsm, "server.key", "-");
    softhsm_write(&deployment->softhsm, "pin", SOFTHSM_PIN "\n");
    /* Whoever starts workers makes it. */
    (void)snprintf(text, sizeof text, "%s/latches", deployment->softhsm.folder);
    assert_true(mkdir(text, 0700) == 0 || errno == EEXIST);
}

static struct mm_module *open_module(struct deployment *deployment)
{
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(SOFTHSM_PIN, strlen(SOFTHSM_PIN), NULL);
    struct mm_module *module = mm_module_open(&deployment->softhsm.config, pin, MM_MODULE_CUSTODY, NULL, &err);
    if (!module)
        fail_msg("%s", err.message);
    return module;
}

/* Generate a key called "k" and pin it. */
static void pin_key(struct deployment *deployment, enum mm_algorithm algorithm, const char *id)
{
    struct mm_error err = {0};
    unsigned bits = mm_algorithm_key_type(algorithm) == MM_KEY_RSA ? 2048 : 0;
    struct mm_hsm_key_request request = {.algorithm = algorithm, .bits = bits, .label = "k", .id = id};
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(deployment);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_generate(module, &request, &err);
    if (!key)
        fail_msg("%s", err.message);
    deployment->algorithm = algorithm;
    (void)snprintf(deployment->id, sizeof deployment->id, "%s", mm_hsm_key_info(key)->id);
    (void)snprintf(deployment->label, sizeof deployment->label, "%s", request.label);
    (void)snprintf(deployment->kid, sizeof deployment->kid, "%s", mm_hsm_key_info(key)->kid);
    deployment->jwk = mm_pubkey_to_jwk(mm_hsm_key_pubkey(key), algorithm, &err);
    deployment->pubkey = mm_pubkey_from_jwk(deployment->jwk, &err);
    assert_non_null(deployment->pubkey);
}

static struct deployment *deploy(enum mm_algorithm algorithm, const char *signing)
{
    struct deployment *deployment = calloc(1, sizeof *deployment);
    assert_non_null(deployment);
    deployment->socket = -1;
    softhsm_make(&deployment->softhsm, "mintmark");
    write_config(deployment, signing);
    pin_key(deployment, algorithm, NULL);
    return deployment;
}

static void hang_up(struct deployment *deployment)
{
    if (deployment->socket >= 0)
        (void)close(deployment->socket);
    deployment->socket = -1;
}

/* The worker's exit status once it ends by itself; fails the test if it doesn't. */
static int wait_exit(struct deployment *deployment)
{
    for (int waited = 0; waited < WAIT_MS; waited += 10) {
        int status = 0;
        if (waitpid(deployment->pid, &status, WNOHANG) == deployment->pid) {
            deployment->pid = 0;
            assert_true(WIFEXITED(status));
            return WEXITSTATUS(status);
        }
        (void)poll(NULL, 0, 10);
    }
    fail_msg("the worker is still there after %d ms", WAIT_MS);
    return -1;
}

static void undeploy(struct deployment *deployment)
{
    hang_up(deployment);
    if (deployment->pid)
        assert_int_equal(wait_exit(deployment), MM_EXIT_OK);
    json_decref(deployment->jwk);
    mm_pubkey_free(deployment->pubkey);
    softhsm_remove(&deployment->softhsm);
    free(deployment);
}

/* Become mintmark-hsm with `fd` as descriptor 3 and nothing else beyond the standard streams. */
static void become_worker(const char *config, int fd)
{
    if (fd != MM_WORKER_FD && fd >= 0)
        (void)dup2(fd, MM_WORKER_FD);
    for (int other = fd < 0 ? MM_WORKER_FD : MM_WORKER_FD + 1; other < 256; other++)
        (void)close(other);
    (void)execl(MM_WORKER_PROGRAM, "mintmark-hsm", "--config", config, "--hsm-token", "primary", (char *)NULL);
    _exit(127);
}

static void spawn(struct deployment *deployment)
{
    char config[128];
    int sockets[2];
    (void)snprintf(config, sizeof config, "%s/mintmark.yaml", deployment->softhsm.folder);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    (void)fflush(NULL);
    deployment->pid = fork();
    assert_true(deployment->pid >= 0);
    if (deployment->pid == 0)
        become_worker(config, sockets[1]);
    (void)close(sockets[1]);
    deployment->socket = sockets[0];
}

static void send_packet(const struct deployment *deployment, const void *packet, size_t length)
{
    assert_int_equal(send(deployment->socket, packet, length, MSG_NOSIGNAL), length);
}

static void send_message(struct deployment *deployment, const struct mm_message *message)
{
    size_t length = 0;
    struct mm_error err = {0};
    if (!mm_message_encode(message, deployment->packet, &length, &err))
        fail_msg("%s", err.message);
    send_packet(deployment, deployment->packet, length);
}

static struct mm_message receive(struct deployment *deployment)
{
    struct pollfd readable = {.fd = deployment->socket, .events = POLLIN};
    struct mm_message message = {0};
    struct mm_error err = {0};
    assert_int_equal(poll(&readable, 1, WAIT_MS), 1);
    ssize_t length = recv(deployment->socket, deployment->packet, MM_PACKET_MAX, 0);
    assert_true(length > 0);
    if (!mm_message_decode(deployment->packet, (size_t)length, &message, &err))
        fail_msg("%s", err.message);
    return message;
}

static void send_start_json(struct deployment *deployment, json_t *start)
{
    mm_cleanup(free) char *text = json_dumps(start, JSON_COMPACT);
    json_decref(start);
    assert_non_null(text);
    struct mm_message message = {.kind = MM_MESSAGE_START, .data = (const uint8_t *)text, .length = strlen(text)};
    send_message(deployment, &message);
}

/* What a mintmarkd that read the configuration now would say. */
static json_t *start_json(const struct deployment *deployment)
{
    char file[128];
    char digest[MM_SHA256_HEX_LENGTH + 1] = "";
    (void)snprintf(file, sizeof file, "%s/mintmark.yaml", deployment->softhsm.folder);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load_service(file, &problems);
    if (config)
        assert_true(mm_config_worker_digest(config, digest, NULL));
    return json_pack("{ss ss ss ss sO ss}", "kid", deployment->kid, "alg", mm_algorithm_name(deployment->algorithm),
                     "id", deployment->id, "label", deployment->label, "jwk", deployment->jwk, "config", digest);
}

static void start(struct deployment *deployment)
{
    spawn(deployment);
    send_start_json(deployment, start_json(deployment));
    struct mm_message ready = receive(deployment);
    assert_int_equal(ready.kind, MM_MESSAGE_READY);
    if (ready.code != MM_OK)
        fail_msg("%.*s", (int)ready.length, (const char *)ready.data);
    mm_cleanup(json_decref) json_t *json = mm_json_parse(ready.data, ready.length, NULL);
    assert_string_equal(mm_json_string(json, "kid"), deployment->kid);
    (void)snprintf(deployment->signing, sizeof deployment->signing, "%s", mm_json_string(json, "signing"));
    (void)snprintf(deployment->header, sizeof deployment->header, "%s",
                   mm_json_string(json_object_get(json, "headers"), "access_token"));
}

/* READY must be a failure with this code and these words, and the worker must end with the code's exit status. */
static void assert_not_ready(struct deployment *deployment, enum mm_code code, const char *words)
{
    struct mm_message ready = receive(deployment);
    char reason[MM_ERROR_MESSAGE_MAX] = "";
    assert_int_equal(ready.kind, MM_MESSAGE_READY);
    (void)snprintf(reason, sizeof reason, "%.*s", (int)ready.length, (const char *)ready.data);
    if (ready.code != code || !strstr(reason, words))
        fail_msg("code %d: %s", (int)ready.code, reason);
    assert_int_equal(wait_exit(deployment), mm_code_exit_status(code));
}

static void assert_start_fails(struct deployment *deployment, enum mm_code code, const char *words)
{
    spawn(deployment);
    send_start_json(deployment, start_json(deployment));
    assert_not_ready(deployment, code, words);
    hang_up(deployment);
}

static void payload_with(char *out, size_t size, const char *issuer, int64_t ttl)
{
    long long now = time(NULL);
    (void)snprintf(out, size, "{\"iss\":\"%s\",\"iat\":%lld,\"exp\":%lld,\"sub\":\"acme/ci-build\"}", issuer, now,
                   now + (long long)ttl);
}

static void request_until(struct deployment *deployment, uint64_t id, const char *payload, int64_t deadline_ns)
{
    struct mm_message message = {.kind = MM_MESSAGE_SIGN,
                                 .id = id,
                                 .sentence = MM_SENTENCE_ACCESS_TOKEN,
                                 .deadline_ns = deadline_ns,
                                 .data = (const uint8_t *)payload,
                                 .length = strlen(payload)};
    send_message(deployment, &message);
}

static void request(struct deployment *deployment, uint64_t id, const char *payload)
{
    request_until(deployment, id, payload, mm_deadline_after_ms(5000));
}

static void assert_signature_is_good(struct deployment *deployment, const struct mm_message *reply, const char *payload)
{
    struct mm_error err = {0};
    if (reply->code != MM_OK)
        fail_msg("%.*s", (int)reply->length, (const char *)reply->data);
    char encoded[MM_PAYLOAD_MAX];
    mm_cleanup(mm_buffer_clear) struct mm_buffer input = mm_buffer_make(MM_PACKET_MAX);
    mm_base64url_encode(payload, strlen(payload), encoded);
    assert_true(mm_buffer_append_string(&input, deployment->header, NULL));
    assert_true(mm_buffer_append_string(&input, ".", NULL));
    assert_true(mm_buffer_append_string(&input, encoded, NULL));
    if (!mm_pubkey_verify(deployment->pubkey, deployment->algorithm, (struct mm_bytes){input.data, input.length},
                          (struct mm_bytes){reply->data, reply->length}, &err))
        fail_msg("%s", err.message);
}

static void assert_signs(struct deployment *deployment)
{
    char payload[256];
    payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
    request(deployment, 77, payload);
    struct mm_message reply = receive(deployment);
    assert_int_equal(reply.kind, MM_MESSAGE_SIGNED);
    assert_int_equal(reply.id, 77);
    assert_signature_is_good(deployment, &reply, payload);
}

static void assert_refused(struct deployment *deployment, enum mm_code code)
{
    struct mm_message reply = receive(deployment);
    assert_int_equal(reply.kind, MM_MESSAGE_SIGNED);
    assert_int_equal(reply.code, code);
}

/* --- serving --- */

static void every_algorithm_is_served_both_ways(void **state)
{
    (void)state;
    const enum mm_algorithm algorithms[] = {MM_ES256, MM_ES384, MM_RS256, MM_PS256, MM_EDDSA};
    for (size_t i = 0; i < 2 * MM_ARRAY_SIZE(algorithms); i++) {
        enum mm_algorithm algorithm = algorithms[i / 2];
        const char *signing = i % 2 ? "direct" : "engine";
        struct deployment *deployment = deploy(algorithm, signing);
        start(deployment);
        assert_string_equal(deployment->signing, algorithm == MM_EDDSA ? "direct" : signing);
        assert_signs(deployment);
        assert_signs(deployment);
        undeploy(deployment);
    }
}

static void the_header_is_the_workers_own(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    char expected[MM_HEADER_MAX];
    uint8_t header[MM_HEADER_MAX];
    size_t length = 0;
    start(deployment);
    (void)snprintf(expected, sizeof expected, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"at+jwt\"}", deployment->kid);
    assert_true(mm_base64url_decode(deployment->header, strlen(deployment->header), header, &length));
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(header, expected, length);
    undeploy(deployment);
}

static void an_ed25519_key_beside_the_key_makes_the_worker_sign_directly(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    struct mm_module *module = open_module(deployment);
    struct mm_hsm_key_request other = {.algorithm = MM_EDDSA, .label = "other"};
    mm_hsm_key_free(mm_hsm_key_generate(module, &other, NULL));
    mm_module_close(module);
    start(deployment);
    assert_string_equal(deployment->signing, "direct");
    assert_signs(deployment);
    undeploy(deployment);
}

static void requests_in_flight_together_are_each_answered_once(void **state)
{
    enum { N = 200 };
    (void)state;
    const char *const ways[] = {"engine", "direct"};
    for (size_t way = 0; way < MM_ARRAY_SIZE(ways); way++) {
        struct deployment *deployment = deploy(MM_ES256, ways[way]);
        bool is_answered[N] = {false};
        char payload[256];
        char foreign[256];
        payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
        payload_with(foreign, sizeof foreign, "https://evil.example.com", MAX_TTL);
        start(deployment);
        for (size_t sent = 0, received = 0; received < N; received++) {
            for (; sent < N && sent - received < 20; sent++)
                request(deployment, sent, sent % 7 == 3 ? foreign : payload);
            struct mm_message reply = receive(deployment);
            assert_in_range(reply.id, 0, N - 1);
            assert_false(is_answered[reply.id]);
            is_answered[reply.id] = true;
            if (reply.id % 7 == 3)
                assert_int_equal(reply.code, MM_SENTENCE_REFUSED);
            else
                assert_signature_is_good(deployment, &reply, payload);
        }
        undeploy(deployment);
    }
}

static void what_expired_before_its_turn_is_not_signed(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    char payload[256];
    start(deployment);
    payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
    request_until(deployment, 1, payload, mm_monotonic_ns());
    assert_refused(deployment, MM_DEADLINE_EXCEEDED);
    assert_signs(deployment);
    undeploy(deployment);
}

/* --- what mintmarkd can't have signed, even when somebody else has taken it over --- */

static void sentences_outside_the_limits_are_refused_and_the_next_is_signed(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    char payload[256];
    start(deployment);
    payload_with(payload, sizeof payload, "https://evil.example.com", MAX_TTL);
    request(deployment, 1, payload);
    assert_refused(deployment, MM_SENTENCE_REFUSED);
    payload_with(payload, sizeof payload, ISSUER, MAX_TTL + 1);
    request(deployment, 2, payload);
    assert_refused(deployment, MM_SENTENCE_REFUSED);
    payload_with(payload, sizeof payload, ISSUER, (int64_t)10 * 365 * 86400);
    request(deployment, 3, payload);
    assert_refused(deployment, MM_SENTENCE_REFUSED);
    request(deployment, 4, "not json");
    assert_refused(deployment, MM_SENTENCE_REFUSED);
    payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
    struct mm_message message = {.kind = MM_MESSAGE_SIGN,
                                 .sentence = (enum mm_sentence)2,
                                 .deadline_ns = mm_deadline_after_ms(1000),
                                 .data = (const uint8_t *)payload,
                                 .length = strlen(payload)};
    send_message(deployment, &message);
    assert_refused(deployment, MM_SENTENCE_REFUSED);
    assert_signs(deployment);
    undeploy(deployment);
}

static void a_probe_is_signed_with_the_key_but_never_as_a_jws(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "direct");
    start(deployment);
    uint8_t nonce[MM_PROBE_NONCE];
    uint8_t input[MM_PROBE_INPUT];
    memset(nonce, 'n', sizeof nonce);
    mm_probe_input(nonce, input);
    struct mm_message probe = {.kind = MM_MESSAGE_SIGN,
                               .id = 5,
                               .sentence = MM_SENTENCE_PROBE,
                               .deadline_ns = mm_deadline_after_ms(5000),
                               .data = nonce,
                               .length = sizeof nonce};
    send_message(deployment, &probe);
    struct mm_message reply = receive(deployment);
    assert_int_equal(reply.code, MM_OK);
    assert_true(mm_pubkey_verify(deployment->pubkey, MM_ES256, (struct mm_bytes){input, sizeof input},
                                 (struct mm_bytes){reply.data, reply.length}, NULL));
    probe.length = sizeof nonce - 1;
    send_message(deployment, &probe);
    assert_refused(deployment, MM_SENTENCE_REFUSED);
    assert_signs(deployment);
    undeploy(deployment);
}

static void an_expired_request_is_never_signed(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    char payload[256];
    payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
    start(deployment);
    struct mm_message message = {.kind = MM_MESSAGE_SIGN,
                                 .sentence = MM_SENTENCE_ACCESS_TOKEN,
                                 .data = (const uint8_t *)payload,
                                 .length = strlen(payload)};
    send_message(deployment, &message);
    assert_refused(deployment, MM_DEADLINE_EXCEEDED);
    undeploy(deployment);
}

/* --- why a worker doesn't become ready --- */

static void a_wrong_pin_ends_the_worker_with_the_pins_exit_status(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    softhsm_write(&deployment->softhsm, "pin", "wrong-pin\n");
    assert_start_fails(deployment, MM_PIN_REFUSED, "CKR_PIN_INCORRECT");
    softhsm_write(&deployment->softhsm, "pin", SOFTHSM_PIN);
    assert_start_fails(deployment, MM_PIN_REFUSED, "CKF_USER_PIN_COUNT_LOW");
    undeploy(deployment);
}

static void a_missing_token_or_key_is_named(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    (void)snprintf(deployment->id, sizeof deployment->id, "00");
    assert_start_fails(deployment, MM_KEY_NOT_FOUND, "\"k\" with id 00");
    softhsm_run(&deployment->softhsm, "rm -rf %s/tokens/*", deployment->softhsm.folder);
    softhsm_add_token(&deployment->softhsm, "another");
    assert_start_fails(deployment, MM_HSM_TOKEN_NOT_FOUND, "label \"mintmark\"");
    undeploy(deployment);
}

static void a_key_other_than_the_pinned_one_is_refused(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    struct deployment *other = deploy(MM_ES256, "engine");
    json_t *jwk = deployment->jwk;
    deployment->jwk = other->jwk;
    assert_start_fails(deployment, MM_KEY_MISMATCH, "thumbprint");
    (void)snprintf(deployment->kid, sizeof deployment->kid, "%s", other->kid);
    assert_start_fails(deployment, MM_KEY_MISMATCH, "pinned");
    deployment->jwk = jwk;
    undeploy(other);
    undeploy(deployment);
}

static void an_algorithm_of_another_type_of_key_is_refused(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    deployment->algorithm = MM_EDDSA;
    assert_start_fails(deployment, MM_HSM_MECHANISM, "EdDSA");
    deployment->algorithm = MM_RS256;
    assert_start_fails(deployment, MM_HSM_MECHANISM, "RS256");
    undeploy(deployment);
}

/* softhsm2-util imports a key as sensitive and not extractable; only what it was before gives it away. */
static void an_imported_key_is_refused(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    softhsm_run(&deployment->softhsm,
                "cd %s && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out imported.pem && "
                "softhsm2-util --import imported.pem --token mintmark --label k --id abcd --pin '" SOFTHSM_PIN
                "' >/dev/null",
                deployment->softhsm.folder);
    (void)snprintf(deployment->id, sizeof deployment->id, "abcd");
    assert_start_fails(deployment, MM_KEY_CUSTODY, "CKA_");
    undeploy(deployment);
}

static void a_broken_configuration_is_reported_with_its_line(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    softhsm_write(&deployment->softhsm, "mintmark.yaml", "version: 1\nissuer: 7\n");
    assert_start_fails(deployment, MM_CONFIG_INVALID, "mintmark.yaml:");
    undeploy(deployment);
}

static void a_start_that_lacks_something_is_refused(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    const char *members[] = {"kid", "alg", "id", "label"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(members); i++) {
        json_t *json = start_json(deployment);
        assert_int_equal(json_object_del(json, members[i]), 0);
        spawn(deployment);
        send_start_json(deployment, json);
        assert_not_ready(deployment, MM_INTERNAL, "START");
        hang_up(deployment);
    }
    undeploy(deployment);
}

static void it_does_not_serve_a_mintmarkd_that_read_another_configuration(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    json_t *json = start_json(deployment);
    write_config(deployment, "direct"); /* since then */
    spawn(deployment);
    send_start_json(deployment, json);
    assert_not_ready(deployment, MM_CONFIG_INVALID, "restart");
    hang_up(deployment);
    json = start_json(deployment);
    assert_int_equal(json_object_del(json, "config"), 0);
    spawn(deployment);
    send_start_json(deployment, json);
    assert_not_ready(deployment, MM_CONFIG_INVALID, "restart");
    hang_up(deployment);
    undeploy(deployment);
}

/* --- generating a key --- */

static struct deployment *deploy_generating(int service_keys)
{
    struct deployment *deployment = deploy(MM_ES256, "engine");
    deployment->service_keys = service_keys;
    write_config(deployment, "engine");
    return deployment;
}

static json_t *generate_json(const struct deployment *deployment, const char *algorithm)
{
    mm_cleanup(json_decref) json_t *start = start_json(deployment);
    return json_pack("{ss ss ss}", "purpose", "generate", "alg", algorithm, "config", mm_json_string(start, "config"));
}

static void ask_for_a_key(struct deployment *deployment)
{
    spawn(deployment);
    send_start_json(deployment, generate_json(deployment, "ES256"));
}

static void assert_generates_nothing(struct deployment *deployment, json_t *start, enum mm_code code, const char *words)
{
    spawn(deployment);
    send_start_json(deployment, start);
    assert_not_ready(deployment, code, words);
    hang_up(deployment);
}

/* How many keys of the service's making the HSM token holds; all of them sound. */
static size_t count_generated(struct deployment *deployment)
{
    size_t n = 0;
    size_t n_generated = 0;
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(deployment);
    assert_true(mm_hsm_key_list(module, &infos, &n, NULL));
    for (size_t i = 0; i < n; i++) {
        assert_true(infos[i].is_custody_sound);
        n_generated += strncmp(infos[i].label, MM_SERVICE_KEY_PREFIX, strlen(MM_SERVICE_KEY_PREFIX)) == 0;
    }
    assert_int_equal(n, n_generated + 1);
    return n_generated;
}

/* Take what READY says of the new key as the deployment's own. */
static void take_generated(struct deployment *deployment)
{
    assert_int_equal(receive(deployment).kind, MM_MESSAGE_LOGGED_IN);
    struct mm_message ready = receive(deployment);
    assert_int_equal(ready.kind, MM_MESSAGE_READY);
    if (ready.code != MM_OK)
        fail_msg("%.*s", (int)ready.length, (const char *)ready.data);
    mm_cleanup(json_decref) json_t *json = mm_json_parse(ready.data, ready.length, NULL);
    json_decref(deployment->jwk);
    mm_pubkey_free(deployment->pubkey);
    deployment->jwk = json_incref(json_object_get(json, "jwk"));
    deployment->pubkey = mm_pubkey_from_jwk(deployment->jwk, NULL);
    assert_non_null(deployment->pubkey);
    assert_string_equal(mm_json_string(json, "kid"), mm_pubkey_thumbprint(deployment->pubkey));
    (void)snprintf(deployment->kid, sizeof deployment->kid, "%s", mm_json_string(json, "kid"));
    (void)snprintf(deployment->id, sizeof deployment->id, "%s", mm_json_string(json, "id"));
    (void)snprintf(deployment->label, sizeof deployment->label, "%s", mm_json_string(json, "label"));
}

static void a_key_is_generated_where_the_configuration_allows_it(void **state)
{
    (void)state;
    struct deployment *deployment = deploy_generating(2);
    ask_for_a_key(deployment);
    take_generated(deployment);
    assert_int_equal(wait_exit(deployment), MM_EXIT_OK);
    hang_up(deployment);
    assert_int_equal(count_generated(deployment), 1);
    assert_memory_equal(deployment->label, MM_SERVICE_KEY_PREFIX, strlen(MM_SERVICE_KEY_PREFIX));
    assert_true(strlen(deployment->label) <= 40);
    /* It signs like any other. */
    start(deployment);
    assert_signs(deployment);
    undeploy(deployment);
}

/* Whatever a mintmarkd that somebody has taken over says. */
static void a_forged_start_generates_nothing(void **state)
{
    (void)state;
    struct deployment *deployment = deploy_generating(0);
    assert_generates_nothing(deployment, generate_json(deployment, "ES256"), MM_CONFIG_INVALID, "service_keys");
    deployment->service_keys = 2;
    json_t *old = generate_json(deployment, "ES256");
    write_config(deployment, "engine");
    assert_generates_nothing(deployment, old, MM_CONFIG_INVALID, "restart");
    assert_generates_nothing(deployment, generate_json(deployment, "RS256"), MM_CONFIG_INVALID, "no key for RS256");
    assert_generates_nothing(deployment, generate_json(deployment, "HS256"), MM_INTERNAL, "START");
    static const char *const MORE[][2] = {{"label", "mine"}, {"id", "01"}, {"bits", "1024"}, {"service_keys", "99"}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(MORE); i++) {
        json_t *json = generate_json(deployment, "ES256");
        assert_int_equal(json_object_set_new(json, MORE[i][0], json_string(MORE[i][1])), 0);
        assert_generates_nothing(deployment, json, MM_INTERNAL, "START");
    }
    json_t *json = generate_json(deployment, "ES256");
    assert_int_equal(json_object_set_new(json, "purpose", json_string("destroy")), 0);
    assert_generates_nothing(deployment, json, MM_INTERNAL, "START");
    json = start_json(deployment);
    assert_int_equal(json_object_set_new(json, "purpose", json_string("generate")), 0);
    assert_generates_nothing(deployment, json, MM_INTERNAL, "START");
    assert_int_equal(count_generated(deployment), 0);
    undeploy(deployment);
}

static void no_more_keys_are_generated_than_are_allowed(void **state)
{
    (void)state;
    struct deployment *deployment = deploy_generating(1);
    ask_for_a_key(deployment);
    take_generated(deployment);
    assert_int_equal(wait_exit(deployment), MM_EXIT_OK);
    hang_up(deployment);
    ask_for_a_key(deployment);
    assert_int_equal(receive(deployment).kind, MM_MESSAGE_LOGGED_IN); /* what lies there is seen by who is logged in */
    assert_not_ready(deployment, MM_KEY_LIMIT, "service_keys is 1");
    hang_up(deployment);
    assert_int_equal(count_generated(deployment), 1);
    undeploy(deployment);
}

static void not_even_by_several_workers_at_once(void **state)
{
    enum { N = 4 };
    (void)state;
    struct deployment *deployment = deploy_generating(1);
    struct deployment workers[N];
    for (size_t i = 0; i < N; i++) {
        workers[i] = *deployment;
        ask_for_a_key(&workers[i]);
    }
    for (size_t i = 0; i < N; i++) {
        /* Some may find the token's file as another's login rewrites it: nobody starts several at once but who means harm. */
        struct mm_message ready = receive(&workers[i]);
        if (ready.kind == MM_MESSAGE_LOGGED_IN)
            ready = receive(&workers[i]);
        assert_int_equal(wait_exit(&workers[i]), mm_code_exit_status(ready.code));
        hang_up(&workers[i]);
    }
    assert_true(count_generated(deployment) <= 1);
    undeploy(deployment);
}

static void a_worker_that_generates_signs_nothing(void **state)
{
    (void)state;
    struct deployment *deployment = deploy_generating(1);
    struct mm_error err = {0};
    char payload[256];
    size_t length = 0;
    char end;
    payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
    ask_for_a_key(deployment);
    take_generated(deployment);
    const struct mm_message sign = {.kind = MM_MESSAGE_SIGN,
                                    .id = 1,
                                    .sentence = MM_SENTENCE_ACCESS_TOKEN,
                                    .deadline_ns = mm_deadline_after_ms(5000),
                                    .data = (const uint8_t *)payload,
                                    .length = strlen(payload)};
    assert_true(mm_message_encode(&sign, deployment->packet, &length, &err));
    (void)send(deployment->socket, deployment->packet, length, MSG_NOSIGNAL); /* it may be gone already */
    assert_true(recv(deployment->socket, &end, sizeof end, 0) <= 0);
    assert_int_equal(wait_exit(deployment), MM_EXIT_OK);
    undeploy(deployment);
}

static void a_wrong_pin_is_sent_once_for_a_key(void **state)
{
    (void)state;
    struct deployment *deployment = deploy_generating(1);
    softhsm_write(&deployment->softhsm, "pin", "wrong-pin\n");
    assert_generates_nothing(deployment, generate_json(deployment, "ES256"), MM_PIN_REFUSED, "CKR_PIN_INCORRECT");
    softhsm_write(&deployment->softhsm, "pin", "wrong-too\n");
    assert_generates_nothing(deployment, generate_json(deployment, "ES256"), MM_PIN_REFUSED, "CKF_USER_PIN_COUNT_LOW");
    undeploy(deployment);
}

static void a_key_under_way_is_made_whole_when_mintmarkd_goes(void **state)
{
    (void)state;
    struct deployment *deployment = deploy_generating(1);
    ask_for_a_key(deployment);
    hang_up(deployment);
    (void)wait_exit(deployment);
    assert_in_range(count_generated(deployment), 0, 1);
    undeploy(deployment);
}

/* --- when a worker ends --- */

static void it_ends_when_mintmarkd_is_gone(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    spawn(deployment);
    hang_up(deployment);
    assert_int_equal(wait_exit(deployment), MM_EXIT_OK);
    start(deployment);
    hang_up(deployment);
    assert_int_equal(wait_exit(deployment), MM_EXIT_OK);
    undeploy(deployment);
}

static void mintmarkd_dying_during_a_login_leaves_the_token_whole(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    for (int i = 0; i < 25; i++) {
        spawn(deployment);
        send_start_json(deployment, start_json(deployment));
        (void)poll(NULL, 0, i * 3);
        hang_up(deployment);
        (void)wait_exit(deployment);
    }
    start(deployment);
    assert_signs(deployment);
    undeploy(deployment);
}

static void signals_meant_for_the_whole_service_leave_it_signing(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "engine");
    start(deployment);
    const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < MM_ARRAY_SIZE(signals); i++)
        assert_int_equal(kill(deployment->pid, signals[i]), 0);
    assert_signs(deployment);
    undeploy(deployment);
}

static void packets_that_make_no_sense_end_it(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "direct");
    static uint8_t garbage[MM_PACKET_MAX + 8192];
    memset(garbage, 0x5a, sizeof garbage);
    const size_t lengths[] = {1, 31, 32, 1000, MM_PACKET_MAX, MM_PACKET_MAX + 1, sizeof garbage};
    for (size_t i = 0; i < 2 * MM_ARRAY_SIZE(lengths); i++) {
        i % 2 ? start(deployment) : spawn(deployment);
        send_packet(deployment, garbage, lengths[i / 2]);
        assert_int_equal(wait_exit(deployment), MM_EXIT_FAILURE);
        hang_up(deployment);
    }
    undeploy(deployment);
}

/* A START that would be a good one if the kernel's cut at the buffer's end were overlooked. */
static void a_packet_with_more_than_fits_ends_it(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "direct");
    static char text[MM_PACKET_MAX];
    static uint8_t packet[MM_PACKET_MAX + 1];
    json_t *json = start_json(deployment);
    memset(text, ' ', sizeof text);
    assert_true(json_dumpb(json, text, sizeof text, JSON_COMPACT) < sizeof text);
    json_decref(json);
    struct mm_message message = {.kind = MM_MESSAGE_START, .data = (const uint8_t *)text, .length = MM_PACKET_MAX - 32};
    size_t length = 0;
    assert_true(mm_message_encode(&message, packet, &length, NULL));
    assert_int_equal(length, MM_PACKET_MAX);
    spawn(deployment);
    send_packet(deployment, packet, length);
    assert_int_equal(receive(deployment).code, MM_OK);
    hang_up(deployment);
    assert_int_equal(wait_exit(deployment), MM_EXIT_OK);
    spawn(deployment);
    send_packet(deployment, packet, length + 1);
    assert_int_equal(wait_exit(deployment), MM_EXIT_FAILURE);
    undeploy(deployment);
}

static void messages_out_of_turn_end_it(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "direct");
    char payload[256];
    payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
    spawn(deployment);
    request(deployment, 1, payload);
    assert_int_equal(wait_exit(deployment), MM_EXIT_FAILURE);
    hang_up(deployment);
    start(deployment);
    send_start_json(deployment, start_json(deployment));
    assert_int_equal(wait_exit(deployment), MM_EXIT_FAILURE);
    undeploy(deployment);
}

static void destroy_key(struct deployment *deployment)
{
    softhsm_run(&deployment->softhsm,
                "pkcs11-tool --module " SOFTHSM_MODULE " --login --pin '" SOFTHSM_PIN
                "' --token-label mintmark --delete-object --type privkey --id %s >/dev/null 2>&1",
                deployment->id);
}

static void a_key_that_vanishes_ends_it_after_it_has_said_so(void **state)
{
    (void)state;
    const char *const ways[] = {"engine", "direct"};
    for (size_t way = 0; way < MM_ARRAY_SIZE(ways); way++) {
        struct deployment *deployment = deploy(MM_ES256, ways[way]);
        char payload[256];
        start(deployment);
        assert_signs(deployment);
        destroy_key(deployment);
        payload_with(payload, sizeof payload, ISSUER, MAX_TTL);
        request(deployment, 5, payload);
        assert_refused(deployment, MM_HSM_UNAVAILABLE);
        assert_int_equal(wait_exit(deployment), MM_EXIT_HSM);
        undeploy(deployment);
    }
}

static void it_leaves_no_core(void **state)
{
    (void)state;
    struct deployment *deployment = deploy(MM_ES256, "direct");
    char path[64];
    char line[256];
    bool is_zero = false;
    start(deployment);
    (void)snprintf(path, sizeof path, "/proc/%d/limits", (int)deployment->pid);
    FILE *limits = fopen(path, "re");
    assert_non_null(limits);
    while (fgets(line, sizeof line, limits)) {
        static const char NAME[] = "Max core file size";
        if (strncmp(line, NAME, sizeof NAME - 1) != 0)
            continue;
        char *hard = NULL;
        is_zero = strtoul(line + sizeof NAME - 1, &hard, 10) == 0 && strtoul(hard, NULL, 10) == 0 &&
                  !strstr(line, "unlimited");
    }
    (void)fclose(limits);
    assert_true(is_zero);
    undeploy(deployment);
}

/* --- what it must be started with --- */

static int exit_status_with(int fd)
{
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        become_worker("/nowhere", fd);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void it_does_not_run_without_its_socket(void **state)
{
    (void)state;
    int sockets[2];
    assert_int_equal(exit_status_with(-1), MM_EXIT_USAGE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    assert_int_equal(exit_status_with(sockets[0]), MM_EXIT_USAGE);
    (void)close(sockets[0]);
    (void)close(sockets[1]);
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(exit_status_with(file), MM_EXIT_USAGE);
    (void)close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_is_served_both_ways),
        cmocka_unit_test(the_header_is_the_workers_own),
        cmocka_unit_test(an_ed25519_key_beside_the_key_makes_the_worker_sign_directly),
        cmocka_unit_test(requests_in_flight_together_are_each_answered_once),
        cmocka_unit_test(what_expired_before_its_turn_is_not_signed),
        cmocka_unit_test(sentences_outside_the_limits_are_refused_and_the_next_is_signed),
        cmocka_unit_test(a_probe_is_signed_with_the_key_but_never_as_a_jws),
        cmocka_unit_test(an_expired_request_is_never_signed),
        cmocka_unit_test(a_wrong_pin_ends_the_worker_with_the_pins_exit_status),
        cmocka_unit_test(a_missing_token_or_key_is_named),
        cmocka_unit_test(a_key_other_than_the_pinned_one_is_refused),
        cmocka_unit_test(an_algorithm_of_another_type_of_key_is_refused),
        cmocka_unit_test(an_imported_key_is_refused),
        cmocka_unit_test(a_broken_configuration_is_reported_with_its_line),
        cmocka_unit_test(a_start_that_lacks_something_is_refused),
        cmocka_unit_test(it_does_not_serve_a_mintmarkd_that_read_another_configuration),
        cmocka_unit_test(a_key_is_generated_where_the_configuration_allows_it),
        cmocka_unit_test(a_forged_start_generates_nothing),
        cmocka_unit_test(no_more_keys_are_generated_than_are_allowed),
        cmocka_unit_test(not_even_by_several_workers_at_once),
        cmocka_unit_test(a_worker_that_generates_signs_nothing),
        cmocka_unit_test(a_wrong_pin_is_sent_once_for_a_key),
        cmocka_unit_test(a_key_under_way_is_made_whole_when_mintmarkd_goes),
        cmocka_unit_test(it_ends_when_mintmarkd_is_gone),
        cmocka_unit_test(mintmarkd_dying_during_a_login_leaves_the_token_whole),
        cmocka_unit_test(signals_meant_for_the_whole_service_leave_it_signing),
        cmocka_unit_test(packets_that_make_no_sense_end_it),
        cmocka_unit_test(a_packet_with_more_than_fits_ends_it),
        cmocka_unit_test(messages_out_of_turn_end_it),
        cmocka_unit_test(a_key_that_vanishes_ends_it_after_it_has_said_so),
        cmocka_unit_test(it_leaves_no_core),
        cmocka_unit_test(it_does_not_run_without_its_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
