/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/issue_oidc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "client/runner.h"

const char MM_GITLAB_VARIABLE[] = "MINTMARK_ID_TOKEN";

static const char RUNNER_URL[] = "ACTIONS_ID_TOKEN_REQUEST_URL";
static const char RUNNER_TOKEN[] = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

bool mm_issue_oidc_is_given(const struct mm_issue_oidc *oidc)
{
    return oidc->file || oidc->is_github || oidc->variable;
}

/* An empty variable is none: a job that may not ask has it so, or not at all. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* A pipe (`<(…)`) can be read once, and a call may make several attempts. */
static bool hold_pipe(struct mm_issue_oidc *oidc, struct mm_error *err)
{
    bool is_input = strcmp(oidc->file, "-") == 0;
    mm_cleanup(mm_close) int fd = is_input ? dup(STDIN_FILENO) : open(oidc->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return mm_fail(err, MM_FILE, "%s: %s", oidc->file, strerror(errno));
    oidc->held = mm_oidc_token_new(err);
    return oidc->held && mm_oidc_token_read(fd, is_input ? "standard input" : oidc->file, oidc->held, err);
}

static bool prepare_file(struct mm_issue_oidc *oidc, struct mm_client_options *options, struct mm_error *err)
{
    struct stat info;
    if (strcmp(oidc->file, "-") == 0 || (stat(oidc->file, &info) == 0 && S_ISFIFO(info.st_mode)))
        return hold_pipe(oidc, err);
    options->oidc_token = NULL;
    options->oidc_token_file = oidc->file;
    return true;
}

/* The runner says what it is; without one there is nobody who would keep the token out of a log. */
static bool prepare_github(struct mm_issue_oidc *oidc, const struct mm_client_options *options, struct mm_error *err)
{
    const char *actions = variable("GITHUB_ACTIONS");
    if (!actions || strcmp(actions, "true") != 0)
        return mm_fail(err, MM_USAGE, "--github is for a job of GitHub Actions: GITHUB_ACTIONS isn't true here");
    if (!variable(RUNNER_URL) || !variable(RUNNER_TOKEN))
        return mm_fail(err, MM_USAGE,
                       "the job may not ask for an OIDC token (no %s): give it `permissions: id-token: write`",
                       variable(RUNNER_URL) ? RUNNER_TOKEN : RUNNER_URL);
    if (oidc->audience)
        return true;
    oidc->own_audience = strdup(options->url);
    if (!oidc->own_audience)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    size_t length = strlen(oidc->own_audience);
    if (length > 0 && oidc->own_audience[length - 1] == '/')
        oidc->own_audience[length - 1] = '\0';
    oidc->audience = oidc->own_audience;
    return true;
}

static bool hold_variable(struct mm_issue_oidc *oidc, struct mm_error *err)
{
    const char *value = variable(oidc->variable);
    if (!value)
        return mm_fail(
            err, MM_USAGE,
            "the job has no variable of the name that --gitlab says (%s by default): does it have id_tokens?",
            MM_GITLAB_VARIABLE);
    oidc->held = mm_oidc_token_new(err);
    return oidc->held && mm_oidc_token_copy(value, "the variable of --gitlab", oidc->held, err);
}

bool mm_issue_oidc_prepare(struct mm_issue_oidc *oidc, struct mm_client_options *options, struct mm_error *err)
{
    if ((oidc->file != NULL) + oidc->is_github + (oidc->variable != NULL) > 1)
        return mm_fail(err, MM_USAGE, "--oidc-token-file, --github and --gitlab are three ways to one thing");
    if (!oidc->is_github && (oidc->audience || oidc->runner_ca))
        return mm_fail(err, MM_USAGE, "--oidc-audience and --oidc-ca are for what --github asks for");
    if (oidc->file)
        return prepare_file(oidc, options, err);
    return oidc->is_github ? prepare_github(oidc, options, err) : hold_variable(oidc, err);
}

static bool ask_runner(const struct mm_issue_oidc *oidc, int64_t timeout_ms, struct mm_oidc_token *token,
                       struct mm_error *err)
{
    const struct mm_runner runner = {
        .url = variable(RUNNER_URL),
        .request_token = variable(RUNNER_TOKEN),
        .ca_file = oidc->runner_ca,
        .audience = oidc->audience,
        .random = &MM_SYSTEM_RANDOM,
    };
    return mm_runner_get_token(&runner, timeout_ms, token, err);
}

bool mm_issue_oidc_give(const struct mm_issue_oidc *oidc, int64_t timeout_ms, char *ret_token, size_t size,
                        struct mm_error *err)
{
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *asked = oidc->held ? NULL : mm_oidc_token_new(err);
    if (!oidc->held && (!asked || !ask_runner(oidc, timeout_ms, asked, err)))
        return false;
    const char *text = oidc->held ? oidc->held->text : asked->text;
    size_t length = strlen(text);
    if (length >= size)
        return mm_fail(err, MM_USAGE, "an OIDC token has %d bytes at most", MM_CLIENT_OIDC_TOKEN_MAX);
    memcpy(ret_token, text, length + 1);
    return true;
}

void mm_issue_oidc_clear(struct mm_issue_oidc *oidc)
{
    mm_oidc_token_free(oidc->held);
    free(oidc->own_audience);
    oidc->held = NULL;
    oidc->own_audience = NULL;
}
