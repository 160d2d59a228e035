/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/attestation.h"

#include <string.h>

#include "util/base64url.h"
#include "util/clock.h"
#include "util/file.h"

enum { NONCE_MAX = 66 };

bool mm_cli_attestation_take_option(struct mm_cli_attestation_options *options, int option)
{
    switch (option) {
    case MM_OPTION_ATTESTATION:
        options->statement = optarg;
        return true;
    case MM_OPTION_ATTESTATION_CA:
        options->ca = optarg;
        return true;
    case MM_OPTION_ATTESTATION_KEY:
        options->key = optarg;
        return true;
    case MM_OPTION_ATTESTATION_SIGNATURE:
        options->signature = optarg;
        return true;
    case MM_OPTION_ATTESTATION_PUBLIC:
        options->public_area = optarg;
        return true;
    case MM_OPTION_ATTESTATION_NONCE:
        options->nonce = optarg;
        return true;
    case MM_OPTION_VERIFY_ONLY:
        options->fate = MM_CLI_ATTESTATION_VERIFY_ONLY;
        return true;
    default:
        return false;
    }
}

bool mm_cli_attestation_is_given(const struct mm_cli_attestation_options *options, bool *ret_is_given,
                                 struct mm_error *err)
{
    bool has_tpms = options->key || options->signature || options->public_area || options->nonce;
    bool is_whole = options->ca ? !has_tpms : options->key && options->signature && options->public_area;
    *ret_is_given = options->statement != NULL;
    if (options->statement)
        return is_whole || mm_fail(err, MM_USAGE,
                                   "--attestation needs --attestation-ca (YubiHSM 2), or else --attestation-key, "
                                   "--attestation-signature and --attestation-public (TPM 2.0)");
    return !(options->ca || has_tpms || options->fate == MM_CLI_ATTESTATION_VERIFY_ONLY) ||
           mm_fail(err, MM_USAGE, "--attestation is missing, which the other options about it go with");
}

static bool read_part(const char *file, struct mm_buffer *part, struct mm_error *err)
{
    return mm_file_read(file, part, err) &&
           (part->length > 0 || mm_fail(err, MM_ATTESTATION_INVALID, "%s: an empty file", file));
}

static bool read_nonce(const char *hex, struct mm_buffer *part, struct mm_error *err)
{
    uint8_t bytes[NONCE_MAX];
    size_t length = strlen(hex) / 2;
    if (length == 0 || length > NONCE_MAX || strlen(hex) % 2 || !mm_hex_decode(hex, bytes, length))
        return mm_fail(err, MM_USAGE, "--attestation-nonce is 1 to %d bytes in hex", NONCE_MAX);
    return mm_buffer_append(part, bytes, length, err);
}

bool mm_cli_attestation_read(const struct mm_cli_attestation_options *options, struct mm_attestation *ret_attestation,
                             struct mm_error *err)
{
    const char *const files[MM_N_ATTESTATION_PARTS] = {
        [MM_ATTESTATION_STATEMENT] = options->statement,
        [MM_ATTESTATION_SIGNATURE] = options->signature,
        [MM_ATTESTATION_PUBLIC] = options->public_area,
        [MM_ATTESTATION_ANCHOR] = options->ca ? options->ca : options->key,
    };
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation =
        mm_attestation_make(options->ca ? MM_ATTESTATION_YUBIHSM2 : MM_ATTESTATION_TPM2);
    for (size_t i = 0; i < MM_ARRAY_SIZE(files); i++)
        if (files[i] && !read_part(files[i], &attestation.parts[i], err))
            return false;
    if (options->nonce && !read_nonce(options->nonce, &attestation.parts[MM_ATTESTATION_NONCE], err))
        return false;
    *ret_attestation = attestation;
    attestation = mm_attestation_make(attestation.kind);
    return true;
}

json_t *mm_cli_attestation_describe(const json_t *fields, const struct mm_error *why, struct mm_error *err)
{
    static const char *const MEMBERS[] = {"kind", "sha256", "verified_by", "says", "by", "reason", "evidence"};
    mm_cleanup(json_decref) json_t *described = json_pack("{sb}", "verified", (int)(why->code == MM_OK));
    bool ok =
        described && (why->code == MM_OK || json_object_set_new(described, "refused", json_string(why->message)) == 0);
    for (size_t i = 0; ok && i < MM_ARRAY_SIZE(MEMBERS); i++) {
        json_t *value = json_object_get(fields, MEMBERS[i]);
        ok = !value || json_object_set(described, MEMBERS[i], value) == 0;
    }
    const json_t *time = json_object_get(fields, "time");
    char text[MM_TIMESTAMP_MAX];
    if (json_is_integer(time))
        mm_timestamp(json_integer_value(time), text);
    if (ok && json_object_set_new(described, "kept", json_is_integer(time) ? json_string(text) : json_null()) == 0)
        return MM_TAKE(described);
    (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return NULL;
}
