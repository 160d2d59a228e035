/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to the admin listener, for one request: whose it is, and how long it may take. Who holds no role is turned away before
 * anything that it sent is looked at, and nobody can keep all the connections.
 */
#ifndef MM_ADMIN_CONNECTION_H
#define MM_ADMIN_CONNECTION_H

#include <microhttpd.h>

#include "admin/peer.h"
#include "admin/state.h"
#include "http/watchdog.h"

enum {
    MM_ADMIN_CONNECTIONS_MAX = 16,
    MM_ADMIN_CONNECTIONS_OF_USER_MAX = 8,
    MM_ADMIN_CONNECTIONS_RESERVED = 4,
    MM_ADMIN_REQUEST_MS = 10000, /* from the accept to the end of the request */
    MM_ADMIN_REPLY_MS = 10000,   /* to take the reply */
};

struct mm_admin_connection {
    struct mm_admin *admin;
    int fd;
    struct mm_admin_peer peer;
    struct mm_watch watch;

    LIST_ENTRY(mm_admin_connection) link; /* guarded by the listener's lock */
};

/* Take charge of a connection that was accepted. NULL: it was turned away, and its end will follow. */
struct mm_admin_connection *mm_admin_connection_open(struct mm_admin *admin, struct MHD_Connection *mhd);

/* The connection is closed but its descriptor isn't yet. NULL is allowed. */
void mm_admin_connection_close(struct mm_admin_connection *connection);

#endif
