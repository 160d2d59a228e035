/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What never changes about a key, as the entry that staged it pins it: its public key and where its private key lies. Immutable and
 * reference-counted, for the keyrings that share it.
 */
#ifndef MM_KEYRING_RECORD_H
#define MM_KEYRING_RECORD_H

#include "crypto/pubkey.h"
#include "util/json.h"

struct mm_key_record {
    _Atomic size_t references; /* mm_key_record_ref(), mm_key_record_unref() */
    struct mm_pubkey *pubkey;
    enum mm_algorithm algorithm;
    char *hsm_token;
    char *hsm_id;
    char *hsm_label;
};

/*
 * From the entry's fields: kid, alg, jwk, hsm_token, hsm_id, hsm_label. The key is built anew from its JWK: one that isn't what the entry
 * says it is, by kid or alg, is MM_LEDGER_CORRUPT. One reference is the caller's.
 */
MM_MUST_USE struct mm_key_record *mm_key_record_from_entry(const json_t *entry, struct mm_error *err);

struct mm_key_record *mm_key_record_ref(struct mm_key_record *record);
void mm_key_record_unref(struct mm_key_record *record);
MM_DEFINE_CLEANUP(struct mm_key_record, mm_key_record_unref);

#endif
