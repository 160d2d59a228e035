/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/connection.h"

#include <stdio.h>
#include <sys/socket.h>

#include "util/clock.h"
#include "util/log.h"

/*
 * The library has accepted it already and can't be told to refuse. It finds the end of the stream: nothing more can come in, and what
 * has is dropped here.
 */
static void turn_away(int fd)
{
    char dropped[4096];
    (void)shutdown(fd, SHUT_RDWR);
    while (recv(fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0)
        continue;
}

static void log_turned_away(struct mm_admin *admin, const struct mm_admin_peer *peer, const char *why)
{
    char pid[16];
    if (!mm_admin_may_log(admin))
        return;
    (void)snprintf(pid, sizeof pid, "%d", (int)peer->pid);
    mm_log(MM_LOG_WARNING, "admin_peer_refused", "by", peer->by, "pid", pid, "role", mm_role_name(peer->role), "error",
           why, NULL);
}

/* Some places are for root and the service's own user: others' slow requests don't keep them from the bad day's commands. */
static bool has_room_locked(const struct mm_admin *admin, uid_t uid)
{
    bool is_owner = uid == 0 || uid == admin->own_uid;
    size_t most = is_owner ? MM_ADMIN_CONNECTIONS_MAX : MM_ADMIN_CONNECTIONS_MAX - MM_ADMIN_CONNECTIONS_RESERVED;
    size_t n = 0;
    size_t n_of_user = 0;
    const struct mm_admin_connection *connection;
    LIST_FOREACH(connection, &admin->connections, link) {
        n++;
        n_of_user += connection->peer.uid == uid;
    }
    return n < most && n_of_user < MM_ADMIN_CONNECTIONS_OF_USER_MAX;
}

static bool enter(struct mm_admin_connection *connection)
{
    struct mm_admin *admin = connection->admin;
    (void)pthread_mutex_lock(&admin->lock);
    bool has_room = has_room_locked(admin, connection->peer.uid);
    if (has_room)
        LIST_INSERT_HEAD(&admin->connections, connection, link);
    (void)pthread_mutex_unlock(&admin->lock);
    return has_room;
}

static bool admit(struct mm_admin_connection *connection)
{
    struct mm_error err = {0};
    struct mm_admin *admin = connection->admin;
    struct mm_admin_peer *peer = &connection->peer;
    if (!mm_admin_peer_of(connection->fd, &admin->config->admin.roles, admin->own_uid, peer, &err)) {
        mm_log_error("admin_peer_unknown", &err, NULL);
        return false;
    }
    const char *why = peer->role == MM_ROLE_NONE ? "this user holds no role"
                      : !enter(connection)       ? "too many connections"
                                                 : NULL;
    if (why)
        log_turned_away(admin, peer, why);
    return !why;
}

struct mm_admin_connection *mm_admin_connection_open(struct mm_admin *admin, struct MHD_Connection *mhd)
{
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    mm_cleanup(free) struct mm_admin_connection *connection = calloc(1, sizeof *connection);
    if (connection)
        *connection = (struct mm_admin_connection){.admin = admin, .fd = fd};
    if (!connection || !admit(connection)) {
        turn_away(fd);
        return NULL;
    }
    mm_watchdog_add(admin->watchdog, &connection->watch, fd, mm_deadline_after_ms(MM_ADMIN_REQUEST_MS));
    return MM_TAKE(connection);
}

void mm_admin_connection_close(struct mm_admin_connection *connection)
{
    if (!connection)
        return;
    struct mm_admin *admin = connection->admin;
    mm_watchdog_remove(admin->watchdog, &connection->watch);
    (void)pthread_mutex_lock(&admin->lock);
    LIST_REMOVE(connection, link);
    (void)pthread_mutex_unlock(&admin->lock);
    free(connection);
}
