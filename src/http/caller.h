/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is calling, at each path that has to know: what a request brings to prove it, and which account that stands for.
 */
#ifndef MM_HTTP_CALLER_H
#define MM_HTTP_CALLER_H

#include "http/form.h"
#include "http/request.h"
#include "token/jwt.h"

/*
 * What the body says of its sender; NULL where it says nothing. The client's certificate and the Authorization header are looked at
 * beside it.
 */
struct mm_caller_credentials {
    const char *tenant_id;
    const char *client_id; /* `tenant/account`, or the account's id alone */
    const char *client_secret;
    const char *client_assertion;
    const char *client_assertion_type;
    bool may_be_public; /* a client_id that the tenant declares as public needs no proof */
};

/* The parameters of that name; borrowed from the form. */
struct mm_caller_credentials mm_caller_credentials_of(const struct mm_form *form);

/*
 * Find out who sends the request; the principal is good for as long as the request is. False: answer with mm_caller_refuse() and
 * nothing else. MM_INVALID_REQUEST for more than one credential (RFC 6749 section 2.3) or if nothing names the tenant; otherwise
 * as mm_mtls_authenticate().
 *
 * A handler may run a second time, from its start and with the body as it was, after it was refused because keys are being fetched: it
 * keeps nothing and changes nothing before it knows who is calling. The second time it isn't asked for proof again.
 */
MM_MUST_USE bool mm_caller_authenticate(struct mm_request *request, const struct mm_caller_credentials *credentials,
                                        struct mm_principal *ret_principal, struct mm_error *err);

/*
 * The keys of somebody whose JWT a request brings: `source` as mm_key_sources_get() has it. A reference; or false, and the handler answers with
 * mm_caller_refuse() and will run again if keys are being fetched.
 */
MM_MUST_USE bool mm_caller_find_keys(struct mm_request *request, const char *source, const struct mm_jwt *jwt,
                                     struct mm_jwks **ret_keys, struct mm_error *err);

/* The handler's reply when its caller isn't known: a refusal; or none yet, since the handler will run again. */
struct mm_reply mm_caller_refuse(struct mm_request *request, const struct mm_error *err);

#endif
