/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request brings to prove who sends it: at most one JWT, from wherever clients put one, and the certificate of its connection. Nothing
 * is verified here.
 */
#ifndef MM_HTTP_CREDENTIALS_H
#define MM_HTTP_CREDENTIALS_H

#include "http/basic.h"
#include "http/caller.h"
#include "oauth/assertion.h"

struct mm_credentials {
    const char *tenant_id; /* NULL: none; so are those below */
    const char *client_id;
    const char *jwt;
    enum mm_assertion_way way;   /* how the JWT came */
    struct mm_certificate *peer; /* a reference */
    struct mm_basic basic;       /* owned: what the above may point into */
};

/*
 * MM_INVALID_REQUEST for more than one JWT, whatever they are (RFC 6749 section 2.3), and halves of an assertion's
 * parameters. A certificate beside a JWT is no second credential: it is what a token can be bound to (RFC 8705 section 3).
 * MM_CREDENTIAL_INVALID for what can't be any client's, and two ids that differ. Otherwise as mm_request_peer(). To be cleared whatever comes of it.
 */
MM_MUST_USE bool mm_credentials_take(const struct mm_request *request, const struct mm_caller_credentials *said,
                                     struct mm_credentials *ret_credentials, struct mm_error *err);
void mm_credentials_clear(struct mm_credentials *credentials);
static inline void mm_credentials_clear_cleanup(struct mm_credentials *credentials)
{
    mm_credentials_clear(credentials);
}

#endif
