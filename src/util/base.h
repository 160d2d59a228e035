/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few language helpers that every module uses: failing, scope cleanup, ownership hand-over.
 */
#ifndef MM_UTIL_BASE_H
#define MM_UTIL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <mintmark/error.h>

/* Whether a number received from outside (a worker, a file) is a code of the table. */
bool mm_code_is_known(int number);

/*
 * Record a failure and return false, so that `return mm_fail(err, …)` reads as one sentence. `err` may be
 * NULL. The first, deepest failure wins: an `err` that already holds a code is left as it is.
 */
bool mm_fail(struct mm_error *err, enum mm_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Forget what a caller's `err`, which may be NULL, held before: first thing in each function that libmintmark exports, and in no other. */
static inline void mm_error_clear(struct mm_error *err)
{
    if (!err)
        return;
    err->code = MM_OK;
    err->message[0] = '\0';
}

struct mm_bytes {
    const void *data;
    size_t length;
};

/* Run `function(&variable)` when the variable leaves its scope; MM_DEFINE_CLEANUP defines the function. */
#define mm_cleanup(function) __attribute__((cleanup(function##_cleanup)))

/* Define the cleanup function that frees a `type *` variable through `function`, which accepts NULL. */
#define MM_DEFINE_CLEANUP(type, function) \
    static inline void function##_cleanup(type **pointer) \
    { \
        function(*pointer); \
    } \
    struct mm_require_semicolon

/* Hand the pointer in `variable` to someone else: yields it and leaves NULL behind. */
#define MM_TAKE(variable) \
    ({ \
        __typeof__(variable) taken_ = (variable); \
        (variable) = NULL; \
        taken_; \
    })

#define MM_ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static inline void free_cleanup(void *pointer)
{
    free(*(void **)pointer);
}

/* Scope cleanup for a file descriptor held in an int; -1 means none. */
static inline void mm_close_cleanup(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#endif
