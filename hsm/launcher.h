/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: a small single-threaded process that starts mintmarkd's workers for it, so that mintmarkd itself can be kept
 * from executing anything. What can be started is fixed when the launcher starts: a request names one of those workers by its
 * number, never a program, an argument or a variable, and no more of each run at once than were configured. Neither side
 * outlives the other: at the end of its input the launcher sees its workers out and ends; mintmarkd ends when its launcher did.
 */
#ifndef MM_HSM_LAUNCHER_H
#define MM_HSM_LAUNCHER_H

#include "hsm/spawn.h"

struct mm_launcher; /* opaque; its functions may be called by any thread */

/*
 * Fork the launcher. To be called before the process has other threads, secrets, or descriptors that a launcher shouldn't hold.
 * `specs` is borrowed; the launcher keeps a copy of all memory as it is now.
 */
MM_MUST_USE struct mm_launcher *mm_launcher_start(const struct mm_worker_spec *specs, size_t n, struct mm_error *err);

/* Its process, the caller's child: when it ends, nobody can start a worker any more. */
pid_t mm_launcher_pid(const struct mm_launcher *launcher);

struct mm_launched {
    uint64_t worker; /* names it and no other; never 0 */
    pid_t pid;       /* for people to read: it may be anybody's once the worker was reaped */
    int fd;          /* its socket, the caller's */
};

/*
 * Start a worker of specs[spec]. MM_HSM_UNAVAILABLE if that can't be done, also when the launcher doesn't answer within seconds, or
 * nonsense; it is then killed. A worker whose socket doesn't arrive (no free descriptor) is ended and reaped before this returns.
 */
MM_MUST_USE bool mm_launcher_spawn(struct mm_launcher *launcher, size_t spec, struct mm_launched *ret_launched,
                                   struct mm_error *err);

/* End a worker with SIGKILL; one that has ended already is left in peace. Doesn't wait. */
void mm_launcher_kill(struct mm_launcher *launcher, uint64_t worker);

/*
 * Whether a worker is gone; then `ret_status` is its wait status and its number is void. Without a launcher everything is
 * gone: workers end when their sockets are closed.
 */
MM_MUST_USE bool mm_launcher_reap(struct mm_launcher *launcher, uint64_t worker, int *ret_status);

/* Let the launcher end, once its workers have, and free. NULL is allowed. */
void mm_launcher_stop(struct mm_launcher *launcher);
MM_DEFINE_CLEANUP(struct mm_launcher, mm_launcher_stop);

#endif
