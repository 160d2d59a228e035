/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's head as the HTTP library hands it out, put before the guard whole: the target as it came, every field, the version and
 * where it all lies in memory.
 */
#ifndef MM_HTTP_HEAD_H
#define MM_HTTP_HEAD_H

#include <microhttpd.h>

#include "http/guard.h"

/* A request target, judged before the library takes it apart. */
struct mm_target {
    size_t length; /* up to its end or to a NUL byte */
    bool is_good;
    struct mm_error error; /* if it isn't */
};

/* In the library's MHD_OPTION_URI_LOG_CALLBACK, the only place where the target is whole. */
struct mm_target mm_target_judge(const char *target);

/*
 * The library's MHD_OPTION_UNESCAPE_CALLBACK. Paths are matched as they were sent: nothing is decoded, so %00 can't become the end of
 * a string.
 */
size_t mm_target_keep_escaped(void *context, struct MHD_Connection *mhd, char *text);

/* The first arguments of the access handler's first call. */
struct mm_request_line {
    const char *method;
    const char *target;
    const char *version;
};

/*
 * In the access handler's first call: MM_INVALID_REQUEST as mm_head_check() and mm_target_check() have it, MM_HEADERS_TOO_LARGE past
 * `max` bytes. `judged` is what mm_target_judge() said.
 */
MM_MUST_USE bool mm_head_take(struct MHD_Connection *mhd, const struct mm_request_line *line,
                              const struct mm_target *judged, size_t max, struct mm_head *ret_head,
                              struct mm_error *err);

#endif
