/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One fetch, in a process that does nothing else: the only code that knows libcurl here.
 */
#ifndef MM_FETCH_TRANSFER_H
#define MM_FETCH_TRANSFER_H

#include "fetch/fetcher.h"
#include "util/buffer.h"

/*
 * Get `url` into `document`, whose cap bounds it, and the max-age of its answer. MM_UNREACHABLE says why not: a host that isn't listed, a
 * redirect elsewhere, a status, what libcurl says. Takes MM_FETCH_MS at most, but for a resolver that can't be told to stop.
 */
MM_MUST_USE bool mm_transfer_run(const struct mm_fetcher_options *options, const char *url, struct mm_buffer *document,
                                 int64_t *ret_max_age, struct mm_error *err);

#endif
