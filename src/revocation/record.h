/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One revocation in memory, and the ledger's entry that it is made from. Private to the index.
 */
#ifndef MM_REVOCATION_RECORD_H
#define MM_REVOCATION_RECORD_H

#include <sys/queue.h>

#include "revocation/revocations.h"

/* Who waits for an entry to be durable. */
struct mm_revocation_waiter {
    struct mm_revocation_waiter *next; /* of the same revocation */
    LIST_ENTRY(mm_revocation_waiter) link;
    int64_t deadline_ns;      /* monotonic */
    mm_revocations_done done; /* NULL: told already that it took too long */
    void *context;
};

/* The strings never change; all else is guarded by the index's lock. */
struct mm_revocation {
    LIST_ENTRY(mm_revocation) link; /* in its bucket */
    TAILQ_ENTRY(mm_revocation) place;
    struct mm_revocations *index;
    enum mm_revoke_what what;
    bool is_client;
    bool stops;
    int64_t id;           /* 0: not durable yet */
    int64_t time;         /* Unix seconds, as are: */
    int64_t issued_until; /* hits what was issued then or before */
    int64_t until;        /* everything that it hits has expired then */
    struct mm_revocation_waiter *waiters;
    const char *name; /* as those below, part of the record's own memory */
    const char *tenant;
    const char *account;
    const char *by;
    const char *reason;
};

/* Without times; NULL: MM_NO_MEMORY. Strings that the order hasn't are empty. */
MM_MUST_USE struct mm_revocation *mm_revocation_new(const struct mm_revocation_order *order, struct mm_error *err);
void mm_revocation_free(struct mm_revocation *revocation);
MM_DEFINE_CLEANUP(struct mm_revocation, mm_revocation_free);

/* The fields of its entry. NULL: MM_NO_MEMORY, or MM_INVALID_REQUEST for text that isn't UTF-8. */
MM_MUST_USE json_t *mm_revocation_to_entry(const struct mm_revocation *revocation, struct mm_error *err);

/* From its entry. MM_LEDGER_CORRUPT. */
MM_MUST_USE struct mm_revocation *mm_revocation_from_entry(const json_t *entry, int64_t sequence, struct mm_error *err);

/* What its bucket is found by: the name, but of a resource its tenant. */
const char *mm_revocation_key(const struct mm_revocation *revocation);

#endif
