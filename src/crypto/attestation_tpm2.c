/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM2_Certify (TPM 2.0 Library, part 3, section 18.2): a TPM says of an object that it holds it, by the object's
 * name, which is the digest of its public area. What the public area says of the key is what the TPM enforces.
 */
#include <stdio.h>
#include <string.h>

#include "crypto/attestation_kinds.h"
#include "crypto/spki.h"
#include "crypto/tpm2.h"
#include "util/base64url.h"

enum { NAME_HEX_LENGTH = 2 * MM_TPM2_NAME_LENGTH, NONCE_TEXT_MAX = 2 * 66 };

/* What a signing key's public area must say, and mustn't. */
static const uint32_t REQUIRED =
    MM_TPM2_FIXED_TPM | MM_TPM2_FIXED_PARENT | MM_TPM2_SENSITIVE_DATA_ORIGIN | MM_TPM2_SIGN;
static const uint32_t FORBIDDEN = MM_TPM2_DECRYPT | MM_TPM2_RESTRICTED | MM_TPM2_ENCRYPTED_DUPLICATION;

/* An attestation key signs nothing but what the TPM made itself. */
static const uint32_t REQUIRED_OF_SIGNER = MM_TPM2_FIXED_TPM | MM_TPM2_RESTRICTED | MM_TPM2_SIGN;

static const struct {
    uint32_t bit;
    const char *name;
} ATTRIBUTES[] = {
#define ATTRIBUTE_NAME(symbol, number, text) {symbol, text},
    MM_TPM2_ATTRIBUTES(ATTRIBUTE_NAME)
#undef ATTRIBUTE_NAME
};

static bool check_attributes(const char *whose, uint32_t attributes, uint32_t required, uint32_t forbidden,
                             struct mm_error *err)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(ATTRIBUTES); i++) {
        bool is_set = attributes & ATTRIBUTES[i].bit;
        if (is_set ? !(forbidden & ATTRIBUTES[i].bit) : !(required & ATTRIBUTES[i].bit))
            continue;
        return mm_fail(err, MM_ATTESTATION_INVALID, "the attestation is refused: %s is%s %s", whose,
                       is_set ? "" : "n't", ATTRIBUTES[i].name);
    }
    return true;
}

/* The attestation key; `ret_attributes` stays 0 where the file doesn't tell them. */
static struct mm_pubkey *read_signer(struct mm_bytes anchor, uint32_t *ret_attributes, struct mm_error *err)
{
    static const char PEM[] = "-----BEGIN";
    struct mm_error why = {0};
    if (anchor.length > strlen(PEM) && memcmp(anchor.data, PEM, strlen(PEM)) == 0) {
        struct mm_pubkey *key = mm_pubkey_from_pem(anchor, &why);
        if (!key)
            (void)mm_fail(err, why.code == MM_NO_MEMORY ? why.code : MM_ATTESTATION_INVALID, "the attestation key: %s",
                          why.message);
        return key;
    }
    mm_cleanup(mm_tpm2_public_clear) struct mm_tpm2_public area = {0};
    if (!mm_tpm2_parse_public(anchor, &area, &why)) {
        (void)mm_fail(err, why.code, "the attestation key: %s", why.message);
        return NULL;
    }
    if (!check_attributes("the attestation key", area.attributes, REQUIRED_OF_SIGNER, MM_TPM2_DECRYPT, err))
        return NULL;
    *ret_attributes = area.attributes;
    return MM_TAKE(area.key);
}

static uint32_t all_attributes(void)
{
    uint32_t all = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ATTRIBUTES); i++)
        all |= ATTRIBUTES[i].bit;
    return all;
}

static bool is_same(struct mm_bytes a, struct mm_bytes b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool check_signature(const struct mm_attestation *attestation, const struct mm_tpm2_certify *certify,
                            const struct mm_pubkey *signer, struct mm_error *err)
{
    struct mm_tpm2_signature signature;
    struct mm_error why = {0};
    if (!mm_tpm2_parse_signature(mm_attestation_part(attestation, MM_ATTESTATION_SIGNATURE), &signature, err))
        return false;
    if (mm_pubkey_verify(signer, signature.algorithm, certify->signed_bytes,
                         (struct mm_bytes){signature.bytes, signature.length}, &why))
        return true;
    return why.code == MM_NO_MEMORY ? mm_fail(err, why.code, "%s", why.message)
                                    : mm_attestation_refuse(err, "the attestation key didn't sign it");
}

/* What the TPM vouches for is the public area, and that is the key's. */
static bool check_subject(const struct mm_tpm2_certify *certify, const struct mm_tpm2_public *area,
                          const struct mm_pubkey *key, const struct mm_pubkey *signer, struct mm_error *err)
{
    const char *thumbprint = mm_pubkey_thumbprint(key);
    if (!is_same(certify->name, (struct mm_bytes){area->name, sizeof area->name}))
        return mm_attestation_refuse(err, "it certifies another object than the one of the public area");
    if (strcmp(mm_pubkey_thumbprint(area->key), thumbprint) != 0)
        return mm_attestation_refuse(err, "it is of another key");
    if (strcmp(mm_pubkey_thumbprint(signer), thumbprint) == 0)
        return mm_attestation_refuse(err, "the key vouches for itself");
    if (area->attributes & ~all_attributes())
        return mm_attestation_refuse(err, "the key has an attribute that isn't known");
    return check_attributes("the key", area->attributes, REQUIRED, FORBIDDEN, err);
}

static json_t *describe(const struct mm_tpm2_certify *certify, const struct mm_tpm2_public *area,
                        const struct mm_pubkey *signer, uint32_t signer_attributes)
{
    char name[NAME_HEX_LENGTH + 1];
    char nonce[NONCE_TEXT_MAX + 1];
    char firmware[24];
    mm_cleanup(json_decref) json_t *attributes = json_array();
    for (size_t i = 0; i < MM_ARRAY_SIZE(ATTRIBUTES); i++)
        if ((area->attributes & ATTRIBUTES[i].bit) &&
            !mm_json_append(attributes, json_string(ATTRIBUTES[i].name), NULL))
            return NULL;
    mm_hex_encode(area->name, sizeof area->name, name);
    mm_hex_encode(certify->nonce.data, certify->nonce.length, nonce);
    (void)snprintf(firmware, sizeof firmware, "%016llx", (unsigned long long)certify->firmware_version);
    return json_pack("{ss sO ss ss sI sI sI ss so}", "name", name, "attributes", attributes, "firmware_version",
                     firmware, "nonce", nonce, "clock", (json_int_t)(certify->clock & INT64_MAX), "reset_count",
                     (json_int_t)certify->reset_count, "restart_count", (json_int_t)certify->restart_count,
                     "attestation_key", mm_pubkey_thumbprint(signer), "attestation_key_restricted",
                     signer_attributes ? json_true() : json_null());
}

bool mm_attestation_verify_tpm2(const struct mm_attestation *attestation, const struct mm_pubkey *key, int64_t now,
                                json_t **ret_says, struct mm_error *err)
{
    (void)now; /* a TPM knows no time of day */
    struct mm_tpm2_certify certify;
    mm_cleanup(mm_tpm2_public_clear) struct mm_tpm2_public area = {0};
    uint32_t signer_attributes = 0;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *signer =
        read_signer(mm_attestation_part(attestation, MM_ATTESTATION_ANCHOR), &signer_attributes, err);
    if (!signer || !mm_tpm2_parse_certify(mm_attestation_part(attestation, MM_ATTESTATION_STATEMENT), &certify, err) ||
        !mm_tpm2_parse_public(mm_attestation_part(attestation, MM_ATTESTATION_PUBLIC), &area, err) ||
        !check_signature(attestation, &certify, signer, err) || !check_subject(&certify, &area, key, signer, err))
        return false;
    struct mm_bytes nonce = mm_attestation_part(attestation, MM_ATTESTATION_NONCE);
    if (nonce.length > 0 && !is_same(nonce, certify.nonce))
        return mm_attestation_refuse(err, "it wasn't made for this nonce");
    *ret_says = describe(&certify, &area, signer, signer_attributes);
    return *ret_says || mm_fail(err, MM_NO_MEMORY, "out of memory");
}
