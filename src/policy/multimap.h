/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many numbers for a key, found without looking at all: filled, sorted once, then read by any number of threads. Keys are hashes: what is found
 * under one may belong to another, so whoever looks something up compares it with what was meant.
 */
#ifndef MM_POLICY_MULTIMAP_H
#define MM_POLICY_MULTIMAP_H

#include "util/base.h"

struct mm_multimap_entry {
    uint64_t key;
    uint32_t value;
};

struct mm_multimap {
    struct mm_multimap_entry *entries;
    size_t n;
    size_t capacity;
};

/* A key of several words, in order: start with MM_KEY_START. The words come from reviewed files: nobody outside chooses them to collide. */
#define MM_KEY_START UINT64_C(14695981039346656037)
static inline uint64_t mm_key_add(uint64_t key, const char *word)
{
    do
        key = (key ^ (uint8_t)*word) * UINT64_C(1099511628211); /* FNV-1a; the NUL counts, so that words stay apart */
    while (*word++);
    return key;
}

MM_MUST_USE bool mm_multimap_add(struct mm_multimap *map, uint64_t key, uint32_t value);

/* Once all are added. */
void mm_multimap_sort(struct mm_multimap *map);

/* The first entry of that key, in the order of values, and how many follow it, itself included; NULL and 0: none. */
const struct mm_multimap_entry *mm_multimap_find(const struct mm_multimap *map, uint64_t key, size_t *ret_n);

void mm_multimap_clear(struct mm_multimap *map);
static inline void mm_multimap_clear_cleanup(struct mm_multimap *map)
{
    mm_multimap_clear(map);
}

#endif
