/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/token_text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "token/jws.h"

/* All of `fd` into `text`, up to `size` bytes. */
static bool read_text(int fd, const char *name, char *text, size_t size, size_t *ret_length, struct mm_error *err)
{
    size_t length = 0;
    while (length < size) {
        ssize_t n = read(fd, text + length, size - length);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return mm_fail(err, MM_FILE, "%s: %s", name, strerror(errno));
        length += n > 0 ? (size_t)n : 0;
    }
    *ret_length = length;
    return true;
}

char *mm_cli_read_token(const char *file, struct mm_error *err)
{
    bool is_stdin = strcmp(file, "-") == 0;
    const char *name = is_stdin ? "standard input" : file;
    if (is_stdin && isatty(STDIN_FILENO))
        (void)fputs("Paste the token, then Enter and Ctrl-D:\n", stderr);
    mm_cleanup(mm_close) int fd = is_stdin ? dup(STDIN_FILENO) : open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        (void)mm_fail(err, MM_FILE, "%s: %s", name, strerror(errno));
        return NULL;
    }
    char text[MM_JWT_MAX + 64]; /* longer than a JWT may be, so that the parser says so */
    size_t length = 0;
    if (!read_text(fd, name, text, sizeof text, &length, err))
        return NULL;
    if (memchr(text, '\0', length)) {
        (void)mm_fail(err, MM_TOKEN_INVALID, "%s: not a token: it holds a NUL byte", name);
        return NULL;
    }
    const char *start = text;
    for (; length > 0 && isspace((unsigned char)*start); start++)
        length--;
    while (length > 0 && isspace((unsigned char)start[length - 1]))
        length--;
    char *token = strndup(start, length);
    if (!token)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return token;
}
