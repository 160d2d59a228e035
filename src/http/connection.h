/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client's connection, from accept to close: which credentials it uses, whom it is counted under, how long it may take,
 * and the certificate its client proved to hold. Everything but the watch belongs to the connection's own thread.
 */
#ifndef MM_HTTP_CONNECTION_H
#define MM_HTTP_CONNECTION_H

#include <microhttpd.h>

#include "http/service.h"
#include "http/transport.h"

struct mm_connection {
    struct mm_service *service;
    size_t listener;
    int fd;
    bool is_proxied;     /* its peer is a proxy, whose requests come from many clients */
    bool trusts_headers; /* who say what certificate each has */
    bool is_in_handshake;
    bool awaits_more; /* something came in since the last complete request */
    struct mm_address_key key;
    char address[MM_ADDRESS_TEXT_MAX];
    bool is_counted;
    struct mm_watch watch;
    struct mm_parked parked;
    struct mm_tls *tls; /* NULL: plain HTTP. Outlives the TLS session, and so does: */
    struct mm_tls_owner owner;
    struct gnutls_session_int *session;
    struct mm_transport transport;
};

/* Whether a connection from `address` may begin at that listener; counts nothing. */
bool mm_connection_is_welcome(struct mm_service *service, size_t listener, const struct sockaddr *address);

/* Take charge of a connection that was accepted. NULL: out of memory; its handshake will fail. */
struct mm_connection *mm_connection_open(struct mm_service *service, size_t listener, struct MHD_Connection *mhd);

/* The connection is closed but its descriptor isn't yet. NULL is allowed. */
void mm_connection_close(struct mm_connection *connection);

/*
 * The chain that the peer has sent in its handshake, leaf first, as DER that the connection keeps; 0 if it sent none. Of more than
 * MM_CHAIN_MAX certificates those beyond aren't filled in.
 */
size_t mm_connection_chain(const struct mm_connection *connection, struct mm_bytes ret_chain[MM_CHAIN_MAX]);

#endif
