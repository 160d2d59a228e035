/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durable rows under the ledger. A store knows rows, not chains: it appends them in transactions, each only where its last
 * row is the one the writer believes in, and reads them back. At most one process writes a store at a time.
 *
 * A store is used by one thread at a time. SQLite in WAL mode with synchronous=FULL: what append reported lies on the disk.
 */
#ifndef MM_STORE_STORE_H
#define MM_STORE_STORE_H

#include "crypto/digest.h"

struct mm_store; /* opaque */

enum { MM_STORE_BYTES_MAX = 262144 }; /* of one row's bytes */

struct mm_store_row {
    int64_t sequence;
    uint8_t hash[MM_SHA256_LENGTH];
    struct mm_bytes bytes;
    /* Indexes: each can be derived again from `bytes`. */
    const char *type;
    int64_t time;        /* Unix seconds */
    const char *account; /* NULL: none */
    const char *jti;     /* NULL: none */
};

/* The last row: sequence 0 and a hash of zeros while there is none. */
struct mm_store_head {
    int64_t sequence;
    uint8_t hash[MM_SHA256_LENGTH];
};

/*
 * Make a store of the `n` first rows (may be none) at `file`, mode 0600, in a folder that exists. It appears complete or not
 * at all. MM_STORE_EXISTS if anything is there, or the write-ahead log of a store that once was (SQLite would replay it into
 * the new one).
 */
MM_MUST_USE bool mm_store_create(const char *file, const struct mm_store_row *rows, size_t n, struct mm_error *err);

enum mm_store_mode {
    MM_STORE_READ,  /* beside a live writer, on a copy, or on read-only media */
    MM_STORE_WRITE, /* holds `file`.lock until closed */
};

/*
 * Open a store; never makes one. MM_STORE_MISSING if there is none, MM_LEDGER_CORRUPT if the file is something else,
 * MM_LEDGER_UNAVAILABLE if another process writes it, or another version of Mintmark made it.
 */
MM_MUST_USE struct mm_store *mm_store_open(const char *file, enum mm_store_mode mode, struct mm_error *err);

/* NULL is allowed. */
void mm_store_close(struct mm_store *store);
MM_DEFINE_CLEANUP(struct mm_store, mm_store_close);

MM_MUST_USE bool mm_store_head(struct mm_store *store, struct mm_store_head *ret_head, struct mm_error *err);

/*
 * Append `n` rows in one transaction: all are durable, or none is in the store and it is as before. Waits up to a second for
 * a lock. MM_LEDGER_CORRUPT if the store's head isn't `head`: someone else wrote. MM_LEDGER_UNAVAILABLE if it can't be
 * written now, or its files were removed or replaced. (Should the disk refuse only the last sync and the machine then fail
 * before anything else is written, the rows may be there afterwards: recorded, but never reported so.)
 */
MM_MUST_USE bool mm_store_append(struct mm_store *store, const struct mm_store_head *head,
                                 const struct mm_store_row *rows, size_t n, struct mm_error *err);

/* Write without changing anything, to learn whether mm_store_append() would work again; fails as that does. */
MM_MUST_USE bool mm_store_probe(struct mm_store *store, const struct mm_store_head *head, struct mm_error *err);

/* Which rows; a zero or NULL member doesn't choose. */
struct mm_store_filter {
    int64_t first; /* sequence, inclusive */
    const char *account;
    const char *jti;
    const char *type;
    const char *type_prefix;
    int64_t since;  /* time, inclusive */
    int64_t until;  /* time, exclusive */
    int64_t newest; /* of those that match, at most so many, the last ones */
};

/* `row` and what it points to are valid during the call. Return false, with `err` filled, to stop. */
typedef bool (*mm_store_visitor)(void *context, const struct mm_store_row *row, struct mm_error *err);

/*
 * Visit the rows that match, in the order of their sequence, up to the head at the time of the call. No transaction is open
 * while the visitor runs: a slow one holds nobody up. MM_LEDGER_CORRUPT for a row whose columns have the wrong type or size.
 */
MM_MUST_USE bool mm_store_visit(struct mm_store *store, const struct mm_store_filter *filter, mm_store_visitor visit,
                                void *context, struct mm_error *err);

/* Check the database's own structure, indexes included: MM_LEDGER_CORRUPT if a look-up could miss or invent a row. */
MM_MUST_USE bool mm_store_check(struct mm_store *store, struct mm_error *err);

#endif
