/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service's answer means: a token, or an error of the table with what the problem document (RFC 9457) says. Believes
 * nothing that isn't exactly as documented.
 */
#ifndef MM_CLIENT_ANSWER_H
#define MM_CLIENT_ANSWER_H

#include <mintmark/client.h>

#include "client/https.h"
#include "util/json.h"

/* What a refusal said; all empty after another failure. */
struct mm_refusal {
    json_t *document;       /* owns the strings */
    const char *code;       /* NULL: no problem document */
    const char *detail;     /* NULL: none, or not printable ASCII */
    const char *request_id; /* the same */
};

/*
 * 201 with a token that fits `request` (the body that was sent): the token. Otherwise NULL, `err` and `ret_refusal`, which the caller
 * clears in either case. MM_UNREACHABLE for an answer that no Mintmark service gives.
 */
MM_MUST_USE struct mm_service_token *mm_answer_read(const struct mm_https_response *answer, const json_t *request,
                                                    struct mm_refusal *ret_refusal, struct mm_error *err);

/*
 * What an answer says that isn't the one that was hoped for: `err` by its problem document, which `ret_refusal` holds, for the caller to
 * clear, or MM_UNREACHABLE and the like for an answer without one. False.
 */
bool mm_answer_refused(const struct mm_https_response *answer, const char *hoped_for, struct mm_refusal *ret_refusal,
                       struct mm_error *err);

void mm_refusal_clear(struct mm_refusal *refusal);
static inline void mm_refusal_clear_cleanup(struct mm_refusal *refusal)
{
    mm_refusal_clear(refusal);
}

/* Whether such an answer says that the request wasn't served, so that it may be sent again. */
bool mm_answer_is_unserved(unsigned status);

#endif
