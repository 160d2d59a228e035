/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which key the ledger says is active.
 */
#ifndef MM_CLI_ACTIVE_H
#define MM_CLI_ACTIVE_H

#include "config/config.h"
#include "crypto/pubkey.h"

/* The active key's kid into `out`; empty if the store doesn't exist yet or no key was ever activated. */
MM_MUST_USE bool mm_active_kid(const struct mm_config *config, char out[MM_THUMBPRINT_LENGTH + 1],
                               struct mm_error *err);

#endif
