/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: jansson as the rest of the tree sees it. This header is the only place that includes jansson.h; everything JSON
 * is built and read through its values, and outside input is parsed by mm_json_parse() alone.
 */
#ifndef MM_UTIL_JSON_H
#define MM_UTIL_JSON_H

#include <jansson.h>

#include "util/base.h"

MM_DEFINE_CLEANUP(json_t, json_decref);

/*
 * jansson's own of these leave out, without a word, what there was no memory for: a claim, a key's curve, a quotation mark.
 * These yield NULL then, as they should, and leave ENOMEM in errno; all else is as jansson documents it.
 */
#define json_pack(...)           mm_json_pack(__VA_ARGS__)
#define json_dumps(value, flags) mm_json_dumps(value, flags)
MM_MUST_USE json_t *mm_json_pack(const char *format, ...);
MM_MUST_USE char *mm_json_dumps(const json_t *value, size_t flags);

/* Likewise; -1 then. */
#define json_object_update_recursive(object, other) mm_json_update_recursive(object, other)
MM_MUST_USE int mm_json_update_recursive(json_t *object, json_t *other);

/*
 * Parse exactly one JSON value from `length` bytes. Duplicate members, trailing bytes, invalid UTF-8, NULs in strings,
 * integers outside int64 and nesting past 32 levels are refused (MM_INVALID_JSON). Returns a new reference; NULL also with
 * MM_NO_MEMORY.
 */
MM_MUST_USE json_t *mm_json_parse(const void *data, size_t length, struct mm_error *err);

/*
 * Compact serialisation, members in insertion order; the caller frees it. NULL: MM_NO_MEMORY, or MM_INTERNAL for a value that
 * mm_json_parse() wouldn't take back.
 */
MM_MUST_USE char *mm_json_compact(const json_t *value, struct mm_error *err);

/*
 * Append an element, whose reference is taken over whatever comes of it; `element` may be the NULL of a constructor that failed. False
 * (MM_NO_MEMORY): it isn't in there. For lists that mustn't lack one.
 */
MM_MUST_USE bool mm_json_append(json_t *array, json_t *element, struct mm_error *err);

/* Unix seconds as RFC 3339; null for 0, which is never. NULL: no memory. */
MM_MUST_USE json_t *mm_json_timestamp(int64_t unix_seconds);

/* The string member `name` of `object`, borrowed; NULL if absent or not a string. */
const char *mm_json_string(const json_t *object, const char *name);

/* The integer member `name` of `object`, or `otherwise` if absent or not an integer. */
int64_t mm_json_integer(const json_t *object, const char *name, int64_t otherwise);

/* Zero a string's bytes before it is released: a secret's, which jansson would leave behind. Anything else stays as it is. */
void mm_json_zero(const json_t *value);

/* Whether `value` is an array of strings that holds `string`. */
bool mm_json_array_has(const json_t *value, const char *string);

#endif
