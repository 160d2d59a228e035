/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWK sets (RFC 7517 section 5): ours, serialised once and served from memory; and others', whose keys verify what they signed. A
 * foreign key is good for one algorithm, which the set pins: a JWT's header never chooses it.
 */
#ifndef MM_TOKEN_JWKS_H
#define MM_TOKEN_JWKS_H

#include "crypto/pubkey.h"

struct mm_jwks_key {
    const struct mm_pubkey *key;
    enum mm_algorithm algorithm;
};

/* `{"keys":[…]}` of the given keys, compact. The caller frees it. NULL: MM_NO_MEMORY. */
MM_MUST_USE char *mm_jwks_document(const struct mm_jwks_key *keys, size_t n, struct mm_error *err);

enum {
    MM_FOREIGN_JWKS_MAX = 1 << 20, /* bytes */
    MM_FOREIGN_KEYS_MAX = 64,
    MM_KID_MAX = 256, /* bytes of somebody else's `kid` */
};

struct mm_jwks; /* somebody else's keys; immutable, reference-counted, safe to use from many threads */

/*
 * Parse somebody else's JWK set. MM_CONFIG_INVALID if it is larger than the bounds, isn't JSON as mm_json_parse() takes it, has no array
 * `keys`, or holds a private or secret key, which whoever could read the set can sign with. NULL also with MM_NO_MEMORY.
 *
 * Each key is for one algorithm: its `alg`, or without one mm_jwk_default_algorithm()'s. A key that can't be used is left out and
 * counted, and the others stay: of an unknown kty, crv or alg, for another use, unsound (RSA outside 2048-8192 bits or with an exponent
 * under 65537, a point off its curve), or with a `kid` that isn't a string of 1 to MM_KID_MAX bytes. Usable keys of one and the same `kid`
 * are all left out, so that it never depends on their order which one is meant. `x5c`, `x5u` and other members are ignored.
 */
MM_MUST_USE struct mm_jwks *mm_jwks_parse(const void *data, size_t length, struct mm_error *err);

/*
 * The same of a SPIFFE trust domain's bundle: the keys for JWT-SVIDs (use `jwt-svid`, with a `kid`; SPIFFE Trust Domain and Bundle section 4.2),
 * and no others, such as those for X.509-SVIDs. `spiffe_sequence` and `spiffe_refresh_hint` are ignored.
 */
MM_MUST_USE struct mm_jwks *mm_jwks_parse_bundle(const void *data, size_t length, struct mm_error *err);
struct mm_jwks *mm_jwks_ref(struct mm_jwks *jwks);
void mm_jwks_unref(struct mm_jwks *jwks);
MM_DEFINE_CLEANUP(struct mm_jwks, mm_jwks_unref);

size_t mm_jwks_n_keys(const struct mm_jwks *jwks);

/* How many keys were left out, and why the first of them was; borrowed, "" if none. */
size_t mm_jwks_n_skipped(const struct mm_jwks *jwks);
const char *mm_jwks_skipped_why(const struct mm_jwks *jwks);

/*
 * The key, borrowed, for a JWT whose header has this `kid` (NULL: none) and `alg`. Without a `kid`, the only key of the set that is for that
 * algorithm, if it is the only one. NULL: MM_TOKEN_INVALID; a newer set may have it.
 */
MM_MUST_USE const struct mm_jwks_key *mm_jwks_find(const struct mm_jwks *jwks, const char *kid,
                                                   enum mm_algorithm algorithm, struct mm_error *err);

#endif
