/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/login.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "util/clock.h"

enum {
    POLL_NS = 20000000,
    FORGIVEN = 1, /* logins of unknown outcome in a row; HSMs lock after three refusals or more */
};

struct mm_login {
    char *latch_path;
    int fd; /* of the note; holds the lock. A byte for the login under way, and for each of unknown outcome before it */
};

static char *note_path(const char *latch_path, struct mm_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s.login", latch_path) < 0) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return path;
}

static void login_free(struct mm_login *login)
{
    if (!login)
        return;
    if (login->fd >= 0) {
        /* Said aloud: a child that a module has forked meanwhile holds the descriptor, too. */
        struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
        (void)fcntl(login->fd, F_OFD_SETLK, &whole);
        (void)close(login->fd);
    }
    free(login->latch_path);
    free(login);
}

MM_DEFINE_CLEANUP(struct mm_login, login_free);

/* The file is never removed: two processes must not hold locks on two files of one name. */
static struct mm_login *open_note(const char *latch_path, struct mm_error *err)
{
    mm_cleanup(free) char *path = note_path(latch_path, err);
    mm_cleanup(login_free) struct mm_login *login = path ? calloc(1, sizeof *login) : NULL;
    if (!login) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    login->latch_path = strdup(latch_path);
    login->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (!login->latch_path || login->fd < 0) {
        (void)mm_fail(err, MM_FILE, "%s: %s; without it no PIN is sent", path, strerror(errno));
        return NULL;
    }
    return MM_TAKE(login);
}

static bool lock(const struct mm_login *login, const char *hsm_token, int64_t deadline_ns, struct mm_error *err)
{
    const struct timespec pause = {.tv_nsec = POLL_NS};
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    while (fcntl(login->fd, F_OFD_SETLK, &whole) != 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return mm_fail(err, MM_FILE, "%s.login: %s", login->latch_path, strerror(errno));
        if (mm_monotonic_ns() >= deadline_ns)
            return mm_fail(err, MM_HSM_UNAVAILABLE, "HSM token %s: another process is still logging in", hsm_token);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return true;
}

static bool write_note(const struct mm_login *login, struct mm_error *err)
{
    if (lseek(login->fd, 0, SEEK_END) < 0 || write(login->fd, "1", 1) != 1 || fsync(login->fd) != 0)
        return mm_fail(err, MM_FILE, "%s.login: can't be written: %s; without it no PIN is sent", login->latch_path,
                       strerror(errno));
    return true;
}

static bool shorten_note(const struct mm_login *login, off_t length)
{
    return ftruncate(login->fd, length) == 0 && fsync(login->fd) == 0;
}

static bool erase_note(const struct mm_login *login)
{
    return shorten_note(login, 0);
}

/* Take back what mm_login_begin() noted, and nothing of what was noted before. */
static void take_note_back(const struct mm_login *login)
{
    off_t length = lseek(login->fd, 0, SEEK_END);
    if (length > 0)
        (void)shorten_note(login, length - 1);
}

/* Turn what earlier logins have noted into a latch, once they are too many. */
static bool latch_unfinished(const struct mm_login *login, struct mm_error *err)
{
    off_t n_unfinished = lseek(login->fd, 0, SEEK_END);
    if (n_unfinished >= 0 && n_unfinished <= FORGIVEN)
        return true;
    return mm_latch_set(login->latch_path, mm_clock_now(&MM_SYSTEM_CLOCK),
                        "two logins in a row were cut off or failed without a word on the PIN, or one was refused and "
                        "that couldn't be recorded at once",
                        err) &&
           (erase_note(login) || mm_fail(err, MM_FILE, "%s.login: %s", login->latch_path, strerror(errno)));
}

struct mm_login *mm_login_begin(const char *latch_path, const char *hsm_token, enum mm_login_mode mode,
                                int64_t deadline_ns, struct mm_error *err)
{
    mm_cleanup(login_free) struct mm_login *login = open_note(latch_path, err);
    if (!login || !lock(login, hsm_token, deadline_ns, err))
        return NULL;
    if (mode == MM_LOGIN_GUARDED && (!latch_unfinished(login, err) || !mm_latch_check(latch_path, hsm_token, err)))
        return NULL;
    return write_note(login, err) ? MM_TAKE(login) : NULL;
}

void mm_login_end(struct mm_login *login, enum mm_login_outcome outcome, const char *reason)
{
    if (!login)
        return;
    switch (outcome) {
    case MM_LOGIN_GRANTED:
        (void)erase_note(login);
        break;
    case MM_LOGIN_UNJUDGED:
        take_note_back(login);
        break;
    case MM_LOGIN_UNCLEAR:
        break;
    case MM_LOGIN_REFUSED:
        /* If the latch can't be set the note becomes one: it counts as one too many, and has its place on a full disk. */
        (void)write_note(login, NULL);
        if (mm_latch_set(login->latch_path, mm_clock_now(&MM_SYSTEM_CLOCK), reason, NULL))
            (void)erase_note(login);
        break;
    }
    login_free(login);
}

bool mm_login_forget(const char *latch_path, const char *hsm_token, int64_t deadline_ns, struct mm_error *err)
{
    mm_cleanup(login_free) struct mm_login *login = open_note(latch_path, err);
    return login && lock(login, hsm_token, deadline_ns, err) &&
           (erase_note(login) || mm_fail(err, MM_FILE, "%s.login: %s", latch_path, strerror(errno)));
}
