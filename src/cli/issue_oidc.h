/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where `mintmark issue` has its platform's OIDC token from: a file, GitHub's runner, or a variable of the job.
 */
#ifndef MM_CLI_ISSUE_OIDC_H
#define MM_CLI_ISSUE_OIDC_H

#include "client/oidc_token.h"

/* What the command line says; zero: nothing. */
struct mm_issue_oidc {
    const char *file;      /* --oidc-token-file */
    bool is_github;        /* --github */
    const char *variable;  /* --gitlab[=VARIABLE] */
    const char *audience;  /* of what is asked for; NULL: the service's URL */
    const char *runner_ca; /* CA of GitHub's runner; NULL: the machine's CAs */

    /* for the calls below alone */
    struct mm_oidc_token *held; /* read once from what can't be read again; NULL: nothing */
    char *own_audience;
};

extern const char MM_GITLAB_VARIABLE[]; /* without a name */

/* Whether any of the three is given. */
bool mm_issue_oidc_is_given(const struct mm_issue_oidc *oidc);

/*
 * Find out what can't work, and have `options` use the token: through `oidc_token_file`, or through `oidc_token`, for which
 * mm_issue_oidc_give() does. MM_USAGE: more than one is given, or the job has no such token; MM_FILE.
 */
MM_MUST_USE bool mm_issue_oidc_prepare(struct mm_issue_oidc *oidc, struct mm_client_options *options,
                                       struct mm_error *err);

/* The token for one attempt, as mm_client_options.oidc_token has it. */
MM_MUST_USE bool mm_issue_oidc_give(const struct mm_issue_oidc *oidc, int64_t timeout_ms, char *ret_token, size_t size,
                                    struct mm_error *err);

void mm_issue_oidc_clear(struct mm_issue_oidc *oidc);

#endif
