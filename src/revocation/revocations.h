/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tokens were taken back, and whose issuance is stopped: an index in memory of the ledger's entries `token.revoked` and
 * `revocation.lifted`. Nothing is acknowledged before its entry is durable; what is asked for counts from then on, so that no token that was
 * drafted meanwhile gets by.
 *
 * A revocation hits tokens by when they were issued: up to the moment at which it was recorded, or before an earlier one. Claims have whole seconds, so
 * of the second in which it was recorded it hits all. A token that was taken back stays so: what can be lifted is the stop of an account's or a
 * tenant's issuance, which lasts until then. A revocation leaves memory once every token that it hits has expired.
 */
#ifndef MM_REVOCATION_REVOCATIONS_H
#define MM_REVOCATION_REVOCATIONS_H

#include "ledger/ledger.h"
#include "ledger/reader.h"
#include "revocation/order.h"
#include "util/clock.h"

enum {
    MM_REVOCATIONS_OPERATORS_MAX = 65536, /* of operators' in memory */
    MM_REVOCATIONS_CLIENTS_MAX =
        262144, /* of clients' own tokens; a tenant's clients take no more than they leave free; of one client: */
    MM_REVOCATIONS_CLIENT_MAX = 16384,
};

struct mm_revocations; /* opaque; its functions may be called by any thread */

/* What an index works with; borrowed, but for `reader`, which is used by mm_revocations_open() alone. */
struct mm_revocations_parts {
    struct mm_ledger *ledger;
    struct mm_ledger_reader *reader;
    const struct mm_clock *clock;
    /* Seconds: of any token that the ledger tells of or this run may issue (mm_keyring_longest_ttl()). */
    int64_t longest_ttl;
    size_t clients_max; /* MM_REVOCATIONS_CLIENTS_MAX, but in tests */
};

/* Read the entries that there are, all of them. MM_LEDGER_CORRUPT for one that says nothing that can be. */
MM_MUST_USE struct mm_revocations *mm_revocations_open(const struct mm_revocations_parts *parts, struct mm_error *err);

/* After the ledger has been closed, which may still tell of an entry until then. NULL is allowed. */
void mm_revocations_free(struct mm_revocations *revocations);
MM_DEFINE_CLEANUP(struct mm_revocations, mm_revocations_free);

/*
 * Whether a token was taken back. True, too, for one that expires so early that its revocation may have been forgotten, by a clock that was set back
 * since: such a token is dead anyway by any clock that was right before.
 */
bool mm_revocations_has(struct mm_revocations *revocations, const struct mm_token_facts *facts);

/*
 * Whether tokens may be issued to an account (`tenant/account`) of a tenant. MM_ACCESS_DENIED, naming the revocation, for the log. To be asked
 * once the token's `iat` is fixed: then either this says no, or the revocation hits the token.
 */
MM_MUST_USE bool mm_revocations_allow(struct mm_revocations *revocations, const char *tenant, const char *account,
                                      struct mm_error *err);

/* A revocation as it was recorded. */
struct mm_revoked {
    int64_t id;                                      /* the sequence of its entry: what lifts it names */
    int64_t time;                                    /* Unix seconds, of its entry */
    enum { MM_REVOKED_NOW, MM_REVOKED_BEFORE } when; /* before: it was there already, and nothing was recorded */
};

/*
 * Called exactly once, on any thread, perhaps before the function that was given it returns: `revoked` once it is durable, else `err`, and nothing was
 * revoked. Must not block.
 */
typedef void (*mm_revocations_done)(void *context, const struct mm_revoked *revoked, const struct mm_error *err);

/*
 * Revoke: record `order` and tell, at the next mm_revocations_sweep() after `deadline_ns` (monotonic) with MM_DEADLINE_EXCEEDED: then it may be recorded
 * yet. From the call on it hits, unless it can't be recorded. A `jti` that is revoked already is told of as such, and
 * nothing is written. False, with `done` never called: MM_INVALID_REQUEST for an order that can't hit anything, MM_OVERLOADED where there is no room
 * (clients have bounds of their own, see above), and as mm_ledger_submit().
 */
MM_MUST_USE bool mm_revocations_revoke(struct mm_revocations *revocations, const struct mm_revocation_order *order,
                                       int64_t deadline_ns, mm_revocations_done done, void *context,
                                       struct mm_error *err);

/*
 * Let tokens be issued again that revocation `id` stops: those that it hit stay revoked. MM_REVOCATION_UNKNOWN: there is none of that number that
 * stops anything. Counts once it is durable.
 */
MM_MUST_USE bool mm_revocations_lift(struct mm_revocations *revocations, int64_t id, const char *by, const char *reason,
                                     mm_revocations_done done, void *context, struct mm_error *err);

/*
 * The same, and wait. Past `deadline_ns` (monotonic): MM_DEADLINE_EXCEEDED, and it may or may not be recorded. Not on the ledger's thread.
 */
MM_MUST_USE bool mm_revocations_revoke_now(struct mm_revocations *revocations, const struct mm_revocation_order *order,
                                           int64_t deadline_ns, struct mm_revoked *ret_revoked, struct mm_error *err);
MM_MUST_USE bool mm_revocations_lift_now(struct mm_revocations *revocations, int64_t id, const char *by,
                                         const char *reason, int64_t deadline_ns, struct mm_revoked *ret_revoked,
                                         struct mm_error *err);

/* Forget some of what hits nothing any more, and tell who has waited for too long: a bounded piece of work, to be done about once a second. */
void mm_revocations_sweep(struct mm_revocations *revocations);

struct mm_revocations_counts {
    size_t n_operators;
    size_t n_clients;
    size_t n_stops; /* of the first, those that stop issuance */
};

struct mm_revocations_counts mm_revocations_count(struct mm_revocations *revocations);

/*
 * The newest `max` of operators' revocations, newest first: [{"id","what","name","tenant","issued_until","until","stops_issuance","by","reason","time"}…], times in
 * Unix seconds. NULL: MM_NO_MEMORY.
 */
MM_MUST_USE json_t *mm_revocations_list(struct mm_revocations *revocations, size_t max, struct mm_error *err);

#endif
