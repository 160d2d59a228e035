/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OAuth's endpoints: POST /oauth2/token, which issues by client_credentials to whoever proves to be a client
 * (RFC 6749 section 4.4) or by one of the other grants of its table, and the authorization endpoint, which authorizes nobody.
 */
#include "http/oauth_token.h"

#include <string.h>

#include "http/caller.h"
#include "http/guard.h"
#include "http/issuance.h"
#include "http/routes.h"
#include "oauth/exchange.h"
#include "policy/exchange.h"
#include "util/json_writer.h"

/* The scopes, an array of JSON text, joined by spaces; NULL without memory. */
static char *join_scopes(const char *scopes)
{
    mm_cleanup(json_decref) json_t *array = mm_json_parse(scopes, strlen(scopes), NULL);
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_JSON_TEXT_MAX);
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!mm_buffer_append_string(&text, i ? " " : "", NULL) ||
            !mm_buffer_append_string(&text, json_string_value(json_array_get(array, i)), NULL))
            return NULL;
    return (char *)MM_TAKE(text.data);
}

char *mm_oauth_issued_body(const struct mm_issued *issued, enum mm_oauth_grant grant)
{
    mm_cleanup(free) char *scope = join_scopes(issued->scopes);
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer body = mm_json_writer_make();
    if (!scope)
        return NULL;
    mm_json_open(&body, '{');
    mm_json_member_string(&body, "access_token", issued->jwt);
    mm_json_member_string(&body, "token_type", "Bearer");
    mm_json_member_integer(&body, "expires_in", issued->expires_at - issued->issued_at);
    mm_json_member_string(&body, "scope", scope);
    if (grant == MM_OAUTH_BY_EXCHANGE) {
        mm_json_member_string(&body, "issued_token_type", MM_TOKEN_TYPE_ACCESS_TOKEN);
        mm_json_name(&body, "resources");
        mm_json_put_text(&body, issued->resources);
    }
    mm_json_close(&body, '}');
    return mm_json_writer_finish(&body, NULL);
}

static void on_issued(void *context, const struct mm_issued *issued, const struct mm_error *err)
{
    struct mm_reply reply = {0};
    if (issued)
        reply = mm_reply_text(MHD_HTTP_OK, mm_oauth_issued_body(issued, MM_OAUTH_BY_CLIENT));
    reply.cache = MM_CACHE_OAUTH;
    mm_issuance_end(context, &reply, err);
}

/* A request without a scope is for those of the account's only grant (RFC 6749 section 3.3). */
static bool choose_scopes(const struct mm_account *account, const struct mm_oauth_request *asked,
                          struct mm_token_request *token, struct mm_error *err)
{
    token->scopes = asked->scopes;
    token->n_scopes = asked->n_scopes;
    if (asked->n_scopes > 0)
        return true;
    if (account->n_grants != 1)
        return mm_fail(err, MM_INVALID_SCOPE, "no scope is asked for, and %s has %zu grants", account->identity,
                       account->n_grants);
    token->scopes = (const char *const *)account->grants[0].scopes.items;
    token->n_scopes = account->grants[0].scopes.n;
    return true;
}

struct mm_reply mm_oauth_issue_own(struct mm_request *request, const struct mm_oauth_request *asked,
                                   const struct mm_caller_credentials *credentials, mm_issue_done done)
{
    struct mm_error err = {0};
    struct mm_principal principal;
    if (!mm_caller_authenticate(request, credentials, &principal, &err))
        return mm_caller_refuse(request, &err);
    struct mm_oauth_target target;
    struct mm_token_request token = {.ttl = asked->ttl, .is_bound = asked->is_bound};
    if (!choose_scopes(principal.account, asked, &token, &err) ||
        !mm_oauth_target_resolve(principal.tenant, &asked->target, &target, &err))
        return mm_request_refuse(request, &err, NULL, principal.tenant->id);
    token.audience = target.audience;
    token.resource_id = target.has_resource ? target.resource_id : NULL;
    return mm_issuance_begin(request, &principal, &token, done);
}

static struct mm_reply serve_client_credentials(struct mm_request *request, const struct mm_oauth_request *asked)
{
    const struct mm_caller_credentials credentials = mm_caller_credentials_of(&asked->form);
    return mm_oauth_issue_own(request, asked, &credentials, on_issued);
}

static bool is_always_on(const struct mm_policy *policy)
{
    (void)policy;
    return true;
}

/* A platform's token is exchanged as well: for one of the account that it stands for. */
static bool any_exchanges(const struct mm_policy *policy)
{
    for (size_t i = 0; i < policy->n_tenants; i++)
        if (policy->tenants[i].exchange)
            return true;
    return mm_oauth_has_federation(policy);
}

static const struct grant_type {
    const char *name;
    bool (*is_on)(const struct mm_policy *policy);
    struct mm_reply (*serve)(struct mm_request *request, const struct mm_oauth_request *asked);
} GRANT_TYPES[] = {
    {"client_credentials", is_always_on, serve_client_credentials},
    {"urn:ietf:params:oauth:grant-type:token-exchange", any_exchanges, mm_serve_token_exchange},
};

const char *mm_oauth_grant_type(const struct mm_policy *policy, size_t i)
{
    for (size_t j = 0; j < MM_ARRAY_SIZE(GRANT_TYPES); j++)
        if (GRANT_TYPES[j].is_on(policy) && i-- == 0)
            return GRANT_TYPES[j].name;
    return NULL;
}

static const struct grant_type *find_grant_type(const struct mm_policy *policy, const char *name, struct mm_error *err)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(GRANT_TYPES); i++)
        if (GRANT_TYPES[i].is_on(policy) && strcmp(GRANT_TYPES[i].name, name) == 0)
            return &GRANT_TYPES[i];
    (void)mm_fail(err, MM_UNSUPPORTED_GRANT_TYPE, "no such grant type");
    return NULL;
}

struct mm_reply mm_serve_token(struct mm_request *request)
{
    struct mm_error err = {0};
    mm_cleanup(mm_oauth_request_clear) struct mm_oauth_request asked = {0};
    const struct grant_type *type = NULL;
    if (mm_request_check_form(request, &err) &&
        mm_oauth_request_parse((const char *)request->body.data, request->body.length, &asked, &err))
        type = find_grant_type(&request->config->policy, asked.grant_type, &err);
    return type ? type->serve(request, &asked) : mm_request_refuse(request, &err, NULL, NULL);
}

/*
 * There is no response type, so no client has a redirect_uri that could be trusted: the answer is the user agent's,
 * never a redirect (RFC 6749 section 4.1.2.1). Readers of the discovery documents expect the endpoint to exist.
 */
struct mm_reply mm_serve_authorization(struct mm_request *request)
{
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_UNSUPPORTED_RESPONSE_TYPE, "the authorization endpoint was asked");
    return mm_request_refuse(request, &err, NULL, NULL);
}
