/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request, from its request line to the end of its reply: guarded, routed, its body gathered under a cap, answered once.
 * It belongs to its connection's thread; only what it is pending on is shared.
 */
#ifndef MM_HTTP_REQUEST_H
#define MM_HTTP_REQUEST_H

#include <microhttpd.h>

#include "http/connection.h"
#include "http/forwarded.h"
#include "http/head.h"
#include "http/reply.h"
#include "http/waiting.h"
#include "oauth/principal.h"
#include "token/jwt.h"
#include "util/buffer.h"

struct mm_route;

struct mm_request {
    struct mm_service *service;
    struct mm_connection *connection;
    struct MHD_Connection *mhd;
    char id[MM_REQUEST_ID_LENGTH + 1];
    int64_t started_ns;
    struct mm_target target;
    /* The client's: of the connection, or, behind a proxy, as that says. */
    struct mm_address_key key;
    char address[MM_ADDRESS_TEXT_MAX];
    bool is_counted; /* among the requests of its address, which came through a proxy */
    struct mm_forwarded forwarded;
    struct mm_config *config;     /* the snapshot this request began with */
    const struct mm_route *route; /* NULL: none, or not by this method */
    enum mm_error_form form;      /* of its failures, from its path on */
    struct mm_buffer body;
    size_t n_discarded;
    bool is_chunked;               /* the library reads chunks leniently: nothing may follow them on the connection */
    struct mm_reply refusal;       /* decided before the body was read; sent after it */
    struct mm_principal principal; /* who sent it, once that is known; without a tenant: it isn't */
    bool is_held;                  /* its answer counts as one that is held back */
    bool is_last;                  /* its answer ends the connection */
    struct mm_rate_state rate;     /* once a token has been asked for */
    struct mm_jwt *jwt;            /* that its sender proves itself with; the principal borrows from it */
    struct mm_waiter *waiter;      /* a reference: keys are being fetched, and the handler will run again */
    struct mm_waiter *record;      /* a reference: it is being recorded that a credential was used */
    struct mm_reply held;          /* waits for that record */
    struct mm_pending *pending;
    int64_t deadline_ns; /* monotonic: whatever it waits for from when it was complete on, it is answered by then */
    enum { MM_REQUEST_HEAD, MM_REQUEST_BODY, MM_REQUEST_PENDING } state;
};

/* The library's callbacks (MHD_OPTION_URI_LOG_CALLBACK, the access handler, MHD_OPTION_NOTIFY_COMPLETED). */
void *mm_request_open(void *context, const char *target, struct MHD_Connection *mhd);
enum MHD_Result mm_request_advance(void *context, struct MHD_Connection *mhd, const char *target, const char *method,
                                   const char *version, const char *data, size_t *length, void **ret_request);
void mm_request_close(void *context, struct MHD_Connection *mhd, void **ret_request,
                      enum MHD_RequestTerminationCode why);

/* A new id, base64url of 128 random bits. False: no randomness. */
MM_MUST_USE bool mm_request_id_make(const struct mm_random *random, char ret_id[MM_REQUEST_ID_LENGTH + 1]);

/*
 * The client's certificate, with a reference for the caller: that of its handshake, or, from a listener that trusts a proxy's word, what
 * the proxy says; NULL in `ret_peer` if it has none. MM_CERTIFICATE_INVALID if it can't be parsed, MM_INVALID_REQUEST if the proxy's fields
 * can't. Nothing keeps it: who is no account here takes no memory but that of a handshake.
 */
MM_MUST_USE bool mm_request_peer(const struct mm_request *request, struct mm_certificate **ret_peer,
                                 struct mm_error *err);

/* A header field's value, borrowed; NULL if there is none. */
const char *mm_request_header(const struct mm_request *request, const char *name);

/*
 * Settle what it is pending on with `reply`, which is taken: once it is recorded that its sender's credential was used, if that counts once;
 * with the ledger's failure if that can't be. On its connection's thread.
 */
void mm_request_settle(struct mm_request *request, struct mm_reply *reply);

/* Whether its target has a query with anything in it. */
bool mm_request_has_query(const struct mm_request *request);

/* Parameters come as a form in the body, never in the URI, where others would log them (RFC 6749 section 2.3.1). MM_INVALID_REQUEST, MM_UNSUPPORTED_MEDIA_TYPE. */
MM_MUST_USE bool mm_request_check_form(const struct mm_request *request, struct mm_error *err);

/* Whether it came with an Authorization of that scheme. */
bool mm_request_authorizes_by(const struct mm_request *request, const char *scheme);

/* Log the failure, once, with its cause, and make its reply, in the form that its path has. `tenant` may be NULL. */
struct mm_reply mm_request_refuse(struct mm_request *request, const struct mm_error *err,
                                  const struct mm_problems *problems, const char *tenant);

#endif
