/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/admin.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin/connection.h"
#include "admin/request.h"
#include "http/sockets.h"
#include "util/log.h"

enum {
    BACKLOG = 32,
    LIBRARY_CONNECTIONS =
        256, /* beyond its limit the library closes whoever comes, so those who are turned away must fit in, too */
    ANSWERS_MS = 5000, /* for what has begun to be answered before connections are closed */
    ANSWERS_POLL_MS = 5,
    MEMORY_RESERVE = 4096, /* of a connection's memory, beyond its header: the fields' records, a reply's header */
};

static void prepare(struct mm_admin *admin)
{
    (void)pthread_mutex_init(&admin->lock, NULL);
    for (size_t i = 0; i < MM_ADMIN_WAYS; i++) {
        struct mm_admin_listener *listener = &admin->listeners[i];
        listener->admin = admin;
        listener->way = (enum mm_admin_way)i;
        listener->fd = -1;
        (void)pthread_mutex_init(&listener->lock, NULL);
        LIST_INIT(&listener->connections);
    }
    admin->own_uid = geteuid();
}

static bool open_unix(struct mm_admin *admin, struct mm_error *err)
{
    const struct mm_admin_config *section = &admin->config->admin;
    const gid_t *group = section->socket_group ? &section->socket_gid : NULL;
    if (!section->socket)
        return true;
    if (!mm_local_socket_open(section->socket, group, &admin->socket, err))
        return false;
    admin->listeners[MM_ADMIN_UNIX].fd = admin->socket.fd;
    return true;
}

static bool open_https(struct mm_admin *admin, struct mm_error *err)
{
    const struct mm_listen *https = &admin->config->admin.https;
    struct mm_admin_listener *listener = &admin->listeners[MM_ADMIN_HTTPS];
    if (!https->address)
        return true;
    if (!mm_admin_load_tls(admin->config, &admin->tls, err) || !mm_tcp_listen(https, BACKLOG, &listener->fd, err))
        return false;
    listener->port = mm_tcp_port(listener->fd);
    listener->strangers = mm_admission_new(MM_ADMIN_HANDSHAKES_MAX, MM_ADMIN_HANDSHAKES_OF_ADDRESS_MAX, err);
    return listener->strangers != NULL;
}

bool mm_admin_open(struct mm_config *config, struct mm_admin **ret_admin, struct mm_error *err)
{
    *ret_admin = NULL;
    if (!config->admin.socket && !config->admin.https.address)
        return true;
    mm_cleanup(mm_admin_stop) struct mm_admin *admin = calloc(1, sizeof *admin);
    if (!admin)
        return mm_fail(err, MM_NO_MEMORY, "no memory for the admin listener");
    prepare(admin);
    admin->config = mm_config_ref(config);
    if (!open_unix(admin, err) || !open_https(admin, err))
        return false;
    *ret_admin = MM_TAKE(admin);
    return true;
}

bool mm_admin_load_tls(const struct mm_config *config, struct mm_tls **ret_tls, struct mm_error *err)
{
    const struct mm_listen *https = &config->admin.https;
    *ret_tls = https->address ? mm_tls_load(https->certificate_file, https->key_file, err) : NULL;
    return *ret_tls || !https->address;
}

void mm_admin_use_tls(struct mm_admin *admin, struct mm_tls *tls)
{
    if (!admin || !tls)
        return;
    (void)pthread_mutex_lock(&admin->lock);
    struct mm_tls *before = admin->tls;
    admin->tls = tls;
    (void)pthread_mutex_unlock(&admin->lock);
    mm_tls_unref(before);
}

struct mm_tls *mm_admin_tls(struct mm_admin *admin)
{
    (void)pthread_mutex_lock(&admin->lock);
    struct mm_tls *tls = mm_tls_ref(admin->tls);
    (void)pthread_mutex_unlock(&admin->lock);
    return tls;
}

uint16_t mm_admin_port(const struct mm_admin *admin)
{
    return admin ? admin->listeners[MM_ADMIN_HTTPS].port : 0;
}

bool mm_admin_may_log(_Atomic int64_t *last)
{
    int64_t now = mm_monotonic_ns() / 1000000000;
    return atomic_exchange(last, now) != now;
}

static void log_library(void *context, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
static void log_library(void *context, const char *format, va_list arguments)
{
    struct mm_admin_listener *listener = context;
    if (!mm_admin_may_log(&listener->last_library_line))
        return;
    char line[256];
    (void)vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\r\n")] = '\0';
    mm_log(MM_LOG_INFO, "microhttpd", "message", line, NULL);
}

static enum MHD_Result on_accept(void *context, const struct sockaddr *address, socklen_t length)
{
    (void)length;
    return mm_admin_connection_is_welcome(context, address) ? MHD_YES : MHD_NO;
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
static struct MHD_Daemon *start_daemon(struct mm_admin_listener *listener)
{
    static const unsigned FLAGS =
        MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem common[] = {
        {MHD_OPTION_LISTEN_SOCKET, listener->fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, LIBRARY_CONNECTIONS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, MM_ADMIN_HEADER_MAX + MEMORY_RESERVE, NULL},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)mm_target_keep_escaped, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)mm_admin_request_open, listener},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, listener},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)mm_admin_request_close, listener},
        {MHD_OPTION_END, 0, NULL},
    };
    /* clang-format off */
    return listener->way == MM_ADMIN_UNIX
        ? MHD_start_daemon(FLAGS, 0, NULL, NULL, mm_admin_request_advance, listener,
                           MHD_OPTION_EXTERNAL_LOGGER, log_library, listener,
                           MHD_OPTION_ARRAY, common,
                           MHD_OPTION_END)
        : MHD_start_daemon(FLAGS | MHD_USE_TLS, 0, on_accept, listener, mm_admin_request_advance, listener,
                           MHD_OPTION_EXTERNAL_LOGGER, log_library, listener,
                           MHD_OPTION_ARRAY, common,
                           MHD_OPTION_HTTPS_PRIORITIES, MM_TLS_PRIORITIES,
                           MHD_OPTION_HTTPS_CERT_CALLBACK2, mm_tls_refuse,
                           MHD_OPTION_END);
    /* clang-format on */
}

static bool start_listener(struct mm_admin_listener *listener, struct mm_error *err)
{
    if (listener->fd < 0)
        return true;
    listener->daemon = start_daemon(listener);
    if (!listener->daemon)
        return mm_fail(err, MM_CANNOT_LISTEN, "the admin listener can't serve over %s: the HTTP library doesn't start",
                       listener->way == MM_ADMIN_UNIX ? "its socket" : "HTTPS");
    listener->fd = -1; /* the library's from now on */
    return true;
}

bool mm_admin_start(struct mm_admin *admin, const struct mm_admin_parts *parts, struct mm_error *err)
{
    if (!admin)
        return true;
    admin->parts = *parts;
    admin->started = mm_clock_now(parts->clock);
    admin->started_ns = mm_monotonic_ns();
    admin->watchdog = mm_watchdog_start(NULL, NULL, err);
    return admin->watchdog && start_listener(&admin->listeners[MM_ADMIN_UNIX], err) &&
           start_listener(&admin->listeners[MM_ADMIN_HTTPS], err);
}

void mm_admin_drain(struct mm_admin *admin)
{
    if (admin)
        atomic_store(&admin->is_draining, true);
}

/* The library closes every connection first and then waits for its handler: who gave an order would never know what came of it. */
static void wait_for_answers(struct mm_admin *admin)
{
    const struct timespec pause = {.tv_nsec = ANSWERS_POLL_MS * 1000000L};
    int64_t until_ns = mm_deadline_after_ms(ANSWERS_MS);
    while (atomic_load(&admin->n_handled) > 0 && mm_monotonic_ns() < until_ns)
        (void)nanosleep(&pause, NULL);
}

static void stop_listener(struct mm_admin_listener *listener)
{
    if (listener->daemon)
        MHD_stop_daemon(listener->daemon);
    if (listener->fd >= 0)
        (void)close(listener->fd);
    mm_admission_free(listener->strangers);
    (void)pthread_mutex_destroy(&listener->lock);
}

void mm_admin_stop(struct mm_admin *admin)
{
    if (!admin)
        return;
    if (admin->socket.path)
        mm_local_socket_remove(&admin->socket);
    wait_for_answers(admin);
    for (size_t i = 0; i < MM_ADMIN_WAYS; i++)
        stop_listener(&admin->listeners[i]);
    mm_watchdog_stop(admin->watchdog);
    mm_tls_unref(admin->tls);
    mm_config_unref(admin->config);
    (void)pthread_mutex_destroy(&admin->lock);
    free(admin);
}
