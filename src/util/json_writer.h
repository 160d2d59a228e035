/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text without a tree of values behind it, for what is written once a token: the same bytes that mm_json_compact() would
 * give, at a tenth of its cost. A failure sticks: mm_json_writer_finish() tells, nothing before has to be asked.
 */
#ifndef MM_UTIL_JSON_WRITER_H
#define MM_UTIL_JSON_WRITER_H

#include "util/buffer.h"

enum { MM_JSON_TEXT_MAX = 1 << 20 };

struct mm_json_writer {
    struct mm_buffer text;
    struct mm_error failure;
    enum { MM_JSON_FIRST, MM_JSON_NEXT } place; /* whether a comma comes before the next value */
};

struct mm_json_writer mm_json_writer_make(void);

/* '{' or '['; then its members or values; then '}' or ']'. Names come from the program, not from outside. */
void mm_json_open(struct mm_json_writer *writer, char bracket);
void mm_json_close(struct mm_json_writer *writer, char bracket);
void mm_json_name(struct mm_json_writer *writer, const char *name);

/* A string that isn't UTF-8 is MM_INTERNAL. */
void mm_json_put_string(struct mm_json_writer *writer, const char *string);
void mm_json_put_bytes(struct mm_json_writer *writer, const char *string, size_t length);
void mm_json_put_strings(struct mm_json_writer *writer, const char *const *strings, size_t n); /* an array */
void mm_json_put_integer(struct mm_json_writer *writer, int64_t integer);
void mm_json_put_bool(struct mm_json_writer *writer, bool value);

/* A value that is JSON text already. */
void mm_json_put_text(struct mm_json_writer *writer, const char *text);

/* Name and value. */
void mm_json_member_string(struct mm_json_writer *writer, const char *name, const char *string);
void mm_json_member_integer(struct mm_json_writer *writer, const char *name, int64_t integer);

/* The text, which the caller frees; the writer is empty again. NULL: MM_NO_MEMORY, or MM_INTERNAL for a string or a size. */
MM_MUST_USE char *mm_json_writer_finish(struct mm_json_writer *writer, struct mm_error *err);

void mm_json_writer_clear(struct mm_json_writer *writer);
static inline void mm_json_writer_clear_cleanup(struct mm_json_writer *writer)
{
    mm_json_writer_clear(writer);
}

#endif
