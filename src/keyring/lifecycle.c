/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/lifecycle.h"

const char *mm_key_state_name(enum mm_key_state state)
{
    static const char *const NAMES[] = {
#define MM_KEY_STATE_NAME(symbol, name) [symbol] = (name),
        MM_KEY_STATE_TABLE(MM_KEY_STATE_NAME)
#undef MM_KEY_STATE_NAME
    };
    return NAMES[state];
}

/* The states that a change starts at, as bits, and the one that it leads to. */
static const struct {
    const char *name;
    unsigned from;
    enum mm_key_state to;
} CHANGES[] = {
    [MM_KEY_PUBLISH] = {"publish", 1U << MM_KEY_STAGED, MM_KEY_PUBLISHED},
    [MM_KEY_ACTIVATE] = {"activate", 1U << MM_KEY_PUBLISHED, MM_KEY_ACTIVE},
    [MM_KEY_RETIRE] = {"retire", 1U << MM_KEY_ACTIVE, MM_KEY_RETIRING},
    [MM_KEY_WITHDRAW] = {"withdraw", 1U << MM_KEY_STAGED | 1U << MM_KEY_PUBLISHED | 1U << MM_KEY_RETIRING,
                         MM_KEY_RETIRED},
    [MM_KEY_REVOKE] = {"revoke",
                       1U << MM_KEY_STAGED | 1U << MM_KEY_PUBLISHED | 1U << MM_KEY_ACTIVE | 1U << MM_KEY_RETIRING,
                       MM_KEY_RETIRED},
    [MM_KEY_DESTROY] = {"destroy", 1U << MM_KEY_RETIRED, MM_KEY_DESTROYED},
};

const char *mm_key_change_name(enum mm_key_change change)
{
    return CHANGES[change].name;
}

bool mm_key_state_after(enum mm_key_state from, enum mm_key_change change, enum mm_key_state *ret_state)
{
    if (!(CHANGES[change].from & 1U << from))
        return false;
    *ret_state = CHANGES[change].to;
    return true;
}

bool mm_key_is_listed(const struct mm_key_life *life)
{
    return life->state == MM_KEY_PUBLISHED || life->state == MM_KEY_ACTIVE || life->state == MM_KEY_RETIRING;
}

int64_t mm_key_change_from(const struct mm_key_life *life, enum mm_key_change change, int64_t publish_ahead)
{
    if (change == MM_KEY_ACTIVATE)
        return life->published_at +
               (publish_ahead > MM_KEY_FLOORS.publish_ahead ? publish_ahead : MM_KEY_FLOORS.publish_ahead);
    if (change == MM_KEY_WITHDRAW && life->state == MM_KEY_RETIRING)
        return life->last_exp + MM_KEY_FLOORS.leeway;
    return 0;
}
