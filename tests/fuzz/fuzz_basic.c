/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP's Basic scheme: input is what follows it. Id and secret that are taken are text within their bounds, and are taken again, the same, when they are
 * written as RFC 6749 section 2.3.1 has it.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "http/basic.h"
#include "http/form.h"
#include "util/base64url.h"
#include "util/utf8.h"

enum { INPUT_MAX = 1 << 16 };

static void check_text(const char *text)
{
    size_t length = strlen(text);
    assert(length <= MM_FORM_VALUE_MAX);
    for (size_t i = 0, size; i < length; i += size) {
        uint32_t code;
        size = mm_utf8_decode(text + i, length - i, &code);
        assert(size > 0);
    }
}

static char *escape(char *out, const char *text)
{
    for (; *text; text++)
        out += sprintf(out, "%%%02X", (unsigned)(unsigned char)*text);
    return out;
}

/* As base64, padding and all, in `out`. */
static void encode(const char *text, char *out)
{
    size_t length = strlen(text);
    mm_base64url_encode((const uint8_t *)text, length, out);
    for (char *at = out; *at; at++)
        *at = (char)(*at == '-' ? '+' : *at == '_' ? '/' : *at);
    if (length % 3 > 0)
        strcat(out, length % 3 == 1 ? "==" : "=");
}

static void check_again(const struct mm_basic *basic)
{
    size_t room = 3 * (strlen(basic->id) + strlen(basic->secret)) + 2;
    mm_cleanup(free) char *joined = malloc(room);
    mm_cleanup(free) char *text = malloc(4 * ((room + 2) / 3) + 1);
    assert(joined && text);
    char *end = escape(joined, basic->id);
    *end++ = ':';
    end = escape(end, basic->secret);
    *end = '\0';
    encode(joined, text);
    if (strlen(text) > MM_BASIC_MAX)
        return; /* escaped, it no longer fits */
    struct mm_basic again;
    bool is_taken = mm_basic_parse(text, &again, NULL);
    assert(is_taken && strcmp(again.id, basic->id) == 0 && strcmp(again.secret, basic->secret) == 0);
    mm_basic_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX || memchr(data, '\0', size))
        return 0;
    mm_cleanup(free) char *text = strndup((const char *)data, size);
    assert(text);
    struct mm_error err = {0};
    struct mm_basic basic;
    if (mm_basic_parse(text, &basic, &err)) {
        check_text(basic.id);
        check_text(basic.secret);
        check_again(&basic);
    } else {
        assert(err.code == MM_CREDENTIAL_INVALID || err.code == MM_INVALID_REQUEST);
    }
    mm_basic_clear(&basic);
    return 0;
}
