/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every path that issues tokens does alike: hand the request on, and suspend the connection until its token is
 * there.
 */
#ifndef MM_HTTP_ISSUANCE_H
#define MM_HTTP_ISSUANCE_H

#include "http/request.h"
#include "issue/issue.h"

/*
 * Begin to issue; the reply is the handler's. `done` gets the pending request as its context and ends with
 * mm_issuance_end().
 */
struct mm_reply mm_issuance_begin(struct mm_request *request, const struct mm_principal *principal,
                                  const struct mm_token_request *token, mm_issue_done done);

/*
 * Answer with `reply`, which is taken, if there is a token, else with the failure. On any thread, perhaps after the
 * server is gone: only the pending request may be touched.
 */
void mm_issuance_end(struct mm_pending *pending, struct mm_reply *reply, const struct mm_error *err);

#endif
