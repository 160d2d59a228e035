/* SPDX-License-Identifier: Apache-2.0 */
#include "http/token_form.h"

#include <string.h>

#include "http/service.h"
#include "revocation/revocations.h"

bool mm_token_form_parse(const struct mm_request *request, struct mm_token_form *ret_form, struct mm_error *err)
{
    static const char *const MAY_REPEAT[] = {NULL};
    *ret_form = (struct mm_token_form){0};
    if (!mm_request_check_form(request, err) ||
        !mm_form_parse((const char *)request->body.data, request->body.length, &ret_form->form, err) ||
        !mm_form_check_repeats(&ret_form->form, MAY_REPEAT, err))
        return false;
    ret_form->token = mm_form_token(&ret_form->form, "token");
    ret_form->credentials = mm_caller_credentials_of(&ret_form->form);
    return ret_form->token || mm_fail(err, MM_INVALID_REQUEST, "the parameter token is missing");
}

void mm_token_form_clear(struct mm_token_form *form)
{
    mm_form_clear(&form->form);
    *form = (struct mm_token_form){0};
}

struct mm_own_token *mm_token_form_find(const struct mm_request *request, const struct mm_token_form *form,
                                        struct mm_error *err)
{
    struct mm_service *service = request->service;
    int64_t now = mm_clock_now(service->parts.clock);
    mm_cleanup(mm_jwks_unref) struct mm_jwks *keys = mm_service_keys(service);
    return mm_own_tokens_verify(service->own_tokens, keys, form->token, strlen(form->token), now, err);
}

bool mm_token_is_good(const struct mm_request *request, const struct mm_own_token *token)
{
    struct mm_service *service = request->service;
    return mm_own_token_has_begun(token, mm_clock_now(service->parts.clock)) &&
           !mm_revocations_has(service->parts.revocations, &token->facts);
}

bool mm_token_is_issued_to(const struct mm_own_token *token, const struct mm_principal *principal)
{
    return strcmp(token->facts.tenant, principal->tenant->id) == 0 &&
           strcmp(token->facts.client_id, principal->account->identity) == 0;
}
