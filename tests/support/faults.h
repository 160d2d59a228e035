/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations and writes that fail on purpose. Linked into a test program these functions say which; preloaded into one of ours
 * (LD_PRELOAD=libfaults.so) the environment does, and counting starts at main():
 *
 *     MM_FAULT=alloc:N       the N-th allocation yields NULL
 *     MM_FAULT=ERROR:N       the N-th write, send or sync fails with EINTR, EIO or ENOSPC
 *     MM_FAULT=short:N       the N-th write or send takes half of its bytes
 *     MM_FAULT_LOG=FILE      where to append a line, naming the caller, once the fault has come
 *
 *     MM_FAULT_SPARE=A:B     not in libraries with such a name, which can't live with it
 *     MM_FAULT_STEP=N        not from main() on: each SIGUSR2 starts counting anew, for a fault that comes N later each time
 *
 * A `+` after N: so do all after it.
 */
#ifndef MM_TESTS_FAULTS_H
#define MM_TESTS_FAULTS_H

#include <stdbool.h>

/* Set a fault as MM_FAULT does, and start counting. A fault that can't be read ends the program. */
void faults_arm(const char *fault);

/* Stop; returns whether the fault came. */
bool faults_disarm(void);

#endif
