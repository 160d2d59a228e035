/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process of ours gives up before it does anything else, and can't get back: another user's rights, capabilities, set-user-id
 * programs, core dumps, tracers. Children inherit it all but the ban on tracers, which each program sets for itself.
 */
#ifndef MM_CONFINE_PRIVILEGES_H
#define MM_CONFINE_PRIVILEGES_H

#include "util/base.h"

/*
 * Drop them. `user` NULL: stay who we are; otherwise become that user, with its groups, and see that there is no way back. MM_USAGE if
 * there is no such user, it is root, or becoming it takes a right that this process doesn't have; MM_INTERNAL if the kernel won't
 * take something away. To be called while the process has one thread.
 */
MM_MUST_USE bool mm_privileges_drop(const char *user, struct mm_error *err);

/*
 * LeakSanitizer traces the process that it checks at its end: let it, in builds that have it. Does nothing in any other.
 */
void mm_privileges_allow_leak_check(void);

#endif
