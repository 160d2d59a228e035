/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/transport.h"

enum { LONG = 256 * 1024 };

struct pair {
    struct mm_transport transport;
    int theirs;
};

static int make_pair(void **state)
{
    int fds[2];
    struct pair *pair = calloc(1, sizeof *pair);
    assert_non_null(pair);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    pair->transport = mm_transport_make(fds[0]);
    pair->theirs = fds[1];
    *state = pair;
    return 0;
}

static int close_pair(void **state)
{
    struct pair *pair = *state;
    mm_transport_clear(&pair->transport);
    (void)close(pair->transport.fd);
    if (pair->theirs >= 0)
        (void)close(pair->theirs);
    free(pair);
    return 0;
}

static ssize_t put(struct pair *pair, const char *text)
{
    char copy[64];
    const struct iovec part = {copy, strlen(text)};
    assert_true(part.iov_len < sizeof copy);
    memcpy(copy, text, part.iov_len);
    return mm_transport_write(&pair->transport, &part, 1);
}

static void assert_arrived(const struct pair *pair, const char *expected)
{
    char arrived[64] = "";
    ssize_t n = recv(pair->theirs, arrived, sizeof arrived - 1, 0);
    assert_int_equal(n, strlen(expected) ? (ssize_t)strlen(expected) : -1);
    assert_string_equal(arrived, expected);
}

static void what_is_there_is_read_in_one_go(void **state)
{
    struct pair *pair = *state;
    char byte;
    char text[16] = "";
    assert_int_equal(send(pair->theirs, "headbody", 8, 0), 8);
    assert_int_equal(mm_transport_read(&pair->transport, text, 4), 4);
    assert_int_equal(recv(pair->transport.fd, &byte, 1, 0), -1);
    assert_int_equal(mm_transport_read(&pair->transport, text + 4, 1), 1);
    assert_int_equal(mm_transport_read(&pair->transport, text + 5, 10), 3);
    assert_string_equal(text, "headbody");
}

static void more_than_is_read_ahead_comes_in_order(void **state)
{
    struct pair *pair = *state;
    uint8_t sent[10000], read[10000];
    size_t n = 0;
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (uint8_t)(i * 7 % 251);
    assert_int_equal(send(pair->theirs, sent, sizeof sent, 0), sizeof sent);
    for (size_t want = 5; n < sizeof read; want = want == 5 ? 700 : 5) {
        ssize_t got = mm_transport_read(&pair->transport, read + n, want < sizeof read - n ? want : sizeof read - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    assert_memory_equal(read, sent, sizeof sent);
}

static void an_empty_socket_and_the_end_of_one_are_told(void **state)
{
    struct pair *pair = *state;
    char text[4];
    errno = 0;
    assert_int_equal(mm_transport_read(&pair->transport, text, sizeof text), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(send(pair->theirs, "xyz", 3, 0), 3);
    assert_int_equal(shutdown(pair->theirs, SHUT_WR), 0);
    assert_int_equal(mm_transport_read(&pair->transport, text, 1), 1);
    assert_int_equal(mm_transport_read(&pair->transport, text, sizeof text), 2);
    assert_int_equal(mm_transport_read(&pair->transport, text, sizeof text), 0);
}

static void a_replys_header_leaves_with_its_body(void **state)
{
    struct pair *pair = *state;
    mm_transport_await(&pair->transport, 10);
    assert_int_equal(put(pair, "header:"), 7);
    assert_arrived(pair, "");
    assert_int_equal(put(pair, "0123456789"), 10);
    assert_arrived(pair, "header:0123456789");
    assert_int_equal(put(pair, "next"), 4);
    assert_arrived(pair, "next");
}

static void what_may_hold_the_whole_body_is_sent_at_once(void **state)
{
    struct pair *pair = *state;
    mm_transport_await(&pair->transport, 10);
    assert_int_equal(put(pair, "h:0123456789"), 12);
    assert_arrived(pair, "h:0123456789");
    mm_transport_await(&pair->transport, 10);
    assert_int_equal(put(pair, "header:"), 7);
    assert_int_equal(put(pair, "0123"), 4); /* and with this, what was written could */
    assert_arrived(pair, "header:0123");
    assert_int_equal(put(pair, "456789"), 6);
    assert_arrived(pair, "456789");
}

static void without_a_body_nothing_waits(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(put(pair, "header"), 6);
    assert_arrived(pair, "header");
}

static void only_so_much_is_held(void **state)
{
    struct pair *pair = *state;
    static char header[MM_TRANSPORT_HELD_MAX + 1];
    const struct iovec part = {header, sizeof header};
    mm_transport_await(&pair->transport, LONG);
    assert_int_equal(mm_transport_write(&pair->transport, &part, 1), sizeof header);
    static char arrived[sizeof header + 1];
    assert_int_equal(recv(pair->theirs, arrived, sizeof arrived, 0), sizeof header);
}

/* The whole of `text` as the peer finds it, through a socket that takes a part at a time. */
static size_t pump(struct pair *pair, uint8_t *text, size_t length, uint8_t *arrived, size_t size)
{
    size_t n_written = 0, n_arrived = 0;
    while (n_written < length || n_arrived < size) {
        const struct iovec part = {text + n_written, length - n_written};
        ssize_t n = n_written < length ? mm_transport_write(&pair->transport, &part, 1) : 0;
        assert_true(n >= 0 || errno == EAGAIN);
        n_written += n > 0 ? (size_t)n : 0;
        n = recv(pair->theirs, arrived + n_arrived, 100 < size - n_arrived ? 100 : size - n_arrived, 0);
        n_arrived += n > 0 ? (size_t)n : 0;
        if (n <= 0 && n_written == length)
            break;
    }
    return n_arrived;
}

static void a_full_socket_loses_and_repeats_nothing(void **state)
{
    struct pair *pair = *state;
    static uint8_t body[LONG], arrived[LONG + 6];
    static const uint8_t FILLER[4096];
    size_t n_filler = 0;
    ssize_t n;
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 13 % 251);
    while ((n = send(pair->transport.fd, FILLER, sizeof FILLER, 0)) > 0) /* nothing of what is held goes at first */
        n_filler += (size_t)n;
    mm_transport_await(&pair->transport, sizeof body);
    assert_int_equal(put(pair, "header"), 6);
    const struct iovec part = {body, sizeof body};
    assert_int_equal(mm_transport_write(&pair->transport, &part, 1), -1);
    assert_int_equal(errno, EAGAIN);
    for (; n_filler > 0; n_filler -= (size_t)n) {
        n = recv(pair->theirs, arrived, n_filler < sizeof arrived ? n_filler : sizeof arrived, 0);
        assert_true(n > 0);
    }
    assert_int_equal(pump(pair, body, sizeof body, arrived, sizeof arrived), sizeof arrived);
    assert_memory_equal(arrived, "header", 6);
    assert_memory_equal(arrived + 6, body, sizeof body);
}

static void a_peer_that_is_gone_is_an_error(void **state)
{
    struct pair *pair = *state;
    (void)close(pair->theirs);
    pair->theirs = -1;
    assert_int_equal(put(pair, "anybody?"), -1);
    assert_int_equal(errno, EPIPE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_pair, close_pair)
    const struct CMUnitTest tests[] = {
        TEST(what_is_there_is_read_in_one_go),
        TEST(more_than_is_read_ahead_comes_in_order),
        TEST(an_empty_socket_and_the_end_of_one_are_told),
        TEST(a_replys_header_leaves_with_its_body),
        TEST(what_may_hold_the_whole_body_is_sent_at_once),
        TEST(without_a_body_nothing_waits),
        TEST(only_so_much_is_held),
        TEST(a_full_socket_loses_and_repeats_nothing),
        TEST(a_peer_that_is_gone_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
