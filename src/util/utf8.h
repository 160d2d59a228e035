/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8, one character at a time (RFC 3629): overlong forms, surrogates and what lies past U+10FFFF aren't characters.
 */
#ifndef MM_UTIL_UTF8_H
#define MM_UTIL_UTF8_H

#include "util/base.h"

/* Decode the character that `size` > 0 bytes of text start with: its length in bytes, 0 if there is none. */
size_t mm_utf8_decode(const char *text, size_t size, uint32_t *ret_code);

#endif
