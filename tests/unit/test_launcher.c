/* SPDX-License-Identifier: Apache-2.0 */
/* What the launcher can be asked for, and that neither side outlives the other. */
#include "hsm/launcher.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "util/clock.h"

enum { PATIENCE_MS = 20000 };

struct fixture {
    char folder[64];
    char file[128]; /* the fake worker's behaviour */
    struct mm_worker_spec spec;
    struct mm_launcher *launcher;
};

static void sleep_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/mm-launcher-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->file, sizeof fixture->file, "%s/fake", fixture->folder);
    FILE *stream = fopen(fixture->file, "we");
    assert_non_null(stream);
    assert_true(fputs("answer", stream) >= 0);
    assert_int_equal(fclose(stream), 0);
    fixture->spec = (struct mm_worker_spec){FAKE_WORKER, fixture->file, "primary", -1, 2};
    fixture->launcher = mm_launcher_start(&fixture->spec, 1, NULL);
    assert_non_null(fixture->launcher);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    mm_launcher_stop(fixture->launcher);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static struct mm_launched launch(struct fixture *fixture)
{
    struct mm_error err = {0};
    struct mm_launched launched = {0};
    if (!mm_launcher_spawn(fixture->launcher, 0, &launched, &err))
        fail_msg("%s", err.message);
    assert_int_not_equal(launched.worker, 0);
    assert_int_equal(kill(launched.pid, 0), 0);
    assert_true(launched.fd >= 0);
    return launched;
}

static uint64_t spawn(struct fixture *fixture, int *ret_fd)
{
    struct mm_launched launched = launch(fixture);
    *ret_fd = launched.fd;
    return launched.worker;
}

static int reap(struct fixture *fixture, uint64_t worker)
{
    int status = 0;
    for (int64_t until = mm_deadline_after_ms(PATIENCE_MS); !mm_launcher_reap(fixture->launcher, worker, &status);
         sleep_ms(1))
        assert_true(mm_monotonic_ns() < until);
    return status;
}

static void refuses_to_spawn(struct fixture *fixture, size_t spec, const char *word)
{
    struct mm_error err = {0};
    struct mm_launched launched = {.fd = -1};
    assert_false(mm_launcher_spawn(fixture->launcher, spec, &launched, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    if (!strstr(err.message, word))
        fail_msg("%s", err.message);
    assert_int_equal(launched.fd, -1);
}

/* Wait until the process has ended, by then also reaped by whoever is its parent. */
static void ends(pid_t pid)
{
    for (int64_t until = mm_deadline_after_ms(PATIENCE_MS); kill(pid, 0) == 0; sleep_ms(1))
        assert_true(mm_monotonic_ns() < until);
}

/* Of the launcher, which has one. */
static pid_t only_child(pid_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *stream = fopen(path, "re");
    int child = 0;
    assert_non_null(stream);
    assert_int_equal(fscanf(stream, "%d", &child), 1);
    (void)fclose(stream);
    return child;
}

static void a_worker_ends_at_the_end_of_its_input_and_its_status_is_told(void **state)
{
    struct fixture *fixture = *state;
    int fd = -1;
    int status = 0;
    uint64_t worker = spawn(fixture, &fd);
    assert_false(mm_launcher_reap(fixture->launcher, worker, &status));
    (void)close(fd);
    status = reap(fixture, worker);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == MM_EXIT_FAILURE);
}

static void a_worker_is_killed_when_told(void **state)
{
    struct fixture *fixture = *state;
    mm_cleanup(mm_close) int first = -1;
    mm_cleanup(mm_close) int second = -1;
    uint64_t worker = spawn(fixture, &first);
    uint64_t other = spawn(fixture, &second);
    assert_int_not_equal(worker, other);
    mm_launcher_kill(fixture->launcher, worker);
    int status = reap(fixture, worker);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(mm_launcher_reap(fixture->launcher, other, &status));
}

static void a_number_is_never_used_twice(void **state)
{
    struct fixture *fixture = *state;
    uint64_t last = 0;
    for (int i = 0; i < 5; i++) {
        mm_cleanup(mm_close) int fd = -1;
        uint64_t worker = spawn(fixture, &fd);
        assert_true(worker > last);
        mm_launcher_kill(fixture->launcher, last); /* hits nobody */
        int status = 0;
        assert_true(last == 0 || mm_launcher_reap(fixture->launcher, last, &status));
        assert_false(mm_launcher_reap(fixture->launcher, worker, &status));
        mm_launcher_kill(fixture->launcher, worker);
        (void)reap(fixture, worker);
        last = worker;
    }
}

static void only_what_was_configured_can_be_started(void **state)
{
    struct fixture *fixture = *state;
    refuses_to_spawn(fixture, 1, "may run");
    refuses_to_spawn(fixture, UINT32_MAX, "may run");
    int first = -1;
    mm_cleanup(mm_close) int second = -1;
    mm_cleanup(mm_close) int third = -1;
    uint64_t worker = spawn(fixture, &first);
    (void)spawn(fixture, &second);
    refuses_to_spawn(fixture, 0, "may run");
    (void)close(first);
    (void)reap(fixture, worker);
    (void)spawn(fixture, &third);
}

static void a_missing_program_is_named(void **state)
{
    struct fixture *fixture = *state;
    mm_launcher_stop(fixture->launcher);
    fixture->spec.program = "/nonexistent/mintmark-hsm";
    fixture->launcher = mm_launcher_start(&fixture->spec, 1, NULL);
    refuses_to_spawn(fixture, 0, "/nonexistent/mintmark-hsm");
}

static void the_launcher_sees_its_workers_out_and_ends(void **state)
{
    struct fixture *fixture = *state;
    pid_t launcher = mm_launcher_pid(fixture->launcher);
    mm_cleanup(mm_close) int fd = -1;
    (void)spawn(fixture, &fd);
    pid_t worker = only_child(launcher);
    mm_launcher_stop(MM_TAKE(fixture->launcher));
    /* It waits for a worker that may be logging in. */
    assert_int_equal(kill(launcher, 0), 0);
    (void)close(fd);
    fd = -1;
    assert_int_equal(waitpid(launcher, NULL, 0), launcher);
    ends(worker);
}

static void without_a_launcher_nothing_starts_and_everything_is_gone(void **state)
{
    struct fixture *fixture = *state;
    struct mm_launched orphan = launch(fixture);
    assert_int_equal(kill(mm_launcher_pid(fixture->launcher), SIGKILL), 0);
    refuses_to_spawn(fixture, 0, "gone");
    int status = 0;
    assert_true(mm_launcher_reap(fixture->launcher, orphan.worker, &status));
    assert_true(WIFSIGNALED(status));
    mm_launcher_kill(fixture->launcher, orphan.worker);
    assert_int_equal(close(orphan.fd), 0);
    ends(orphan.pid);
}

static void a_launcher_that_hangs_is_killed(void **state)
{
    struct fixture *fixture = *state;
    pid_t launcher = mm_launcher_pid(fixture->launcher);
    assert_int_equal(kill(launcher, SIGSTOP), 0);
    refuses_to_spawn(fixture, 0, "gone");
    int status = 0;
    assert_int_equal(waitpid(launcher, &status, 0), launcher);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The descriptor of mintmarkd's end: the only socket that this program has. */
static int socket_of_ours(void)
{
    for (int fd = 3; fd < 64; fd++) {
        int type = 0;
        socklen_t length = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET)
            return fd;
    }
    fail_msg("no socket");
    return -1;
}

static void a_request_that_is_none_ends_the_launcher(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t unknown[2] = {99, 1};
    const struct {
        const void *bytes;
        size_t length;
    } requests[] = {{"x", 1}, {unknown, sizeof unknown}, {fixture, 64}, {"", 0}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(requests); i++) {
        assert_true(send(socket_of_ours(), requests[i].bytes, requests[i].length, 0) >= 0);
        int status = -1;
        assert_int_equal(waitpid(mm_launcher_pid(fixture->launcher), &status, 0), mm_launcher_pid(fixture->launcher));
        assert_int_equal(status, 0);
        mm_launcher_stop(fixture->launcher);
        fixture->launcher = mm_launcher_start(&fixture->spec, 1, NULL);
        assert_non_null(fixture->launcher);
    }
}

/* Until undone by setting `before` again. */
static void let_no_descriptor_be_free(struct rlimit *ret_before)
{
    int lowest = dup(STDERR_FILENO);
    assert_true(lowest >= 0);
    (void)close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)lowest, .rlim_max = ret_before->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void a_worker_whose_socket_cannot_be_taken_is_reaped_and_counts_no_more(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit before;
    let_no_descriptor_be_free(&before);
    for (size_t i = 0; i < 2 * fixture->spec.n_workers; i++)
        refuses_to_spawn(fixture, 0, "socket");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    mm_cleanup(mm_close) int first = -1;
    mm_cleanup(mm_close) int second = -1;
    (void)spawn(fixture, &first);
    (void)spawn(fixture, &second);
}

static void a_launcher_that_answers_something_else_is_killed(void **state)
{
    struct fixture *fixture = *state;
    pid_t launcher = mm_launcher_pid(fixture->launcher);
    /* A reap of nobody, whose reply is there when the next request's is waited for. */
    const struct {
        uint32_t kind;
        uint32_t spec;
        uint64_t worker;
    } reap_nobody = {3, 0, 99};
    assert_int_equal(send(socket_of_ours(), &reap_nobody, sizeof reap_nobody, 0), sizeof reap_nobody);
    refuses_to_spawn(fixture, 0, "gone");
    int status = 0;
    assert_int_equal(waitpid(launcher, &status, 0), launcher);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_worker_ends_at_the_end_of_its_input_and_its_status_is_told),
        TEST(a_worker_is_killed_when_told),
        TEST(a_number_is_never_used_twice),
        TEST(only_what_was_configured_can_be_started),
        TEST(a_missing_program_is_named),
        TEST(the_launcher_sees_its_workers_out_and_ends),
        TEST(without_a_launcher_nothing_starts_and_everything_is_gone),
        TEST(a_launcher_that_hangs_is_killed),
        TEST(a_request_that_is_none_ends_the_launcher),
        TEST(a_worker_whose_socket_cannot_be_taken_is_reaped_and_counts_no_more),
        TEST(a_launcher_that_answers_something_else_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
