/* SPDX-License-Identifier: Apache-2.0 */
/* What a service's manager hears, on a real datagram socket. */
#include "util/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct manager {
    char name[64]; /* as NOTIFY_SOCKET says it */
    int fd;
};

static void listen_at(struct manager *manager, const char *start)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(manager->name, sizeof manager->name, "%s%d", start, (int)getpid());
    size_t length = strlen(manager->name);
    memcpy(address.sun_path, manager->name, length);
    if (manager->name[0] == '@')
        address.sun_path[0] = '\0';
    manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    assert_int_equal(bind(manager->fd, (struct sockaddr *)&address, size), 0);
}

static void assert_hears(const struct manager *manager, const char *expected)
{
    char message[2048];
    ssize_t length = recv(manager->fd, message, sizeof message - 1, MSG_DONTWAIT);
    assert_true(length >= 0);
    message[length] = '\0';
    assert_string_equal(message, expected);
}

static struct mm_notify open_with(const char *name, const char *usec, const char *pid)
{
    struct mm_notify notify;
    struct mm_error err = {0};
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    if (usec)
        assert_int_equal(setenv("WATCHDOG_USEC", usec, 1), 0);
    if (pid)
        assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
    if (!mm_notify_open(&notify, &err))
        fail_msg("%s", err.message);
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
    return notify;
}

static void messages_arrive_at(const char *start)
{
    struct manager manager;
    listen_at(&manager, start);
    struct mm_notify notify = open_with(manager.name, NULL, NULL);
    assert_int_equal(notify.watchdog_ns, 0);
    mm_notify_send(&notify, "READY=1\nSTATUS=%s", "Serving");
    mm_notify_send(&notify, "WATCHDOG=1");
    assert_hears(&manager, "READY=1\nSTATUS=Serving");
    assert_hears(&manager, "WATCHDOG=1");
    mm_notify_close(&notify);
    (void)close(manager.fd);
    if (manager.name[0] == '/')
        assert_int_equal(unlink(manager.name), 0);
}

static void each_message_is_one_datagram(void **state)
{
    (void)state;
    messages_arrive_at("/tmp/mm-notify-");
}

static void a_socket_may_be_abstract(void **state)
{
    (void)state;
    messages_arrive_at("@mm-notify-");
}

static void without_a_manager_nothing_is_sent(void **state)
{
    (void)state;
    struct mm_notify notify;
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    assert_true(mm_notify_open(&notify, NULL));
    assert_int_equal(notify.fd, -1);
    mm_notify_send(&notify, "READY=1");
    mm_notify_close(&notify);
}

static void a_manager_that_is_gone_does_no_harm(void **state)
{
    (void)state;
    struct mm_notify notify = open_with("/nonexistent/notify", NULL, NULL);
    mm_notify_send(&notify, "READY=1");
    mm_notify_close(&notify);
}

static void the_watchdog_is_for_the_process_that_it_names(void **state)
{
    (void)state;
    char own[16];
    (void)snprintf(own, sizeof own, "%d", (int)getpid());
    struct mm_notify notify = open_with("@mm", "30000000", own);
    assert_int_equal(notify.watchdog_ns, 30000000000);
    mm_notify_close(&notify);
    notify = open_with("@mm", "30000000", NULL);
    assert_int_equal(notify.watchdog_ns, 30000000000);
    mm_notify_close(&notify);
    notify = open_with("@mm", "30000000", "1");
    assert_int_equal(notify.watchdog_ns, 0);
    mm_notify_close(&notify);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"", "/", "@", "relative/path", "vsock:2:1234"};
    static const char *const USECS[] = {"", "0", "-1", "x", "1s", "99999999999999999999"};
    char long_name[256];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[0] = '/';
    long_name[sizeof long_name - 1] = '\0';
    for (size_t i = 0; i <= MM_ARRAY_SIZE(NAMES); i++) {
        struct mm_notify notify;
        struct mm_error err = {0};
        assert_int_equal(setenv("NOTIFY_SOCKET", i < MM_ARRAY_SIZE(NAMES) ? NAMES[i] : long_name, 1), 0);
        assert_false(mm_notify_open(&notify, &err));
        assert_int_equal(err.code, MM_USAGE);
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(USECS); i++) {
        struct mm_notify notify;
        struct mm_error err = {0};
        assert_int_equal(setenv("NOTIFY_SOCKET", "@mm", 1), 0);
        assert_int_equal(setenv("WATCHDOG_USEC", USECS[i], 1), 0);
        assert_false(mm_notify_open(&notify, &err));
        assert_int_equal(err.code, MM_USAGE);
        assert_non_null(strstr(err.message, "WATCHDOG_USEC"));
    }
}

static void a_message_that_is_too_long_is_cut(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct manager manager;
    listen_at(&manager, "@mm-notify-");
    struct mm_notify notify = open_with(manager.name, NULL, NULL);
    mm_notify_send(&notify, "STATUS=%s", text);
    char message[4096];
    assert_int_equal(recv(manager.fd, message, sizeof message, MSG_DONTWAIT), 1023);
    mm_notify_close(&notify);
    (void)close(manager.fd);
}

/* A manager that doesn't read: its queue fills up, and nobody waits for it for long. */
static void a_manager_that_hangs_holds_nobody_up(void **state)
{
    (void)state;
    struct manager manager;
    listen_at(&manager, "@mm-notify-");
    struct mm_notify notify = open_with(manager.name, NULL, NULL);
    while (sendto(notify.fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&notify.address, notify.length) == 1)
        ;
    mm_notify_send(&notify, "READY=1"); /* returns */
    mm_notify_close(&notify);
    (void)close(manager.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_is_one_datagram),
        cmocka_unit_test(a_socket_may_be_abstract),
        cmocka_unit_test(without_a_manager_nothing_is_sent),
        cmocka_unit_test(a_manager_that_is_gone_does_no_harm),
        cmocka_unit_test(the_watchdog_is_for_the_process_that_it_names),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(a_message_that_is_too_long_is_cut),
        cmocka_unit_test(a_manager_that_hangs_holds_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
