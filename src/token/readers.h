/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who reads a JWKS, by what it takes them to refuse it. A verifier that meets an `alg`, `kty` or `crv` which it doesn't know should pass over that
 * key (RFC 7517 section 5), but some fail on the whole set, and with it on tokens of every other key: what is published is for its weakest reader.
 */
#ifndef MM_TOKEN_READERS_H
#define MM_TOKEN_READERS_H

#include "crypto/algorithm.h"

/*
 * X(symbol, wire name, the algorithms whose keys it is sure to read, in words)
 *
 * Lore: jsonwebtoken 9.3.1, which fails on `alg` ES512, ES256K or Ed25519, on `crv` secp256k1 or Ed448, and on `kty` AKP.
 */
#define MM_READER_TABLE(X) \
    X(MM_READER_RSA, "rsa", MM_READS_RSA, "verifiers that know RSA keys alone") \
    X(MM_READER_RFC7518, "rfc7518", MM_READS_RSA | MM_READS_EC, \
      "verifiers that know RSA and EC keys alone (RFC 7518)") \
    X(MM_READER_RFC8037, "rfc8037", MM_READS_RSA | MM_READS_EC | MM_READS_OKP, \
      "verifiers that know RSA, EC and Ed25519 keys alone (RFC 8037)") \
    X(MM_READER_LORE, "lore", MM_READS_RSA | MM_READS_EC | MM_READS_OKP, "Lore's servers")

enum {
    MM_READS_RSA = 1U << MM_RS256 | 1U << MM_PS256,
    MM_READS_EC = 1U << MM_ES256 | 1U << MM_ES384,
    MM_READS_OKP = 1U << MM_EDDSA,
};

enum mm_reader {
#define MM_READER_SYMBOL(symbol, name, algorithms, words) symbol,
    MM_READER_TABLE(MM_READER_SYMBOL)
#undef MM_READER_SYMBOL
        MM_N_READERS
};

/* All of their names, in the order of the enum; NULL ends them. */
extern const char *const MM_READER_NAMES[];

MM_MUST_USE bool mm_reader_parse(const char *name, enum mm_reader *ret_reader);

/* Several kinds of readers, a bit each. None at all is a set that nobody reads: it breaks nobody. */
typedef unsigned mm_reader_set;

static inline mm_reader_set mm_reader_bit(enum mm_reader reader)
{
    return 1U << reader;
}

/* MM_CONFIG_INVALID, saying which, if a key for `algorithm` in the JWKS could make one of `readers` refuse all of it. */
MM_MUST_USE bool mm_readers_check(mm_reader_set readers, enum mm_algorithm algorithm, struct mm_error *err);

#endif
