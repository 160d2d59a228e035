/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/uses.h"

#include <string.h>

#include "util/base64url.h"

/* As mm_uses_write() writes it; in a string of the entry its quotes would be escaped. */
#define MEMBER ",\"used\":{"

void mm_uses_write(struct mm_json_writer *entry, const struct mm_principal *principal)
{
    if (principal->use.until == 0)
        return;
    char digest[MM_SHA256_HEX_LENGTH + 1];
    mm_hex_encode(principal->use.digest, sizeof principal->use.digest, digest);
    mm_json_name(entry, "used");
    mm_json_open(entry, '{');
    mm_json_member_string(entry, "digest", digest);
    mm_json_member_integer(entry, "until", principal->use.until);
    mm_json_close(entry, '}');
}

bool mm_uses_remember(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    const struct mm_uses *uses = context;
    if (!memmem(record->bytes, record->length, MEMBER, strlen(MEMBER)))
        return true;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    if (!entry)
        return false;
    const json_t *used = json_object_get(entry, "used");
    const char *tenant = mm_json_string(entry, "tenant");
    const char *digest = mm_json_string(used, "digest");
    int64_t until = mm_json_integer(used, "until", 0);
    uint8_t bytes[MM_SHA256_LENGTH];
    if (!used)
        return true;
    if (!tenant || !digest || !mm_hex_decode(digest, bytes, sizeof bytes))
        return mm_fail(err, MM_LEDGER_CORRUPT, "entry %lld: what it says was used is malformed",
                       (long long)record->sequence);
    mm_replay_remember(uses->replay, tenant, bytes, until, uses->now);
    return true;
}
