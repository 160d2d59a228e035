/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `mintmark issue` does with its token: the forms that a CI job can use, so that the token is in no argument, in no file that
 * others could ever read, and masked in the log where the platform can mask.
 */
#ifndef MM_CLI_ISSUE_OUTPUT_H
#define MM_CLI_ISSUE_OUTPUT_H

#include "cli/output.h"
#include "client/client.h"

enum mm_issue_form {
    MM_ISSUE_TOKEN, /* the default: for people on a terminal, else the token alone */
    MM_ISSUE_ENV,
    MM_ISSUE_HEADER,
    MM_ISSUE_JSON,
    MM_ISSUE_FILE,
};

struct mm_issue_output {
    enum mm_issue_form form;
    const char *file; /* of MM_ISSUE_FILE */
    bool is_github;   /* mask, and let MM_ISSUE_ENV be the job's environment */
};

/* `text` as a form's name, or MM_USAGE. */
MM_MUST_USE bool mm_issue_form_parse(const char *text, enum mm_issue_form *ret_form, struct mm_error *err);

/* Before a token is asked for: MM_USAGE or MM_FILE for what couldn't be given out then. */
MM_MUST_USE bool mm_issue_output_check(const struct mm_issue_output *output, struct mm_error *err);

MM_MUST_USE bool mm_issue_output_write(const struct mm_issue_output *output, const struct mm_service_token *token,
                                       struct mm_error *err);

#endif
