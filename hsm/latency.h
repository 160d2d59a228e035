/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long an HSM's signatures took during the last minute: counts by duration, in slices of time, so that old ones leave without
 * anybody's doing. Adding costs an increment; its owner's lock guards it.
 */
#ifndef MM_HSM_LATENCY_H
#define MM_HSM_LATENCY_H

#include "util/base.h"

enum {
    MM_LATENCY_BUCKETS =
        192, /* eight for each doubling of a microsecond: an eighth is the largest error; the last is from a minute on */
    MM_LATENCY_SLICES = 7, /* six that are full, and the one that is being filled */
    MM_LATENCY_SLICE_S = 10,
};

/* Signatures by duration; may be added up. All zero: none. */
struct mm_latency_counts {
    uint32_t n[MM_LATENCY_BUCKETS];
};

/* All zero at first. */
struct mm_latency {
    int64_t numbers[MM_LATENCY_SLICES]; /* which slice of monotonic time lies there */
    struct mm_latency_counts slices[MM_LATENCY_SLICES];
};

/* A signature that took `took_ns` has come back at `now` (monotonic). */
void mm_latency_add(struct mm_latency *latency, int64_t took_ns, int64_t now);

/* Add those of the last minute, and of up to ten seconds before it, to `sum`. */
void mm_latency_sum(const struct mm_latency *latency, int64_t now, struct mm_latency_counts *sum);

/* Add counts up. */
void mm_latency_join(struct mm_latency_counts *sum, const struct mm_latency_counts *counts);

uint64_t mm_latency_n(const struct mm_latency_counts *counts);

/* The time in microseconds that `percent` of the signatures took at most, up to an eighth too long; 0 where there are none. */
int64_t mm_latency_percentile_us(const struct mm_latency_counts *counts, unsigned percent);

#endif
