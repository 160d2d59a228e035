/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mintmark.yaml may say: keys, types, bounds and defaults, in one place.
 */
#ifndef MM_CONFIG_SCHEMA_H
#define MM_CONFIG_SCHEMA_H

#include "config/quirks.h"
#include "util/schema.h"

extern const struct mm_schema MM_CONFIG_SCHEMA;
extern const struct mm_schema MM_PROFILE_SCHEMA; /* of a file of hsm/profiles/, or an operator's own */

/* What sets of quirks.h are written with: `CKA_ID` and so on, in the order of their enums; NULL ends each. */
extern const char *const MM_TEMPLATE_NAMES[];
extern const char *const MM_UNTOLD_NAMES[];
extern const char *const MM_BUSY_NAMES[];

/* `ES256`, or `RS256-3072`, as keys of `vendor_values`. */
MM_MUST_USE bool mm_vendor_key_parse(const char *key, enum mm_algorithm *ret_algorithm, unsigned *ret_bits);

/*
 * The limits: X(member, schema type, default, least, most). Sizes in bytes, durations in seconds. One thread isn't enough:
 * libmicrohttpd ignores a pool of one.
 */
#define MM_LIMITS_TABLE(X) \
    X(connections, MM_SCHEMA_INTEGER, 1000, 1, 100000) \
    X(connections_per_address, MM_SCHEMA_INTEGER, 100, 1, 100000) \
    X(failures_per_address, MM_SCHEMA_INTEGER, 60, 1, 100000) \
    X(body_bytes, MM_SCHEMA_INTEGER, 16384, 1024, 1048576) \
    X(header_bytes, MM_SCHEMA_INTEGER, 8192, 1024, 16384) \
    X(idle_timeout, MM_SCHEMA_DURATION, 30, 1, 600) \
    X(header_timeout, MM_SCHEMA_DURATION, 10, 1, 120) \
    X(request_timeout, MM_SCHEMA_DURATION, 15, 1, 300) \
    X(issue_timeout, MM_SCHEMA_DURATION, 5, 1, 120) \
    X(drain_timeout, MM_SCHEMA_DURATION, 10, 1, 300) \
    X(threads, MM_SCHEMA_INTEGER, 0, 2, 64) \
    X(queue, MM_SCHEMA_INTEGER, 1024, 1, 65536)

/*
 * The numbers among an HSM token's settings: X(member of mm_hsm_token_config, schema type, least, most). Durations in seconds.
 * They have no default here: the profile `generic` says them all.
 */
#define MM_HSM_NUMBERS_TABLE(X) \
    X(workers, MM_SCHEMA_INTEGER, 1, 16) \
    X(threads, MM_SCHEMA_INTEGER, 1, 16) \
    X(start_timeout, MM_SCHEMA_DURATION, 5, 600) \
    X(busy_timeout, MM_SCHEMA_DURATION, 1, 600) \
    X(probe_interval, MM_SCHEMA_DURATION, 1, 3600) \
    X(restart_delay_ms, MM_SCHEMA_INTEGER, 10, 60000) \
    X(restart_delay_max, MM_SCHEMA_DURATION, 1, 600)

enum { MM_SESSIONS_MAX = 65536, MM_PIN_MAX = 1024, MM_PIN_DESCRIPTION_MAX = 200 };

enum { MM_MAX_TTL_DEFAULT = 3600, MM_MAX_TTL_MAX = 86400 };

#endif
