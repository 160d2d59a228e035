/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of those whose JWTs callers bring: of OIDC issuers, of clients with a jwks_uri, of SPIFFE trust domains. Read from a file with the
 * configuration, or fetched over HTTPS (fetch/fetcher.h), kept, and refreshed ahead of need. What is fetched is asked for by a thread of
 * its own: who wants keys gets what is there, or waits without a thread, for seconds at most.
 *
 * A source is asked for one document at a time, again at the earliest after a while, and after failures ever more seldom, whatever callers'
 * JWTs claim. While it can't be had its last keys serve on, for a bounded time.
 */
#ifndef MM_OAUTH_KEY_SOURCES_H
#define MM_OAUTH_KEY_SOURCES_H

#include "config/config.h"
#include "crypto/digest.h"
#include "token/jwt.h"

struct mm_key_sources; /* opaque; safe to use from many threads */

enum mm_keys { MM_KEYS_READY, MM_KEYS_AWAITED, MM_KEYS_FAILED };

/* Called once, by any thread, perhaps before mm_key_sources_get() returns, and never while a lock of this module is held. */
typedef void (*mm_keys_wake)(void *context);

enum mm_key_source_event {
    MM_KEY_SOURCE_FAILED, /* the first of a row of failures, and each that says something else than the one before */
    MM_KEY_SOURCE_BACK,   /* the first success after a failure */
};

/* `detail` says why it failed, or how many keys there are. Called by the thread that fetches. */
typedef void (*mm_key_source_observer)(void *context, enum mm_key_source_event event, const char *source,
                                       const char *detail);

enum {
    MM_KEYS_OF_HOST_MAX = 4096, /* kept of all sources of one host together */
    MM_KEY_WAITERS_MAX = 1024,
    MM_KEY_WAITERS_PER_SOURCE = 128,
    MM_KEY_WAIT_MS = 4000, /* nobody waits for a fetch beyond that, from when it was wanted */
};

/* Everything is borrowed and outlives mm_key_sources_free(). */
struct mm_key_sources_parts {
    /* Have a URL fetched: what mm_fetcher_ask() does. NULL: nothing is fetched, and there is no thread. */
    bool (*fetch)(void *context, const char *url, int *ret_fd, struct mm_error *err);
    void *fetch_context;
    const struct mm_random *random;
    int64_t (*monotonic_ns)(void); /* NULL: mm_monotonic_ns() */
    mm_key_source_observer observer;
    void *observer_context;
};

/* Without sources until mm_key_sources_use(). MM_NO_MEMORY; MM_INTERNAL if there can be no thread. */
MM_MUST_USE struct mm_key_sources *mm_key_sources_start(const struct mm_key_sources_parts *parts, struct mm_error *err);

/*
 * Which sources there are from now on: at the start and after each reload. New ones are fetched ahead; those that stay the same keep their
 * keys; who waits for one that is gone is woken. A failure (MM_NO_MEMORY; MM_CONFIG_INVALID for more than MM_KEY_SOURCES_MAX) changes nothing.
 */
MM_MUST_USE bool mm_key_sources_use(struct mm_key_sources *sources, const struct mm_config *config,
                                    struct mm_error *err);

/*
 * The keys for JWTs of `source`: an OIDC issuer's URL, a jwks_uri, or `spiffe://‹trust domain›`. Whether this caller's JWT may be verified with those keys
 * at all is for a tenant's rules to say, before. Of an issuer and a jwks_uri that are called the same it is the issuer.
 *
 * READY, with a reference: the set has the key that `jwt` asks for (`jwt` NULL: any set will do), or it isn't time to ask again, and the
 * caller's verification fails. AWAITED: a fetch is under way, and `wake` will be called when it has ended, however it did, or has taken too long;
 * ask again then, and the answer is another one. FAILED: MM_ACCESS_DENIED if there is no such source; MM_KEYS_UNAVAILABLE if it has no keys now;
 * MM_OVERLOADED if too many wait, or if `wake` is NULL, since the caller can't, and would have to; MM_SHUTTING_DOWN. `wake` is called if the
 * answer is AWAITED and not otherwise.
 */
MM_MUST_USE enum mm_keys mm_key_sources_get(struct mm_key_sources *sources, const char *source,
                                            const struct mm_jwt *jwt, mm_keys_wake wake, void *context,
                                            struct mm_jwks **ret_jwks, struct mm_error *err);

struct mm_key_source_state {
    char *name;
    char *url;          /* asked for first; NULL: a file's keys */
    size_t n_keys;      /* usable ones; 0 also without a set */
    size_t n_unusable;  /* of its set, left out */
    char *unusable_why; /* the first of them; NULL: none */
    int64_t age;        /* seconds since they were fetched; -1: never, or a file's */
    int64_t next;       /* seconds until the next fetch, 0 if it is under way or due; -1: never */
    char *error;        /* why the last fetch failed; NULL if it didn't, or there was none */
    bool is_stale;      /* its keys are beyond the time that they were to be kept for, and serve on */
};

/* How all of them are, by name; `ret_states` is the caller's, for mm_key_source_states_free(). MM_NO_MEMORY. */
MM_MUST_USE bool mm_key_sources_describe(struct mm_key_sources *sources, struct mm_key_source_state **ret_states,
                                         size_t *ret_n, struct mm_error *err);
void mm_key_source_states_free(struct mm_key_source_state *states, size_t n);

/* When its thread last went round (monotonic); of one that needs no thread, now. */
int64_t mm_key_sources_beat_ns(const struct mm_key_sources *sources);

/* Wake everybody; from now on nobody waits (MM_SHUTTING_DOWN). What is there is served on. */
void mm_key_sources_drain(struct mm_key_sources *sources);

/* Drain, end the thread, free. NULL is allowed. */
void mm_key_sources_free(struct mm_key_sources *sources);
MM_DEFINE_CLEANUP(struct mm_key_sources, mm_key_sources_free);

#endif
