/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/admin.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin/connection.h"
#include "admin/request.h"
#include "util/log.h"

enum {
    LIBRARY_CONNECTIONS =
        256, /* beyond its limit the library closes whoever comes, so those who are turned away must fit in, too */
    MEMORY_RESERVE = 4096, /* of a connection's memory, beyond its header: the fields' records, a reply's header */
};

bool mm_admin_open(struct mm_config *config, struct mm_admin **ret_admin, struct mm_error *err)
{
    const struct mm_admin_config *section = &config->admin;
    const gid_t *group = section->socket_group ? &section->socket_gid : NULL;
    *ret_admin = NULL;
    if (!section->socket)
        return true;
    mm_cleanup(mm_admin_stop) struct mm_admin *admin = calloc(1, sizeof *admin);
    if (!admin)
        return mm_fail(err, MM_NO_MEMORY, "no memory for the admin listener");
    (void)pthread_mutex_init(&admin->lock, NULL);
    LIST_INIT(&admin->connections);
    admin->socket.fd = -1;
    admin->own_uid = geteuid();
    admin->config = mm_config_ref(config);
    if (!mm_admin_socket_open(section->socket, group, &admin->socket, err))
        return false;
    *ret_admin = MM_TAKE(admin);
    return true;
}

bool mm_admin_may_log(struct mm_admin *admin)
{
    int64_t now = mm_monotonic_ns() / 1000000000;
    return atomic_exchange(&admin->last_logged, now) != now;
}

static void log_library(void *context, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
static void log_library(void *context, const char *format, va_list arguments)
{
    if (!mm_admin_may_log(context))
        return;
    char line[256];
    (void)vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\r\n")] = '\0';
    mm_log(MM_LOG_INFO, "microhttpd", "message", line, NULL);
}

static void on_connection(void *context, struct MHD_Connection *mhd, void **ret_connection,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        *ret_connection = mm_admin_connection_open(context, mhd);
    else
        mm_admin_connection_close(MM_TAKE(*ret_connection));
}

/* Without the library's own time-out, which would count a handler's time as the client's: the watchdog has them all. */
static struct MHD_Daemon *start_daemon(struct mm_admin *admin)
{
    /* clang-format off */
    return MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, mm_admin_request_advance, admin,
        MHD_OPTION_EXTERNAL_LOGGER, log_library, admin,
        MHD_OPTION_LISTEN_SOCKET, admin->socket.fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)LIBRARY_CONNECTIONS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MM_ADMIN_HEADER_MAX + MEMORY_RESERVE,
        MHD_OPTION_UNESCAPE_CALLBACK, mm_target_keep_escaped, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, mm_admin_request_open, admin,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, admin,
        MHD_OPTION_NOTIFY_COMPLETED, mm_admin_request_close, admin,
        MHD_OPTION_END);
    /* clang-format on */
}

bool mm_admin_start(struct mm_admin *admin, const struct mm_admin_parts *parts, struct mm_error *err)
{
    if (!admin)
        return true;
    admin->parts = *parts;
    admin->started = mm_clock_now(parts->clock);
    admin->started_ns = mm_monotonic_ns();
    admin->watchdog = mm_watchdog_start(NULL, NULL, err);
    if (!admin->watchdog)
        return false;
    admin->daemon = start_daemon(admin);
    if (!admin->daemon)
        return mm_fail(err, MM_CANNOT_LISTEN, "can't serve on %s: the HTTP library doesn't start", admin->socket.path);
    admin->socket.fd = -1; /* the library's from now on */
    return true;
}

void mm_admin_drain(struct mm_admin *admin)
{
    if (admin)
        atomic_store(&admin->is_draining, true);
}

void mm_admin_stop(struct mm_admin *admin)
{
    if (!admin)
        return;
    if (admin->socket.path)
        mm_admin_socket_remove(&admin->socket);
    if (admin->daemon)
        MHD_stop_daemon(admin->daemon);
    if (admin->socket.fd >= 0)
        (void)close(admin->socket.fd);
    mm_watchdog_stop(admin->watchdog);
    mm_config_unref(admin->config);
    (void)pthread_mutex_destroy(&admin->lock);
    free(admin);
}
