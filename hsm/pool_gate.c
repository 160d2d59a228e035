/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/pool_gate.h"

bool mm_pool_gate_take(struct mm_pool_gate *gate, const void *who)
{
    const void *nobody = NULL;
    return atomic_compare_exchange_strong(&gate->holder, &nobody, who) || nobody == who;
}

bool mm_pool_gate_is_held(const struct mm_pool_gate *gate, const void *who)
{
    return atomic_load(&gate->holder) == who;
}

void mm_pool_gate_leave(struct mm_pool_gate *gate, const void *who)
{
    (void)atomic_compare_exchange_strong(&gate->holder, &who, NULL);
}
