/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many connections there may be, in all and from one address, counted here rather than in the HTTP library so that a
 * reload can change the numbers. One IPv6 client is one /64: whoever has a network of addresses is still one caller.
 */
#ifndef MM_HTTP_ADMISSION_H
#define MM_HTTP_ADMISSION_H

#include <sys/socket.h>

#include "util/base.h"

struct mm_admission; /* opaque; safe to use from many threads */

/* What a connection is counted under. */
struct mm_address_key {
    uint8_t bytes[9]; /* family, then 4 bytes of IPv4 or the 8 of an IPv6 prefix; any other family is one key */
};

struct mm_address_key mm_address_key(const struct sockaddr *address);

/* Of every proxy's connections: many clients share one, so that it counts in all, but not against the limit of an address. */
struct mm_address_key mm_address_key_of_proxies(void);

/* The address as text without a port, for logs, into `out` of MM_ADDRESS_TEXT_MAX bytes. */
enum { MM_ADDRESS_TEXT_MAX = 64 };
void mm_address_format(const struct sockaddr *address, char *out);

/* What a key stands for, as text: an address, or a network in the prefix's notation. */
void mm_address_key_format(const struct mm_address_key *key, char out[MM_ADDRESS_TEXT_MAX]);

MM_MUST_USE struct mm_admission *mm_admission_new(int64_t connections, int64_t per_address, struct mm_error *err);
void mm_admission_free(struct mm_admission *admission);
MM_DEFINE_CLEANUP(struct mm_admission, mm_admission_free);

/* Change the limits. Connections that are there already stay. */
void mm_admission_configure(struct mm_admission *admission, int64_t connections, int64_t per_address);

/* Whether one more from this address would be let in just now. Counts nothing. */
bool mm_admission_has_room(struct mm_admission *admission, const struct mm_address_key *key);

/* Count a connection in. False if there is no room for it (or no memory): it isn't counted, and must be closed. */
MM_MUST_USE bool mm_admission_enter(struct mm_admission *admission, const struct mm_address_key *key);

/* How many are in. */
int64_t mm_admission_n(struct mm_admission *admission);

/* Count a connection out that mm_admission_enter() let in. */
void mm_admission_leave(struct mm_admission *admission, const struct mm_address_key *key);

#endif
