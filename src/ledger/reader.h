/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the ledger: listing, and checking the chain. Works beside a running service and never writes.
 */
#ifndef MM_LEDGER_READER_H
#define MM_LEDGER_READER_H

#include "ledger/ledger.h"

struct mm_ledger_reader; /* opaque */

/* MM_STORE_MISSING if there is no ledger at `file`. */
MM_MUST_USE struct mm_ledger_reader *mm_ledger_reader_open(const char *file, struct mm_error *err);
void mm_ledger_reader_close(struct mm_ledger_reader *reader);
MM_DEFINE_CLEANUP(struct mm_ledger_reader, mm_ledger_reader_close);

struct mm_ledger_filter {
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

/* Visit the entries that match, oldest first. */
MM_MUST_USE bool mm_ledger_list(struct mm_ledger_reader *reader, const struct mm_ledger_filter *filter,
                                mm_ledger_visit visit, void *context, struct mm_error *err);

struct mm_ledger_report {
    int64_t entries;
    uint8_t head[MM_SHA256_LENGTH];
};

/*
 * Recompute the whole chain and check each index column against its entry. MM_LEDGER_CORRUPT names the first sequence that
 * doesn't fit.
 */
MM_MUST_USE bool mm_ledger_verify(struct mm_ledger_reader *reader, struct mm_ledger_report *ret_report,
                                  struct mm_error *err);

#endif
