/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the ledger: listing, and checking the chain. Works beside a running service and never writes.
 */
#ifndef MM_LEDGER_READER_H
#define MM_LEDGER_READER_H

#include "ledger/ledger.h"

struct mm_ledger_reader; /* opaque */

/*
 * Open the ledger at `file`, a copy of one, or one on read-only media. MM_STORE_MISSING if there is none. (Beside a ledger that
 * nobody writes, SQLite may leave an empty log and its index, as it does beside one in use.)
 */
MM_MUST_USE struct mm_ledger_reader *mm_ledger_reader_open(const char *file, struct mm_error *err);
void mm_ledger_reader_close(struct mm_ledger_reader *reader);
MM_DEFINE_CLEANUP(struct mm_ledger_reader, mm_ledger_reader_close);

/*
 * The sequence from which on all entries of `since` (Unix seconds) or later are, up to MM_LEDGER_CLOCK_LEEWAY by which a clock may have been
 * behind its ledger: found from the end, so that it costs little where few of many entries are that young. (Entries of a clock that was far ahead, and was
 * put right since, may lie before it.)
 */
MM_MUST_USE bool mm_ledger_find_since(struct mm_ledger_reader *reader, int64_t since, int64_t *ret_sequence,
                                      struct mm_error *err);

struct mm_ledger_filter {
    int64_t first;       /* sequence, inclusive; 0: from the start */
    const char *account; /* `<tenant>/<account>`; NULL: any */
    const char *jti;     /* NULL: any */
    const char *type;    /* wire name or a prefix that ends in `.`; NULL: any */
    int64_t since;       /* Unix seconds, inclusive; 0: from the start */
    int64_t until;       /* Unix seconds, exclusive; 0: to the end */
    int64_t limit;       /* the newest so many, shown oldest first; 0: all */
};

struct mm_ledger_record {
    int64_t sequence;
    uint8_t hash[MM_SHA256_LENGTH];
    const char *bytes; /* the stored JSON, borrowed, not NUL-terminated */
    size_t length;
};

/* Return false (with `err` filled) to stop. */
typedef bool (*mm_ledger_visit)(void *context, const struct mm_ledger_record *record, struct mm_error *err);

/*
 * Visit the entries that match, oldest first, up to the last one at the time of the call. MM_LEDGER_CORRUPT at an entry whose
 * index columns differ from its bytes. Hashes aren't checked: mm_ledger_verify() does that.
 */
MM_MUST_USE bool mm_ledger_list(struct mm_ledger_reader *reader, const struct mm_ledger_filter *filter,
                                mm_ledger_visit visit, void *context, struct mm_error *err);

struct mm_ledger_report {
    int64_t entries;
    uint8_t head[MM_SHA256_LENGTH];
    int64_t latest_time; /* for mm_ledger_expect_time(), as latest_issue */
    int64_t latest_issue;
};

/*
 * Recompute the whole chain, check each index column against its entry, and the database's own structure. MM_LEDGER_CORRUPT
 * names the first sequence that doesn't fit.
 *
 * A chain can't show that its newest entries were cut off, nor that all of it was written anew: compare the report with an
 * earlier one kept elsewhere (that many entries must still be there, and the hash of the last of them must be the one noted).
 */
MM_MUST_USE bool mm_ledger_verify(struct mm_ledger_reader *reader, struct mm_ledger_report *ret_report,
                                  struct mm_error *err);

/* The same, and visit each entry on the way, once it is known to continue the chain. */
MM_MUST_USE bool mm_ledger_verify_each(struct mm_ledger_reader *reader, mm_ledger_visit visit, void *context,
                                       struct mm_ledger_report *ret_report, struct mm_error *err);

#endif
