/* SPDX-License-Identifier: Apache-2.0 */
#include "http/form.h"

#include <string.h>

#include "util/utf8.h"

/* The value of a hex digit, or -1. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/*
 * The byte that `length` bytes of text begin with, as it was meant, and how many bytes say so; 0: none, and `err` says
 * why. `ret_byte` may be where the text is.
 */
static size_t decode_byte(const char *text, size_t length, char *ret_byte, struct mm_error *err)
{
    char first = *text;
    if (first <= ' ' || first > '~') {
        (void)mm_fail(err, MM_INVALID_REQUEST, "the body holds a byte that a form has to escape");
        return 0;
    }
    if (first != '%') {
        *ret_byte = first == '+' ? ' ' : first;
        return 1;
    }
    int high = length >= 3 ? digit_value(text[1]) : -1;
    int low = length >= 3 ? digit_value(text[2]) : -1;
    if (high < 0 || low < 0 || (high == 0 && low == 0)) {
        (void)mm_fail(err, MM_INVALID_REQUEST, "the body holds a bad escape: %% without two hex digits, or %%00");
        return 0;
    }
    *ret_byte = (char)(high << 4 | low);
    return 3;
}

static bool is_utf8(const char *text, size_t length)
{
    for (size_t i = 0, size; i < length; i += size) {
        uint32_t code;
        size = mm_utf8_decode(text + i, length - i, &code);
        if (size == 0)
            return false;
    }
    return true;
}

/* Decode `length` bytes in place and end them with a NUL, which there must be room for. */
static bool decode(char *text, size_t length, size_t max, struct mm_error *err)
{
    size_t n = 0;
    for (size_t i = 0, size; i < length; i += size) {
        size = decode_byte(text + i, length - i, &text[n++], err);
        if (size == 0)
            return false;
    }
    text[n] = '\0';
    if (n > max)
        return mm_fail(err, MM_INVALID_REQUEST, "a parameter's name or value is longer than %zu bytes", max);
    return is_utf8(text, n) || mm_fail(err, MM_INVALID_REQUEST, "a parameter isn't UTF-8");
}

static bool take_field(char *text, size_t length, struct mm_form *form, struct mm_error *err)
{
    char *equals = memchr(text, '=', length);
    size_t name_length = equals ? (size_t)(equals - text) : length;
    char *value = equals ? equals + 1 : text + length;
    if (!decode(value, (size_t)(text + length - value), MM_FORM_VALUE_MAX, err) ||
        !decode(text, name_length, MM_FORM_NAME_MAX, err))
        return false;
    if (!equals || !*value)
        return true;
    if (form->n == MM_FORM_FIELDS_MAX)
        return mm_fail(err, MM_INVALID_REQUEST, "the body has more than %d parameters", MM_FORM_FIELDS_MAX);
    form->fields[form->n++] = (struct mm_form_field){.name = text, .value = value};
    return true;
}

bool mm_form_decode(char *text, size_t max, struct mm_error *err)
{
    return decode(text, strlen(text), max, err);
}

static char *copy_of(const char *text, size_t length)
{
    char *copy = malloc(length + 1);
    if (!copy)
        return NULL;
    if (length > 0)
        memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

bool mm_form_parse(const char *body, size_t length, struct mm_form *ret_form, struct mm_error *err)
{
    char *text = copy_of(body, length);
    *ret_form = (struct mm_form){.text = text, .length = length};
    if (!text)
        return mm_fail(err, MM_NO_MEMORY, "no memory for a form");
    for (size_t start = 0; start < length;) {
        char *end = memchr(text + start, '&', length - start);
        size_t size = end ? (size_t)(end - text) - start : length - start;
        if (!take_field(text + start, size, ret_form, err))
            return false;
        start += size + 1;
    }
    return true;
}

static bool is_listed(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

bool mm_form_check_repeats(const struct mm_form *form, const char *const *may_repeat, struct mm_error *err)
{
    for (size_t i = 0; i < form->n; i++)
        if (mm_form_value(form, form->fields[i].name) != form->fields[i].value &&
            !is_listed(may_repeat, form->fields[i].name))
            return mm_fail(err, MM_INVALID_REQUEST, "the parameter %s is repeated", form->fields[i].name);
    return true;
}

char *mm_form_value(const struct mm_form *form, const char *name)
{
    for (size_t i = 0; i < form->n; i++)
        if (strcmp(form->fields[i].name, name) == 0)
            return form->fields[i].value;
    return NULL;
}

char *mm_form_token(const struct mm_form *form, const char *name)
{
    char *token = mm_form_value(form, name);
    size_t length = token ? strlen(token) : 0;
    while (length > 0 && (token[length - 1] == '\n' || token[length - 1] == '\r'))
        token[--length] = '\0';
    return length > 0 ? token : NULL;
}

void mm_form_clear(struct mm_form *form)
{
    if (form->text)
        explicit_bzero(form->text, form->length);
    free(form->text);
    *form = (struct mm_form){0};
}
