/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many of something each of many names has. A name that has none takes no memory. Private to the index, whose lock guards it.
 */
#ifndef MM_REVOCATION_TALLY_H
#define MM_REVOCATION_TALLY_H

#include <sys/queue.h>

#include "util/base.h"

enum { MM_TALLY_BUCKETS = 1 << 12 };

/* All zero is empty. */
struct mm_tally {
    LIST_HEAD(mm_tally_bucket, mm_tally_name) buckets[MM_TALLY_BUCKETS];
};

/* One more. False: no memory. */
MM_MUST_USE bool mm_tally_add(struct mm_tally *tally, const char *name);

/* One less, of a name that has one. */
void mm_tally_remove(struct mm_tally *tally, const char *name);

size_t mm_tally_of(struct mm_tally *tally, const char *name);

#endif
