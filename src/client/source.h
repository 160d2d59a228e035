/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token source's inner side: one token for a whole process, renewed ahead of its end by a thread of its own. At most one request
 * is ever under way, and a token past its end is never handed out.
 */
#ifndef MM_CLIENT_SOURCE_H
#define MM_CLIENT_SOURCE_H

#include "client/client.h"

MM_DEFINE_CLEANUP(struct mm_token_source, mm_token_source_close);

/* Passed in, so that tests can set them; borrowed while the source is open. */
struct mm_source_parts {
    int64_t (*now_ns)(
        void *context); /* a clock that nobody sets and that counts a machine's sleep; called by any thread */
    void *context;
    const struct mm_random *random;
};

MM_MUST_USE struct mm_token_source *mm_source_open(const struct mm_client *client,
                                                   const struct mm_client_request *request,
                                                   const struct mm_source_parts *parts, struct mm_error *err);

#endif
