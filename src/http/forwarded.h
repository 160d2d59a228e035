/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TLS-terminating proxy says of its client: its certificate (RFC 9440) and its address. Whoever can set these fields is anybody he
 * likes, so they are looked at only for listeners that none but the proxy reaches. No I/O.
 */
#ifndef MM_HTTP_FORWARDED_H
#define MM_HTTP_FORWARDED_H

#include <sys/socket.h>

#include "crypto/certificate.h"

/* The fields' values, borrowed; NULL and 0: there is none. All zero is a head without any. */
struct mm_forwarded {
    const char *certificate; /* Client-Cert */
    size_t certificate_length;
    const char *chain; /* Client-Cert-Chain */
    size_t chain_length;
    const char *addresses; /* the last X-Forwarded-For */
    size_t addresses_length;
    bool is_repeated; /* a certificate field came twice */
};

/* Take one field of a head into account. */
void mm_forwarded_add(struct mm_forwarded *forwarded, const char *name, size_t name_length, const char *value,
                      size_t value_length);

/*
 * MM_INVALID_REQUEST, saying why, if Client-Cert or Client-Cert-Chain came in more than one line, or the chain came alone. What the values
 * hold isn't looked at.
 */
MM_MUST_USE bool mm_forwarded_check(const struct mm_forwarded *forwarded, struct mm_error *err);

/* A chain in DER, as a client would have sent it. */
struct mm_forwarded_chain {
    uint8_t der[MM_CHAIN_BYTES_MAX];
    size_t n; /* 0: the client has none */
    struct mm_bytes items[MM_CHAIN_MAX];
};

/*
 * Decode the fields: Client-Cert one byte sequence (RFC 8941 section 3.3.5), Client-Cert-Chain a list of them, without parameters, each of
 * them padded base64 in its one spelling. MM_INVALID_REQUEST for anything else, or more than a client may send. Whether it is certificates isn't asked.
 */
MM_MUST_USE bool mm_forwarded_decode(const struct mm_forwarded *forwarded, struct mm_forwarded_chain *ret_chain,
                                     struct mm_error *err);

/*
 * The address that the proxy saw: the last element of the last X-Forwarded-For, which the proxy itself wrote; what comes before it is the
 * client's own word. IPv4 or IPv6, a port may follow (IPv6 in brackets then). False if there is none, or it isn't one.
 */
bool mm_forwarded_address(const struct mm_forwarded *forwarded, struct sockaddr_storage *ret_address);

#endif
