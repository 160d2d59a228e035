/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "util/clock.h"

enum { IO_TIMEOUT_MS = 20000 };

int tcp_client_open(uint16_t port, const char *source)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (source && (inet_pton(AF_INET, source, &from.sin_addr) != 1 ||
                   bind(fd, (const struct sockaddr *)&from, sizeof from) < 0)) {
        (void)close(fd);
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static void use_certificate(struct tls_client *client, const char *certificate_pem, const char *key_pem)
{
    gnutls_datum_t certificate = {(void *)(uintptr_t)certificate_pem, (unsigned)strlen(certificate_pem)};
    gnutls_datum_t key = {(void *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)};
    if (gnutls_certificate_set_x509_key_mem(client->credentials, &certificate, &key, GNUTLS_X509_FMT_PEM) < 0)
        abort();
}

struct tls_client *tls_client_open_as(uint16_t port, const char *certificate_pem, const char *key_pem,
                                      const char *priorities, const char *source)
{
    mm_cleanup(tls_client_close) struct tls_client *client = calloc(1, sizeof *client);
    client->fd = tcp_client_open(port, source);
    if (client->fd < 0)
        return NULL;
    (void)gnutls_certificate_allocate_credentials(&client->credentials);
    if (certificate_pem)
        use_certificate(client, certificate_pem, key_pem);
    (void)gnutls_init(&client->session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
    (void)gnutls_priority_set_direct(client->session, priorities ? priorities : "NORMAL", NULL);
    (void)gnutls_credentials_set(client->session, GNUTLS_CRD_CERTIFICATE, client->credentials);
    gnutls_transport_set_int(client->session, client->fd);
    gnutls_handshake_set_timeout(client->session, IO_TIMEOUT_MS);
    int result;
    while ((result = gnutls_handshake(client->session)) < 0 && !gnutls_error_is_fatal(result))
        continue;
    return result < 0 ? NULL : MM_TAKE(client);
}

struct tls_client *tls_client_open(uint16_t port, const char *certificate_pem, const char *key_pem)
{
    return tls_client_open_as(port, certificate_pem, key_pem, NULL, NULL);
}

void tls_client_close(struct tls_client *client)
{
    if (!client)
        return;
    if (client->session)
        gnutls_deinit(client->session);
    if (client->credentials)
        gnutls_certificate_free_credentials(client->credentials);
    if (client->fd >= 0)
        (void)close(client->fd);
    free(client);
}

bool tls_client_send(struct tls_client *client, const void *data, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = gnutls_record_send(client->session, (const char *)data + sent, length - sent);
        if (n < 0 && gnutls_error_is_fatal((int)n))
            return false;
        if (n > 0)
            sent += (size_t)n;
    }
    return true;
}

bool tls_client_send_text(struct tls_client *client, const char *text)
{
    return tls_client_send(client, text, strlen(text));
}

/* More bytes into the buffer: 1, 0 at the end of the stream, -1 past the deadline. */
static int receive(struct tls_client *client, int64_t deadline_ns)
{
    for (;;) {
        if (gnutls_record_check_pending(client->session) == 0) {
            int64_t left = (deadline_ns - mm_monotonic_ns()) / 1000000;
            struct pollfd waited = {.fd = client->fd, .events = POLLIN};
            if (left <= 0 || poll(&waited, 1, (int)left) <= 0)
                return -1;
        }
        ssize_t n = gnutls_record_recv(client->session, client->buffer + client->n_buffered,
                                       sizeof client->buffer - 1 - client->n_buffered);
        if (n > 0) {
            client->n_buffered += (size_t)n;
            client->buffer[client->n_buffered] = '\0';
            return 1;
        }
        if (n == 0 || gnutls_error_is_fatal((int)n))
            return 0;
    }
}

static void consume(struct tls_client *client, size_t n)
{
    client->n_buffered -= n;
    memmove(client->buffer, client->buffer + n, client->n_buffered);
    client->buffer[client->n_buffered] = '\0';
}

struct http_reply tls_client_reply(struct tls_client *client, enum http_body has_body, int timeout_ms)
{
    struct http_reply reply = {0};
    int64_t deadline = mm_deadline_after_ms(timeout_ms);
    const char *end;
    client->buffer[client->n_buffered] = '\0';
    while (!(end = strstr(client->buffer, "\r\n\r\n"))) {
        int more = receive(client, deadline);
        if (more <= 0) {
            reply.status = more;
            return reply;
        }
    }
    size_t head_length = (size_t)(end - client->buffer) + 4;
    (void)snprintf(reply.head, sizeof reply.head, "%.*s", (int)head_length, client->buffer);
    consume(client, head_length);
    reply.status = atoi(reply.head + strlen("HTTP/1.1 "));

    const char *length_text = http_reply_header(&reply, "Content-Length");
    size_t length = has_body == HTTP_WITH_BODY && length_text ? (size_t)atol(length_text) : 0;
    while (client->n_buffered < length) {
        if (receive(client, deadline) <= 0) {
            reply.status = 0;
            return reply;
        }
    }
    (void)snprintf(reply.body, sizeof reply.body, "%.*s", (int)length, client->buffer);
    consume(client, length);
    return reply;
}

bool tls_client_is_closed(struct tls_client *client, int timeout_ms)
{
    return client->n_buffered == 0 && receive(client, mm_deadline_after_ms(timeout_ms)) == 0;
}

const char *http_reply_header(const struct http_reply *reply, const char *name)
{
    static _Thread_local char value[1024];
    size_t length = strlen(name);
    for (const char *line = strstr(reply->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, length) != 0 || line[2 + length] != ':')
            continue;
        const char *start = line + 2 + length + 1;
        start += strspn(start, " ");
        (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(start, "\r"), start);
        return value;
    }
    return NULL;
}
