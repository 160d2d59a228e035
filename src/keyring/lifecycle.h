/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a key, as rules and nothing else: which state follows which, and when.
 *
 *     staged -> published -> active -> retiring -> retired -> destroyed
 *
 * A key signs only when active. Verifiers see it when published, active or retiring. It is published long enough before it signs for every
 * cache to have it, and long enough afterwards for every token that it signed to have expired. A key that was revoked, from whatever state,
 * is retired at once and stays so until it is destroyed.
 */
#ifndef MM_KEYRING_LIFECYCLE_H
#define MM_KEYRING_LIFECYCLE_H

#include "config/floors.h"

/* X(symbol, wire name) */
#define MM_KEY_STATE_TABLE(X) \
    X(MM_KEY_STAGED, "staged") \
    X(MM_KEY_PUBLISHED, "published") \
    X(MM_KEY_ACTIVE, "active") \
    X(MM_KEY_RETIRING, "retiring") \
    X(MM_KEY_RETIRED, "retired") \
    X(MM_KEY_DESTROYED, "destroyed")

enum mm_key_state {
#define MM_KEY_STATE_SYMBOL(symbol, name) symbol,
    MM_KEY_STATE_TABLE(MM_KEY_STATE_SYMBOL)
#undef MM_KEY_STATE_SYMBOL
        MM_N_KEY_STATES
};

const char *mm_key_state_name(enum mm_key_state state);

/* What is done to a key that is there. */
enum mm_key_change {
    MM_KEY_PUBLISH,  /* staged -> published */
    MM_KEY_ACTIVATE, /* published -> active */
    MM_KEY_RETIRE,   /* active -> retiring */
    MM_KEY_WITHDRAW, /* retiring -> retired; or staged, published -> retired: it never signed */
    MM_KEY_REVOKE,   /* staged to retiring -> retired: it isn't trusted any more */
    MM_KEY_DESTROY,  /* retired -> destroyed */
    MM_N_KEY_CHANGES,
};

/* The change as a verb, for people: `publish`. */
const char *mm_key_change_name(enum mm_key_change change);

/* The state that a change leads to; false if it doesn't start at `from`. */
MM_MUST_USE bool mm_key_state_after(enum mm_key_state from, enum mm_key_change change, enum mm_key_state *ret_state);

/* What the rules need to know of a key. Times are Unix seconds by the ledger's clock. */
struct mm_key_life {
    enum mm_key_state state;
    int64_t since;        /* of the state */
    int64_t published_at; /* when it became published; 0: never */
    int64_t last_exp;     /* retiring, retired: no token that it signed expires later; 0: it never signed */
    enum { MM_KEY_TRUSTED, MM_KEY_REVOKED } trust;
};

/* Whether verifiers see it. */
bool mm_key_is_listed(const struct mm_key_life *life);

/*
 * From when on a change may be made, as far as time decides: for `activate` publish_ahead (the floor, if it is shorter) after it was
 * published, for `withdraw` of a retiring key leeway after the last `exp`; 0 for any other.
 */
int64_t mm_key_change_from(const struct mm_key_life *life, enum mm_key_change change, int64_t publish_ahead);

#endif
