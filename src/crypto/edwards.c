/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/edwards.h"

#include <string.h>

#include <openssl/bn.h>

MM_DEFINE_CLEANUP(BIGNUM, BN_free);
MM_DEFINE_CLEANUP(BN_CTX, BN_CTX_free);

/* The y of the points whose order divides 8, little-endian. */
static const uint8_t SMALL_ORDER[][MM_ED25519_LENGTH] = {
    {0x00},
    {0x01},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
     0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
    {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
     0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
};

static const char P[] = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed";
static const char D[] = "52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3";

/* x^2 = (y^2 - 1) / (d y^2 + 1) has a root just where the product of the two has. */
static bool has_x(const BIGNUM *y, const BIGNUM *p, const BIGNUM *d, BN_CTX *context)
{
    mm_cleanup(BN_free) BIGNUM *u = BN_new();
    mm_cleanup(BN_free) BIGNUM *v = BN_new();
    if (!u || !v || !BN_mod_sqr(u, y, p, context) || !BN_mod_mul(v, u, d, p, context))
        return false;
    if (!BN_sub_word(u, 1) || !BN_add_word(v, 1) || !BN_mod_mul(u, u, v, p, context))
        return false;
    return BN_kronecker(u, p, context) == 1;
}

bool mm_edwards_is_sound(const uint8_t key[MM_ED25519_LENGTH])
{
    uint8_t bytes[MM_ED25519_LENGTH];
    memcpy(bytes, key, sizeof bytes);
    bytes[MM_ED25519_LENGTH - 1] &= 0x7f; /* the sign of x */
    for (size_t i = 0; i < MM_ARRAY_SIZE(SMALL_ORDER); i++)
        if (memcmp(bytes, SMALL_ORDER[i], sizeof bytes) == 0)
            return false;

    mm_cleanup(BN_CTX_free) BN_CTX *context = BN_CTX_new();
    mm_cleanup(BN_free) BIGNUM *y = BN_lebin2bn(bytes, sizeof bytes, NULL);
    mm_cleanup(BN_free) BIGNUM *p = NULL;
    mm_cleanup(BN_free) BIGNUM *d = NULL;
    if (!context || !y || !BN_hex2bn(&p, P) || !BN_hex2bn(&d, D))
        return false;
    return BN_cmp(y, p) < 0 && has_x(y, p, d, context);
}
