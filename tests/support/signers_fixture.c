/* SPDX-License-Identifier: Apache-2.0 */
#include "support/signers_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "token/jwks.h"
#include "util/clock.h"
#include "util/file.h"

enum { PATIENCE_MS = 10000, LOG_MAX = 4 * 1024 * 1024 };

static const char *const NAMES[TOKENS_MAX] = {"hsm-0", "hsm-1"};

void sleep_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static void observe(void *context, enum mm_pool_event event, const char *hsm_token, const char *kid, const char *detail)
{
    struct signers_fixture *fixture = context;
    (void)hsm_token, (void)kid, (void)detail;
    (void)pthread_mutex_lock(&fixture->lock);
    fixture->n_events[event]++;
    (void)pthread_mutex_unlock(&fixture->lock);
}

static void describe_token(struct signers_fixture *fixture, size_t i)
{
    fixture->tokens[i] = (struct mm_hsm_token_config){
        .name = strdup(NAMES[i]),
        .pin_source = MM_PIN_FILE,
        .pin_fd = -1,
        .workers = 1,
        .threads = 4,
        .sign_timeout_ms = 2000,
        .start_timeout = 5,
        .busy_timeout = 10,
        .probe_interval = 600,
        .restart_delay_ms = 100,
        .restart_delay_max = 30,
    };
    (void)snprintf(fixture->files[i], sizeof fixture->files[i], "%s/fake%zu", fixture->folder, i);
    behave_at(fixture, i, "answer");
}

int signers_fixture_set_up(void **state)
{
    struct signers_fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/mm-signers-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)pthread_mutex_init(&fixture->lock, NULL);
    for (size_t i = 0; i < TOKENS_MAX; i++)
        describe_token(fixture, i);
    (void)snprintf(fixture->issuer, sizeof fixture->issuer, "https://mint.example");
    fixture->config.file = fixture->files[0];
    fixture->config.issuer = fixture->issuer;
    fixture->config.algorithm = MM_ES256;
    fixture->config.max_ttl = 900;
    assert_true(asprintf(&fixture->config.store_file, "%s/state.db", fixture->folder) > 0);
    fixture->config.hsm_tokens = fixture->tokens;
    fixture->config.n_hsm_tokens = TOKENS_MAX;
    fixture->jwks = json_pack("{s[]}", "keys");
    assert_non_null(fixture->jwks);
    *state = fixture;
    return 0;
}

int signers_fixture_tear_down(void **state)
{
    struct signers_fixture *fixture = *state;
    mm_signers_stop(fixture->signers);
    mm_launcher_stop(fixture->launcher);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < fixture->n_keys; i++)
        mm_pubkey_free(fixture->keys[i].pubkey);
    for (size_t i = 0; i < TOKENS_MAX; i++)
        free(fixture->tokens[i].name);
    json_decref(fixture->jwks);
    free(fixture->config.store_file);
    (void)pthread_mutex_destroy(&fixture->lock);
    free(fixture);
    return 0;
}

void behave_at(struct signers_fixture *fixture, size_t token, const char *lines)
{
    FILE *stream = fopen(fixture->files[token], "we");
    assert_non_null(stream);
    assert_true(fputs(lines, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

void open_signers(struct signers_fixture *fixture)
{
    for (size_t i = 0; i < TOKENS_MAX; i++)
        fixture->specs[i] = (struct mm_worker_spec){
            .program = FAKE_WORKER,
            .config_file = fixture->files[i],
            .hsm_token = fixture->tokens[i].name,
            .pin_fd = -1,
            .n_workers = (size_t)fixture->tokens[i].workers * MM_SIGNERS_PER_TOKEN_MAX,
        };
    fixture->launcher = mm_launcher_start(fixture->specs, TOKENS_MAX, NULL);
    assert_non_null(fixture->launcher);
    const struct mm_signers_options options = {
        .config = &fixture->config,
        .launcher = fixture->launcher,
        .queue = 2000,
        .observer = observe,
        .observer_context = fixture,
    };
    fixture->signers = mm_signers_new(&options, NULL);
    assert_non_null(fixture->signers);
}

static struct mm_pubkey *write_key(const struct signers_fixture *fixture, size_t token, const char *id)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s.%s.key", fixture->files[token], id);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *stream = fopen(path, "we");
    assert_non_null(stream);
    assert_int_equal(PEM_write_PrivateKey(stream, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(stream);
    uint8_t point[65];
    size_t length;
    assert_int_equal(EVP_PKEY_get_octet_string_param(key, "pub", point, sizeof point, &length), 1);
    EVP_PKEY_free(key);
    return mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){point, length}, NULL);
}

size_t make_key_at(struct signers_fixture *fixture, size_t token)
{
    assert_true(fixture->n_keys < KEYS_MAX);
    struct test_key *made = &fixture->keys[fixture->n_keys];
    (void)snprintf(made->id, sizeof made->id, "%02zx", fixture->n_keys);
    made->pubkey = write_key(fixture, token, made->id);
    assert_non_null(made->pubkey);
    made->key = (struct mm_pool_key){made->pubkey, MM_ES256, NAMES[token], made->id, "mintmark"};
    json_t *jwk = mm_pubkey_to_jwk(made->pubkey, MM_ES256, NULL);
    assert_int_equal(json_array_append_new(json_object_get(fixture->jwks, "keys"), jwk), 0);
    return fixture->n_keys++;
}

size_t activate_at(struct signers_fixture *fixture, size_t token, enum mm_signers_wait wait)
{
    size_t key = make_key_at(fixture, token);
    struct mm_error err = {0};
    if (!mm_signers_add(fixture->signers, &fixture->keys[key].key, wait, &err) ||
        !mm_signers_activate(fixture->signers, kid_of(fixture, key), &err))
        fail_msg("key %zu: %s", key, err.message);
    return key;
}

const char *kid_of(const struct signers_fixture *fixture, size_t key)
{
    return mm_pubkey_thumbprint(fixture->keys[key].pubkey);
}

char *read_log_at(const struct signers_fixture *fixture, size_t token)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s.log", fixture->files[token]);
    struct mm_buffer text = mm_buffer_make(LOG_MAX);
    return mm_file_read(path, &text, NULL) ? (char *)text.data : NULL;
}

size_t count_log_at(const struct signers_fixture *fixture, size_t token, const char *prefix)
{
    size_t n = 0;
    mm_cleanup(free) char *log = read_log_at(fixture, token);
    char *rest = NULL;
    for (char *line = log ? strtok_r(log, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        n += strncmp(line, prefix, strlen(prefix)) == 0;
    return n;
}

void wait_for_health(struct signers_fixture *fixture, enum mm_signers_health health)
{
    int64_t until = mm_deadline_after_ms(PATIENCE_MS);
    while (mm_signers_health(fixture->signers) != health) {
        if (mm_monotonic_ns() > until)
            fail_msg("never %d", (int)health);
        sleep_ms(2);
    }
}

void kill_workers_at(struct signers_fixture *fixture, size_t token)
{
    mm_cleanup(free) char *log = read_log_at(fixture, token);
    for (char *line = log ? strstr(log, "start ") : NULL; line; line = strstr(line + 1, "start "))
        (void)kill(atoi(line + strlen("start ")), SIGKILL);
}
