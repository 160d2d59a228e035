/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One validator for configuration files, tenant files and request bodies: a const table says which members a value may have,
 * of which type and within which bounds; every violation is reported, not the first only.
 */
#ifndef MM_UTIL_SCHEMA_H
#define MM_UTIL_SCHEMA_H

#include "util/yaml.h"

enum mm_schema_type {
    MM_SCHEMA_STRING,  /* min..max: length in bytes */
    MM_SCHEMA_INTEGER, /* min..max: value */
    MM_SCHEMA_BOOLEAN,
    MM_SCHEMA_DURATION, /* a string such as `10m`; min..max: seconds; replaced by its seconds as a JSON integer */
    MM_SCHEMA_OBJECT,   /* `members` are its members; anything else is unknown and refused */
    MM_SCHEMA_ARRAY,    /* min..max: items; `element` describes each */
    MM_SCHEMA_MAP, /* an object whose member names are the file's own: `key_check` judges them, `element` their values */
    MM_SCHEMA_ANY, /* whoever reads it judges it */
};

/* Judge one string: NULL if it is fine, else a short reason that completes "‹name› …". */
typedef const char *(*mm_schema_check)(const char *string);

struct mm_schema {
    const char *name; /* member name; NULL for an element or a root; in a `members` table a NULL name ends it */
    enum mm_schema_type type;
    enum { MM_OPTIONAL, MM_REQUIRED } presence;
    int64_t min;
    int64_t max;               /* 0: no bound of its own (strings: 4096 bytes; arrays and maps: 1000 items) */
    const char *const *one_of; /* NULL-terminated list of allowed strings, or NULL */
    mm_schema_check check;     /* strings only, or NULL */
    mm_schema_check key_check; /* maps only, or NULL */
    const struct mm_schema *members;
    const struct mm_schema *element;
    enum { MM_REPEATS_ALLOWED, MM_REPEATS_REFUSED } repeats; /* arrays of strings */
};

/*
 * Check `document->root` against `schema`, adding every violation to `problems` with its pointer and, where the document has
 * lines, its line. Durations are replaced in place by integers of seconds. False if anything was wrong.
 */
MM_MUST_USE bool mm_schema_validate(const struct mm_schema *schema, struct mm_document *document,
                                    struct mm_problems *problems);

#endif
