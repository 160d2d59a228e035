/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a process may reach from now on, whoever it runs as: what every program of ours needs of the system, and the paths that
 * it is given; nothing is executed. It holds for the calling thread and the threads and processes that it starts, and can't be undone.
 */
#ifndef MM_CONFINE_LANDLOCK_H
#define MM_CONFINE_LANDLOCK_H

#include "util/base.h"

enum mm_path_access {
    MM_PATH_READ,
    MM_PATH_WRITE, /* and read, make, remove; of a device: use */
};

/* A file, or a folder with all below it. One that isn't there is passed over. */
struct mm_path_rule {
    const char *path;
    enum mm_path_access access;
    enum { MM_PATH_ITSELF, MM_PATH_ITS_FOLDER } extent; /* its folder: a file that may be replaced */
};

/* Whether signals may be sent to processes that are not of this confinement (kernels from 6.12 on). */
enum mm_signals { MM_SIGNALS_ANYWHERE, MM_SIGNALS_INSIDE };

enum mm_landlock { MM_LANDLOCK_IN_FORCE, MM_LANDLOCK_UNKNOWN };

/* UNKNOWN: this kernel doesn't have it, and nothing has changed. MM_INTERNAL if one that does refuses. Privileges were dropped before. */
MM_MUST_USE bool mm_landlock_restrict(const struct mm_path_rule *rules, size_t n, enum mm_signals signals,
                                      enum mm_landlock *ret_state, struct mm_error *err);

#endif
