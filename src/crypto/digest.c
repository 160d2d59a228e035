/* SPDX-License-Identifier: Apache-2.0 */
/* libcrypto's own SHA-256 rather than EVP's: it allocates nothing, so it can't fail, however short memory is. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/digest.h"

#include <errno.h>
#include <sys/random.h>

#include <openssl/sha.h>

#include "util/base64url.h"

void mm_sha256(const void *data, size_t length, uint8_t out[MM_SHA256_LENGTH])
{
    mm_sha256_parts(&(struct mm_bytes){data, length}, 1, out);
}

void mm_sha256_parts(const struct mm_bytes *parts, size_t n, uint8_t out[MM_SHA256_LENGTH])
{
    SHA256_CTX context;
    (void)SHA256_Init(&context);
    for (size_t i = 0; i < n; i++)
        (void)SHA256_Update(&context, parts[i].data, parts[i].length);
    (void)SHA256_Final(out, &context);
}

void mm_sha256_hex(const void *data, size_t length, char out[MM_SHA256_HEX_LENGTH + 1])
{
    uint8_t digest[MM_SHA256_LENGTH];
    mm_sha256(data, length, digest);
    mm_hex_encode(digest, sizeof digest, out);
}

static bool fill_from_kernel(void *context, void *out, size_t length)
{
    (void)context;
    for (size_t done = 0; done < length;) {
        ssize_t n = getrandom((uint8_t *)out + done, length - done, 0);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

const struct mm_random MM_SYSTEM_RANDOM = {.fill = fill_from_kernel};
