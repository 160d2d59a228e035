/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the ledger. What is shown is what the entry's bytes say: an entry whose index columns claim otherwise is never
 * passed off under them.
 */
#include "ledger/reader.h"

#include <string.h>

#include "ledger/chain.h"

struct mm_ledger_reader {
    struct mm_store *store;
};

struct mm_ledger_reader *mm_ledger_reader_open(const char *file, struct mm_error *err)
{
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    reader->store = mm_store_open(file, MM_STORE_READ, err);
    return reader->store ? MM_TAKE(reader) : NULL;
}

void mm_ledger_reader_close(struct mm_ledger_reader *reader)
{
    if (!reader)
        return;
    mm_store_close(reader->store);
    free(reader);
}

struct listing {
    mm_ledger_visit visit;
    void *context;
};

static struct mm_ledger_record record_of(const struct mm_store_row *row)
{
    struct mm_ledger_record record = {.sequence = row->sequence, .bytes = row->bytes.data, .length = row->bytes.length};
    memcpy(record.hash, row->hash, sizeof record.hash);
    return record;
}

static bool show_row(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    const struct listing *listing = context;
    if (!mm_chain_check_columns(row, err))
        return false;
    const struct mm_ledger_record record = record_of(row);
    return listing->visit(listing->context, &record, err);
}

bool mm_ledger_list(struct mm_ledger_reader *reader, const struct mm_ledger_filter *filter, mm_ledger_visit visit,
                    void *context, struct mm_error *err)
{
    struct mm_store_filter rows = {.account = filter->account,
                                   .jti = filter->jti,
                                   .since = filter->since,
                                   .until = filter->until,
                                   .newest = filter->limit};
    size_t length = filter->type ? strlen(filter->type) : 0;
    if (length > 0 && filter->type[length - 1] == '.')
        rows.type_prefix = filter->type;
    else
        rows.type = filter->type;
    struct listing listing = {visit, context};
    return mm_store_visit(reader->store, &rows, show_row, &listing, err);
}

struct verification {
    struct listing listing; /* without a visit: nobody looks on */
    struct mm_store_head head;
    int64_t latest_time;
    int64_t latest_issue;
};

static bool verify_row(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    struct verification *verification = context;
    if (!mm_chain_follow(&verification->head, row, err) || !mm_chain_check_columns(row, err))
        return false;
    verification->latest_time = mm_chain_latest_time(verification->latest_time, row);
    verification->latest_issue = mm_chain_latest_issue(verification->latest_issue, row);
    if (!verification->listing.visit)
        return true;
    const struct mm_ledger_record record = record_of(row);
    return verification->listing.visit(verification->listing.context, &record, err);
}

bool mm_ledger_verify(struct mm_ledger_reader *reader, struct mm_ledger_report *ret_report, struct mm_error *err)
{
    return mm_ledger_verify_each(reader, NULL, NULL, ret_report, err);
}

bool mm_ledger_verify_each(struct mm_ledger_reader *reader, mm_ledger_visit visit, void *context,
                           struct mm_ledger_report *ret_report, struct mm_error *err)
{
    struct verification verification = {.listing = {visit, context}};
    const struct mm_store_head *head = &verification.head;
    if (!mm_store_visit(reader->store, &(struct mm_store_filter){0}, verify_row, &verification, err) ||
        !mm_store_check(reader->store, err))
        return false;
    ret_report->entries = head->sequence;
    ret_report->latest_time = verification.latest_time;
    ret_report->latest_issue = verification.latest_issue;
    memcpy(ret_report->head, head->hash, sizeof head->hash);
    return true;
}
