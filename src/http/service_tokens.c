/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/service-tokens: authenticate the caller, hand the request on, and suspend the connection until its token is there.
 */
#include "http/guard.h"
#include "http/routes.h"
#include "http/service.h"
#include "http/token_request.h"
#include "util/json_writer.h"
#include "util/log.h"

/* NULL without memory. */
static char *issued_body(const struct mm_issued *issued)
{
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer body = mm_json_writer_make();
    mm_json_open(&body, '{');
    mm_json_member_string(&body, "service_token", issued->jwt);
    mm_json_member_string(&body, "token_type", "Bearer");
    mm_json_member_integer(&body, "expires_at", issued->expires_at);
    mm_json_member_integer(&body, "expires_in", issued->expires_at - issued->issued_at);
    mm_json_member_string(&body, "token_id", issued->jti);
    mm_json_member_string(&body, "tenant_id", issued->tenant_id);
    mm_json_member_string(&body, "account", issued->account);
    mm_json_name(&body, "scopes");
    mm_json_put_text(&body, issued->scopes);
    mm_json_name(&body, "resources");
    mm_json_put_text(&body, issued->resources);
    mm_json_name(&body, "audience");
    mm_json_put_text(&body, issued->audiences);
    mm_json_close(&body, '}');
    return mm_json_writer_finish(&body, NULL);
}

/* On any thread, perhaps after the server is gone: only the pending request may be touched. */
static void on_issued(void *context, const struct mm_issued *issued, const struct mm_error *err)
{
    struct mm_pending *pending = context;
    struct mm_reply reply;
    if (issued) {
        reply = mm_reply_text(MHD_HTTP_CREATED, issued_body(issued));
    } else {
        mm_log_error("request_failed", err, "request_id", mm_pending_request_id(pending), NULL);
        reply = mm_reply_problem(err, mm_pending_request_id(pending), NULL);
    }
    mm_pending_settle(pending, &reply);
}

static bool authenticate(struct mm_request *request, const char *tenant_id, struct mm_principal *ret_principal,
                         struct mm_error *err)
{
    mm_cleanup(mm_certificate_unref) struct mm_certificate *peer = NULL;
    if (!mm_connection_peer(request->connection, &peer, err))
        return false;
    int64_t now = mm_clock_now(request->service->parts.clock);
    if (!mm_mtls_authenticate(&request->config->policy, tenant_id, peer, now, ret_principal, err))
        return false;
    mm_peers_remember(request->service->peers, peer);
    return true;
}

/*
 * The connection is suspended before the request is handed on: the answer may come before mm_issue() returns. A caller that asks
 * again as soon as it is told that there is no room would be a flood by itself: it waits for that answer as long as it should
 * wait after it.
 */
static struct mm_reply issue(struct mm_request *request, const struct mm_principal *principal,
                             const struct mm_token_request *token)
{
    struct mm_error err = {0};
    struct mm_service *service = request->service;
    int64_t deadline = mm_deadline_after_ms(request->config->limits.issue_timeout * 1000);
    request->pending = mm_pending_begin(service->pending, request->mhd, request->id, &err);
    if (!request->pending)
        return mm_request_refuse(request, &err, NULL, principal->tenant->id);
    if (!mm_issue(service->parts.issuer, request->config, principal, token, request->id, deadline, on_issued,
                  request->pending, &err)) {
        struct mm_reply reply = mm_request_refuse(request, &err, NULL, principal->tenant->id);
        if (err.code == MM_OVERLOADED)
            mm_pending_settle_at(request->pending, &reply, mm_deadline_after_ms(reply.retry_after * INT64_C(1000)));
        else
            mm_pending_settle(request->pending, &reply);
    }
    return (struct mm_reply){0};
}

static bool check_media_type(const struct mm_request *request, struct mm_error *err)
{
    const char *media_type = mm_request_header(request, MHD_HTTP_HEADER_CONTENT_TYPE);
    return mm_media_type_is_json(media_type) ||
           mm_fail(err, MM_UNSUPPORTED_MEDIA_TYPE, "%s", media_type ? "not application/json" : "no Content-Type");
}

struct mm_reply mm_serve_service_tokens(struct mm_request *request)
{
    struct mm_error err = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request asked = {0};
    if (!check_media_type(request, &err) ||
        !mm_service_token_request_parse(request->body.data, request->body.length, &asked, &problems, &err))
        return mm_request_refuse(request, &err, &problems, NULL);
    struct mm_principal principal;
    if (!authenticate(request, asked.tenant_id, &principal, &err))
        return mm_request_refuse(request, &err, NULL, NULL);
    return issue(request, &principal, &asked.token);
}
