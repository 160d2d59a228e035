/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether this build has LeakSanitizer, which starts a tracer when the process ends: the one thing that confinement must leave
 * room for, in test builds only.
 */
#ifndef MM_CONFINE_LEAK_CHECK_H
#define MM_CONFINE_LEAK_CHECK_H

#if defined(__SANITIZE_ADDRESS__)
#define MM_LEAK_CHECK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MM_LEAK_CHECK 1
#endif
#endif
#ifndef MM_LEAK_CHECK
#define MM_LEAK_CHECK 0
#endif

#endif
