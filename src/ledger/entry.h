/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry on its way into the ledger: its bytes, final from the start, and the indexes beside them. Private to the ledger.
 */
#ifndef MM_LEDGER_ENTRY_H
#define MM_LEDGER_ENTRY_H

#include "ledger/ledger.h"

struct mm_ledger_entry {
    struct mm_ledger_entry *next; /* in its group; NULL: the last */
    mm_ledger_done done;
    void *context;
    int64_t time; /* Unix seconds */
    const char *type;
    const char *account; /* NULL: none */
    const char *jti;     /* NULL: none */
    size_t length;
    const char *bytes; /* `length` of them; as the two above, part of the entry's own memory */
};

/*
 * The entry that starts with `type` and `time` and goes on with the members of `text`. MM_INTERNAL if it is longer than
 * MM_ENTRY_BYTES_MAX.
 */
MM_MUST_USE struct mm_ledger_entry *mm_ledger_entry_new(enum mm_entry_type type, int64_t time,
                                                        const struct mm_entry_text *text, struct mm_error *err);

/* The same of fields that aren't text yet; see mm_ledger_submit(). */
MM_MUST_USE struct mm_ledger_entry *mm_ledger_entry_of_fields(enum mm_entry_type type, int64_t time,
                                                              const json_t *fields, struct mm_error *err);

void mm_ledger_entry_free(struct mm_ledger_entry *entry);
MM_DEFINE_CLEANUP(struct mm_ledger_entry, mm_ledger_entry_free);

/* Free a whole group. */
void mm_ledger_entries_free(struct mm_ledger_entry *group);
MM_DEFINE_CLEANUP(struct mm_ledger_entry, mm_ledger_entries_free);

#endif
