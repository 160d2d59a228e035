/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>

struct mm_secret *mm_pin_from_file(const char *file, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        (void)mm_fail(err, MM_FILE, "%s: %s", file, strerror(errno));
        return NULL;
    }
    if (info.st_mode & (S_IRWXG | S_IRWXO)) {
        (void)mm_fail(err, MM_FILE, "%s: group or others can use it (mode %04o): a secret is for its owner alone", file,
                      (unsigned)(info.st_mode & 07777));
        return NULL;
    }
    return mm_secret_read(fd, file, err);
}

/* One line from the terminal into `line`; false on end of file, a failure, or a signal that waits at `signals`. */
static bool read_line(int terminal, int signals, char *line, size_t size, size_t *ret_length)
{
    struct pollfd sources[] = {{.fd = terminal, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    size_t length = 0;
    while (length < size) {
        if (poll(sources, 2, -1) < 0 || sources[1].revents)
            return false;
        ssize_t n = read(terminal, line + length, size - length);
        if (n <= 0)
            return false;
        length += (size_t)n;
        if (line[length - 1] == '\n') {
            *ret_length = length - 1;
            return true;
        }
    }
    return false;
}

/* With the signals that end a process held back, so that none leaves the terminal without echo. */
static struct mm_secret *ask_quietly(int terminal, int signals, const char *hsm_token, struct mm_error *err)
{
    struct termios before;
    if (tcgetattr(terminal, &before) != 0) {
        (void)mm_fail(err, MM_FILE, "/dev/tty: %s", strerror(errno));
        return NULL;
    }
    struct termios quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    (void)dprintf(terminal, "PIN for HSM token %s: ", hsm_token);
    (void)tcsetattr(terminal, TCSAFLUSH, &quiet);
    char line[MM_SECRET_MAX + 1];
    size_t length = 0;
    bool is_read = read_line(terminal, signals, line, sizeof line, &length);
    (void)tcsetattr(terminal, TCSAFLUSH, &before);
    (void)dprintf(terminal, "\n");

    struct mm_secret *pin = NULL;
    if (is_read && length > 0 && !memchr(line, '\0', length))
        pin = mm_secret_new(line, length, err);
    else
        (void)mm_fail(err, MM_USAGE, "no PIN was entered");
    explicit_bzero(line, sizeof line);
    return pin;
}

struct mm_secret *mm_pin_ask(const char *hsm_token, struct mm_error *err)
{
    mm_cleanup(mm_close) int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0) {
        (void)mm_fail(err, MM_USAGE, "no terminal to ask for the PIN on: give --pin-file, --pin-fd or --service-pin");
        return NULL;
    }
    static const int ENDING[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP};
    sigset_t held, before;
    (void)sigemptyset(&held);
    for (size_t i = 0; i < MM_ARRAY_SIZE(ENDING); i++)
        (void)sigaddset(&held, ENDING[i]);
    (void)sigprocmask(SIG_BLOCK, &held, &before);
    mm_cleanup(mm_close) int signals = signalfd(-1, &held, SFD_CLOEXEC);
    struct mm_secret *pin = ask_quietly(terminal, signals, hsm_token, err);
    /* A signal that came meanwhile is delivered here. */
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return pin;
}
