/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTPS service: its listeners, from the first accept to the last reply. What it serves comes from `parts`; what may
 * change while it runs (policy, TLS certificates and CAs, limits) lives in one snapshot that a reload replaces as a whole.
 */
#ifndef MM_HTTP_SERVER_H
#define MM_HTTP_SERVER_H

#include "config/config.h"
#include "crypto/digest.h"
#include "http/addresses.h"
#include "hsm/signers.h"
#include "issue/issue.h"
#include "keyring/keyring.h"
#include "ledger/ledger.h"
#include "oauth/key_sources.h"
#include "oauth/replay.h"
#include "util/clock.h"

struct mm_server; /* opaque */

struct mm_local_socket; /* http/local_socket.h */

/*
 * Open the local sockets among the listeners of `config`, before the service is confined. One for each listener, of which those on an
 * address have no descriptor; borrows from `config`. NULL without any, or with `err`: MM_CANNOT_LISTEN names the path and the cause.
 */
MM_MUST_USE bool mm_server_open_sockets(const struct mm_config *config, struct mm_local_socket **ret_sockets,
                                        struct mm_error *err);

/* Remove them from the file system, as far as this process may, and close those that no server has taken. NULL is allowed. */
void mm_server_close_sockets(struct mm_local_socket *sockets, const struct mm_config *config);

/* What a server works with; everything is borrowed and outlives mm_server_stop(). */
struct mm_server_parts {
    struct mm_issuer *issuer;
    struct mm_signers *signers;
    struct mm_ledger *ledger;
    struct mm_revocations *revocations;
    struct mm_key_sources *key_sources; /* NULL: no JWT is taken whose keys aren't in the configuration */
    struct mm_replay *replay;           /* which JWTs have been used that count once */
    const struct mm_keyring *keyring;   /* what it shows at first; borrowed until mm_server_start() returns */
    struct mm_local_socket *sockets;    /* mm_server_open_sockets(); mm_server_start() takes their descriptors */
    const struct mm_clock *clock;
    const struct mm_random *random;
};

/*
 * Listen on every address of `config`, which the server takes a reference of, and serve from then on. MM_CANNOT_LISTEN names
 * the address and the cause; MM_CONFIG_INVALID names a certificate or key file that can't be used. The caller ignores SIGPIPE.
 */
MM_MUST_USE struct mm_server *mm_server_start(const struct mm_server_parts *parts, struct mm_config *config,
                                              struct mm_error *err);

/* The port that the listener at this index of the configuration is bound to (of interest where it says 0). */
uint16_t mm_server_port(const struct mm_server *server, size_t listener);

/* What is in force now; the caller drops the reference. */
struct mm_config *mm_server_config(const struct mm_server *server);

/* Who is refused tokens just now, and which addresses wait for their refusals: the worst first, at most `max`; how many there are. */
size_t mm_server_limited(const struct mm_server *server, struct mm_limited *ret_limited, size_t max);
size_t mm_server_slowed(const struct mm_server *server, struct mm_slowed *ret_slowed, size_t max);

/* When the thread that minds its connections last went round (monotonic): well under a second ago, unless something is stuck. */
int64_t mm_server_beat_ns(const struct mm_server *server);

/*
 * Called when everything that `config` needs is loaded and nothing has changed yet; false (with `err` filled) and nothing will.
 */
typedef bool (*mm_server_approve)(void *context, const struct mm_config *config, struct mm_error *err);

/*
 * Serve with `config` (a reference is taken) from now on: loads its TLS files, asks `approve` (may be NULL), then replaces
 * policy, TLS credentials and limits at once. New connections get the new credentials, new requests the new policy; what has
 * begun ends with what it began with. A failure (MM_CONFIG_INVALID, what `approve` said) changes nothing. The caller has asked
 * mm_config_can_replace() before. One reload at a time.
 */
MM_MUST_USE bool mm_server_reload(struct mm_server *server, struct mm_config *config, mm_server_approve approve,
                                  void *context, struct mm_error *err);

/* Show verifiers the keys of that keyring from now on: the JWKS, discovery. A failure (MM_NO_MEMORY) changes nothing. */
MM_MUST_USE bool mm_server_show(struct mm_server *server, const struct mm_keyring *keyring, struct mm_error *err);

/*
 * Stop accepting, close each connection after the reply it waits for, and return once every request that had begun has been
 * answered; at `deadline_ns` (monotonic) those still unanswered get 503 shutting_down. Call before the issuer drains.
 */
void mm_server_drain(struct mm_server *server, int64_t deadline_ns);

/*
 * Close every connection and free the server; drains first, with no patience, if that wasn't done. The issuer may still call
 * back for jobs that were given up: such a call finds nothing to answer. NULL is allowed.
 */
void mm_server_stop(struct mm_server *server);
MM_DEFINE_CLEANUP(struct mm_server, mm_server_stop);

#endif
