/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/fetcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "confine/fetch_filter.h"
#include "confine/landlock.h"
#include "confine/leak_check.h"
#include "fetch/answer.h"
#include "fetch/transfer.h"
#include "util/clock.h"
#include "util/origin.h"
#include "util/packet.h"

enum {
    SOCKET_FD = STDERR_FILENO + 1, /* of the fetcher: it has the standard streams and this one open */
    OVERDUE_MS = MM_FETCH_MS + 1000,
    CPU_SECONDS = 5, /* of a fetch: a certificate's check may be made costly */
    LOOK_MS = 200,   /* while fetches are under way */
    PLACE_MS = 200,  /* for one that ends to be gone */
    STOP_MS = 2000,
};

/* --- a fetch's process */

/* What it writes there would look like the service's log. A sanitizer's report is to be seen. */
static bool leave_log(void)
{
    if (MM_LEAK_CHECK)
        return true;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return fd >= 0 && dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0;
}

/* A fetch reads CAs and what the resolver needs, as they are now, and writes one pipe. */
static bool confine_fetch(const struct mm_fetcher_options *options, struct mm_error *err)
{
    const struct mm_path_rule rules[] = {
        {.path = "/etc/pki", .access = MM_PATH_READ},
        {.path = "/etc/ssl/cert.pem", .access = MM_PATH_READ},
        {.path = "/etc/resolvconf", .access = MM_PATH_READ},
        {.path = "/run/resolvconf", .access = MM_PATH_READ},
        {.path = "/run/NetworkManager", .access = MM_PATH_READ},
        {.path = options->ca_file, .access = MM_PATH_READ},
    };
    enum mm_landlock state;
    const struct rlimit cpu = {CPU_SECONDS, CPU_SECONDS};
    if (setrlimit(RLIMIT_CPU, &cpu) != 0 || !leave_log())
        return mm_fail(err, MM_INTERNAL, "a fetch can't be confined: %s", strerror(errno));
    return options->confinement == MM_FETCHER_UNCONFINED ||
           (mm_landlock_restrict(rules, MM_ARRAY_SIZE(rules) - !options->ca_file, MM_SIGNALS_INSIDE, &state, err) &&
            mm_fetch_filter_load(err));
}

static void write_all(int fd, const void *data, size_t length)
{
    const char *next = data;
    while (length > 0) {
        ssize_t n = write(fd, next, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody wants it any more */
        next += n;
        length -= (size_t)n;
    }
}

static void write_answer(int fd, const struct mm_fetched *document, const void *data, size_t length)
{
    uint8_t head[MM_FETCH_HEAD_LENGTH];
    mm_fetch_answer_head(document, length, head);
    write_all(fd, head, sizeof head);
    write_all(fd, data, length);
}

static void run_fetch(const struct mm_fetcher_options *options, const char *url, int fd)
{
    struct mm_error err = {0};
    struct mm_buffer document = mm_buffer_make(MM_FETCH_DOCUMENT_MAX);
    struct mm_fetched fetched = {0};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, "mintmark-get");
    if (confine_fetch(options, &err) && mm_transfer_run(options, url, &document, &fetched.max_age, &err)) {
        write_answer(fd, &fetched, document.data, document.length);
        _exit(MM_EXIT_OK);
    }
    write_answer(fd, NULL, err.message, strnlen(err.message, MM_FETCH_REASON_MAX));
    _exit(MM_EXIT_FAILURE);
}

/* --- the fetcher's process */

struct fetch {
    pid_t pid; /* 0: free */
    int64_t until_ns;
};

struct process {
    const struct mm_fetcher_options *options;
    struct fetch fetches[MM_FETCHES_MAX];
};

static struct fetch *find_free(struct process *process)
{
    for (size_t i = 0; i < MM_FETCHES_MAX; i++)
        if (!process->fetches[i].pid)
            return &process->fetches[i];
    return NULL;
}

/* The ones that ended are forgotten, the ones that should have are ended. Returns how many there are. */
static size_t mind_fetches(struct process *process)
{
    size_t n = 0;
    for (size_t i = 0; i < MM_FETCHES_MAX; i++) {
        struct fetch *fetch = &process->fetches[i];
        if (fetch->pid && waitpid(fetch->pid, NULL, WNOHANG) != 0)
            *fetch = (struct fetch){0};
        else if (fetch->pid && mm_monotonic_ns() > fetch->until_ns)
            (void)kill(fetch->pid, SIGKILL);
        n += fetch->pid != 0;
    }
    return n;
}

/* One request: a URL, and the descriptor that its answer goes to. False at the end of the input or if it is something else. */
static bool receive(char url[MM_URL_MAX + 1], int *ret_fd)
{
    ssize_t n = mm_packet_receive(SOCKET_FD, url, MM_URL_MAX, ret_fd, MM_PACKET_WAIT);
    if (n <= 0 || *ret_fd < 0)
        return false;
    url[n] = '\0';
    return true;
}

/* Whoever has read a fetch's answer to its end may ask for another at once: the first is about to end, and has its place until then. */
static void wait_for_place(struct process *process)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t until_ns = mm_deadline_after_ms(PLACE_MS);
    while (mind_fetches(process) == MM_FETCHES_MAX && mm_monotonic_ns() < until_ns)
        (void)nanosleep(&pause, NULL);
}

/* Without a place for it the pipe is closed, and so is its only end in mintmarkd. */
static void start_fetch(struct process *process, const char *url, int fd)
{
    struct fetch *fetch = find_free(process);
    pid_t pid = fetch ? fork() : -1;
    if (pid == 0) {
        (void)close(SOCKET_FD);
        run_fetch(process->options, url, fd);
    }
    if (pid > 0)
        *fetch = (struct fetch){pid, mm_deadline_after_ms(OVERDUE_MS)};
    (void)close(fd);
}

static void serve(struct process *process)
{
    for (;;) {
        char url[MM_URL_MAX + 1];
        int fd = -1;
        struct pollfd readable = {.fd = SOCKET_FD, .events = POLLIN};
        int n_ready = poll(&readable, 1, mind_fetches(process) > 0 ? LOOK_MS : -1);
        if (n_ready == 0 || (n_ready < 0 && errno == EINTR))
            continue;
        if (n_ready < 0 || !receive(url, &fd))
            return;
        wait_for_place(process);
        start_fetch(process, url, fd);
    }
}

/* Nothing of mintmarkd's but its standard streams stays: not the launcher's socket, which must end when mintmarkd does. */
static bool keep_only(int fd)
{
    if (fd == SOCKET_FD)
        return close_range(SOCKET_FD + 1, ~0U, 0) == 0;
    return dup2(fd, SOCKET_FD) == SOCKET_FD && close_range(SOCKET_FD + 1, ~0U, 0) == 0;
}

static void run_process(int fd, const struct mm_fetcher_options *options)
{
    /* It ends with mintmarkd, which drains; signals meant for the group must not end it before. */
    static const int IGNORED[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < MM_ARRAY_SIZE(IGNORED); i++)
        (void)signal(IGNORED[i], SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)prctl(PR_SET_NAME, "mintmark-fetch");
    /* No proxy, resolver's option or OpenSSL's file that an environment names. */
    if (!keep_only(fd) || clearenv() != 0)
        _exit(MM_EXIT_FAILURE);
    struct process process = {.options = options};
    serve(&process);
    for (size_t i = 0; i < MM_FETCHES_MAX; i++)
        if (process.fetches[i].pid)
            (void)kill(process.fetches[i].pid, SIGKILL);
    _exit(MM_EXIT_OK);
}

/* --- mintmarkd's side */

struct mm_fetcher {
    /* immutable */
    pid_t pid;
    int fd; /* a packet goes out as a whole, so there is no lock */
};

struct mm_fetcher *mm_fetcher_start(const struct mm_fetcher_options *options, struct mm_error *err)
{
    int ends[2];
    if (!mm_packet_pair(ends)) {
        (void)mm_fail(err, MM_INTERNAL, "fetcher: socketpair: %s", strerror(errno));
        return NULL;
    }
    mm_cleanup(mm_close) int ours = ends[0];
    mm_cleanup(mm_close) int theirs = ends[1];
    mm_cleanup(free) struct mm_fetcher *fetcher = calloc(1, sizeof *fetcher);
    if (!fetcher) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    fetcher->pid = fork();
    if (fetcher->pid < 0) {
        (void)mm_fail(err, MM_INTERNAL, "fetcher: fork: %s", strerror(errno));
        return NULL;
    }
    if (fetcher->pid == 0)
        run_process(theirs, options);
    fetcher->fd = ours;
    ours = -1;
    return MM_TAKE(fetcher);
}

pid_t mm_fetcher_pid(const struct mm_fetcher *fetcher)
{
    return fetcher->pid;
}

bool mm_fetcher_ask(struct mm_fetcher *fetcher, const char *url, int *ret_fd, struct mm_error *err)
{
    char host[MM_HOST_MAX];
    int ends[2];
    if (!mm_url_host(url, host))
        return mm_fail(err, MM_UNREACHABLE, "not a https URL in its plain spelling");
    if (pipe2(ends, O_CLOEXEC) != 0)
        return mm_fail(err, MM_UNREACHABLE, "no pipe for an answer: %s", strerror(errno));
    mm_cleanup(mm_close) int ours = ends[0];
    mm_cleanup(mm_close) int theirs = ends[1];
    if (fcntl(ours, F_SETFL, O_RDONLY | O_NONBLOCK) != 0 ||
        !mm_packet_send(fetcher->fd, url, strlen(url), theirs, MM_PACKET_AT_ONCE))
        return mm_fail(err, MM_UNREACHABLE, "the fetcher can't be asked: %s", strerror(errno));
    *ret_fd = ours;
    ours = -1;
    return true;
}

void mm_fetcher_stop(struct mm_fetcher *fetcher)
{
    if (!fetcher)
        return;
    (void)close(fetcher->fd);
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t until_ns = mm_deadline_after_ms(STOP_MS);
    while (waitpid(fetcher->pid, NULL, WNOHANG) == 0 && mm_monotonic_ns() < until_ns)
        (void)nanosleep(&pause, NULL);
    free(fetcher);
}
