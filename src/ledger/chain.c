/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash chain. The hash covers exact bytes, never a parsed and re-serialised form, so that what was recorded is what is
 * checked for ever.
 */
#include "ledger/chain.h"

#include <endian.h>
#include <string.h>

#include "ledger/ledger.h"

static const char TAG[] = "mintmark-ledger-v1"; /* hashed with its NUL */

struct mm_store_head mm_chain_next(const struct mm_store_head *head, struct mm_bytes bytes)
{
    struct mm_store_head next = {.sequence = head->sequence + 1};
    uint64_t big_endian = htobe64((uint64_t)next.sequence);
    const struct mm_bytes parts[] = {
        {TAG, sizeof TAG},
        {head->hash, sizeof head->hash},
        {&big_endian, sizeof big_endian},
        bytes,
    };
    mm_sha256_parts(parts, MM_ARRAY_SIZE(parts), next.hash);
    return next;
}

bool mm_chain_follow(struct mm_store_head *head, const struct mm_store_row *row, struct mm_error *err)
{
    if (row->sequence != head->sequence + 1)
        return mm_fail(err, MM_LEDGER_CORRUPT, "entry %lld is missing: entry %lld follows %lld",
                       (long long)head->sequence + 1, (long long)row->sequence, (long long)head->sequence);
    struct mm_store_head next = mm_chain_next(head, row->bytes);
    if (memcmp(next.hash, row->hash, sizeof next.hash) != 0)
        return mm_fail(err, MM_LEDGER_CORRUPT, "entry %lld: its hash doesn't continue the chain",
                       (long long)row->sequence);
    *head = next;
    return true;
}

static bool is_same_text(const char *column, const char *member)
{
    return column && member ? strcmp(column, member) == 0 : column == member;
}

bool mm_chain_check_columns(const struct mm_store_row *row, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(row->bytes.data, row->bytes.length, &why);
    const json_t *time = json_object_get(entry, "time");
    const char *wrong = NULL;
    if (why.code == MM_NO_MEMORY)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (!json_is_object(entry))
        wrong = "its bytes aren't a JSON object";
    else if (!is_same_text(row->type, mm_json_string(entry, "type")))
        wrong = "its type column differs from its bytes";
    else if (!json_is_integer(time) || row->time != json_integer_value(time))
        wrong = "its time column differs from its bytes";
    else if (!is_same_text(row->account, mm_json_string(entry, "account")))
        wrong = "its account column differs from its bytes";
    else if (!is_same_text(row->jti, mm_json_string(entry, "jti")))
        wrong = "its jti column differs from its bytes";
    if (wrong)
        return mm_fail(err, MM_LEDGER_CORRUPT, "entry %lld: %s", (long long)row->sequence, wrong);
    return true;
}

int64_t mm_chain_latest_time(int64_t latest, const struct mm_store_row *row)
{
    bool is_accepted = strcmp(row->type, mm_entry_type_name(MM_ENTRY_CLOCK_ACCEPTED)) == 0;
    return is_accepted || row->time > latest ? row->time : latest;
}

int64_t mm_chain_latest_issue(int64_t latest, const struct mm_store_row *row)
{
    bool is_issue = strcmp(row->type, mm_entry_type_name(MM_ENTRY_TOKEN_ISSUED)) == 0;
    return is_issue && row->time > latest ? row->time : latest;
}
