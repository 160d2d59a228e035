/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "hsm/protocol.h"

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

static int spawn(const struct mm_worker_spec *spec, int socket, char *const *environment, pid_t *ret_pid)
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

bool mm_worker_spawn(const struct mm_worker_spec *spec, pid_t *ret_pid, int *ret_fd, struct mm_error *err)
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
