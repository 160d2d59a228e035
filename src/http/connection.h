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
    int fd;
    bool is_in_handshake;
    bool awaits_more; /* something came in since the last complete request */
    struct mm_address_key key;
    char address[MM_ADDRESS_TEXT_MAX];
    bool is_counted;
    struct mm_watch watch;
    struct mm_parked parked;
    struct mm_tls *tls; /* outlives the TLS session, and so does: */
    struct mm_tls_owner owner;
    struct gnutls_session_int *session;
    struct mm_transport transport;
};

/* Whether a connection from `address` may begin; counts nothing. */
bool mm_connection_is_welcome(struct mm_service *service, const struct sockaddr *address);

/* Take charge of a connection that was accepted. NULL: out of memory; its handshake will fail. */
struct mm_connection *mm_connection_open(struct mm_service *service, size_t listener, struct MHD_Connection *mhd);

/* The connection is closed but its descriptor isn't yet. NULL is allowed. */
void mm_connection_close(struct mm_connection *connection);

/*
 * The client's certificate, with a reference for the caller; NULL in `ret_peer` if it sent none. MM_CERTIFICATE_INVALID if it can't be
 * parsed. The connection keeps nothing of it: who is no account here takes no memory but that of a handshake.
 */
MM_MUST_USE bool mm_connection_peer(const struct mm_connection *connection, struct mm_certificate **ret_peer,
                                    struct mm_error *err);

#endif
