/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns for names with segments, such as git refs, SPIFFE paths and subjects of CI platforms. A segment is what lies between `/` or
 * `:`. A pattern stands for the whole of a text, byte by byte, but that `*` stands for one segment, whatever is in it, and `**` as the last
 * segment for one or more. No star stands for a part of a segment, or for an empty one: `acme*` would take `acme-evil` as well.
 */
#ifndef MM_POLICY_GLOB_H
#define MM_POLICY_GLOB_H

#include "util/base.h"

/* NULL for a pattern that stars are used in as above, and that has more than stars; else a reason that completes "‹name› …". */
const char *mm_check_glob(const char *pattern);

/* Whether a pattern is a text, with no star in it. */
bool mm_glob_is_literal(const char *pattern);

bool mm_glob_matches(const char *pattern, const char *text);

/* Whether all that `narrow` stands for, `wide` does, too. */
bool mm_glob_covers(const char *wide, const char *narrow);

#endif
