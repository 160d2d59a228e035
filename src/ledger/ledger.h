/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: what was issued, refused, and changed, as one hash chain. An entry is stored once, as exact bytes:
 *     hash = SHA-256("mintmark-ledger-v1" || 0x00 || previous hash || sequence (8 bytes, big-endian) || bytes)
 * with 32 zero bytes before the first entry, whose sequence is 1. One writer thread commits entries in groups; nothing that
 * depends on an entry may happen before its receipt.
 */
#ifndef MM_LEDGER_LEDGER_H
#define MM_LEDGER_LEDGER_H

#include "crypto/digest.h"
#include "util/clock.h"
#include "util/json.h"

/* The `type` of an entry. X(symbol, wire name) */
#define MM_ENTRY_TABLE(X) \
    X(MM_ENTRY_LEDGER_CREATED, "ledger.created") \
    X(MM_ENTRY_KEY_STAGED, "key.staged") \
    X(MM_ENTRY_KEY_PUBLISHED, "key.published") \
    X(MM_ENTRY_KEY_ACTIVATED, "key.activated") \
    X(MM_ENTRY_KEY_RETIRING, "key.retiring") \
    X(MM_ENTRY_KEY_RETIRED, "key.retired") \
    X(MM_ENTRY_KEY_REVOKED, "key.revoked") \
    X(MM_ENTRY_KEY_DESTROYED, "key.destroyed") \
    X(MM_ENTRY_KEY_ROTATION, "key.rotation") \
    X(MM_ENTRY_POLICY_LOADED, "policy.loaded") \
    X(MM_ENTRY_TOKEN_ISSUED, "token.issued") \
    X(MM_ENTRY_SIGN_FAILED, "token.sign_failed") \
    X(MM_ENTRY_TOKEN_REFUSED, "token.refused") \
    X(MM_ENTRY_SERVICE_STARTED, "service.started") \
    X(MM_ENTRY_SERVICE_STOPPED, "service.stopped") \
    X(MM_ENTRY_HSM_EVENT, "hsm.event") \
    X(MM_ENTRY_CLOCK_ACCEPTED, "clock.accepted") \
    X(MM_ENTRY_TOKEN_REROUTED, "token.rerouted") \
    X(MM_ENTRY_KEY_ATTESTED, "key.attested") \
    X(MM_ENTRY_KEY_GENERATING, "key.generating") \
    X(MM_ENTRY_KEY_NOT_GENERATED, "key.not_generated") \
    X(MM_ENTRY_TOKEN_REVOKED, "token.revoked") \
    X(MM_ENTRY_REVOCATION_LIFTED, "revocation.lifted") \
    X(MM_ENTRY_ASSERTION_USED, "assertion.used")

enum mm_entry_type {
#define MM_ENTRY_SYMBOL(symbol, name) symbol,
    MM_ENTRY_TABLE(MM_ENTRY_SYMBOL)
#undef MM_ENTRY_SYMBOL
        MM_N_ENTRY_TYPES
};

const char *mm_entry_type_name(enum mm_entry_type type);

/* The type of that wire name; false if there is none. */
MM_MUST_USE bool mm_entry_type_parse(const char *name, enum mm_entry_type *ret_type);

enum { MM_ENTRY_BYTES_MAX = 262144 }; /* a policy of 1000 tenants, each with its digest, in one entry */

struct mm_ledger; /* opaque: the writer */

struct mm_receipt {
    int64_t sequence;
    uint8_t hash[MM_SHA256_LENGTH];
};

/* An entry to be: see mm_ledger_submit(). */
struct mm_entry {
    enum mm_entry_type type;
    const json_t *fields;
};

/*
 * Make a ledger of the `n` first entries (may be none) at `file` (mode 0600), complete or not at all. MM_STORE_EXISTS if
 * something is there already, or the log of a ledger that was. Only `mintmark init` calls it.
 */
MM_MUST_USE bool mm_ledger_create(const char *file, const struct mm_clock *clock, const struct mm_entry *entries,
                                  size_t n, struct mm_error *err);

/*
 * Open an existing ledger for writing and start its writer thread. MM_STORE_MISSING if there is none; MM_LEDGER_UNAVAILABLE
 * if another process writes it; MM_LEDGER_CORRUPT if the last entries don't continue the chain. `gather_us`: how long the
 * writer waits for more entries before it commits a group (microseconds; 0: not at all).
 */
MM_MUST_USE struct mm_ledger *mm_ledger_open(const char *file, const struct mm_clock *clock, unsigned gather_us,
                                             struct mm_error *err);

/*
 * Called on the writer thread, once: `receipt` when the entry is durable, else `err` (MM_LEDGER_UNAVAILABLE; MM_LEDGER_CORRUPT
 * if someone else wrote) and the entry isn't in the ledger. (Only where the last sync of a commit failed and the machine then
 * did may it be found there: recorded, though never reported so.) Must not block and must not call into the ledger except mm_ledger_submit().
 */
typedef void (*mm_ledger_done)(void *context, const struct mm_receipt *receipt, const struct mm_error *err);

/*
 * Queue an entry: `type`, the time now, and the members of `fields` (borrowed; an object) as one JSON object. `account` and
 * `jti` members of `fields` are indexed. False (MM_OVERLOADED when the queue is full, MM_LEDGER_UNAVAILABLE while closing,
 * MM_INTERNAL for fields that hold `type` or `time`, can't be read back as JSON, or exceed MM_ENTRY_BYTES_MAX) means that
 * `done` will not be called. `done` may be NULL.
 */
MM_MUST_USE bool mm_ledger_submit(struct mm_ledger *ledger, enum mm_entry_type type, const json_t *fields,
                                  mm_ledger_done done, void *context, struct mm_error *err);

/* Fields that are JSON text already: one object, with neither `type` nor `time` in it, and the indexes among its members. */
struct mm_entry_text {
    const char *fields;
    const char *account; /* NULL: none */
    const char *jti;     /* NULL: none */
};

/* As mm_ledger_submit(), for a program that writes its fields itself and vouches that they can be read back. */
MM_MUST_USE bool mm_ledger_submit_text(struct mm_ledger *ledger, enum mm_entry_type type,
                                       const struct mm_entry_text *entry, mm_ledger_done done, void *context,
                                       struct mm_error *err);

/*
 * Append and wait until durable. Past `deadline_ns` (monotonic): MM_DEADLINE_EXCEEDED, and the entry may or may not get in.
 * Not to be called on the writer thread.
 */
MM_MUST_USE bool mm_ledger_append(struct mm_ledger *ledger, enum mm_entry_type type, const json_t *fields,
                                  int64_t deadline_ns, struct mm_receipt *ret_receipt, struct mm_error *err);

/*
 * Whether the last commit worked (true before the first); readiness asks this. While it isn't, the writer tries each second
 * whether it can write again, so that readiness comes back without traffic.
 */
bool mm_ledger_is_healthy(struct mm_ledger *ledger);

enum { MM_LEDGER_CLOCK_LEEWAY = 60 }; /* seconds */

/*
 * The clock is safe unless it is behind the latest entry by more than MM_LEDGER_CLOCK_LEEWAY: MM_CLOCK_UNSAFE then, and nothing that states a time
 * may be signed until that has passed, or until an entry `clock.accepted`, by somebody who knows better, makes its own time the latest. What
 * the entries from before mm_ledger_open() said is told by mm_ledger_expect_time(), since only a look at all of them shows it.
 */
MM_MUST_USE bool mm_ledger_check_clock(struct mm_ledger *ledger, struct mm_error *err);
void mm_ledger_expect_time(struct mm_ledger *ledger, int64_t latest_time, int64_t latest_issue);

/*
 * No token that is recorded was issued later than this, Unix seconds, by whatever the clock was then: the latest entry's time; or, where a clock
 * that was ahead has been set back and that was accepted, the latest token's.
 */
int64_t mm_ledger_latest_issue(struct mm_ledger *ledger);

/* Whether this is the thread that calls mm_ledger_done: it must not wait for an entry. */
bool mm_ledger_is_writer_thread(const struct mm_ledger *ledger);

/* Commit what is queued, stop the writer, close. NULL is allowed. */
void mm_ledger_close(struct mm_ledger *ledger);
MM_DEFINE_CLEANUP(struct mm_ledger, mm_ledger_close);

#endif
