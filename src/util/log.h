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
 * leaves its pair out. The line is cut (as valid JSON) at 4 KiB, and written before this returns, or by the
 * thread that mm_log_start() started: then it never waits.
 */
void mm_log(enum mm_log_level level, const char *event, ...) __attribute__((sentinel));

/* mm_log() of a failure: adds "code" and "error" from `err`. */
void mm_log_error(const char *event, const struct mm_error *err, ...) __attribute__((sentinel));

/*
 * From now on a thread writes what is logged, so that nobody waits for whoever reads it. At most 256 KiB wait to be read; lines that
 * find no room are dropped, and `lines_lost` in their place says how many. MM_INTERNAL if there can be no thread.
 */
MM_MUST_USE bool mm_log_start(struct mm_error *err);

/*
 * Write what waits, until the deadline (mm_monotonic_ns()), and go back to writing directly. If the reader hasn't taken it all by
 * then, the rest is lost, and so is what is logged after: the process is about to end. Does nothing unless mm_log_start() did.
 */
void mm_log_stop(int64_t deadline_ns);

#endif
