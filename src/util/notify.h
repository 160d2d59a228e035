/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling a service manager how it goes (sd_notify(3)): one datagram a message to the socket that NOTIFY_SOCKET names. Ours, since the
 * protocol is this file, and libsystemd would bring its compression libraries into the mint.
 */
#ifndef MM_UTIL_NOTIFY_H
#define MM_UTIL_NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

#include "util/base.h"

struct mm_notify {
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un address;
    socklen_t length;
    int64_t watchdog_ns; /* send WATCHDOG=1 at least twice within it; 0: nobody waits for it */
};

/*
 * Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from the environment, and remove them there. MM_USAGE if they make no sense:
 * a manager that waits for a message must not wait in vain.
 */
MM_MUST_USE bool mm_notify_open(struct mm_notify *ret_notify, struct mm_error *err);

/* Send lines of NAME=VALUE. Gives up after a second. */
void mm_notify_send(const struct mm_notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));

void mm_notify_close(struct mm_notify *notify);

#endif
