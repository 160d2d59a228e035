/* SPDX-License-Identifier: Apache-2.0 */
/* The body of POST /v1/service-tokens: what is taken obeys every bound, and reads the same once it is written again. */
#include "fuzz.h"

#include <string.h>

#include "http/token_request.h"

enum { TTL_MAX = 366 * 24 * 3600 };

static void check_text(const char *text, size_t max)
{
    size_t length = strlen(text);
    assert(length >= 1 && length <= max);
    for (size_t i = 0; i < length; i++)
        assert(text[i] > ' ' && text[i] <= '~' && text[i] != '"' && text[i] != '\\');
}

static void check_request(const struct mm_service_token_request *request)
{
    const struct mm_token_request *token = &request->token;
    check_text(request->tenant_id, MM_TENANT_ID_LENGTH_MAX);
    assert(token->scopes == request->scopes && token->n_scopes >= 1 && token->n_scopes <= MM_SCOPES_MAX);
    for (size_t i = 0; i < token->n_scopes; i++) {
        check_text(token->scopes[i], MM_SCOPE_LENGTH_MAX);
        for (size_t j = 0; j < i; j++)
            assert(strcmp(token->scopes[i], token->scopes[j]) != 0);
    }
    if (token->resource_id) {
        check_text(token->resource_id, MM_RESOURCE_LENGTH_MAX);
        assert(!strchr(token->resource_id, '*'));
    }
    if (token->audience)
        check_text(token->audience, MM_AUDIENCE_LENGTH_MAX);
    assert(token->ttl >= 0 && token->ttl <= TTL_MAX);
    assert((token->ttl > 0) == (json_object_get(request->body, "ttl_seconds") != NULL));
    assert(json_object_size(request->body) ==
           2 + (size_t)(token->resource_id != NULL) + (size_t)(token->audience != NULL) + (size_t)(token->ttl > 0));
}

static void check_written_again(const struct mm_service_token_request *request)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request again = {0};
    mm_cleanup(free) char *text = mm_json_compact(request->body, NULL);
    assert(text);
    bool is_taken = mm_service_token_request_parse(text, strlen(text), &again, &problems, NULL);
    assert(is_taken && json_equal(request->body, again.body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request request = {0};
    struct mm_error err = {0};
    if (mm_service_token_request_parse(data, size, &request, &problems, &err)) {
        assert(err.code == MM_OK && problems.n_errors == 0);
        check_request(&request);
        check_written_again(&request);
        return 0;
    }
    assert(!request.body && err.message[0]);
    assert(err.code == MM_INVALID_JSON || (err.code == MM_INVALID_REQUEST && problems.n_errors > 0));
    for (size_t i = 0; i < problems.n; i++)
        assert(problems.items[i].path[0] == '/' || !problems.items[i].path[0]);
    return 0;
}
