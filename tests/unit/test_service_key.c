/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many keys the service can have made, against a SoftHSM2: by workers that are started together and killed at the worst moment, as
 * whoever has taken over mintmarkd would do it. Each worker is a process of its own.
 */
#include "hsm/service_key.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hsm/cryptoki.h"
#include "tests/support/softhsm.h"

enum { N_WORKERS = 4, OVERLAP_MS = 300, NOT_MADE = 100 };

static CK_C_GenerateKeyPair real_generate;

/* Not before all others have counted; and then nobody counts once more. */
static CK_RV generate_and_die(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public,
                              CK_ULONG n_public, CK_ATTRIBUTE *private, CK_ULONG n_private,
                              CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    (void)poll(NULL, 0, OVERLAP_MS);
    CK_RV rv = real_generate(session, mechanism, public, n_public, private, n_private, public_key, private_key);
    if (rv == CKR_OK)
        (void)raise(SIGKILL);
    return rv;
}

enum fate { LIVES, DIES };

struct worker {
    pid_t pid;
    int socket; /* the test's end: a byte comes when it is logged in, one that is sent lets it generate */
};

/* What the process does; its exit status is NOT_MADE and the code of what went wrong, 0 for a key. */
static int work(const struct softhsm *softhsm, enum fate fate, int socket)
{
    char go = 0;
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(SOFTHSM_PIN, strlen(SOFTHSM_PIN), NULL);
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_module_open(&softhsm->config, pin, MM_MODULE_CUSTODY, NULL, &err);
    if (!module || write(socket, "1", 1) != 1 || read(socket, &go, 1) != 1)
        return 1;
    if (fate == DIES) {
        real_generate = mm_module_functions(module)->C_GenerateKeyPair;
        mm_module_functions(module)->C_GenerateKeyPair = generate_and_die;
    }
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key =
        mm_service_key_generate(module, &softhsm->config, MM_ES256, &err);
    return key ? 0 : NOT_MADE + (int)err.code;
}

/* Returns once it is logged in: SoftHSM2's logins get in each other's way. */
static struct worker start(const struct softhsm *softhsm, enum fate fate)
{
    int sockets[2];
    char ready = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    (void)fflush(NULL);
    struct worker worker = {.pid = fork(), .socket = sockets[0]};
    assert_true(worker.pid >= 0);
    if (worker.pid == 0) {
        (void)close(sockets[0]);
        _exit(work(softhsm, fate, sockets[1]));
    }
    (void)close(sockets[1]);
    assert_int_equal(read(worker.socket, &ready, 1), 1);
    return worker;
}

static void let_generate(const struct worker *worker)
{
    assert_int_equal(write(worker->socket, "1", 1), 1);
}

static int wait_for(const struct worker *worker)
{
    int status = 0;
    assert_int_equal(waitpid(worker->pid, &status, 0), worker->pid);
    (void)close(worker->socket);
    return status;
}

static bool made_one(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool failed_with(int status, enum mm_code code)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == NOT_MADE + (int)code;
}

/* How many keys the HSM token holds, seen by a process that ends again. */
static int count(const struct softhsm *softhsm)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        size_t n = 0;
        mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
        mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(SOFTHSM_PIN, strlen(SOFTHSM_PIN), NULL);
        mm_cleanup(mm_module_close) struct mm_module *module =
            mm_module_open(&softhsm->config, pin, MM_MODULE_SIGN, NULL, NULL);
        _exit(module && mm_hsm_key_list(module, &infos, &n, NULL) ? (int)n : NOT_MADE);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != NOT_MADE);
    return WEXITSTATUS(status);
}

static int set_up(void **state)
{
    struct softhsm *softhsm = malloc(sizeof *softhsm);
    assert_non_null(softhsm);
    softhsm_make(softhsm, "mintmark");
    softhsm_write(softhsm, "pin", SOFTHSM_PIN "\n");
    softhsm->config.name = strdup("primary");
    softhsm->config.service_keys = 2;
    assert_true(asprintf(&softhsm->config.pin_path, "%s/pin", softhsm->folder) > 0);
    *state = softhsm;
    return 0;
}

static int tear_down(void **state)
{
    struct softhsm *softhsm = *state;
    free(softhsm->config.name);
    free(softhsm->config.pin_path);
    softhsm_remove(softhsm);
    free(softhsm);
    return 0;
}

static void without_pin_file(struct softhsm *softhsm)
{
    free(softhsm->config.pin_path);
    softhsm->config.pin_path = NULL;
}

static void assert_killed_workers_keep_to_the_limit(const struct softhsm *softhsm)
{
    struct worker workers[N_WORKERS];
    int n_killed = 0;
    int n_refused = 0;
    for (size_t i = 0; i < N_WORKERS; i++)
        workers[i] = start(softhsm, DIES);
    for (size_t i = 0; i < N_WORKERS; i++)
        let_generate(&workers[i]);
    for (size_t i = 0; i < N_WORKERS; i++) {
        int status = wait_for(&workers[i]);
        n_killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        n_refused += failed_with(status, MM_KEY_LIMIT);
    }
    assert_int_equal(n_killed, 2);
    assert_int_equal(n_refused, N_WORKERS - 2);
    assert_int_equal(count(softhsm), 2);
}

static void workers_killed_as_soon_as_there_is_a_key_make_no_more_than_are_allowed(void **state)
{
    assert_killed_workers_keep_to_the_limit(*state);
}

static void nor_do_they_where_no_file_holds_a_pin(void **state)
{
    without_pin_file(*state);
    assert_killed_workers_keep_to_the_limit(*state);
}

static void who_is_at_it_is_waited_for(void **state)
{
    const struct softhsm *softhsm = *state;
    int fd = open(softhsm->config.pin_path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    struct worker worker = start(softhsm, LIVES);
    let_generate(&worker);
    (void)poll(NULL, 0, 2 * OVERLAP_MS);
    assert_int_equal(waitpid(worker.pid, NULL, WNOHANG), 0);
    assert_int_equal(count(softhsm), 0);
    assert_int_equal(flock(fd, LOCK_UN), 0);
    assert_true(made_one(wait_for(&worker)));
    assert_int_equal(count(softhsm), 1);
    (void)close(fd);
}

/* One process that generates twice would wait for itself otherwise, and a service for a worker that hangs as it ends. */
static void the_lock_is_given_back_with_the_key_and_with_a_refusal(void **state)
{
    const struct softhsm *softhsm = *state;
    int fd = open(softhsm->config.pin_path, O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 3; i++) {
        struct worker worker = start(softhsm, LIVES);
        let_generate(&worker);
        int status = wait_for(&worker);
        assert_true(i < 2 ? made_one(status) : failed_with(status, MM_KEY_LIMIT));
        assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
        assert_int_equal(flock(fd, LOCK_UN), 0);
    }
    (void)close(fd);
}

static void without_the_lock_nothing_is_generated(void **state)
{
    const struct softhsm *softhsm = *state;
    assert_int_equal(unlink(softhsm->config.pin_path), 0);
    struct worker worker = start(softhsm, LIVES);
    let_generate(&worker);
    assert_true(failed_with(wait_for(&worker), MM_FILE));
    assert_int_equal(count(softhsm), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(workers_killed_as_soon_as_there_is_a_key_make_no_more_than_are_allowed),
        TEST(nor_do_they_where_no_file_holds_a_pin),
        TEST(who_is_at_it_is_waited_for),
        TEST(the_lock_is_given_back_with_the_key_and_with_a_refusal),
        TEST(without_the_lock_nothing_is_generated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
