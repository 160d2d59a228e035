/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times that nobody can configure away, since verifiers, and others' servers, depend on them. In a file of their own, so that a test build can put shorter ones in their
 * place (tests/support/short_floors.c); such a build listens on loopback only.
 */
#ifndef MM_CONFIG_FLOORS_H
#define MM_CONFIG_FLOORS_H

#include "util/base.h"

/* Seconds. */
struct mm_key_floors {
    int64_t max_age;       /* for which anybody may cache the JWKS (RFC 9111 section 5.2.2.1) */
    int64_t publish_ahead; /* that and a minute: no cache is older when the key signs */
    int64_t leeway;        /* beyond the last `exp`: verifiers' clocks differ */
    int64_t fetched_age;   /* for which others' keys are kept at least, whatever their issuer says of its document */
    int64_t fetch_again;   /* between two fetches of one source, whatever callers send; more after failures */
    bool is_test;          /* a test build */
};

extern const struct mm_key_floors MM_KEY_FLOORS;

#endif
