/* SPDX-License-Identifier: Apache-2.0 */
#include "confine/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int mm_seccomp_allow(scmp_filter_ctx filter, const int *calls, size_t n)
{
    int failed = 0;
    for (size_t i = 0; i < n && failed == 0; i++)
        failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return failed;
}

int mm_seccomp_allow_if(scmp_filter_ctx filter, const struct mm_seccomp_rule *rules, size_t n)
{
    int failed = 0;
    for (size_t i = 0; i < n && failed == 0; i++)
        failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rules[i].call, 1,
                                  SCMP_CMP64(rules[i].argument, SCMP_CMP_MASKED_EQ, rules[i].mask, rules[i].value));
    return failed;
}

int mm_seccomp_add_common(scmp_filter_ctx filter)
{
    int failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 2,
                                  SCMP_A1_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, F_SETFL),
                                  SCMP_A2_64(SCMP_CMP_MASKED_EQ, O_ASYNC, 0));
    /* Its flags lie in memory, where a filter can't see them: glibc then uses clone(). */
    return failed ? failed : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

bool mm_seccomp_load(scmp_filter_ctx filter, int failed, struct mm_error *err)
{
    if (failed == 0)
        failed = seccomp_load(filter);
    seccomp_release(filter);
    return failed == 0 || mm_fail(err, MM_INTERNAL, "seccomp: the filter can't be loaded: %s", strerror(-failed));
}
