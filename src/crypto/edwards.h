/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether 32 bytes are an Ed25519 public key worth having (RFC 8032 section 5.1.3). libcrypto takes any 32 bytes and finds out
 * at the first signature, or never: under a key of small order anyone can make a signature that verifies.
 */
#ifndef MM_CRYPTO_EDWARDS_H
#define MM_CRYPTO_EDWARDS_H

#include "util/base.h"

enum { MM_ED25519_LENGTH = 32 };

/* Whether `key` is the canonical encoding of a point on the curve that isn't of small order. */
bool mm_edwards_is_sound(const uint8_t key[MM_ED25519_LENGTH]);

#endif
