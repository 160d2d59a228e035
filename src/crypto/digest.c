/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#include <limits.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "util/base64url.h"

void mm_sha256(const void *data, size_t length, uint8_t out[MM_SHA256_LENGTH])
{
    mm_sha256_parts(&(struct mm_bytes){data, length}, 1, out);
}

void mm_sha256_parts(const struct mm_bytes *parts, size_t n, uint8_t out[MM_SHA256_LENGTH])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; done && i < n; i++)
        done = EVP_DigestUpdate(context, parts[i].data, parts[i].length) == 1;
    done = done && EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    /* Only a machine without memory or a broken libcrypto gets here; a wrong hash in the ledger would be worse. */
    if (!done)
        abort();
}

void mm_sha256_hex(const void *data, size_t length, char out[MM_SHA256_HEX_LENGTH + 1])
{
    uint8_t digest[MM_SHA256_LENGTH];
    mm_sha256(data, length, digest);
    mm_hex_encode(digest, sizeof digest, out);
}

static bool fill_from_drbg(void *context, void *out, size_t length)
{
    (void)context;
    return length <= INT_MAX && RAND_bytes(out, (int)length) == 1;
}

const struct mm_random MM_SYSTEM_RANDOM = {.fill = fill_from_drbg};
