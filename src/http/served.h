/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text that is served from memory while another may already have taken its place: immutable and reference-counted.
 */
#ifndef MM_HTTP_SERVED_H
#define MM_HTTP_SERVED_H

#include "util/base.h"

struct mm_served {
    _Atomic size_t references; /* mm_served_ref(), mm_served_unref() */
    char etag[32];             /* of these bytes, quoted */
    char *text;
};

/* Takes `text` over, whatever comes of it; NULL stands for no memory. One reference is the caller's. */
MM_MUST_USE struct mm_served *mm_served_new(char *text, struct mm_error *err);

struct mm_served *mm_served_ref(struct mm_served *served);
void mm_served_unref(struct mm_served *served);
MM_DEFINE_CLEANUP(struct mm_served, mm_served_unref);

#endif
