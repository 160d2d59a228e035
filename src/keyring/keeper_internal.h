/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper from within: its state, and the changes themselves (changes.c), which whoever has the turn to change keys carries out.
 */
#ifndef MM_KEYRING_KEEPER_INTERNAL_H
#define MM_KEYRING_KEEPER_INTERNAL_H

#include <pthread.h>

#include "keyring/keeper.h"

enum {
    MM_CONDEMNED_MAX = 16,
    MM_PREPARING_MAX = 16,
};

/* A key that is to be revoked, by whose order: out, but that isn't recorded yet. */
struct mm_condemned {
    char kid[MM_THUMBPRINT_LENGTH + 1];
    char by[MM_KEY_AUTHOR_MAX + 1];
    char reason[MM_KEY_AUTHOR_MAX + 1];
};

struct mm_keeper {
    /* immutable after mm_keeper_start(); what parts.plan finds unfit is guarded by lock */
    struct mm_keeper_parts parts;
    pthread_t thread;

    /* belongs to whoever changes a key */
    enum { SURE, UNSURE } record;   /* unsure: an entry may or may not be in the ledger */
    enum { SHOWN, NOT_SHOWN } view; /* whether verifiers see the keyring in force */

    /* the keeper's own thread's: when a standby may be tried again (monotonic), and how long that took from the last time */
    int64_t standby_not_before;
    int64_t standby_delay_ms;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* something may be due, or a turn has ended */
    /* guarded by lock */
    bool is_stopping;
    bool is_draining;
    bool is_changing; /* one thread changes keys, and it alone replaces the keyring */
    /* HSM tokens of which a key is being prepared, their names borrowed from it: one at a time for each, since a login is too many. */
    const char *preparing[MM_PREPARING_MAX];
    size_t n_preparing;
    struct mm_condemned condemned[MM_CONDEMNED_MAX];
    size_t n_condemned;
    mm_algorithm_set bereft; /* a key of theirs that signed was revoked, and no other signs yet */
    struct mm_keyring *keyring;
    int64_t anchor_unix; /* the time that was trusted at anchor_ns */
    int64_t anchor_ns;
    int64_t run_since;
};

void mm_keeper_tell(const struct mm_keeper *keeper, const char *what, const char *kid,
                    const struct mm_key_author *author, const struct mm_error *why);

/* MM_CLOCK_UNSAFE unless an entry of that type may be recorded by the clock as it is. */
MM_MUST_USE bool mm_keeper_check_clock(const struct mm_keeper *keeper, enum mm_entry_type type, struct mm_error *err);

/*
 * From now on the key signs nothing, whatever is being changed, until it is revoked: mm_keeper_revoke(). False with MM_OVERLOADED if too many
 * are condemned already; it is out all the same.
 */
MM_MUST_USE bool mm_keeper_condemn(struct mm_keeper *keeper, const struct mm_key *key,
                                   const struct mm_key_author *author, struct mm_error *err);

/* Whether the order may be carried out, by the rules (all of them, or but for those of time) and by the clock and the HSMs. */
enum mm_pace { MM_IN_TIME, MM_AT_ONCE };
MM_MUST_USE bool mm_keeper_check(struct mm_keeper *keeper, const struct mm_keyring *keyring,
                                 const struct mm_key_order *order, enum mm_pace pace, struct mm_error *err);

/* Take the turn to change keys, or say why not: MM_OVERLOADED, MM_SHUTTING_DOWN. */
MM_MUST_USE bool mm_keeper_begin_change(struct mm_keeper *keeper, struct mm_error *err);
void mm_keeper_end_change(struct mm_keeper *keeper);

/* An order of any kind but a revocation, from the first look at it to its entry, turns and all. */
MM_MUST_USE bool mm_keeper_execute(struct mm_keeper *keeper, const struct mm_key_order *order, enum mm_pace pace,
                                   const struct mm_key_author *author, struct mm_error *err);

/* After a revocation there must be another to sign, if there is any at all. False: there is, but it couldn't be activated yet. */
bool mm_keeper_replace_revoked(struct mm_keeper *keeper, const struct mm_key_author *author);

/* What is due by itself. False: some of it couldn't be done, and is to be tried again in a while. */
MM_MUST_USE bool mm_keeper_do_due(struct mm_keeper *keeper);

/* All that follows is called by whoever has the turn to change keys. */

/* Begin a rotation to a published key. `ret_kid` gets its kid. */
MM_MUST_USE bool mm_keeper_record_rotation(struct mm_keeper *keeper, const struct mm_rotation_order *rotation,
                                           const struct mm_key_author *author, char *ret_kid, struct mm_error *err);

/* Have verifiers see the keyring in force. */
void mm_keeper_show(struct mm_keeper *keeper);

/* Record an entry, and go on with what the ledger says then. `fields` is the caller's. */
MM_MUST_USE bool mm_keeper_record(struct mm_keeper *keeper, enum mm_entry_type type, json_t *fields,
                                  const struct mm_key_author *author, struct mm_error *err);

/*
 * Carry out an order that mm_keeper_check() allows. A key that is to be published was vetted and one that is to be activated was taken in; the
 * latter is taken out again where that fails.
 */
MM_MUST_USE bool mm_keeper_carry_out(struct mm_keeper *keeper, const struct mm_key_order *order, enum mm_pace pace,
                                     const struct mm_key_author *author, struct mm_error *err);

/*
 * Revoke a condemned key. It stays condemned if that can't be recorded. True without any effect if it isn't condemned: whoever had the turn
 * before has revoked it, in the name of who ordered it.
 */
MM_MUST_USE bool mm_keeper_revoke(struct mm_keeper *keeper, const char *kid, const struct mm_key_author *author,
                                  struct mm_error *err);

#endif
