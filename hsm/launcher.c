/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/launcher.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "hsm/protocol.h"
#include "util/clock.h"
#include "util/packet.h"

enum {
    ANSWER_MS = 10000,   /* longer than any exec takes: the launcher hangs */
    WIND_UP_MS = 125000, /* for workers to see that mintmarkd is gone; longer than they let a login go on */
    WIND_UP_POLL_MS = 20,
    STOP_MS = 2000,    /* for the launcher to end; later it does so by itself */
    DISCARD_MS = 2000, /* for a worker that was started in vain to be gone */
};

/* What goes over the socket: one packet, one struct. Integers are in host byte order: one build, one machine. */
enum request_kind { REQUEST_START = 1, REQUEST_KILL, REQUEST_REAP };

struct request {
    uint32_t kind;
    uint32_t spec;   /* START */
    uint64_t worker; /* KILL, REAP */
};

enum reply_kind { REPLY_STARTED = 1, REPLY_NOT_STARTED, REPLY_RUNNING, REPLY_ENDED };

struct reply { /* to START and REAP */
    uint32_t kind;
    int32_t status;                    /* ENDED */
    int32_t pid;                       /* STARTED */
    uint64_t worker;                   /* STARTED, whose packet carries the worker's socket */
    char reason[MM_ERROR_MESSAGE_MAX]; /* NOT_STARTED */
};

/* --- the launcher's process */

struct child {
    uint64_t worker; /* 0: free */
    pid_t pid;
    uint32_t spec;
};

struct process {
    int fd;
    const struct mm_worker_spec *specs;
    size_t n_specs;
    uint64_t last_worker;
    size_t n_children;
    struct child children[]; /* as many as may run at once */
};

static void answer(const struct process *process, const struct reply *reply, int passed)
{
    bool is_sent = mm_packet_send(process->fd, reply, sizeof *reply, passed, MM_PACKET_WAIT);
    (void)is_sent; /* nobody there any more: the next receive sees it */
}

static struct child *find_child(struct process *process, uint64_t worker)
{
    for (size_t i = 0; i < process->n_children; i++)
        if (process->children[i].worker == worker)
            return &process->children[i];
    return NULL;
}

static bool may_start(const struct process *process, uint32_t spec)
{
    size_t n = 0;
    if (spec >= process->n_specs)
        return false;
    for (size_t i = 0; i < process->n_children; i++)
        n += process->children[i].worker && process->children[i].spec == spec;
    return n < process->specs[spec].n_workers;
}

static void start_child(struct process *process, uint32_t spec)
{
    struct reply reply = {.kind = REPLY_NOT_STARTED};
    struct mm_error err = {0};
    pid_t pid = 0;
    mm_cleanup(mm_close) int fd = -1;
    if (!may_start(process, spec))
        (void)mm_fail(&err, MM_HSM_UNAVAILABLE, "no more workers of this HSM token may run");
    else if (mm_worker_spawn(&process->specs[spec], &pid, &fd, &err)) {
        *find_child(process, 0) = (struct child){++process->last_worker, pid, spec};
        reply.kind = REPLY_STARTED;
        reply.worker = process->last_worker;
        reply.pid = pid;
    }
    (void)snprintf(reply.reason, sizeof reply.reason, "%s", err.message);
    answer(process, &reply, fd);
}

static void reap_child(struct process *process, struct child *child)
{
    struct reply reply = {.kind = REPLY_ENDED};
    if (child) {
        int status = 0;
        if (waitpid(child->pid, &status, WNOHANG) == 0)
            reply.kind = REPLY_RUNNING;
        else
            *child = (struct child){0};
        reply.status = status;
    }
    answer(process, &reply, -1);
}

/* Workers see by themselves that mintmarkd is gone, and end once a login under way has. Those that don't are killed. */
static void wind_up(struct process *process)
{
    const struct timespec pause = {.tv_nsec = WIND_UP_POLL_MS * 1000000L};
    int64_t until_ns = mm_deadline_after_ms(WIND_UP_MS);
    for (size_t i = 0; i < process->n_children;) {
        pid_t pid = process->children[i].pid;
        if (pid == 0 || waitpid(pid, NULL, WNOHANG) != 0) {
            i++;
        } else if (mm_monotonic_ns() >= until_ns) {
            (void)kill(pid, SIGKILL);
            i++;
        } else {
            (void)nanosleep(&pause, NULL);
        }
    }
}

static void serve(struct process *process)
{
    for (;;) {
        struct request request;
        ssize_t n = recv(process->fd, &request, sizeof request, MSG_TRUNC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != sizeof request)
            return;
        struct child *child = request.worker ? find_child(process, request.worker) : NULL;
        if (request.kind == REQUEST_START)
            start_child(process, request.spec);
        else if (request.kind == REQUEST_REAP)
            reap_child(process, child);
        else if (request.kind == REQUEST_KILL && child)
            (void)kill(child->pid, SIGKILL);
        else if (request.kind != REQUEST_KILL)
            return;
    }
}

static void run_process(int fd, const struct mm_worker_spec *specs, size_t n_specs)
{
    /* It ends with mintmarkd, which drains; signals meant for the group must not end it before. */
    static const int IGNORED[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < MM_ARRAY_SIZE(IGNORED); i++)
        (void)signal(IGNORED[i], SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)prctl(PR_SET_NAME, "mintmark-launch");
    size_t n = 0;
    for (size_t i = 0; i < n_specs; i++)
        n += specs[i].n_workers;
    struct process *process = calloc(1, sizeof *process + n * sizeof process->children[0]);
    if (!process)
        _exit(MM_EXIT_FAILURE);
    process->fd = fd;
    process->specs = specs;
    process->n_specs = n_specs;
    process->n_children = n;
    serve(process);
    wind_up(process);
    _exit(MM_EXIT_OK);
}

/* --- mintmarkd's side */

struct mm_launcher {
    /* immutable after mm_launcher_start() */
    pid_t pid;
    int fd;

    pthread_mutex_t lock; /* held from a request to its reply */
    /* guarded by lock */
    enum { ALIVE, LOST } state;
};

struct mm_launcher *mm_launcher_start(const struct mm_worker_spec *specs, size_t n, struct mm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (specs[i].pin_fd >= 0 && specs[i].pin_fd <= MM_WORKER_FD) {
            (void)mm_fail(err, MM_CONFIG_INVALID,
                          "HSM token %s: pin_fd can't be %d: descriptors 0 to %d have other uses", specs[i].hsm_token,
                          specs[i].pin_fd, MM_WORKER_FD);
            return NULL;
        }
    }
    int ends[2];
    if (!mm_packet_pair(ends)) {
        (void)mm_fail(err, MM_HSM_UNAVAILABLE, "socketpair: %s", strerror(errno));
        return NULL;
    }
    mm_cleanup(mm_close) int ours = ends[0];
    mm_cleanup(mm_close) int theirs = ends[1];
    mm_cleanup(free) struct mm_launcher *launcher = calloc(1, sizeof *launcher);
    if (!launcher) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    launcher->pid = fork();
    if (launcher->pid < 0) {
        (void)mm_fail(err, MM_HSM_UNAVAILABLE, "fork: %s", strerror(errno));
        return NULL;
    }
    if (launcher->pid == 0) {
        (void)close(ours);
        run_process(theirs, specs, n);
    }
    (void)pthread_mutex_init(&launcher->lock, NULL);
    launcher->fd = ours;
    ours = -1;
    return MM_TAKE(launcher);
}

pid_t mm_launcher_pid(const struct mm_launcher *launcher)
{
    return launcher->pid;
}

static bool post(const struct mm_launcher *launcher, const struct request *request)
{
    return mm_packet_send(launcher->fd, request, sizeof *request, -1, MM_PACKET_AT_ONCE);
}

static bool receive(const struct mm_launcher *launcher, struct reply *ret_reply, int *ret_passed)
{
    struct pollfd readable = {.fd = launcher->fd, .events = POLLIN};
    int64_t until_ns = mm_deadline_after_ms(ANSWER_MS);
    int64_t left_ns = until_ns - mm_monotonic_ns();
    int n_ready;
    do
        n_ready = poll(&readable, 1, (int)(left_ns / 1000000));
    while (n_ready < 0 && errno == EINTR && (left_ns = until_ns - mm_monotonic_ns()) > 0);
    if (n_ready != 1 || mm_packet_receive(launcher->fd, ret_reply, sizeof *ret_reply, ret_passed, MM_PACKET_AT_ONCE) !=
                            (ssize_t)sizeof *ret_reply)
        return false;
    ret_reply->reason[sizeof ret_reply->reason - 1] = '\0';
    return true;
}

static bool is_reply_to(const struct request *request, const struct reply *reply)
{
    return request->kind == REQUEST_START ? reply->kind == REPLY_STARTED || reply->kind == REPLY_NOT_STARTED
                                          : reply->kind == REPLY_RUNNING || reply->kind == REPLY_ENDED;
}

/* A launcher that is late, or doesn't answer what it was asked, can't be believed again: it is killed, the service with it. */
static bool exchange(struct mm_launcher *launcher, const struct request *request, struct reply *ret_reply,
                     int *ret_passed)
{
    *ret_passed = -1;
    (void)pthread_mutex_lock(&launcher->lock);
    bool ok = launcher->state == ALIVE && post(launcher, request) && receive(launcher, ret_reply, ret_passed) &&
              is_reply_to(request, ret_reply);
    if (!ok && launcher->state == ALIVE) {
        launcher->state = LOST;
        (void)shutdown(launcher->fd, SHUT_RDWR);
        (void)kill(launcher->pid, SIGKILL);
    }
    (void)pthread_mutex_unlock(&launcher->lock);
    return ok;
}

/* A worker that can't be talked to: the launcher counts it until it is reaped. */
static void discard(struct mm_launcher *launcher, uint64_t worker)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t until_ns = mm_deadline_after_ms(DISCARD_MS);
    int status;
    mm_launcher_kill(launcher, worker);
    while (!mm_launcher_reap(launcher, worker, &status) && mm_monotonic_ns() < until_ns)
        (void)nanosleep(&pause, NULL);
}

bool mm_launcher_spawn(struct mm_launcher *launcher, size_t spec, struct mm_launched *ret_launched,
                       struct mm_error *err)
{
    struct request request = {.kind = REQUEST_START, .spec = (uint32_t)spec};
    struct reply reply;
    mm_cleanup(mm_close) int fd = -1;
    if (!exchange(launcher, &request, &reply, &fd))
        return mm_fail(err, MM_HSM_UNAVAILABLE, "the launcher of workers is gone");
    if (reply.kind == REPLY_NOT_STARTED)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "%s", reply.reason);
    if (fd < 0) {
        /* The kernel drops what it has no free descriptor for. */
        discard(launcher, reply.worker);
        return mm_fail(err, MM_HSM_UNAVAILABLE, "no worker's socket could be received: is no descriptor free?");
    }
    *ret_launched = (struct mm_launched){.worker = reply.worker, .pid = reply.pid, .fd = fd};
    fd = -1;
    return true;
}

void mm_launcher_kill(struct mm_launcher *launcher, uint64_t worker)
{
    /* No reply, so no lock: a packet goes out as a whole. If it can't, the launcher hangs, and the next exchange ends it. */
    (void)post(launcher, &(struct request){.kind = REQUEST_KILL, .worker = worker});
}

bool mm_launcher_reap(struct mm_launcher *launcher, uint64_t worker, int *ret_status)
{
    struct request request = {.kind = REQUEST_REAP, .worker = worker};
    struct reply reply;
    mm_cleanup(mm_close) int fd = -1;
    bool ok = exchange(launcher, &request, &reply, &fd);
    if (ok && reply.kind == REPLY_RUNNING)
        return false;
    *ret_status = ok ? reply.status : SIGKILL;
    return true;
}

void mm_launcher_stop(struct mm_launcher *launcher)
{
    if (!launcher)
        return;
    (void)close(launcher->fd);
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t until_ns = mm_deadline_after_ms(STOP_MS);
    while (waitpid(launcher->pid, NULL, WNOHANG) == 0 && mm_monotonic_ns() < until_ns)
        (void)nanosleep(&pause, NULL);
    (void)pthread_mutex_destroy(&launcher->lock);
    free(launcher);
}
