/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a certificate would have libcrypto work with, told from its bytes alone. Anybody may send one before there is a CA to ask, and
 * libcrypto decodes its key while it parses: on a curve of the sender's own design, that costs a quarter of a second.
 */
#ifndef MM_CRYPTO_DER_H
#define MM_CRYPTO_DER_H

#include "crypto/algorithm.h"
#include "crypto/digest.h"

/*
 * Whether `certificate` is an X.509 certificate in DER as far as its key, and this is of a kind that costs little to decode and to
 * check signatures with: P-256, P-384 or P-521 by name with an uncompressed point, RSA (also RSA-PSS) of at most 4096 bits with an
 * exponent of at most 32, Ed25519. Says nothing else about it.
 */
bool mm_der_key_is_cheap(struct mm_bytes certificate);

/*
 * A public key of one of our types: RSA's modulus and exponent, else a point (Ed25519: the key). Parts of the bytes that
 * it was read from.
 */
struct mm_der_key {
    enum mm_key_type type;
    struct mm_bytes first;
    struct mm_bytes second;
};

/* The key of a certificate, or of a SubjectPublicKeyInfo, in DER; false if it has none of those types. */
MM_MUST_USE bool mm_der_certificate_key(struct mm_bytes certificate, struct mm_der_key *ret_key);
MM_MUST_USE bool mm_der_public_key(struct mm_bytes info, struct mm_der_key *ret_key);

/*
 * How many elements a certificate consists of, those inside its extensions included: each becomes some hundred bytes once libcrypto
 * has parsed it, and can be two bytes long. What isn't DER counts as the most elements that it could hold.
 */
size_t mm_der_count_elements(struct mm_bytes certificate);

#endif
