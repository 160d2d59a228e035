/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML files as jansson values with line numbers, read from libyaml's events (its documents no longer show anchors and
 * tags). Only the core a reviewed file needs: mappings, sequences, and scalars (plain integers, true/false and null typed as
 * JSON; everything else is a string). Aliases, anchors, tags, duplicate keys, several documents and deep nesting are refused.
 */
#ifndef MM_UTIL_YAML_H
#define MM_UTIL_YAML_H

#include "util/json.h"
#include "util/problems.h"

enum {
    MM_YAML_FILE_MAX = 1024 * 1024,
    MM_YAML_DEPTH_MAX = 16,
    MM_YAML_KEY_MAX = 128,      /* bytes of a key */
    MM_YAML_VALUES_MAX = 50000, /* in one file */
};

struct mm_lines; /* 1-based, of every value; a mapping's member has the line of its key */

struct mm_document {
    char *file; /* as named by the caller */
    json_t *root;
    struct mm_lines
        *lines;      /* NULL: none are known. They go by the order of members: what is added to `root` later has none */
    char digest[65]; /* SHA-256 of the file's bytes, lower-case hex; set by whoever read the file, see config/ */
};

/*
 * Parse `length` bytes that came from `file`. Every problem goes to `problems` with its line (of syntax errors the first
 * only, which is all libyaml can find). False if there was any; `ret_document` then holds what could be read all the same,
 * so that the schema's problems can be listed too, or is untouched if that is nothing. The caller clears it either way.
 */
MM_MUST_USE bool mm_yaml_parse(const char *file, const void *data, size_t length, struct mm_document *ret_document,
                               struct mm_problems *problems);

/*
 * A value within others, as a chain up to the root, which lives on the stack of whoever walks: what is said of few values costs nothing for
 * the others.
 */
struct mm_place {
    const struct mm_place *parent; /* NULL: the root */
    const char *name;              /* of a member; NULL: an item */
    size_t index;
};

/* Its RFC 6901 pointer, for the caller to free. NULL: out of memory. */
MM_MUST_USE char *mm_place_pointer(const struct mm_place *place);

/* The line of the value at `path`, or of its nearest ancestor that has one; 0 if the document has no lines. */
int mm_document_line(const struct mm_document *document, const char *path);

/* `parent`/`name` as an RFC 6901 pointer, escaped; the caller frees it. NULL: out of memory. */
MM_MUST_USE char *mm_pointer_child(const char *parent, const char *name);

/* `parent`/`index`, likewise. */
MM_MUST_USE char *mm_pointer_item(const char *parent, size_t index);

void mm_document_clear(struct mm_document *document);
static inline void mm_document_clear_cleanup(struct mm_document *document)
{
    mm_document_clear(document);
}

#endif
