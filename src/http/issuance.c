/* SPDX-License-Identifier: Apache-2.0 */
#include "http/issuance.h"

#include "http/service.h"
#include "util/log.h"

enum { FLOOD_DELAY_MS = 1000 };

/*
 * A caller that asks again as soon as it is told that there is nothing for it would be a flood by itself: it waits a second for that
 * answer.
 */
static void refuse(struct mm_request *request, const struct mm_principal *principal, const struct mm_error *err)
{
    struct mm_reply reply = mm_request_refuse(request, err, NULL, principal->tenant->id);
    if (err->code == MM_RATE_LIMITED)
        reply.retry_after = (unsigned)request->rate.more_after;
    if (err->code == MM_RATE_LIMITED || err->code == MM_OVERLOADED)
        mm_pending_settle_at(request->pending, &reply, mm_deadline_after_ms(FLOOD_DELAY_MS));
    else
        mm_request_settle(request, &reply);
}

/* The connection is suspended before the request is handed on: the answer may come before mm_issue() returns. */
struct mm_reply mm_issuance_begin(struct mm_request *request, const struct mm_principal *principal,
                                  const struct mm_token_request *token, mm_issue_done done)
{
    struct mm_error err = {0};
    struct mm_service *service = request->service;
    request->pending = mm_pending_begin(service->pending, request->mhd, request->id, request->form, &err);
    if (!request->pending)
        return mm_request_refuse(request, &err, NULL, principal->tenant->id);
    if (!mm_issue(service->parts.issuer, request->config, principal, token, request->id, request->deadline_ns, done,
                  request->pending, &request->rate, &err))
        refuse(request, principal, &err);
    return (struct mm_reply){0};
}

void mm_issuance_end(struct mm_pending *pending, struct mm_reply *reply, const struct mm_error *err)
{
    struct mm_reply answer = *reply;
    *reply = (struct mm_reply){0};
    if (err) {
        mm_log_error("request_failed", err, "request_id", mm_pending_request_id(pending), NULL);
        answer = mm_pending_failure(pending, err);
    }
    mm_pending_settle(pending, &answer);
}
