/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all who have workers started on one HSM token share: its keys' pools, and whoever has a key generated there. Of all those workers one at a
 * time logs in, since a login may rewrite what another looks for.
 */
#ifndef MM_HSM_POOL_GATE_H
#define MM_HSM_POOL_GATE_H

#include <stdatomic.h>

#include "util/base.h"

/* All zero at first. */
struct mm_pool_gate {
    _Atomic(const void *) holder; /* a pool, or whoever else has a worker started there */
};

/* Whether `who` holds the gate now: it was free, or already held so. */
MM_MUST_USE bool mm_pool_gate_take(struct mm_pool_gate *gate, const void *who);

bool mm_pool_gate_is_held(const struct mm_pool_gate *gate, const void *who);

/* Let somebody else have it. Nothing happens unless `who` holds it. */
void mm_pool_gate_leave(struct mm_pool_gate *gate, const void *who);

#endif
