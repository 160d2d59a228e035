/* SPDX-License-Identifier: Apache-2.0 */
#include "confine/filter.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "confine/leak_check.h"
#include "confine/seccomp.h"

/* Whatever their arguments. A call that this machine's kind doesn't have is passed over. */
/* clang-format off */
static const int ALLOWED[] = {
    /* files: which, is for Landlock and permissions to say */
    SCMP_SYS(access), SCMP_SYS(close), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(fallocate),
    SCMP_SYS(fchmod), SCMP_SYS(fchown), SCMP_SYS(fdatasync), SCMP_SYS(fstat), SCMP_SYS(fsync),
    SCMP_SYS(ftruncate), SCMP_SYS(getcwd), SCMP_SYS(getdents64), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(lseek),
    SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(read), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(readv), SCMP_SYS(stat), SCMP_SYS(statx),
    SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(write), SCMP_SYS(writev),
    /* sockets and waiting; connections come in, none goes out */
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_wait), SCMP_SYS(eventfd2), SCMP_SYS(getpeername), SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt), SCMP_SYS(listen), SCMP_SYS(pipe2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(recvfrom),
    SCMP_SYS(recvmmsg), SCMP_SYS(recvmsg), SCMP_SYS(setsockopt), SCMP_SYS(shutdown),
    /* threads, time, memory, signals, the end */
    SCMP_SYS(brk), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(futex), SCMP_SYS(getegid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getpid), SCMP_SYS(getrandom),
    SCMP_SYS(gettid), SCMP_SYS(gettimeofday), SCMP_SYS(getuid), SCMP_SYS(madvise), SCMP_SYS(mremap), SCMP_SYS(munmap),
    SCMP_SYS(nanosleep), SCMP_SYS(restart_syscall), SCMP_SYS(rseq), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_yield),
    SCMP_SYS(set_robust_list), SCMP_SYS(sigaltstack), SCMP_SYS(sysinfo), SCMP_SYS(time), SCMP_SYS(uname),
    SCMP_SYS(wait4),
};
/* clang-format on */

/* What LeakSanitizer's tracer needs. */
static const int LEAK_CHECK[] = {SCMP_SYS(clone), SCMP_SYS(getdents),         SCMP_SYS(getppid), SCMP_SYS(kill),
                                 SCMP_SYS(prctl), SCMP_SYS(process_vm_readv), SCMP_SYS(ptrace)};

enum { SOCKET_TYPE = 0xf };

static const struct mm_seccomp_rule RULES[] = {
    {SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD}, /* threads, not processes */
    {SCMP_SYS(mmap), 2, PROT_EXEC, 0},                /* no new code */
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
    /* What would have a signal sent to any process of our user (F_SETOWN, F_SETSIG) isn't among them. */
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFD},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETLK},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFD},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETLK},
    {SCMP_SYS(sendmsg), 2, MSG_FASTOPEN, 0}, /* which connects */
    {SCMP_SYS(sendto), 3, MSG_FASTOPEN, 0},
    {SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME},
    {SCMP_SYS(prlimit64), 2, UINT64_MAX, 0}, /* reading a limit */
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIONBIO},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, TCGETS}, /* isatty() */
};

/*
 * TCP alone: over UDP, and over what other protocols make of a stream (SCTP connects when something is sent), anything could be
 * sent anywhere.
 */
static int allow_tcp(scmp_filter_ctx filter, uint64_t family)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
                            SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, family),
                            SCMP_A1_64(SCMP_CMP_MASKED_EQ, SOCKET_TYPE, SOCK_STREAM),
                            SCMP_A2_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, 0));
}

/* The kernel's limit on whom a signal reaches: the launcher, which is killed when it hangs, and, for abort(), ourselves. */
static int allow_signals(scmp_filter_ctx filter, pid_t launcher)
{
    int failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(kill), 2,
                                  SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint64_t)launcher),
                                  SCMP_A1_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, SIGKILL));
    const struct mm_seccomp_rule ourselves = {SCMP_SYS(tgkill), 0, UINT32_MAX, (uint64_t)getpid()};
    return failed ? failed : mm_seccomp_allow_if(filter, &ourselves, 1);
}

static int build(scmp_filter_ctx filter, pid_t launcher)
{
    int failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (failed == 0)
        failed = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    /* A binary tree: in a list every call pays for those before it, and those with rules on their arguments, as fcntl(), come last. */
    if (failed == 0)
        failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (failed == 0)
        failed = mm_seccomp_allow(filter, ALLOWED, MM_ARRAY_SIZE(ALLOWED));
    if (failed == 0)
        failed = mm_seccomp_allow_if(filter, RULES, MM_ARRAY_SIZE(RULES));
    if (failed == 0)
        failed = allow_tcp(filter, AF_INET);
    if (failed == 0)
        failed = allow_tcp(filter, AF_INET6);
    if (failed == 0)
        failed = mm_seccomp_add_common(filter);
    if (failed == 0)
        failed = allow_signals(filter, launcher);
    if (failed == 0 && MM_LEAK_CHECK)
        failed = mm_seccomp_allow(filter, LEAK_CHECK, MM_ARRAY_SIZE(LEAK_CHECK));
    return failed;
}

bool mm_filter_load(pid_t launcher, struct mm_error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return mm_seccomp_load(filter, build(filter, launcher), err);
}
