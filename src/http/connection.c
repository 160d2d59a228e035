/* SPDX-License-Identifier: Apache-2.0 */
#include "http/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "util/log.h"

static struct mm_address_key key_of(const struct mm_listen *listen, const struct sockaddr *address)
{
    return mm_listen_is_proxied(listen) ? mm_address_key_of_proxies() : mm_address_key(address);
}

bool mm_connection_is_welcome(struct mm_service *service, size_t listener, const struct sockaddr *address)
{
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(service);
    struct mm_address_key key = key_of(&config->listen[listener], address);
    return !atomic_load(&service->is_draining) && mm_admission_has_room(service->admission, &key);
}

static void admit(struct mm_connection *connection, const struct mm_listen *listen, struct MHD_Connection *mhd)
{
    const struct sockaddr *address = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    connection->key = key_of(listen, address);
    mm_address_format(address, connection->address);
    connection->is_counted = mm_admission_enter(connection->service->admission, &connection->key);
    /* Others came in since mm_connection_is_welcome(); the library can't be told to refuse any more. */
    if (!connection->is_counted)
        (void)shutdown(connection->fd, SHUT_RDWR);
}

/*
 * A client without TCP_NODELAY sends its next bytes once these are acknowledged; the kernel alone would take 40 ms. Each is a
 * packet of its own, so only where more must come.
 */
static void acknowledge(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* The session reads through this. */
static ssize_t pull(void *context, void *data, size_t length)
{
    struct mm_connection *connection = context;
    ssize_t n = mm_transport_read(&connection->transport, data, length);
    if (n > 0)
        connection->awaits_more = true;
    if (n >= 0 || errno != EAGAIN)
        return n;
    if (connection->awaits_more)
        acknowledge(connection->fd);
    if (connection->is_in_handshake)
        mm_parking_enter(connection->service->parking, &connection->parked);
    errno = EAGAIN;
    return -1;
}

static ssize_t push(void *context, const struct iovec *parts, int n)
{
    struct mm_connection *connection = context;
    return mm_transport_write(&connection->transport, parts, (size_t)n);
}

/* Whoever gets past this can be any client that he likes. */
static bool prove_proxy(const struct mm_connection *connection, const struct mm_trust *proxy_ca, struct mm_error *err)
{
    struct mm_bytes chain[MM_CHAIN_MAX];
    size_t n = mm_connection_chain(connection, chain);
    int64_t not_after;
    if (n == 0)
        return mm_fail(err, MM_CERTIFICATE_REQUIRED, "no client certificate");
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(chain, n, err);
    int64_t now = mm_clock_now(connection->service->parts.clock);
    return certificate && mm_trust_verify(proxy_ca, certificate, now, &not_after, err);
}

static enum mm_tls_verdict judge_proxy(struct mm_connection *connection, const struct mm_trust *proxy_ca)
{
    struct mm_error err = {0};
    if (prove_proxy(connection, proxy_ca, &err))
        return MM_TLS_WELCOME;
    mm_log(MM_LOG_WARNING, "proxy_refused", "address", connection->address, "code", mm_code_name(err.code), "error",
           err.message, NULL);
    return err.code == MM_CERTIFICATE_REQUIRED  ? MM_TLS_NO_CERTIFICATE
           : err.code == MM_CERTIFICATE_INVALID ? MM_TLS_BAD_CERTIFICATE
                                                : MM_TLS_DENIED;
}

/*
 * Who has no certificate, or a stranger's, is told so in reply to a request: most of what is served takes none. Only where a proxy is
 * awaited nobody else gets as far.
 */
static enum mm_tls_verdict end_handshake(void *context)
{
    struct mm_connection *connection = context;
    connection->is_in_handshake = false;
    if (!connection->is_proxied)
        return MM_TLS_WELCOME;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(connection->service);
    const struct mm_trust *proxy_ca = config->listen[connection->listener].proxy_ca;
    return proxy_ca ? judge_proxy(connection, proxy_ca) : MM_TLS_DENIED;
}

static void attach_tls(struct mm_connection *connection, const struct mm_listen *listen, struct MHD_Connection *mhd)
{
    struct mm_error err = {0};
    connection->session = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
    connection->tls = mm_service_tls(connection->service, connection->listener);
    connection->parked = (struct mm_parked){.mhd = mhd, .fd = connection->fd};
    connection->is_in_handshake = true;
    connection->transport = mm_transport_make(connection->fd);
    connection->owner = (struct mm_tls_owner){connection->fd, connection, pull, push, end_handshake};
    if (mm_tls_attach(connection->tls, connection->session, &connection->owner, listen->client_certificates, &err))
        return;
    mm_log_error("tls_failed", &err, "address", connection->address, NULL);
    (void)shutdown(connection->fd, SHUT_RDWR);
}

struct mm_connection *mm_connection_open(struct mm_service *service, size_t listener, struct MHD_Connection *mhd)
{
    struct mm_connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return NULL;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(service);
    const struct mm_limits *limits = &config->limits;
    const struct mm_listen *listen = &config->listen[listener];
    connection->service = service;
    connection->listener = listener;
    connection->is_proxied = mm_listen_is_proxied(listen);
    connection->trusts_headers = connection->is_proxied && listen->trusts_client_cert_header;
    connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    admit(connection, listen, mhd);
    if (listen->address)
        attach_tls(connection, listen, mhd);
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
    mm_tls_unref(connection->tls);
    mm_transport_clear(&connection->transport);
    free(connection);
}

size_t mm_connection_chain(const struct mm_connection *connection, struct mm_bytes ret_chain[MM_CHAIN_MAX])
{
    return connection->tls ? mm_tls_peer_chain(connection->session, ret_chain) : 0;
}
