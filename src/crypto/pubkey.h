/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A public key: built from components or a JWK, shown as a JWK, used to check signatures.
 * Immutable after creation, safe to use from many threads.
 */
#ifndef MM_CRYPTO_PUBKEY_H
#define MM_CRYPTO_PUBKEY_H

#include "crypto/algorithm.h"
#include "crypto/digest.h"
#include "util/json.h"

struct mm_pubkey; /* opaque */

enum {
    MM_THUMBPRINT_LENGTH = 43, /* base64url of a SHA-256 */
};

/*
 * From components, unsigned big-endian as PKCS#11 and JWK hold them. Leading zeros are ignored. RSA outside 2048-4096 bits,
 * an even or tiny exponent, a point off its curve: MM_KEY_CUSTODY.
 */
MM_MUST_USE struct mm_pubkey *mm_pubkey_from_rsa(struct mm_bytes n, struct mm_bytes e, struct mm_error *err);
/* `point` is the uncompressed point (04 || x || y) for P-256 and P-384, the 32 bytes of the key for Ed25519. */
MM_MUST_USE struct mm_pubkey *mm_pubkey_from_point(enum mm_key_type type, struct mm_bytes point, struct mm_error *err);

/* From a public JWK (RFC 7517, 7518 section 6, 8037), for what Mintmark signs with. A private member (`d`, …) is refused. */
MM_MUST_USE struct mm_pubkey *mm_pubkey_from_jwk(const json_t *jwk, struct mm_error *err);

/*
 * From somebody else's public JWK, to check signatures by `algorithm` alone: P-521 and RSA up to 8192 bits as well. `kty` and
 * `crv` must be the algorithm's; `use` and `key_ops`, if there, must allow verifying. MM_KEY_CUSTODY otherwise. It costs at most a
 * millisecond: whether an RSA modulus is composite, which takes libcrypto up to half a second, isn't asked of others' keys.
 */
MM_MUST_USE struct mm_pubkey *mm_pubkey_from_foreign_jwk(const json_t *jwk, enum mm_algorithm algorithm,
                                                         struct mm_error *err);

/* The algorithm of a JWK that names none: its curve's, and RS256 for RSA (OpenID Connect's default). False: an unknown kty or crv. */
MM_MUST_USE bool mm_jwk_default_algorithm(const json_t *jwk, enum mm_algorithm *ret_algorithm);

/* Whether a JWK of any `kty` holds a member that only private and secret keys have. */
bool mm_jwk_is_private(const json_t *jwk);

void mm_pubkey_free(struct mm_pubkey *key);
MM_DEFINE_CLEANUP(struct mm_pubkey, mm_pubkey_free);

enum mm_key_type mm_pubkey_type(const struct mm_pubkey *key);
unsigned mm_pubkey_bits(const struct mm_pubkey *key);

/* The RFC 7638 thumbprint (SHA-256, base64url), borrowed: Mintmark's `kid`. */
const char *mm_pubkey_thumbprint(const struct mm_pubkey *key);

/* Whether the `length` characters of `text` can be a thumbprint: the one spelling in base64url of as many bytes as SHA-256 has. */
bool mm_thumbprint_is_valid(const char *text, size_t length);

/* A new JWK with kty and its parameters, `kid`, `use: sig` and `alg`. NULL: MM_NO_MEMORY. */
MM_MUST_USE json_t *mm_pubkey_to_jwk(const struct mm_pubkey *key, enum mm_algorithm algorithm, struct mm_error *err);

/*
 * Check a signature in JWS form (raw r || s for ECDSA, RFC 7518 section 3.4) over `data`. The algorithm must fit the key's
 * type, and be the one that a foreign key is for. False with MM_SIGNATURE_INVALID if it doesn't verify.
 */
MM_MUST_USE bool mm_pubkey_verify(const struct mm_pubkey *key, enum mm_algorithm algorithm, struct mm_bytes data,
                                  struct mm_bytes signature, struct mm_error *err);

#endif
