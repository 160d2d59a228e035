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
    const char *subject_token; /* an exchange's, where it stands for the caller itself */
    bool may_be_public;        /* a client_id that the tenant declares as public needs no proof */
};

/* The parameters of that name; borrowed from the form. */
struct mm_caller_credentials mm_caller_credentials_of(const struct mm_form *form);

/*
 * Find out who sends the request: by a JWT if it brings one, else by the client's certificate. The principal is good for as long as the request
 * is. False: answer with mm_caller_refuse() and nothing else. MM_CREDENTIAL_INVALID for any JWT that proves nothing here, whyever it doesn't;
 * MM_KEYS_UNAVAILABLE; MM_OVERLOADED; the ledger's failures, where it can't be recorded that a JWT was used; MM_INVALID_REQUEST for more than one credential (RFC 6749 section 2.3) or if nothing names the tenant;
 * otherwise as mm_mtls_authenticate().
 *
 * A handler may run a second time, from its start and with the body as it was, after it was refused because keys are being fetched
 * (MM_REQUEST_WAITS): it changes nothing before it knows who is calling. Who has been proven stays so: what may be used once isn't asked for
 * again.
 */
MM_MUST_USE bool mm_caller_authenticate(struct mm_request *request, const struct mm_caller_credentials *credentials,
                                        struct mm_principal *ret_principal, struct mm_error *err);

/*
 * Once the caller is known: the keys of somebody else whose JWT the request brings; `source` as mm_key_sources_get() has it. A reference; or
 * false, and the handler answers with mm_caller_refuse().
 */
MM_MUST_USE bool mm_caller_find_keys(struct mm_request *request, const char *source, const struct mm_jwt *jwt,
                                     struct mm_jwks **ret_keys, struct mm_error *err);

/*
 * Once the caller is known: whether it is recorded that its credential was used, if that counts once. Else MM_REQUEST_WAITS, and the handler
 * answers with mm_caller_refuse(). Not asked for, the answer waits for it by itself: what a handler decides, or what mm_issue() records after it.
 */
MM_MUST_USE bool mm_caller_is_recorded(struct mm_request *request, struct mm_error *err);

/* The handler's reply when its caller isn't known, or a key that it needs: a refusal; or none yet, since the handler will run again. */
struct mm_reply mm_caller_refuse(struct mm_request *request, const struct mm_error *err);

/*
 * Answer with `reply`, which is taken, to what was worth nothing though it is no error: of a public client, whose name proves nothing, it counts as
 * a failure to authenticate does (http/slowing.h).
 */
struct mm_reply mm_caller_answer_unproved(struct mm_request *request, struct mm_reply *reply);

#endif
