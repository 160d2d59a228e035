/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 and random bytes. With its siblings in this folder the only code outside hsm/ that
 * touches libcrypto.
 */
#ifndef MM_CRYPTO_DIGEST_H
#define MM_CRYPTO_DIGEST_H

#include "util/base.h"

enum { MM_SHA256_LENGTH = 32, MM_SHA256_HEX_LENGTH = 64 };

/* SHA-256 of one byte string. */
void mm_sha256(const void *data, size_t length, uint8_t out[MM_SHA256_LENGTH]);

/* SHA-256 of the concatenation of `n` byte strings. */
void mm_sha256_parts(const struct mm_bytes *parts, size_t n, uint8_t out[MM_SHA256_LENGTH]);

/* SHA-256 as lower-case hex with a NUL. */
void mm_sha256_hex(const void *data, size_t length, char out[MM_SHA256_HEX_LENGTH + 1]);

/* Source of randomness, passed in so that tests can fix it. */
struct mm_random {
    bool (*fill)(void *context, void *out, size_t length);
    void *context;
};

/*
 * The kernel's getrandom(): waits until it is seeded; false only if the call is missing or denied. For a few bytes it is a quarter of what
 * libcrypto's DRBG costs, and there is no state that a fork could repeat.
 */
extern const struct mm_random MM_SYSTEM_RANDOM;

#endif
