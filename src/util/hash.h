/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash for tables of names that nobody outside can choose to collide: they come from reviewed files, or are the service's own, as a jti is, or
 * an operator's.
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
