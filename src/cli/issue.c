/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark issue`: ask a running service for a token with a client certificate.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/describe.h"
#include "client/http.h"
#include "policy/decide.h"
#include "token/jws.h"
#include "util/clock.h"

const char MM_ISSUE_HELP[] =
    "Usage: mintmark issue --url URL --cert FILE --key FILE --tenant ID --scope SCOPE [options]\n"
    "\n"
    "Ask a running service for a token. On a terminal: what the token allows, then the token. Otherwise the token\n"
    "alone, so that it can be stored or piped; with --json the service's whole answer.\n"
    "\n"
    "  --url URL              the service, e.g. https://mint.example.com\n"
    "  --cert FILE            client certificate, PEM, with its chain\n"
    "  --key FILE             its key, PEM\n"
    "  --ca FILE              CA of the service's certificate, PEM (default: the machine's CAs)\n"
    "  --tenant ID            tenant to act in\n"
    "  --scope SCOPE          action:kind, e.g. read:repo; repeat it or separate by commas\n"
    "  --resource ID          narrow the token to one resource (default: all that the grant names)\n"
    "  --ttl TIME             lifetime, e.g. 10m (default: the grant's own)\n"
    "  --audience NAME        narrow the token to one audience (default: all of the tenant's)\n"
    "  --request-timeout TIME give up after so long (default: 30s)\n"
    "  --json                 the answer, and errors, as JSON\n"
    "\n"
    "Exit status: 0 a token was issued, 8 the service refused (its code and request id are shown), 7 it can't be\n"
    "reached, 4 its HSM is unavailable, 6 its ledger is, 1 any other failure of the service, 2 the command line.\n"
    "\n"
    "Example:\n"
    "  mintmark issue --url https://localhost:8443 --ca ca.pem --cert ci-build.pem --key ci-build.key \\\n"
    "      --tenant acme --scope read:repo,read:blob --ttl 10m\n";

struct issue_options {
    const char *url;
    const char *tenant;
    const char *resource;
    const char *audience;
    json_t *scopes; /* array of strings */
    int64_t ttl;    /* seconds; 0: not given */
    struct mm_http_options http;
};

static void issue_options_clear_cleanup(struct issue_options *options)
{
    json_decref(options->scopes);
}

/* `read:repo,read:blob`: add each to `scopes`. */
static bool add_scopes(json_t *scopes, const char *text, struct mm_error *err)
{
    for (;;) {
        size_t length = strcspn(text, ",");
        if (length == 0 || length > MM_SCOPE_LENGTH_MAX)
            return mm_fail(err, MM_USAGE, "--scope is action:kind, e.g. read:repo");
        if (json_array_size(scopes) == MM_SCOPES_MAX)
            return mm_fail(err, MM_USAGE, "more than %d scopes", MM_SCOPES_MAX);
        if (json_array_append_new(scopes, json_stringn(text, length)) != 0)
            return mm_fail(err, MM_USAGE, "--scope isn't UTF-8");
        text += length;
        if (!*text)
            return true;
        text++;
    }
}

enum { URL = MM_OPTION_FIRST, CA, CERT, KEY, TENANT, SCOPE, RESOURCE, TTL, AUDIENCE, TIMEOUT };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    {"url", required_argument, NULL, URL},
    {"ca", required_argument, NULL, CA},
    {"cert", required_argument, NULL, CERT},
    {"key", required_argument, NULL, KEY},
    {"tenant", required_argument, NULL, TENANT},
    {"scope", required_argument, NULL, SCOPE},
    {"resource", required_argument, NULL, RESOURCE},
    {"ttl", required_argument, NULL, TTL},
    {"audience", required_argument, NULL, AUDIENCE},
    {"request-timeout", required_argument, NULL, TIMEOUT},
    {0},
};

static bool take_option(struct issue_options *options, int option, struct mm_error *err)
{
    int64_t seconds = 0;
    switch (option) {
    case URL:
        options->url = optarg;
        return true;
    case CA:
        options->http.ca_file = optarg;
        return true;
    case CERT:
        options->http.certificate_file = optarg;
        return true;
    case KEY:
        options->http.key_file = optarg;
        return true;
    case TENANT:
        options->tenant = optarg;
        return true;
    case RESOURCE:
        options->resource = optarg;
        return true;
    case AUDIENCE:
        options->audience = optarg;
        return true;
    case SCOPE:
        return add_scopes(options->scopes, optarg, err);
    case TTL:
        return mm_option_duration("--ttl", optarg, &options->ttl, err);
    default:
        if (!mm_option_duration("--request-timeout", optarg, &seconds, err))
            return false;
        options->http.total_timeout_ms = seconds * 1000;
        return true;
    }
}

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct issue_options *options, struct mm_error *err)
{
    options->scopes = json_array();
    if (!options->scopes)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0)
        if (!take_option(options, option, err))
            return false;
    if (option == MM_OPTION_WRONG || !mm_option_require("--url", options->url, err) ||
        !mm_option_require("--cert", options->http.certificate_file, err) ||
        !mm_option_require("--key", options->http.key_file, err) ||
        !mm_option_require("--tenant", options->tenant, err))
        return false;
    return mm_option_require("--scope", json_array_size(options->scopes) ? "" : NULL, err);
}

/* The request's body; members that weren't given are left out. The caller frees it. */
static char *request_body(const struct issue_options *options, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *body =
        json_pack("{s:s, s:O, s:s*, s:s*}", "tenant_id", options->tenant, "scopes", options->scopes, "resource_id",
                  options->resource, "audience", options->audience);
    if (!body) {
        (void)mm_fail(err, MM_USAGE, "an option's value isn't UTF-8");
        return NULL;
    }
    if (options->ttl && json_object_set_new(body, "ttl_seconds", json_integer(options->ttl)) != 0) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return mm_json_compact(body, err);
}

/* The code of the table that a problem document names; one we don't know (a newer service's) by its HTTP status. */
static enum mm_code code_of_problem(const char *name, unsigned status)
{
    static const enum mm_code CODES[] = {
#define CODE_SYMBOL(symbol, number, wire, http, exit_status) symbol,
        MM_ERROR_TABLE(CODE_SYMBOL)
#undef CODE_SYMBOL
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CODES); i++)
        if (strcmp(mm_code_name(CODES[i]), name) == 0 && mm_code_http_status(CODES[i]) == status)
            return CODES[i];
    return status < 500 ? MM_INVALID_REQUEST : MM_INTERNAL;
}

/* Turn an answer that isn't a token into an error: `code: detail (request id)`. */
static bool fail_with_answer(struct mm_cli *cli, const struct mm_http_response *answer, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *problem = mm_json_parse(answer->body.data, answer->body.length, NULL);
    const char *code = mm_json_string(problem, "code");
    const char *detail = mm_json_string(problem, "detail");
    const char *request_id = mm_json_string(problem, "request_id");
    bool is_refusal = answer->status >= 400 && answer->status < 500;
    if (!code || answer->status < 400)
        return mm_fail(err, is_refusal ? MM_INVALID_REQUEST : MM_UNREACHABLE,
                       "answered %u without a problem document: is this a Mintmark service?", answer->status);
    cli->failure = json_pack("{s:s, s:s*, s:s*, s:i}", "code", code, "detail", detail, "request_id", request_id,
                             "status", (int)answer->status);
    return mm_fail(err, code_of_problem(code, answer->status), "%s: %s (request %s)", code,
                   detail ? detail : "no detail", request_id ? request_id : "without an id");
}

static void print_issued(const json_t *answer, const struct mm_jws *jws, const char *jwt)
{
    (void)fputs("Issued: ", stdout);
    mm_describe_claims(stdout, jws->payload, mm_clock_now(&MM_SYSTEM_CLOCK));
    (void)fputs(".\nToken id ", stdout);
    const char *id = mm_json_string(answer, "token_id");
    mm_print_text(stdout, id ? id : "missing");
    (void)printf(". Whoever holds what follows can use it:\n\n%s\n", jwt);
}

static bool show_token(const struct mm_cli *cli, const struct mm_http_response *response, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *answer = mm_json_parse(response->body.data, response->body.length, NULL);
    const char *jwt = mm_json_string(answer, "service_token");
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    if (!jwt || !mm_jws_parse(jwt, &jws, NULL))
        return mm_fail(err, MM_UNREACHABLE, "the answer holds no token: is this a Mintmark service?");
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    if (isatty(STDOUT_FILENO))
        print_issued(answer, &jws, jwt);
    else
        (void)printf("%s\n", jwt);
    return true;
}

bool mm_verb_issue(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    mm_cleanup(issue_options_clear) struct issue_options options = {0};
    if (!read_options(cli, argc, argv, &options, err))
        return false;

    mm_cleanup(free) char *url = NULL;
    int url_length = (int)strlen(options.url);
    while (url_length > 0 && options.url[url_length - 1] == '/')
        url_length--;
    if (asprintf(&url, "%.*s/v1/service-tokens", url_length, options.url) < 0)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");

    mm_cleanup(free) char *body = request_body(&options, err);
    mm_cleanup(mm_http_free) struct mm_http *http = body ? mm_http_new(&options.http, err) : NULL;
    mm_cleanup(mm_http_response_clear) struct mm_http_response response = {0};
    if (!http || !mm_http_post_json(http, url, body, &response, err))
        return false;
    return response.status == 201 ? show_token(cli, &response, err) : fail_with_answer(cli, &response, err);
}
