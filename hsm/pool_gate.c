/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/pool_gate.h"

#include "util/clock.h"

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

bool mm_pool_gate_latch(struct mm_pool_gate *gate, const char *path, const char *reason, struct mm_error *err)
{
    bool is_saved = mm_latch_set(path, mm_clock_now(&MM_SYSTEM_CLOCK), reason, err);
    atomic_store(&gate->is_latch_unsaved, !is_saved);
    return is_saved;
}

bool mm_pool_gate_check_latch(struct mm_pool_gate *gate, const char *path, const char *hsm_token, struct mm_error *err)
{
    struct mm_error why = {0};
    if (atomic_load(&gate->is_latch_unsaved) && !mm_pool_gate_latch(gate, path, "PIN refused", &why))
        return mm_fail(err, MM_PIN_LATCHED, "HSM token %s: its PIN was refused, which can't be recorded: %s", hsm_token,
                       why.message);
    return mm_latch_check(path, hsm_token, err);
}
