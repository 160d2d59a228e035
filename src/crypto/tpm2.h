/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TPM 2.0 says of its keys, in its own marshalling (TPM 2.0 Library, part 2: Structures): big-endian numbers,
 * and byte strings behind their lengths. Bytes from outside: everything is bounded, what is left over or unknown is
 * refused. Nothing is judged here but the form.
 */
#ifndef MM_CRYPTO_TPM2_H
#define MM_CRYPTO_TPM2_H

#include "crypto/pubkey.h"

/* TPMA_OBJECT (part 2, section 8.3): X(symbol, bit, name) */
#define MM_TPM2_ATTRIBUTES(X) \
    X(MM_TPM2_FIXED_TPM, 1, "fixedTPM") \
    X(MM_TPM2_ST_CLEAR, 2, "stClear") \
    X(MM_TPM2_FIXED_PARENT, 4, "fixedParent") \
    X(MM_TPM2_SENSITIVE_DATA_ORIGIN, 5, "sensitiveDataOrigin") \
    X(MM_TPM2_USER_WITH_AUTH, 6, "userWithAuth") \
    X(MM_TPM2_ADMIN_WITH_POLICY, 7, "adminWithPolicy") \
    X(MM_TPM2_NO_DA, 10, "noDA") \
    X(MM_TPM2_ENCRYPTED_DUPLICATION, 11, "encryptedDuplication") \
    X(MM_TPM2_RESTRICTED, 16, "restricted") \
    X(MM_TPM2_DECRYPT, 17, "decrypt") \
    X(MM_TPM2_SIGN, 18, "sign")

enum mm_tpm2_attribute {
#define MM_TPM2_ATTRIBUTE_SYMBOL(symbol, bit, name) symbol = 1 << (bit),
    MM_TPM2_ATTRIBUTES(MM_TPM2_ATTRIBUTE_SYMBOL)
#undef MM_TPM2_ATTRIBUTE_SYMBOL
};

enum { MM_TPM2_NAME_LENGTH = 2 + MM_SHA256_LENGTH /* nameAlg and the public area's digest */ };

/* A public area (TPMT_PUBLIC, section 12.2.4), of a key of one of our types named with SHA-256. */
struct mm_tpm2_public {
    uint32_t attributes; /* TPMA_OBJECT */
    uint8_t name[MM_TPM2_NAME_LENGTH];
    struct mm_pubkey *key; /* owned: mm_tpm2_public_clear() */
};

/* From a TPMT_PUBLIC, or a TPM2B_PUBLIC around one. MM_ATTESTATION_INVALID, MM_NO_MEMORY. */
MM_MUST_USE bool mm_tpm2_parse_public(struct mm_bytes bytes, struct mm_tpm2_public *ret_public, struct mm_error *err);

void mm_tpm2_public_clear(struct mm_tpm2_public *area);
static inline void mm_tpm2_public_clear_cleanup(struct mm_tpm2_public *area)
{
    mm_tpm2_public_clear(area);
}

/*
 * What TPM2_Certify signs (TPMS_ATTEST with TPMS_CERTIFY_INFO, section 10.12); byte strings are parts of what was
 * parsed.
 */
struct mm_tpm2_certify {
    struct mm_bytes signed_bytes; /* the TPMS_ATTEST itself */
    struct mm_bytes nonce;        /* extraData */
    struct mm_bytes name;         /* of the certified object */
    uint64_t clock;               /* milliseconds that the TPM has been running */
    uint32_t reset_count;
    uint32_t restart_count;
    uint64_t firmware_version;
};

/*
 * From a TPMS_ATTEST, or a TPM2B_ATTEST around one. MM_ATTESTATION_INVALID, also for one that isn't of TPM2_Certify
 * or of no TPM.
 */
MM_MUST_USE bool mm_tpm2_parse_certify(struct mm_bytes bytes, struct mm_tpm2_certify *ret_certify,
                                       struct mm_error *err);

/* A signature in JWS's form, with the algorithm that made it. */
struct mm_tpm2_signature {
    enum mm_algorithm algorithm;
    uint8_t bytes[MM_SIGNATURE_MAX];
    size_t length;
};

/*
 * From a TPMT_SIGNATURE (section 11.3.4). MM_ATTESTATION_INVALID for one of another scheme or hash than our
 * algorithms'.
 */
MM_MUST_USE bool mm_tpm2_parse_signature(struct mm_bytes bytes, struct mm_tpm2_signature *ret_signature,
                                         struct mm_error *err);

#endif
