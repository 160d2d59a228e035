/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many tokens accounts and tenants have had lately: a token bucket for each that has a rate limit. Over any time t no more than burst +
 * per_minute * t are let through, however many threads ask. A bucket is known by its owner's name, not by the policy that it was asked under, so
 * that a reload refills none; one that is full again is no different from none and is forgotten. So memory is bounded by the accounts that were
 * let through lately, and only those who authenticated are ever asked for.
 */
#ifndef MM_ISSUE_BUCKETS_H
#define MM_ISSUE_BUCKETS_H

#include "policy/policy.h"

struct mm_buckets; /* opaque; safe to use from many threads */

MM_MUST_USE struct mm_buckets *mm_buckets_new(struct mm_error *err);

/* NULL is allowed. */
void mm_buckets_free(struct mm_buckets *buckets);
MM_DEFINE_CLEANUP(struct mm_buckets, mm_buckets_free);

/* How it stands with the limit that is closest: what RateLimit fields tell. */
struct mm_rate_state {
    const char *limit;  /* constant: `account` or `tenant`; NULL: there is no limit */
    int64_t per_minute; /* quota */
    int64_t remaining;  /* tokens that could be had at once */
    int64_t more_after; /* seconds until there is one more, rounded up; 0: the bucket is full */
};

/*
 * Take a token from the buckets of the account (NULL: none) and of the tenant, from both or from neither, at `now_ns` (monotonic).
 * MM_RATE_LIMITED if one of them is empty; `ret_state` tells which, and for how long (at least a second). MM_NO_MEMORY takes none.
 */
MM_MUST_USE bool mm_buckets_take(struct mm_buckets *buckets, const struct mm_tenant *tenant,
                                 const struct mm_account *account, int64_t now_ns, struct mm_rate_state *ret_state,
                                 struct mm_error *err);

/* Put back what was taken for a token that the service failed to make. */
void mm_buckets_give_back(struct mm_buckets *buckets, const struct mm_tenant *tenant, const struct mm_account *account);

/* Who was refused within the last minute. */
enum { MM_LIMITED_NAME_MAX = 128, MM_LIMITED_RECENT_S = 60 };
struct mm_limited {
    char name[MM_LIMITED_NAME_MAX]; /* an account's identity, or a tenant's id */
    struct mm_rate rate;
    int64_t n_refused; /* in a row, with less than a minute between two */
};

/* Those that were refused most, the first most of all, into `ret_limited` of `max`; how many there are in it. Looks at every bucket. */
size_t mm_buckets_limited(struct mm_buckets *buckets, int64_t now_ns, struct mm_limited *ret_limited, size_t max);

/* How many buckets there are, for tests. */
size_t mm_buckets_n(struct mm_buckets *buckets);

#endif
