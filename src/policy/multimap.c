/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/multimap.h"

bool mm_multimap_add(struct mm_multimap *map, uint64_t key, uint32_t value)
{
    if (map->n == map->capacity) {
        size_t capacity = map->capacity ? 2 * map->capacity : 64;
        struct mm_multimap_entry *entries = realloc(map->entries, capacity * sizeof *entries);
        if (!entries)
            return false;
        map->entries = entries;
        map->capacity = capacity;
    }
    map->entries[map->n++] = (struct mm_multimap_entry){key, value};
    return true;
}

static int compare(const void *left, const void *right)
{
    const struct mm_multimap_entry *a = left;
    const struct mm_multimap_entry *b = right;
    return a->key != b->key ? (a->key > b->key) - (a->key < b->key) : (a->value > b->value) - (a->value < b->value);
}

void mm_multimap_sort(struct mm_multimap *map)
{
    if (map->n > 0)
        qsort(map->entries, map->n, sizeof *map->entries, compare);
}

const struct mm_multimap_entry *mm_multimap_find(const struct mm_multimap *map, uint64_t key, size_t *ret_n)
{
    size_t low = 0;
    size_t high = map->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->entries[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < map->n && map->entries[end].key == key)
        end++;
    *ret_n = end - low;
    return end > low ? map->entries + low : NULL; /* an empty map has no entries to point at */
}

void mm_multimap_clear(struct mm_multimap *map)
{
    free(map->entries);
    *map = (struct mm_multimap){0};
}
