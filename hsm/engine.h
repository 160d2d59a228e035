/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing through OpenSSL's EVP and libp11's `pkcs11` engine: the key is looked up once, by a URI that only it matches. The only
 * module that uses ENGINE. The engine runs beside the module that is already open: both share one PKCS#11 library and its login.
 *
 * What the HSM says is lost on the way through libp11, which also doesn't recover from a lost session: after any failed signature
 * this process is done with its HSM.
 */
#ifndef MM_HSM_ENGINE_H
#define MM_HSM_ENGINE_H

#include "hsm/key.h"
#include "util/secret.h"

struct mm_engine; /* immutable once open */

/*
 * Whether the engine can serve this key on this HSM token: it knows no Ed25519, and fails for a whole token that holds a private
 * key of a type it doesn't know. False in `ret_can` is no failure: mm_direct signs instead.
 */
MM_MUST_USE bool mm_engine_can_serve(const struct mm_module *module, const struct mm_hsm_key *key, bool *ret_can,
                                     struct mm_error *err);

/*
 * Load the engine for the PKCS#11 library at `library`, the very path that `module` was opened from, and the key. Not safe beside
 * other threads that use libcrypto's engines. The engine keeps a copy of the PIN for the life of the process; NULL: no login. Any failure is
 * MM_HSM_UNAVAILABLE, but MM_HSM_MECHANISM for an algorithm that doesn't fit the key. Borrows `module` for its life.
 */
MM_MUST_USE struct mm_engine *mm_engine_open(const char *library, const struct mm_module *module,
                                             const struct mm_hsm_key *key, enum mm_algorithm algorithm,
                                             const struct mm_secret *pin, struct mm_error *err);

/* Finalises the PKCS#11 library as well, so close the module right after; a worker ends its process instead. NULL is allowed. */
void mm_engine_close(struct mm_engine *engine);
MM_DEFINE_CLEANUP(struct mm_engine, mm_engine_close);

/*
 * Sign `data` in JWS form (raw r || s for ECDSA, RFC 7518 section 3.4) into `signature` of MM_SIGNATURE_MAX bytes. Safe to call from
 * many threads. MM_HSM_UNAVAILABLE on failure.
 */
MM_MUST_USE bool mm_engine_sign(const struct mm_engine *engine, struct mm_bytes data, uint8_t *signature,
                                size_t *ret_length, struct mm_error *err);

#endif
