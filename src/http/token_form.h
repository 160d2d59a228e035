/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about a token of ours: POST /oauth2/revoke (RFC 7009) and POST /oauth2/introspect (RFC 7662) take the same form.
 */
#ifndef MM_HTTP_TOKEN_FORM_H
#define MM_HTTP_TOKEN_FORM_H

#include "http/caller.h"
#include "revocation/own_tokens.h"

struct mm_token_form {
    struct mm_form form; /* owned; what follows borrows from it */
    const char *token;
    struct mm_caller_credentials credentials;
};

/*
 * Take the body apart. MM_INVALID_REQUEST for what isn't a form, a repeated parameter, no token. A token_type_hint is only a hint, and ignored:
 * there is one type (RFC 7009 section 2.1). To be cleared whatever comes of it.
 */
MM_MUST_USE bool mm_token_form_parse(const struct mm_request *request, struct mm_token_form *ret_form,
                                     struct mm_error *err);
void mm_token_form_clear(struct mm_token_form *form);
static inline void mm_token_form_clear_cleanup(struct mm_token_form *form)
{
    mm_token_form_clear(form);
}

/* The token, if it is one of ours that hasn't expired, good or not; NULL: MM_TOKEN_INVALID, MM_NO_MEMORY. */
MM_MUST_USE struct mm_own_token *mm_token_form_find(const struct mm_request *request, const struct mm_token_form *form,
                                                    struct mm_error *err);

/* Neither revoked nor from the future. */
bool mm_token_is_good(const struct mm_request *request, const struct mm_own_token *token);

/* Whether it was issued to that account. */
bool mm_token_is_issued_to(const struct mm_own_token *token, const struct mm_principal *principal);

#endif
