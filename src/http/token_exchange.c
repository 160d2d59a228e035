/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token exchange of POST /oauth2/token (RFC 8693): somebody's access token in, one for a single partition out.
 */
#include "oauth/exchange.h"

#include <string.h>

#include "http/caller.h"
#include "http/issuance.h"
#include "http/oauth_token.h"
#include "http/service.h"
#include "oauth/subject.h"
#include "revocation/revocations.h"

_Static_assert((int)MM_SUBJECT_ACTORS <= (int)MM_TOKEN_ACTORS_MAX, "each of them may be revoked");

static void on_issued(void *context, const struct mm_issued *issued, const struct mm_error *err)
{
    struct mm_reply reply = {0};
    if (issued)
        reply = mm_reply_text(MHD_HTTP_OK, mm_oauth_issued_body(issued, MM_OAUTH_BY_EXCHANGE));
    reply.cache = MM_CACHE_OAUTH;
    mm_issuance_end(context, &reply, err);
}

static struct mm_jwt *open_subject_token(const char *text, struct mm_error *err)
{
    struct mm_error why = {0};
    struct mm_jwt *jwt = mm_jwt_open(text, strlen(text), &why);
    if (!jwt)
        (void)mm_fail(err, why.code == MM_TOKEN_INVALID ? MM_SUBJECT_TOKEN_INVALID : why.code, "subject token: %s",
                      why.message);
    return jwt;
}

static bool find_keys(struct mm_request *request, const struct mm_tenant *tenant, const struct mm_jwt *jwt,
                      struct mm_jwks **ret_keys, struct mm_error *err)
{
    const char *issuer = mm_jwt_claimed_issuer(jwt);
    if (mm_subject_is_own(jwt, request->config->issuer)) {
        *ret_keys = mm_service_keys(request->service);
        return true;
    }
    if (!issuer || !mm_exchange_has_issuer(tenant->exchange, issuer))
        return mm_fail(err, MM_SUBJECT_TOKEN_INVALID, "subject token: no rule of tenant %s takes its issuer's",
                       tenant->id);
    return mm_caller_find_keys(request, issuer, jwt, ret_keys, err);
}

/* Of our own token alone: what others revoke is theirs to tell, and their tokens are short-lived. */
static bool check_revoked(struct mm_request *request, const struct mm_jwt *jwt, const struct mm_subject *subject,
                          struct mm_error *err)
{
    const struct mm_jwt_claims *claims = subject->token;
    const char *actors[MM_TOKEN_ACTORS_MAX];
    const struct mm_token_facts facts = {
        .jti = claims->id,
        .tenant = request->principal.tenant->id,
        .subject = claims->subject,
        .client_id = mm_json_string(claims->all, "client_id"),
        .resources = (const char *const *)subject->who.resources.items,
        .n_resources = subject->who.resources.n,
        .actors = actors,
        .n_actors = mm_token_actors(claims->all, actors),
        .kid = mm_jwt_kid(jwt),
        .issued_at = claims->issued_at,
        .expires_at = claims->expires_at,
    };
    if (!facts.jti || facts.issued_at < 0)
        return mm_fail(err, MM_SUBJECT_TOKEN_INVALID, "subject token: not one that could be revoked");
    return !mm_revocations_has(request->service->parts.revocations, &facts) ||
           mm_fail(err, MM_SUBJECT_TOKEN_INVALID, "subject token: it has been revoked");
}

/* Whose token it is, verified, and that the principal may ask on their behalf. */
static bool take_subject(struct mm_request *request, struct mm_jwt *jwt, struct mm_principal *principal,
                         struct mm_subject *subject, struct mm_error *err)
{
    mm_cleanup(mm_jwks_unref) struct mm_jwks *keys = NULL;
    int64_t now = mm_clock_now(request->service->parts.clock);
    if (!find_keys(request, principal->tenant, jwt, &keys, err) ||
        !mm_subject_verify(jwt, keys, principal->tenant, request->config->issuer, now, subject, err))
        return false;
    return (!subject->account || check_revoked(request, jwt, subject, err)) && mm_subject_act(subject, principal, err);
}

static struct mm_reply begin(struct mm_request *request, const struct mm_oauth_request *asked,
                             const struct mm_principal *principal)
{
    struct mm_error err = {0};
    struct mm_exchange_target target;
    if (!mm_exchange_target_resolve(principal->tenant, &asked->target, asked->scopes, asked->n_scopes, &target, &err))
        return mm_request_refuse(request, &err, NULL, principal->tenant->id);
    const struct mm_token_request token = {
        .scopes = target.scopes,
        .n_scopes = target.n_scopes,
        .resource_id = target.resource_id,
        .audience = target.audience,
        .ttl = asked->ttl,
        .is_bound = asked->is_bound,
    };
    return mm_issuance_begin(request, principal, &token, on_issued);
}

/* Somebody's access token: the user's exchange. */
static struct mm_reply serve_access_token(struct mm_request *request, const struct mm_oauth_request *asked,
                                          const char *subject_token)
{
    struct mm_error err = {0};
    struct mm_principal principal;
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = NULL;
    mm_cleanup(mm_subject_clear) struct mm_subject subject = {0};
    struct mm_caller_credentials credentials = mm_caller_credentials_of(&asked->form);
    credentials.may_be_public = true;
    if (!mm_caller_authenticate(request, &credentials, &principal, &err))
        return mm_caller_refuse(request, &err);
    jwt = open_subject_token(subject_token, &err);
    if (!jwt || !take_subject(request, jwt, &principal, &subject, &err))
        return mm_caller_refuse(request, &err);
    return begin(request, asked, &principal);
}

/* A platform's identity token: the account that it stands for gets what it would by client_credentials. */
static struct mm_reply serve_jwt(struct mm_request *request, const struct mm_oauth_request *asked,
                                 const char *subject_token)
{
    struct mm_caller_credentials credentials = mm_caller_credentials_of(&asked->form);
    credentials.subject_token = subject_token;
    return mm_oauth_issue_own(request, asked, &credentials, on_issued);
}

static const struct subject_type {
    const char *name;
    struct mm_reply (*serve)(struct mm_request *request, const struct mm_oauth_request *asked,
                             const char *subject_token);
} SUBJECT_TYPES[] = {
    {MM_TOKEN_TYPE_ACCESS_TOKEN, serve_access_token},
    {"urn:ietf:params:oauth:token-type:jwt", serve_jwt},
};

static const struct subject_type *find_subject_type(const char *name, struct mm_error *err)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(SUBJECT_TYPES); i++)
        if (strcmp(SUBJECT_TYPES[i].name, name) == 0)
            return &SUBJECT_TYPES[i];
    (void)mm_fail(err, MM_INVALID_REQUEST, "no such subject_token_type is supported");
    return NULL;
}

struct mm_reply mm_serve_token_exchange(struct mm_request *request, const struct mm_oauth_request *asked)
{
    struct mm_error err = {0};
    const struct mm_exchange_parameters parameters = {
        .subject_token = mm_form_token(&asked->form, "subject_token"),
        .subject_token_type = mm_form_value(&asked->form, "subject_token_type"),
        .actor_token = mm_form_value(&asked->form, "actor_token"),
        .actor_token_type = mm_form_value(&asked->form, "actor_token_type"),
        .requested_token_type = mm_form_value(&asked->form, "requested_token_type"),
    };
    const struct subject_type *type = NULL;
    if (mm_exchange_check_parameters(&parameters, &err))
        type = find_subject_type(parameters.subject_token_type, &err);
    return type ? type->serve(request, asked, parameters.subject_token) : mm_request_refuse(request, &err, NULL, NULL);
}
