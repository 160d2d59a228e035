/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part of a test in a child of its own, for what nothing could undo afterwards.
 */
#ifndef MM_TESTS_IN_CHILD_H
#define MM_TESTS_IN_CHILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* In such a `body`, where cmocka's assertions would go on in the child. */
#define CHECK(condition) \
    if (!(condition)) \
    return __LINE__ % 250 + 1

/* The number that `body` returns, 0 for success, or the line (modulo 250) of the CHECK() that failed. */
static inline int in_child(int (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#endif
