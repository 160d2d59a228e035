/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/pool_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "util/clock.h"

/* All that a worker inherits of the environment; the HSM token's own variables it sets itself. */
static const char *const INHERITED[] = {"PATH", "LANG", "TZ", "CREDENTIALS_DIRECTORY"};

enum { N_INHERITED = MM_ARRAY_SIZE(INHERITED) };

struct environment {
    char *variables[N_INHERITED + 1];
};

static void environment_clear(struct environment *environment)
{
    for (size_t i = 0; i < N_INHERITED; i++)
        free(environment->variables[i]);
}

static bool environment_fill(struct environment *environment)
{
    size_t n = 0;
    for (size_t i = 0; i < N_INHERITED; i++) {
        const char *value = getenv(INHERITED[i]);
        if (!value)
            continue;
        if (asprintf(&environment->variables[n], "%s=%s", INHERITED[i], value) < 0) {
            environment->variables[n] = NULL;
            return false;
        }
        n++;
    }
    return true;
}

/* Descriptors of the child: 0 null, 1 and 2 our stderr, MM_WORKER_FD the socket, the PIN's; no other, whoever opened it. */
static bool add_descriptors(posix_spawn_file_actions_t *actions, int socket, int pin_fd)
{
    int failed = posix_spawn_file_actions_adddup2(actions, socket, MM_WORKER_FD);
    failed |= posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    failed |= posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO);
    int first = MM_WORKER_FD + 1;
    if (pin_fd >= first) {
        /* Onto itself: that clears close-on-exec. */
        failed |= posix_spawn_file_actions_adddup2(actions, pin_fd, pin_fd);
        for (; first < pin_fd; first++)
            failed |= posix_spawn_file_actions_addclose(actions, first);
        first = pin_fd + 1;
    }
    failed |= posix_spawn_file_actions_addclosefrom_np(actions, first);
    return failed == 0;
}

/* Default signals, none blocked; a process group of its own, so that a terminal's Ctrl-C reaches only who drains. */
static bool set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t all;
    sigset_t none;
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    int failed = posix_spawnattr_setsigdefault(attributes, &all);
    failed |= posix_spawnattr_setsigmask(attributes, &none);
    failed |= posix_spawnattr_setpgroup(attributes, 0);
    failed |=
        posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    return failed == 0;
}

static int spawn(const struct mm_pool_worker_spec *spec, int socket, char *const *environment, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    const char *arguments[] = {spec->program, "--config", spec->config_file, "--hsm-token", spec->hsm_token, NULL};
    char *argv[MM_ARRAY_SIZE(arguments)];
    memcpy(argv, arguments, sizeof argv);
    int failed = ENOMEM;
    if (add_descriptors(&actions, socket, spec->pin_fd) && set_attributes(&attributes))
        failed = posix_spawn(ret_pid, spec->program, &actions, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

bool mm_pool_worker_spawn(const struct mm_pool_worker_spec *spec, pid_t *ret_pid, int *ret_fd, struct mm_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "socketpair: %s", strerror(errno));
    mm_cleanup(mm_close) int ours = ends[0];
    mm_cleanup(mm_close) int theirs = ends[1];
    struct environment environment = {0};
    int failed = environment_fill(&environment) ? spawn(spec, theirs, environment.variables, ret_pid) : ENOMEM;
    environment_clear(&environment);
    if (failed != 0)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "%s can't be started: %s", spec->program, strerror(failed));
    *ret_fd = ours;
    ours = -1;
    return true;
}

enum mm_pool_sent mm_pool_worker_send(int fd, const struct mm_message *message, uint8_t *packet)
{
    size_t length;
    if (!mm_message_encode(message, packet, &length, NULL))
        return MM_POOL_GONE;
    ssize_t n;
    do
        n = send(fd, packet, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return MM_POOL_SENT;
    return errno == EAGAIN || errno == ENOBUFS ? MM_POOL_FULL : MM_POOL_GONE;
}

enum mm_pool_received mm_pool_worker_receive(int fd, uint8_t *packet, struct mm_message *ret_message,
                                             struct mm_error *err)
{
    ssize_t n;
    do
        n = recv(fd, packet, MM_PACKET_MAX, MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return MM_POOL_HUNG_UP;
    if (n > MM_PACKET_MAX) {
        (void)mm_fail(err, MM_INTERNAL, "the worker sent a packet of %zd bytes", n);
        return MM_POOL_GARBAGE;
    }
    return mm_message_decode(packet, (size_t)n, ret_message, err) ? MM_POOL_MESSAGE : MM_POOL_GARBAGE;
}

void mm_pool_worker_reason(const struct mm_message *message, char *out, size_t size)
{
    size_t length = message->length < size - 1 ? message->length : size - 1;
    for (size_t i = 0; i < length; i++)
        out[i] = message->data[i] >= ' ' && message->data[i] <= '~' ? (char)message->data[i] : '?';
    out[length] = '\0';
}

struct mm_pool_slot *mm_pool_worker_slot(struct mm_pool_worker *worker, uint64_t id)
{
    for (size_t i = 0; i < worker->n_slots; i++)
        if (worker->slots[i].id == id)
            return &worker->slots[i];
    return NULL;
}

int64_t mm_pool_worker_oldest_ns(const struct mm_pool_worker *worker)
{
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < worker->n_slots; i++)
        if (worker->slots[i].id != 0 && worker->slots[i].sent_ns < oldest)
            oldest = worker->slots[i].sent_ns;
    return oldest;
}

void mm_pool_worker_end(struct mm_pool_worker *worker)
{
    if (worker->state != MM_POOL_STARTING && worker->state != MM_POOL_READY)
        return;
    int64_t grace_ms = worker->state == MM_POOL_STARTING ? MM_POOL_END_START_MS : MM_POOL_END_MS;
    worker->state = MM_POOL_ENDING;
    worker->until_ns = mm_deadline_after_ms(grace_ms);
    (void)shutdown(worker->fd, SHUT_WR);
}

void mm_pool_worker_kill(struct mm_pool_worker *worker)
{
    worker->state = MM_POOL_ENDING;
    worker->until_ns = mm_monotonic_ns();
    worker->fate = MM_POOL_KILLED;
    if (worker->pid > 0)
        (void)kill(worker->pid, SIGKILL);
    /* Should a child of the worker's hold the other end, the reader must still wake. */
    (void)shutdown(worker->fd, SHUT_RDWR);
}

bool mm_pool_worker_reap(struct mm_pool_worker *worker, int *ret_status)
{
    int status = 0;
    pid_t pid = waitpid(worker->pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno != ECHILD))
        return false;
    worker->pid = 0;
    (void)shutdown(worker->fd, SHUT_RDWR);
    *ret_status = status;
    return true;
}
