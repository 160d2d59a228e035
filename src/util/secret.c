/* SPDX-License-Identifier: Apache-2.0 */
#include "util/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct mm_secret {
    size_t length;
    char bytes[MM_SECRET_MAX + 3]; /* room for CR LF and a NUL */
};

static struct mm_secret *allocate(struct mm_error *err)
{
    struct mm_secret *secret = mmap(NULL, sizeof *secret, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret == MAP_FAILED) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (mlock(secret, sizeof *secret) != 0) {
        (void)mm_fail(err, MM_FILE, "a secret can't be locked in memory: %s; raise RLIMIT_MEMLOCK", strerror(errno));
        (void)munmap(secret, sizeof *secret);
        return NULL;
    }
    (void)madvise(secret, sizeof *secret, MADV_DONTDUMP);
    (void)madvise(secret, sizeof *secret, MADV_WIPEONFORK);
    return secret;
}

void mm_secret_free(struct mm_secret *secret)
{
    if (!secret)
        return;
    explicit_bzero(secret, sizeof *secret);
    (void)munmap(secret, sizeof *secret);
}

static bool read_all(int fd, struct mm_secret *secret, const char *what, struct mm_error *err)
{
    bool seekable = lseek(fd, 0, SEEK_CUR) >= 0;
    while (secret->length < MM_SECRET_MAX + 2) {
        char *at = secret->bytes + secret->length;
        size_t room = MM_SECRET_MAX + 2 - secret->length;
        ssize_t n = seekable ? pread(fd, at, room, (off_t)secret->length) : read(fd, at, room);
        if (n == 0)
            return true;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail(err, MM_FILE, "%s: %s", what, strerror(errno));
        secret->length += (size_t)n;
    }
    return true;
}

static void strip_newline(struct mm_secret *secret)
{
    if (secret->length && secret->bytes[secret->length - 1] == '\n')
        secret->length--;
    if (secret->length && secret->bytes[secret->length - 1] == '\r')
        secret->length--;
    secret->bytes[secret->length] = '\0';
}

struct mm_secret *mm_secret_read(int fd, const char *what, struct mm_error *err)
{
    mm_cleanup(mm_secret_free) struct mm_secret *secret = allocate(err);
    if (!secret || !read_all(fd, secret, what, err))
        return NULL;
    strip_newline(secret);
    if (!secret->length || secret->length > MM_SECRET_MAX) {
        (void)mm_fail(err, MM_FILE, "%s: %s", what, secret->length ? "longer than 1024 bytes" : "empty");
        return NULL;
    }
    if (strlen(secret->bytes) != secret->length) {
        (void)mm_fail(err, MM_FILE, "%s: holds a NUL byte", what);
        return NULL;
    }
    return MM_TAKE(secret);
}

struct mm_secret *mm_secret_new(const void *data, size_t length, struct mm_error *err)
{
    if (!length || length > MM_SECRET_MAX) {
        (void)mm_fail(err, MM_FILE, "secret: empty or longer than 1024 bytes");
        return NULL;
    }
    struct mm_secret *secret = allocate(err);
    if (!secret)
        return NULL;
    memcpy(secret->bytes, data, length);
    secret->length = length;
    return secret;
}

const char *mm_secret_string(const struct mm_secret *secret)
{
    return secret->bytes;
}

size_t mm_secret_length(const struct mm_secret *secret)
{
    return secret->length;
}
