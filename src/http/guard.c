/* SPDX-License-Identifier: Apache-2.0 */
#include "http/guard.h"

#include <string.h>
#include <strings.h>

/* Longer than any body this service reads; far from overflowing. */
enum { LENGTH_DIGITS_MAX = 15 };

enum { LINE_END = 2 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* tchar of RFC 9110 section 5.6.2 */
static bool is_token_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_token_char(text[i]))
            return false;
    }
    return length > 0;
}

static bool is_field_value(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool parse_length(const char *text, size_t length, uint64_t *ret_value)
{
    if (length == 0 || length > LENGTH_DIGITS_MAX)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i]))
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *ret_value = value;
    return true;
}

static bool equals(const char *text, size_t length, const char *word)
{
    return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

static void trim(const char **text, size_t *length)
{
    while (*length > 0 && is_blank(**text)) {
        (*text)++;
        (*length)--;
    }
    while (*length > 0 && is_blank((*text)[*length - 1]))
        (*length)--;
}

void mm_head_begin(struct mm_head *head, const char *version)
{
    *head = (struct mm_head){.end = (uintptr_t)version + strlen(version)};
}

void mm_head_add(struct mm_head *head, const char *name, size_t name_length, const char *value, size_t value_length)
{
    if ((uintptr_t)name != head->end + LINE_END)
        head->has_hidden_bytes = true;
    head->end = (uintptr_t)value + value_length;

    trim(&value, &value_length);
    if (!is_token(name, name_length))
        head->has_bad_name = true;
    if (!is_field_value(value, value_length))
        head->has_bad_value = true;

    if (equals(name, name_length, "Content-Length")) {
        head->n_content_length++;
        if (!parse_length(value, value_length, &head->content_length))
            head->has_bad_length = true;
    } else if (equals(name, name_length, "Transfer-Encoding")) {
        head->n_transfer_encoding++;
        if (!equals(value, value_length, "chunked"))
            head->has_unknown_encoding = true;
    } else if (equals(name, name_length, "Host")) {
        head->n_host++;
    } else if (equals(name, name_length, "Content-Type")) {
        head->n_content_type++;
    } else if (equals(name, name_length, "Authorization")) {
        head->n_authorization++;
    } else if (equals(name, name_length, "Expect")) {
        head->expects_continue = head->expects_continue || equals(value, value_length, "100-continue");
    }
}

bool mm_head_check(struct mm_head *head, const char *version, const char *end, struct mm_error *err)
{
    bool is_old = strcmp(version, "HTTP/1.0") == 0;
    if ((uintptr_t)end != head->end + 2 * LINE_END)
        head->has_hidden_bytes = true;
    if (!is_old && strcmp(version, "HTTP/1.1") != 0)
        return mm_fail(err, MM_INVALID_REQUEST, "the HTTP version is neither HTTP/1.1 nor HTTP/1.0");
    if (head->has_bad_name)
        return mm_fail(err, MM_INVALID_REQUEST, "a header field's name holds a character that names can't have");
    if (head->has_bad_value)
        return mm_fail(err, MM_INVALID_REQUEST, "a header field's value holds a control character");
    if (head->has_hidden_bytes)
        return mm_fail(err, MM_INVALID_REQUEST, "the header holds a NUL, a folded line, or a CR or LF alone");
    if (head->n_content_length > 0 && head->n_transfer_encoding > 0)
        return mm_fail(err, MM_INVALID_REQUEST, "Content-Length and Transfer-Encoding exclude each other");
    if (head->n_content_length > 1)
        return mm_fail(err, MM_INVALID_REQUEST, "Content-Length is repeated");
    if (head->has_bad_length)
        return mm_fail(err, MM_INVALID_REQUEST, "Content-Length is not a number of bytes");
    if (head->n_transfer_encoding > 1)
        return mm_fail(err, MM_INVALID_REQUEST, "Transfer-Encoding is repeated");
    if (head->has_unknown_encoding)
        return mm_fail(err, MM_INVALID_REQUEST, "the only Transfer-Encoding understood is chunked");
    if (head->n_transfer_encoding > 0 && is_old)
        return mm_fail(err, MM_INVALID_REQUEST, "HTTP/1.0 has no Transfer-Encoding");
    if (head->n_host == 0 && !is_old)
        return mm_fail(err, MM_INVALID_REQUEST, "Host is missing");
    if (head->n_host > 1)
        return mm_fail(err, MM_INVALID_REQUEST, "Host is repeated");
    if (head->n_content_type > 1)
        return mm_fail(err, MM_INVALID_REQUEST, "Content-Type is repeated");
    if (head->n_authorization > 1)
        return mm_fail(err, MM_INVALID_REQUEST, "Authorization is repeated");
    return true;
}

bool mm_target_check(const char *target, size_t length, struct mm_error *err)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)target[i];
        if (c <= 0x20 || c >= 0x7f)
            return mm_fail(err, MM_INVALID_REQUEST, "the request target holds a byte that isn't visible ASCII");
        if (c != '%')
            continue;
        if (i + 2 >= length || !is_hex(target[i + 1]) || !is_hex(target[i + 2]))
            return mm_fail(err, MM_INVALID_REQUEST, "the request target holds a %% without two hex digits");
        if (target[i + 1] == '0' && target[i + 2] == '0')
            return mm_fail(err, MM_INVALID_REQUEST, "the request target holds %%00");
    }
    return true;
}

const char *mm_target_path(const char *target)
{
    static const char *const SCHEMES[] = {"https://", "http://"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(SCHEMES); i++) {
        size_t length = strlen(SCHEMES[i]);
        if (strncasecmp(target, SCHEMES[i], length) != 0)
            continue;
        const char *path = target + length + strcspn(target + length, "/?");
        return *path == '/' ? path : "/";
    }
    return target;
}

bool mm_media_type_is(const char *value, const char *type)
{
    static const char *const CHARSETS[] = {"charset=utf-8", "charset=\"utf-8\""};
    if (!value)
        return false;
    size_t length = strcspn(value, ";");
    const char *parameter = value[length] == ';' ? value + length + 1 : NULL;
    trim(&value, &length);
    if (!equals(value, length, type))
        return false;
    if (!parameter)
        return true;
    size_t parameter_length = strlen(parameter);
    trim(&parameter, &parameter_length);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CHARSETS); i++) {
        if (equals(parameter, parameter_length, CHARSETS[i]))
            return true;
    }
    return false;
}

bool mm_etag_is_listed(const char *if_none_match, const char *etag)
{
    for (const char *item = if_none_match; item && *item;) {
        size_t length = strcspn(item, ",");
        const char *next = item[length] == ',' ? item + length + 1 : NULL;
        trim(&item, &length);
        if (length == 1 && *item == '*')
            return true;
        if (length > 2 && memcmp(item, "W/", 2) == 0) {
            item += 2;
            length -= 2;
        }
        if (length == strlen(etag) && memcmp(item, etag, length) == 0)
            return true;
        item = next;
    }
    return false;
}
