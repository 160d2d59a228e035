/* SPDX-License-Identifier: Apache-2.0 */
#include "util/buffer.h"

#include <string.h>

enum { FIRST_CAPACITY = 1024 };

struct mm_buffer mm_buffer_make(size_t cap)
{
    return (struct mm_buffer){.cap = cap};
}

static bool reserve(struct mm_buffer *buffer, size_t wanted, struct mm_error *err)
{
    if (wanted < buffer->capacity)
        return true;
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
    while (capacity <= wanted)
        capacity *= 2;
    uint8_t *grown = realloc(buffer->data, capacity);
    if (!grown)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    buffer->data = grown;
    buffer->capacity = capacity;
    return true;
}

bool mm_buffer_append(struct mm_buffer *buffer, const void *data, size_t length, struct mm_error *err)
{
    if (length > buffer->cap - buffer->length)
        return mm_fail(err, MM_BODY_TOO_LARGE, "more than %zu bytes", buffer->cap);
    if (!reserve(buffer, buffer->length + length, err))
        return false;
    if (length)
        memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
    return true;
}

bool mm_buffer_append_string(struct mm_buffer *buffer, const char *string, struct mm_error *err)
{
    return mm_buffer_append(buffer, string, strlen(string), err);
}

void mm_buffer_clear(struct mm_buffer *buffer)
{
    free(buffer->data);
    *buffer = mm_buffer_make(buffer->cap);
}
