/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: the one place that changes keys. A change is checked against the rules, prepared, recorded in the ledger, and only then
 * counts: the keyring that others see is what the ledger says. A thread of its own carries out what time brings.
 */
#ifndef MM_KEYRING_KEEPER_H
#define MM_KEYRING_KEEPER_H

#include "keyring/attested.h"
#include "keyring/plan.h"
#include "ledger/ledger.h"
#include "util/clock.h"

struct mm_keeper; /* opaque; its functions may be called by any thread */

/* Bytes of both together; longer ones are refused (MM_INVALID_REQUEST). */
enum { MM_KEY_AUTHOR_MAX = 1024 };

/* Who wants a change and why; for the ledger. `reason` may be empty. */
struct mm_key_author {
    const char *by;
    const char *reason;
};

/*
 * How changes take effect. They may take seconds, and no lock is held meanwhile. Any may run beside any other, but for vet() and take_in() of keys
 * of one HSM token.
 */
struct mm_keeper_effects {
    void *context;
    /* Before a key is recorded as published: whether its custody is sound and it signs what its public key verifies. */
    bool (*vet)(void *context, const struct mm_key *key, struct mm_error *err);
    /* Before a key is recorded as active: its workers are there when this returns true. Nothing is signed with it yet. */
    bool (*take_in)(void *context, const struct mm_key *key, struct mm_error *err);
    /* Once it is recorded as active: it signs. */
    void (*let_sign)(void *context, const struct mm_key *key);
    /* Before it is recorded that a key doesn't sign any more: nothing is signed with it from when this returns. */
    void (*take_out)(void *context, const struct mm_key *key);
    /* Whether a key signs now: it has a worker that is ready. */
    bool (*serves)(void *context, const struct mm_key *key);
    /* After each change: verifiers see this keyring from when it returns true. What failed is tried again. */
    bool (*show)(void *context, struct mm_keyring *keyring, struct mm_error *err);
    /* What was done, or (`why`) couldn't be; on the keeper's own account, too. */
    void (*told)(void *context, const char *what, const char *kid, const struct mm_key_author *author,
                 const struct mm_error *why);
};

struct mm_keeper_parts {
    struct mm_ledger *ledger;
    const struct mm_clock *clock;
    struct mm_key_plan plan;
    int64_t turn_ms; /* how long a change waits for another to end, which may wait for an HSM's login */
    struct mm_keeper_effects effects;
};

/*
 * Keep `keyring` (a reference is taken), which is what the ledger says now and what verifiers are shown. Its active keys have been taken
 * in. Everything in `parts` outlives the keeper.
 */
MM_MUST_USE struct mm_keeper *mm_keeper_start(const struct mm_keeper_parts *parts, struct mm_keyring *keyring,
                                              struct mm_error *err);

/* Refuse further changes (MM_SHUTTING_DOWN), and do nothing by itself any more; what has begun ends. NULL is allowed. */
void mm_keeper_drain(struct mm_keeper *keeper);

/* When nobody else calls any more. NULL is allowed. */
void mm_keeper_stop(struct mm_keeper *keeper);
MM_DEFINE_CLEANUP(struct mm_keeper, mm_keeper_stop);

/* The keyring in force: a reference that is the caller's. */
struct mm_keyring *mm_keeper_keyring(struct mm_keeper *keeper);

/* The plan as it is now, with the staged keys that were found unfit, and the moment: what plan.h's functions ask for. */
struct mm_key_plan mm_keeper_plan(struct mm_keeper *keeper);
struct mm_key_moment mm_keeper_moment(struct mm_keeper *keeper);

/* Each of these changes is refused with MM_CLOCK_UNSAFE by such a clock, but for a revocation and what says that no key was generated. */

/* Record a key as staged: the fields of mm_key_entry(). MM_KEY_STATE if it was before. */
MM_MUST_USE bool mm_keeper_stage(struct mm_keeper *keeper, const json_t *entry, const struct mm_key_author *author,
                                 struct mm_error *err);

/*
 * Record that a key is about to be generated (MM_ENTRY_KEY_GENERATING), or wasn't (MM_ENTRY_KEY_NOT_GENERATED): keyring.h says with which
 * `fields`, which are the caller's.
 */
MM_MUST_USE bool mm_keeper_note_generation(struct mm_keeper *keeper, enum mm_entry_type type, json_t *fields,
                                           const struct mm_key_author *author, struct mm_error *err);

/*
 * Record that a device attests a key that was staged: the entry of mm_attested_entry(), which `ret_entry` gets, for
 * the caller to release. The attestation is verified here, whoever verified it before. MM_KEY_UNKNOWN,
 * MM_ATTESTATION_INVALID.
 */
MM_MUST_USE bool mm_keeper_attest(struct mm_keeper *keeper, const char *kid, const struct mm_attestation *attestation,
                                  const struct mm_key_author *author, json_t **ret_entry, struct mm_error *err);

/*
 * Record that the clock is right, whatever entries say that are from later by it. What they said of the keys counts from now, then: caches are
 * given their time anew.
 */
MM_MUST_USE bool mm_keeper_accept_clock(struct mm_keeper *keeper, const struct mm_key_author *author,
                                        struct mm_error *err);

/*
 * Carry out one order. Fails as mm_plan_check() does, with what take_in() or the ledger said, or MM_OVERLOADED if another change takes too
 * long. A key retires only while another of its algorithm serves.
 *
 * A revoked key is out at once, whatever else is being changed, and stays out: if its revocation can't be recorded (which this then says),
 * that is tried again for as long as the service runs. Then a published key of its algorithm is activated, however short it has been
 * published, unless another serves.
 */
MM_MUST_USE bool mm_keeper_change(struct mm_keeper *keeper, const struct mm_key_order *order,
                                  const struct mm_key_author *author, struct mm_error *err);

/*
 * Begin a rotation; it goes on by itself, over restarts, and beside those of other algorithms. MM_KEY_STATE: no key for it is published or
 * staged, or another rotation of the algorithm is in the way (mm_plan_in_the_way()). `ret_kid` gets the key's, MM_THUMBPRINT_LENGTH + 1 bytes.
 */
MM_MUST_USE bool mm_keeper_rotate(struct mm_keeper *keeper, const struct mm_rotation_order *rotation,
                                  const struct mm_key_author *author, char *ret_kid, struct mm_error *err);

#endif
