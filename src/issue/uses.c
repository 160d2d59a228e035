/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/uses.h"

#include <string.h>

#include "util/base64url.h"
#include "util/json_writer.h"

/* Every entry's bytes begin with its type. */
#define BEGINNING "{\"type\":\"assertion.used\","

bool mm_uses_record(struct mm_ledger *ledger, const struct mm_principal *principal, mm_ledger_done done, void *context,
                    struct mm_error *err)
{
    char digest[MM_SHA256_HEX_LENGTH + 1];
    mm_hex_encode(principal->use.digest, sizeof principal->use.digest, digest);
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer fields = mm_json_writer_make();
    mm_json_open(&fields, '{');
    mm_json_member_string(&fields, "tenant", principal->tenant->id);
    mm_json_member_string(&fields, "account", principal->account->identity);
    mm_json_member_string(&fields, "digest", digest);
    mm_json_member_integer(&fields, "until", principal->use.until);
    mm_json_close(&fields, '}');
    mm_cleanup(free) char *text = mm_json_writer_finish(&fields, err);
    const struct mm_entry_text entry = {.fields = text, .account = principal->account->identity};
    return text && mm_ledger_submit_text(ledger, MM_ENTRY_ASSERTION_USED, &entry, done, context, err);
}

bool mm_uses_remember(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    const struct mm_uses *uses = context;
    if (record->length < strlen(BEGINNING) || memcmp(record->bytes, BEGINNING, strlen(BEGINNING)) != 0)
        return true;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    if (!entry)
        return false;
    const char *tenant = mm_json_string(entry, "tenant");
    const char *digest = mm_json_string(entry, "digest");
    int64_t until = mm_json_integer(entry, "until", 0);
    uint8_t bytes[MM_SHA256_LENGTH];
    if (!tenant || !digest || until <= 0 || !mm_hex_decode(digest, bytes, sizeof bytes))
        return mm_fail(err, MM_LEDGER_CORRUPT, "entry %lld: what it says was used is malformed",
                       (long long)record->sequence);
    mm_replay_remember(uses->replay, tenant, bytes, until, uses->now);
    return true;
}
