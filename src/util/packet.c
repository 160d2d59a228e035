/* SPDX-License-Identifier: Apache-2.0 */
#include "util/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Room for one descriptor. */
union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

bool mm_packet_pair(int ret_ends[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_ends) == 0;
}

static int flags_of(enum mm_packet_wait wait)
{
    return wait == MM_PACKET_AT_ONCE ? MSG_DONTWAIT : 0;
}

bool mm_packet_send(int fd, const void *data, size_t length, int passed, enum mm_packet_wait wait)
{
    struct iovec packet = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};
    union control control = {0};
    struct msghdr message = {.msg_iov = &packet, .msg_iovlen = 1};
    if (passed >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof passed);
        memcpy(CMSG_DATA(header), &passed, sizeof passed);
    }
    ssize_t n;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL | flags_of(wait));
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)length;
}

ssize_t mm_packet_receive(int fd, void *data, size_t size, int *ret_passed, enum mm_packet_wait wait)
{
    struct iovec packet = {.iov_base = data, .iov_len = size};
    union control control;
    /* Not its size, which for alignment's sake has room for a second descriptor: the kernel would install that, too. */
    struct msghdr message = {.msg_iov = &packet,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_LEN(sizeof *ret_passed)};
    ssize_t n;
    *ret_passed = -1;
    do
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | flags_of(wait));
    while (n < 0 && errno == EINTR);
    const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof *ret_passed))
        memcpy(ret_passed, CMSG_DATA(header), sizeof *ret_passed);
    return message.msg_flags & MSG_TRUNC ? -1 : n;
}
