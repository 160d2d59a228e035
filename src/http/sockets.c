/* SPDX-License-Identifier: Apache-2.0 */
#include "http/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum { DROPPED_MAX = 256 * 1024 };

static bool fill_address(const struct mm_listen *listen, struct sockaddr_storage *ret_address, socklen_t *ret_length)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
    if (inet_pton(AF_INET, listen->address, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(listen->port);
        *ret_length = sizeof *in;
    } else if (inet_pton(AF_INET6, listen->address, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(listen->port);
        *ret_length = sizeof *in6;
    } else {
        return false;
    }
    *ret_address = address;
    return true;
}

/* Options that accepted sockets inherit are set here; without TCP_NODELAY a first reply can wait for a delayed ACK. */
static bool set_options(int fd, int family)
{
    const int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           (family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
}

bool mm_tcp_listen(const struct mm_listen *listen_on, int backlog, int *ret_fd, struct mm_error *err)
{
    struct sockaddr_storage address;
    socklen_t length;
    if (!fill_address(listen_on, &address, &length))
        return mm_fail(err, MM_CANNOT_LISTEN, "%s is not a numeric IPv4 or IPv6 address", listen_on->address);
    mm_cleanup(mm_close) int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || !set_options(fd, address.ss_family) || bind(fd, (const struct sockaddr *)&address, length) < 0 ||
        listen(fd, backlog) < 0)
        return mm_fail(err, MM_CANNOT_LISTEN, "can't listen on %s port %u: %s", listen_on->address, listen_on->port,
                       strerror(errno));
    *ret_fd = fd;
    fd = -1;
    return true;
}

uint16_t mm_tcp_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return 0;
    /* The port lies at the same place in both families. */
    return ntohs(((const struct sockaddr_in *)&address)->sin_port);
}

void mm_socket_turn_away(int fd)
{
    char dropped[4096];
    (void)shutdown(fd, SHUT_RDWR);
    for (size_t n = 0; n < DROPPED_MAX && recv(fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0; n += sizeof dropped)
        continue;
}
