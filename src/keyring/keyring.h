/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of the service as the ledger's key entries tell them: which one signs, which ones verifiers see, and the pinned
 * public key that every signature is checked against. Immutable after loading.
 */
#ifndef MM_KEYRING_KEYRING_H
#define MM_KEYRING_KEYRING_H

#include "crypto/pubkey.h"
#include "ledger/reader.h"
#include "token/jwks.h"

struct mm_key {
    const char *kid; /* the public key's thumbprint */
    struct mm_pubkey *pubkey;
    enum mm_algorithm algorithm;
    char *hsm_token; /* name in the configuration */
    char *hsm_id;    /* CKA_ID, lower-case hex */
    char *hsm_label; /* CKA_LABEL; may be empty */
};

struct mm_keyring; /* opaque */

/*
 * Load the keyring from the ledger. MM_KEY_NOT_FOUND if no key was ever activated; MM_LEDGER_CORRUPT for a key entry whose
 * JWK, kid and algorithm don't agree.
 */
MM_MUST_USE struct mm_keyring *mm_keyring_load(struct mm_ledger_reader *reader, struct mm_error *err);
void mm_keyring_free(struct mm_keyring *keyring);
MM_DEFINE_CLEANUP(struct mm_keyring, mm_keyring_free);

/* The key that signs, borrowed. */
const struct mm_key *mm_keyring_active(const struct mm_keyring *keyring);

/* Every key that verifiers must know, borrowed; for the JWKS. */
size_t mm_keyring_n_keys(const struct mm_keyring *keyring);
const struct mm_key *mm_keyring_key(const struct mm_keyring *keyring, size_t i);

/* The fields of the ledger entry (MM_ENTRY_KEY_ACTIVATED) that activates `key`: kid, alg, jwk, hsm_token, hsm_id, hsm_label. */
MM_MUST_USE json_t *mm_key_entry(const struct mm_key *key, struct mm_error *err);

#endif
