/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML files as jansson values with line numbers, read through libyaml's document API. Only the core a reviewed file needs:
 * mappings, sequences, and scalars (plain integers, true/false and null typed as JSON; quoted scalars are strings).
 * Aliases, anchors, tags, duplicate keys, several documents and deep nesting are refused.
 */
#ifndef MM_UTIL_YAML_H
#define MM_UTIL_YAML_H

#include "util/json.h"
#include "util/problems.h"

enum { MM_YAML_FILE_MAX = 1024 * 1024, MM_YAML_DEPTH_MAX = 16 };

struct mm_document {
    char *file;    /* as named by the caller */
    json_t *root;
    json_t *lines; /* RFC 6901 pointer -> 1-based line, for every value */
    char digest[65]; /* SHA-256 of the file's bytes, lower-case hex; set by mm_yaml_read's caller, see config/ */
};

/*
 * Parse `length` bytes that came from `file`. Every problem goes to `problems` with its line (of syntax errors the first
 * only, which is all libyaml can find). False if there was any; `ret_document` is then untouched.
 */
MM_MUST_USE bool mm_yaml_parse(const char *file, const void *data, size_t length, struct mm_document *ret_document,
                               struct mm_problems *problems);

/* The line of the value at `path`, or of its nearest ancestor that has one; 0 if the document has no lines. */
int mm_document_line(const struct mm_document *document, const char *path);

void mm_document_clear(struct mm_document *document);
static inline void mm_document_clear_cleanup(struct mm_document *document) { mm_document_clear(document); }

#endif
