/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTPS client for tests of the server: it sends the very bytes it is given and reads replies one by one. It leaves
 * Nagle's algorithm on, as careless clients do.
 */
#ifndef MM_TESTS_TLS_CLIENT_H
#define MM_TESTS_TLS_CLIENT_H

#include <gnutls/gnutls.h>

#include "util/base.h"

struct tls_client {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
    size_t n_buffered;
    char buffer[65536];
};

/* The reply to one request; status 0: the connection was closed instead, -1: nothing came in time. */
struct http_reply {
    int status;
    char head[4096];
    char body[32768];
};

/* A TCP connection from `source` (NULL: any address); -1 if there is none. */
int tcp_client_open(uint16_t port, const char *source);

/* PEM texts; NULL: no client certificate. NULL is returned if the connection or its handshake fails. */
struct tls_client *tls_client_open(uint16_t port, const char *certificate_pem, const char *key_pem);

/* As tls_client_open(), with a GnuTLS priority string and a source address (either may be NULL). */
struct tls_client *tls_client_open_as(uint16_t port, const char *certificate_pem, const char *key_pem,
                                      const char *priorities, const char *source);
void tls_client_close(struct tls_client *client);
MM_DEFINE_CLEANUP(struct tls_client, tls_client_close);

/* False if the peer is gone. */
bool tls_client_send(struct tls_client *client, const void *data, size_t length);
bool tls_client_send_text(struct tls_client *client, const char *text);

/* The next reply within `timeout_ms`. `has_body`: false for a HEAD request or a 304. */
enum http_body { HTTP_WITH_BODY, HTTP_WITHOUT_BODY };
struct http_reply tls_client_reply(struct tls_client *client, enum http_body has_body, int timeout_ms);

/* Whether the peer closes within `timeout_ms`, sending nothing more. */
bool tls_client_is_closed(struct tls_client *client, int timeout_ms);

/* A header field's value, in a static buffer; NULL if the reply doesn't have it. */
const char *http_reply_header(const struct http_reply *reply, const char *name);

#endif
