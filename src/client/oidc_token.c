/* SPDX-License-Identifier: Apache-2.0 */
#include "client/oidc_token.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct mm_oidc_token *mm_oidc_token_new(struct mm_error *err)
{
    struct mm_oidc_token *token = calloc(1, sizeof *token);
    if (!token)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return token;
}

void mm_oidc_token_free(struct mm_oidc_token *token)
{
    if (token)
        explicit_bzero(token, sizeof *token);
    free(token);
}

bool mm_is_compact_jwt(const char *text)
{
    static const char BASE64URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int part = 0; part < 3; part++) {
        size_t length = strspn(text, BASE64URL);
        if (length == 0 || text[length] != (part < 2 ? '.' : '\0'))
            return false;
        text += length + 1;
    }
    return true;
}

/* Without its newline, if it has one. */
static size_t length_of_line(const char *text, size_t length)
{
    if (length > 0 && text[length - 1] == '\n')
        length--;
    return length > 0 && text[length - 1] == '\r' ? length - 1 : length;
}

bool mm_oidc_token_read(int fd, const char *what, struct mm_oidc_token *token, struct mm_error *err)
{
    size_t length = 0;
    ssize_t n;
    do {
        n = read(fd, token->text + length, sizeof token->text - length);
        length += n > 0 ? (size_t)n : 0;
    } while ((n > 0 && length < sizeof token->text) || (n < 0 && errno == EINTR));
    if (n < 0)
        return mm_fail(err, MM_FILE, "%s: %s", what, strerror(errno));
    if (length == sizeof token->text)
        return mm_fail(err, MM_FILE, "%s: an OIDC token has %d bytes at most", what, MM_CLIENT_OIDC_TOKEN_MAX);
    bool has_nul = memchr(token->text, '\0', length) != NULL;
    token->text[length_of_line(token->text, length)] = '\0';
    return (!has_nul && mm_is_compact_jwt(token->text)) || mm_fail(err, MM_FILE, "%s: holds no JWT", what);
}

bool mm_oidc_token_from_file(const char *path, struct mm_oidc_token *token, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return mm_fail(err, MM_FILE, "%s: not a regular file", path);
    return mm_oidc_token_read(fd, path, token, err);
}

bool mm_oidc_token_copy(const char *text, const char *what, struct mm_oidc_token *token, struct mm_error *err)
{
    size_t length = strnlen(text, sizeof token->text);
    if (length == sizeof token->text || !mm_is_compact_jwt(text))
        return mm_fail(err, MM_USAGE, "%s: holds no JWT of at most %d bytes", what, MM_CLIENT_OIDC_TOKEN_MAX);
    memcpy(token->text, text, length + 1);
    return true;
}
