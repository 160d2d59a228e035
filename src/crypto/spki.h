/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public keys as X.509 writes them (SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7): taken from their bytes alone, so
 * that a key of another kind than ours costs nothing.
 */
#ifndef MM_CRYPTO_SPKI_H
#define MM_CRYPTO_SPKI_H

#include "crypto/pubkey.h"

/* The key of a certificate in DER. MM_KEY_CUSTODY for one that mm_pubkey.h's makers refuse, or that isn't there. */
MM_MUST_USE struct mm_pubkey *mm_pubkey_from_certificate(struct mm_bytes certificate, struct mm_error *err);

/* The key of a PEM file with one block, `PUBLIC KEY`. Failures as above. */
MM_MUST_USE struct mm_pubkey *mm_pubkey_from_pem(struct mm_bytes pem, struct mm_error *err);

#endif
