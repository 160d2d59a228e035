/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a revoked key leaves behind: the tokens that it signed and that are alive, and who goes on accepting them for how long.
 */
#ifndef MM_ADMIN_STRAND_H
#define MM_ADMIN_STRAND_H

#include "config/config.h"
#include "keyring/keyring.h"

/*
 * {"kid","alg","state","signs" (the kid of the key that signs its algorithm now; null: none does),"live_tokens" (at most so many),"last_exp",
 * "verifiers":[text]} of a key of `keyring`. What the ledger can't tell is null. NULL: no memory.
 */
json_t *mm_admin_describe_stranded(const struct mm_config *config, const struct mm_keyring *keyring,
                                   const struct mm_key *key, int64_t now);

#endif
