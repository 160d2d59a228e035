/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes below TLS on one connection, in few system calls. GnuTLS asks for a record's header and its body one after the other: what is
 * there is read in one go. The library sends a reply's header and its body as two records: they leave in one packet.
 *
 * All of it belongs to the connection's own thread. What is kept here is ciphertext.
 */
#ifndef MM_HTTP_TRANSPORT_H
#define MM_HTTP_TRANSPORT_H

#include <sys/types.h>
#include <sys/uio.h>

#include "util/base.h"

enum { MM_TRANSPORT_HELD_MAX = 1024 };

struct mm_transport {
    int fd; /* a socket that doesn't block; borrowed */

    /* read ahead; NULL: nothing */
    uint8_t *ahead;
    size_t n_ahead;
    size_t n_taken;

    /* written, but not sent yet; NULL: nothing */
    uint8_t *held;
    size_t n_held;
    size_t n_awaited; /* of what is written next, so many bytes may be held */
};

struct mm_transport mm_transport_make(int fd);
void mm_transport_clear(struct mm_transport *transport);

/* As recv() without flags. */
ssize_t mm_transport_read(struct mm_transport *transport, void *data, size_t length);

/*
 * A reply with a body of `length` bytes, above 0, is written next: what can't contain the end of it, since it is no longer than that, may wait
 * for what follows.
 */
void mm_transport_await(struct mm_transport *transport, size_t length);

/* As writev(), but that a peer that is gone is only an error. */
ssize_t mm_transport_write(struct mm_transport *transport, const struct iovec *parts, size_t n);

#endif
