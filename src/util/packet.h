/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets between a process and its fork, over a socketpair that keeps their bounds; each may carry one descriptor.
 */
#ifndef MM_UTIL_PACKET_H
#define MM_UTIL_PACKET_H

#include <sys/types.h>

#include "util/base.h"

/* Whether the caller waits for room or for a packet. */
enum mm_packet_wait { MM_PACKET_WAIT, MM_PACKET_AT_ONCE };

/* Two ends, closed on exec. False: errno says why. */
MM_MUST_USE bool mm_packet_pair(int ret_ends[2]);

/* Send one packet as a whole, with the descriptor `passed` (-1: none), which stays the caller's. False: errno says why. */
MM_MUST_USE bool mm_packet_send(int fd, const void *data, size_t length, int passed, enum mm_packet_wait wait);

/*
 * Receive one packet of at most `size` bytes and the descriptor that came with it, the caller's and closed on exec; -1 if none did, or there is no
 * descriptor free. Its length; 0: the other end is gone; -1: an error, or a packet that is longer.
 */
MM_MUST_USE ssize_t mm_packet_receive(int fd, void *data, size_t size, int *ret_passed, enum mm_packet_wait wait);

#endif
