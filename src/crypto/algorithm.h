/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JWS algorithms Mintmark signs with and verifies (RFC 7518 section 3.1, RFC 8037, RFC 9864): one table, no `none`, no HMAC.
 */
#ifndef MM_CRYPTO_ALGORITHM_H
#define MM_CRYPTO_ALGORITHM_H

#include "util/base.h"

enum mm_algorithm {
    /* what Mintmark signs with: no more than every verifier reads */
    MM_ES256,
    MM_ES384,
    MM_RS256,
    MM_PS256,
    MM_EDDSA,
    /* only verified, in what others signed */
    MM_ES512,
    MM_RS384,
    MM_RS512,
    MM_PS384,
    MM_PS512,
};

/* Those that Mintmark signs with, and all. */
enum { MM_N_ALGORITHMS = MM_EDDSA + 1, MM_N_FOREIGN_ALGORITHMS = MM_PS512 + 1 };

enum mm_key_type { MM_KEY_P256, MM_KEY_P384, MM_KEY_RSA, MM_KEY_ED25519, MM_KEY_P521 /* only others' */ };

enum {
    MM_SIGNATURE_MAX = 512, /* RSA-4096 */
    MM_RSA_BITS_MIN = 2048,
    MM_RSA_BITS_MAX = 4096,
    /* of others' keys */
    MM_FOREIGN_SIGNATURE_MAX = 1024, /* RSA-8192 */
    MM_FOREIGN_RSA_BITS_MAX = 8192,
};

/* `ES256`, …: the `alg` of a JWS header. */
const char *mm_algorithm_name(enum mm_algorithm algorithm);

/* Of those that Mintmark signs with. */
MM_MUST_USE bool mm_algorithm_parse(const char *name, enum mm_algorithm *ret_algorithm);

/* Of all. `Ed25519` (RFC 9864) is MM_EDDSA by its newer name. */
MM_MUST_USE bool mm_algorithm_parse_foreign(const char *name, enum mm_algorithm *ret_algorithm);

/* All names of those that Mintmark signs with, in the order of the enum; NULL ends them. */
extern const char *const MM_ALGORITHM_NAMES[];

/* The type of key that the algorithm signs with. */
enum mm_key_type mm_algorithm_key_type(enum mm_algorithm algorithm);

/* Several algorithms, a bit each; 0: none. */
typedef unsigned mm_algorithm_set;

static inline mm_algorithm_set mm_algorithm_bit(enum mm_algorithm algorithm)
{
    return 1U << algorithm;
}

static inline bool mm_algorithms_have(mm_algorithm_set set, enum mm_algorithm algorithm)
{
    return (set & mm_algorithm_bit(algorithm)) != 0;
}

#endif
