/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few language helpers that every module uses: must-use results, scope cleanup, ownership hand-over.
 */
#ifndef MM_UTIL_BASE_H
#define MM_UTIL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <mintmark/error.h>

#define MM_MUST_USE __attribute__((warn_unused_result))

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
