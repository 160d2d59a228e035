/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A level that rises by whole units and drains evenly, so many units a minute: the arithmetic of token buckets. Counted in parts, of
 * which `per_minute` drain each nanosecond: whole numbers, without rounding. No level may exceed a million units.
 */
#ifndef MM_UTIL_METER_H
#define MM_UTIL_METER_H

#include "util/base.h"

#define MM_METER_UNIT INT64_C(60000000000) /* parts */

struct mm_meter {
    int64_t level; /* parts, at: */
    int64_t at_ns; /* monotonic */
};

/* Let drain what has drained by now, 1 to a million units a minute. Time that goes back, as between two threads, drains nothing. */
static inline void mm_meter_drain(struct mm_meter *meter, int64_t per_minute, int64_t now_ns)
{
    int64_t elapsed = now_ns - meter->at_ns;
    if (elapsed <= 0)
        return;
    bool is_empty = elapsed > meter->level / per_minute;
    meter->level = is_empty ? 0 : meter->level - elapsed * per_minute;
    meter->at_ns = now_ns;
}

/* Units, a part of one counting as a whole. */
static inline int64_t mm_meter_units(const struct mm_meter *meter)
{
    return (meter->level + MM_METER_UNIT - 1) / MM_METER_UNIT;
}

#endif
