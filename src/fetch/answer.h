/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fetch ends with, as the process that made it writes it and mintmarkd reads it: the document or why there is none. Whoever reads it
 * trusts none of it: the writer has spoken with a stranger.
 */
#ifndef MM_FETCH_ANSWER_H
#define MM_FETCH_ANSWER_H

#include "util/base.h"

enum {
    MM_FETCH_DOCUMENT_MAX = 1 << 20,
    MM_FETCH_REASON_MAX = 200,
    MM_FETCH_HEAD_LENGTH = 16,
    MM_FETCH_ANSWER_MAX = MM_FETCH_HEAD_LENGTH + MM_FETCH_DOCUMENT_MAX,
};

/* How long a document may be kept, where its issuer doesn't say. */
enum { MM_FETCH_AGE_UNSAID = -1 };

struct mm_fetched {
    const void *data;
    size_t length;
    int64_t max_age; /* seconds, from 0, as its issuer says; MM_FETCH_AGE_UNSAID */
};

/* The head of an answer whose `length` bytes follow it: of a document, or, with `document` NULL, of a reason. */
void mm_fetch_answer_head(const struct mm_fetched *document, size_t length, uint8_t out[MM_FETCH_HEAD_LENGTH]);

/*
 * Take a whole answer apart; what is found is borrowed from `data`. MM_UNREACHABLE with the reason, in printable ASCII, of a fetch that failed,
 * and for whatever isn't a whole answer, such as nothing.
 */
MM_MUST_USE bool mm_fetch_answer_parse(const void *data, size_t length, struct mm_fetched *ret_fetched,
                                       struct mm_error *err);

/*
 * The max-age of a Cache-Control header (RFC 9111 section 5.2.2), whose lines are joined by commas: 0 with no-store, no-cache or what isn't a
 * number; MM_FETCH_AGE_UNSAID without any of these.
 */
int64_t mm_fetch_max_age(const char *cache_control);

/* What is left of `max_age`, which may be unsaid, for an answer that caches say is so old in their Age header (section 5.1); nothing if that is no number. */
int64_t mm_fetch_age_left(int64_t max_age, const char *age);

#endif
