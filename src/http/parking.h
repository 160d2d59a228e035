/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes that wait for their client. The library (0.9.75, with epoll) would ask such a connection for more bytes over and
 * over, a whole core's worth; so it is suspended, and one thread watches all of them for a byte or an end. However many wait,
 * they cost the threads that serve nothing. A parked connection can't go away before it is resumed.
 */
#ifndef MM_HTTP_PARKING_H
#define MM_HTTP_PARKING_H

#include <sys/queue.h>

#include "util/base.h"

struct MHD_Connection;
struct mm_parking; /* opaque */

/* One connection that may be parked; lives inside its owner, zeroed at first. */
struct mm_parked {
    struct MHD_Connection *mhd;
    int fd;
    bool is_known; /* its descriptor was parked before */

    /* guarded by the parking's lock */
    LIST_ENTRY(mm_parked) link;
};

MM_MUST_USE struct mm_parking *mm_parking_start(struct mm_error *err);

/*
 * Suspend the connection, on its own thread, until its descriptor has something to read, which a shutdown() has too. Without
 * effect after mm_parking_close(), or if the kernel can't watch it.
 */
void mm_parking_enter(struct mm_parking *parking, struct mm_parked *parked);

/* Resume every connection and park none any more. Before the library stops. */
void mm_parking_close(struct mm_parking *parking);

/* NULL is allowed. */
void mm_parking_free(struct mm_parking *parking);
MM_DEFINE_CLEANUP(struct mm_parking, mm_parking_free);

#endif
