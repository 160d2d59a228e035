/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the token endpoint's grants share.
 */
#ifndef MM_HTTP_OAUTH_TOKEN_H
#define MM_HTTP_OAUTH_TOKEN_H

#include "http/caller.h"
#include "http/oauth_request.h"
#include "http/request.h"
#include "issue/issue.h"

enum mm_oauth_grant {
    MM_OAUTH_BY_CLIENT,   /* RFC 6749 section 5.1 */
    MM_OAUTH_BY_EXCHANGE, /* RFC 8693 section 2.2.1 */
};

/* The answer that holds the token; the caller frees it. NULL without memory. */
char *mm_oauth_issued_body(const struct mm_issued *issued, enum mm_oauth_grant grant);

/* Issue by the grants of the caller's own account, whoever it is; the reply is the handler's. `done` as in mm_issuance_begin(). */
struct mm_reply mm_oauth_issue_own(struct mm_request *request, const struct mm_oauth_request *asked,
                                   const struct mm_caller_credentials *credentials, mm_issue_done done);

struct mm_reply mm_serve_token_exchange(struct mm_request *request, const struct mm_oauth_request *asked);

#endif
