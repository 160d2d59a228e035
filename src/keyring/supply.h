/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a rotation's key comes from when no custodian has staged one: the service has it generated, on an HSM token of which the configuration
 * allows that. One at a time, on a thread of its own, since an HSM may take its time; what comes of it goes the way of any staged key.
 *
 * Each try is in the ledger before an HSM is asked (keyring.h). A key that was made but not staged, since the service was killed in between, is
 * left alone: who else made a key of that label, and which ledger revoked it, nobody here can know.
 */
#ifndef MM_KEYRING_SUPPLY_H
#define MM_KEYRING_SUPPLY_H

#include "keyring/keeper.h"

struct mm_supply; /* opaque; its functions may be called by any thread */

struct mm_supply_effects {
    void *context;
    /* Have a key generated; `ret_key` are the fields of mm_key_entry(). May take minutes; ends soon once the service drains. */
    bool (*generate)(void *context, const char *hsm_token, enum mm_algorithm algorithm, json_t **ret_key,
                     struct mm_error *err);
    /* A key was generated, or (`why`) couldn't be; the same `why` isn't told again. */
    void (*told)(void *context, const char *hsm_token, const char *kid, const struct mm_key_author *author,
                 const struct mm_error *why);
};

/* Everything is borrowed for the supply's life. */
struct mm_supply_parts {
    struct mm_keeper *keeper;
    const struct mm_config *config; /* its HSM tokens' service_keys say where */
    const struct mm_clock *clock;
    struct mm_supply_effects effects;
};

MM_MUST_USE struct mm_supply *mm_supply_start(const struct mm_supply_parts *parts, struct mm_error *err);

/* Begin nothing more. */
void mm_supply_drain(struct mm_supply *supply);

/* When nobody else calls any more, and before the keeper stops. NULL is allowed. */
void mm_supply_stop(struct mm_supply *supply);
MM_DEFINE_CLEANUP(struct mm_supply, mm_supply_stop);

/*
 * mm_keeper_rotate(), to a key that is generated first if there is none for it and the configuration allows that: on the HSM token of the
 * order, or, for NULL, on the one of the highest priority. A rotation that the service's end cuts off after that was recorded goes on at its next start; one that fails
 * here doesn't. MM_INVALID_REQUEST: the configuration names no such HSM token. Fails as mm_keeper_rotate(), with what the HSM said, with
 * MM_KEY_LIMIT after MM_GENERATIONS_PER_DAY tries, or with MM_OVERLOADED while another key is being generated.
 */
MM_MUST_USE bool mm_supply_rotate(struct mm_supply *supply, const struct mm_rotation_order *rotation,
                                  const struct mm_key_author *author, char *ret_kid, struct mm_error *err);

/* Why there is no key that there should be. */
struct mm_supply_state {
    int64_t failed_at; /* Unix seconds; 0: nothing is wrong, and the rest is void */
    int64_t next_at;   /* it is tried again from then on */
    char hsm_token[MM_KEY_WANT_TOKEN_MAX];
    struct mm_error why;
};

struct mm_supply_state mm_supply_state(struct mm_supply *supply);

#endif
