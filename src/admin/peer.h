/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the other end of a connection to the admin listener, as the kernel noted it when the peer connected. Nobody is looked up.
 */
#ifndef MM_ADMIN_PEER_H
#define MM_ADMIN_PEER_H

#include "config/roles.h"

enum { MM_ADMIN_BY_MAX = 160 };

struct mm_admin_peer {
    uid_t uid;
    pid_t pid; /* 0: of another pid namespace */
    enum mm_role role;
    char by[MM_ADMIN_BY_MAX]; /* for ledger and log: `alice (uid 1001)` if the roles name the user, else `uid 1001` */
};

/* The peer of a connected Unix socket. MM_INTERNAL or MM_NO_MEMORY if the kernel doesn't say who it is. */
MM_MUST_USE bool mm_admin_peer_of(int fd, const struct mm_roles *roles, uid_t own_uid, struct mm_admin_peer *ret_peer,
                                  struct mm_error *err);

#endif
