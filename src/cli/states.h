/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ledger says of the keys, read by the CLI itself: works beside a running service and without one.
 */
#ifndef MM_CLI_STATES_H
#define MM_CLI_STATES_H

#include "config/config.h"
#include "keyring/keyring.h"

/* The keyring; NULL in `ret_keyring` if the store doesn't exist yet or no key was ever activated. The caller owns a reference. */
MM_MUST_USE bool mm_cli_load_keyring(const struct mm_config *config, struct mm_keyring **ret_keyring,
                                     struct mm_error *err);

#endif
