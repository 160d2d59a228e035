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
#include "admin/socket.h"

struct mm_admin_connection;

struct mm_admin {
    /* immutable after mm_admin_start() */
    struct mm_admin_parts parts;
    struct mm_config *config; /* that the service started with: a reload doesn't change who may do what */
    uid_t own_uid;
    struct mm_admin_socket socket;
    struct mm_watchdog *watchdog;
    struct MHD_Daemon *daemon;
    int64_t started;    /* Unix seconds */
    int64_t started_ns; /* monotonic */

    atomic_bool is_draining;
    _Atomic int64_t last_logged; /* second of the last line about somebody who may be anybody */

    pthread_mutex_t lock;
    /* guarded by lock */
    LIST_HEAD(, mm_admin_connection) connections;
};

/* Whether a line about a stranger may be logged now: one a second at most. */
bool mm_admin_may_log(struct mm_admin *admin);

#endif
