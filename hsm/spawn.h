/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a worker process is started: what it runs, and that it inherits nothing but what it needs.
 */
#ifndef MM_HSM_SPAWN_H
#define MM_HSM_SPAWN_H

#include <sys/types.h>

#include "util/base.h"

/* What to start for one HSM token; everything is borrowed. */
struct mm_worker_spec {
    const char *program;
    const char *config_file;
    const char *hsm_token;
    int pin_fd;       /* stays open in the worker; -1: none */
    size_t n_workers; /* at once */
};

/*
 * Start a process with its end of a new socketpair as MM_WORKER_FD, a clean environment, default signals, and no other
 * descriptor than standard output and error and the PIN's. MM_HSM_UNAVAILABLE if that can't be done.
 */
MM_MUST_USE bool mm_worker_spawn(const struct mm_worker_spec *spec, pid_t *ret_pid, int *ret_fd, struct mm_error *err);

#endif
