/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a change of the keys takes effect in mintmarkd: workers start before a key signs and end after it did, another makes a key where that is
 * allowed, verifiers are shown the new JWKS, and the log hears of it.
 */
#ifndef MM_MINTMARKD_KEYS_H
#define MM_MINTMARKD_KEYS_H

#include "hsm/signers.h"
#include "http/server.h"
#include "keyring/supply.h"

/* All is borrowed for the keeper's life. */
struct mm_service_keys {
    struct mm_signers *signers;
    struct mm_server *server;
    const struct mm_config *config;
    _Atomic mm_algorithm_set without_standby; /* that the log has heard of */
};

/* Start the keeper of `keyring`, whose active keys sign already. `keys` outlives it. */
MM_MUST_USE struct mm_keeper *mm_service_keep(struct mm_service_keys *keys, struct mm_keyring *keyring,
                                              const struct mm_config *config, struct mm_ledger *ledger,
                                              struct mm_error *err);

/* Start the supply of that keeper. `keys` and `config` outlive it. */
MM_MUST_USE struct mm_supply *mm_service_supply(struct mm_service_keys *keys, struct mm_keeper *keeper,
                                                const struct mm_config *config, struct mm_error *err);

#endif
