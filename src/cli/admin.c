/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <stdio.h>
#include <string.h>

#include "cli/pin.h"
#include "cli/problems.h"
#include "client/answer.h"
#include "client/local.h"
#include "crypto/pubkey.h"

struct mm_cli_service {
    char *socket;                      /* or, NULL: */
    char url[MM_HTTPS_SERVER_MAX + 1]; /* without a slash at its end */
    struct mm_https_options https;
    struct mm_secret *key_passphrase;
};

void mm_cli_service_free(struct mm_cli_service *service)
{
    if (!service)
        return;
    mm_secret_free(service->key_passphrase);
    free(service->socket);
    free(service);
}

static bool find_socket(struct mm_cli *cli, struct mm_cli_service *service, struct mm_error *err)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    service->socket = cli->socket ? strdup(cli->socket) : mm_config_find_admin(cli->config_file, &problems);
    if (service->socket)
        return true;
    if (cli->socket)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (problems.n_errors == 0)
        return mm_fail(err, MM_CONFIG_INVALID,
                       "%s: no ‹unix› in ‹admin› says where the service's admin listener is; --admin-url can",
                       cli->config_file);
    mm_cli_print_problems(cli, &problems);
    return mm_cli_fail_with_problems(cli, cli->config_file, &problems, err);
}

static bool use_url(const struct mm_cli *cli, struct mm_cli_service *service, struct mm_error *err)
{
    const char *url = cli->admin.url;
    if (cli->socket)
        return mm_fail(err, MM_USAGE, "--socket and --admin-url exclude each other");
    if (!mm_option_require("--cert", cli->admin.certificate_file, err) ||
        !mm_option_require("--key", cli->admin.key_file, err) || !mm_https_check_url(url, MM_HTTPS_SERVER, err))
        return false;
    if (cli->admin.key_passphrase_file) {
        service->key_passphrase = mm_pin_from_file(cli->admin.key_passphrase_file, err);
        if (!service->key_passphrase)
            return false;
    }
    size_t length = strlen(url);
    (void)snprintf(service->url, sizeof service->url, "%.*s", (int)(url[length - 1] == '/' ? length - 1 : length), url);
    service->https = (struct mm_https_options){
        .ca_file = cli->admin.ca_file,
        .certificate_file = cli->admin.certificate_file,
        .key_file = cli->admin.key_file,
        .key_passphrase = service->key_passphrase,
        .body_max = MM_LOCAL_BODY_MAX,
    };
    return true;
}

struct mm_cli_service *mm_cli_service_find(struct mm_cli *cli, struct mm_error *err)
{
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = calloc(1, sizeof *service);
    if (!service) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!cli->admin.url &&
        (cli->admin.certificate_file || cli->admin.key_file || cli->admin.key_passphrase_file || cli->admin.ca_file)) {
        (void)mm_fail(err, MM_USAGE, "--cert, --key, --key-passphrase-file and --ca go with --admin-url");
        return NULL;
    }
    return (cli->admin.url ? use_url(cli, service, err) : find_socket(cli, service, err)) ? MM_TAKE(service) : NULL;
}

void mm_cli_service_print_problems(const json_t *problems)
{
    for (size_t i = 0; i < json_array_size(problems); i++) {
        const json_t *item = json_array_get(problems, i);
        const char *severity = mm_json_string(item, "severity");
        const char *file = mm_json_string(item, "file");
        const char *detail = mm_json_string(item, "detail");
        /* Without a file it is about the request, of which the pointer says where. */
        const char *place = file && *file ? file : mm_json_string(item, "pointer");
        mm_print_text(stderr, place ? place : "");
        if (mm_json_integer(item, "line", 0) > 0)
            (void)fprintf(stderr, ":%lld", (long long)mm_json_integer(item, "line", 0));
        (void)fputs(severity && strcmp(severity, "warning") == 0 ? ": warning: " : ": ", stderr);
        mm_print_text(stderr, detail ? detail : "?");
        (void)fputc('\n', stderr);
    }
}

static bool take_refusal(struct mm_cli *cli, const struct mm_https_response *answer, struct mm_error *err)
{
    mm_cleanup(mm_refusal_clear) struct mm_refusal refusal = {0};
    bool ok = mm_answer_refused(answer, "what was asked for", &refusal, err);
    const json_t *errors = json_object_get(refusal.document, "errors");
    if (cli->form == MM_FORM_HUMAN)
        mm_cli_service_print_problems(errors);
    json_decref(cli->failure);
    cli->failure = refusal.code
                       ? json_pack("{s:s, s:s*, s:s*, s:i, s:O*}", "code", refusal.code, "detail", refusal.detail,
                                   "request_id", refusal.request_id, "status", (int)answer->status, "errors", errors)
                       : NULL;
    return ok;
}

/*
 * A rotation whose key is yet to be generated takes the longest. Workers start four times: another's, which is waited for, the one that makes
 * the key, and two to vet it. A device takes a minute over the key, other changes are waited for before each step, and each is recorded.
 */
enum { CHANGE_STARTS = 4, CHANGE_REST_S = 720, START_S = 60 /* the profile `generic` */ };

int64_t mm_cli_service_change_ms(const struct mm_config *config)
{
    int64_t start = config ? 0 : START_S;
    for (size_t i = 0; config && i < config->n_hsm_tokens; i++)
        if (config->hsm_tokens[i].start_timeout > start)
            start = config->hsm_tokens[i].start_timeout;
    return (CHANGE_STARTS * start + CHANGE_REST_S) * 1000;
}

/* The configuration of this machine says nothing of a service somewhere else; whatever is wrong with it is others' business. */
static int64_t choose_patience(const struct mm_cli *cli, const char *method)
{
    if (cli->patience_ms > 0)
        return cli->patience_ms;
    if (strcmp(method, "GET") == 0)
        return MM_ADMIN_LOOK_MS;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config =
        cli->admin.url || !cli->config_file ? NULL : mm_config_load_service(cli->config_file, &problems);
    return mm_cli_service_change_ms(config);
}

static bool call_https(const struct mm_cli_service *service, const struct mm_local_request *request,
                       struct mm_https_response *ret_answer, struct mm_error *err)
{
    char url[MM_HTTPS_URL_MAX + 1];
    struct mm_https_options options = service->https;
    options.total_timeout_ms = request->timeout_ms;
    mm_cleanup(mm_https_free) struct mm_https *https = mm_https_new(&options, err);
    if (!https)
        return false;
    (void)snprintf(url, sizeof url, "%s%s", service->url, request->path);
    struct mm_error why = {0};
    if (strcmp(request->method, "GET") == 0
            ? mm_https_get(https, url, ret_answer, &why)
            : mm_https_post_json(https, url, request->body ? request->body : "", ret_answer, &why))
        return true;
    if (mm_https_is_unanswered(https))
        return mm_fail(err, MM_DEADLINE_EXCEEDED, "%.200s: no answer within %lld s", url,
                       (long long)request->timeout_ms / 1000);
    return mm_fail(err, why.code, "%s", why.message);
}

/* Who gives up on a change has not stopped it. */
static bool call(const struct mm_cli_service *service, const struct mm_local_request *request,
                 struct mm_https_response *ret_answer, struct mm_error *err)
{
    struct mm_error why = {0};
    if (service->socket ? mm_local_call(request, ret_answer, &why) : call_https(service, request, ret_answer, &why))
        return true;
    if (why.code != MM_DEADLINE_EXCEEDED)
        return mm_fail(err, why.code, "%s", why.message);
    if (strcmp(request->method, "GET") == 0)
        return mm_fail(err, MM_UNREACHABLE, "%s", why.message);
    return mm_fail(err, MM_DEADLINE_EXCEEDED,
                   "%s: whether it was done isn't known, and it may still go on; mintmark status shows it",
                   why.message);
}

bool mm_cli_service_call(struct mm_cli *cli, struct mm_cli_service *service, const char *method, const char *path,
                         const json_t *body, json_t **ret_answer, struct mm_error *err)
{
    mm_cleanup(free) char *text = body ? mm_json_compact(body, err) : NULL;
    if (body && !text)
        return false;
    const struct mm_local_request request = {
        .socket = service->socket,
        .method = method,
        .path = path,
        .body = text,
        .timeout_ms = choose_patience(cli, method),
    };
    mm_cleanup(mm_https_response_clear) struct mm_https_response answer = {0};
    if (!call(service, &request, &answer, err))
        return false;
    if (answer.status < 200 || answer.status > 299 || strcmp(answer.content_type, "application/json") != 0)
        return take_refusal(cli, &answer, err);
    *ret_answer = mm_json_parse(answer.body.data, answer.body.length, err);
    return *ret_answer != NULL;
}

/* It becomes part of the request's path. */
static bool check_kid(const char *kid, struct mm_error *err)
{
    return mm_thumbprint_is_valid(kid, strlen(kid)) ||
           mm_fail(err, MM_USAGE, "--kid is a key's thumbprint, %d characters (see mintmark key list)",
                   MM_THUMBPRINT_LENGTH);
}

bool mm_cli_service_order(struct mm_cli *cli, struct mm_cli_service *service, const char *change, json_t **ret_answer,
                          struct mm_error *err)
{
    if (!check_kid(cli->kid, err))
        return false;
    char path[128];
    mm_cleanup(json_decref) json_t *body = json_pack("{s:s*}", "reason", cli->reason);
    (void)snprintf(path, sizeof path, "/v1/keys/%s/%s", cli->kid, change);
    return body ? mm_cli_service_call(cli, service, "POST", path, body, ret_answer, err)
                : mm_fail(err, MM_USAGE, "--reason isn't UTF-8");
}

const json_t *mm_cli_service_key(const json_t *answer, const char *kid)
{
    const json_t *keys = json_object_get(answer, "keys");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        const char *its_kid = mm_json_string(key, "kid");
        if (its_kid && strcmp(its_kid, kid) == 0)
            return key;
    }
    return NULL;
}
