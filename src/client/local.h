/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP to a service on this machine, over its Unix socket: one request, one answer, both bounded, no proxy, no redirects. For operators'
 * commands; libmintmark knows nothing of it.
 */
#ifndef MM_CLIENT_LOCAL_H
#define MM_CLIENT_LOCAL_H

#include "client/https.h"

enum { MM_LOCAL_BODY_MAX = 4 * 1024 * 1024 };

struct mm_local_request {
    const char *socket; /* path */
    const char *method;
    const char *path;
    const char *body;   /* JSON; NULL: none */
    int64_t timeout_ms; /* from the call to the end of the answer */
};

/*
 * Send a request and take its answer, whatever its status. MM_UNREACHABLE, naming the socket: nobody listens there, this user may not open
 * it, no whole answer came at all; MM_DEADLINE_EXCEEDED: it was sent, and none came in time.
 */
MM_MUST_USE bool mm_local_call(const struct mm_local_request *request, struct mm_https_response *ret_response,
                               struct mm_error *err);

#endif
