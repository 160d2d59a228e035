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
    struct mm_store_filter rows = {.first = filter->first,
                                   .account = filter->account,
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

struct look {
    bool has_row;
    int64_t time;
};

static bool look_at_row(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    (void)err;
    *(struct look *)context = (struct look){true, row->time};
    return false; /* one is enough */
}

static bool read_time(struct mm_ledger_reader *reader, int64_t sequence, int64_t *ret_time, struct mm_error *err)
{
    struct look look = {0};
    struct mm_error why = {0};
    if (!mm_store_visit(reader->store, &(struct mm_store_filter){.first = sequence}, look_at_row, &look, &why) &&
        !look.has_row)
        return mm_fail(err, why.code, "%s", why.message);
    *ret_time = look.time;
    return true;
}

bool mm_ledger_find_since(struct mm_ledger_reader *reader, int64_t since, int64_t *ret_sequence, struct mm_error *err)
{
    enum { FIRST_STEP = 1024 };
    struct mm_store_head head;
    int64_t time = INT64_MAX;
    if (!mm_store_head(reader->store, &head, err))
        return false;
    int64_t sequence = head.sequence + 1;
    for (int64_t step = FIRST_STEP; sequence > 1 && time >= since - MM_LEDGER_CLOCK_LEEWAY; step *= 2) {
        sequence = sequence > step ? sequence - step : 1;
        if (!read_time(reader, sequence, &time, err))
            return false;
    }
    *ret_sequence = sequence;
    return true;
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
