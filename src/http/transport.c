/* SPDX-License-Identifier: Apache-2.0 */
#include "http/transport.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { AHEAD_MAX = 4096, PARTS_MAX = 8 };

struct mm_transport mm_transport_make(int fd)
{
    return (struct mm_transport){.fd = fd};
}

static void drop_ahead(struct mm_transport *transport)
{
    free(transport->ahead);
    transport->ahead = NULL;
    transport->n_ahead = transport->n_taken = 0;
}

static void drop_held(struct mm_transport *transport)
{
    free(transport->held);
    transport->held = NULL;
    transport->n_held = 0;
}

void mm_transport_clear(struct mm_transport *transport)
{
    drop_ahead(transport);
    drop_held(transport);
}

static ssize_t take_ahead(struct mm_transport *transport, void *data, size_t length)
{
    size_t n = transport->n_ahead - transport->n_taken;
    if (n > length)
        n = length;
    memcpy(data, transport->ahead + transport->n_taken, n);
    transport->n_taken += n;
    if (transport->n_taken == transport->n_ahead)
        drop_ahead(transport);
    return (ssize_t)n;
}

/* Bytes that can't be kept are lost, and with them the connection. */
static bool keep_ahead(struct mm_transport *transport, const uint8_t *data, size_t length)
{
    transport->ahead = malloc(length);
    if (!transport->ahead) {
        errno = ENOMEM;
        return false;
    }
    memcpy(transport->ahead, data, length);
    transport->n_ahead = length;
    return true;
}

ssize_t mm_transport_read(struct mm_transport *transport, void *data, size_t length)
{
    uint8_t ahead[AHEAD_MAX];
    if (transport->ahead)
        return take_ahead(transport, data, length);
    const struct iovec parts[] = {{data, length}, {ahead, sizeof ahead}};
    ssize_t n = readv(transport->fd, parts, MM_ARRAY_SIZE(parts));
    if (n <= (ssize_t)length)
        return n;
    return keep_ahead(transport, ahead, (size_t)n - length) ? (ssize_t)length : -1;
}

void mm_transport_await(struct mm_transport *transport, size_t length)
{
    transport->n_awaited = length;
}

static size_t sum(const struct iovec *parts, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++)
        length += parts[i].iov_len;
    return length;
}

/* False: it has to be sent. */
static bool hold(struct mm_transport *transport, const struct iovec *parts, size_t n, size_t length)
{
    if (transport->n_held + length > MM_TRANSPORT_HELD_MAX || transport->n_held + length > transport->n_awaited)
        return false;
    if (!transport->held)
        transport->held = malloc(MM_TRANSPORT_HELD_MAX);
    if (!transport->held)
        return false;
    for (size_t i = 0; i < n; i++) {
        memcpy(transport->held + transport->n_held, parts[i].iov_base, parts[i].iov_len);
        transport->n_held += parts[i].iov_len;
    }
    return true;
}

/* Of what was sent, the part that is the caller's; what is held comes first. */
static ssize_t settle(struct mm_transport *transport, size_t n_sent)
{
    if (n_sent < transport->n_held) {
        transport->n_held -= n_sent;
        memmove(transport->held, transport->held + n_sent, transport->n_held);
        errno = EAGAIN;
        return -1;
    }
    n_sent -= transport->n_held;
    drop_held(transport);
    if (n_sent > 0)
        return (ssize_t)n_sent;
    errno = EAGAIN;
    return -1;
}

ssize_t mm_transport_write(struct mm_transport *transport, const struct iovec *parts, size_t n)
{
    struct iovec all[PARTS_MAX + 1] = {{transport->held, transport->n_held}};
    if (n > PARTS_MAX)
        n = PARTS_MAX;
    size_t length = sum(parts, n);
    if (hold(transport, parts, n, length))
        return (ssize_t)length;
    transport->n_awaited = 0;
    memcpy(all + 1, parts, n * sizeof *parts);
    const struct msghdr message = {.msg_iov = all, .msg_iovlen = n + 1};
    ssize_t n_sent = sendmsg(transport->fd, &message, MSG_NOSIGNAL);
    return n_sent < 0 ? n_sent : settle(transport, (size_t)n_sent);
}
