/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner side of libmintmark's client: a call whose waits and randomness are passed in, for the token source and for tests.
 */
#ifndef MM_CLIENT_CLIENT_H
#define MM_CLIENT_CLIENT_H

#include <mintmark/client.h>

#include "crypto/digest.h"
#include "util/json.h"

MM_DEFINE_CLEANUP(struct mm_client, mm_client_close);

enum { MM_CLIENT_BODY_MAX = 65536 }; /* of an answer: a JWT of the largest size, and as much again beside it */

/* How a call waits, and what can end it early. Any function may be called from the thread that makes the call, and no other. */
struct mm_call {
    bool (*wait)(void *context, int64_t milliseconds); /* between two attempts; false: cancelled */
    bool (*is_cancelled)(void *context);               /* asked now and then during an attempt; NULL: never is */
    void *context;
    const struct mm_random *random;
};

/* The body of a request, which is checked; MM_USAGE. The caller releases it. */
MM_MUST_USE json_t *mm_client_request_body(const struct mm_client_request *request, struct mm_error *err);

/*
 * Ask for what `body` says, as mm_client_issue_service_token() does. After a failure `ret_retry_after_ms` is what the last answer's
 * Retry-After still asks for, 0 if nothing.
 */
MM_MUST_USE bool mm_client_call(const struct mm_client *client, const json_t *body, const struct mm_call *call,
                                struct mm_service_token **ret_token, int64_t *ret_retry_after_ms, struct mm_error *err);

/* Milliseconds, as the options gave them or the default. */
int64_t mm_client_total_timeout_ms(const struct mm_client *client);

#endif
