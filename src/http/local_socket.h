/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listener's socket in the file system: open to its owner and its group alone from its first moment, in the place of one that
 * a dead service left, never in that of a live one.
 */
#ifndef MM_HTTP_LOCAL_SOCKET_H
#define MM_HTTP_LOCAL_SOCKET_H

#include <sys/types.h>

#include "util/base.h"

struct mm_local_socket {
    int fd; /* -1: none */
    const char *path;
    dev_t device; /* which file it is, so that another's is never removed */
    ino_t inode;
};

/*
 * Make the socket at `path` (borrowed while it is open), mode 0660, and listen on it; `group` (NULL: the process's) is who may open it.
 * MM_CANNOT_LISTEN, naming the path, if a service answers there, something that is no socket is there, or it can't be made. Connects to
 * what is there: before the filter of system calls.
 */
MM_MUST_USE bool mm_local_socket_open(const char *path, const gid_t *group, struct mm_local_socket *ret_socket,
                                      struct mm_error *err);

/* Remove it from the file system, if this process may and nobody else's took its place. */
void mm_local_socket_remove(const struct mm_local_socket *socket);

#endif
