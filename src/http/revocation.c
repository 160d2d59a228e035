/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /oauth2/revoke (RFC 7009): a client takes its own token back. What is no token, or none any more, is as good as revoked: 200 (section 2.2), and
 * nothing is written. So a token is written of once, whoever asks however often. That a token is another client's is told of one that
 * hasn't expired, which anybody who has it can see by himself, whether it was revoked or not.
 */
#include <string.h>

#include "http/routes.h"
#include "http/token_form.h"
#include "revocation/revocations.h"
#include "util/log.h"

static struct mm_reply revoked(void)
{
    return (struct mm_reply){.status = MHD_HTTP_OK, .cache = MM_CACHE_OAUTH};
}

static struct mm_reply answer_nothing_revoked(struct mm_request *request)
{
    struct mm_reply reply = revoked();
    return mm_caller_answer_unproved(request, &reply);
}

static void on_revoked(void *context, const struct mm_revoked *done, const struct mm_error *err)
{
    struct mm_pending *pending = context;
    struct mm_reply reply = done ? revoked() : mm_pending_failure(pending, err);
    if (err)
        mm_log_error("request_failed", err, "request_id", mm_pending_request_id(pending), NULL);
    mm_pending_settle(pending, &reply);
}

/* The answer comes when the entry is durable, this one or that of an earlier request: it isn't enough that the token is dead already. */
static struct mm_reply take_back(struct mm_request *request, const struct mm_principal *principal,
                                 const struct mm_own_token *token)
{
    struct mm_error err = {0};
    struct mm_service *service = request->service;
    /* The entry that the answer waits for may be an earlier request's. */
    if (!mm_caller_is_recorded(request, &err))
        return mm_caller_refuse(request, &err);
    const struct mm_revocation_order order = {
        .what = MM_REVOKE_JTI,
        .name = token->facts.jti,
        .tenant = principal->tenant->id,
        .account = principal->account->identity,
        .expires_at = token->facts.expires_at,
        .by = principal->account->identity,
        .reason = "",
        .whose = MM_REVOKED_BY_CLIENT,
    };
    request->pending = mm_pending_begin(service->pending, request->mhd, request->id, request->form, &err);
    if (!request->pending)
        return mm_request_refuse(request, &err, NULL, principal->tenant->id);
    if (!mm_revocations_revoke(service->parts.revocations, &order, request->deadline_ns, on_revoked, request->pending,
                               &err)) {
        struct mm_reply reply = mm_request_refuse(request, &err, NULL, principal->tenant->id);
        mm_request_settle(request, &reply);
    }
    return (struct mm_reply){0};
}

struct mm_reply mm_serve_revocation(struct mm_request *request)
{
    struct mm_error err = {0};
    struct mm_error why = {0};
    struct mm_principal principal;
    mm_cleanup(mm_token_form_clear) struct mm_token_form asked = {0};
    if (!mm_token_form_parse(request, &asked, &err))
        return mm_request_refuse(request, &err, NULL, NULL);
    asked.credentials.may_be_public = true;
    if (!mm_caller_authenticate(request, &asked.credentials, &principal, &err))
        return mm_caller_refuse(request, &err);
    mm_cleanup(mm_own_token_unref) struct mm_own_token *token = mm_token_form_find(request, &asked, &why);
    if (!token && why.code != MM_TOKEN_INVALID)
        return mm_request_refuse(request, &why, NULL, principal.tenant->id);
    if (!token)
        return answer_nothing_revoked(request);
    if (!mm_token_is_issued_to(token, &principal)) {
        (void)mm_fail(&err, MM_TOKEN_OF_ANOTHER, "the token was issued to %s", token->facts.client_id);
        return mm_request_refuse(request, &err, NULL, principal.tenant->id);
    }
    return take_back(request, &principal, token);
}
