/* SPDX-License-Identifier: Apache-2.0 */
#include "mintmarkd/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool mm_pid_file_open(struct mm_pid_file *file, struct mm_error *err)
{
    struct stat info;
    if (!file->path)
        return true;
    file->fd = open(file->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (file->fd < 0 || fstat(file->fd, &info) != 0)
        return mm_fail(err, MM_FILE, "%s: %s", file->path, strerror(errno));
    if (!S_ISREG(info.st_mode) || info.st_nlink > 1)
        return mm_fail(err, MM_FILE, "%s: not a regular file of one name", file->path);
    /* For whoever asks after the service; one that somebody else put there keeps the mode that it has. */
    (void)fchmod(file->fd, 0644);
    return true;
}

bool mm_pid_file_write(struct mm_pid_file *file, struct mm_error *err)
{
    if (file->fd < 0)
        return true;
    if (ftruncate(file->fd, 0) != 0 || dprintf(file->fd, "%d\n", (int)getpid()) < 0)
        return mm_fail(err, MM_FILE, "%s: %s", file->path, strerror(errno));
    file->state = MM_PID_WRITTEN;
    return true;
}

void mm_pid_file_close(struct mm_pid_file *file)
{
    if (file->state == MM_PID_WRITTEN)
        (void)!ftruncate(file->fd, 0);
    if (file->fd >= 0)
        (void)close(file->fd);
}
