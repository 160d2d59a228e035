/* SPDX-License-Identifier: Apache-2.0 */
/* What is dropped is gone for good; each test drops it in a child, since nothing could bring it back. */
#include "confine/privileges.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/support/in_child.h"

/* A number in hexadecimal from /proc/self/status; -1: not there. */
static long long status_of(const char *name)
{
    char line[256];
    long long value = -1;
    FILE *stream = fopen("/proc/self/status", "re");
    while (stream && fgets(line, sizeof line, stream))
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            value = strtoll(line + strlen(name) + 1, NULL, 16);
    if (stream)
        (void)fclose(stream);
    return value;
}

static int nothing_is_left(void)
{
    struct rlimit core;
    CHECK(status_of("CapEff") == 0 && status_of("CapPrm") == 0 && status_of("CapInh") == 0 && status_of("CapAmb") == 0);
    CHECK(status_of("NoNewPrivs") == 1);
    CHECK(prctl(PR_GET_DUMPABLE) == 0);
    CHECK(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0);
    CHECK(umask(0) == 077);
    return 0;
}

static int drop_and_stay(void)
{
    bool was_root = geteuid() == 0;
    uid_t before = geteuid();
    CHECK(mm_privileges_drop(NULL, NULL));
    CHECK(geteuid() == before);
    CHECK(!was_root || status_of("CapBnd") == 0);
    return nothing_is_left();
}

static int drop_to_nobody(void)
{
    struct mm_error err = {0};
    const struct passwd *nobody = getpwnam("nobody");
    uid_t uid = nobody->pw_uid;
    gid_t gid = nobody->pw_gid;
    gid_t groups[64];
    CHECK(setgroups(1, (const gid_t[]){0}) == 0);
    CHECK(mm_privileges_drop("nobody", &err));
    CHECK(getuid() == uid && geteuid() == uid && getgid() == gid && getegid() == gid);
    int n = getgroups(64, groups);
    CHECK(n >= 0);
    for (int i = 0; i < n; i++)
        CHECK(groups[i] != 0);
    CHECK(setuid(0) != 0 && seteuid(0) != 0 && setgid(0) != 0 && setgroups(0, NULL) != 0);
    CHECK(open("/etc/shadow", O_RDONLY | O_CLOEXEC) < 0);
    CHECK(status_of("CapBnd") == 0);
    /* Once more changes nothing. */
    CHECK(mm_privileges_drop("nobody", &err));
    return nothing_is_left();
}

static int become_another_without_the_right_to(void)
{
    struct mm_error err = {0};
    const char *other = "daemon";
    CHECK(geteuid() != 0 || mm_privileges_drop("nobody", NULL));
    CHECK(!mm_privileges_drop(other, &err));
    CHECK(err.code == MM_USAGE && strstr(err.message, other));
    return 0;
}

static int refuse(const char *user)
{
    struct mm_error err = {0};
    CHECK(!mm_privileges_drop(user, &err));
    CHECK(err.code == MM_USAGE);
    CHECK(strstr(err.message, user));
    return 0;
}

static int refuse_an_unknown_user(void)
{
    return refuse("no-such-user-here");
}

static int refuse_root(void)
{
    return refuse("root");
}

static void everything_goes_and_the_user_stays(void **state)
{
    (void)state;
    assert_int_equal(in_child(drop_and_stay), 0);
}

static void root_becomes_another_user_and_cannot_come_back(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(in_child(drop_to_nobody), 0);
}

static void only_root_becomes_somebody_else(void **state)
{
    (void)state;
    assert_int_equal(in_child(become_another_without_the_right_to), 0);
}

static void an_unknown_user_and_root_are_refused(void **state)
{
    (void)state;
    assert_int_equal(in_child(refuse_an_unknown_user), 0);
    assert_int_equal(in_child(refuse_root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_goes_and_the_user_stays),
        cmocka_unit_test(root_becomes_another_user_and_cannot_come_back),
        cmocka_unit_test(only_root_becomes_somebody_else),
        cmocka_unit_test(an_unknown_user_and_root_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
