/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark issue`: ask a running service for a token with a client certificate.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/describe.h"
#include "cli/pin.h"
#include "client/client.h"
#include "client/service_token.h"
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
    "  --key-passphrase-file FILE  what the key is encrypted with (default: it isn't)\n"
    "  --ca FILE              CA of the service's certificate, PEM (default: the machine's CAs)\n"
    "  --tenant ID            tenant to act in\n"
    "  --scope SCOPE          action:kind, e.g. read:repo; repeat it or separate by commas\n"
    "  --resource ID          narrow the token to one resource (default: all that the grant names)\n"
    "  --ttl TIME             lifetime, e.g. 10m (default: the grant's own)\n"
    "  --audience NAME        narrow the token to one audience (default: all of the tenant's)\n"
    "  --request-timeout TIME give up after so long, retries included (default: 30s)\n"
    "  --json                 the answer, and errors, as JSON\n"
    "\n"
    "A service that can't be connected to or answers 503 or 429 is asked up to five times, with pauses in between.\n"
    "\n"
    "Exit status: 0 a token was issued, 8 the service refused (its code and request id are shown), 7 it can't be\n"
    "reached, 4 its HSM is unavailable, 6 its ledger is, 1 any other failure of the service, 2 the command line.\n"
    "\n"
    "Example:\n"
    "  mintmark issue --url https://localhost:8443 --ca ca.pem --cert ci-build.pem --key ci-build.key \\\n"
    "      --tenant acme --scope read:repo,read:blob --ttl 10m\n";

struct issue_options {
    struct mm_client_options client;
    struct mm_client_request request;
    const char *key_passphrase_file;
    char *scopes[MM_CLIENT_SCOPES_MAX];
};

static void issue_options_clear_cleanup(struct issue_options *options)
{
    for (size_t i = 0; i < options->request.n_scopes; i++)
        free(options->scopes[i]);
}

/* `read:repo,read:blob`: add each. */
static bool add_scopes(struct issue_options *options, const char *text, struct mm_error *err)
{
    for (;;) {
        size_t length = strcspn(text, ",");
        if (length == 0)
            return mm_fail(err, MM_USAGE, "--scope is action:kind, e.g. read:repo");
        if (options->request.n_scopes == MM_CLIENT_SCOPES_MAX)
            return mm_fail(err, MM_USAGE, "more than %d scopes", MM_CLIENT_SCOPES_MAX);
        char *scope = strndup(text, length);
        if (!scope)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        options->scopes[options->request.n_scopes++] = scope;
        text += length;
        if (!*text)
            return true;
        text++;
    }
}

enum { URL = MM_OPTION_FIRST, CA, CERT, KEY, PASSPHRASE, TENANT, SCOPE, RESOURCE, TTL, AUDIENCE, TIMEOUT };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    {"url", required_argument, NULL, URL},
    {"ca", required_argument, NULL, CA},
    {"cert", required_argument, NULL, CERT},
    {"key", required_argument, NULL, KEY},
    {"key-passphrase-file", required_argument, NULL, PASSPHRASE},
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
        options->client.url = optarg;
        return true;
    case CA:
        options->client.ca_file = optarg;
        return true;
    case CERT:
        options->client.certificate_file = optarg;
        return true;
    case KEY:
        options->client.key_file = optarg;
        return true;
    case PASSPHRASE:
        options->key_passphrase_file = optarg;
        return true;
    case TENANT:
        options->request.tenant_id = optarg;
        return true;
    case RESOURCE:
        options->request.resource_id = optarg;
        return true;
    case AUDIENCE:
        options->request.audience = optarg;
        return true;
    case SCOPE:
        return add_scopes(options, optarg, err);
    case TTL:
        return mm_option_duration("--ttl", optarg, &options->request.ttl_seconds, err);
    default:
        if (!mm_option_duration("--request-timeout", optarg, &seconds, err))
            return false;
        options->client.total_timeout_ms = seconds * 1000;
        return true;
    }
}

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct issue_options *options, struct mm_error *err)
{
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0)
        if (!take_option(options, option, err))
            return false;
    if (option == MM_OPTION_WRONG || !mm_option_require("--url", options->client.url, err) ||
        !mm_option_require("--cert", options->client.certificate_file, err) ||
        !mm_option_require("--key", options->client.key_file, err) ||
        !mm_option_require("--tenant", options->request.tenant_id, err))
        return false;
    options->request.scopes = (const char *const *)options->scopes;
    return mm_option_require("--scope", options->scopes[0], err);
}

/* Keep what the last attempt's problem document said, for the JSON form of the failure. */
static void note_failure(void *context, const struct mm_client_failure *failure)
{
    struct mm_cli *cli = context;
    json_decref(cli->failure);
    cli->failure = failure->code ? json_pack("{s:s, s:s*, s:s*, s:i}", "code", failure->code, "detail", failure->detail,
                                             "request_id", failure->request_id, "status", (int)failure->status)
                                 : NULL;
}

static void print_issued(const struct mm_service_token *token, const json_t *claims)
{
    (void)fputs("Issued: ", stdout);
    mm_describe_claims(stdout, claims, mm_clock_now(&MM_SYSTEM_CLOCK));
    (void)fputs(".\nToken id ", stdout);
    mm_print_text(stdout, token->token_id);
    (void)printf(". Whoever holds what follows can use it:\n\n%s\n", token->service_token);
}

static bool show_token(const struct mm_cli *cli, const struct mm_service_token *token, struct mm_error *err)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    if (!mm_jws_parse(token->service_token, &jws, NULL))
        return mm_fail(err, MM_UNREACHABLE, "the answer holds no token: is this a Mintmark service?");
    if (cli->form == MM_FORM_JSON) {
        mm_cleanup(json_decref) json_t *answer = mm_json_parse(token->json, strlen(token->json), err);
        return answer && mm_print_json(stdout, answer, err);
    }
    if (isatty(STDOUT_FILENO))
        print_issued(token, jws.payload);
    else
        (void)printf("%s\n", token->service_token);
    return true;
}

bool mm_verb_issue(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    mm_cleanup(issue_options_clear) struct issue_options options = {
        .client = {.size = sizeof options.client, .on_failure = note_failure, .context = cli},
        .request = {.size = sizeof options.request},
    };
    if (!read_options(cli, argc, argv, &options, err))
        return false;
    mm_cleanup(mm_secret_free) struct mm_secret *passphrase = NULL;
    if (options.key_passphrase_file) {
        passphrase = mm_pin_from_file(options.key_passphrase_file, err);
        if (!passphrase)
            return false;
        options.client.key_passphrase = mm_secret_string(passphrase);
    }
    mm_cleanup(mm_client_close) struct mm_client *client = mm_client_open(&options.client, err);
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = NULL;
    return client && mm_client_issue_service_token(client, &options.request, &token, err) &&
           show_token(cli, token, err);
}
