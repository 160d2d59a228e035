/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets: those that listen on an address of the configuration, and the end of a connection that isn't wanted.
 */
#ifndef MM_HTTP_SOCKETS_H
#define MM_HTTP_SOCKETS_H

#include "config/config.h"

/* Bind and listen. MM_CANNOT_LISTEN names the address and the cause. */
MM_MUST_USE bool mm_tcp_listen(const struct mm_listen *listen_on, int backlog, int *ret_fd, struct mm_error *err);

/* The port that it is bound to (of interest where the configuration says 0). */
uint16_t mm_tcp_port(int fd);

/*
 * Say no more and hear no more on a connection that somebody else closes. What has come in is dropped, up to a bound: closed over unread
 * bytes a connection is reset, and the peer loses what it was told.
 */
void mm_socket_turn_away(int fd);

#endif
