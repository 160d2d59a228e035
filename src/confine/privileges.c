/* SPDX-License-Identifier: Apache-2.0 */
#include "confine/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "confine/leak_check.h"

static bool refused(struct mm_error *err, const char *what)
{
    return mm_fail(err, MM_INTERNAL, "privileges can't be dropped: %s: %s", what, strerror(errno));
}

/* What set-user-id programs and file capabilities could give back; needs a capability itself, so root's alone. */
static bool empty_bounding_set(struct mm_error *err)
{
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability) != 0 && errno != EPERM)
            return refused(err, "bounding set");
    return true;
}

static bool become(const struct passwd *user, struct mm_error *err)
{
    if (user->pw_uid == 0)
        return mm_fail(err, MM_USAGE, "the service's user can't be root");
    if (getuid() == user->pw_uid && geteuid() == user->pw_uid)
        return true;
    if (geteuid() != 0)
        return mm_fail(err, MM_USAGE, "only root can become %s", user->pw_name);
    if (initgroups(user->pw_name, user->pw_gid) != 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
        return refused(err, user->pw_name);
    uid_t real;
    uid_t effective;
    uid_t saved;
    if (getresuid(&real, &effective, &saved) != 0 || real != user->pw_uid || effective != user->pw_uid ||
        saved != user->pw_uid || setuid(0) == 0 || setgid(0) == 0)
        return mm_fail(err, MM_INTERNAL, "privileges can't be dropped: there is a way back to root");
    return true;
}

static bool become_named(const char *name, struct mm_error *err)
{
    errno = 0;
    const struct passwd *user = getpwnam(name);
    if (!user)
        return mm_fail(err, MM_USAGE, "no user %s%s%s", name, errno ? ": " : "", errno ? strerror(errno) : "");
    return become(user, err);
}

static bool drop_capabilities(struct mm_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &header, data) == 0 || refused(err, "capabilities");
}

bool mm_privileges_drop(const char *user, struct mm_error *err)
{
    const struct rlimit none = {0, 0};
    (void)umask(077);
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return refused(err, "core dumps");
    if (!empty_bounding_set(err) || (user && !become_named(user, err)) || !drop_capabilities(err))
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return refused(err, "no_new_privs");
    /* Last: becoming another user resets it. */
    return prctl(PR_SET_DUMPABLE, 0) == 0 || refused(err, "tracers");
}

void mm_privileges_allow_leak_check(void)
{
    if (MM_LEAK_CHECK)
        (void)prctl(PR_SET_DUMPABLE, 1);
}
