/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that mintmarkd may make once it serves: reading and writing files, accepting connections, threads, memory that
 * isn't executable, time. Any other ends the process at once: it was taken over, or a library learned something new. It can't be undone.
 */
#ifndef MM_CONFINE_FILTER_H
#define MM_CONFINE_FILTER_H

#include <sys/types.h>

#include "util/base.h"

/*
 * Confine every thread of this process, and those to come. It may send SIGKILL to `launcher` and no signal to anybody else. MM_INTERNAL if
 * the kernel won't have it; then nothing has changed. The caller has dropped its privileges.
 */
MM_MUST_USE bool mm_filter_load(pid_t launcher, struct mm_error *err);

#endif
