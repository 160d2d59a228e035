/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/service-tokens: a request in JSON, a token with all that is known of it.
 */
#include "http/caller.h"
#include "http/guard.h"
#include "http/issuance.h"
#include "http/routes.h"
#include "http/token_request.h"
#include "util/json_writer.h"

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

static void on_issued(void *context, const struct mm_issued *issued, const struct mm_error *err)
{
    struct mm_reply reply = {0};
    if (issued)
        reply = mm_reply_text(MHD_HTTP_CREATED, issued_body(issued));
    mm_issuance_end(context, &reply, err);
}

static bool check_media_type(const struct mm_request *request, struct mm_error *err)
{
    const char *media_type = mm_request_header(request, MHD_HTTP_HEADER_CONTENT_TYPE);
    return mm_media_type_is(media_type, MM_MEDIA_TYPE_JSON) ||
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
    if (!mm_caller_authenticate(request, &(struct mm_caller_credentials){.tenant_id = asked.tenant_id}, &principal,
                                &err))
        return mm_caller_refuse(request, &err);
    return mm_issuance_begin(request, &principal, &asked.token, on_issued);
}
