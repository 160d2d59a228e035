/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request's head must be before anything else looks at it. The HTTP library lets pass what two parties could read in
 * two ways (request smuggling, RFC 9112 section 11.2); here it is refused, and the connection that sent it is closed.
 * Pure checks, no I/O.
 */
#ifndef MM_HTTP_GUARD_H
#define MM_HTTP_GUARD_H

#include "util/base.h"

/* What a head says about its framing, gathered field by field. */
struct mm_head {
    uintptr_t end; /* where the last piece that was seen ends in memory */
    bool has_hidden_bytes;
    unsigned n_content_length;
    unsigned n_transfer_encoding;
    unsigned n_host;
    unsigned n_content_type;
    unsigned n_authorization;
    bool has_bad_name;  /* a field name that is no token, such as `Content-Length ` */
    bool has_bad_value; /* a control character in a value */
    bool has_bad_length;
    bool has_unknown_encoding; /* a Transfer-Encoding other than `chunked` alone */
    bool expects_continue;
    uint64_t content_length;
};

/*
 * The library hands out pieces of the very bytes it received, cut at what it took for their ends: a NUL byte ends a value, a
 * CR or LF alone ends a line. So between the `version` and each field, in their order in memory, there must be room for CR
 * LF and nothing else; whatever the library didn't hand out shows as a gap.
 *
 * One thing it can't see: the library overwrites the end of a line, so where a NUL ends a value and one LF or CR ends the line,
 * the room is that of CR LF; likewise for the last four bytes of the head.
 */
void mm_head_begin(struct mm_head *head, const char *version);

/* Take one field into account. */
void mm_head_add(struct mm_head *head, const char *name, size_t name_length, const char *value, size_t value_length);

/*
 * MM_INVALID_REQUEST, saying why, for Content-Length with Transfer-Encoding, either of them repeated or malformed, a
 * missing or repeated Host, a repeated Content-Type or Authorization, a Transfer-Encoding that isn't `chunked` or comes with HTTP/1.0, a name that is no token, a control
 * character in a value, hidden bytes, an unknown `version`. `end` is where the head ends in memory, after its empty line.
 */
MM_MUST_USE bool mm_head_check(struct mm_head *head, const char *version, const char *end, struct mm_error *err);

/* MM_INVALID_REQUEST for a request target with %00, a byte outside visible ASCII, or a `%` without two hex digits. */
MM_MUST_USE bool mm_target_check(const char *target, size_t length, struct mm_error *err);

/* The path of a target in origin form or absolute form (RFC 9112 section 3.2), borrowed; its query is not stripped. */
const char *mm_target_path(const char *target);

#define MM_MEDIA_TYPE_JSON "application/json"
#define MM_MEDIA_TYPE_FORM "application/x-www-form-urlencoded"

/* Whether a Content-Type (NULL: none) is `type`, with no parameter but charset=utf-8. */
bool mm_media_type_is(const char *value, const char *type);

/* Whether an If-None-Match value names `etag` (quoted), by weak comparison (RFC 9110 section 13.1.2). */
bool mm_etag_is_listed(const char *if_none_match, const char *etag);

#endif
