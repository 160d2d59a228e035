/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attestation: a byte that says of which kind, then each part behind its length (two bytes, big-endian). Whatever
 * it says, it is of one key only, and what is taken is taken again from its JSON. The TPM's structures are fed on
 * their own, too, since they are reached behind a signature.
 */
#include "fuzz.h"

#include <string.h>

#include "crypto/attestation.h"
#include "crypto/tpm2.h"

enum { NOW = 1800000000 };

/* The seeds' key: the generator of P-256, and another one, P-256's base point doubled. */
static const char KEY[] = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
                          "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}";
static const char OTHER[] = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"fPJ7GI0DT36KUjgDBLUaw8CJaeJ38hs1pgtI_EdmmXg\","
                            "\"y\":\"B3dVENuO0EApPZrGn3Qw27p9reY86YIpngS3nSJ4c9E\"}";

static struct mm_pubkey *key_of(const char *text)
{
    mm_cleanup(json_decref) json_t *jwk = mm_json_parse(text, strlen(text), NULL);
    struct mm_pubkey *key = mm_pubkey_from_jwk(jwk, NULL);
    assert(key);
    return key;
}

static bool verify(const struct mm_attestation *attestation, const struct mm_pubkey *key, json_t **ret_says)
{
    struct mm_error err = {0};
    json_t *says = NULL;
    bool is_good = mm_attestation_verify(attestation, key, NOW, &says, &err);
    assert(is_good == (says != NULL) && is_good == (err.code == MM_OK));
    assert(is_good || err.code == MM_ATTESTATION_INVALID);
    *ret_says = says;
    return is_good;
}

static void check(const struct mm_attestation *attestation)
{
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = key_of(KEY);
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *other = key_of(OTHER);
    mm_cleanup(json_decref) json_t *says = NULL;
    mm_cleanup(json_decref) json_t *says_again = NULL;
    mm_cleanup(json_decref) json_t *says_of_other = NULL;
    mm_cleanup(mm_attestation_clear) struct mm_attestation again = {0};
    bool is_good = verify(attestation, key, &says);
    assert(!verify(attestation, other, &says_of_other));
    mm_cleanup(json_decref) json_t *kept = mm_attestation_to_json(attestation, NULL);
    assert(kept && mm_attestation_from_json(kept, &again, NULL));
    assert(verify(&again, key, &says_again) == is_good && (!is_good || json_equal(says, says_again)));
}

/* What is parsed says its own: every name is of SHA-256, every byte string within the input. */
static void check_structures(struct mm_bytes bytes)
{
    mm_cleanup(mm_tpm2_public_clear) struct mm_tpm2_public area = {0};
    struct mm_tpm2_certify certify;
    struct mm_tpm2_signature signature;
    const uint8_t *end = (const uint8_t *)bytes.data + bytes.length;
    if (mm_tpm2_parse_public(bytes, &area, NULL))
        assert(area.key && area.name[0] == 0 && area.name[1] == 0x0b);
    if (mm_tpm2_parse_certify(bytes, &certify, NULL)) {
        assert((const uint8_t *)certify.signed_bytes.data + certify.signed_bytes.length == end);
        assert(certify.name.length <= 66 && certify.nonce.length <= 66);
    }
    if (mm_tpm2_parse_signature(bytes, &signature, NULL))
        assert(signature.length <= MM_SIGNATURE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_structures((struct mm_bytes){size ? data : (const uint8_t *)"", size});
    if (size == 0)
        return 0;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        mm_attestation_make(data[0] & 1 ? MM_ATTESTATION_TPM2 : MM_ATTESTATION_YUBIHSM2);
    size_t at = 1;
    for (size_t i = 0; i < MM_N_ATTESTATION_PARTS && at + 2 <= size; i++) {
        size_t length = (size_t)data[at] << 8 | data[at + 1];
        at += 2;
        length = length < size - at ? length : size - at;
        if (length > 0 && !mm_buffer_append(&attestation.parts[i], data + at, length, NULL))
            return 0;
        at += length;
    }
    check(&attestation);
    return 0;
}
