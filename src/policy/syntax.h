/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spelling of names in configuration and tenant files. Each check returns NULL for a well-formed string, else a reason that
 * completes "‹name› …" (mm_schema_check). Every name has one spelling, so that comparing bytes decides whether two are the same.
 */
#ifndef MM_POLICY_SYNTAX_H
#define MM_POLICY_SYNTAX_H

#include "util/base.h"

/* Tenant, account and HSM token ids: [a-z0-9][a-z0-9-]{0,62}. */
const char *mm_check_id(const char *string);

/* Actions and kinds: [a-z][a-z0-9_-]{0,30}. */
const char *mm_check_word(const char *string);

/* A scope, `action:kind`. */
const char *mm_check_scope(const char *string);

/* One resource: [A-Za-z0-9._:/-]{1,256}. */
const char *mm_check_resource(const char *string);

/* A resource, or a prefix of resources that ends in `*`. */
const char *mm_check_resource_pattern(const char *string);

/* Printable ASCII without spaces: audiences and the like. */
const char *mm_check_visible(const char *string);

/* One line for people: valid text without control characters. */
const char *mm_check_line(const char *string);

/* https://host[:port], lower-case, nothing after it. */
const char *mm_check_https_origin(const char *string);

/* https://host[:port][/path], no user, query or fragment. */
const char *mm_check_https_url(const char *string);

/* A https URL as above, with one `{id}` in its path. */
const char *mm_check_uri_template(const char *string);

/* A resource with one `{id}`. */
const char *mm_check_resource_template(const char *string);

/* A URI as certificates carry it; those that start with spiffe: must be SPIFFE IDs (SPIFFE-ID section 2). */
const char *mm_check_san_uri(const char *string);

/* A SPIFFE trust domain, without its scheme (SPIFFE-ID section 2.1). */
const char *mm_check_trust_domain(const char *string);

/* A SPIFFE ID's path, `*` and `**` as in policy/glob.h allowed. */
const char *mm_check_spiffe_pattern(const char *string);

/* A DNS name without wildcards, either case (RFC 1123 section 2.1). */
const char *mm_check_dns_name(const char *string);

/* A DNS name in lower case of at least two labels: hosts below it are somebody's own. */
const char *mm_check_root_domain(const char *string);

/* A SHA-256 fingerprint: 64 hex digits, either case, colons between bytes or none. */
const char *mm_check_fingerprint(const char *string);

#endif
