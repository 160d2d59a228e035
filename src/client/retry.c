/* SPDX-License-Identifier: Apache-2.0 */
#include "client/retry.h"

int64_t mm_random_up_to(const struct mm_random *random, int64_t max)
{
    uint64_t value = 0;
    if (max <= 0 || !random->fill(random->context, &value, sizeof value))
        return 0;
    /* The bias of a remainder is far below what a clock can tell. */
    return (int64_t)(value % ((uint64_t)max + 1));
}

int64_t mm_retry_delay_ms(const struct mm_random *random, unsigned n_failures, int64_t floor_ms, int64_t first_ms,
                          int64_t most_ms)
{
    int64_t bound = first_ms;
    for (unsigned i = 1; i < n_failures && bound < most_ms; i++)
        bound *= 2;
    return floor_ms + mm_random_up_to(random, bound < most_ms ? bound : most_ms);
}
