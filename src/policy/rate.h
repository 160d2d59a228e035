/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many tokens an account or a tenant may have in a while: `rate_limit` in a tenant's file and in its envelope. A token bucket: it holds
 * `burst` at most, and `per_minute` come back each minute, evenly. What it holds just now is issue/buckets'.
 */
#ifndef MM_POLICY_RATE_H
#define MM_POLICY_RATE_H

#include "util/json.h"
#include "util/schema.h"

enum { MM_RATE_MAX = 1000000 }; /* of either number */

struct mm_rate {
    int64_t per_minute; /* 0: no limit */
    int64_t burst;
};

/* The members of a `rate_limit`. */
extern const struct mm_schema MM_RATE_MEMBERS[];

/*
 * The limit that `json` (NULL: none) describes; without `burst` a minute's tokens at once. What the schema refused counts as no limit, so that
 * one mistake is reported once.
 */
struct mm_rate mm_rate_build(const json_t *json);

/* Whether whoever keeps to `inner` keeps to `outer`. No limit is within no limit only. */
bool mm_rate_is_within(const struct mm_rate *inner, const struct mm_rate *outer);

#endif
