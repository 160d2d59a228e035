/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service records of itself: which policy is in force, and when it runs. Each waits until the entry is durable.
 */
#ifndef MM_MINTMARKD_RECORD_H
#define MM_MINTMARKD_RECORD_H

#include "config/config.h"
#include "ledger/ledger.h"

/* A policy that the ledger doesn't know may not decide anything. `ledger` is a struct mm_ledger: for mm_server_reload(), too. */
MM_MUST_USE bool mm_record_policy(void *ledger, const struct mm_config *config, struct mm_error *err);

/* Log who is in the policy of `before` and not in that of `after`, one line each, up to a hundred: their tokens live on. */
void mm_record_departed(const struct mm_config *before, const struct mm_config *after);

/* The start or the end of a run. `max_ttl`, seconds: no token of this run lives longer; the keyring counts on it. */
MM_MUST_USE bool mm_record_service(struct mm_ledger *ledger, enum mm_entry_type type, int64_t max_ttl,
                                   struct mm_error *err);

#endif
