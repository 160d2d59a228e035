/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What connections and handlers share: the parts they work with, the snapshot in force, and who is still being served.
 */
#ifndef MM_HTTP_SERVICE_H
#define MM_HTTP_SERVICE_H

#include "http/addresses.h"
#include "http/documents.h"
#include "http/parking.h"
#include "http/peers.h"
#include "http/pending.h"
#include "http/server.h"
#include "http/tls.h"
#include "http/waiting.h"
#include "http/watchdog.h"
#include "revocation/own_tokens.h"

struct mm_snapshot; /* what a reload replaces: configuration, TLS credentials */

struct mm_service {
    /* immutable between mm_service_new() and mm_service_free() */
    struct mm_server_parts parts;
    struct mm_admission *admission;
    struct mm_admission *proxied; /* requests that came through proxies, by the client's address */
    struct mm_addresses *addresses;
    struct mm_watchdog *watchdog;
    struct mm_parking *parking;
    struct mm_peers *peers;
    struct mm_own_tokens *own_tokens;
    struct mm_pending_list *pending;
    struct mm_waiting *waiting;
    size_t n_listeners;
    char *token_endpoint; /* its URL */

    /* the watchdog's own */
    int64_t n_crowd;        /* the most connections since memory was given back */
    int64_t crls_looked_at; /* Unix seconds */

    atomic_bool is_draining;

    /* Held by who makes documents, until they are in place: what they are made of are those before, or the snapshot. Taken before `lock`. */
    pthread_mutex_t renewing;

    pthread_mutex_t lock;
    pthread_cond_t quiet;
    /* guarded by lock */
    struct mm_snapshot *snapshot;
    struct mm_documents *documents;
    size_t n_in_flight; /* requests from their request line to the end of their reply */
};

/* Load TLS credentials and build the documents for `config`, taking a reference of it. */
MM_MUST_USE struct mm_service *mm_service_new(const struct mm_server_parts *parts, struct mm_config *config,
                                              struct mm_error *err);
void mm_service_free(struct mm_service *service);
MM_DEFINE_CLEANUP(struct mm_service, mm_service_free);

/* Replace the snapshot and the limits if `approve` (or nobody, if NULL) lets it; on failure nothing changes. */
MM_MUST_USE bool mm_service_replace(struct mm_service *service, struct mm_config *config, mm_server_approve approve,
                                    void *context, struct mm_error *err);

/* References to what is in force now; the caller drops them. */
struct mm_config *mm_service_config(struct mm_service *service);
struct mm_tls *mm_service_tls(struct mm_service *service, size_t listener);
/* The keys that verifiers are shown; a reference. */
struct mm_jwks *mm_service_keys(struct mm_service *service);
struct mm_served *mm_service_document(struct mm_service *service, enum mm_document_kind kind);

/* Make the documents of that keyring and serve them from now on. A failure (MM_NO_MEMORY) changes nothing. */
MM_MUST_USE bool mm_service_show(struct mm_service *service, const struct mm_keyring *keyring, struct mm_error *err);

/* Count a request in and out. */
void mm_service_enter(struct mm_service *service);
void mm_service_leave(struct mm_service *service);

/* Wait until no request has been in flight for `quiet_ms`, or the deadline (monotonic). */
void mm_service_wait_quiet(struct mm_service *service, int64_t quiet_ms, int64_t deadline_ns);

#endif
