/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refused requests of authenticated callers, on their way to the ledger. The first of a kind (account and code) is
 * recorded at once; those that follow within a minute are counted and recorded as one, so that a caller in a loop can't
 * fill the disk.
 */
#ifndef MM_ISSUE_REFUSALS_H
#define MM_ISSUE_REFUSALS_H

#include "ledger/ledger.h"
#include "oauth/principal.h"
#include "policy/decide.h"

enum { MM_REFUSALS_WINDOW = 60 }; /* seconds */

struct mm_refusals; /* opaque; has its own lock */

/* `ledger` and `clock` are borrowed. */
MM_MUST_USE struct mm_refusals *mm_refusals_new(struct mm_ledger *ledger, const struct mm_clock *clock,
                                                struct mm_error *err);

/* Note that `principal`'s request was refused with `why`. Never fails: what the ledger can't take is logged. */
void mm_refusals_note(struct mm_refusals *refusals, const struct mm_principal *principal,
                      const struct mm_token_request *request, const char *request_id, const struct mm_error *why);

enum mm_refusals_flush { MM_REFUSALS_ENDED, MM_REFUSALS_ALL };

/* Record the counts of windows that have ended, or of all. */
void mm_refusals_flush(struct mm_refusals *refusals, enum mm_refusals_flush which);

/* Free; flush first. NULL is allowed. */
void mm_refusals_free(struct mm_refusals *refusals);

#endif
