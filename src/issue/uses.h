/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials that count once, across restarts. The ledger's entry of what one was used for names it, a token's and that of a client's own revocation
 * (revocation/revocations.c writes the same member): no write of its own, and no token without it. The start finds them in the pass over the chain that it
 * makes anyway.
 *
 * A use that led to nothing, since the request was refused after its credential was verified, is in memory alone: after a restart such a credential
 * counts once more, for what it is, within the few minutes of its life.
 */
#ifndef MM_ISSUE_USES_H
#define MM_ISSUE_USES_H

#include "ledger/reader.h"
#include "oauth/principal.h"
#include "oauth/replay.h"
#include "util/json_writer.h"

/* The entry's member, if the principal's credential counts once. */
void mm_uses_write(struct mm_json_writer *entry, const struct mm_principal *principal);

struct mm_uses {
    struct mm_replay *replay;
    int64_t now; /* Unix seconds */
};

/* Remember what a record says was used; a mm_ledger_visit, whose context is a struct mm_uses. */
bool mm_uses_remember(void *context, const struct mm_ledger_record *record, struct mm_error *err);

#endif
