/* SPDX-License-Identifier: Apache-2.0 */
#include "http/reply.h"

#include <stdio.h>
#include <string.h>

#include "config/floors.h"

enum { REASON_MAX = 200, TOLD_MAX = 4096 /* a path */ };

static const char JSON_TYPE[] = "application/json";
static const char PROBLEM_TYPE[] = "application/problem+json";

static const char INVALID_REQUEST[] = "invalid_request";
static const char INVALID_CLIENT[] = "invalid_client";
static const char INVALID_SCOPE[] = "invalid_scope";
static const char INVALID_TARGET[] = "invalid_target";
static const char UNAVAILABLE[] = "temporarily_unavailable";

/*
 * What callers are told, and after how many seconds a retry makes sense. Codes that aren't here stay inside. `oauth` is
 * what RFC 6749 (sections 4.1.2.1 and 5.2) or RFC 8707 calls it, `oauth_detail` what is told there instead of `detail`.
 */
static const struct sentence {
    enum mm_code code;
    unsigned retry_after;
    const char *detail;
    const char *oauth;
    const char *oauth_detail; /* NULL: the same */
} SENTENCES[] = {
    {MM_INVALID_REQUEST, 0, "The request is not valid.", INVALID_REQUEST, NULL},
    {MM_INVALID_JSON, 0, "The body is not valid JSON.", INVALID_REQUEST, NULL},
    {MM_NOT_FOUND, 0, "There is nothing at this path.", INVALID_REQUEST, NULL},
    {MM_METHOD_NOT_ALLOWED, 0, "This path doesn't have that method.", INVALID_REQUEST, NULL},
    {MM_BODY_TOO_LARGE, 0, "The body is larger than this service reads.", INVALID_REQUEST, NULL},
    {MM_UNSUPPORTED_MEDIA_TYPE, 0, "The body must be application/json in UTF-8.", INVALID_REQUEST,
     "The body must be application/x-www-form-urlencoded in UTF-8."},
    {MM_HEADERS_TOO_LARGE, 0, "The header is larger than this service reads.", INVALID_REQUEST, NULL},
    {MM_UNSUPPORTED_GRANT_TYPE, 0, "The grant type is not one that this service has.", "unsupported_grant_type", NULL},
    {MM_UNSUPPORTED_RESPONSE_TYPE, 0, "This service authorizes nobody through a browser.", "unsupported_response_type",
     NULL},
    {MM_INVALID_SCOPE, 0, "The scope is malformed, or there is none and the account has more than one grant.",
     INVALID_SCOPE, NULL},
    {MM_INVALID_TARGET, 0,
     "The resource or the audience is missing, malformed, unknown or more than one token can have.", INVALID_TARGET,
     NULL},
    {MM_TOKEN_OF_ANOTHER, 0, "The token was issued to another client.", "invalid_grant", NULL},
    {MM_SUBJECT_TOKEN_INVALID, 0, "The subject token is not valid, or not one that is exchanged.", INVALID_REQUEST,
     NULL},
    {MM_CERTIFICATE_REQUIRED, 0,
     "A client certificate is required, for lack of another proof or for the token to be bound to.", INVALID_CLIENT,
     NULL},
    {MM_CERTIFICATE_INVALID, 0, "The client certificate is expired, not yet valid, revoked or not fit for this use.",
     INVALID_CLIENT, NULL},
    {MM_ACCESS_DENIED, 0, "This caller has no account in that tenant.", INVALID_CLIENT,
     "The client certificate doesn't stand for that client."},
    {MM_CREDENTIAL_AMBIGUOUS, 0, "The credential stands for more than one account.", INVALID_CLIENT, NULL},
    {MM_CREDENTIAL_INVALID, 0, "The JWT doesn't stand for an account in that tenant.", INVALID_CLIENT,
     "The JWT doesn't stand for that client."},
    {MM_SCOPE_NOT_GRANTED, 0, "A scope is not granted to this account.", INVALID_SCOPE, NULL},
    {MM_RESOURCE_NOT_GRANTED, 0, "The resource is not granted to this account.", INVALID_TARGET, NULL},
    {MM_AUDIENCE_NOT_GRANTED, 0, "The audience is not one of the tenant's.", INVALID_TARGET, NULL},
    {MM_TTL_TOO_LONG, 0, "The lifetime is longer than granted.", INVALID_REQUEST, NULL},
    {MM_NO_SINGLE_GRANT, 0, "No single grant covers the whole request.", INVALID_SCOPE, NULL},
    {MM_RATE_LIMITED, 1, "Too many requests of this caller's for now.", UNAVAILABLE,
     NULL}, /* OAuth has no code for it */
    {MM_OVERLOADED, 1, "The service is busy.", UNAVAILABLE, NULL},
    {MM_DEADLINE_EXCEEDED, 2, "The request could not be served in time.", UNAVAILABLE, NULL},
    {MM_SHUTTING_DOWN, 1, "The service is shutting down.", UNAVAILABLE, NULL},
    {MM_HSM_UNAVAILABLE, 5, "Tokens can't be signed at the moment.", UNAVAILABLE, NULL},
    {MM_CLOCK_UNSAFE, 5, "The service's clock is behind what it has recorded.", UNAVAILABLE, NULL},
    {MM_KEYS_UNAVAILABLE, 5, "The keys that verify the caller's JWT can't be had at the moment.", UNAVAILABLE, NULL},
    {MM_LEDGER_UNAVAILABLE, 5, "Tokens can't be recorded at the moment.", UNAVAILABLE, NULL},
    {MM_INTERNAL, 0, "Something went wrong inside the service.", "server_error", NULL},
};

/* Several codes share a wire name, and with it a sentence. */
static const struct sentence *sentence_of(enum mm_code code)
{
    const struct sentence *last = &SENTENCES[MM_ARRAY_SIZE(SENTENCES) - 1];
    for (const struct sentence *sentence = SENTENCES; sentence < last; sentence++) {
        if (strcmp(mm_code_name(sentence->code), mm_code_name(code)) == 0)
            return sentence;
    }
    return last;
}

void mm_reply_clear(struct mm_reply *reply)
{
    free(reply->owned_body);
    mm_served_unref(reply->served);
    *reply = (struct mm_reply){0};
}

struct mm_reply mm_reply_text(unsigned status, char *json)
{
    if (!json)
        return (struct mm_reply){.status = MHD_HTTP_INTERNAL_SERVER_ERROR};
    return (struct mm_reply){.status = status, .content_type = JSON_TYPE, .owned_body = json};
}

struct mm_reply mm_reply_json(unsigned status, const json_t *body)
{
    return mm_reply_text(status, body ? mm_json_compact(body, NULL) : NULL);
}

/* `reason`, cut at a character's start. */
static json_t *cut(const char *reason, size_t max)
{
    size_t length = strnlen(reason, max + 1);
    if (length > max) {
        length = max;
        while (length > 0 && ((unsigned char)reason[length] & 0xc0) == 0x80)
            length--;
    }
    json_t *text = json_stringn(reason, length);
    return text ? text : json_string("");
}

/* So that one problem can't fill the reply. */
static json_t *bounded(const char *reason)
{
    return cut(reason, REASON_MAX);
}

static json_t *list_problems(const struct mm_problems *problems)
{
    json_t *list = json_array();
    for (size_t i = 0; i < problems->n && json_array_size(list) < MM_REPLY_PROBLEMS_MAX; i++) {
        const struct mm_problem *problem = &problems->items[i];
        (void)json_array_append_new(list, json_pack("{so so}", "pointer", bounded(problem->path), "detail",
                                                    bounded(problem->reason)));
    }
    return list;
}

static const char *challenge_of(unsigned status)
{
    return status == MHD_HTTP_UNAUTHORIZED ? MM_CHALLENGE_CERTIFICATE : NULL;
}

/* The references are taken over; `errors` may be NULL. */
static struct mm_reply problem_document(enum mm_code code, json_t *detail, const char *request_id, json_t *errors)
{
    unsigned status = mm_code_http_status(code);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{ss ss si so ss ss so*}", "type", "about:blank", "title", MHD_get_reason_phrase_for(status),
                  "status", (int)status, "detail", detail, "code", mm_code_name(code), "request_id", request_id,
                  "errors", errors);
    struct mm_reply reply = mm_reply_json(status, body);
    if (reply.owned_body)
        reply.content_type = PROBLEM_TYPE;
    reply.status = status;
    reply.challenge = code == MM_CREDENTIAL_INVALID ? MM_CHALLENGE_BEARER : challenge_of(status);
    return reply;
}

static bool is_about_what_was_sent(const struct mm_error *err)
{
    return (err->code == MM_INVALID_REQUEST || err->code == MM_INVALID_JSON) && err->message[0];
}

static struct mm_reply problem(const struct sentence *sentence, const struct mm_error *err, const char *request_id,
                               const struct mm_problems *problems)
{
    const char *detail = is_about_what_was_sent(err) ? err->message : sentence->detail;
    json_t *errors = problems && problems->n > 0 ? list_problems(problems) : NULL;
    return problem_document(sentence->code, bounded(detail), request_id, errors);
}

/* A description has visible ASCII and spaces, without \" and \\ (RFC 6749 section 5.2). */
static void describe(const char *detail, char out[REASON_MAX + 1])
{
    size_t length = 0;
    for (; *detail && length < REASON_MAX; detail++) {
        bool is_allowed = *detail >= ' ' && *detail <= '~' && *detail != '\\';
        if (((unsigned char)*detail & 0xc0) != 0x80) /* one for each character */
            out[length++] = *detail == '"' ? '\'' : is_allowed ? *detail : '?';
    }
    out[length] = '\0';
}

/*
 * RFC 6749 section 5.2 has 400, and 401 for a client that isn't known; what comes before OAuth, and faults, have HTTP's
 * own.
 */
static unsigned oauth_status(const struct sentence *sentence)
{
    unsigned status = mm_code_http_status(sentence->code);
    if (sentence->oauth == INVALID_CLIENT)
        return MHD_HTTP_UNAUTHORIZED;
    return status == MHD_HTTP_FORBIDDEN ? MHD_HTTP_BAD_REQUEST : status;
}

static struct mm_reply oauth_error(const struct sentence *sentence, const struct mm_error *err)
{
    char description[REASON_MAX + 1];
    const char *detail = sentence->oauth_detail ? sentence->oauth_detail : sentence->detail;
    describe(is_about_what_was_sent(err) ? err->message : detail, description);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{ss ss}", "error", sentence->oauth, "error_description", description);
    struct mm_reply reply = mm_reply_json(oauth_status(sentence), body);
    reply.status = oauth_status(sentence);
    reply.cache = MM_CACHE_OAUTH;
    reply.challenge = challenge_of(reply.status);
    return reply;
}

struct mm_reply mm_reply_failure(enum mm_error_form form, const struct mm_error *err, const char *request_id,
                                 const struct mm_problems *problems)
{
    const struct sentence *sentence = sentence_of(err->code);
    struct mm_reply reply =
        form == MM_ERRORS_OAUTH ? oauth_error(sentence, err) : problem(sentence, err, request_id, problems);
    reply.retry_after = sentence->retry_after;
    return reply;
}

static json_t *told(const char *reason)
{
    return cut(reason, TOLD_MAX);
}

json_t *mm_reply_told_problems(const struct mm_problems *problems)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    for (size_t i = 0; list && i < problems->n; i++) {
        const struct mm_problem *problem = &problems->items[i];
        json_t *item =
            json_pack("{ss so so si so}", "severity", problem->severity == MM_PROBLEM_ERROR ? "error" : "warning",
                      "pointer", told(problem->path), "file", told(problem->file ? problem->file : ""), "line",
                      problem->line, "detail", told(problem->reason));
        if (!mm_json_append(list, item, NULL))
            return NULL;
    }
    return MM_TAKE(list);
}

struct mm_reply mm_reply_told_problem(const struct mm_error *err, const char *request_id,
                                      const struct mm_problems *problems)
{
    json_t *errors = problems && problems->n > 0 ? mm_reply_told_problems(problems) : NULL;
    struct mm_reply reply =
        problem_document(err->code, cut(err->message, MM_ERROR_MESSAGE_MAX - 1), request_id, errors);
    reply.retry_after = reply.status == MHD_HTTP_SERVICE_UNAVAILABLE ? sentence_of(err->code)->retry_after : 0;
    return reply;
}

static bool add(struct MHD_Response *response, const char *name, const char *value)
{
    return !value || MHD_add_response_header(response, name, value) == MHD_YES;
}

/* draft-ietf-httpapi-ratelimit-headers-10: the policy in whole minutes, then what is left of it and when there is more. */
static bool add_rate(struct MHD_Response *response, const struct mm_rate_state *rate)
{
    char policy[64];
    char state[96];
    if (!rate->limit)
        return true;
    (void)snprintf(policy, sizeof policy, "\"%s\";q=%lld;w=60", rate->limit, (long long)rate->per_minute);
    (void)snprintf(state, sizeof state, "\"%s\";r=%lld;t=%lld", rate->limit, (long long)rate->remaining,
                   (long long)rate->more_after);
    return add(response, "RateLimit-Policy", policy) && add(response, "RateLimit", state);
}

static bool add_headers(struct MHD_Response *response, const struct mm_reply *reply, const char *request_id,
                        enum mm_reply_connection afterwards)
{
    char cache[64] = "no-store";
    if (reply->cache == MM_CACHE_PUBLIC)
        (void)snprintf(cache, sizeof cache, "public, max-age=%lld", (long long)MM_KEY_FLOORS.max_age);
    char retry[16] = "";
    (void)snprintf(retry, sizeof retry, "%u", reply->retry_after);
    return add(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type) &&
           add(response, MHD_HTTP_HEADER_CACHE_CONTROL, cache) &&
           add(response, MHD_HTTP_HEADER_ETAG, reply->served ? reply->served->etag : NULL) &&
           add(response, MHD_HTTP_HEADER_ALLOW, reply->allow) &&
           add(response, MHD_HTTP_HEADER_RETRY_AFTER, reply->retry_after > 0 ? retry : NULL) &&
           add(response, MHD_HTTP_HEADER_PRAGMA, reply->cache == MM_CACHE_OAUTH ? "no-cache" : NULL) &&
           add(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, reply->challenge) && add_rate(response, &reply->rate) &&
           add(response, "X-Content-Type-Options", "nosniff") && add(response, "X-Request-Id", request_id) &&
           add(response, MHD_HTTP_HEADER_CONNECTION, afterwards == MM_REPLY_CLOSE ? "close" : NULL);
}

static void let_go_of_served(void *context)
{
    mm_served_unref(context);
}

static struct MHD_Response *make_response(struct mm_reply *reply)
{
    if (reply->owned_body) {
        char *body = MM_TAKE(reply->owned_body);
        struct MHD_Response *response = MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
        if (!response)
            free(body);
        return response;
    }
    if (!reply->served || !reply->content_type)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    struct mm_served *served = mm_served_ref(reply->served);
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback_cls(strlen(served->text), served->text, let_go_of_served,
                                                               served);
    if (!response)
        mm_served_unref(served);
    return response;
}

enum MHD_Result mm_reply_send(struct mm_reply *reply, struct MHD_Connection *connection, const char *request_id,
                              enum mm_reply_connection afterwards)
{
    struct MHD_Response *response = make_response(reply);
    if (!response)
        return MHD_NO;
    enum MHD_Result result = MHD_NO;
    if (add_headers(response, reply, request_id, afterwards))
        result = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    return result;
}
