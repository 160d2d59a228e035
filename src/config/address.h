/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where to listen: `host:port` with a numeric host, IPv6 in brackets. Names aren't resolved: what a listener is bound to must not
 * depend on DNS.
 */
#ifndef MM_CONFIG_ADDRESS_H
#define MM_CONFIG_ADDRESS_H

#include "util/base.h"

enum { MM_ADDRESS_MAX = 64 };

/* A reason why `string` is no such address, or NULL (mm_schema_check). */
const char *mm_check_listen_address(const char *string);

/* Take it apart: the host without brackets into `host` of MM_ADDRESS_MAX bytes. */
MM_MUST_USE bool mm_listen_address_parse(const char *string, char *host, uint16_t *ret_port);

/* Whether a host that was parsed is reached from this machine alone. */
bool mm_address_is_loopback(const char *host);

#endif
