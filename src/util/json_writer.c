/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json_writer.h"

#include <stdio.h>
#include <string.h>

#include "util/utf8.h"

struct mm_json_writer mm_json_writer_make(void)
{
    return (struct mm_json_writer){.text = mm_buffer_make(MM_JSON_TEXT_MAX)};
}

static void put(struct mm_json_writer *writer, const char *bytes, size_t length)
{
    if (writer->failure.code == MM_OK && !mm_buffer_append(&writer->text, bytes, length, &writer->failure))
        mm_buffer_clear(&writer->text);
}

/* What comes before a value or a name. */
static void separate(struct mm_json_writer *writer)
{
    if (writer->place == MM_JSON_NEXT)
        put(writer, ",", 1);
    writer->place = MM_JSON_NEXT;
}

void mm_json_open(struct mm_json_writer *writer, char bracket)
{
    separate(writer);
    put(writer, &bracket, 1);
    writer->place = MM_JSON_FIRST;
}

void mm_json_close(struct mm_json_writer *writer, char bracket)
{
    put(writer, &bracket, 1);
    writer->place = MM_JSON_NEXT;
}

void mm_json_name(struct mm_json_writer *writer, const char *name)
{
    mm_json_put_string(writer, name);
    put(writer, ":", 1);
    writer->place = MM_JSON_FIRST;
}

/* A character that can't stand for itself in a string (RFC 8259 section 7). */
static void put_escaped(struct mm_json_writer *writer, unsigned char c)
{
    static const char SHORT[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                    {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    char escape[8];
    for (size_t i = 0; i < MM_ARRAY_SIZE(SHORT); i++) {
        if (SHORT[i][0] != (char)c)
            continue;
        const char two[] = {'\\', SHORT[i][1]};
        put(writer, two, sizeof two);
        return;
    }
    put(writer, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04X", c));
}

static const uint64_t ONES = UINT64_C(0x0101010101010101); /* in each byte */

/* 0 if no byte of `word` is below `n`, which is at most 0x80. */
static uint64_t below(uint64_t word, uint64_t n)
{
    return (word - ONES * n) & ~word & ONES << 7;
}

/* Whether eight bytes stand for themselves in a string: ASCII but for controls, `"` and `\`. */
static bool are_plain(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return ((word & ONES << 7) | below(word, 0x20) | below(word ^ ONES * '"', 1) | below(word ^ ONES * '\\', 1)) == 0;
}

void mm_json_put_bytes(struct mm_json_writer *writer, const char *string, size_t length)
{
    separate(writer);
    put(writer, "\"", 1);
    size_t first = 0; /* of the run that can be copied as it is */
    for (size_t i = 0; i < length;) {
        if (length - i >= sizeof(uint64_t) && are_plain(string + i)) {
            i += sizeof(uint64_t);
            continue;
        }
        unsigned char c = (unsigned char)string[i];
        uint32_t code;
        size_t n = c < 0x80 ? 1 : mm_utf8_decode(string + i, length - i, &code);
        if (n == 0) {
            (void)mm_fail(&writer->failure, MM_INTERNAL, "a string that isn't UTF-8");
            return;
        }
        if (c < 0x20 || c == '"' || c == '\\') {
            put(writer, string + first, i - first);
            put_escaped(writer, c);
            first = i + 1;
        }
        i += n;
    }
    put(writer, string + first, length - first);
    put(writer, "\"", 1);
}

void mm_json_put_string(struct mm_json_writer *writer, const char *string)
{
    mm_json_put_bytes(writer, string, strlen(string));
}

void mm_json_put_strings(struct mm_json_writer *writer, const char *const *strings, size_t n)
{
    mm_json_open(writer, '[');
    for (size_t i = 0; i < n; i++)
        mm_json_put_string(writer, strings[i]);
    mm_json_close(writer, ']');
}

void mm_json_put_integer(struct mm_json_writer *writer, int64_t integer)
{
    char digits[24];
    separate(writer);
    put(writer, digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)integer));
}

void mm_json_put_text(struct mm_json_writer *writer, const char *text)
{
    separate(writer);
    put(writer, text, strlen(text));
}

void mm_json_put_bool(struct mm_json_writer *writer, bool value)
{
    mm_json_put_text(writer, value ? "true" : "false");
}

void mm_json_member_string(struct mm_json_writer *writer, const char *name, const char *string)
{
    mm_json_name(writer, name);
    mm_json_put_string(writer, string);
}

void mm_json_member_integer(struct mm_json_writer *writer, const char *name, int64_t integer)
{
    mm_json_name(writer, name);
    mm_json_put_integer(writer, integer);
}

char *mm_json_writer_finish(struct mm_json_writer *writer, struct mm_error *err)
{
    struct mm_error why = writer->failure;
    char *text = (char *)MM_TAKE(writer->text.data);
    mm_json_writer_clear(writer);
    if (why.code == MM_OK && text)
        return text;
    free(text);
    enum mm_code code = why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_INTERNAL;
    (void)mm_fail(err, code, "JSON can't be written: %s", why.code == MM_OK ? "nothing to write" : why.message);
    return NULL;
}

void mm_json_writer_clear(struct mm_json_writer *writer)
{
    mm_buffer_clear(&writer->text);
    *writer = mm_json_writer_make();
}
