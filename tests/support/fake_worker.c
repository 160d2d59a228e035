/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for mintmark-hsm that speaks its protocol and signs with a software key, well or badly. Its environment is cleaned
 * by the pool, so the file given as --config says how to behave: one line a start (the last for all later ones), words
 * as in `apply()`. Beside it lie FILE.key (the private key, PEM; FILE.ID.key for a CKA_ID of its own), FILE.count (a byte for each start), FILE.lock (held while
 * starting) and FILE.log (what happened, read by the tests). Asked for a new key it says what is in FILE.generated.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "hsm/protocol.h"
#include "util/base64url.h"

extern char **environ;

enum mood { ANSWER, HANG, WRONG, SHORT, UNKNOWN, TWICE, GARBAGE, NOISE };

struct behaviour {
    enum mood mood;
    long starts_after_ms;
    long delay_ms;
    long skips; /* the how many-th request it never answers, from 1 */
    long dies_after;
    long exits;       /* before READY, with this status; 0: no */
    long threads;     /* what READY says that it signs at once */
    long ready_code;  /* READY's code, then exit with its status */
    long sign_code;   /* SIGNED's code */
    long signs;       /* how many SIGNEDs haven't that code, before it begins */
    long refusals;    /* how many SIGNEDs have that code, probes included; 0: all */
    bool is_crashing; /* before READY */
    bool is_stuck;    /* never READY */
    long makes_ms;    /* between LOGGED_IN and READY, of a key */
    long logins;      /* how often it says LOGGED_IN, of a key */
    bool is_mute;     /* before READY closes its socket, and stays */
    bool is_deaf;     /* stays at the end of its input */
    bool has_bad_header;
    bool has_bad_kid;
    bool is_chatty; /* logs what it inherited and what it signs */
};

static const char *file;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char path[512];
    char line[1024];
    (void)snprintf(path, sizeof path, "%s.log", file);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, line, (size_t)length) < 0)
        _exit(90);
    (void)close(fd);
}

static void sleep_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static void apply(struct behaviour *behaviour, const char *word)
{
    static const char *const MOODS[] = {"answer", "hang", "wrong", "short", "unknown", "twice", "garbage", "noise"};
    const char *equals = strchr(word, '=');
    long value = equals ? strtol(equals + 1, NULL, 10) : 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(MOODS); i++)
        if (strcmp(word, MOODS[i]) == 0)
            behaviour->mood = (enum mood)i;
    if (strncmp(word, "start=", 6) == 0)
        behaviour->starts_after_ms = value;
    else if (strncmp(word, "delay=", 6) == 0)
        behaviour->delay_ms = value;
    else if (strncmp(word, "die=", 4) == 0)
        behaviour->dies_after = value;
    else if (strncmp(word, "skip=", 5) == 0)
        behaviour->skips = value;
    else if (strncmp(word, "exit=", 5) == 0)
        behaviour->exits = value;
    else if (strncmp(word, "threads=", 8) == 0)
        behaviour->threads = value;
    else if (strncmp(word, "makes=", 6) == 0)
        behaviour->makes_ms = value;
    else if (strncmp(word, "logins=", 7) == 0)
        behaviour->logins = value;
    else if (strncmp(word, "ready=", 6) == 0)
        behaviour->ready_code = value;
    else if (strncmp(word, "code=", 5) == 0)
        behaviour->sign_code = value;
    else if (strncmp(word, "signs=", 6) == 0)
        behaviour->signs = value;
    else if (strncmp(word, "refusals=", 9) == 0)
        behaviour->refusals = value;
    behaviour->is_crashing |= strcmp(word, "crash") == 0;
    behaviour->is_stuck |= strcmp(word, "stuck") == 0;
    behaviour->is_mute |= strcmp(word, "mute") == 0;
    behaviour->is_deaf |= strcmp(word, "deaf") == 0;
    behaviour->has_bad_header |= strcmp(word, "badheader") == 0;
    behaviour->has_bad_kid |= strcmp(word, "badkid") == 0;
    behaviour->is_chatty |= strcmp(word, "chatty") == 0;
}

/* Which start this is, from 0. */
static long count_start(void)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s.count", file);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat info;
    if (fd < 0 || flock(fd, LOCK_EX) != 0 || fstat(fd, &info) != 0 || write(fd, "x", 1) != 1)
        _exit(91);
    (void)close(fd);
    return (long)info.st_size;
}

static struct behaviour read_behaviour(void)
{
    struct behaviour behaviour = {.dies_after = -1, .threads = 4, .logins = 1};
    char line[256] = "";
    FILE *stream = fopen(file, "re");
    if (!stream)
        _exit(92);
    for (long i = count_start(); i >= 0; i--) {
        char next[256];
        if (!fgets(next, sizeof next, stream))
            break;
        memcpy(line, next, sizeof line);
    }
    (void)fclose(stream);
    char *rest = NULL;
    for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
        apply(&behaviour, word);
    return behaviour;
}

/* The file that scripts/coverage has counters mapped from: opened here, not inherited. */
static bool holds_counters(int folder, const char *fd)
{
    char target[4096] = "";
    return readlinkat(folder, fd, target, sizeof target - 1) > 0 && strstr(target, ".profraw");
}

static void say_what_was_inherited(void)
{
    for (char **variable = environ; *variable; variable++)
        say("env %s\n", *variable);
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        _exit(93);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(folder) &&
            !holds_counters(dirfd(folder), entry->d_name))
            say("fd %s\n", entry->d_name);
    (void)closedir(folder);
    sigset_t mask;
    (void)sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int i = 1; i < 32; i++) {
        struct sigaction action;
        if (sigismember(&mask, i))
            say("blocked %d\n", i);
        if (sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            say("ignored %d\n", i);
    }
}

static void send_message(const struct mm_message *message)
{
    uint8_t packet[MM_PACKET_MAX];
    size_t length;
    if (!mm_message_encode(message, packet, &length, NULL) || write(MM_WORKER_FD, packet, length) < 0)
        _exit(94);
}

static bool receive(uint8_t *packet, struct mm_message *ret_message)
{
    ssize_t n = read(MM_WORKER_FD, packet, MM_PACKET_MAX);
    return n > 0 && mm_message_decode(packet, (size_t)n, ret_message, NULL);
}

static EVP_PKEY *read_key(const struct mm_message *start)
{
    char path[512];
    mm_cleanup(json_decref) json_t *key_asked_for = mm_json_parse(start->data, start->length, NULL);
    (void)snprintf(path, sizeof path, "%s.%s.key", file, mm_json_string(key_asked_for, "id"));
    if (access(path, R_OK) != 0)
        (void)snprintf(path, sizeof path, "%s.key", file);
    FILE *stream = fopen(path, "re");
    EVP_PKEY *key = stream ? PEM_read_PrivateKey(stream, NULL, NULL, NULL) : NULL;
    if (!key)
        _exit(95);
    (void)fclose(stream);
    return key;
}

/* ES256: r || s. */
static void sign(EVP_PKEY *key, const void *input, size_t input_length, uint8_t out[64])
{
    uint8_t der[128];
    size_t length = sizeof der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(context, der, &length, input, input_length) != 1)
        _exit(96);
    EVP_MD_CTX_free(context);
    const uint8_t *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)length);
    (void)BN_bn2binpad(ECDSA_SIG_get0_r(signature), out, 32);
    (void)BN_bn2binpad(ECDSA_SIG_get0_s(signature), out + 32, 32);
    ECDSA_SIG_free(signature);
}

static void say_ready(const struct behaviour *behaviour, const char *ready)
{
    struct mm_message message = {.kind = MM_MESSAGE_READY, .data = (const uint8_t *)ready, .length = strlen(ready)};
    if (behaviour->ready_code) {
        message.code = (enum mm_code)behaviour->ready_code;
        message.data = (const uint8_t *)"the fake's\nreason";
        message.length = strlen("the fake's\nreason");
    }
    send_message(&message);
    if (behaviour->ready_code)
        _exit(mm_code_exit_status(message.code));
}

/* Asked for a new key: say which, and end. */
static void generate_if_asked(const struct behaviour *behaviour, const struct mm_message *start)
{
    char path[512];
    char ready[2048] = "";
    mm_cleanup(json_decref) json_t *asked = mm_json_parse(start->data, start->length, NULL);
    if (!mm_json_string(asked, "purpose"))
        return;
    say("generate %s\n", mm_json_string(asked, "alg"));
    (void)snprintf(path, sizeof path, "%s.generated", file);
    FILE *stream = fopen(path, "re");
    if (!stream || fread(ready, 1, sizeof ready - 1, stream) == 0)
        _exit(95);
    (void)fclose(stream);
    say("logged in\n");
    for (long i = 0; i < behaviour->logins; i++)
        send_message(&(const struct mm_message){.kind = MM_MESSAGE_LOGGED_IN});
    sleep_ms(behaviour->makes_ms);
    say_ready(behaviour, ready);
    _exit(MM_EXIT_OK);
}

static void be_ready(const struct behaviour *behaviour, const struct mm_message *start, char *header, size_t size)
{
    mm_cleanup(json_decref) json_t *key = mm_json_parse(start->data, start->length, NULL);
    const char *kid = mm_json_string(key, "kid");
    if (start->kind != MM_MESSAGE_START || !kid || !json_is_object(json_object_get(key, "jwk")) ||
        !mm_json_string(key, "id") || !mm_json_string(key, "label"))
        _exit(97);
    char text[256];
    (void)snprintf(text, sizeof text, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"at+jwt\"}",
                   behaviour->has_bad_header ? "none" : mm_json_string(key, "alg"), kid);
    if (mm_base64url_length(strlen(text)) >= size)
        _exit(98);
    mm_base64url_encode(text, strlen(text), header);
    char ready[1024];
    (void)snprintf(ready, sizeof ready,
                   "{\"kid\":\"%s\",\"signing\":\"direct\",\"threads\":%ld,\"headers\":{\"access_token\":\"%s\"}}",
                   behaviour->has_bad_kid ? "another" : kid, behaviour->threads, header);
    say_ready(behaviour, ready);
}

static void start(const struct behaviour *behaviour)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s.lock", file);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0)
        say("overlap\n");
    say("start %d\n", (int)getpid());
    sleep_ms(behaviour->starts_after_ms);
    (void)close(lock);
    if (behaviour->is_crashing)
        (void)raise(SIGKILL);
    if (behaviour->is_mute)
        (void)close(MM_WORKER_FD);
    while (behaviour->is_stuck || behaviour->is_mute)
        (void)pause();
    if (behaviour->exits)
        _exit((int)behaviour->exits);
}

static void sign_sentence(EVP_PKEY *key, const char *header, const struct mm_message *request, uint8_t out[64])
{
    char payload[MM_PAYLOAD_MAX * 4 / 3 + 4];
    char input[sizeof payload + 512];
    uint8_t probe[MM_PROBE_INPUT];
    if (request->sentence == MM_SENTENCE_PROBE) {
        mm_probe_input(request->data, probe);
        sign(key, probe, sizeof probe, out);
        return;
    }
    mm_base64url_encode(request->data, request->length, payload);
    (void)snprintf(input, sizeof input, "%s.%s", header, payload);
    sign(key, input, strlen(input), out);
}

static void answer(const struct behaviour *behaviour, EVP_PKEY *key, const char *header,
                   const struct mm_message *request, enum mm_code code)
{
    uint8_t signature[64];
    sign_sentence(key, header, request, signature);
    struct mm_message signed_ = {.kind = MM_MESSAGE_SIGNED, .id = request->id, .data = signature, .length = 64};
    if (code != MM_OK) {
        signed_.code = code;
        signed_.data = (const uint8_t *)"the fake's\nreason";
        signed_.length = strlen("the fake's\nreason");
    }
    if (behaviour->mood == WRONG)
        signature[40] ^= 1;
    if (behaviour->mood == SHORT)
        signed_.length = 63;
    if (behaviour->mood == UNKNOWN)
        signed_.id += 1000;
    if (behaviour->mood == NOISE)
        signed_.id = 0;
    if (behaviour->mood == TWICE)
        send_message(&signed_);
    if (behaviour->mood == GARBAGE) {
        if (write(MM_WORKER_FD, "garbage", 7) < 0)
            _exit(94);
    } else {
        send_message(&signed_);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || strcmp(argv[1], "--config") != 0 || strcmp(argv[3], "--hsm-token") != 0)
        return MM_EXIT_USAGE;
    file = argv[2];
    struct behaviour behaviour = read_behaviour();
    if (behaviour.is_chatty)
        say_what_was_inherited();
    static uint8_t packet[MM_PACKET_MAX];
    struct mm_message message;
    char header[512];
    if (!receive(packet, &message))
        return MM_EXIT_FAILURE;
    start(&behaviour);
    generate_if_asked(&behaviour, &message);
    be_ready(&behaviour, &message, header, sizeof header);
    EVP_PKEY *key = read_key(&message);
    for (long n = 0; receive(packet, &message); n++) {
        if (message.kind != MM_MESSAGE_SIGN || message.deadline_ns <= 0)
            _exit(99);
        if (behaviour.is_chatty && message.sentence == MM_SENTENCE_PROBE)
            say("probe\n");
        else if (behaviour.is_chatty)
            say("sign %.*s\n", (int)message.length, (const char *)message.data);
        if (n == behaviour.dies_after)
            (void)raise(SIGKILL);
        sleep_ms(behaviour.delay_ms);
        if (behaviour.refusals > 0 && n >= behaviour.refusals)
            behaviour.sign_code = 0;
        if (behaviour.mood != HANG && n + 1 != behaviour.skips)
            answer(&behaviour, key, header, &message, n < behaviour.signs ? MM_OK : (enum mm_code)behaviour.sign_code);
    }
    while (behaviour.is_deaf)
        (void)pause();
    EVP_PKEY_free(key);
    return MM_EXIT_OK;
}
