/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What addresses have done lately that nobody should do often: failed to authenticate, and had lines logged about them. Whoever fails too
 * often waits for the answer that it failed, longer each time; whoever authenticates never comes here, so that nobody who shares an address
 * with an attacker waits for anything. Of a fixed size: of more addresses than fit, those with the fewest failures are forgotten.
 */
#ifndef MM_HTTP_ADDRESSES_H
#define MM_HTTP_ADDRESSES_H

#include "crypto/digest.h"
#include "http/admission.h"

struct mm_addresses; /* opaque; safe to use from many threads */

MM_MUST_USE struct mm_addresses *mm_addresses_new(const struct mm_random *random, struct mm_error *err);

/* NULL is allowed. */
void mm_addresses_free(struct mm_addresses *addresses);
MM_DEFINE_CLEANUP(struct mm_addresses, mm_addresses_free);

struct mm_failure_limits {
    int64_t per_minute; /* so many failures of one address are answered at once, and so many more each minute */
    int64_t held_of_address;
    int64_t held; /* answers that are held back at once, in all */
};

enum mm_failure_verdict {
    MM_FAILURE_ANSWERED,    /* at once */
    MM_FAILURE_HELD,        /* after a while; until mm_addresses_release() it counts as held */
    MM_FAILURE_TURNED_AWAY, /* too many are held: not worth an answer */
};

/* The shortest and the longest that an answer is held back. */
enum { MM_FAILURE_DELAY_MIN_MS = 1000, MM_FAILURE_DELAY_MAX_MS = 8000 };

/* Count a failure at `now_ns` (monotonic); `ret_delay_ms` for how long its answer is to be held back, 0 if it isn't. */
enum mm_failure_verdict mm_addresses_fail(struct mm_addresses *addresses, const struct mm_address_key *key,
                                          const struct mm_failure_limits *limits, int64_t now_ns,
                                          int64_t *ret_delay_ms);

/* The answer that MM_FAILURE_HELD was about has been given. */
void mm_addresses_release(struct mm_addresses *addresses, const struct mm_address_key *key);

/* Whether a line about a request from there may be logged. One that may not is counted. */
MM_MUST_USE bool mm_addresses_may_log(struct mm_addresses *addresses, const struct mm_address_key *key, int64_t now_ns);

struct mm_left_out {
    int64_t lines;
    char address[MM_ADDRESS_TEXT_MAX]; /* the one with the most of them, as far as that is known; "" if it isn't */
    int64_t of_address;
};

/* What was left out, a minute after the first of it (INT64_MAX: now); then it is counted anew. False: nothing, or not yet. */
bool mm_addresses_take_left_out(struct mm_addresses *addresses, int64_t now_ns, struct mm_left_out *ret_left_out);

struct mm_slowed {
    char address[MM_ADDRESS_TEXT_MAX];
    int64_t n_failures; /* beyond what is answered at once */
    int64_t n_held;
};

/* The addresses whose failures are held back just now, the worst first, into `ret_slowed` of `max`; how many there are in it. */
size_t mm_addresses_slowed(struct mm_addresses *addresses, int64_t per_minute, int64_t now_ns,
                           struct mm_slowed *ret_slowed, size_t max);

#endif
