/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What connections and handlers of the admin listener share.
 */
#ifndef MM_ADMIN_STATE_H
#define MM_ADMIN_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "admin/admin.h"
#include "http/local_socket.h"
#include "http/admission.h"

struct mm_admin_connection;

enum mm_admin_way { MM_ADMIN_UNIX, MM_ADMIN_HTTPS, MM_ADMIN_WAYS };

/* One way to the service, with places of its own: whoever takes all of them keeps nobody from the other way. */
struct mm_admin_listener {
    /* immutable after mm_admin_start() */
    struct mm_admin *admin;
    enum mm_admin_way way;
    int fd; /* -1: none, or the library's */
    uint16_t port;
    struct MHD_Daemon *daemon;
    struct mm_admission *strangers; /* over HTTPS: who hasn't shown yet who he is */

    /* seconds of the last lines about somebody who may be anybody: what the library says of one hides no refusal of another */
    _Atomic int64_t last_refusal;
    _Atomic int64_t last_library_line;

    pthread_mutex_t lock;
    /* guarded by lock: those that hold a role */
    LIST_HEAD(, mm_admin_connection) connections;
};

struct mm_admin {
    /* immutable after mm_admin_start() */
    struct mm_admin_parts parts;
    struct mm_config *config; /* that the service started with: where it listens */
    uid_t own_uid;
    struct mm_local_socket socket;
    struct mm_admin_listener listeners[MM_ADMIN_WAYS];
    struct mm_watchdog *watchdog;
    int64_t started;    /* Unix seconds */
    int64_t started_ns; /* monotonic */

    atomic_bool is_draining;
    atomic_size_t n_handled; /* requests from when their handler begins until their reply has gone */

    pthread_mutex_t lock;
    /* guarded by lock */
    struct mm_tls *tls; /* of new connections; NULL: not over HTTPS */
};

/* Whether a line about a stranger may be logged now: one a second at most of those that `last` counts. */
bool mm_admin_may_log(_Atomic int64_t *last);

/* A reference to what new connections use, for the caller. */
struct mm_tls *mm_admin_tls(struct mm_admin *admin);

#endif
