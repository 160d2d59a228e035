/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one path that makes a token, whichever endpoint asked: decide, build claims, record, sign, hand back. A token
 * that is not in the ledger can't exist, with the key that signs it; an entry whose signature failed is followed by one that
 * names another key, which is then asked, or by one that says that it failed. Every job has a deadline.
 */
#ifndef MM_ISSUE_ISSUE_H
#define MM_ISSUE_ISSUE_H

#include "config/config.h"
#include "keyring/keyring.h"
#include "ledger/ledger.h"
#include "oauth/principal.h"
#include "hsm/signers.h"
#include "issue/buckets.h"
#include "policy/decide.h"
#include "revocation/revocations.h"
#include "util/clock.h"

enum { MM_REQUEST_ID_LENGTH = 22 }; /* base64url of 128 random bits */

struct mm_issuer; /* opaque */

/* What an issuer works with; everything is borrowed and outlives it. */
struct mm_issuer_parts {
    const char *issuer_url;
    struct mm_ledger *ledger;
    struct mm_revocations *revocations;
    struct mm_signers *signers;
    const struct mm_clock *clock;
    const struct mm_random *random;
    int64_t max_ttl; /* seconds */
    size_t queue;    /* jobs at once; of one tenant half as many */
    size_t at_once;  /* of one tenant: on their way through ledger and HSM; the others wait for their turn */
};

MM_MUST_USE struct mm_issuer *mm_issuer_start(const struct mm_issuer_parts *parts, struct mm_error *err);

/* When the timekeeper last went round (monotonic): about a second ago at most, unless something is stuck. */
int64_t mm_issuer_beat_ns(const struct mm_issuer *issuer);

/* Refuse new jobs (MM_SHUTTING_DOWN); those begun go on to their end or their deadline. */
void mm_issuer_drain(struct mm_issuer *issuer);

/*
 * Wait until every job has ended, in the ledger too. False with MM_DEADLINE_EXCEEDED if some are left at `deadline_ns`
 * (monotonic): the signers and the ledger may then not be freed.
 */
MM_MUST_USE bool mm_issuer_wait(struct mm_issuer *issuer, int64_t deadline_ns, struct mm_error *err);

/* Free an issuer that has no jobs left. NULL is allowed. Before the signers and the ledger stop. */
void mm_issuer_stop(struct mm_issuer *issuer);
MM_DEFINE_CLEANUP(struct mm_issuer, mm_issuer_stop);

/* A token that was made; valid during the callback only. */
struct mm_issued {
    const char *jwt;
    const char *jti;
    int64_t expires_at; /* Unix seconds */
    int64_t issued_at;  /* Unix seconds */
    const char *tenant_id;
    const char *account; /* its `sub` */
    const char *scopes;  /* JSON text, as are the two below: an array of strings */
    const char *resources;
    const char *audiences; /* an array, even of one */
};

/* Called exactly once, on any thread, perhaps before mm_issue() returns: `issued` or `err`. */
typedef void (*mm_issue_done)(void *context, const struct mm_issued *issued, const struct mm_error *err);

/*
 * Make a token for `principal`. False: refused or not begun, `err` says why (the codes of mm_policy_decide() and
 * mm_buckets_take(), MM_ACCESS_DENIED where a revocation stops issuance, MM_OVERLOADED, MM_SHUTTING_DOWN), and `done` won't be
 * called; a refusal was recorded (repeated ones coalesced). `config` is the snapshot that `principal` was found in; the job holds a
 * reference of its own. `deadline_ns`: monotonic. `ret_rate` is how it stands with the limit that is closest, once the request is
 * one that policy allows; it is set before this returns and not touched later.
 */
MM_MUST_USE bool mm_issue(struct mm_issuer *issuer, struct mm_config *config, const struct mm_principal *principal,
                          const struct mm_token_request *request, const char *request_id, int64_t deadline_ns,
                          mm_issue_done done, void *context, struct mm_rate_state *ret_rate, struct mm_error *err);

/* Who was refused most for want of tokens in a bucket, as mm_buckets_limited(). */
size_t mm_issuer_limited(struct mm_issuer *issuer, struct mm_limited *ret_limited, size_t max);

#endif
