/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured logging: one JSON object a line on standard error. Only boundaries log (http, main, a verb); modules return errors. Never pass a PIN, a JWT, a request body or a key.
 */
#ifndef MM_UTIL_LOG_H
#define MM_UTIL_LOG_H

#include "util/base.h"

enum mm_log_level { MM_LOG_INFO, MM_LOG_WARNING, MM_LOG_ERROR };

/*
 * Write one line: {"time":…,"level":…,"event":event, key: value, …}. Pairs of `const char *` end with NULL; a NULL value
 * leaves its pair out. The line goes out in one write(2) and is cut (as valid JSON) at 4 KiB.
 */
void mm_log(enum mm_log_level level, const char *event, ...) __attribute__((sentinel));

/* mm_log() of a failure: adds "code" and "error" from `err`. */
void mm_log_error(const char *event, const struct mm_error *err, ...) __attribute__((sentinel));

#endif
