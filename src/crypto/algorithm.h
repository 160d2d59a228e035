/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JWS algorithms Mintmark signs and verifies (RFC 7518 section 3.1, RFC 8037): one table, no `none`, no HMAC.
 */
#ifndef MM_CRYPTO_ALGORITHM_H
#define MM_CRYPTO_ALGORITHM_H

#include "util/base.h"

enum mm_algorithm { MM_ES256, MM_ES384, MM_RS256, MM_PS256, MM_EDDSA };

enum { MM_N_ALGORITHMS = MM_EDDSA + 1 };

enum mm_key_type { MM_KEY_P256, MM_KEY_P384, MM_KEY_RSA, MM_KEY_ED25519 };

enum {
    MM_SIGNATURE_MAX = 512, /* RSA-4096 */
    MM_RSA_BITS_MIN = 2048,
    MM_RSA_BITS_MAX = 4096,
};

/* `ES256`, …: the `alg` of a JWS header. */
const char *mm_algorithm_name(enum mm_algorithm algorithm);

MM_MUST_USE bool mm_algorithm_parse(const char *name, enum mm_algorithm *ret_algorithm);

/* All of their names, in the order of the enum; NULL ends them. */
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
