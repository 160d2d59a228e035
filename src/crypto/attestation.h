/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device's own attestation of a key: what the device's maker, not the PKCS#11 module, stands behind. It says that
 * the private key was made in the device, can't leave it and does nothing but sign; whoever verifies it names whom
 * they believe that (the anchor).
 *
 *     yubihsm2   a certificate for the key by the device's attestation key, with those that lead to Yubico's root
 *     tpm2       TPM2_Certify: what the TPM signed about the key, the key's public area, the signature
 */
#ifndef MM_CRYPTO_ATTESTATION_H
#define MM_CRYPTO_ATTESTATION_H

#include "crypto/pubkey.h"
#include "util/buffer.h"

enum mm_attestation_kind { MM_ATTESTATION_YUBIHSM2, MM_ATTESTATION_TPM2, MM_N_ATTESTATION_KINDS };

/*
 * What it consists of: the files as they were given. X(symbol, wire name)
 *
 *     statement  yubihsm2: PEM, the key's certificate first; tpm2: TPMS_ATTEST or TPM2B_ATTEST
 *     signature  tpm2: TPMT_SIGNATURE
 *     public     tpm2: the key's TPMT_PUBLIC or TPM2B_PUBLIC
 *     anchor     yubihsm2: PEM, the CAs that are believed; tpm2: the attestation key, PEM or TPMT_PUBLIC or TPM2B_PUBLIC
 *     nonce      tpm2: what it must have been made for; empty: whatever it says
 */
#define MM_ATTESTATION_PARTS(X) \
    X(MM_ATTESTATION_STATEMENT, "statement") \
    X(MM_ATTESTATION_SIGNATURE, "signature") \
    X(MM_ATTESTATION_PUBLIC, "public") \
    X(MM_ATTESTATION_ANCHOR, "anchor") \
    X(MM_ATTESTATION_NONCE, "nonce")

enum mm_attestation_part {
#define MM_ATTESTATION_PART_SYMBOL(symbol, name) symbol,
    MM_ATTESTATION_PARTS(MM_ATTESTATION_PART_SYMBOL)
#undef MM_ATTESTATION_PART_SYMBOL
        MM_N_ATTESTATION_PARTS
};

enum {
    MM_ATTESTATION_PART_MAX = 8192,       /* bytes of each */
    MM_ATTESTATION_PART_TEXT_MAX = 10923, /* the same in base64url */
};

/* A plain value that owns its buffers: mm_attestation_clear(). */
struct mm_attestation {
    enum mm_attestation_kind kind;
    struct mm_buffer parts[MM_N_ATTESTATION_PARTS]; /* none holds more than MM_ATTESTATION_PART_MAX */
};

struct mm_attestation mm_attestation_make(enum mm_attestation_kind kind);
void mm_attestation_clear(struct mm_attestation *attestation);
static inline void mm_attestation_clear_cleanup(struct mm_attestation *attestation)
{
    mm_attestation_clear(attestation);
}

const char *mm_attestation_kind_name(enum mm_attestation_kind kind);

/* {"kind", and each part that isn't empty in base64url}. NULL: MM_NO_MEMORY. */
MM_MUST_USE json_t *mm_attestation_to_json(const struct mm_attestation *attestation, struct mm_error *err);

/*
 * The same from such an object, whose other members are passed over. MM_ATTESTATION_INVALID for what
 * mm_attestation_to_json() doesn't write.
 */
MM_MUST_USE bool mm_attestation_from_json(const json_t *object, struct mm_attestation *ret_attestation,
                                          struct mm_error *err);

/* SHA-256 of a part, hex. */
void mm_attestation_digest(const struct mm_attestation *attestation, enum mm_attestation_part part,
                           char out[MM_SHA256_HEX_LENGTH + 1]);

/*
 * Whether the anchor vouches, at `now` (Unix seconds), that `key` was generated in the device, can't leave it, and
 * only signs. MM_ATTESTATION_INVALID, saying why not. `ret_says` gets what else the device says, as an object for
 * people. Pure, and bounded in time: it can be asked again whenever somebody doubts.
 */
MM_MUST_USE bool mm_attestation_verify(const struct mm_attestation *attestation, const struct mm_pubkey *key,
                                       int64_t now, json_t **ret_says, struct mm_error *err);

#endif
