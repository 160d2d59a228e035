/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the filter of system calls ends a process for, and what it lets pass. The integration tests, which all run under
 * it, show that the service can live with it.
 */
#include "confine/filter.h"

#include <asm/sockios.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "confine/leak_check.h"
#include "confine/privileges.h"

/* Of a process that only waits: whom a filtered one may kill. */
static pid_t launcher;

/* The tests' own process; asking for it under the filter would end the one that asks. */
static pid_t parent;

/* The wait status of a child that loads the filter and does `body`, then exits with what that returned. */
static int filtered(int (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(mm_privileges_drop(NULL, NULL) && mm_filter_load(launcher, NULL) ? body() : 99);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int execute(void)
{
    return execl("/bin/true", "true", (char *)NULL);
}

static int start_a_process(void)
{
    return (int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static int start_a_process_by_vfork(void)
{
    return (int)syscall(SYS_vfork);
}

static int trace(void)
{
    return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int read_another_process(void)
{
    return (int)syscall(SYS_process_vm_writev, parent, NULL, 0, NULL, 0, 0);
}

static int open_netlink(void)
{
    return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int open_packet(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0);
}

static int open_udp(void)
{
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int open_raw(void)
{
    return socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
}

static int open_unix(void)
{
    return socket(AF_UNIX, SOCK_DGRAM, 0);
}

static int open_sctp(void)
{
    return socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}

static int open_mptcp(void)
{
    return socket(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP);
}

static int choose_who_is_signalled(void)
{
    return fcntl(STDIN_FILENO, F_SETOWN, parent);
}

static int choose_which_thread_is_signalled(void)
{
    struct f_owner_ex owner = {F_OWNER_PID, parent};
    return fcntl(STDIN_FILENO, F_SETOWN_EX, &owner);
}

static int choose_the_signal(void)
{
    return fcntl(STDIN_FILENO, F_SETSIG, SIGKILL);
}

static int have_signals_sent(void)
{
    return fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK | O_ASYNC);
}

static int watch_a_folder(void)
{
    return fcntl(STDIN_FILENO, F_NOTIFY, DN_MODIFY);
}

static int take_a_lease(void)
{
    return fcntl(STDIN_FILENO, F_SETLEASE, F_RDLCK);
}

static int have_signals_sent_by_ioctl(void)
{
    int on = 1;
    return ioctl(STDIN_FILENO, FIOASYNC, &on);
}

static int choose_who_is_signalled_by_ioctl(void)
{
    return ioctl(STDIN_FILENO, FIOSETOWN, &parent);
}

static int choose_the_group_that_is_signalled(void)
{
    return ioctl(STDIN_FILENO, SIOCSPGRP, &parent);
}

static int connect_out(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = 1};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static int connect_by_sending(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = 1};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return (int)sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address);
}

static int map_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int make_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static int signal_another(void)
{
    return kill(parent, 0);
}

static int signal_the_launcher_otherwise(void)
{
    return kill(launcher, SIGTERM);
}

static int become_root(void)
{
    return setuid(0);
}

static int mount_something(void)
{
    return mount("none", "/mnt", "tmpfs", 0, NULL);
}

static int load_bpf(void)
{
    union bpf_attr attributes = {0};
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
}

static int open_a_ring(void)
{
    return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static int change_what_it_may(void)
{
    return prctl(PR_SET_DUMPABLE, 1);
}

static int rename_a_file(void)
{
    return (int)syscall(SYS_renameat2, AT_FDCWD, "/nonexistent/a", AT_FDCWD, "/nonexistent/b", 0);
}

static int change_the_clock(void)
{
    return (int)syscall(SYS_clock_settime, CLOCK_REALTIME, NULL);
}

static void what_the_service_never_does_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int (*body)(void);
        enum { ALWAYS, NOT_FOR_LEAK_CHECK } when;
    } FORBIDDEN[] = {
        {"execve", execute, ALWAYS},
        {"clone of a process", start_a_process, NOT_FOR_LEAK_CHECK},
        {"vfork", start_a_process_by_vfork, ALWAYS},
        {"ptrace", trace, NOT_FOR_LEAK_CHECK},
        {"process_vm_writev", read_another_process, ALWAYS},
        {"AF_NETLINK", open_netlink, ALWAYS},
        {"AF_PACKET", open_packet, ALWAYS},
        {"UDP", open_udp, ALWAYS},
        {"raw IP", open_raw, ALWAYS},
        {"AF_UNIX", open_unix, ALWAYS},
        {"SCTP", open_sctp, ALWAYS},
        {"MPTCP", open_mptcp, ALWAYS},
        {"F_SETOWN", choose_who_is_signalled, ALWAYS},
        {"F_SETOWN_EX", choose_which_thread_is_signalled, ALWAYS},
        {"F_SETSIG", choose_the_signal, ALWAYS},
        {"O_ASYNC", have_signals_sent, ALWAYS},
        {"F_NOTIFY", watch_a_folder, ALWAYS},
        {"F_SETLEASE", take_a_lease, ALWAYS},
        {"FIOASYNC", have_signals_sent_by_ioctl, ALWAYS},
        {"FIOSETOWN", choose_who_is_signalled_by_ioctl, ALWAYS},
        {"SIOCSPGRP", choose_the_group_that_is_signalled, ALWAYS},
        {"connect", connect_out, ALWAYS},
        {"MSG_FASTOPEN", connect_by_sending, ALWAYS},
        {"mmap of code", map_code, ALWAYS},
        {"mprotect to code", make_code, ALWAYS},
        {"a signal to another", signal_another, NOT_FOR_LEAK_CHECK},
        {"another signal to the launcher", signal_the_launcher_otherwise, NOT_FOR_LEAK_CHECK},
        {"setuid", become_root, ALWAYS},
        {"mount", mount_something, ALWAYS},
        {"bpf", load_bpf, ALWAYS},
        {"io_uring", open_a_ring, ALWAYS},
        {"prctl", change_what_it_may, NOT_FOR_LEAK_CHECK},
        {"rename", rename_a_file, ALWAYS},
        {"clock_settime", change_the_clock, ALWAYS},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(FORBIDDEN); i++) {
        if (MM_LEAK_CHECK && FORBIDDEN[i].when == NOT_FOR_LEAK_CHECK)
            continue;
        int status = filtered(FORBIDDEN[i].body);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s: wait status %d", FORBIDDEN[i].what, status);
    }
    assert_int_equal(kill(launcher, 0), 0);
}

static void *do_nothing(void *context)
{
    return context;
}

/* Each call's result is looked at: passed over or failing isn't allowed. */
static int do_what_the_service_does(void)
{
    pthread_t thread;
    void *result = NULL;
    char path[] = "/tmp/mm-filter-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) != 0 || unlink(path) != 0 || close(fd) != 0)
        return 1;
    if (pthread_create(&thread, NULL, do_nothing, path) != 0 || pthread_join(thread, &result) != 0 || result != path)
        return 2;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0)
        return 3;
    if (kill(launcher, SIGKILL) != 0)
        return 4;
    return waitpid(-1, NULL, WNOHANG) < 0 ? 0 : 5;
}

static void what_the_service_does_passes(void **state)
{
    (void)state;
    assert_int_equal(filtered(do_what_the_service_does), 0);
    int status = 0;
    assert_int_equal(waitpid(launcher, &status, 0), launcher);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void *execute_in_a_thread(void *context)
{
    pthread_mutex_t *until_filtered = context;
    (void)pthread_mutex_lock(until_filtered);
    (void)execute();
    return NULL;
}

/* TSYNC: the filter is for threads that were there before it, too. */
static void threads_that_run_already_are_confined(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        static pthread_mutex_t until_filtered = PTHREAD_MUTEX_INITIALIZER;
        pthread_t thread;
        (void)pthread_mutex_lock(&until_filtered);
        if (!mm_privileges_drop(NULL, NULL) ||
            pthread_create(&thread, NULL, execute_in_a_thread, &until_filtered) != 0 || !mm_filter_load(1, NULL))
            _exit(99);
        (void)pthread_mutex_unlock(&until_filtered);
        (void)pthread_join(thread, NULL);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static int set_up(void **state)
{
    (void)state;
    parent = getpid();
    launcher = fork();
    if (launcher == 0)
        for (;;)
            (void)pause();
    return launcher > 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_service_never_does_ends_it), cmocka_unit_test(threads_that_run_already_are_confined),
        cmocka_unit_test(what_the_service_does_passes), /* the last: it ends the launcher */
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
