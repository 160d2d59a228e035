/* SPDX-License-Identifier: Apache-2.0 */
/* The fetcher against a real, badly behaved server (tests/support/https_peer.py): what it gets, what it refuses, and that it ends. */
#include "fetch/fetcher.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fetch/answer.h"
#include "peer.h"
#include "util/buffer.h"
#include "util/clock.h"

enum { PATIENCE_MS = 30000 };

static struct mm_fetcher *start(const char *ca_file)
{
    char hosts[3][32];
    (void)snprintf(hosts[0], sizeof hosts[0], "localhost:%s", peer_port());
    (void)snprintf(hosts[1], sizeof hosts[1], "localhost:%s", peer_old_port());
    (void)snprintf(hosts[2], sizeof hosts[2], "127.0.0.1:%s", peer_port());
    const char *names[] = {hosts[0], hosts[1], hosts[2]};
    const struct mm_fetcher_options options = {names, 3, ca_file, MM_FETCHER_CONFINED};
    struct mm_error err = {0};
    struct mm_fetcher *fetcher = mm_fetcher_start(&options, &err);
    assert_string_equal(err.message, "");
    return fetcher;
}

static int set_up(void **state)
{
    *state = start(peer_file("ca.pem"));
    return 0;
}

static int tear_down(void **state)
{
    mm_fetcher_stop(*state);
    assert_int_equal(waitpid(-1, NULL, WNOHANG) <= 0, 1);
    return 0;
}

static int ask(struct mm_fetcher *fetcher, const char *url)
{
    struct mm_error err = {0};
    int fd = -1;
    if (!mm_fetcher_ask(fetcher, url, &fd, &err))
        fail_msg("%s", err.message);
    return fd;
}

/* What can be read from `fd` until its end. */
static struct mm_buffer read_answer(int fd)
{
    struct mm_buffer answer = mm_buffer_make(MM_FETCH_ANSWER_MAX);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    static uint8_t piece[65536];
    for (;;) {
        assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
        ssize_t n = read(fd, piece, sizeof piece);
        assert_true(n >= 0);
        if (n == 0)
            break;
        assert_true(mm_buffer_append(&answer, piece, (size_t)n, NULL));
    }
    (void)close(fd);
    return answer;
}

static void gets(struct mm_fetcher *fetcher, const char *url, const char *text, int64_t max_age)
{
    struct mm_error err = {0};
    struct mm_fetched fetched;
    mm_cleanup(mm_buffer_clear) struct mm_buffer answer = read_answer(ask(fetcher, url));
    if (!mm_fetch_answer_parse(answer.data, answer.length, &fetched, &err))
        fail_msg("%s: %s", url, err.message);
    assert_non_null(memmem(fetched.data, fetched.length, text, strlen(text)));
    assert_int_equal(fetched.max_age, max_age);
}

static void refuses(struct mm_fetcher *fetcher, const char *url, const char *why)
{
    struct mm_error err = {0};
    struct mm_fetched fetched;
    mm_cleanup(mm_buffer_clear) struct mm_buffer answer = read_answer(ask(fetcher, url));
    assert_false(mm_fetch_answer_parse(answer.data, answer.length, &fetched, &err));
    assert_int_equal(err.code, MM_UNREACHABLE);
    if (!strstr(err.message, why))
        fail_msg("%s: %s", url, err.message);
}

static void a_document_is_got_with_the_time_it_may_be_kept(void **state)
{
    gets(*state, peer_url("/echo"), "\"GET\"", MM_FETCH_AGE_UNSAID);
    gets(*state, peer_url("/kept"), "kept", 600);
    gets(*state, peer_url("/aged"), "aged", 100);
}

static void a_redirect_is_followed_within_the_origin_and_a_few_times(void **state)
{
    gets(*state, peer_url("/redirect"), "\"GET\"", MM_FETCH_AGE_UNSAID);
    refuses(*state, peer_url("/elsewhere"), "another origin"); /* though that is listed, too */
    refuses(*state, peer_url("/plain"), "another origin");
    refuses(*state, peer_url("/round"), "more than 3 redirects");
    refuses(*state, peer_url("/nowhere"), "nowhere");
}

static void what_is_too_large_is_no_document(void **state)
{
    refuses(*state, peer_url("/huge"), "larger than 1048576");
    refuses(*state, peer_url("/endless"), "larger than 1048576");
    refuses(*state, peer_url("/headers"), "header is larger than 65536");
}

static void only_a_whole_plain_200_is_a_document(void **state)
{
    refuses(*state, peer_url("/missing"), "status is 404");
    refuses(*state, peer_url("/empty"), "status is 204");
    refuses(*state, peer_url("/packed"), "compressed");
    refuses(*state, peer_url("/cut"), "");
    refuses(*state, peer_url("/hangup"), "");
}

static void only_listed_hosts_are_asked(void **state)
{
    char url[64];
    refuses(*state, "https://example.com/", "example.com isn't one of fetch.hosts");
    refuses(*state, "https://localhost/", "localhost isn't one of fetch.hosts");
    (void)snprintf(url, sizeof url, "https://localhost.:%s/echo", peer_port());
    int fd = -1;
    assert_false(mm_fetcher_ask(*state, url, &fd, NULL));
    (void)snprintf(url, sizeof url, "https://user@localhost:%s/echo", peer_port());
    assert_false(mm_fetcher_ask(*state, url, &fd, NULL));
    (void)snprintf(url, sizeof url, "http://localhost:%s/echo", peer_port());
    assert_false(mm_fetcher_ask(*state, url, &fd, NULL));
}

static void a_server_must_be_who_it_is(void **state)
{
    char url[64];
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%s/echo", peer_port());
    refuses(*state, url, "127.0.0.1"); /* which its certificate doesn't name */
    (void)snprintf(url, sizeof url, "https://localhost:%s/echo", peer_old_port());
    refuses(*state, url, ""); /* TLS 1.1 */
    mm_cleanup(mm_fetcher_stop) struct mm_fetcher *strict = start(peer_file("other.pem"));
    refuses(strict, peer_url("/echo"), "certificate");
    mm_cleanup(mm_fetcher_stop) struct mm_fetcher *system = start(NULL);
    refuses(system, peer_url("/echo"), "certificate");
}

static void the_environment_names_no_proxy(void **state)
{
    (void)state;
    assert_int_equal(setenv("https_proxy", "http://127.0.0.1:1", 1), 0);
    mm_cleanup(mm_fetcher_stop) struct mm_fetcher *fetcher = start(peer_file("ca.pem"));
    assert_int_equal(unsetenv("https_proxy"), 0);
    gets(fetcher, peer_url("/echo"), "\"GET\"", MM_FETCH_AGE_UNSAID);
}

static void one_that_is_slow_holds_up_no_other_and_there_are_not_too_many(void **state)
{
    int slow[MM_FETCHES_MAX];
    for (size_t i = 0; i + 1 < MM_FETCHES_MAX; i++)
        slow[i] = ask(*state, peer_url("/silent"));
    int64_t before_ns = mm_monotonic_ns();
    gets(*state, peer_url("/kept"), "kept", 600);
    assert_true(mm_monotonic_ns() - before_ns < 5000000000);
    slow[MM_FETCHES_MAX - 1] = ask(*state, peer_url("/silent"));
    refuses(*state, peer_url("/kept"), "ended without an answer");
    for (size_t i = 0; i < MM_FETCHES_MAX; i++)
        (void)close(slow[i]);
}

/* Its process, the first child of the fetcher's. */
static pid_t find_fetch(struct mm_fetcher *fetcher)
{
    char path[64];
    int pid = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", mm_fetcher_pid(fetcher), mm_fetcher_pid(fetcher));
    for (int64_t until = mm_deadline_after_ms(PATIENCE_MS); pid == 0 && mm_monotonic_ns() < until;) {
        FILE *stream = fopen(path, "re");
        assert_non_null(stream);
        if (fscanf(stream, "%d", &pid) != 1)
            pid = 0;
        (void)fclose(stream);
    }
    assert_true(pid > 0);
    return pid;
}

static void a_fetch_that_dies_is_a_failure_and_the_next_one_works(void **state)
{
    int fd = ask(*state, peer_url("/silent"));
    assert_int_equal(kill(find_fetch(*state), SIGKILL), 0);
    mm_cleanup(mm_buffer_clear) struct mm_buffer answer = read_answer(fd);
    assert_int_equal(answer.length, 0);
    gets(*state, peer_url("/kept"), "kept", 600);
}

static void the_fetcher_and_its_fetches_end_with_the_service(void **state)
{
    (void)state;
    struct mm_fetcher *fetcher = start(peer_file("ca.pem"));
    int fd = ask(fetcher, peer_url("/silent"));
    (void)find_fetch(fetcher);
    mm_fetcher_stop(fetcher);
    mm_cleanup(mm_buffer_clear) struct mm_buffer answer = read_answer(fd);
    assert_int_equal(answer.length, 0);
}

static void without_the_fetcher_nothing_can_be_asked(void **state)
{
    (void)state;
    struct mm_fetcher *fetcher = start(peer_file("ca.pem"));
    int fd = -1;
    struct mm_error err = {0};
    assert_int_equal(kill(mm_fetcher_pid(fetcher), SIGKILL), 0);
    assert_int_equal(waitpid(mm_fetcher_pid(fetcher), NULL, 0), mm_fetcher_pid(fetcher));
    assert_false(mm_fetcher_ask(fetcher, peer_url("/kept"), &fd, &err));
    assert_int_equal(err.code, MM_UNREACHABLE);
    mm_fetcher_stop(fetcher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_document_is_got_with_the_time_it_may_be_kept),
        TEST(a_redirect_is_followed_within_the_origin_and_a_few_times),
        TEST(what_is_too_large_is_no_document),
        TEST(only_a_whole_plain_200_is_a_document),
        TEST(only_listed_hosts_are_asked),
        TEST(a_server_must_be_who_it_is),
        TEST(the_environment_names_no_proxy),
        TEST(one_that_is_slow_holds_up_no_other_and_there_are_not_too_many),
        TEST(a_fetch_that_dies_is_a_failure_and_the_next_one_works),
        TEST(the_fetcher_and_its_fetches_end_with_the_service),
        TEST(without_the_fetcher_nothing_can_be_asked),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, peer_start, peer_stop);
}
