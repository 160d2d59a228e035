/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a https URL leads: `host[:port]`, by which origins are told apart and hosts are listed. Each has one spelling: the host in lower case,
 * the port without zeros in front, none where it is 443.
 */
#ifndef MM_UTIL_ORIGIN_H
#define MM_UTIL_ORIGIN_H

#include "util/base.h"

enum { MM_URL_MAX = 2048, MM_HOST_MAX = 264 /* a DNS name, a colon, a port and the NUL */ };

/* Whether `length` bytes are a DNS name (RFC 1123 section 2.1), in either case, without a dot at its end. */
bool mm_is_dns_name(const char *string, size_t length);

/* Bytes of `host[:port]` at the start of `string`, in lower case, IPv6 in brackets; 0 if there is no well-formed one. */
size_t mm_authority_length(const char *string);

/* A reason why `string` is no `host[:port]` in its one spelling, or NULL (mm_schema_check). */
const char *mm_check_host(const char *string);

/*
 * The `host[:port]` of a https URL of at most MM_URL_MAX bytes: `https://` in lower case, no user, no fragment, printable ASCII without spaces and
 * backslashes; a path and a query may follow. False if it is none such.
 */
MM_MUST_USE bool mm_url_host(const char *url, char ret_host[MM_HOST_MAX]);

/* A reason why `string` is no such URL, or NULL (mm_schema_check). */
const char *mm_check_url(const char *string);

#endif
