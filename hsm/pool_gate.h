/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all who have workers started on one HSM token share: its keys' pools, and whoever has a key generated there. Of all those workers one at a
 * time logs in, since a login may rewrite what another looks for; and a PIN that was refused to one of them is sent by none, even where the
 * latch's file can't be written.
 */
#ifndef MM_HSM_POOL_GATE_H
#define MM_HSM_POOL_GATE_H

#include <stdatomic.h>

#include "hsm/latch.h"

/* All zero at first. */
struct mm_pool_gate {
    _Atomic(const void *) holder; /* a pool, or whoever else has a worker started there */
    atomic_bool is_latch_unsaved; /* a PIN was refused, and the file that says so couldn't be written yet */
};

/* Whether `who` holds the gate now: it was free, or already held so. */
MM_MUST_USE bool mm_pool_gate_take(struct mm_pool_gate *gate, const void *who);

bool mm_pool_gate_is_held(const struct mm_pool_gate *gate, const void *who);

/* Let somebody else have it. Nothing happens unless `who` holds it. */
void mm_pool_gate_leave(struct mm_pool_gate *gate, const void *who);

/*
 * mm_latch_set(), now. False: the file can't be written, and `err` says why; the HSM token is latched all the same, and each
 * mm_pool_gate_check_latch() tries again to write it.
 */
MM_MUST_USE bool mm_pool_gate_latch(struct mm_pool_gate *gate, const char *path, const char *reason,
                                    struct mm_error *err);

/* mm_latch_check(), which a latch that isn't saved fails, too (MM_PIN_LATCHED). */
MM_MUST_USE bool mm_pool_gate_check_latch(struct mm_pool_gate *gate, const char *path, const char *hsm_token,
                                          struct mm_error *err);

#endif
