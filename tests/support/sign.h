/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signer for tests: keys and JWS signatures by libcrypto, without any of the code under test.
 */
#ifndef MM_TESTS_SIGN_H
#define MM_TESTS_SIGN_H

#include <openssl/evp.h>

#include "crypto/pubkey.h"

MM_DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free);

struct test_signature {
    uint8_t bytes[MM_FOREIGN_SIGNATURE_MAX];
    size_t length;
};

/* A new private key that `algorithm` signs with; RSA has 2048 bits. Never NULL. */
EVP_PKEY *make_private_key(enum mm_algorithm algorithm);

/* The P-256 key whose private half is 1: no secret, and always the same. */
EVP_PKEY *make_key_of_one(void);

/* Its public half as the code under test sees it, from components as an HSM token reports them. Never NULL. Not P-521. */
struct mm_pubkey *make_pubkey(enum mm_algorithm algorithm, const EVP_PKEY *key);

/* The public half as a JWK with `kid` and `alg`, each left out if NULL. */
json_t *make_jwk(const EVP_PKEY *key, const char *kid, const char *alg);

/* A JWS signature: raw r || s for ECDSA. */
struct test_signature sign_jws(enum mm_algorithm algorithm, EVP_PKEY *key, struct mm_bytes data);

/* The same as EVP makes it (DER for ECDSA), with `salt_length` where the algorithm is RSASSA-PSS. */
struct test_signature sign_evp(enum mm_algorithm algorithm, EVP_PKEY *key, struct mm_bytes data, int salt_length);

#endif
