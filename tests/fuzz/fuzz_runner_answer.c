/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What GitHub's runner answers a job that asks for its OIDC token. What is taken can be put into a header as it is; what isn't never shows.
 */
#include "fuzz.h"

#include <string.h>

#include "client/runner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_error err = {0};
    mm_cleanup(mm_oidc_token_free) struct mm_oidc_token *token = mm_oidc_token_new(NULL);
    if (!token)
        return 0;
    if (!mm_runner_read_answer(size ? data : (const uint8_t *)"", size, token, &err)) {
        assert(err.code == MM_UNREACHABLE && !strstr(err.message, "eyJ"));
        return 0;
    }
    size_t length = strnlen(token->text, sizeof token->text);
    assert(length < sizeof token->text && mm_is_compact_jwt(token->text));
    for (size_t i = 0; i < length; i++)
        assert(token->text[i] > ' ' && token->text[i] < 0x7f);
    return 0;
}
