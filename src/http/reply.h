/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies: what a request is answered with, as a value that any thread may build, and sending it, which only the
 * connection's own thread does. Failures become RFC 9457 problem documents, or OAuth's errors, whose sentences are
 * fixed per code: the cause is for the log.
 */
#ifndef MM_HTTP_REPLY_H
#define MM_HTTP_REPLY_H

#include <microhttpd.h>

#include "http/served.h"
#include "issue/buckets.h"
#include "util/json.h"
#include "util/problems.h"

enum mm_reply_cache {
    MM_CACHE_NEVER,  /* Cache-Control: no-store */
    MM_CACHE_OAUTH,  /* the same, and Pragma: no-cache (RFC 6749 section 5.1) */
    MM_CACHE_PUBLIC, /* Cache-Control: public, max-age=‹MM_KEY_FLOORS.max_age› */
};

enum { MM_REPLY_PROBLEMS_MAX = 20 };

struct mm_reply {
    unsigned status;          /* 0: no reply yet */
    const char *content_type; /* constant; NULL without a body */
    char *owned_body;         /* freed by mm_reply_clear(); or: */
    /* A reference of the reply's own; its text is the body, unless content_type is NULL, and its tag the ETag. */
    struct mm_served *served;
    enum mm_reply_cache cache;
    const char *allow;         /* constant; NULL: none */
    unsigned retry_after;      /* seconds; 0: none */
    const char *challenge;     /* constant; 401: WWW-Authenticate */
    struct mm_rate_state rate; /* without a limit: no RateLimit fields */
};

void mm_reply_clear(struct mm_reply *reply);
static inline void mm_reply_clear_cleanup(struct mm_reply *reply)
{
    mm_reply_clear(reply);
}

/* How the failures of a path are told. */
enum mm_error_form {
    MM_ERRORS_PROBLEM, /* RFC 9457 */
    MM_ERRORS_OAUTH,   /* RFC 6749 section 5.2 */
};

/*
 * RFC 9110 wants a challenge with each 401. No scheme is registered for TLS client certificates; whoever tried Basic is
 * answered in kind.
 */
#define MM_CHALLENGE_CERTIFICATE "TLS-Client-Certificate"
#define MM_CHALLENGE_BASIC       "Basic realm=\"mintmark\", charset=\"UTF-8\""
#define MM_CHALLENGE_BEARER      "Bearer realm=\"mintmark\", error=\"invalid_token\"" /* RFC 6750 section 3 */

/* A JSON reply that is never cached. Out of memory it is a bare 500. */
struct mm_reply mm_reply_json(unsigned status, const json_t *body);

/* The same of JSON text, which is taken over; NULL stands for no memory. */
struct mm_reply mm_reply_text(unsigned status, char *json);

/*
 * The answer that tells of `err`, in that form. Only for MM_INVALID_REQUEST and MM_INVALID_JSON is the message itself
 * told; it is about what the caller sent. A problem document has the request's id, and `problems` (NULL: none) as its
 * `errors`, at most MM_REPLY_PROBLEMS_MAX of them. An OAuth error has the status of RFC 6749 section 5.2 where that
 * names one, else the code's own.
 */
struct mm_reply mm_reply_failure(enum mm_error_form form, const struct mm_error *err, const char *request_id,
                                 const struct mm_problems *problems);

/*
 * The same for operators: with the code, its own status and the whole message, and each of `problems` with its file, line and
 * severity.
 */
struct mm_reply mm_reply_told_problem(const struct mm_error *err, const char *request_id,
                                      const struct mm_problems *problems);

/* The `errors` of such a document; NULL without memory. */
MM_MUST_USE json_t *mm_reply_told_problems(const struct mm_problems *problems);

enum mm_reply_connection { MM_REPLY_KEEP_ALIVE, MM_REPLY_CLOSE };

/* Queue the reply on its connection, which must not be suspended, on the connection's thread. The body is taken. */
enum MHD_Result mm_reply_send(struct mm_reply *reply, struct MHD_Connection *connection, const char *request_id,
                              enum mm_reply_connection afterwards);

#endif
