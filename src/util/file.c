/* SPDX-License-Identifier: Apache-2.0 */
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LINKS_MAX = 40 }; /* as the kernel has it */

bool mm_file_check_trusted(int fd, const char *path, struct mm_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return mm_fail(err, MM_CONFIG_INVALID, "%s: not a regular file", path);
    if (info.st_mode & (S_IWGRP | S_IWOTH))
        return mm_fail(err, MM_CONFIG_INVALID, "%s: group or others can write it (mode %04o)", path,
                       (unsigned)(info.st_mode & 07777));
    if (info.st_uid != 0 && info.st_uid != geteuid())
        return mm_fail(err, MM_CONFIG_INVALID, "%s: owned by uid %u, neither root nor this user", path,
                       (unsigned)info.st_uid);
    return true;
}

/* A path walked name by name, as the kernel does it, so that no link and no folder on the way goes unseen. */
struct way {
    const char *file;    /* for messages */
    char done[PATH_MAX]; /* absolute, checked, and free of links */
    char rest[PATH_MAX]; /* still to go, from `done` on */
    int n_links;
};

static bool check_one_out_of_hand(const struct way *way, struct mm_error *err)
{
    struct stat info;
    if (lstat(way->done, &info) != 0)
        return mm_fail(err, MM_FILE, "%s: %s: %s", way->file, way->done, strerror(errno));
    if (info.st_uid == geteuid())
        return mm_fail(err, MM_CONFIG_INVALID,
                       "%s: %s belongs to the service's own user, who must not be able to change it", way->file,
                       way->done);
    bool is_shared = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX);
    /* A link's mode says nothing: who can replace it is its folder's and its owner's business. */
    if (!is_shared && !S_ISLNK(info.st_mode) && faccessat(AT_FDCWD, way->done, W_OK, AT_EACCESS) == 0)
        return mm_fail(err, MM_CONFIG_INVALID, "%s: the service's own user can write %s", way->file, way->done);
    return true;
}

static bool too_long(const struct way *way, struct mm_error *err)
{
    return mm_fail(err, MM_CONFIG_INVALID, "%s: the way to it is too long", way->file);
}

static void go_up(struct way *way)
{
    char *slash = strrchr(way->done, '/');
    slash[slash == way->done] = '\0';
}

/* If `done` is a link: on with what it names. */
static bool follow(struct way *way, struct mm_error *err)
{
    char target[PATH_MAX];
    char rest[PATH_MAX];
    ssize_t length = readlink(way->done, target, sizeof target);
    if (length < 0)
        return errno == EINVAL || mm_fail(err, MM_FILE, "%s: %s: %s", way->file, way->done, strerror(errno));
    if (++way->n_links > LINKS_MAX)
        return mm_fail(err, MM_CONFIG_INVALID, "%s: more than %d links on the way to it", way->file, LINKS_MAX);
    int n = snprintf(rest, sizeof rest, "%.*s/%s", (int)length, target, way->rest);
    if (length == (ssize_t)sizeof target || n < 0 || (size_t)n >= sizeof rest)
        return too_long(way, err);
    memcpy(way->rest, rest, (size_t)n + 1);
    if (target[0] == '/')
        memcpy(way->done, "/", sizeof "/");
    else
        go_up(way);
    return true;
}

/* Into the next name of `rest`. */
static bool step(struct way *way, struct mm_error *err)
{
    size_t n_slashes = strspn(way->rest, "/");
    size_t length = strcspn(way->rest + n_slashes, "/");
    char name[PATH_MAX];
    memcpy(name, way->rest + n_slashes, length);
    name[length] = '\0';
    memmove(way->rest, way->rest + n_slashes + length, strlen(way->rest + n_slashes + length) + 1);
    if (!name[0] || strcmp(name, ".") == 0)
        return true;
    if (strcmp(name, "..") == 0) {
        go_up(way);
        return true;
    }
    size_t end = strcmp(way->done, "/") == 0 ? 0 : strlen(way->done);
    if (end + 1 + length >= sizeof way->done)
        return too_long(way, err);
    way->done[end] = '/';
    memcpy(way->done + end + 1, name, length + 1);
    return check_one_out_of_hand(way, err) && follow(way, err);
}

bool mm_file_check_out_of_hand(const char *path, struct mm_error *err)
{
    struct way way = {.file = path, .done = "/"};
    char here[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(here, sizeof here))
        return mm_fail(err, MM_FILE, "%s: the working folder: %s", path, strerror(errno));
    int n = snprintf(way.rest, sizeof way.rest, "%s/%s", here, path);
    if (n < 0 || (size_t)n >= sizeof way.rest)
        return too_long(&way, err);
    if (!check_one_out_of_hand(&way, err))
        return false;
    while (way.rest[0])
        if (!step(&way, err))
            return false;
    return true;
}

static bool read_all(int fd, const char *path, struct mm_buffer *buffer, struct mm_error *err)
{
    char chunk[4096];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
        if (n == 0)
            return mm_buffer_append(buffer, "", 0, err);
        if ((size_t)n > buffer->cap - buffer->length)
            return mm_fail(err, MM_FILE, "%s: larger than %zu bytes", path, buffer->cap);
        if (!mm_buffer_append(buffer, chunk, (size_t)n, err))
            return false;
    }
}

static int open_to_read(const char *path, struct mm_error *err)
{
    /* O_NONBLOCK: a FIFO in a file's place must not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        (void)mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    return fd;
}

bool mm_file_read_trusted(const char *path, struct mm_buffer *buffer, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = open_to_read(path, err);
    return fd >= 0 && mm_file_check_trusted(fd, path, err) && read_all(fd, path, buffer, err);
}

bool mm_file_read(const char *path, struct mm_buffer *buffer, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = open_to_read(path, err);
    struct stat info;
    if (fd < 0)
        return false;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return mm_fail(err, MM_FILE, "%s: not a regular file", path);
    return read_all(fd, path, buffer, err);
}

static bool write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        data += n;
        length -= (size_t)n;
    }
    return true;
}

bool mm_file_replace(const char *path, const void *data, size_t length, struct mm_error *err)
{
    struct stat info;
    if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return mm_fail(err, MM_FILE, "%s: not a regular file", path);
    mm_cleanup(free) char *other = NULL;
    if (asprintf(&other, "%s.XXXXXX", path) < 0) {
        other = NULL;
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    mm_cleanup(mm_close) int fd = mkostemp(other, O_CLOEXEC); /* O_EXCL, mode 0600 */
    if (fd < 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    if (fchmod(fd, S_IRUSR | S_IWUSR) == 0 && write_all(fd, data, length) && fsync(fd) == 0 && rename(other, path) == 0)
        return true;
    int why = errno;
    (void)unlink(other);
    return mm_fail(err, MM_FILE, "%s: %s", path, strerror(why));
}

char *mm_path_beside(const char *base_file, const char *path, struct mm_error *err)
{
    const char *slash = strrchr(base_file, '/');
    char *joined = NULL;
    int length = path[0] == '/' || !slash ? asprintf(&joined, "%s", path)
                                          : asprintf(&joined, "%.*s/%s", (int)(slash - base_file), base_file, path);
    if (length < 0) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return joined;
}
