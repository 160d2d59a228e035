/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fetch's process writes, which has spoken with a stranger: a document within the bounds, or a reason that can be shown to anybody. Read
 * as a Cache-Control header, too: a time, or none.
 */
#include "fuzz.h"

#include <string.h>

#include "fetch/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_error err = {0};
    struct mm_fetched fetched = {0};
    const uint8_t *bytes = size ? data : (const uint8_t *)"";
    if (mm_fetch_answer_parse(bytes, size, &fetched, &err)) {
        const uint8_t *document = fetched.data;
        assert(document == bytes + MM_FETCH_HEAD_LENGTH && fetched.length == size - MM_FETCH_HEAD_LENGTH);
        assert(fetched.length <= MM_FETCH_DOCUMENT_MAX && fetched.max_age >= MM_FETCH_AGE_UNSAID);
    } else {
        assert(err.code == MM_UNREACHABLE && !fetched.data);
        for (const char *c = err.message; *c; c++)
            assert(*c >= ' ' && *c <= '~');
    }
    mm_cleanup(free) char *text = malloc(size + 1);
    assert(text);
    memcpy(text, bytes, size);
    text[size] = '\0';
    int64_t max_age = mm_fetch_max_age(text);
    assert(max_age >= MM_FETCH_AGE_UNSAID && max_age <= INT32_MAX);
    int64_t left = mm_fetch_age_left(600, text);
    assert(left >= 0 && left <= 600);
    return 0;
}
