/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/answer.h"
#include "client/https.h"
#include "client/oidc_token.h"
#include "client/retry.h"
#include "client/service_token.h"
#include "util/clock.h"

enum {
    TIMEOUT_MAX_MS = 24 * 3600 * 1000,
    DEFAULT_ATTEMPTS = 5,
    ATTEMPTS_MAX = 100,
    FIRST_DELAY_MS = 200,
    MOST_DELAY_MS = 10000,
};

static const int64_t RETRY_AFTER_MAX_S = 86400;

/* Immutable after opening. */
struct mm_client {
    char *url; /* of the endpoint */
    char *ca_file;
    char *certificate_file;
    char *key_file;
    char *oidc_token_file;
    bool (*oidc_token)(void *context, int64_t timeout_ms, char *ret_token, size_t size, struct mm_error *err);
    struct mm_secret *key_passphrase;
    int64_t connect_timeout_ms;
    int64_t total_timeout_ms;
    unsigned max_attempts;
    void (*on_failure)(void *context, const struct mm_client_failure *failure);
    void *context;
};

/* How long a struct that ended with `member` is: what the first version of this library knew. */
#define SIZE_THROUGH(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))

/*
 * Copy a struct that begins with its size, as the caller's header has it: what an older one lacks is zero, what a newer one adds must
 * be (compare openat2(2)).
 */
static bool take_struct(void *own, size_t own_size, size_t least, const void *given, struct mm_error *err)
{
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size < least || size > 4096)
        return mm_fail(err, MM_USAGE, "a struct's size member isn't set to its size");
    for (size_t i = own_size; i < size; i++)
        if (((const char *)given)[i])
            return mm_fail(err, MM_USAGE, "a member is set that libmintmark " MM_CLIENT_VERSION " doesn't know");
    memset(own, 0, own_size);
    memcpy(own, given, size < own_size ? size : own_size);
    return true;
}

unsigned mm_client_version(void)
{
    return MM_CLIENT_VERSION_NUMBER;
}

static bool check_options(const struct mm_client_options *options, struct mm_error *err)
{
    if (!options->url)
        return mm_fail(err, MM_USAGE, "url is needed");
    if (!options->certificate_file && !options->oidc_token_file && !options->oidc_token)
        return mm_fail(err, MM_USAGE, "certificate_file and key_file, or an OIDC token, are needed");
    if (options->oidc_token_file && options->oidc_token)
        return mm_fail(err, MM_USAGE, "oidc_token_file and oidc_token are two ways to one thing");
    if (options->connect_timeout_ms < 0 || options->connect_timeout_ms > TIMEOUT_MAX_MS ||
        options->total_timeout_ms < 0 || options->total_timeout_ms > TIMEOUT_MAX_MS)
        return mm_fail(err, MM_USAGE, "a time-out is negative or longer than a day");
    if (options->max_attempts > ATTEMPTS_MAX)
        return mm_fail(err, MM_USAGE, "max_attempts is more than %d", ATTEMPTS_MAX);
    return mm_https_check_url(options->url, MM_HTTPS_SERVER, err);
}

static bool copy_string(const char *text, char **ret_copy)
{
    *ret_copy = text ? strdup(text) : NULL;
    return *ret_copy || !text;
}

static bool copy_options(struct mm_client *client, const struct mm_client_options *options, struct mm_error *err)
{
    bool has_slash = options->url[strlen(options->url) - 1] == '/';
    if (asprintf(&client->url, "%s%sv1/service-tokens", options->url, has_slash ? "" : "/") < 0)
        client->url = NULL;
    if (!client->url || !copy_string(options->ca_file, &client->ca_file) ||
        !copy_string(options->certificate_file, &client->certificate_file) ||
        !copy_string(options->key_file, &client->key_file) ||
        !copy_string(options->oidc_token_file, &client->oidc_token_file))
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    client->connect_timeout_ms =
        options->connect_timeout_ms ? options->connect_timeout_ms : MM_HTTPS_CONNECT_TIMEOUT_MS;
    client->total_timeout_ms = options->total_timeout_ms ? options->total_timeout_ms : MM_HTTPS_TOTAL_TIMEOUT_MS;
    client->max_attempts = options->max_attempts ? options->max_attempts : DEFAULT_ATTEMPTS;
    client->oidc_token = options->oidc_token;
    client->on_failure = options->on_failure;
    client->context = options->context;
    if (options->key_passphrase)
        client->key_passphrase = mm_secret_new(options->key_passphrase, strlen(options->key_passphrase), err);
    return client->key_passphrase || !options->key_passphrase;
}

static int64_t milliseconds_until(int64_t deadline_ns)
{
    return (deadline_ns - mm_monotonic_ns()) / 1000000;
}

/* libcurl takes 0 for no time-out at all. */
static int64_t timeout_until(int64_t deadline_ns)
{
    int64_t left_ms = milliseconds_until(deadline_ns);
    return left_ms > 0 ? left_ms : 1;
}

static bool ask_program(const struct mm_client *client, int64_t deadline_ns, struct mm_oidc_token *token,
                        struct mm_error *err)
{
    struct mm_error why = {0};
    size_t size = sizeof token->text;
    if (!client->oidc_token(client->context, timeout_until(deadline_ns), token->text, size, &why)) {
        why.message[sizeof why.message - 1] = '\0';
        return mm_fail(err, why.code ? why.code : MM_USAGE, "%s", why.message[0] ? why.message : "no OIDC token");
    }
    token->text[size - 1] = '\0';
    return mm_is_compact_jwt(token->text) ||
           mm_fail(err, MM_USAGE, "what the program gave for its OIDC token is no JWT");
}

/* The token for one attempt; NULL in `ret_token` if the client has none. */
static bool get_oidc_token(const struct mm_client *client, int64_t deadline_ns, struct mm_oidc_token **ret_token,
                           struct mm_error *err)
{
    if (!client->oidc_token_file && !client->oidc_token)
        return true;
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = mm_oidc_token_new(err);
    if (!token || !(client->oidc_token_file ? mm_oidc_token_from_file(client->oidc_token_file, token, err)
                                            : ask_program(client, deadline_ns, token, err)))
        return false;
    *ret_token = MM_TAKE(token);
    return true;
}

static struct mm_https *connect_https(const struct mm_client *client, const struct mm_call *call, const char *bearer,
                                      int64_t timeout_ms, struct mm_error *err)
{
    struct mm_https_options options = {
        .ca_file = client->ca_file,
        .certificate_file = client->certificate_file,
        .key_file = client->key_file,
        .key_passphrase = client->key_passphrase,
        .bearer = bearer,
        .connect_timeout_ms = client->connect_timeout_ms,
        .total_timeout_ms = timeout_ms,
        .body_max = MM_CLIENT_BODY_MAX,
        .is_cancelled = call->is_cancelled,
        .context = call->context,
    };
    return mm_https_new(&options, err);
}

struct mm_client *mm_client_open(const struct mm_client_options *options, struct mm_error *err)
{
    static const struct mm_call NO_CALL = {0};
    struct mm_client_options own;
    mm_error_clear(err);
    if (!take_struct(&own, sizeof own, SIZE_THROUGH(struct mm_client_options, context), options, err) ||
        !check_options(&own, err))
        return NULL;
    mm_cleanup(mm_client_close) struct mm_client *client = calloc(1, sizeof *client);
    if (!client) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!copy_options(client, &own, err))
        return NULL;
    /* Each attempt makes one of its own, and reads the token anew; this only finds out now what can't work. */
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = NULL;
    if (client->oidc_token_file && !get_oidc_token(client, 0, &token, err))
        return NULL;
    mm_cleanup(mm_https_free) struct mm_https *trial =
        connect_https(client, &NO_CALL, NULL, client->total_timeout_ms, err);
    return trial ? MM_TAKE(client) : NULL;
}

void mm_client_close(struct mm_client *client)
{
    if (!client)
        return;
    free(client->url);
    free(client->ca_file);
    free(client->certificate_file);
    free(client->key_file);
    free(client->oidc_token_file);
    mm_secret_free(client->key_passphrase);
    free(client);
}

int64_t mm_client_total_timeout_ms(const struct mm_client *client)
{
    return client->total_timeout_ms;
}

/* After a json_pack() that failed. */
static bool fail_text(const char *reason, struct mm_error *err)
{
    return errno == ENOMEM ? mm_fail(err, MM_NO_MEMORY, "out of memory") : mm_fail(err, MM_USAGE, "%s", reason);
}

static json_t *list_scopes(const struct mm_client_request *request, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *scopes = json_array();
    for (size_t i = 0; i < request->n_scopes; i++) {
        json_t *scope = json_pack("s", request->scopes[i]);
        if (!scope)
            (void)fail_text("a scope is missing or not UTF-8", err);
        if (!scope || !mm_json_append(scopes, scope, err))
            return NULL;
    }
    return MM_TAKE(scopes);
}

json_t *mm_client_request_body(const struct mm_client_request *request, struct mm_error *err)
{
    struct mm_client_request own;
    if (!take_struct(&own, sizeof own, SIZE_THROUGH(struct mm_client_request, ttl_seconds), request, err))
        return NULL;
    if (!own.tenant_id || !own.scopes || !own.n_scopes || own.n_scopes > MM_CLIENT_SCOPES_MAX || own.ttl_seconds < 0) {
        (void)mm_fail(err, MM_USAGE, "a request needs a tenant, 1 to %d scopes and no negative ttl_seconds",
                      MM_CLIENT_SCOPES_MAX);
        return NULL;
    }
    json_t *scopes = list_scopes(&own, err);
    if (!scopes)
        return NULL;
    mm_cleanup(json_decref) json_t *body = json_pack("{s:s, s:o, s:s*, s:s*}", "tenant_id", own.tenant_id, "scopes",
                                                     scopes, "resource_id", own.resource_id, "audience", own.audience);
    if (!body) {
        (void)fail_text("a member of the request isn't UTF-8", err);
        return NULL;
    }
    if ((own.ttl_seconds && json_object_set_new(body, "ttl_seconds", json_integer(own.ttl_seconds)) != 0) ||
        (own.certificate_bound && json_object_set_new(body, "certificate_bound", json_true()) != 0)) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return MM_TAKE(body);
}

/* What came of one attempt that brought no token. */
struct outcome {
    unsigned status; /* 0: no answer */
    bool may_repeat; /* no token can have been issued */
    int64_t retry_after_ms;
    struct mm_refusal refusal;
    struct mm_error error;
};

static void outcome_clear_cleanup(struct outcome *outcome)
{
    mm_refusal_clear(&outcome->refusal);
}

static bool attempt(const struct mm_client *client, const struct mm_call *call, const json_t *body, int64_t deadline_ns,
                    struct mm_service_token **ret_token, struct outcome *outcome)
{
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *bearer = NULL;
    mm_cleanup(free) char *text = mm_json_compact(body, &outcome->error);
    if (!text || !get_oidc_token(client, deadline_ns, &bearer, &outcome->error))
        return false;
    mm_cleanup(mm_https_free) struct mm_https *https =
        connect_https(client, call, bearer ? bearer->text : NULL, timeout_until(deadline_ns), &outcome->error);
    mm_cleanup(mm_https_response_clear) struct mm_https_response answer = {0};
    if (!https)
        return false;
    if (!mm_https_post_json(https, client->url, text, &answer, &outcome->error)) {
        outcome->may_repeat = mm_https_is_unsent(https);
        return false;
    }
    outcome->status = answer.status;
    outcome->may_repeat = mm_answer_is_unserved(answer.status);
    int64_t retry_after =
        answer.retry_after_seconds < RETRY_AFTER_MAX_S ? answer.retry_after_seconds : RETRY_AFTER_MAX_S;
    outcome->retry_after_ms = outcome->may_repeat ? retry_after * 1000 : 0;
    struct mm_service_token *token = mm_answer_read(&answer, body, &outcome->refusal, &outcome->error);
    if (token)
        *ret_token = token;
    return token != NULL;
}

static void tell(const struct mm_client *client, const struct outcome *outcome, unsigned number, int64_t retry_in_ms)
{
    if (!client->on_failure)
        return;
    struct mm_client_failure failure = {
        .error = &outcome->error,
        .attempt = number,
        .status = outcome->status,
        .code = outcome->refusal.code,
        .detail = outcome->refusal.detail,
        .request_id = outcome->refusal.request_id,
        .retry_in_ms = retry_in_ms,
    };
    client->on_failure(client->context, &failure);
}

bool mm_client_call(const struct mm_client *client, const json_t *body, const struct mm_call *call,
                    struct mm_service_token **ret_token, int64_t *ret_retry_after_ms, struct mm_error *err)
{
    int64_t deadline_ns = mm_deadline_after_ms(client->total_timeout_ms);
    for (unsigned n = 1;; n++) {
        mm_cleanup(outcome_clear) struct outcome outcome = {0};
        if (attempt(client, call, body, deadline_ns, ret_token, &outcome))
            return true;
        int64_t delay_ms = mm_retry_delay_ms(call->random, n, outcome.retry_after_ms, FIRST_DELAY_MS, MOST_DELAY_MS);
        bool is_last = !outcome.may_repeat || n >= client->max_attempts || delay_ms >= milliseconds_until(deadline_ns);
        tell(client, &outcome, n, is_last ? -1 : delay_ms);
        if (is_last || !call->wait(call->context, delay_ms)) {
            *ret_retry_after_ms = outcome.retry_after_ms;
            return mm_fail(err, outcome.error.code, "%s", outcome.error.message);
        }
    }
}

static bool sleep_for(void *context, int64_t milliseconds)
{
    (void)context;
    struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(milliseconds));
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
    return true;
}

bool mm_client_issue_service_token(const struct mm_client *client, const struct mm_client_request *request,
                                   struct mm_service_token **ret_token, struct mm_error *err)
{
    static const struct mm_call CALL = {.wait = sleep_for, .random = &MM_SYSTEM_RANDOM};
    int64_t retry_after_ms;
    mm_error_clear(err);
    mm_cleanup(json_decref) json_t *body = mm_client_request_body(request, err);
    return body && mm_client_call(client, body, &CALL, ret_token, &retry_after_ms, err);
}
