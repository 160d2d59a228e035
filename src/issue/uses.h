/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials that count once, across restarts: each use is an entry `assertion.used` of its own, whatever became of the request. The ledger's
 * queue is in order, so it is durable no later than the entry of the token that was issued for it. The start finds them in the pass over the
 * chain that it makes anyway.
 */
#ifndef MM_ISSUE_USES_H
#define MM_ISSUE_USES_H

#include "ledger/reader.h"
#include "oauth/principal.h"
#include "oauth/replay.h"

/*
 * Record the use of the principal's credential, which counts once and was used for the first time just now (mm_replay_use()). `done` as
 * mm_ledger_submit() has it, and its errors: then the credential has been used, and for nothing.
 */
MM_MUST_USE bool mm_uses_record(struct mm_ledger *ledger, const struct mm_principal *principal, mm_ledger_done done,
                                void *context, struct mm_error *err);

struct mm_uses {
    struct mm_replay *replay;
    int64_t now; /* Unix seconds */
};

/* Remember what a record says was used; a mm_ledger_visit, whose context is a struct mm_uses. */
bool mm_uses_remember(void *context, const struct mm_ledger_record *record, struct mm_error *err);

#endif
