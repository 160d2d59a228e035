/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/request.h"

#include <stdio.h>
#include <string.h>

#include "http/request.h"
#include "util/log.h"

/* A peer that is still sending loses a reply that comes with a closed connection, so a body that is refused is read, up to so much. */
enum { DISCARD_MAX = 2 * 1024 * 1024 };

static void request_free(struct mm_admin_request *request)
{
    if (!request)
        return;
    mm_reply_clear(&request->reply);
    mm_buffer_clear(&request->body);
    free(request);
}

MM_DEFINE_CLEANUP(struct mm_admin_request, request_free);

void *mm_admin_request_open(void *context, const char *target, struct MHD_Connection *mhd)
{
    const struct mm_admin_listener *listener = context;
    struct mm_admin *admin = listener->admin;
    struct mm_admin_connection *connection =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    bool is_known = connection && connection->peer.role != MM_ROLE_NONE;
    mm_cleanup(request_free) struct mm_admin_request *request = is_known ? calloc(1, sizeof *request) : NULL;
    if (!request || !mm_request_id_make(admin->parts.random, request->id))
        return NULL; /* mm_admin_request_advance() closes the connection */
    request->admin = admin;
    request->connection = connection;
    request->mhd = mhd;
    request->target = mm_target_judge(target);
    request->body = mm_buffer_make(MM_ADMIN_BODY_MAX);
    return MM_TAKE(request);
}

void mm_admin_request_close(void *context, struct MHD_Connection *mhd, void **ret_request,
                            enum MHD_RequestTerminationCode why)
{
    (void)context, (void)mhd, (void)why;
    struct mm_admin_request *request = MM_TAKE(*ret_request);
    if (request && request->state == MM_ADMIN_HANDLED)
        (void)atomic_fetch_sub(&request->admin->n_handled, 1);
    request_free(request);
}

static bool changes_something(const struct mm_admin_request *request)
{
    return request->match.route && strcmp(request->match.route->method, "GET") != 0;
}

/* `err` of what was refused; NULL: it was done. */
static void log_request(const struct mm_admin_request *request, const struct mm_error *err)
{
    const struct mm_admin_peer *peer = &request->connection->peer;
    const struct mm_admin_route *route = request->match.route;
    bool is_ours = err && mm_code_http_status(err->code) >= 500;
    mm_log(is_ours ? MM_LOG_ERROR : MM_LOG_INFO, err ? "admin_refused" : "admin_done", "request_id", request->id, "by",
           peer->by, "pid", mm_admin_told(peer->pid), "address", mm_admin_told(peer->address), "role",
           mm_role_name(peer->role), "method", route ? route->method : NULL, "path", route ? route->path : NULL, "kid",
           request->match.kid[0] ? request->match.kid : NULL, "code", err ? mm_code_name(err->code) : NULL, "error",
           err ? err->message : NULL, NULL);
}

struct mm_reply mm_admin_refuse(const struct mm_admin_request *request, const struct mm_error *err,
                                const struct mm_problems *problems)
{
    log_request(request, err);
    return mm_reply_told_problem(err, request->id, problems);
}

bool mm_admin_request_json(const struct mm_admin_request *request, const struct mm_schema *schema, json_t **ret_body,
                           struct mm_problems *problems, struct mm_error *err)
{
    const char *type = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    if (!mm_media_type_is(type, MM_MEDIA_TYPE_JSON))
        return mm_fail(err, MM_UNSUPPORTED_MEDIA_TYPE, "the body must be application/json in UTF-8");
    const struct mm_buffer *text = &request->body;
    mm_cleanup(json_decref) json_t *body =
        mm_json_parse(text->length ? (const void *)text->data : "", text->length, err);
    if (!body)
        return false;
    struct mm_document document = {.root = body};
    if (!mm_schema_validate(schema, &document, problems))
        return problems->is_out_of_memory ? mm_fail(err, MM_NO_MEMORY, "out of memory")
                                          : mm_fail(err, MM_INVALID_REQUEST, "the body is not a valid request");
    *ret_body = MM_TAKE(body);
    return true;
}

/* One request a connection: nothing that follows it could be taken for another. */
static enum MHD_Result send_reply(struct mm_admin_request *request, struct mm_reply *reply)
{
    mm_cleanup(mm_reply_clear) struct mm_reply taken = *reply;
    *reply = (struct mm_reply){0};
    mm_watch_set(&request->connection->watch, mm_deadline_after_ms(MM_ADMIN_REPLY_MS));
    return mm_reply_send(&taken, request->mhd, request->id, MM_REPLY_CLOSE);
}

/* Who may do it is asked before anything about the body. */
static bool route(struct mm_admin_request *request, const struct mm_request_line *line, const struct mm_head *head,
                  struct mm_error *err)
{
    const struct mm_admin_peer *peer = &request->connection->peer;
    if (!mm_admin_route_find(&MM_ADMIN_ROUTES, line->method, mm_target_path(line->target), &request->match, err))
        return false;
    if (peer->role < request->match.route->role)
        return mm_fail(err, MM_ACCESS_DENIED, "this takes the role %s, and %s is %s",
                       mm_role_name(request->match.route->role), peer->by, mm_role_name(peer->role));
    if (head->content_length > MM_ADMIN_BODY_MAX)
        return mm_fail(err, MM_BODY_TOO_LARGE, "a body of %llu bytes is announced",
                       (unsigned long long)head->content_length);
    return true;
}

static void refuse_early(struct mm_admin_request *request, const struct mm_error *err)
{
    request->reply = mm_admin_refuse(request, err, NULL);
    request->reply.allow = request->match.allow[0] ? request->match.allow : NULL;
    mm_buffer_clear(&request->body);
}

static enum MHD_Result take_head(struct mm_admin_request *request, const struct mm_request_line *line)
{
    struct mm_error err = {0};
    struct mm_head head;
    request->state = MM_ADMIN_BODY;
    if (!mm_head_take(request->mhd, line, &request->target, MM_ADMIN_HEADER_MAX, &head, &err)) {
        request->reply = mm_admin_refuse(request, &err, NULL);
        return send_reply(request, &request->reply);
    }
    if (!route(request, line, &head, &err))
        refuse_early(request, &err);
    /* A client that waits for 100 Continue, or announces more than is worth reading, is refused before it sends. */
    if (request->reply.status != 0 && (head.expects_continue || head.content_length > DISCARD_MAX))
        return send_reply(request, &request->reply);
    return MHD_YES;
}

static enum MHD_Result take_body(struct mm_admin_request *request, const char *data, size_t length)
{
    struct mm_error err = {0};
    if (request->reply.status == 0 && mm_buffer_append(&request->body, data, length, &err))
        return MHD_YES;
    if (request->reply.status == 0)
        refuse_early(request, &err);
    request->n_discarded += length;
    return request->n_discarded <= DISCARD_MAX ? MHD_YES : MHD_NO;
}

static struct mm_reply handle(struct mm_admin_request *request)
{
    struct mm_error err = {0};
    mm_watch_set(&request->connection->watch, 0); /* from here on the service takes its time, not the peer */
    request->state = MM_ADMIN_HANDLED;
    (void)atomic_fetch_add(&request->admin->n_handled, 1);
    if (changes_something(request) && atomic_load(&request->admin->is_draining)) {
        (void)mm_fail(&err, MM_SHUTTING_DOWN, "the service is shutting down");
        return mm_admin_refuse(request, &err, NULL);
    }
    struct mm_reply reply = request->match.route->handle(request);
    if (changes_something(request) && reply.status < MHD_HTTP_BAD_REQUEST)
        log_request(request, NULL);
    return reply;
}

enum MHD_Result mm_admin_request_advance(void *context, struct MHD_Connection *mhd, const char *target,
                                         const char *method, const char *version, const char *data, size_t *length,
                                         void **ret_request)
{
    (void)context, (void)mhd;
    struct mm_admin_request *request = *ret_request;
    if (!request)
        return MHD_NO;
    if (request->state == MM_ADMIN_HEAD)
        return take_head(request, &(struct mm_request_line){method, target, version});
    if (*length > 0) {
        size_t taken = *length;
        *length = 0;
        return take_body(request, data, taken);
    }
    if (request->reply.status == 0)
        request->reply = handle(request);
    return send_reply(request, &request->reply);
}
