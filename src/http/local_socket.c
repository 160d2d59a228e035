/* SPDX-License-Identifier: Apache-2.0 */
#include "http/local_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BACKLOG = 1024, OPEN_MODE = 0660, CLOSED_MODE = 0600 };

static bool refused(struct mm_error *err, const char *path, const char *why)
{
    return mm_fail(err, MM_CANNOT_LISTEN, "can't listen on %s: %s", path, why);
}

static int new_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Only a service that is gone refuses; one that is busy lets wait, which is an answer, too. */
static bool is_dead(const struct sockaddr_un *address)
{
    mm_cleanup(mm_close) int fd = new_socket();
    return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
}

static bool make_room(const struct sockaddr_un *address, struct mm_error *err)
{
    const char *path = address->sun_path;
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT || refused(err, path, strerror(errno));
    if (!S_ISSOCK(info.st_mode))
        return refused(err, path, "something that is no socket is in its place");
    if (!is_dead(address))
        return refused(err, path, "a service that runs has it");
    return unlink(path) == 0 || refused(err, path, strerror(errno));
}

/* Whatever the umask: narrow when it appears, and as wide as it gets before anybody can connect. */
static bool make(int fd, const struct sockaddr_un *address, const gid_t *group, struct mm_error *err)
{
    const char *path = address->sun_path;
    if (fchmod(fd, CLOSED_MODE) != 0 || bind(fd, (const struct sockaddr *)address, sizeof *address) != 0)
        return refused(err, path, strerror(errno));
    if (group && chown(path, (uid_t)-1, *group) != 0)
        return refused(err, path, "this user can't give it to socket_group, of which it must be a member");
    if (chmod(path, OPEN_MODE) != 0 || listen(fd, BACKLOG) != 0)
        return refused(err, path, strerror(errno));
    return true;
}

bool mm_local_socket_open(const char *path, const gid_t *group, struct mm_local_socket *ret_socket,
                          struct mm_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    if (strlen(path) >= sizeof address.sun_path)
        return refused(err, path, "a socket's path can't be so long");
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (!make_room(&address, err))
        return false;
    mm_cleanup(mm_close) int fd = new_socket();
    if (fd < 0)
        return refused(err, path, strerror(errno));
    if (!make(fd, &address, group, err))
        return false;
    if (lstat(path, &info) != 0)
        return refused(err, path, strerror(errno));
    *ret_socket = (struct mm_local_socket){.fd = fd, .path = path, .device = info.st_dev, .inode = info.st_ino};
    fd = -1;
    return true;
}

void mm_local_socket_remove(const struct mm_local_socket *socket)
{
    struct stat info;
    if (lstat(socket->path, &info) == 0 && info.st_dev == socket->device && info.st_ino == socket->inode)
        (void)unlink(socket->path);
}
