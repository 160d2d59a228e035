/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to the admin listener, for one request: whose it is, and how long it may take. Who holds no role is turned away before
 * anything that it asks is looked at, and nobody can keep all the connections. A client of the network shows who it is in the TLS handshake,
 * and until then takes none of the places of those who have.
 */
#ifndef MM_ADMIN_CONNECTION_H
#define MM_ADMIN_CONNECTION_H

#include <microhttpd.h>

#include "admin/peer.h"
#include "admin/state.h"
#include "http/tls.h"
#include "http/watchdog.h"

/* Each way has its own. */
enum {
    MM_ADMIN_CONNECTIONS_MAX = 16,
    MM_ADMIN_CONNECTIONS_OF_PEER_MAX = 8, /* one user's, or one certificate's */
    MM_ADMIN_CONNECTIONS_RESERVED = 4,
    MM_ADMIN_HANDSHAKES_MAX = 16,
    MM_ADMIN_HANDSHAKES_OF_ADDRESS_MAX = 4,
    MM_ADMIN_HANDSHAKE_MS = 5000, /* from the accept to the end of the handshake */
    MM_ADMIN_REQUEST_MS = 10000,  /* from there, or the accept, to the end of the request */
    MM_ADMIN_REPLY_MS = 10000,    /* to take the reply */
};

struct mm_admin_connection {
    struct mm_admin_listener *listener;
    int fd;
    struct mm_admin_peer peer; /* no role: nothing is to be read */
    struct mm_watch watch;

    /* over HTTPS */
    struct mm_address_key key;
    struct mm_tls *tls; /* outlives the session, and so does: */
    struct mm_tls_owner owner;
    struct gnutls_session_int *session;

    enum { MM_ADMIN_UNCOUNTED, MM_ADMIN_STRANGER, MM_ADMIN_ENTERED } place; /* whose number it is in */
    LIST_ENTRY(mm_admin_connection) link;                                   /* guarded by the listener's lock */
};

/* Whether a connection from `address` may begin; counts nothing. */
bool mm_admin_connection_is_welcome(struct mm_admin_listener *listener, const struct sockaddr *address);

/* Take charge of a connection that was accepted. NULL: it was turned away, and its end will follow. */
struct mm_admin_connection *mm_admin_connection_open(struct mm_admin_listener *listener, struct MHD_Connection *mhd);

/* The connection is closed but its descriptor isn't yet. NULL is allowed. */
void mm_admin_connection_close(struct mm_admin_connection *connection);

#endif
