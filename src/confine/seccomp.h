/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our filters of system calls have in common: lists of calls that are allowed, whatever their arguments or when one of those has some
 * value. Private to this folder. Numbers are libseccomp's: 0, or a negative errno.
 */
#ifndef MM_CONFINE_SECCOMP_H
#define MM_CONFINE_SECCOMP_H

#include <seccomp.h>

#include "util/base.h"

/* Allowed when one argument, under a mask, has a value. Of an int the kernel looks at 32 bits, and so does the mask. */
struct mm_seccomp_rule {
    int call;
    unsigned argument;
    uint64_t mask;
    uint64_t value;
};

/* Calls that this machine's kind doesn't have are passed over. */
int mm_seccomp_allow(scmp_filter_ctx filter, const int *calls, size_t n);
int mm_seccomp_allow_if(scmp_filter_ctx filter, const struct mm_seccomp_rule *rules, size_t n);

/* Setting a descriptor's flags, but for O_ASYNC, which has signals sent; and clone3(), as if the kernel didn't have it. */
int mm_seccomp_add_common(scmp_filter_ctx filter);

/* Load the filter, unless building it `failed`, and release it. MM_INTERNAL. */
MM_MUST_USE bool mm_seccomp_load(scmp_filter_ctx filter, int failed, struct mm_error *err);

#endif
