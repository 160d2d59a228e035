/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many tokens that are alive something would hit, counted from what the ledger says was issued.
 */
#ifndef MM_REVOCATION_ESTIMATE_H
#define MM_REVOCATION_ESTIMATE_H

#include "revocation/order.h"

struct mm_revocation_estimate {
    /* At most so many: counted are those whose signature failed, too, and of a resource all of its tenant's. */
    int64_t n_live;
    int64_t last_exp; /* Unix seconds, the latest of theirs; 0: there are none */
    bool is_whole;    /* false: at least so many, since there was no time to count them all */
};

/*
 * Of the tokens that the ledger in `file` says were issued and that live at `now` (Unix seconds), none for longer than `longest_ttl` seconds, count those that
 * `order` hits. Stops at `deadline_ns` (monotonic). Fails as reading the ledger does.
 */
MM_MUST_USE bool mm_revocation_estimate(const char *file, const struct mm_revocation_order *order, int64_t longest_ttl,
                                        int64_t now, int64_t deadline_ns, struct mm_revocation_estimate *ret_estimate,
                                        struct mm_error *err);

#endif
