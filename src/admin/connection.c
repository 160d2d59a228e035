/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/connection.h"

#include "http/sockets.h"
#include "util/clock.h"
#include "util/log.h"

static void log_turned_away(struct mm_admin_listener *listener, const struct mm_admin_peer *peer, const char *why)
{
    if (mm_admin_may_log(&listener->last_refusal))
        mm_log(MM_LOG_WARNING, "admin_peer_refused", "by", mm_admin_told(peer->by), "pid", mm_admin_told(peer->pid),
               "address", mm_admin_told(peer->address), "role", mm_role_name(peer->role), "error", why, NULL);
}

/* root and the service's own user, and over the network any custodian. */
static bool is_first(const struct mm_admin_listener *listener, const struct mm_admin_peer *peer)
{
    return listener->way == MM_ADMIN_UNIX ? peer->uid == 0 || peer->uid == listener->admin->own_uid
                                          : peer->role == MM_ROLE_CUSTODIAN;
}

/* Some places are for those who come first: others' slow requests don't keep them from the bad day's commands. */
static bool has_room_locked(const struct mm_admin_listener *listener, const struct mm_admin_peer *peer)
{
    size_t most =
        is_first(listener, peer) ? MM_ADMIN_CONNECTIONS_MAX : MM_ADMIN_CONNECTIONS_MAX - MM_ADMIN_CONNECTIONS_RESERVED;
    size_t n = 0;
    size_t n_of_peer = 0;
    const struct mm_admin_connection *connection;
    LIST_FOREACH(connection, &listener->connections, link) {
        n++;
        n_of_peer += mm_admin_peer_is(&connection->peer, peer);
    }
    return n < most && n_of_peer < MM_ADMIN_CONNECTIONS_OF_PEER_MAX;
}

static void leave(struct mm_admin_connection *connection)
{
    struct mm_admin_listener *listener = connection->listener;
    if (connection->place == MM_ADMIN_STRANGER)
        mm_admission_leave(listener->strangers, &connection->key);
    if (connection->place == MM_ADMIN_ENTERED) {
        (void)pthread_mutex_lock(&listener->lock);
        LIST_REMOVE(connection, link);
        (void)pthread_mutex_unlock(&listener->lock);
    }
    connection->place = MM_ADMIN_UNCOUNTED;
}

/* Among those who hold a role. False: there is no room, and the connection has none any more. */
static bool enter(struct mm_admin_connection *connection)
{
    struct mm_admin_listener *listener = connection->listener;
    leave(connection);
    (void)pthread_mutex_lock(&listener->lock);
    bool has_room = has_room_locked(listener, &connection->peer);
    if (has_room)
        LIST_INSERT_HEAD(&listener->connections, connection, link);
    (void)pthread_mutex_unlock(&listener->lock);
    connection->place = has_room ? MM_ADMIN_ENTERED : MM_ADMIN_UNCOUNTED;
    if (has_room)
        return true;
    log_turned_away(listener, &connection->peer, "too many connections");
    connection->peer.role = MM_ROLE_NONE;
    return false;
}

/* Over the Unix socket, where the kernel has said who it is before anything is sent. */
static bool admit(struct mm_admin_connection *connection)
{
    struct mm_error err = {0};
    struct mm_admin *admin = connection->listener->admin;
    struct mm_admin_peer *peer = &connection->peer;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_server_config(admin->parts.server);
    if (!mm_admin_peer_of(connection->fd, &config->admin.roles, admin->own_uid, peer, &err)) {
        mm_log_error("admin_peer_unknown", &err, NULL);
        return false;
    }
    if (peer->role != MM_ROLE_NONE)
        return enter(connection);
    log_turned_away(connection->listener, peer, "this user holds no role");
    return false;
}

static enum mm_tls_verdict verdict_of(enum mm_code code)
{
    switch (code) {
    case MM_CERTIFICATE_REQUIRED:
        return MM_TLS_NO_CERTIFICATE;
    case MM_CERTIFICATE_INVALID:
        return MM_TLS_BAD_CERTIFICATE;
    case MM_ACCESS_DENIED:
        return MM_TLS_DENIED;
    default:
        return MM_TLS_NO_ROOM;
    }
}

/* At the end of the handshake: mm_tls_owner.judge. The one request that may follow is the peer's whom this finds. */
static enum mm_tls_verdict judge(void *context)
{
    struct mm_error err = {0};
    struct mm_admin_connection *connection = context;
    const struct mm_admin_parts *parts = &connection->listener->admin->parts;
    struct mm_bytes chain[MM_CHAIN_MAX];
    size_t n = mm_tls_peer_chain(connection->session, chain);
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_server_config(parts->server);
    if (!mm_admin_peer_prove(&connection->peer, chain, n, &config->admin, mm_clock_now(parts->clock), &err)) {
        log_turned_away(connection->listener, &connection->peer, err.message);
        return verdict_of(err.code);
    }
    if (!enter(connection))
        return MM_TLS_NO_ROOM;
    mm_watch_set(&connection->watch, mm_deadline_after_ms(MM_ADMIN_REQUEST_MS));
    return MM_TLS_WELCOME;
}

bool mm_admin_connection_is_welcome(struct mm_admin_listener *listener, const struct sockaddr *address)
{
    struct mm_address_key key = mm_address_key(address);
    return !listener->strangers || mm_admission_has_room(listener->strangers, &key);
}

/* Over HTTPS. Others may have come in since mm_admin_connection_is_welcome(). */
static bool begin_handshake(struct mm_admin_connection *connection, struct MHD_Connection *mhd)
{
    struct mm_error err = {0};
    struct mm_admin_listener *listener = connection->listener;
    const struct sockaddr *address = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    connection->key = mm_address_key(address);
    mm_address_format(address, connection->peer.address);
    if (!mm_admission_enter(listener->strangers, &connection->key))
        return false;
    connection->place = MM_ADMIN_STRANGER;
    connection->session = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
    connection->tls = mm_admin_tls(listener->admin);
    connection->owner = (struct mm_tls_owner){.fd = connection->fd, .context = connection, .judge = judge};
    if (mm_tls_attach(connection->tls, connection->session, &connection->owner, MM_CLIENT_CERTIFICATES_REQUESTED, &err))
        return true;
    mm_log_error("tls_failed", &err, "address", connection->peer.address, NULL);
    return false;
}

/*
 * The library has accepted it already and can't be told to refuse; it finds the end of the stream. Of what has been attached to a TLS
 * session nothing may go before that has, so a connection over HTTPS stays, without a role.
 */
struct mm_admin_connection *mm_admin_connection_open(struct mm_admin_listener *listener, struct MHD_Connection *mhd)
{
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    bool is_local = listener->way == MM_ADMIN_UNIX;
    mm_cleanup(free) struct mm_admin_connection *connection = calloc(1, sizeof *connection);
    if (connection)
        *connection = (struct mm_admin_connection){.listener = listener, .fd = fd};
    bool is_taken = connection && (is_local ? admit(connection) : begin_handshake(connection, mhd));
    if (!is_taken)
        mm_socket_turn_away(fd);
    if (!connection || (!is_taken && is_local))
        return NULL;
    mm_watchdog_add(listener->admin->watchdog, &connection->watch, fd,
                    mm_deadline_after_ms(is_local ? MM_ADMIN_REQUEST_MS : MM_ADMIN_HANDSHAKE_MS));
    return MM_TAKE(connection);
}

void mm_admin_connection_close(struct mm_admin_connection *connection)
{
    if (!connection)
        return;
    mm_watchdog_remove(connection->listener->admin->watchdog, &connection->watch);
    leave(connection);
    mm_tls_unref(connection->tls);
    free(connection);
}
