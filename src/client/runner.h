/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GitHub's runner: where a job of GitHub Actions asks for its OIDC token. For `mintmark issue`; libmintmark knows nothing of it.
 */
#ifndef MM_CLIENT_RUNNER_H
#define MM_CLIENT_RUNNER_H

#include "client/oidc_token.h"
#include "client/retry.h"

enum {
    MM_RUNNER_BODY_MAX = 65536,
    MM_RUNNER_ATTEMPTS = 5,
};

struct mm_runner {
    const char *url;           /* ACTIONS_ID_TOKEN_REQUEST_URL */
    const char *request_token; /* ACTIONS_ID_TOKEN_REQUEST_TOKEN; a secret */
    const char *ca_file;       /* PEM, trusted instead of the machine's CAs; NULL: the machine's CAs */
    const char *audience;      /* of the token that is asked for */
    const struct mm_random *random;
};

/*
 * Ask for one token, within `timeout_ms`; up to MM_RUNNER_ATTEMPTS times while the runner can't be reached or answers 429 or 5xx, since the
 * tokens that are lost on the way are good for nothing else. MM_USAGE: the URL isn't https, or the request token has characters that none
 * has. MM_UNREACHABLE: no token, saying why, never quoting the answer.
 */
MM_MUST_USE bool mm_runner_get_token(const struct mm_runner *runner, int64_t timeout_ms, struct mm_oidc_token *token,
                                     struct mm_error *err);

/* The token in the runner's answer, `{"value": JWT}` and whatever else. MM_UNREACHABLE. */
MM_MUST_USE bool mm_runner_read_answer(const void *body, size_t length, struct mm_oidc_token *token,
                                       struct mm_error *err);

#endif
