/* SPDX-License-Identifier: Apache-2.0 */
#include <mintmark/error.h>

#include <stdarg.h>
#include <stdio.h>

#include "util/base.h"

struct code_entry {
    enum mm_code code;
    const char *wire;
    unsigned http;
    int status;
};

static const struct code_entry CODES[] = {
#define MM_ERROR_ENTRY(symbol, number, wire, http, status) {symbol, wire, http, status},
    MM_ERROR_TABLE(MM_ERROR_ENTRY)
#undef MM_ERROR_ENTRY
};

static const struct code_entry *find(int number)
{
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if ((int)CODES[i].code == number)
            return &CODES[i];
    return NULL;
}

static const struct code_entry *find_or_internal(enum mm_code code)
{
    const struct code_entry *entry = find((int)code);
    return entry ? entry : find(MM_INTERNAL);
}

const char *mm_code_name(enum mm_code code)
{
    return find_or_internal(code)->wire;
}

unsigned mm_code_http_status(enum mm_code code)
{
    return find_or_internal(code)->http;
}

int mm_code_exit_status(enum mm_code code)
{
    return find_or_internal(code)->status;
}

bool mm_code_is_known(int number)
{
    return find(number) != NULL;
}

bool mm_fail(struct mm_error *err, enum mm_code code, const char *format, ...)
{
    if (!err || err->code != MM_OK)
        return false;
    err->code = code;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return false;
}
