/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark issue`: ask a running service for a token with a client certificate, or with the OIDC token of the CI platform.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/issue_oidc.h"
#include "cli/issue_output.h"
#include "cli/pin.h"
#include "client/client.h"
#include "client/service_token.h"

const char MM_ISSUE_HELP[] =
    "Usage: mintmark issue --url URL --tenant ID --scope SCOPE --cert FILE --key FILE [options]\n"
    "       mintmark issue --url URL --tenant ID --scope SCOPE --github | --gitlab | --oidc-token-file FILE [options]\n"
    "\n"
    "Ask a running service for a token. On a terminal: what the token allows, then the token. Otherwise the token\n"
    "alone, so that it can be stored or piped.\n"
    "\n"
    "Who asks: a client certificate, the OIDC token of the CI platform, or both.\n"
    "  --cert FILE            client certificate, PEM, with its chain\n"
    "  --key FILE             its key, PEM\n"
    "  --key-passphrase-file FILE  what the key is encrypted with (default: it isn't)\n"
    "  --github               the token that GitHub's runner gives a job with `permissions: id-token: write`\n"
    "  --gitlab[=VARIABLE]    the one in a variable of the job's `id_tokens` (default: MINTMARK_ID_TOKEN)\n"
    "  --oidc-token-file FILE the one in a file, read anew for each attempt, or in a pipe; -: standard input\n"
    "  --oidc-audience NAME   with --github: the token's audience (default: the service's URL)\n"
    "  --oidc-ca FILE         with --github: CA of the runner's server, PEM (default: the machine's CAs)\n"
    "\n"
    "What for:\n"
    "  --url URL              the service, e.g. https://mint.example.com\n"
    "  --ca FILE              CA of the service's certificate, PEM (default: the machine's CAs)\n"
    "  --tenant ID            tenant to act in\n"
    "  --scope SCOPE          action:kind, e.g. read:repo; repeat it or separate by commas\n"
    "  --resource ID          narrow the token to one resource (default: all that the grant names)\n"
    "  --ttl TIME             lifetime, e.g. 10m (default: the grant's own)\n"
    "  --certificate-bound    bind the token to the client certificate (RFC 8705), also where the service doesn't "
    "demand it\n"
    "  --audience NAME        narrow the token to one audience (default: all of the tenant's)\n"
    "  --request-timeout TIME give up after so long, retries included (default: 30s)\n"
    "\n"
    "Where to:\n"
    "  --output env           export MINTMARK_TOKEN=… and MINTMARK_TOKEN_EXPIRES_AT=…, for eval; with --github these\n"
    "                         go to the environment of the job's next steps, and nothing is printed\n"
    "  --output header        Authorization: Bearer …, for curl --header @FILE\n"
    "  --output json          the service's whole answer\n"
    "  --output file PATH     the token in a file of mode 0600, which takes PATH's place as a whole\n"
    "  --json                 errors as JSON, and the answer unless --output says otherwise\n"
    "\n"
    "With --github the runner is told, on standard error, to mask the token in the job's log. On other platforms "
    "nothing\n"
    "masks it: don't print it.\n"
    "\n"
    "A service that can't be connected to or answers 503 or 429 is asked up to five times, with pauses in between.\n"
    "\n"
    "Exit status: 0 a token was issued, 8 the service refused (its code and request id are shown), 7 it can't be\n"
    "reached, 4 its HSM is unavailable, 6 its ledger is, 1 any other failure of the service, 2 the command line.\n"
    "\n"
    "Example:\n"
    "  mintmark issue --url https://localhost:8443 --ca ca.pem --cert ci-build.pem --key ci-build.key \\\n"
    "      --tenant acme --scope read:repo,read:blob --ttl 10m\n"
    "  mintmark issue --url https://mint.example.com --tenant acme --scope read:repo --github --output env\n";

struct issue_options {
    struct mm_client_options client;
    struct mm_client_request request;
    struct mm_issue_oidc oidc;
    struct mm_issue_output output;
    const char *key_passphrase_file;
    char *scopes[MM_CLIENT_SCOPES_MAX];
    struct mm_cli *cli;
};

static void issue_options_clear_cleanup(struct issue_options *options)
{
    for (size_t i = 0; i < options->request.n_scopes; i++)
        free(options->scopes[i]);
    mm_issue_oidc_clear(&options->oidc);
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

enum {
    URL = MM_OPTION_FIRST,
    CA,
    CERT,
    KEY,
    PASSPHRASE,
    GITHUB,
    GITLAB,
    OIDC_FILE,
    OIDC_AUDIENCE,
    OIDC_CA,
    TENANT,
    SCOPE,
    RESOURCE,
    TTL,
    AUDIENCE,
    BOUND,
    TIMEOUT,
    OUTPUT
};

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    {"url", required_argument, NULL, URL},
    {"ca", required_argument, NULL, CA},
    {"cert", required_argument, NULL, CERT},
    {"key", required_argument, NULL, KEY},
    {"key-passphrase-file", required_argument, NULL, PASSPHRASE},
    {"github", no_argument, NULL, GITHUB},
    {"gitlab", optional_argument, NULL, GITLAB},
    {"oidc-token-file", required_argument, NULL, OIDC_FILE},
    {"oidc-audience", required_argument, NULL, OIDC_AUDIENCE},
    {"oidc-ca", required_argument, NULL, OIDC_CA},
    {"tenant", required_argument, NULL, TENANT},
    {"scope", required_argument, NULL, SCOPE},
    {"resource", required_argument, NULL, RESOURCE},
    {"ttl", required_argument, NULL, TTL},
    {"audience", required_argument, NULL, AUDIENCE},
    {"certificate-bound", no_argument, NULL, BOUND},
    {"request-timeout", required_argument, NULL, TIMEOUT},
    {"output", required_argument, NULL, OUTPUT},
    {0},
};

/* Those whose value is taken as it is. */
static bool take_text(struct issue_options *options, int option)
{
    const struct {
        int option;
        const char **ret_value;
    } texts[] = {
        {URL, &options->client.url},
        {CA, &options->client.ca_file},
        {CERT, &options->client.certificate_file},
        {KEY, &options->client.key_file},
        {PASSPHRASE, &options->key_passphrase_file},
        {OIDC_FILE, &options->oidc.file},
        {OIDC_AUDIENCE, &options->oidc.audience},
        {OIDC_CA, &options->oidc.runner_ca},
        {TENANT, &options->request.tenant_id},
        {RESOURCE, &options->request.resource_id},
        {AUDIENCE, &options->request.audience},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(texts); i++) {
        if (option != texts[i].option)
            continue;
        *texts[i].ret_value = optarg;
        return true;
    }
    return false;
}

static bool take_option(struct issue_options *options, int option, struct mm_error *err)
{
    int64_t seconds = 0;
    if (take_text(options, option))
        return true;
    switch (option) {
    case GITHUB:
        options->oidc.is_github = options->output.is_github = true;
        return true;
    case GITLAB:
        options->oidc.variable = optarg ? optarg : MM_GITLAB_VARIABLE;
        return true;
    case OUTPUT:
        return mm_issue_form_parse(optarg, &options->output.form, err);
    case SCOPE:
        return add_scopes(options, optarg, err);
    case BOUND:
        options->request.certificate_bound = true;
        return true;
    case TTL:
        return mm_option_duration("--ttl", optarg, &options->request.ttl_seconds, err);
    default:
        if (!mm_option_duration("--request-timeout", optarg, &seconds, err))
            return false;
        options->client.total_timeout_ms = seconds * 1000;
        return true;
    }
}

/* A client certificate, or the platform's token, or both. */
static bool check_credential(const struct issue_options *options, struct mm_error *err)
{
    const struct mm_client_options *client = &options->client;
    if (!client->certificate_file && !client->key_file && !mm_issue_oidc_is_given(&options->oidc))
        return mm_fail(err, MM_USAGE,
                       "--cert and --key, or --github, --gitlab or --oidc-token-file, are needed (see --help)");
    if (!client->certificate_file && !client->key_file && !options->request.certificate_bound)
        return true;
    return mm_option_require("--cert", client->certificate_file, err) &&
           mm_option_require("--key", client->key_file, err);
}

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct issue_options *options, struct mm_error *err)
{
    int option;
    cli->operands = MM_OPERAND_OPTIONAL; /* the path of --output file */
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0)
        if (!take_option(options, option, err))
            return false;
    if (option == MM_OPTION_WRONG || !mm_option_require("--url", options->client.url, err) ||
        !check_credential(options, err) || !mm_option_require("--tenant", options->request.tenant_id, err) ||
        !mm_option_require("--scope", options->scopes[0], err))
        return false;
    options->request.scopes = (const char *const *)options->scopes;
    options->output.file = cli->operand;
    if (cli->form == MM_FORM_JSON && options->output.form == MM_ISSUE_TOKEN)
        options->output.form = MM_ISSUE_JSON;
    return mm_issue_output_check(&options->output, err);
}

/* Keep what the last attempt's problem document said, for the JSON form of the failure. */
static void note_failure(void *context, const struct mm_client_failure *failure)
{
    const struct issue_options *options = context;
    struct mm_cli *cli = options->cli;
    json_decref(cli->failure);
    cli->failure = failure->code ? json_pack("{s:s, s:s*, s:s*, s:i}", "code", failure->code, "detail", failure->detail,
                                             "request_id", failure->request_id, "status", (int)failure->status)
                                 : NULL;
}

static bool give_oidc_token(void *context, int64_t timeout_ms, char *ret_token, size_t size, struct mm_error *err)
{
    const struct issue_options *options = context;
    return mm_issue_oidc_give(&options->oidc, timeout_ms, ret_token, size, err);
}

static bool prepare_oidc(struct issue_options *options, struct mm_error *err)
{
    if (!mm_issue_oidc_is_given(&options->oidc))
        return true;
    options->client.oidc_token = give_oidc_token;
    return mm_issue_oidc_prepare(&options->oidc, &options->client, err);
}

bool mm_verb_issue(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    mm_cleanup(issue_options_clear) struct issue_options options = {
        .client = {.size = sizeof options.client, .on_failure = note_failure, .context = &options},
        .request = {.size = sizeof options.request},
        .cli = cli,
    };
    if (!read_options(cli, argc, argv, &options, err) || !prepare_oidc(&options, err))
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
           mm_issue_output_write(&options.output, token, err);
}
