/* SPDX-License-Identifier: Apache-2.0 */
#include "client/answer.h"

#include <string.h>

#include "client/service_token.h"

bool mm_answer_is_unserved(unsigned status)
{
    return status == 429 || status == 503;
}

/* The code of the table that a problem document names; one we don't know (a newer service's) by its HTTP status. */
static enum mm_code code_of_problem(const char *name, unsigned status)
{
    static const enum mm_code CODES[] = {
#define CODE_SYMBOL(symbol, number, wire, http, exit_status) symbol,
        MM_ERROR_TABLE(CODE_SYMBOL)
#undef CODE_SYMBOL
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CODES); i++)
        if (strcmp(mm_code_name(CODES[i]), name) == 0 && mm_code_http_status(CODES[i]) == status)
            return CODES[i];
    if (status == 429)
        return MM_OVERLOADED;
    return status < 500 ? MM_INVALID_REQUEST : MM_INTERNAL;
}

/* A member that fits on one line of a log, whoever wrote it; else NULL. */
static const char *plain_string(const json_t *object, const char *name)
{
    const char *text = mm_json_string(object, name);
    for (const char *c = text; c && *c; c++)
        if (*c < ' ' || *c > '~')
            return NULL;
    return text && *text ? text : NULL;
}

static void read_problem(const struct mm_https_response *answer, struct mm_refusal *refusal, struct mm_error *err)
{
    struct mm_error why = {0};
    if (answer->status < 400 || strcmp(answer->content_type, "application/problem+json") != 0)
        return;
    refusal->document = mm_json_parse(answer->body.data, answer->body.length, &why);
    if (why.code == MM_NO_MEMORY)
        (void)mm_fail(err, why.code, "%s", why.message);
    refusal->code = plain_string(refusal->document, "code");
    refusal->detail = plain_string(refusal->document, "detail");
    refusal->request_id = plain_string(refusal->document, "request_id");
}

static enum mm_code code_of_status(unsigned status)
{
    if (status == 429)
        return MM_OVERLOADED;
    return status >= 400 && status < 500 ? MM_INVALID_REQUEST : MM_UNREACHABLE;
}

bool mm_answer_refused(const struct mm_https_response *answer, const char *hoped_for, struct mm_refusal *ret_refusal,
                       struct mm_error *err)
{
    *ret_refusal = (struct mm_refusal){0};
    read_problem(answer, ret_refusal, err);
    const struct mm_refusal *said = ret_refusal;
    if (said->code)
        return mm_fail(err, code_of_problem(said->code, answer->status), "%s: %s (request %s)", said->code,
                       said->detail ? said->detail : "no detail",
                       said->request_id ? said->request_id : "without an id");
    return mm_fail(err, code_of_status(answer->status),
                   "answered %u without %s or a problem document: is this a Mintmark service?", answer->status,
                   hoped_for);
}

struct mm_service_token *mm_answer_read(const struct mm_https_response *answer, const json_t *request,
                                        struct mm_refusal *ret_refusal, struct mm_error *err)
{
    *ret_refusal = (struct mm_refusal){0};
    if (answer->status == 201 && strcmp(answer->content_type, "application/json") == 0)
        return mm_service_token_read(answer->body.data, answer->body.length, request, err);
    (void)mm_answer_refused(answer, "a token", ret_refusal, err);
    return NULL;
}

void mm_refusal_clear(struct mm_refusal *refusal)
{
    json_decref(refusal->document);
    *refusal = (struct mm_refusal){0};
}
