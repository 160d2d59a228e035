/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash for tables of names that come from reviewed files: nobody outside can choose them to collide.
 */
#ifndef MM_UTIL_HASH_H
#define MM_UTIL_HASH_H

#include "util/base.h"

/* FNV-1a, 32 bits. */
static inline uint32_t mm_hash_name(const char *name)
{
    uint32_t hash = 2166136261U;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619U;
    return hash;
}

#endif
