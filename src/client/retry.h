/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long to wait before asking again: full jitter (a random time up to a bound that doubles), so that clients that failed together
 * don't come back together, and never less than the service asked for.
 */
#ifndef MM_CLIENT_RETRY_H
#define MM_CLIENT_RETRY_H

#include "crypto/digest.h"

/* A random number from 0 to `max`; 0 without entropy, which only costs the jitter. */
int64_t mm_random_up_to(const struct mm_random *random, int64_t max);

/* `floor_ms` and a random time up to `first_ms` * 2^(n_failures - 1), at most `most_ms`. `n_failures` from 1. */
int64_t mm_retry_delay_ms(const struct mm_random *random, unsigned n_failures, int64_t floor_ms, int64_t first_ms,
                          int64_t most_ms);

#endif
