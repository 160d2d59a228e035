/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be done to a keyring's keys at a moment, and what is due by itself. Pure functions: no clock, no ledger, no HSM. Whoever
 * changes a key asks here first; nobody can skip that, since there is one place that changes keys (keeper.h).
 */
#ifndef MM_KEYRING_PLAN_H
#define MM_KEYRING_PLAN_H

#include "config/config.h"
#include "keyring/keyring.h"

enum { MM_KIDS_MAX = 64 };

struct mm_kid_set {
    size_t n;
    char kids[MM_KIDS_MAX][MM_THUMBPRINT_LENGTH + 1];
};

/* Seconds, from the configuration's `keys`. */
struct mm_key_plan {
    mm_algorithm_set algorithms; /* that there must always be an active key of */
    mm_reader_set readers;       /* of the JWKS: a key that one of them can't read isn't published */
    int64_t publish_ahead;       /* published at least so long before it signs; never less than the floor */
    int64_t max_ttl;             /* of any token */
    int64_t rotate_every;        /* 0: by hand only */
    size_t standby;              /* published keys that wait for a bad day */
    struct mm_kid_set
        unfit; /* staged keys that failed their vetting: by itself nothing is done with them, and with none once there is no room for more */
};

struct mm_key_plan mm_plan_make(const struct mm_config *config);

/*
 * A moment, Unix seconds. `run_since`: when this run of the service began to show the JWKS. What was recorded before is only as good as the
 * clock was then, so caches are given their time in this run, too.
 */
struct mm_key_moment {
    int64_t now;
    int64_t run_since;
};

struct mm_key_order {
    enum mm_key_change change;
    const char *kid;
};

/* Unix seconds from which on time no longer forbids the change of a key of `keyring`: by what mm_plan_check() goes. */
int64_t mm_plan_from(const struct mm_key_plan *plan, const struct mm_keyring *keyring, const struct mm_key *key,
                     enum mm_key_change change, const struct mm_key_moment *moment);

/*
 * Whether the order may be carried out. MM_KEY_UNKNOWN: no such key. MM_KEY_STATE: it isn't in the state for it, or of none of the plan's
 * algorithms, or no key that signs its algorithm would be left, or the JWKS is full or would break a reader. MM_KEY_TOO_EARLY says from when on.
 * A key of none of the plan's algorithms, left from another configuration, may only go.
 */
MM_MUST_USE bool mm_plan_check(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                               const struct mm_key_order *order, const struct mm_key_moment *moment,
                               struct mm_error *err);

/*
 * MM_CONFIG_INVALID if the JWKS holds a key already that could make a reader refuse all of it: one that is left from another configuration.
 */
MM_MUST_USE bool mm_plan_check_readers(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                                       struct mm_error *err);

/*
 * The next order that is due by itself, which passes mm_plan_check() and is of none of the keys `but`: for each algorithm to activate the
 * standby where no key is active, to withdraw a retiring key, to carry a rotation on, to publish a standby from what is staged. False: none.
 */
MM_MUST_USE bool mm_plan_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                             const struct mm_key_moment *moment, const struct mm_kid_set *but,
                             struct mm_key_order *ret_order);

/* What a rotation is to be of. */
struct mm_rotation_order {
    enum mm_algorithm algorithm;
    const char *hsm_token; /* where the key lies that it goes to; NULL: anywhere */
};

/*
 * The key of a rotation that keeps this one from beginning; NULL: none does. A rotation to a named HSM token takes the place of one to another
 * HSM token, which may be gone.
 */
const struct mm_key *mm_plan_in_the_way(const struct mm_keyring *keyring, const struct mm_rotation_order *order);

/* The key that a rotation would go to: published, else staged, the first that there is. NULL: none. */
const struct mm_key *mm_plan_candidate(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                                       const struct mm_rotation_order *order);

/* Whether the schedule wants a rotation to be begun, of `ret_order`, and there is a published key for it. */
MM_MUST_USE bool mm_plan_rotation_due(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                                      const struct mm_key_moment *moment, struct mm_rotation_order *ret_order);

/* False: there is no room for it. */
bool mm_kid_set_add(struct mm_kid_set *set, const char *kid);
bool mm_kid_set_has(const struct mm_kid_set *set, const char *kid);
void mm_kid_set_remove(struct mm_kid_set *set, const char *kid);

/* What the plan lacks a key of an algorithm for. Nothing where none is active: who revoked the last one says when to go on. */
enum mm_key_need {
    MM_NEED_NOTHING,
    MM_NEED_IS_MET,   /* a staged key will do, and takes its way */
    MM_NEED_STANDBY,  /* fewer wait for a bad day than are to */
    MM_NEED_ROTATION, /* the schedule wants a rotation, and no key is kept on standby for it */
};

enum mm_key_need mm_plan_need(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                              enum mm_algorithm algorithm, const struct mm_key_moment *moment);

/* What will happen to a key by itself, and when (Unix seconds); false if nothing will. For people. */
MM_MUST_USE bool mm_plan_next(const struct mm_key_plan *plan, const struct mm_keyring *keyring,
                              const struct mm_key *key, const struct mm_key_moment *moment,
                              enum mm_key_change *ret_change, int64_t *ret_time);

#endif
