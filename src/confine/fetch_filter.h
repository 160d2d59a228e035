/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that a process may make which fetches one document: resolving a name, one outgoing connection, reading files, threads, memory.
 * Any other fails with EPERM, whatever the resolver's modules would like to do: nothing is executed, forked, traced, listened on or signalled.
 */
#ifndef MM_CONFINE_FETCH_FILTER_H
#define MM_CONFINE_FETCH_FILTER_H

#include "util/base.h"

/* Confine this process, and threads to come. MM_INTERNAL if the kernel won't have it. The caller has dropped its privileges. */
MM_MUST_USE bool mm_fetch_filter_load(struct mm_error *err);

#endif
