/* SPDX-License-Identifier: Apache-2.0 */
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

static bool check_one_out_of_hand(const char *file, const char *path, struct mm_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    if (info.st_uid == geteuid())
        return mm_fail(err, MM_CONFIG_INVALID,
                       "%s: %s belongs to the service's own user, who must not be able to change it", file, path);
    bool is_shared = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX);
    if (!is_shared && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
        return mm_fail(err, MM_CONFIG_INVALID, "%s: the service's own user can write %s", file, path);
    return true;
}

/* `path` (which is changed) and what it lies in, up to the root or, of a relative one, to the working folder. */
static bool check_way_out_of_hand(const char *file, char *path, struct mm_error *err)
{
    for (;;) {
        if (!check_one_out_of_hand(file, path, err))
            return false;
        char *slash = strrchr(path, '/');
        if (strcmp(path, "/") == 0 || strcmp(path, ".") == 0)
            return true;
        if (!slash)
            memcpy(path, ".", sizeof "."); /* which is no longer than what it replaces */
        else
            slash[slash == path] = '\0';
    }
}

bool mm_file_check_out_of_hand(const char *path, struct mm_error *err)
{
    mm_cleanup(free) char *resolved = realpath(path, NULL);
    if (!resolved)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    mm_cleanup(free) char *given = strdup(path);
    if (!given)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    /* A link on the way could be pointed elsewhere: both ways count. */
    return check_way_out_of_hand(path, given, err) && check_way_out_of_hand(path, resolved, err);
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
