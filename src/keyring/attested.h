/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key's attestation in the ledger: an entry that holds the evidence itself, so that anybody with a copy of the
 * ledger can verify it again, and what was verified about it when it was recorded. It changes nothing about the key.
 */
#ifndef MM_KEYRING_ATTESTED_H
#define MM_KEYRING_ATTESTED_H

#include "crypto/attestation.h"
#include "keyring/keyring.h"

/*
 * The fields of the entry, for an attestation that verifies for the key at `now` (Unix seconds): kid, kind, sha256
 * (of its statement), verified_by (SHA-256 of its anchor), says, evidence. NULL: those of mm_attestation_verify().
 */
MM_MUST_USE json_t *mm_attested_entry(const struct mm_key *key, const struct mm_attestation *attestation, int64_t now,
                                      struct mm_error *err);

/*
 * The ledger's latest such entry for the key `kid`, whole, for the caller to release; NULL in `ret_entry` if there is
 * none.
 */
MM_MUST_USE bool mm_attested_find(struct mm_ledger_reader *reader, const char *kid, json_t **ret_entry,
                                  struct mm_error *err);

/*
 * Whether such an entry's evidence verifies again, for `pubkey` at the entry's time, and is what its other fields
 * say. MM_ATTESTATION_INVALID.
 */
MM_MUST_USE bool mm_attested_check(const json_t *entry, const struct mm_pubkey *pubkey, struct mm_error *err);

#endif
