/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/latency.h"

#include <string.h>

enum { PARTS = 8, PARTS_BITS = 3, US = 1000 };

static const int64_t SLICE_NS = MM_LATENCY_SLICE_S * 1000000000LL;

/* Below PARTS a bucket is a microsecond wide; from there on each doubling has PARTS of them. */
static size_t bucket_of(int64_t took_ns)
{
    uint64_t us = took_ns > 0 ? (uint64_t)took_ns / US : 0;
    if (us < PARTS)
        return (size_t)us;
    size_t exponent = 63 - (size_t)__builtin_clzll(us);
    size_t bucket = (exponent - PARTS_BITS + 1) * PARTS + (size_t)((us >> (exponent - PARTS_BITS)) & (PARTS - 1));
    return bucket < MM_LATENCY_BUCKETS ? bucket : MM_LATENCY_BUCKETS - 1;
}

/* What is in a bucket took less. */
static int64_t end_of(size_t bucket)
{
    if (bucket < PARTS)
        return (int64_t)bucket + 1;
    size_t exponent = bucket / PARTS - 1;
    return (int64_t)(PARTS + bucket % PARTS + 1) << exponent;
}

void mm_latency_add(struct mm_latency *latency, int64_t took_ns, int64_t now)
{
    int64_t number = now / SLICE_NS;
    size_t i = (size_t)(number % MM_LATENCY_SLICES);
    if (latency->numbers[i] != number) {
        latency->numbers[i] = number;
        latency->slices[i] = (struct mm_latency_counts){0};
    }
    latency->slices[i].n[bucket_of(took_ns)]++;
}

void mm_latency_join(struct mm_latency_counts *sum, const struct mm_latency_counts *counts)
{
    for (size_t i = 0; i < MM_LATENCY_BUCKETS; i++)
        sum->n[i] += counts->n[i];
}

void mm_latency_sum(const struct mm_latency *latency, int64_t now, struct mm_latency_counts *sum)
{
    int64_t oldest = now / SLICE_NS - MM_LATENCY_SLICES + 1;
    for (size_t i = 0; i < MM_LATENCY_SLICES; i++)
        if (latency->numbers[i] >= oldest)
            mm_latency_join(sum, &latency->slices[i]);
}

uint64_t mm_latency_n(const struct mm_latency_counts *counts)
{
    uint64_t n = 0;
    for (size_t i = 0; i < MM_LATENCY_BUCKETS; i++)
        n += counts->n[i];
    return n;
}

int64_t mm_latency_percentile_us(const struct mm_latency_counts *counts, unsigned percent)
{
    uint64_t n = mm_latency_n(counts);
    uint64_t wanted = (n * percent + 99) / 100;
    uint64_t seen = 0;
    for (size_t i = 0; n > 0 && i < MM_LATENCY_BUCKETS; i++) {
        seen += counts->n[i];
        if (seen >= wanted && counts->n[i] > 0)
            return end_of(i);
    }
    return 0;
}
