/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How mintmarkd comes by its signers: the launcher of their workers, the key that is active when it starts, and who hears of
 * what happens to it.
 */
#ifndef MM_SERVICE_SIGNERS_H
#define MM_SERVICE_SIGNERS_H

#include "hsm/pool.h"
#include "keyring/keyring.h"
#include "ledger/ledger.h"

enum mm_installation { MM_NOT_INSTALLED, MM_INSTALLED };

/*
 * Fork the launcher of all HSM tokens' workers (mm_launcher_start()) and close the descriptors of PINs, which it alone holds then.
 * Installed: MM_CONFIG_INVALID if the workers' program is in the hands of the service's own user.
 */
MM_MUST_USE struct mm_launcher *mm_service_launch(const struct mm_config *config, enum mm_installation installation,
                                                  struct mm_error *err);

/* The pool of `key`, started, whose events go to the log and to `ledger`. All is borrowed. */
MM_MUST_USE struct mm_pool *mm_service_pool(const struct mm_config *config, struct mm_launcher *launcher,
                                            struct mm_ledger *ledger, const struct mm_key *key, struct mm_error *err);

#endif
