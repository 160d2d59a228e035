/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a request to the token endpoint, checked and taken apart (RFC 6749 section 4.4.2, RFC 8707 section 2). No
 * I/O.
 */
#ifndef MM_HTTP_OAUTH_REQUEST_H
#define MM_HTTP_OAUTH_REQUEST_H

#include "http/form.h"
#include "oauth/target.h"
#include "policy/decide.h"

struct mm_oauth_request {
    struct mm_form form; /* owned; everything below borrows from it */
    const char *grant_type;
    const char *scopes[MM_SCOPES_MAX]; /* distinct */
    size_t n_scopes;                   /* 0: the request has no scope */
    struct mm_oauth_target_request target;
    int64_t ttl;   /* seconds; 0: none */
    bool is_bound; /* the token is to be bound to the client's certificate */
};

/*
 * Take `length` bytes of `text` apart, as mm_form_parse() does. Parameters that nobody here knows are ignored.
 * MM_INVALID_REQUEST for what isn't a form, a repeated parameter, no grant_type, a ttl_seconds that isn't a number of
 * seconds, a certificate_bound that is neither true nor false; MM_INVALID_SCOPE for a malformed scope; MM_INVALID_TARGET for more values of resource or audience than a
 * token can have. The request is to be cleared whatever comes of it.
 */
MM_MUST_USE bool mm_oauth_request_parse(const char *text, size_t length, struct mm_oauth_request *ret_request,
                                        struct mm_error *err);
void mm_oauth_request_clear(struct mm_oauth_request *request);
static inline void mm_oauth_request_clear_cleanup(struct mm_oauth_request *request)
{
    mm_oauth_request_clear(request);
}

#endif
