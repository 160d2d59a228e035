/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking for a PIN on a real terminal: a child with a pseudo-terminal of its own asks, the test types.
 */
#include "cli/pin.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

#include <cmocka.h>

#define PROMPT "PIN for HSM token primary: "

enum { GOT_THE_PIN = 0, GOT_ANOTHER = 1, GOT_NONE = 2 };

struct terminal {
    int fd;
    pid_t child;
    char shown[512]; /* all that the terminal showed */
    size_t length;
};

/* The child: exits with one of the statuses above. */
static int ask(void)
{
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_pin_ask("primary", &err);
    if (!pin)
        return err.code == MM_USAGE ? GOT_NONE : GOT_ANOTHER;
    return strcmp(mm_secret_string(pin), "47 11\xc3\xa9") == 0 ? GOT_THE_PIN : GOT_ANOTHER;
}

static void read_until(struct terminal *terminal, const char *text)
{
    while (!strstr(terminal->shown, text)) {
        ssize_t n =
            read(terminal->fd, terminal->shown + terminal->length, sizeof terminal->shown - 1 - terminal->length);
        assert_true(n > 0);
        terminal->length += (size_t)n;
        terminal->shown[terminal->length] = '\0';
    }
}

static bool has_echo(const struct terminal *terminal)
{
    struct termios now;
    assert_int_equal(tcgetattr(terminal->fd, &now), 0);
    return now.c_lflag & ECHO;
}

static struct terminal start(void)
{
    struct terminal terminal = {0};
    terminal.child = forkpty(&terminal.fd, NULL, NULL, NULL);
    assert_true(terminal.child >= 0);
    if (terminal.child == 0)
        _exit(ask());
    (void)alarm(20);
    read_until(&terminal, PROMPT);
    while (has_echo(&terminal)) /* the prompt comes just before */
        (void)usleep(1000);
    return terminal;
}

static void type(const struct terminal *terminal, const char *text)
{
    assert_int_equal(write(terminal->fd, text, strlen(text)), strlen(text));
}

static int finish(struct terminal *terminal)
{
    int status = -1;
    read_until(terminal, "\n");
    assert_int_equal(waitpid(terminal->child, &status, 0), terminal->child);
    (void)alarm(0);
    return status;
}

static void a_typed_pin_is_taken_and_never_shown(void **state)
{
    (void)state;
    struct terminal terminal = start();
    type(&terminal, "47 11\xc3\xa9\n");
    int status = finish(&terminal);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), GOT_THE_PIN);
    assert_string_equal(terminal.shown, PROMPT "\r\n");
    (void)close(terminal.fd);
}

static void an_empty_line_is_no_pin(void **state)
{
    (void)state;
    struct terminal terminal = start();
    type(&terminal, "\n");
    assert_int_equal(WEXITSTATUS(finish(&terminal)), GOT_NONE);
    (void)close(terminal.fd);
}

static void the_end_of_input_is_no_pin(void **state)
{
    (void)state;
    struct terminal terminal = start();
    type(&terminal, "\x04");
    assert_int_equal(WEXITSTATUS(finish(&terminal)), GOT_NONE);
    (void)close(terminal.fd);
}

static void an_interrupt_ends_the_process_with_the_echo_restored(void **state)
{
    (void)state;
    struct terminal terminal = start();
    int other_end = open(ptsname(terminal.fd), O_RDWR | O_NOCTTY); /* the settings live as long as it is open */
    assert_true(other_end >= 0);
    assert_false(has_echo(&terminal));
    type(&terminal, "47\x03");
    int status = finish(&terminal);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
    assert_true(has_echo(&terminal));
    (void)close(other_end);
    (void)close(terminal.fd);
}

static void without_a_terminal_the_options_are_named(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct mm_error err = {0};
        (void)setsid();
        struct mm_secret *pin = mm_pin_ask("primary", &err);
        _exit(!pin && err.code == MM_USAGE && strstr(err.message, "--pin-file") ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void assert_pin_file(mode_t mode, enum mm_code code)
{
    char path[] = "/tmp/mintmark-pin-XXXXXX";
    mm_cleanup(mm_close) int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "4711\n", 5), 5);
    assert_int_equal(fchmod(fd, mode), 0);
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_pin_from_file(path, &err);
    (void)unlink(path);
    assert_int_equal(err.code, code);
    if (code == MM_OK)
        assert_string_equal(mm_secret_string(pin), "4711");
}

static void a_pin_file_is_for_its_owner_alone(void **state)
{
    (void)state;
    assert_pin_file(0600, MM_OK);
    assert_pin_file(0400, MM_OK);
    assert_pin_file(0640, MM_FILE);
    assert_pin_file(0604, MM_FILE);
    assert_pin_file(0620, MM_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_typed_pin_is_taken_and_never_shown),
        cmocka_unit_test(an_empty_line_is_no_pin),
        cmocka_unit_test(the_end_of_input_is_no_pin),
        cmocka_unit_test(an_interrupt_ends_the_process_with_the_echo_restored),
        cmocka_unit_test(without_a_terminal_the_options_are_named),
        cmocka_unit_test(a_pin_file_is_for_its_owner_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
