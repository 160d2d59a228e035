/* SPDX-License-Identifier: Apache-2.0 */
#include "http/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "util/log.h"

bool mm_connection_is_welcome(struct mm_service *service, const struct sockaddr *address)
{
    struct mm_address_key key = mm_address_key(address);
    return !atomic_load(&service->is_draining) && mm_admission_has_room(service->admission, &key);
}

static void admit(struct mm_connection *connection, struct MHD_Connection *mhd)
{
    const struct sockaddr *address = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    connection->key = mm_address_key(address);
    mm_address_format(address, connection->address);
    connection->is_counted = mm_admission_enter(connection->service->admission, &connection->key);
    /* Others came in since mm_connection_is_welcome(); the library can't be told to refuse any more. */
    if (!connection->is_counted)
        (void)shutdown(connection->fd, SHUT_RDWR);
}

void mm_connection_acknowledge(const struct mm_connection *connection)
{
    const int on = 1;
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* The client's last flight needs no answer of ours, so nothing would carry its acknowledgement. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned is_incoming,
                       const gnutls_datum_t *message)
{
    (void)type, (void)when, (void)message;
    if (is_incoming)
        mm_connection_acknowledge(gnutls_db_get_ptr(session));
    return 0;
}

static void attach_tls(struct mm_connection *connection, size_t listener, struct MHD_Connection *mhd)
{
    struct mm_error err = {0};
    connection->session = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
    connection->tls = mm_service_tls(connection->service, listener);
    gnutls_db_set_ptr(connection->session,
                      connection); /* there is no session cache; the other pointer is the library's */
    gnutls_handshake_set_hook_function(connection->session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, on_finished);
    if (mm_tls_attach(connection->tls, connection->session, &err))
        return;
    mm_log_error("tls_failed", &err, "address", connection->address, NULL);
    (void)shutdown(connection->fd, SHUT_RDWR);
}

struct mm_connection *mm_connection_open(struct mm_service *service, size_t listener, struct MHD_Connection *mhd)
{
    struct mm_connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return NULL;
    connection->service = service;
    connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    admit(connection, mhd);
    attach_tls(connection, listener, mhd);
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(service);
    const struct mm_limits *limits = &config->limits;
    (void)MHD_set_connection_option(mhd, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)limits->idle_timeout);
    mm_watchdog_add(service->watchdog, &connection->watch, connection->fd,
                    mm_deadline_after_ms(limits->header_timeout * 1000));
    return connection;
}

void mm_connection_close(struct mm_connection *connection)
{
    if (!connection)
        return;
    struct mm_service *service = connection->service;
    mm_watchdog_remove(service->watchdog, &connection->watch);
    if (connection->is_counted)
        mm_admission_leave(service->admission, &connection->key);
    mm_certificate_free(connection->peer);
    mm_tls_unref(connection->tls);
    free(connection);
}

static void learn_peer(struct mm_connection *connection)
{
    if (!mm_tls_peer(connection->session, &connection->peer, &connection->peer_error))
        connection->peer_state = MM_PEER_UNREADABLE;
    else
        connection->peer_state = connection->peer ? MM_PEER_PRESENT : MM_PEER_ANONYMOUS;
}

bool mm_connection_peer(struct mm_connection *connection, const struct mm_certificate **ret_peer, struct mm_error *err)
{
    if (connection->peer_state == MM_PEER_UNKNOWN)
        learn_peer(connection);
    if (connection->peer_state == MM_PEER_UNREADABLE)
        return mm_fail(err, connection->peer_error.code, "%s", connection->peer_error.message);
    *ret_peer = connection->peer;
    return true;
}
