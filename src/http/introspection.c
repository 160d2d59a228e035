/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /oauth2/introspect (RFC 7662): whether a token is good, for who it is meant for or was issued to. Everybody else, and whatever else was
 * sent, gets the same answer as for a token that isn't (section 4). It writes nothing, neither to the ledger nor to the log,
 * but that an assertion was used; then the answer waits for that to be durable.
 */
#include <string.h>

#include "http/routes.h"
#include "http/token_form.h"

/* Resource servers ask about tokens of their own tenant alone, even where tenants share an audience. */
static bool may_ask(const struct mm_principal *principal, const struct mm_own_token *token)
{
    if (mm_token_is_issued_to(token, principal))
        return true;
    if (strcmp(token->facts.tenant, principal->tenant->id) != 0)
        return false;
    for (size_t i = 0; i < token->n_audiences; i++)
        if (mm_strings_have(&principal->account->introspects, token->audiences[i]))
            return true;
    return false;
}

struct mm_reply mm_serve_introspection(struct mm_request *request)
{
    struct mm_error err = {0};
    struct mm_error why = {0};
    struct mm_principal principal;
    mm_cleanup(mm_token_form_clear) struct mm_token_form asked = {0};
    if (!mm_token_form_parse(request, &asked, &err))
        return mm_request_refuse(request, &err, NULL, NULL);
    if (!mm_caller_authenticate(request, &asked.credentials, &principal, &err))
        return mm_caller_refuse(request, &err);
    mm_cleanup(mm_own_token_unref) struct mm_own_token *token = mm_token_form_find(request, &asked, &why);
    if (!token && why.code != MM_TOKEN_INVALID)
        return mm_request_refuse(request, &why, NULL, principal.tenant->id);
    bool is_told = token && may_ask(&principal, token) && mm_token_is_good(request, token);
    struct mm_reply reply = mm_reply_text(MHD_HTTP_OK, strdup(is_told ? token->told : "{\"active\":false}"));
    reply.cache = MM_CACHE_OAUTH;
    return reply;
}
