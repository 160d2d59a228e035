/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash chain: how an entry is bound to all before it, and whether a stored row continues the chain. One place for writer,
 * reader and verifier. Pure.
 */
#ifndef MM_LEDGER_CHAIN_H
#define MM_LEDGER_CHAIN_H

#include "store/store.h"
#include "util/json.h"

/* The head after appending `bytes` to a ledger whose head is `head` (sequence 0 and zeros: an empty one). */
struct mm_store_head mm_chain_next(const struct mm_store_head *head, struct mm_bytes bytes);

/*
 * Move `head` on over `row`. MM_LEDGER_CORRUPT, naming the sequence, if the row's sequence isn't the next or its hash isn't the
 * chain's; `head` stays.
 */
MM_MUST_USE bool mm_chain_follow(struct mm_store_head *head, const struct mm_store_row *row, struct mm_error *err);

/* Check that the row's bytes are a JSON object and that its index columns say what the bytes say. MM_LEDGER_CORRUPT. */
MM_MUST_USE bool mm_chain_check_columns(const struct mm_store_row *row, struct mm_error *err);

/* The latest time that entries up to this row have stated, `latest` being that of those before; after clock.accepted, its own. */
int64_t mm_chain_latest_time(int64_t latest, const struct mm_store_row *row);

/* The latest time at which a token was issued, up to this row; what was accepted since takes nothing back. */
int64_t mm_chain_latest_issue(int64_t latest, const struct mm_store_row *row);

#endif
