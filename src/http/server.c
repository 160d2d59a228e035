/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "http/connection.h"
#include "http/local_socket.h"
#include "http/request.h"
#include "http/service.h"
#include "http/sockets.h"
#include "util/log.h"

enum {
    BACKLOG = 1024,
    THREADS_MIN = 2, /* the library ignores a pool of one */
    THREADS_MAX = 64,
    LIBRARY_CONNECTIONS = 1 << 20, /* its own limit, which can't be changed later, must never be the one that counts */
    MEMORY_RESERVE = 4096,  /* of a connection's memory, beyond its header: the fields' records, a reply's header */
    QUIET_MS = 100,         /* what is on its way into the process when the drain begins arrives within that */
    LAST_REPLIES_MS = 1000, /* for writing the replies of requests that were given up */
};

struct listener {
    /* immutable after mm_server_start() */
    struct mm_service *service;
    size_t index;
    uint16_t port;
    struct MHD_Daemon *daemon;

    _Atomic int64_t last_logged; /* second of the library's last line */

    /* belongs to the thread that starts, drains and stops the server: the socket, while the library doesn't own it */
    int fd;
};

struct mm_server {
    struct mm_service *service;
    enum { SERVING, DRAINED } state;
    size_t n_listeners;
    struct listener listeners[];
};

/* The library reports what strangers do wrong as well as what goes wrong: one line a second is enough of either. */
static void log_library(void *context, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
static void log_library(void *context, const char *format, va_list arguments)
{
    struct listener *listener = context;
    int64_t now = mm_monotonic_ns() / 1000000000;
    if (atomic_exchange(&listener->last_logged, now) == now)
        return;
    char line[256];
    (void)vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\r\n")] = '\0';
    mm_log(MM_LOG_INFO, "microhttpd", "message", line, NULL);
}

static enum MHD_Result on_accept(void *context, const struct sockaddr *address, socklen_t length)
{
    const struct listener *listener = context;
    (void)length;
    return mm_connection_is_welcome(listener->service, listener->index, address) ? MHD_YES : MHD_NO;
}

static void on_connection(void *context, struct MHD_Connection *mhd, void **ret_connection,
                          enum MHD_ConnectionNotificationCode what)
{
    const struct listener *listener = context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        *ret_connection = mm_connection_open(listener->service, listener->index, mhd);
    else
        mm_connection_close(MM_TAKE(*ret_connection));
}

/* More threads than processors only take turns. */
static unsigned n_threads(const struct mm_limits *limits)
{
    int64_t n = limits->threads > 0 ? limits->threads : sysconf(_SC_NPROCESSORS_ONLN);
    return (unsigned)(n < THREADS_MIN ? THREADS_MIN : n > THREADS_MAX ? THREADS_MAX : n);
}

/* Plain HTTP on a local socket. */
static struct MHD_Daemon *start_daemon(struct listener *listener, const struct mm_listen *listen,
                                       const struct mm_limits *limits)
{
    static const struct MHD_OptionItem WITHOUT_TLS[] = {{MHD_OPTION_END, 0, NULL}};
    static const struct MHD_OptionItem WITH_TLS[] = {
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)MM_TLS_PRIORITIES},
        {MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(uintptr_t)mm_tls_refuse},
        {MHD_OPTION_END, 0, NULL},
    };
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    /* clang-format off */
    return MHD_start_daemon(
        listen->address ? flags | MHD_USE_TLS : flags, 0,
        on_accept, listener, mm_request_advance, listener,
        MHD_OPTION_EXTERNAL_LOGGER, log_library, listener,
        MHD_OPTION_LISTEN_SOCKET, listener->fd,
        MHD_OPTION_THREAD_POOL_SIZE, n_threads(limits),
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)LIBRARY_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)limits->idle_timeout,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)limits->header_bytes + MEMORY_RESERVE,
        MHD_OPTION_ARRAY, listen->address ? WITH_TLS : WITHOUT_TLS,
        MHD_OPTION_UNESCAPE_CALLBACK, mm_target_keep_escaped, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, mm_request_open, listener,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener,
        MHD_OPTION_NOTIFY_COMPLETED, mm_request_close, listener,
        MHD_OPTION_END);
    /* clang-format on */
}

bool mm_server_open_sockets(const struct mm_config *config, struct mm_local_socket **ret_sockets, struct mm_error *err)
{
    struct mm_local_socket *sockets = calloc(config->n_listen + 1, sizeof *sockets);
    if (!sockets)
        return mm_fail(err, MM_NO_MEMORY, "no memory for the listeners");
    for (size_t i = 0; i < config->n_listen; i++)
        sockets[i].fd = -1;
    for (size_t i = 0; i < config->n_listen; i++) {
        const struct mm_listen *listen = &config->listen[i];
        const gid_t *group = listen->socket_group ? &listen->socket_gid : NULL;
        if (listen->socket && !mm_local_socket_open(listen->socket, group, &sockets[i], err)) {
            mm_server_close_sockets(sockets, config);
            return false;
        }
    }
    *ret_sockets = sockets;
    return true;
}

void mm_server_close_sockets(struct mm_local_socket *sockets, const struct mm_config *config)
{
    for (size_t i = 0; sockets && i < config->n_listen; i++) {
        if (sockets[i].path)
            mm_local_socket_remove(&sockets[i]);
        if (sockets[i].fd >= 0)
            (void)close(sockets[i].fd);
    }
    free(sockets);
}

static bool open_listener(struct listener *listener, const struct mm_listen *listen, struct mm_local_socket *socket,
                          struct mm_error *err)
{
    if (listen->socket) {
        listener->fd = socket->fd;
        socket->fd = -1;
        return true;
    }
    if (!mm_tcp_listen(listen, BACKLOG, &listener->fd, err))
        return false;
    listener->port = mm_tcp_port(listener->fd);
    return true;
}

static bool start_listener(struct mm_server *server, const struct mm_server_parts *parts,
                           const struct mm_config *config, size_t index, struct mm_error *err)
{
    struct listener *listener = &server->listeners[index];
    const struct mm_listen *listen = &config->listen[index];
    listener->service = server->service;
    listener->index = index;
    listener->fd = -1;
    server->n_listeners++;
    if (!open_listener(listener, listen, parts->sockets ? &parts->sockets[index] : NULL, err))
        return false;
    listener->daemon = start_daemon(listener, listen, &config->limits);
    if (!listener->daemon)
        return mm_fail(err, MM_CANNOT_LISTEN, "can't serve on %s port %u: the HTTP library doesn't start",
                       listen->socket ? listen->socket : listen->address, listener->port);
    listener->fd = -1; /* the library's from now on */
    return true;
}

struct mm_server *mm_server_start(const struct mm_server_parts *parts, struct mm_config *config, struct mm_error *err)
{
    mm_cleanup(mm_server_stop) struct mm_server *server =
        calloc(1, sizeof *server + config->n_listen * sizeof server->listeners[0]);
    if (!server) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the server");
        return NULL;
    }
    server->service = mm_service_new(parts, config, err);
    if (!server->service)
        return NULL;
    for (size_t i = 0; i < config->n_listen; i++) {
        if (!start_listener(server, parts, config, i, err))
            return NULL;
    }
    return MM_TAKE(server);
}

uint16_t mm_server_port(const struct mm_server *server, size_t listener)
{
    return server->listeners[listener].port;
}

struct mm_config *mm_server_config(const struct mm_server *server)
{
    return mm_service_config(server->service);
}

size_t mm_server_limited(const struct mm_server *server, struct mm_limited *ret_limited, size_t max)
{
    return mm_issuer_limited(server->service->parts.issuer, ret_limited, max);
}

size_t mm_server_slowed(const struct mm_server *server, struct mm_slowed *ret_slowed, size_t max)
{
    struct mm_service *service = server->service;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(service);
    return mm_addresses_slowed(service->addresses, config->limits.failures_per_address, mm_monotonic_ns(), ret_slowed,
                               max);
}

int64_t mm_server_beat_ns(const struct mm_server *server)
{
    return mm_watchdog_beat_ns(server->service->watchdog);
}

bool mm_server_reload(struct mm_server *server, struct mm_config *config, mm_server_approve approve, void *context,
                      struct mm_error *err)
{
    return mm_service_replace(server->service, config, approve, context, err);
}

bool mm_server_show(struct mm_server *server, const struct mm_keyring *keyring, struct mm_error *err)
{
    return mm_service_show(server->service, keyring, err);
}

/* Whoever comes now is told so at once, rather than left in the kernel's queue until the process ends. */
static void stop_listening(struct listener *listener)
{
    if (!listener->daemon)
        return;
    listener->fd = MHD_quiesce_daemon(listener->daemon);
    if (listener->fd >= 0)
        (void)shutdown(listener->fd, SHUT_RDWR);
}

void mm_server_drain(struct mm_server *server, int64_t deadline_ns)
{
    struct mm_service *service = server->service;
    if (server->state == DRAINED)
        return;
    server->state = DRAINED;
    atomic_store(&service->is_draining, true);
    for (size_t i = 0; i < server->n_listeners; i++)
        stop_listening(&server->listeners[i]);
    mm_pending_list_settle_due(service->pending, INT64_MAX); /* nobody is held back any more */
    mm_service_wait_quiet(service, QUIET_MS, deadline_ns);
    /* What still waits is given up; the library aborts the process if a connection is suspended when it stops. */
    mm_pending_list_close(service->pending);
    mm_service_wait_quiet(service, 0, mm_deadline_after_ms(LAST_REPLIES_MS));
}

void mm_server_stop(struct mm_server *server)
{
    if (!server)
        return;
    if (server->service) {
        mm_server_drain(server, 0);
        /* As late as can be: handshakes that wait go round in circles from here on. */
        mm_parking_close(server->service->parking);
    }
    for (size_t i = 0; i < server->n_listeners; i++) {
        if (server->listeners[i].daemon)
            MHD_stop_daemon(server->listeners[i].daemon);
        if (server->listeners[i].fd >= 0)
            (void)close(server->listeners[i].fd);
    }
    mm_service_free(server->service);
    free(server);
}
