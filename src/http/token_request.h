/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a request for a service token, checked and taken apart. No I/O.
 */
#ifndef MM_HTTP_TOKEN_REQUEST_H
#define MM_HTTP_TOKEN_REQUEST_H

#include "policy/decide.h"

enum {
    MM_TENANT_ID_LENGTH_MAX = 128,
    /* Beyond any lifetime that a policy can grant; what is granted is the policy's to say. */
    MM_TTL_SECONDS_MAX = 366 * 24 * 3600,
};

/* Whether it has only the characters of RFC 6749's scope-token, which suit identifiers and URIs as well. */
bool mm_text_is_plain(const char *string);

struct mm_service_token_request {
    json_t *body; /* owned; everything below borrows from it */
    const char *tenant_id;
    const char *scopes[MM_SCOPES_MAX];
    struct mm_token_request token; /* its scopes are those above */
};

/*
 * Parse `length` bytes of JSON. MM_INVALID_JSON; MM_INVALID_REQUEST with every problem, by pointer, in `problems`. The
 * request must stay where it is while `token` is in use.
 */
MM_MUST_USE bool mm_service_token_request_parse(const void *data, size_t length,
                                                struct mm_service_token_request *ret_request,
                                                struct mm_problems *problems, struct mm_error *err);
void mm_service_token_request_clear(struct mm_service_token_request *request);
static inline void mm_service_token_request_clear_cleanup(struct mm_service_token_request *request)
{
    mm_service_token_request_clear(request);
}

#endif
