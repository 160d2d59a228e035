/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How each kind of attestation is verified: what mm_attestation_verify() goes on with once it knows that the parts
 * are there.
 */
#ifndef MM_CRYPTO_ATTESTATION_KINDS_H
#define MM_CRYPTO_ATTESTATION_KINDS_H

#include "crypto/attestation.h"

MM_MUST_USE bool mm_attestation_verify_yubihsm2(const struct mm_attestation *attestation, const struct mm_pubkey *key,
                                                int64_t now, json_t **ret_says, struct mm_error *err);
MM_MUST_USE bool mm_attestation_verify_tpm2(const struct mm_attestation *attestation, const struct mm_pubkey *key,
                                            int64_t now, json_t **ret_says, struct mm_error *err);

static inline struct mm_bytes mm_attestation_part(const struct mm_attestation *attestation,
                                                  enum mm_attestation_part part)
{
    const struct mm_buffer *buffer = &attestation->parts[part];
    return buffer->length ? (struct mm_bytes){buffer->data, buffer->length} : (struct mm_bytes){"", 0};
}

/* MM_ATTESTATION_INVALID, with a reason. */
static inline bool mm_attestation_refuse(struct mm_error *err, const char *why)
{
    return mm_fail(err, MM_ATTESTATION_INVALID, "the attestation is refused: %s", why);
}

#endif
