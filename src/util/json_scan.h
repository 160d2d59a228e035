/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON read in place, without a tree of values and without memory of its own, for what is checked once a token. It takes the compact form
 * alone, as util/json_writer gives it, and what it takes every JSON parser takes, to the same end: no insignificant whitespace, names of
 * printable ASCII without escapes and none twice in an object, integers within int64 and no other numbers, escapes only for the characters
 * that need one, UTF-8, no more than MM_JSON_SCAN_DEPTH levels. It is stricter than RFC 8259 and never laxer.
 */
#ifndef MM_UTIL_JSON_SCAN_H
#define MM_UTIL_JSON_SCAN_H

#include "util/base.h"

enum {
    MM_JSON_SCAN_DEPTH = 8,
    MM_JSON_SCAN_MEMBERS = 64, /* of one object */
};

/* A member of the outermost object. Both point into the text: the name without its quotation marks, the value with all of its. */
struct mm_json_member {
    struct mm_bytes name;
    struct mm_bytes value;
};

struct mm_json_members {
    size_t n;
    struct mm_json_member items[MM_JSON_SCAN_MEMBERS];
};

/* Scan text that is one object and nothing else. False, and no members, with MM_INVALID_JSON, which says what and at which byte. */
MM_MUST_USE bool mm_json_scan(struct mm_bytes text, struct mm_json_members *ret, struct mm_error *err);

/* The value of a member; its `data` is NULL if there is none. */
struct mm_bytes mm_json_members_find(const struct mm_json_members *members, const char *name);

/* Whether a value is the string, in which nothing needs an escape: no quotation mark, backslash or control character. */
MM_MUST_USE bool mm_json_equals_string(struct mm_bytes value, const char *string);

/* False, and `ret_integer` untouched, for a value that is no integer. */
MM_MUST_USE bool mm_json_read_integer(struct mm_bytes value, int64_t *ret_integer);

#endif
