/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64url without padding (RFC 4648 section 5, as RFC 7515 uses it), strict in both directions; plain base64, to read; and hex.
 */
#ifndef MM_UTIL_BASE64URL_H
#define MM_UTIL_BASE64URL_H

#include "util/base.h"

/* Characters that encoding `length` bytes takes, without a NUL. */
size_t mm_base64url_length(size_t length);

/* Encode into `out`, which has room for mm_base64url_length(length) + 1 characters; writes a NUL. */
void mm_base64url_encode(const void *data, size_t length, char *out);

/*
 * Decode exactly `length` characters into `out`, which has room for length * 3 / 4 bytes. Padding, white space, other
 * alphabets and non-zero trailing bits are refused: every byte string has one spelling.
 */
MM_MUST_USE bool mm_base64url_decode(const char *text, size_t length, uint8_t *out, size_t *ret_length);

/* The same of base64 (RFC 4648 section 4), which has its padding; there is room for length / 4 * 3 bytes. */
MM_MUST_USE bool mm_base64_decode(const char *text, size_t length, uint8_t *out, size_t *ret_length);

/* Lower-case hex of `length` bytes into `out`, which has room for 2 * length + 1 characters. */
void mm_hex_encode(const void *data, size_t length, char *out);

/* Decode a hex string of exactly 2 * length digits, either case. */
MM_MUST_USE bool mm_hex_decode(const char *text, uint8_t *out, size_t length);

#endif
