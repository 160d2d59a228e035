/* SPDX-License-Identifier: Apache-2.0 */
/* What a fetch can't do, whoever has taken it over. Each in a child of its own, which stays confined. */
#include "confine/fetch_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/in_child.h"

static bool confine(void)
{
    struct mm_error err = {0};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && mm_fetch_filter_load(&err);
}

/* An int, so that calls of all kinds fit. */
#define REFUSED(call) ((call) == -1 && errno == EPERM)

static int make_nothing(void)
{
    char *const arguments[] = {(char[]){"true"}, NULL};
    CHECK(confine());
    CHECK(REFUSED(execv("/bin/true", arguments)));
    CHECK(REFUSED(fork()));
    CHECK(REFUSED(open("/tmp/mm-fetch-filter", O_WRONLY | O_CREAT, 0600)));
    CHECK(REFUSED(open("/dev/null", O_RDWR)));
    CHECK(REFUSED(open("/dev/null", O_RDONLY | O_TRUNC)));
    CHECK(REFUSED(unlink("/tmp/mm-fetch-filter")));
    CHECK(REFUSED(rename("/tmp/mm-fetch-filter", "/tmp/mm-fetch-filter2")));
    CHECK(REFUSED(mkdir("/tmp/mm-fetch-filter", 0700)));
    CHECK(REFUSED(memfd_create("x", 0)));
    return 0;
}

static int touch_nobody(void)
{
    CHECK(confine());
    CHECK(REFUSED(kill(getppid(), 0)));
    CHECK(REFUSED(kill(1, 0)));
    CHECK(REFUSED((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
    CHECK(REFUSED(prctl(PR_SET_DUMPABLE, 1)));
    return 0;
}

static int take_nobody_in(void)
{
    CHECK(confine());
    CHECK(REFUSED(socket(AF_UNIX, SOCK_STREAM, 0)));
    CHECK(REFUSED(socket(AF_NETLINK, SOCK_RAW, 0)));
    CHECK(REFUSED(socket(AF_PACKET, SOCK_RAW, 0)));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(REFUSED(listen(fd, 1)));
    CHECK(REFUSED(accept(fd, NULL, NULL)));
    CHECK(REFUSED(fcntl(fd, F_SETOWN, getpid())));
    return 0;
}

static int make_no_code(void)
{
    CHECK(confine());
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(REFUSED(mprotect(memory, 4096, PROT_READ | PROT_EXEC)));
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM);
    return 0;
}

static void *run_thread(void *context)
{
    *(int *)context = 7;
    return NULL;
}

static int go_on(void)
{
    pthread_t thread;
    int value = 0;
    CHECK(confine());
    CHECK(pthread_create(&thread, NULL, run_thread, &value) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(value == 7);
    int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    const struct sockaddr_in nowhere = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(socket_fd, (const struct sockaddr *)&nowhere, sizeof nowhere) == -1 && errno != EPERM);
    return 0;
}

static void a_fetch_makes_no_process_and_no_file(void **state)
{
    (void)state;
    assert_int_equal(in_child(make_nothing), 0);
}

static void a_fetch_touches_no_other_process(void **state)
{
    (void)state;
    assert_int_equal(in_child(touch_nobody), 0);
}

static void a_fetch_connects_outwards_alone(void **state)
{
    (void)state;
    assert_int_equal(in_child(take_nobody_in), 0);
}

static void a_fetch_makes_no_code(void **state)
{
    (void)state;
    assert_int_equal(in_child(make_no_code), 0);
}

static void a_fetch_can_do_its_work(void **state)
{
    (void)state;
    assert_int_equal(in_child(go_on), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fetch_makes_no_process_and_no_file),
        cmocka_unit_test(a_fetch_touches_no_other_process),
        cmocka_unit_test(a_fetch_connects_outwards_alone),
        cmocka_unit_test(a_fetch_makes_no_code),
        cmocka_unit_test(a_fetch_can_do_its_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
