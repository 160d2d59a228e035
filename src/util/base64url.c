/* SPDX-License-Identifier: Apache-2.0 */
#include "util/base64url.h"

#include <string.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t mm_base64url_length(size_t length)
{
    return length / 3 * 4 + (length % 3 ? length % 3 + 1 : 0);
}

void mm_base64url_encode(const void *data, size_t length, char *out)
{
    const uint8_t *in = data;
    for (; length >= 3; length -= 3, in += 3) {
        *out++ = ALPHABET[in[0] >> 2];
        *out++ = ALPHABET[(in[0] & 3) << 4 | in[1] >> 4];
        *out++ = ALPHABET[(in[1] & 15) << 2 | in[2] >> 6];
        *out++ = ALPHABET[in[2] & 63];
    }
    if (length >= 1) {
        *out++ = ALPHABET[in[0] >> 2];
        *out++ = ALPHABET[(in[0] & 3) << 4 | (length == 2 ? in[1] >> 4 : 0)];
    }
    if (length == 2)
        *out++ = ALPHABET[(in[1] & 15) << 2];
    *out = '\0';
}

/* `last`: the two digits after those that all alphabets have. */
static int digit_value(char c, const char last[2])
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == last[0])
        return 62;
    return c == last[1] ? 63 : -1;
}

static bool decode(const char *text, size_t length, const char last[2], uint8_t *out, size_t *ret_length)
{
    if (length % 4 == 1)
        return false;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        int value = digit_value(text[i], last);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[written++] = (uint8_t)(bits >> n_bits);
        }
    }
    if (bits & ((1U << n_bits) - 1))
        return false;
    *ret_length = written;
    return true;
}

bool mm_base64url_decode(const char *text, size_t length, uint8_t *out, size_t *ret_length)
{
    return decode(text, length, "-_", out, ret_length);
}

bool mm_base64_decode(const char *text, size_t length, uint8_t *out, size_t *ret_length)
{
    size_t n_padding = 0;
    if (length % 4 != 0)
        return false;
    while (n_padding < 2 && n_padding < length && text[length - n_padding - 1] == '=')
        n_padding++;
    return decode(text, length - n_padding, "+/", out, ret_length);
}

void mm_hex_encode(const void *data, size_t length, char *out)
{
    static const char DIGITS[] = "0123456789abcdef";
    const uint8_t *in = data;
    for (size_t i = 0; i < length; i++) {
        *out++ = DIGITS[in[i] >> 4];
        *out++ = DIGITS[in[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool mm_hex_decode(const char *text, uint8_t *out, size_t length)
{
    if (strlen(text) != 2 * length)
        return false;
    for (size_t i = 0; i < length; i++) {
        int high = hex_value(text[2 * i]);
        int low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
