/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8, one character at a time (RFC 3629): overlong forms, surrogates and what lies past U+10FFFF aren't characters.
 */
#ifndef MM_UTIL_UTF8_H
#define MM_UTIL_UTF8_H

#include "util/base.h"

/* Decode the character that NUL-terminated `text` starts with: its length in bytes (a NUL has 1), 0 if there is none. */
size_t mm_utf8_decode(const char *text, uint32_t *ret_code);

#endif
