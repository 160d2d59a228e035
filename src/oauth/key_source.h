/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One source of keys: where they are, the ones it gave last, and when it may be asked and is to be. Knows time as it is told, in monotonic
 * nanoseconds, and is guarded by its owner's lock, but for what never changes.
 */
#ifndef MM_OAUTH_KEY_SOURCE_H
#define MM_OAUTH_KEY_SOURCE_H

#include "crypto/digest.h"
#include "token/jwt.h"
#include "util/origin.h"

enum {
    MM_KEY_AGE_MAX = 86400,   /* seconds that keys are kept for at most, before they are asked for again */
    MM_KEY_AGE_UNSAID = 300,  /* where the issuer doesn't say */
    MM_KEY_STALE_MAX = 86400, /* seconds beyond that, for which they serve on while there are no others */
    MM_KEY_RETRY_MAX = 120,   /* seconds between two tries at most */
    MM_KEY_REASON_MAX = 256,
};

enum mm_key_source_kind {
    MM_KEY_SOURCE_ISSUER, /* its discovery document says where they are */
    MM_KEY_SOURCE_JWKS,   /* at a URL */
    MM_KEY_SOURCE_BUNDLE, /* of a SPIFFE trust domain, at a URL */
    MM_KEY_SOURCE_FILE,   /* read with the configuration */
};

struct mm_key_waiter {
    void (*wake)(void *context);
    void *context;
};

struct mm_key_source {
    /* immutable */
    char *name;
    char *url;              /* asked for first; NULL: MM_KEY_SOURCE_FILE */
    char host[MM_HOST_MAX]; /* of the URL */
    enum mm_key_source_kind kind;

    struct mm_jwks *jwks; /* NULL: none yet, or none any more */
    int64_t fetched_ns;   /* when there were such */
    int64_t expires_ns;   /* until when they were to be kept */

    enum { MM_KEY_SOURCE_IDLE, MM_KEY_SOURCE_WANTED, MM_KEY_SOURCE_ASKED } state;
    int64_t wanted_ns; /* unless idle: since when */
    int64_t asked_ns;  /* the last time */
    int64_t due_ns;    /* it is wanted from then on, whoever asks */
    int64_t again_ns;  /* and not before, whoever asks */
    unsigned n_failures;
    bool was_slow;
    bool is_given_up;            /* who waited for this fetch was told to wait no longer */
    char why[MM_KEY_REASON_MAX]; /* of the last failure */

    struct mm_key_waiter *waiters;
    size_t n_waiters;
};

/* Due at once, if it is one to ask; `jwks`, of a file, is taken a reference of. NULL: MM_NO_MEMORY. */
MM_MUST_USE struct mm_key_source *mm_key_source_new(enum mm_key_source_kind kind, const char *name, const char *url,
                                                    struct mm_jwks *jwks, int64_t now_ns, struct mm_error *err);
void mm_key_source_free(struct mm_key_source *source); /* nobody waits */
MM_DEFINE_CLEANUP(struct mm_key_source, mm_key_source_free);

/* Whether both are to be asked for the same, in the same way. */
bool mm_key_source_is_same(const struct mm_key_source *a, const struct mm_key_source *b);

/* The keys that may be used at that time, borrowed; NULL: none. */
struct mm_jwks *mm_key_source_keys(const struct mm_key_source *source, int64_t now_ns);

/* Whether to begin a fetch for a caller's sake. */
bool mm_key_source_may_ask(const struct mm_key_source *source, int64_t now_ns);

/* It is asked now. */
void mm_key_source_ask(struct mm_key_source *source, int64_t now_ns);

/* The fetch has ended, with `jwks`, which is taken, or with why not: when the next one is due, and may be made at the earliest. */
void mm_key_source_succeed(struct mm_key_source *source, struct mm_jwks *jwks, int64_t max_age, int64_t now_ns,
                           const struct mm_random *random);
void mm_key_source_fail(struct mm_key_source *source, const char *why, int64_t now_ns, const struct mm_random *random);

#endif
