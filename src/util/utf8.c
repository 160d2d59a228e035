/* SPDX-License-Identifier: Apache-2.0 */
#include "util/utf8.h"

size_t mm_utf8_decode(const char *text, size_t size, uint32_t *ret_code)
{
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *byte = (const unsigned char *)text;
    size_t length = byte[0] < 0x80 ? 1 : byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : byte[0] >= 0xc2 ? 2 : 0;
    if (length == 0 || length > size || byte[0] > 0xf4)
        return 0;
    uint32_t code = length == 1 ? byte[0] : byte[0] & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (byte[i] & 0x3f);
    }
    if ((length > 1 && code < SMALLEST[length]) || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return length;
}
