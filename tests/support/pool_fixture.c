/* SPDX-License-Identifier: Apache-2.0 */
#include "support/pool_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "token/jwks.h"
#include "token/jws.h"
#include "util/clock.h"
#include "util/file.h"

enum { PATIENCE_MS = 10000 };

void sleep_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static void observe(void *context, enum mm_pool_event event, const char *hsm_token, const char *kid, const char *detail)
{
    struct fixture *fixture = context;
    assert_string_equal(hsm_token, "primary");
    assert_string_equal(kid, mm_pubkey_thumbprint(fixture->pubkey));
    (void)pthread_mutex_lock(&fixture->lock);
    fixture->n_events[event]++;
    (void)snprintf(fixture->last_detail[event], MM_ERROR_MESSAGE_MAX, "%s", detail);
    (void)pthread_cond_broadcast(&fixture->changed);
    (void)pthread_mutex_unlock(&fixture->lock);
}

static void make_key(struct fixture *fixture)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s.key", fixture->file);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *stream = fopen(path, "we");
    assert_non_null(stream);
    assert_int_equal(PEM_write_PrivateKey(stream, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(stream);
    uint8_t point[65];
    size_t length;
    assert_int_equal(EVP_PKEY_get_octet_string_param(key, "pub", point, sizeof point, &length), 1);
    EVP_PKEY_free(key);
    fixture->pubkey = mm_pubkey_from_point(MM_KEY_P256, (struct mm_bytes){point, length}, NULL);
    assert_non_null(fixture->pubkey);
    struct mm_jwks_key published = {.key = fixture->pubkey, .algorithm = MM_ES256};
    char *document = mm_jwks_document(&published, 1, NULL);
    fixture->jwks = mm_json_parse(document, strlen(document), NULL);
    free(document);
}

int fixture_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/mm-pool-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->file, sizeof fixture->file, "%s/fake", fixture->folder);
    make_key(fixture);
    (void)pthread_mutex_init(&fixture->lock, NULL);
    (void)pthread_cond_init(&fixture->changed, NULL);
    fixture->settings = (struct mm_hsm_token_config){
        .name = strdup("primary"),
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
    fixture->config.file = fixture->file;
    (void)snprintf(fixture->issuer, sizeof fixture->issuer, "https://mint.example");
    fixture->config.issuer = fixture->issuer;
    fixture->config.max_ttl = 900;
    char *store = NULL;
    assert_true(asprintf(&store, "%s/state.db", fixture->folder) > 0);
    fixture->config.store_file = store;
    fixture->config.hsm_tokens = &fixture->settings;
    fixture->config.n_hsm_tokens = 1;
    fixture->options = (struct mm_pool_options){
        .config = &fixture->config,
        .key = {fixture->pubkey, MM_ES256, "primary", "01", "mintmark"},
        .queue = 2000,
        .observer = observe,
        .observer_context = fixture,
    };
    fixture->worker_program = FAKE_WORKER;
    behave(fixture, "answer");
    *state = fixture;
    return 0;
}

int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;
    mm_pool_stop(fixture->pool);
    mm_launcher_stop(fixture->launcher);
    assert_int_equal(fixture->n_answered, fixture->n_asked);
    assert_int_equal(fixture->n_doubled, 0);
    assert_int_equal(fixture->n_forged, 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    assert_int_equal(system(command), 0);
    mm_pubkey_free(fixture->pubkey);
    json_decref(fixture->jwks);
    free(fixture->settings.name);
    free(fixture->config.store_file);
    (void)pthread_cond_destroy(&fixture->changed);
    (void)pthread_mutex_destroy(&fixture->lock);
    free(fixture);
    return 0;
}

void behave(struct fixture *fixture, const char *lines)
{
    FILE *stream = fopen(fixture->file, "we");
    assert_non_null(stream);
    assert_true(fputs(lines, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

bool launch(struct fixture *fixture, struct mm_error *err)
{
    struct mm_worker_spec spec = {
        .program = fixture->worker_program,
        .config_file = fixture->file,
        .hsm_token = fixture->settings.name,
        .pin_fd = fixture->settings.pin_fd,
        .n_workers = (size_t)fixture->settings.workers,
    };
    mm_launcher_stop(fixture->launcher);
    fixture->launcher = mm_launcher_start(&spec, 1, err);
    if (!fixture->launcher)
        return false;
    fixture->options.launcher = fixture->launcher;
    fixture->pool = mm_pool_start(&fixture->options, err);
    return fixture->pool != NULL;
}

bool start(struct fixture *fixture, struct mm_error *err)
{
    if (!launch(fixture, err))
        return false;
    if (mm_pool_wait(fixture->pool, err))
        return true;
    mm_pool_stop(MM_TAKE(fixture->pool));
    return false;
}

void start_ok(struct fixture *fixture)
{
    struct mm_error err = {0};
    if (!start(fixture, &err))
        fail_msg("the pool doesn't start: %s", err.message);
}

static bool is_genuine(struct fixture *fixture, const char *compact, unsigned number)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    return mm_jws_parse(compact, &jws, NULL) && mm_jws_verify(&jws, compact, fixture->jwks, NULL) &&
           mm_json_integer(jws.payload, "n", -1) == number;
}

static void take_answer(void *context, const char *jws, const struct mm_error *err)
{
    struct answer *answer = context;
    struct fixture *fixture = answer->fixture;
    bool is_forged = jws && !is_genuine(fixture, jws, answer->number);
    (void)pthread_mutex_lock(&fixture->lock);
    fixture->n_doubled += answer->state != WAITING || !jws != !!err;
    fixture->n_forged += is_forged;
    answer->state = jws ? SIGNED : REFUSED;
    answer->code = err ? err->code : MM_OK;
    (void)snprintf(answer->message, sizeof answer->message, "%s", err ? err->message : "");
    answer->order = fixture->n_answered++;
    answer->answered_ns = mm_monotonic_ns();
    (void)pthread_cond_broadcast(&fixture->changed);
    (void)pthread_mutex_unlock(&fixture->lock);
}

struct answer *ask(struct fixture *fixture, const char *tenant, int64_t within_ms, struct mm_error *err)
{
    assert_true(fixture->n_asked < ANSWERS_MAX);
    struct answer *answer = &fixture->answers[fixture->n_asked];
    *answer = (struct answer){.fixture = fixture, .number = (unsigned)fixture->n_asked};
    char payload[64];
    int length = snprintf(payload, sizeof payload, "{\"n\":%u}", answer->number);
    struct mm_pool_order order = {
        .sentence = MM_SENTENCE_ACCESS_TOKEN,
        .tenant = tenant,
        .payload = payload,
        .length = (size_t)length,
        .deadline_ns = mm_deadline_after_ms(within_ms),
        .patience = fixture->patience,
    };
    if (!mm_pool_sign(fixture->pool, &order, take_answer, answer, err))
        return NULL;
    fixture->n_asked++;
    return answer;
}

struct answer *ask_ok(struct fixture *fixture, const char *tenant, int64_t within_ms)
{
    struct mm_error err = {0};
    struct answer *answer = ask(fixture, tenant, within_ms, &err);
    if (!answer)
        fail_msg("refused: %s", err.message);
    return answer;
}

static void wait_until_locked(struct fixture *fixture, const size_t *count, size_t n, const char *what)
{
    struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(PATIENCE_MS));
    while (*count < n)
        if (pthread_cond_clockwait(&fixture->changed, &fixture->lock, CLOCK_MONOTONIC, &until) != 0)
            break;
    size_t reached = *count;
    (void)pthread_mutex_unlock(&fixture->lock);
    if (reached < n)
        fail_msg("%zu of %zu %s", reached, n, what);
}

void wait_for_answers(struct fixture *fixture)
{
    (void)pthread_mutex_lock(&fixture->lock);
    wait_until_locked(fixture, &fixture->n_answered, fixture->n_asked, "answers");
}

void wait_for_event(struct fixture *fixture, enum mm_pool_event event, size_t n)
{
    (void)pthread_mutex_lock(&fixture->lock);
    wait_until_locked(fixture, &fixture->n_events[event], n, "events");
}

void wait_for_ready(struct fixture *fixture, size_t n)
{
    int64_t until = mm_deadline_after_ms(PATIENCE_MS);
    while (mm_pool_state(fixture->pool).n_ready < n) {
        if (mm_monotonic_ns() > until)
            fail_msg("%zu workers aren't ready", n);
        sleep_ms(2);
    }
}

size_t count_answers(struct fixture *fixture, int state, enum mm_code code)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&fixture->lock);
    for (size_t i = 0; i < fixture->n_asked; i++)
        n += (int)fixture->answers[i].state == state && fixture->answers[i].code == code;
    (void)pthread_mutex_unlock(&fixture->lock);
    return n;
}

size_t n_starts(const struct fixture *fixture)
{
    char path[160];
    struct stat info;
    (void)snprintf(path, sizeof path, "%s.count", fixture->file);
    return stat(path, &info) == 0 ? (size_t)info.st_size : 0;
}

char *read_log(const struct fixture *fixture)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s.log", fixture->file);
    struct mm_buffer text = mm_buffer_make(1024 * 1024);
    assert_true(mm_file_read(path, &text, NULL));
    return (char *)text.data;
}

size_t count_log(const struct fixture *fixture, const char *prefix)
{
    size_t n = 0;
    char *log = read_log(fixture);
    char *rest = NULL;
    for (char *line = strtok_r(log, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        n += strncmp(line, prefix, strlen(prefix)) == 0;
    free(log);
    return n;
}
