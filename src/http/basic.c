/* SPDX-License-Identifier: Apache-2.0 */
#include "http/basic.h"

#include <string.h>

#include "http/form.h"
#include "util/base64url.h"

/* Characters of base64 without the padding, which must make it whole; SIZE_MAX: it doesn't. */
static size_t unpadded_length(const char *text, size_t length)
{
    size_t n = length;
    while (n > 0 && length - n < 2 && text[n - 1] == '=')
        n--;
    return length > 0 && length % 4 == 0 ? n : SIZE_MAX;
}

/* From base64 to what base64url has for it; what is base64url already is wrong here. */
static bool translate(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '-' || text[i] == '_')
            return false;
        if (text[i] == '+')
            text[i] = '-';
        else if (text[i] == '/')
            text[i] = '_';
    }
    return true;
}

static bool decode(struct mm_basic *basic, size_t n)
{
    size_t length;
    /* In place: each byte is written behind the characters that it comes from. */
    if (!translate(basic->text, n) || !mm_base64url_decode(basic->text, n, (uint8_t *)basic->text, &length) ||
        memchr(basic->text, '\0', length))
        return false;
    basic->text[length] = '\0';
    char *colon = strchr(basic->text, ':');
    if (!colon)
        return false;
    *colon = '\0';
    basic->id = basic->text;
    basic->secret = colon + 1;
    return true;
}

bool mm_basic_parse(const char *credentials, struct mm_basic *ret_basic, struct mm_error *err)
{
    size_t length = strlen(credentials);
    size_t n = unpadded_length(credentials, length);
    *ret_basic = (struct mm_basic){0};
    if (n > MM_BASIC_MAX)
        return mm_fail(err, MM_CREDENTIAL_INVALID, "the Authorization isn't base64, or is too long");
    ret_basic->text = strdup(credentials);
    if (!ret_basic->text)
        return mm_fail(err, MM_NO_MEMORY, "no memory for an Authorization");
    ret_basic->length = length + 1;
    if (!decode(ret_basic, n))
        return mm_fail(err, MM_CREDENTIAL_INVALID, "the Authorization isn't the base64 of an id and a secret");
    return mm_form_decode(ret_basic->id, MM_FORM_VALUE_MAX, err) &&
           mm_form_decode(ret_basic->secret, MM_FORM_VALUE_MAX, err);
}

void mm_basic_clear(struct mm_basic *basic)
{
    if (basic->text)
        explicit_bzero(basic->text, basic->length);
    free(basic->text);
    *basic = (struct mm_basic){0};
}
