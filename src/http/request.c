/* SPDX-License-Identifier: Apache-2.0 */
#include "http/request.h"

#include <string.h>
#include <strings.h>

#include "http/routes.h"
#include "http/slowing.h"
#include "util/base64url.h"
#include "util/log.h"

/*
 * A client that is still sending loses a reply that comes with a closed connection, so a body that is refused is read to its
 * end, up to so much.
 */
enum { DISCARD_MAX = 2 * 1024 * 1024, REQUEST_ID_BYTES = 16 };

static void request_free(struct mm_request *request)
{
    if (!request)
        return;
    mm_pending_unref(request->pending);
    mm_waiter_unref(request->waiter);
    mm_waiter_unref(request->record);
    mm_jwt_free(request->jwt);
    mm_reply_clear(&request->refusal);
    mm_reply_clear(&request->held);
    if (request->body.data)
        explicit_bzero(request->body.data, request->body.length); /* credentials may be in it */
    mm_buffer_clear(&request->body);
    mm_config_unref(request->config);
    free(request);
}

MM_DEFINE_CLEANUP(struct mm_request, request_free);

bool mm_request_id_make(const struct mm_random *random, char ret_id[MM_REQUEST_ID_LENGTH + 1])
{
    uint8_t bytes[REQUEST_ID_BYTES];
    if (!random->fill(random->context, bytes, sizeof bytes))
        return false;
    mm_base64url_encode(bytes, sizeof bytes, ret_id);
    return true;
}

void *mm_request_open(void *context, const char *target, struct MHD_Connection *mhd)
{
    (void)context;
    struct mm_connection *connection = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    mm_cleanup(request_free) struct mm_request *request = connection ? calloc(1, sizeof *request) : NULL;
    if (!request || !mm_request_id_make(connection->service->parts.random, request->id))
        return NULL; /* mm_request_advance() closes the connection */
    request->connection = connection;
    request->service = connection->service;
    request->mhd = mhd;
    request->started_ns = mm_monotonic_ns();
    request->target = mm_target_judge(target);
    request->config = mm_service_config(request->service);
    request->body = mm_buffer_make((size_t)request->config->limits.body_bytes);
    request->key = connection->key;
    memcpy(request->address, connection->address, sizeof request->address);
    mm_service_enter(request->service);
    return MM_TAKE(request);
}

void mm_request_close(void *context, struct MHD_Connection *mhd, void **ret_request,
                      enum MHD_RequestTerminationCode why)
{
    (void)context, (void)mhd, (void)why;
    struct mm_request *request = MM_TAKE(*ret_request);
    if (!request)
        return;
    const struct mm_limits *limits = &request->config->limits;
    mm_watch_set(&request->connection->watch,
                 mm_deadline_after_ms((limits->idle_timeout + limits->header_timeout) * 1000));
    mm_slow_end(request);
    if (request->is_counted)
        mm_admission_leave(request->service->proxied, &request->key);
    mm_service_leave(request->service);
    request_free(request);
}

static bool parse_peer(const struct mm_request *request, const struct mm_bytes *chain, size_t n,
                       struct mm_certificate **ret_peer, struct mm_error *err)
{
    if (n > MM_CHAIN_MAX)
        return mm_fail(err, MM_CERTIFICATE_INVALID, "the client sent more than %d certificates", MM_CHAIN_MAX);
    struct mm_certificate *peer = n > 0 ? mm_peers_find(request->service->peers, chain, n) : NULL;
    if (n > 0 && !peer)
        peer = mm_certificate_parse(chain, n, err);
    *ret_peer = peer;
    return peer || n == 0;
}

bool mm_request_peer(const struct mm_request *request, struct mm_certificate **ret_peer, struct mm_error *err)
{
    struct mm_bytes sent[MM_CHAIN_MAX];
    struct mm_forwarded_chain forwarded;
    const struct mm_connection *connection = request->connection;
    *ret_peer = NULL;
    if (!connection->is_proxied) {
        size_t n = mm_connection_chain(connection, sent);
        return parse_peer(request, sent, n, ret_peer, err);
    }
    /* The certificate of the connection is the proxy's own. */
    return !connection->trusts_headers || (mm_forwarded_decode(&request->forwarded, &forwarded, err) &&
                                           parse_peer(request, forwarded.items, forwarded.n, ret_peer, err));
}

const char *mm_request_header(const struct mm_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

bool mm_request_has_query(const struct mm_request *request)
{
    return MHD_get_connection_values(request->mhd, MHD_GET_ARGUMENT_KIND, NULL, NULL) > 0;
}

bool mm_request_check_form(const struct mm_request *request, struct mm_error *err)
{
    const char *media_type = mm_request_header(request, MHD_HTTP_HEADER_CONTENT_TYPE);
    if (mm_request_has_query(request))
        return mm_fail(err, MM_INVALID_REQUEST, "parameters belong into the body, not into the URI");
    return mm_media_type_is(media_type, MM_MEDIA_TYPE_FORM) ||
           mm_fail(err, MM_UNSUPPORTED_MEDIA_TYPE, "%s", media_type ? "not a form" : "no Content-Type");
}

bool mm_request_authorizes_by(const struct mm_request *request, const char *scheme)
{
    const char *value = mm_request_header(request, MHD_HTTP_HEADER_AUTHORIZATION);
    size_t length = value ? strcspn(value, " ") : 0;
    return length == strlen(scheme) && strncasecmp(value, scheme, length) == 0;
}

/* A flood of refusals is no flood of lines: what is left out is told once a minute (service.c). */
static void log_refusal(const struct mm_request *request, const struct mm_error *err, const char *tenant)
{
    const char *path = request->route ? request->route->path : NULL;
    const char *proxy = request->connection->is_proxied ? request->connection->address : NULL;
    if (!mm_addresses_may_log(request->service->addresses, &request->key, mm_monotonic_ns()))
        return;
    if (mm_code_http_status(err->code) >= 500)
        mm_log_error("request_failed", err, "request_id", request->id, "path", path, "tenant", tenant, "address",
                     request->address, "proxy", proxy, NULL);
    else
        mm_log(MM_LOG_INFO, "request_refused", "request_id", request->id, "path", path, "tenant", tenant, "address",
               request->address, "proxy", proxy, "code", mm_code_name(err->code), "error", err->message, NULL);
}

struct mm_reply mm_request_refuse(struct mm_request *request, const struct mm_error *err,
                                  const struct mm_problems *problems, const char *tenant)
{
    log_refusal(request, err, tenant);
    struct mm_reply reply = mm_reply_failure(request->form, err, request->id, problems);
    if (request->form == MM_ERRORS_OAUTH && reply.challenge && mm_request_authorizes_by(request, "Basic"))
        reply.challenge = MM_CHALLENGE_BASIC;
    return reply;
}

static enum MHD_Result send_reply(struct mm_request *request, struct mm_reply *reply,
                                  enum mm_reply_connection afterwards)
{
    mm_cleanup(mm_reply_clear) struct mm_reply taken = *reply;
    *reply = (struct mm_reply){0};
    taken.rate = request->rate;
    int64_t patience = request->config->limits.request_timeout;
    mm_watch_set(&request->connection->watch, mm_deadline_after_ms(patience * 1000)); /* to write it */
    if (request->is_chunked || request->is_last || atomic_load(&request->service->is_draining))
        afterwards = MM_REPLY_CLOSE;
    /* The reply to a POST has a body if there is one; to a HEAD it hasn't. */
    if (request->state == MM_REQUEST_PENDING && taken.owned_body)
        mm_transport_await(&request->connection->transport, strlen(taken.owned_body));
    return mm_reply_send(&taken, request->mhd, request->id, afterwards);
}

static enum MHD_Result gather_forwarded(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                        const char *value, size_t value_length)
{
    (void)kind;
    mm_forwarded_add(context, name, name_length, value ? value : "", value_length);
    return MHD_YES;
}

/* Clients whose address the proxy doesn't tell count as one. */
static bool take_forwarded(struct mm_request *request, struct mm_error *err)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    if (!request->connection->is_proxied)
        return true;
    (void)MHD_get_connection_values_n(request->mhd, MHD_HEADER_KIND, gather_forwarded, &request->forwarded);
    (void)mm_forwarded_address(&request->forwarded, &address);
    request->key = mm_address_key((const struct sockaddr *)&address);
    mm_address_format((const struct sockaddr *)&address, request->address);
    return !request->connection->trusts_headers || mm_forwarded_check(&request->forwarded, err);
}

/* Through a proxy, requests are what connections are otherwise. */
static bool count(struct mm_request *request, struct mm_error *err)
{
    request->is_counted =
        request->connection->is_proxied && mm_admission_enter(request->service->proxied, &request->key);
    return request->is_counted || !request->connection->is_proxied ||
           mm_fail(err, MM_OVERLOADED, "too many requests at once, in all or from this address");
}

/* Anything wrong with a well-formed head: no such route (`err` says so already), or a body that is too large. */
static void check_head(struct mm_request *request, const struct mm_head *head, const char *allow, struct mm_error *err)
{
    if (err->code == MM_OK)
        (void)count(request, err);
    if (request->route && head->content_length > (uint64_t)request->config->limits.body_bytes)
        (void)mm_fail(err, MM_BODY_TOO_LARGE, "a body of %llu bytes is announced",
                      (unsigned long long)head->content_length);
    if (err->code == MM_OK)
        return;
    request->refusal = mm_request_refuse(request, err, NULL, NULL);
    request->refusal.allow = allow;
}

/* The route comes first: even a malformed head is refused as its path has it. */
static enum MHD_Result take_head(struct mm_request *request, const struct mm_request_line *line)
{
    struct mm_error err = {0};
    struct mm_error unrouted = {0};
    struct mm_head head;
    const struct mm_route *near = NULL;
    size_t max = (size_t)request->config->limits.header_bytes;
    request->route = mm_route_find(line->method, mm_target_path(line->target), &near, &unrouted);
    request->form = near ? near->errors : MM_ERRORS_PROBLEM;
    if (!mm_head_take(request->mhd, line, &request->target, max, &head, &err) || !take_forwarded(request, &err)) {
        struct mm_reply reply = mm_request_refuse(request, &err, NULL, NULL);
        return send_reply(request, &reply, MM_REPLY_CLOSE);
    }
    int64_t patience = request->config->limits.request_timeout;
    mm_watch_set(&request->connection->watch, request->started_ns + patience * 1000000000);
    request->state = MM_REQUEST_BODY;
    request->is_chunked = head.n_transfer_encoding > 0;
    check_head(request, &head, near && !request->route ? near->allow : NULL, &unrouted);
    /* A client that waits for 100 Continue, or announces more than is worth reading, is refused before it sends. */
    if (request->refusal.status != 0 && (head.expects_continue || head.content_length > DISCARD_MAX))
        return send_reply(request, &request->refusal, MM_REPLY_CLOSE);
    return MHD_YES;
}

static enum MHD_Result take_body(struct mm_request *request, const char *data, size_t length)
{
    struct mm_error err = {0};
    if (request->refusal.status == 0 && mm_buffer_append(&request->body, data, length, &err))
        return MHD_YES;
    if (request->refusal.status == 0) {
        request->refusal = mm_request_refuse(request, &err, NULL, NULL);
        mm_buffer_clear(&request->body);
    }
    request->n_discarded += length;
    return request->n_discarded <= DISCARD_MAX ? MHD_YES : MHD_NO;
}

void mm_request_settle(struct mm_request *request, struct mm_reply *reply)
{
    struct mm_waiter *record = MM_TAKE(request->record);
    if (!record) {
        mm_pending_settle(request->pending, reply);
        return;
    }
    request->held = *reply;
    *reply = (struct mm_reply){0};
    mm_waiter_suspend(record, request->pending, request->deadline_ns);
    mm_waiter_unref(record);
}

/* Nobody is told what came of a use that a crash could still undo. */
static struct mm_reply hold_until_recorded(struct mm_request *request, struct mm_reply *reply)
{
    struct mm_error err = {0};
    request->pending = mm_pending_begin(request->service->pending, request->mhd, request->id, request->form, &err);
    if (!request->pending) {
        mm_reply_clear(reply);
        return mm_request_refuse(request, &err, NULL, NULL);
    }
    mm_request_settle(request, reply);
    return (struct mm_reply){0};
}

static enum MHD_Result run_handler(struct mm_request *request)
{
    struct mm_reply reply = request->route->handle(request);
    if (reply.status != 0 && request->record)
        reply = hold_until_recorded(request, &reply);
    if (reply.status != 0)
        return send_reply(request, &reply, MM_REPLY_KEEP_ALIVE);
    request->state = MM_REQUEST_PENDING;
    return MHD_YES;
}

/* The request is complete: have it answered, now or later. */
static enum MHD_Result answer(struct mm_request *request)
{
    if (request->refusal.status != 0)
        return send_reply(request, &request->refusal, MM_REPLY_KEEP_ALIVE);
    mm_watch_set(&request->connection->watch, 0); /* from here on the service takes its time, not the client */
    request->connection->awaits_more = false;
    request->deadline_ns = mm_deadline_after_ms(request->config->limits.issue_timeout * 1000);
    return run_handler(request);
}

static enum MHD_Result answer_pending(struct mm_request *request)
{
    struct mm_reply reply;
    /* Never called while suspended; if it were, there would be nothing to say yet. */
    if (!mm_pending_take_reply(request->pending, &reply))
        return MHD_NO;
    if (reply.status != 0)
        return send_reply(request, &reply, MM_REPLY_KEEP_ALIVE);
    if (request->held.status != 0)
        return send_reply(request, &request->held, MM_REPLY_KEEP_ALIVE);
    mm_pending_unref(MM_TAKE(request->pending));
    return run_handler(request);
}

enum MHD_Result mm_request_advance(void *context, struct MHD_Connection *mhd, const char *target, const char *method,
                                   const char *version, const char *data, size_t *length, void **ret_request)
{
    (void)context, (void)mhd;
    struct mm_request *request = *ret_request;
    if (!request)
        return MHD_NO;
    if (request->state == MM_REQUEST_HEAD)
        return take_head(request, &(struct mm_request_line){method, target, version});
    if (request->state == MM_REQUEST_PENDING)
        return answer_pending(request);
    if (*length == 0)
        return answer(request);
    size_t taken = *length;
    *length = 0;
    return take_body(request, data, taken);
}
