/* SPDX-License-Identifier: Apache-2.0 */
/* Which files are reached once that is restricted; each test restricts a child, since nothing could undo it. */
#include "confine/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "confine/privileges.h"
#include "tests/support/in_child.h"

enum { SCOPES_FROM = 6 };

/* Of this kernel's Landlock; less than 1: it has none. */
static long version(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static char folder[64]; /* with readable/file, writable/file, hidden/file */

static char *in_folder(const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s/%s", folder, name);
    return out;
}

/* 0, or why not. */
static int try_open(const char *name, int flags)
{
    char path[128];
    mm_cleanup(mm_close) int fd = open(in_folder(name, path), flags | O_CLOEXEC, 0600);
    return fd < 0 ? errno : 0;
}

static bool restrict_to(const struct mm_path_rule *rules, size_t n, enum mm_signals signals)
{
    enum mm_landlock state = MM_LANDLOCK_UNKNOWN;
    return mm_privileges_drop(NULL, NULL) && mm_landlock_restrict(rules, n, signals, &state, NULL) &&
           state == MM_LANDLOCK_IN_FORCE;
}

static bool restrict_usually(void)
{
    char readable[128];
    char writable[128];
    char missing[128];
    const struct mm_path_rule rules[] = {
        {.path = in_folder("readable", readable), .access = MM_PATH_READ},
        {.path = in_folder("writable", writable), .access = MM_PATH_WRITE},
        {.path = in_folder("not/there", missing), .access = MM_PATH_WRITE},
    };
    return restrict_to(rules, MM_ARRAY_SIZE(rules), MM_SIGNALS_INSIDE);
}

static int reach_what_was_given(void)
{
    char from[128];
    char to[128];
    CHECK(restrict_usually());
    CHECK(try_open("readable/file", O_RDONLY) == 0 && try_open("readable", O_RDONLY | O_DIRECTORY) == 0);
    CHECK(try_open("writable/file", O_RDWR | O_TRUNC) == 0);
    CHECK(try_open("writable/new", O_WRONLY | O_CREAT) == 0);
    CHECK(link(in_folder("writable/new", from), in_folder("writable/linked", to)) == 0 && unlink(from) == 0);
    CHECK(mkdir(in_folder("writable/below", from), 0700) == 0);
    CHECK(try_open("writable/below/new", O_WRONLY | O_CREAT) == 0);
    CHECK(open("/dev/null", O_RDWR | O_CLOEXEC) >= 0 && open("/proc/self/maps", O_RDONLY | O_CLOEXEC) >= 0);
    return 0;
}

static int reach_nothing_else(void)
{
    char from[128];
    char to[128];
    CHECK(restrict_usually());
    CHECK(try_open("hidden/file", O_RDONLY) == EACCES && try_open("hidden", O_RDONLY | O_DIRECTORY) == EACCES);
    CHECK(try_open("hidden/new", O_WRONLY | O_CREAT) == EACCES);
    CHECK(try_open("readable/file", O_WRONLY) == EACCES && try_open("readable/new", O_WRONLY | O_CREAT) == EACCES);
    CHECK(unlink(in_folder("readable/file", from)) != 0 && errno == EACCES);
    CHECK(truncate(from, 0) != 0);
    CHECK(rename(in_folder("writable/file", from), in_folder("readable/file", to)) != 0);
    CHECK(symlink(in_folder("hidden/file", to), in_folder("writable/way", from)) == 0);
    CHECK(try_open("writable/way", O_RDONLY) == EACCES);
    CHECK(try_open("writable/../hidden/file", O_RDONLY) == EACCES);
    CHECK(open("/etc/fstab", O_RDONLY | O_CLOEXEC) < 0 && open("/tmp", O_RDONLY | O_CLOEXEC) < 0);
    return 0;
}

static int execute_nothing(void)
{
    CHECK(restrict_usually());
    CHECK(execl("/bin/true", "true", (char *)NULL) != 0 && errno == EACCES);
    return 0;
}

static void *open_hidden(void *context)
{
    *(int *)context = try_open("hidden/file", O_RDONLY);
    return NULL;
}

static int threads_reach_no_more(void)
{
    pthread_t thread;
    int result = 0;
    CHECK(restrict_usually());
    CHECK(pthread_create(&thread, NULL, open_hidden, &result) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(result == EACCES);
    return 0;
}

/* As an editor does that writes a new file and moves it into the old one's place. */
static int reach_a_file_that_is_replaced(void)
{
    char file[128];
    char path[128];
    const struct mm_path_rule rule = {in_folder("writable/file", file), MM_PATH_WRITE, MM_PATH_ITS_FOLDER};
    CHECK(restrict_to(&rule, 1, MM_SIGNALS_ANYWHERE));
    CHECK(try_open("writable/draft", O_WRONLY | O_CREAT) == 0);
    CHECK(rename(in_folder("writable/draft", path), file) == 0);
    CHECK(try_open("writable/file", O_RDONLY) == 0);
    CHECK(try_open("hidden/file", O_RDONLY) == EACCES);
    return 0;
}

/* A rule on a file alone doesn't give the files beside it. */
static int reach_one_file(void)
{
    char file[128];
    const struct mm_path_rule rule = {.path = in_folder("hidden/file", file), .access = MM_PATH_READ};
    CHECK(restrict_to(&rule, 1, MM_SIGNALS_ANYWHERE));
    CHECK(try_open("hidden/file", O_RDONLY) == 0);
    CHECK(try_open("hidden/other", O_RDONLY) == EACCES);
    return 0;
}

static int signal_nobody_outside(void)
{
    CHECK(restrict_usually());
    CHECK(kill(getppid(), 0) != 0 && errno == EPERM);
    CHECK(kill(getpid(), 0) == 0);
    return 0;
}

static void what_was_given_is_reached(void **state)
{
    (void)state;
    assert_int_equal(in_child(reach_what_was_given), 0);
    assert_int_equal(in_child(reach_one_file), 0);
    assert_int_equal(in_child(reach_a_file_that_is_replaced), 0);
}

static void nothing_else_is_reached(void **state)
{
    (void)state;
    assert_int_equal(in_child(reach_nothing_else), 0);
    assert_int_equal(in_child(threads_reach_no_more), 0);
}

static void nothing_is_executed(void **state)
{
    (void)state;
    assert_int_equal(in_child(execute_nothing), 0);
}

static void nobody_outside_is_signalled(void **state)
{
    (void)state;
    if (version() < SCOPES_FROM)
        skip();
    assert_int_equal(in_child(signal_nobody_outside), 0);
}

static int set_up(void **state)
{
    (void)state;
    static const char *const FOLDERS[] = {"readable", "writable", "hidden"};
    static const char *const FILES[] = {"readable/file", "writable/file", "hidden/file", "hidden/other"};
    char path[128];
    (void)snprintf(folder, sizeof folder, "/tmp/mm-landlock-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < MM_ARRAY_SIZE(FOLDERS); i++)
        assert_int_equal(mkdir(in_folder(FOLDERS[i], path), 0700), 0);
    for (size_t i = 0; i < MM_ARRAY_SIZE(FILES); i++)
        assert_int_equal(try_open(FILES[i], O_WRONLY | O_CREAT), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    if (version() < 1) {
        (void)puts("this kernel has no Landlock: nothing to test");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(what_was_given_is_reached),
        TEST(nothing_else_is_reached),
        TEST(nothing_is_executed),
        TEST(nobody_outside_is_signalled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
