/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer with a hard cap: appending past the cap fails, nothing is ever cut silently.
 */
#ifndef MM_UTIL_BUFFER_H
#define MM_UTIL_BUFFER_H

#include "util/base.h"

struct mm_buffer {
    uint8_t *data; /* NUL-terminated once anything was appended; the NUL is not counted */
    size_t length;
    size_t capacity;
    size_t cap; /* most bytes it may ever hold */
};

/* An empty buffer that will hold at most `cap` bytes. Nothing is allocated yet. */
struct mm_buffer mm_buffer_make(size_t cap);

/* Append. False (MM_BODY_TOO_LARGE past the cap, MM_NO_MEMORY) leaves the buffer as it was. */
MM_MUST_USE bool mm_buffer_append(struct mm_buffer *buffer, const void *data, size_t length, struct mm_error *err);
MM_MUST_USE bool mm_buffer_append_string(struct mm_buffer *buffer, const char *string, struct mm_error *err);

/* Free what the buffer holds and leave it empty. */
void mm_buffer_clear(struct mm_buffer *buffer);

static inline void mm_buffer_clear_cleanup(struct mm_buffer *buffer)
{
    mm_buffer_clear(buffer);
}

#endif
