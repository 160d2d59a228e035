/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row of a ledger that somebody else may have written: its index columns are believed only if they say what its bytes say, and
 * its hash only over those very bytes.
 */
#include "fuzz.h"

#include <string.h>

#include "ledger/chain.h"

static bool is_taken(const struct mm_store_row *row)
{
    struct mm_error err = {0};
    bool taken = mm_chain_check_columns(row, &err);
    assert(taken == (err.code == MM_OK) && (taken || err.code == MM_LEDGER_CORRUPT));
    return taken;
}

/* Every other value of a column must be refused. */
static void check_columns(const struct mm_store_row *row)
{
    struct mm_store_row wrong = *row;
    wrong.time ^= 1;
    assert(!is_taken(&wrong));
    const char **const columns[] = {&wrong.type, &wrong.account, &wrong.jti};
    for (size_t i = 0; i < MM_ARRAY_SIZE(columns); i++) {
        wrong = *row;
        *columns[i] = *columns[i] ? NULL : "";
        assert(!is_taken(&wrong));
        *columns[i] = "another";
        assert(!is_taken(&wrong));
    }
}

static void check_chain(const struct mm_store_row *row, const uint8_t *data)
{
    struct mm_store_head head = {0};
    struct mm_store_row chained = *row;
    struct mm_store_head next = mm_chain_next(&head, row->bytes);
    memcpy(chained.hash, next.hash, sizeof next.hash);
    chained.sequence = 1;
    bool follows = mm_chain_follow(&head, &chained, NULL);
    assert(follows && head.sequence == 1 && memcmp(head.hash, next.hash, sizeof next.hash) == 0);

    head = (struct mm_store_head){0};
    mm_cleanup(free) uint8_t *changed = malloc(row->bytes.length);
    assert(changed);
    memcpy(changed, data, row->bytes.length);
    changed[row->bytes.length / 2] ^= 1;
    chained.bytes.data = changed;
    assert(!mm_chain_follow(&head, &chained, NULL) && head.sequence == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct mm_store_row row = {.sequence = 1, .bytes = {data, size}};
    check_chain(&row, data);
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(data, size, NULL);
    row.type = mm_json_string(entry, "type");
    row.time = mm_json_integer(entry, "time", 0);
    row.account = mm_json_string(entry, "account");
    row.jti = mm_json_string(entry, "jti");
    bool is_entry = json_is_object(entry) && json_is_integer(json_object_get(entry, "time"));
    assert(is_taken(&row) == is_entry);
    if (is_entry && (!row.type || strcmp(row.type, "another") != 0) &&
        (!row.account || strcmp(row.account, "another") != 0) && (!row.jti || strcmp(row.jti, "another") != 0))
        check_columns(&row);
    return 0;
}
