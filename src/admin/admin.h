/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin listener: operators' requests, each within its peer's role, over a Unix socket, from peers that the kernel vouches for, or over
 * HTTPS, from those that the custodians' CA does. Its handlers may wait (for the ledger, for an HSM's worker), each connection has a thread.
 */
#ifndef MM_ADMIN_ADMIN_H
#define MM_ADMIN_ADMIN_H

#include "http/server.h"
#include "http/tls.h"
#include "keyring/supply.h"
#include "util/problems.h"

struct mm_admin; /* opaque */

/*
 * Load the configuration anew and have it in force, as SIGHUP does, unless false: then `problems` and `err` say why. In either case
 * `problems` may hold warnings. Called by any of the listener's threads; one reload at a time is the callee's business.
 */
typedef bool (*mm_admin_reload)(void *context, struct mm_problems *problems, struct mm_error *err);

/* What the handlers work with; everything is borrowed and outlives mm_admin_stop(). */
struct mm_admin_parts {
    struct mm_server *server;
    struct mm_signers *signers;
    struct mm_keeper *keeper;
    struct mm_supply *supply;
    struct mm_key_sources *key_sources;
    struct mm_ledger *ledger;
    struct mm_revocations *revocations;
    const struct mm_clock *clock;
    const struct mm_random *random;
    mm_admin_reload reload;
    void *reload_context;
};

/*
 * Make the sockets that `config` (a reference is taken) names, while files and system calls aren't restricted yet; who connects waits
 * until mm_admin_start(). NULL in `ret_admin` if there is to be no listener; the other functions take that for one that does nothing.
 * MM_CANNOT_LISTEN; MM_CONFIG_INVALID names a certificate or key file that can't be used.
 */
MM_MUST_USE bool mm_admin_open(struct mm_config *config, struct mm_admin **ret_admin, struct mm_error *err);

/* Serve from now on. */
MM_MUST_USE bool mm_admin_start(struct mm_admin *admin, const struct mm_admin_parts *parts, struct mm_error *err);

/* The port that HTTPS is bound to (of interest where the configuration says 0); 0: not over HTTPS. */
uint16_t mm_admin_port(const struct mm_admin *admin);

/*
 * Take the certificate over that `config`, which will be in force, names for new connections: load it, for the caller to drop with
 * mm_tls_unref(); use it (it is taken), once all else of a reload is done. Who may do what is in what mm_server_config() says. NULL: not over
 * HTTPS. MM_CONFIG_INVALID as mm_tls_load().
 */
MM_MUST_USE bool mm_admin_load_tls(const struct mm_config *config, struct mm_tls **ret_tls, struct mm_error *err);
void mm_admin_use_tls(struct mm_admin *admin, struct mm_tls *tls);

/* Answer what changes nothing, and refuse (MM_SHUTTING_DOWN) what would change something and hasn't begun. */
void mm_admin_drain(struct mm_admin *admin);

/*
 * Let what has begun end, which its handlers bound, and be answered, close every connection, remove the socket if this process still may, and free. While
 * the parts are still there. NULL is allowed.
 */
void mm_admin_stop(struct mm_admin *admin);
MM_DEFINE_CLEANUP(struct mm_admin, mm_admin_stop);

#endif
