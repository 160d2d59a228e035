/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one type that holds a secret (a PIN): its bytes are locked in memory (or not held at all: MM_FILE), kept out of core
 * dumps and of forks, and zeroed when freed.
 */
#ifndef MM_UTIL_SECRET_H
#define MM_UTIL_SECRET_H

#include "util/base.h"

enum { MM_SECRET_MAX = 1024 };

struct mm_secret; /* opaque */

/*
 * Read a secret from `fd`: with pread() from offset 0 where the descriptor can seek (so that a successor can read it
 * again), else to the end of the stream. One trailing newline (LF or CRLF) is stripped. Empty, or more than MM_SECRET_MAX
 * bytes, or with a NUL: MM_FILE, naming `what`, never the content.
 */
MM_MUST_USE struct mm_secret *mm_secret_read(int fd, const char *what, struct mm_error *err);

/* Copy `length` bytes into a new secret; the caller zeroes its own copy. */
MM_MUST_USE struct mm_secret *mm_secret_new(const void *data, size_t length, struct mm_error *err);

/* The secret as a NUL-terminated string, borrowed. */
const char *mm_secret_string(const struct mm_secret *secret);
size_t mm_secret_length(const struct mm_secret *secret);

/* Zero and free. NULL is allowed. */
void mm_secret_free(struct mm_secret *secret);

MM_DEFINE_CLEANUP(struct mm_secret, mm_secret_free);

#endif
