/* SPDX-License-Identifier: Apache-2.0 */
#include "revocation/tally.h"

#include <assert.h>
#include <string.h>

#include "util/hash.h"

struct mm_tally_name {
    LIST_ENTRY(mm_tally_name) link;
    size_t n;
    char name[];
};

static struct mm_tally_bucket *bucket_of(struct mm_tally *tally, const char *name)
{
    uint32_t hash = mm_hash_name(name);
    return &tally->buckets[(hash ^ hash >> 16) % MM_TALLY_BUCKETS];
}

static struct mm_tally_name *find(struct mm_tally *tally, const char *name)
{
    struct mm_tally_name *found;
    LIST_FOREACH(found, bucket_of(tally, name), link)
        if (strcmp(found->name, name) == 0)
            return found;
    return NULL;
}

bool mm_tally_add(struct mm_tally *tally, const char *name)
{
    size_t size = strlen(name) + 1;
    struct mm_tally_name *found = find(tally, name);
    if (!found) {
        found = calloc(1, sizeof *found + size);
        if (!found)
            return false;
        memcpy(found->name, name, size);
        LIST_INSERT_HEAD(bucket_of(tally, name), found, link);
    }
    found->n++;
    return true;
}

void mm_tally_remove(struct mm_tally *tally, const char *name)
{
    struct mm_tally_name *found = find(tally, name);
    assert(found);
    if (--found->n > 0)
        return;
    LIST_REMOVE(found, link);
    free(found);
}

size_t mm_tally_of(struct mm_tally *tally, const char *name)
{
    const struct mm_tally_name *found = find(tally, name);
    return found ? found->n : 0;
}
