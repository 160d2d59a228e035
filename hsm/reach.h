/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a worker may reach: a vendor's code finds its libraries and its own files there, but no TLS key, no tenant's file, no
 * ledger and no other HSM token's PIN.
 */
#ifndef MM_HSM_REACH_H
#define MM_HSM_REACH_H

#include "config/config.h"
#include "confine/landlock.h"

/*
 * Confine this thread, and those it starts, to what `token` needs: the system's libraries, the module's folder, the PIN, what its
 * environment and its `paths` name, and the folder of the PIN latches. MM_INTERNAL if the kernel refuses.
 */
MM_MUST_USE bool mm_reach_restrict(const struct mm_config *config, const struct mm_hsm_token_config *token,
                                   enum mm_landlock *ret_state, struct mm_error *err);

#endif
