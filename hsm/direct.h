/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing straight through C_SignInit and C_Sign, for what the engine can't do: Ed25519, and tokens that hold a key that the engine
 * chokes on. Each signer has a PKCS#11 session of its own; only hashing is done here.
 */
#ifndef MM_HSM_DIRECT_H
#define MM_HSM_DIRECT_H

#include "hsm/key.h"

struct mm_direct; /* one session and the key; used by one thread at a time. Borrows module and key */

/* MM_HSM_MECHANISM if the HSM token says that it has no mechanism for the algorithm; nothing is signed to find out. */
MM_MUST_USE bool mm_direct_check_offer(const struct mm_module *module, enum mm_algorithm algorithm,
                                       struct mm_error *err);

/* Whether the HSM has one more session at present, as far as opening one and closing it tells; not for HSMs that log out when any is closed. */
MM_MUST_USE bool mm_direct_try_session(const struct mm_module *module, bool *ret_has, struct mm_error *err);

/*
 * Open a session to sign with. MM_OVERLOADED: the HSM has no more sessions. MM_HSM_MECHANISM: the algorithm doesn't fit the key.
 */
MM_MUST_USE struct mm_direct *mm_direct_open(const struct mm_module *module, const struct mm_hsm_key *key,
                                             enum mm_algorithm algorithm, struct mm_error *err);

/*
 * The same over the session that stays open: for a custodian's process, since some HSMs log out when any session is closed, and where
 * there is no other session.
 */
MM_MUST_USE struct mm_direct *mm_direct_borrow(const struct mm_module *module, const struct mm_hsm_key *key,
                                               enum mm_algorithm algorithm, struct mm_error *err);
void mm_direct_close(struct mm_direct *direct);
MM_DEFINE_CLEANUP(struct mm_direct, mm_direct_close);

/*
 * Sign `data` in JWS form (RFC 7518 section 3, RFC 8037) into `signature` of MM_SIGNATURE_MAX bytes. MM_OVERLOADED: the HSM is busy
 * and the next signature may work; any other failure means that this process is done with its HSM.
 */
MM_MUST_USE bool mm_direct_sign(struct mm_direct *direct, struct mm_bytes data, uint8_t *signature, size_t *ret_length,
                                struct mm_error *err);

#endif
