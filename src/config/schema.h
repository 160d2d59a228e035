/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mintmark.yaml may say: keys, types, bounds and defaults, in one place.
 */
#ifndef MM_CONFIG_SCHEMA_H
#define MM_CONFIG_SCHEMA_H

#include "util/schema.h"

extern const struct mm_schema MM_CONFIG_SCHEMA;

/*
 * The limits: X(member, schema type, default, least, most). Sizes in bytes, durations in seconds. One thread isn't enough:
 * libmicrohttpd ignores a pool of one.
 */
#define MM_LIMITS_TABLE(X) \
    X(connections, MM_SCHEMA_INTEGER, 1000, 1, 100000) \
    X(connections_per_address, MM_SCHEMA_INTEGER, 100, 1, 100000) \
    X(body_bytes, MM_SCHEMA_INTEGER, 16384, 1024, 1048576) \
    X(header_bytes, MM_SCHEMA_INTEGER, 8192, 1024, 16384) \
    X(idle_timeout, MM_SCHEMA_DURATION, 30, 1, 600) \
    X(header_timeout, MM_SCHEMA_DURATION, 10, 1, 120) \
    X(request_timeout, MM_SCHEMA_DURATION, 15, 1, 300) \
    X(issue_timeout, MM_SCHEMA_DURATION, 5, 1, 120) \
    X(drain_timeout, MM_SCHEMA_DURATION, 10, 1, 300) \
    X(threads, MM_SCHEMA_INTEGER, 4, 2, 64) \
    X(queue, MM_SCHEMA_INTEGER, 1024, 1, 65536)

enum { MM_MAX_TTL_DEFAULT = 3600, MM_MAX_TTL_MAX = 86400 };

#endif
