/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/issue_output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/describe.h"
#include "token/jws.h"
#include "util/clock.h"
#include "util/file.h"

enum { LINES_MAX = MM_JWT_MAX + 256 }; /* libmintmark takes no longer token */

bool mm_issue_form_parse(const char *text, enum mm_issue_form *ret_form, struct mm_error *err)
{
    static const struct {
        const char *name;
        enum mm_issue_form form;
    } FORMS[] = {{"env", MM_ISSUE_ENV}, {"header", MM_ISSUE_HEADER}, {"json", MM_ISSUE_JSON}, {"file", MM_ISSUE_FILE}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(FORMS); i++) {
        if (strcmp(text, FORMS[i].name) != 0)
            continue;
        *ret_form = FORMS[i].form;
        return true;
    }
    return mm_fail(err, MM_USAGE, "--output is env, header, json or file");
}

/* GITHUB_ENV names a file of the runner's: opened as it is, never made. */
static int open_github_env(struct mm_error *err)
{
    const char *path = getenv("GITHUB_ENV");
    if (!path || !*path) {
        (void)mm_fail(err, MM_USAGE,
                      "GITHUB_ENV isn't set: a job's environment is what --output env sets with --github");
        return -1;
    }
    mm_cleanup(mm_close) int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        (void)mm_fail(err, MM_FILE, "GITHUB_ENV: %s", strerror(errno));
        return -1;
    }
    if (!S_ISREG(info.st_mode)) {
        (void)mm_fail(err, MM_FILE, "GITHUB_ENV: not a regular file");
        return -1;
    }
    int taken = fd;
    fd = -1;
    return taken;
}

bool mm_issue_output_check(const struct mm_issue_output *output, struct mm_error *err)
{
    if (output->form == MM_ISSUE_FILE && !output->file)
        return mm_fail(err, MM_USAGE, "--output file is followed by the file's path");
    if (output->form != MM_ISSUE_FILE && output->file)
        return mm_fail(err, MM_USAGE, "an argument that belongs to no option (see --help)");
    if (output->form != MM_ISSUE_ENV || !output->is_github)
        return true;
    mm_cleanup(mm_close) int fd = open_github_env(err);
    return fd >= 0;
}

/*
 * On standard error, which the runner reads for commands as it does standard output: that one may be where the token goes, into a
 * variable of a shell, say.
 */
static bool mask(const struct mm_service_token *token, struct mm_error *err)
{
    return (fprintf(stderr, "::add-mask::%s\n", token->service_token) > 0 && fflush(stderr) == 0) ||
           mm_fail(err, MM_FILE, "standard error: the token can't be masked: %s", strerror(errno));
}

static bool append_to_github_env(const char *lines, size_t length, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = open_github_env(err);
    if (fd < 0)
        return false;
    ssize_t n = write(fd, lines, length);
    return n == (ssize_t)length || mm_fail(err, MM_FILE, "GITHUB_ENV: %s", n < 0 ? strerror(errno) : "cut short");
}

/* The values are a JWT's characters and digits: no shell and no runner finds anything else in them. */
static bool write_env(const struct mm_issue_output *output, const struct mm_service_token *token, struct mm_error *err)
{
    char lines[LINES_MAX];
    const char *export = output->is_github ? "" : "export ";
    int length = snprintf(lines, sizeof lines, "%sMINTMARK_TOKEN=%s\n%sMINTMARK_TOKEN_EXPIRES_AT=%lld\n", export,
                          token->service_token, export, (long long)token->expires_at);
    bool is_written = true;
    if (output->is_github)
        is_written = append_to_github_env(lines, (size_t)length, err);
    else
        (void)fwrite(lines, 1, (size_t)length, stdout);
    explicit_bzero(lines, sizeof lines);
    return is_written;
}

static bool write_file(const char *path, const struct mm_service_token *token, struct mm_error *err)
{
    char line[LINES_MAX];
    int length = snprintf(line, sizeof line, "%s\n", token->service_token);
    bool is_written = mm_file_replace(path, line, (size_t)length, err);
    explicit_bzero(line, sizeof line);
    return is_written;
}

static bool write_json(const struct mm_service_token *token, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *answer = mm_json_parse(token->json, strlen(token->json), err);
    bool is_printed = answer && mm_print_json(stdout, answer, err);
    mm_json_zero(json_object_get(answer, "service_token"));
    return is_printed;
}

static void describe(const struct mm_service_token *token, const json_t *claims)
{
    (void)fputs("Issued: ", stdout);
    mm_describe_claims(stdout, claims, mm_clock_now(&MM_SYSTEM_CLOCK));
    (void)fputs(".\nToken id ", stdout);
    mm_print_text(stdout, token->token_id);
    (void)printf(". Whoever holds what follows can use it:\n\n%s\n", token->service_token);
}

bool mm_issue_output_write(const struct mm_issue_output *output, const struct mm_service_token *token,
                           struct mm_error *err)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    if (!mm_jws_parse(token->service_token, &jws, NULL))
        return mm_fail(err, MM_UNREACHABLE, "the answer holds no token: is this a Mintmark service?");
    if (output->is_github && !mask(token, err))
        return false;
    switch (output->form) {
    case MM_ISSUE_ENV:
        return write_env(output, token, err);
    case MM_ISSUE_HEADER:
        (void)printf("Authorization: Bearer %s\n", token->service_token);
        return true;
    case MM_ISSUE_JSON:
        return write_json(token, err);
    case MM_ISSUE_FILE:
        return write_file(output->file, token, err);
    case MM_ISSUE_TOKEN:
        break;
    }
    if (isatty(STDOUT_FILENO))
        describe(token, jws.payload);
    else
        (void)printf("%s\n", token->service_token);
    return true;
}
