/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/attestation.h"

#include <string.h>

#include "crypto/attestation_kinds.h"
#include "util/base64url.h"

static const char *const PART_NAMES[] = {
#define PART_NAME(symbol, name) name,
    MM_ATTESTATION_PARTS(PART_NAME)
#undef PART_NAME
};

enum { NEEDED = 1, OPTIONAL = 2 };

static const struct kind {
    const char *name;
    bool (*verify)(const struct mm_attestation *attestation, const struct mm_pubkey *key, int64_t now,
                   json_t **ret_says, struct mm_error *err);
    int parts[MM_N_ATTESTATION_PARTS]; /* 0: it has no such part */
} KINDS[] = {
    [MM_ATTESTATION_YUBIHSM2] = {"yubihsm2",
                                 mm_attestation_verify_yubihsm2,
                                 {[MM_ATTESTATION_STATEMENT] = NEEDED, [MM_ATTESTATION_ANCHOR] = NEEDED}},
    [MM_ATTESTATION_TPM2] = {"tpm2",
                             mm_attestation_verify_tpm2,
                             {[MM_ATTESTATION_STATEMENT] = NEEDED,
                              [MM_ATTESTATION_SIGNATURE] = NEEDED,
                              [MM_ATTESTATION_PUBLIC] = NEEDED,
                              [MM_ATTESTATION_ANCHOR] = NEEDED,
                              [MM_ATTESTATION_NONCE] = OPTIONAL}},
};

struct mm_attestation mm_attestation_make(enum mm_attestation_kind kind)
{
    struct mm_attestation attestation = {.kind = kind};
    for (size_t i = 0; i < MM_N_ATTESTATION_PARTS; i++)
        attestation.parts[i] = mm_buffer_make(MM_ATTESTATION_PART_MAX);
    return attestation;
}

void mm_attestation_clear(struct mm_attestation *attestation)
{
    for (size_t i = 0; i < MM_N_ATTESTATION_PARTS; i++)
        mm_buffer_clear(&attestation->parts[i]);
}

const char *mm_attestation_kind_name(enum mm_attestation_kind kind)
{
    return KINDS[kind].name;
}

static json_t *encode(const struct mm_buffer *part)
{
    mm_cleanup(free) char *text = malloc(mm_base64url_length(part->length) + 1);
    if (!text)
        return NULL;
    mm_base64url_encode(part->data, part->length, text);
    return json_string(text);
}

json_t *mm_attestation_to_json(const struct mm_attestation *attestation, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *object = json_pack("{ss}", "kind", KINDS[attestation->kind].name);
    for (size_t i = 0; i < MM_N_ATTESTATION_PARTS; i++)
        if (attestation->parts[i].length > 0 &&
            json_object_set_new(object, PART_NAMES[i], encode(&attestation->parts[i])) != 0) {
            (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
            return NULL;
        }
    if (!object)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return MM_TAKE(object);
}

static bool find_kind(const json_t *object, enum mm_attestation_kind *ret_kind)
{
    const char *name = mm_json_string(object, "kind");
    for (size_t i = 0; name && i < MM_N_ATTESTATION_KINDS; i++)
        if (strcmp(KINDS[i].name, name) == 0) {
            *ret_kind = (enum mm_attestation_kind)i;
            return true;
        }
    return false;
}

static bool decode(const json_t *text, const char *name, struct mm_buffer *part, struct mm_error *err)
{
    uint8_t bytes[MM_ATTESTATION_PART_MAX + 3];
    size_t length = 0;
    if (!json_is_string(text) || json_string_length(text) == 0 ||
        json_string_length(text) > MM_ATTESTATION_PART_TEXT_MAX ||
        !mm_base64url_decode(json_string_value(text), json_string_length(text), bytes, &length))
        return mm_fail(err, MM_ATTESTATION_INVALID, "the attestation's %s is no base64url of 1 to %d bytes", name,
                       MM_ATTESTATION_PART_MAX);
    return mm_buffer_append(part, bytes, length, err);
}

bool mm_attestation_from_json(const json_t *object, struct mm_attestation *ret_attestation, struct mm_error *err)
{
    enum mm_attestation_kind kind;
    if (!find_kind(object, &kind))
        return mm_fail(err, MM_ATTESTATION_INVALID, "an attestation of a kind that isn't known");
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = mm_attestation_make(kind);
    for (size_t i = 0; i < MM_N_ATTESTATION_PARTS; i++) {
        const json_t *text = json_object_get(object, PART_NAMES[i]);
        if (text && !decode(text, PART_NAMES[i], &attestation.parts[i], err))
            return false;
    }
    *ret_attestation = attestation;
    attestation = mm_attestation_make(kind);
    return true;
}

void mm_attestation_digest(const struct mm_attestation *attestation, enum mm_attestation_part part,
                           char out[MM_SHA256_HEX_LENGTH + 1])
{
    struct mm_bytes bytes = mm_attestation_part(attestation, part);
    mm_sha256_hex(bytes.data, bytes.length, out);
}

bool mm_attestation_verify(const struct mm_attestation *attestation, const struct mm_pubkey *key, int64_t now,
                           json_t **ret_says, struct mm_error *err)
{
    const struct kind *kind = &KINDS[attestation->kind];
    for (size_t i = 0; i < MM_N_ATTESTATION_PARTS; i++) {
        bool is_there = attestation->parts[i].length > 0;
        if (is_there ? kind->parts[i] == 0 : kind->parts[i] == NEEDED)
            return mm_fail(err, MM_ATTESTATION_INVALID, "an attestation of kind %s %s %s", kind->name,
                           is_there ? "has no" : "needs a", PART_NAMES[i]);
    }
    return kind->verify(attestation, key, now, ret_says, err);
}
