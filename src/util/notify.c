/* SPDX-License-Identifier: Apache-2.0 */
#include "util/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

enum { MESSAGE_MAX = 1024 };

/* An absolute path, or a name of the abstract namespace, written with an @. */
static bool parse_address(const char *name, struct mm_notify *notify, struct mm_error *err)
{
    size_t length = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof notify->address.sun_path)
        return mm_fail(err, MM_USAGE, "NOTIFY_SOCKET: %s isn't a socket's path", name);
    notify->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(notify->address.sun_path, name, length);
    if (name[0] == '@')
        notify->address.sun_path[0] = '\0';
    notify->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/'));
    return true;
}

static bool parse_number(const char *name, const char *text, int64_t max, int64_t *ret_number, struct mm_error *err)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end || number <= 0 || number > max)
        return mm_fail(err, MM_USAGE, "%s: %s isn't a number that it can be", name, text);
    *ret_number = number;
    return true;
}

static bool read_watchdog(struct mm_notify *notify, struct mm_error *err)
{
    const char *microseconds = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    int64_t usec = 0;
    int64_t whose = getpid();
    if (!microseconds)
        return true;
    if (!parse_number("WATCHDOG_USEC", microseconds, INT64_MAX / 1000, &usec, err) ||
        (pid && !parse_number("WATCHDOG_PID", pid, INT32_MAX, &whose, err)))
        return false;
    if (whose == getpid())
        notify->watchdog_ns = usec * 1000;
    return true;
}

static bool open_socket(struct mm_notify *notify, struct mm_error *err)
{
    const struct timeval patience = {.tv_sec = 1};
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return (notify->fd >= 0 && setsockopt(notify->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0) ||
           mm_fail(err, MM_INTERNAL, "no socket to notify the service's manager: %s", strerror(errno));
}

bool mm_notify_open(struct mm_notify *ret_notify, struct mm_error *err)
{
    static const char *const VARIABLES[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
    *ret_notify = (struct mm_notify){.fd = -1};
    const char *name = getenv(VARIABLES[0]);
    bool ok = !name ||
              (parse_address(name, ret_notify, err) && read_watchdog(ret_notify, err) && open_socket(ret_notify, err));
    for (size_t i = 0; i < MM_ARRAY_SIZE(VARIABLES); i++)
        (void)unsetenv(VARIABLES[i]);
    return ok;
}

void mm_notify_send(const struct mm_notify *notify, const char *format, ...)
{
    char message[MESSAGE_MAX];
    if (notify->fd < 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    size_t size = (size_t)length < sizeof message ? (size_t)length : sizeof message - 1;
    /* A manager that isn't there can't be told that it isn't. */
    (void)sendto(notify->fd, message, size, MSG_NOSIGNAL, (const struct sockaddr *)&notify->address, notify->length);
}

void mm_notify_close(struct mm_notify *notify)
{
    if (notify->fd >= 0)
        (void)close(notify->fd);
    notify->fd = -1;
}
