/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How mintmarkd comes by its signers: the launcher of their workers, the keys that are active when it starts, and who hears of
 * what happens to them.
 */
#ifndef MM_MINTMARKD_SIGNERS_H
#define MM_MINTMARKD_SIGNERS_H

#include "hsm/signers.h"
#include "keyring/keyring.h"
#include "ledger/ledger.h"

enum mm_installation { MM_NOT_INSTALLED, MM_INSTALLED };

/*
 * Fork the launcher of all HSM tokens' workers (mm_launcher_start()) and close the descriptors of PINs, which it alone holds then.
 * Installed: MM_CONFIG_INVALID if the workers' program is in the hands of the service's own user.
 */
MM_MUST_USE struct mm_launcher *mm_service_launch(const struct mm_config *config, enum mm_installation installation,
                                                  struct mm_error *err);

/* Signers without a key, whose events go to the log and to `ledger`. All is borrowed. */
MM_MUST_USE struct mm_signers *mm_service_signers(const struct mm_config *config, struct mm_launcher *launcher,
                                                  struct mm_ledger *ledger, struct mm_error *err);

/* mm_signers_add() of a key of the keyring. */
MM_MUST_USE bool mm_service_add_key(struct mm_signers *signers, const struct mm_key *key, enum mm_signers_wait wait,
                                    struct mm_error *err);

/*
 * Sign with these `n` keys. True once any of them works: an HSM that is away stops no service that has another. False with what the
 * only one, or the most preferred, says.
 */
MM_MUST_USE bool mm_service_use_keys(struct mm_signers *signers, const struct mm_key *const *keys, size_t n,
                                     struct mm_error *err);

/* The same where a standby is published: the service starts though no key signs, so that a custodian can rotate to it. */
MM_MUST_USE bool mm_service_try_keys(struct mm_signers *signers, const struct mm_key *const *keys, size_t n,
                                     struct mm_error *err);

#endif
