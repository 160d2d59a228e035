/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time, passed in so that tests can set it. Wall-clock time is Unix seconds; waits use monotonic nanoseconds.
 */
#ifndef MM_UTIL_CLOCK_H
#define MM_UTIL_CLOCK_H

#include <time.h>

#include "util/base.h"

struct mm_clock {
    int64_t (*unix_ms)(void *context);
    void *context;
};

/* The machine's clock. */
extern const struct mm_clock MM_SYSTEM_CLOCK;

static inline int64_t mm_clock_now_ms(const struct mm_clock *clock)
{
    return clock->unix_ms(clock->context);
}

static inline int64_t mm_clock_now(const struct mm_clock *clock)
{
    return mm_clock_now_ms(clock) / 1000;
}

/* Monotonic nanoseconds: for deadlines and durations, never for claims. */
int64_t mm_monotonic_ns(void);

static inline int64_t mm_deadline_after_ms(int64_t milliseconds)
{
    return mm_monotonic_ns() + milliseconds * 1000000;
}

/* An absolute monotonic deadline as the timespec that pthread_cond_clockwait(CLOCK_MONOTONIC) takes. */
static inline struct timespec mm_deadline_timespec(int64_t deadline_ns)
{
    return (struct timespec){.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
}

enum { MM_TIMESTAMP_MAX = 32 };

/* RFC 3339 in UTC with a Z, whole seconds, into `out` of at least MM_TIMESTAMP_MAX bytes. */
void mm_timestamp(int64_t unix_seconds, char *out);

/* Parse RFC 3339 (`2026-11-24T10:00:00Z`, offsets allowed), a date (midnight UTC), or plain Unix seconds. */
MM_MUST_USE bool mm_timestamp_parse(const char *text, int64_t *ret_unix_seconds);

/* Parse a duration: a positive integer and one of s, m, h, d (`90s`, `10m`, `1h`). At most 10 years. */
MM_MUST_USE bool mm_duration_parse(const char *text, int64_t *ret_seconds);

#endif
