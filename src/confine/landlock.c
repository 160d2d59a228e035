/* SPDX-License-Identifier: Apache-2.0 */
#include "confine/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "util/file.h"

/* What Debian 12's header doesn't know yet: landlock(7). */
struct ruleset {
    uint64_t files;
    uint64_t network; /* from version 4 */
    uint64_t scoped;  /* from version 6 */
};

enum { REFER_FROM = 2, TRUNCATE_FROM = 3, DEVICES_FROM = 5, SCOPES_FROM = 6 };

static const uint64_t TRUNCATE = 1 << 14;
static const uint64_t USE_DEVICE = 1 << 15;
static const uint64_t SCOPE_SIGNAL = 1 << 1;

static const uint64_t READ_FILE = LANDLOCK_ACCESS_FS_READ_FILE;
static const uint64_t WRITE_FILE = LANDLOCK_ACCESS_FS_WRITE_FILE;
static const uint64_t READ_FOLDER = LANDLOCK_ACCESS_FS_READ_DIR;
static const uint64_t WRITE_FOLDER = LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                     LANDLOCK_ACCESS_FS_MAKE_SYM;
/* Given to nobody. */
static const uint64_t NEVER = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;

/* Libraries and what they look up. Of /etc not all: a configuration, its TLS keys and PINs may be there. */
static const struct mm_path_rule SYSTEM[] = {
    {.path = "/usr", .access = MM_PATH_READ},
    {.path = "/lib", .access = MM_PATH_READ},
    {.path = "/lib32", .access = MM_PATH_READ},
    {.path = "/lib64", .access = MM_PATH_READ},
    {.path = "/proc", .access = MM_PATH_READ},
    {.path = "/sys", .access = MM_PATH_READ},
    {.path = "/dev/null", .access = MM_PATH_WRITE},
    {.path = "/dev/zero", .access = MM_PATH_READ},
    {.path = "/dev/random", .access = MM_PATH_READ},
    {.path = "/dev/urandom", .access = MM_PATH_READ},
    {.path = "/etc/alternatives", .access = MM_PATH_READ},
    {.path = "/etc/crypto-policies", .access = MM_PATH_READ},
    {.path = "/etc/gai.conf", .access = MM_PATH_READ},
    {.path = "/etc/gnutls", .access = MM_PATH_READ},
    {.path = "/etc/group", .access = MM_PATH_READ},
    {.path = "/etc/host.conf", .access = MM_PATH_READ},
    {.path = "/etc/hosts", .access = MM_PATH_READ},
    {.path = "/etc/ld.so.cache", .access = MM_PATH_READ},
    {.path = "/etc/localtime", .access = MM_PATH_READ},
    {.path = "/etc/machine-id", .access = MM_PATH_READ},
    {.path = "/etc/nsswitch.conf", .access = MM_PATH_READ},
    {.path = "/etc/passwd", .access = MM_PATH_READ},
    {.path = "/etc/pkcs11", .access = MM_PATH_READ},
    {.path = "/etc/resolv.conf", .access = MM_PATH_READ},
    {.path = "/etc/services", .access = MM_PATH_READ},
    {.path = "/etc/softhsm", .access = MM_PATH_READ},
    {.path = "/etc/ssl/certs", .access = MM_PATH_READ},
    {.path = "/etc/ssl/openssl.cnf", .access = MM_PATH_READ},
    {.path = "/run/systemd/resolve", .access = MM_PATH_READ},
};

static bool refused(struct mm_error *err, const char *what)
{
    return mm_fail(err, MM_INTERNAL, "landlock: %s: %s", what, strerror(errno));
}

/* What a ruleset of this version can be about. */
static uint64_t known_to(long version)
{
    uint64_t known = READ_FILE | WRITE_FILE | READ_FOLDER | WRITE_FOLDER | NEVER;
    if (version >= REFER_FROM)
        known |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= TRUNCATE_FROM)
        known |= TRUNCATE;
    if (version >= DEVICES_FROM)
        known |= USE_DEVICE;
    return known;
}

static uint64_t allowed_by(const struct mm_path_rule *rule, mode_t mode)
{
    uint64_t file = rule->access == MM_PATH_READ ? READ_FILE : READ_FILE | WRITE_FILE | TRUNCATE | USE_DEVICE;
    if (!S_ISDIR(mode))
        return file;
    return file | READ_FOLDER | (rule->access == MM_PATH_READ ? 0 : WRITE_FOLDER | LANDLOCK_ACCESS_FS_REFER);
}

static bool add(int ruleset, const struct mm_path_rule *rule, uint64_t known, struct mm_error *err)
{
    mm_cleanup(free) char *folder = rule->extent == MM_PATH_ITS_FOLDER ? mm_path_beside(rule->path, ".", err) : NULL;
    if (rule->extent == MM_PATH_ITS_FOLDER && !folder)
        return false;
    mm_cleanup(mm_close) int fd = open(folder ? folder : rule->path, O_PATH | O_CLOEXEC);
    struct stat info;
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES || refused(err, rule->path);
    if (fstat(fd, &info) != 0)
        return refused(err, rule->path);
    struct landlock_path_beneath_attr beneath = {.allowed_access = allowed_by(rule, info.st_mode) & known,
                                                 .parent_fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0 ||
           refused(err, rule->path);
}

static bool add_all(int ruleset, const struct mm_path_rule *rules, size_t n, uint64_t known, struct mm_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!add(ruleset, &rules[i], known, err))
            return false;
    return true;
}

bool mm_landlock_restrict(const struct mm_path_rule *rules, size_t n, enum mm_signals signals,
                          enum mm_landlock *ret_state, struct mm_error *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        *ret_state = MM_LANDLOCK_UNKNOWN;
        return true;
    }
    struct ruleset about = {
        .files = known_to(version),
        .scoped = signals == MM_SIGNALS_INSIDE && version >= SCOPES_FROM ? SCOPE_SIGNAL : 0,
    };
    /* An older kernel takes a longer struct whose new members are zero. */
    mm_cleanup(mm_close) int ruleset = (int)syscall(SYS_landlock_create_ruleset, &about, sizeof about, 0);
    if (ruleset < 0)
        return refused(err, "no ruleset");
    if (!add_all(ruleset, SYSTEM, MM_ARRAY_SIZE(SYSTEM), about.files, err) ||
        !add_all(ruleset, rules, n, about.files, err))
        return false;
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        return refused(err, "not in force");
    *ret_state = MM_LANDLOCK_IN_FORCE;
    return true;
}
