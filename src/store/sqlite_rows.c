/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in SQLite: its rows. An append is one transaction that first looks whether the store is still the one the writer
 * believes in; a visit copies pages of rows, so that no reader keeps the log from being checkpointed.
 */
#include "store/sqlite.h"

#include <stdio.h>
#include <string.h>

enum { PAGE_ROWS = 256, SQL_MAX = 1024, TEXT_MAX = 16384 /* bytes of an index column */ };

#define COLUMNS "sequence, hash, bytes, type, time, account, jti"

static const char *const STATEMENTS[MM_N_SQL] = {
    [MM_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [MM_SQL_COMMIT] = "COMMIT",
    [MM_SQL_ROLLBACK] = "ROLLBACK",
    [MM_SQL_HEAD] = "SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1",
    [MM_SQL_INSERT] = "INSERT INTO entries (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    /* Writes the first page whatever its value was: also over what a failed sync left in the log. */
    [MM_SQL_PROBE] = "PRAGMA user_version = 1",
};

bool mm_sqlite_prepare_rows(struct mm_store *store, enum mm_store_mode mode, struct mm_error *err)
{
    for (int i = 0; i < MM_N_SQL; i++) {
        if (mode == MM_STORE_READ && i != MM_SQL_HEAD)
            continue;
        if (!mm_sqlite_prepare(store, STATEMENTS[i], SQLITE_PREPARE_PERSISTENT, &store->statements[i], err))
            return false;
    }
    return true;
}

static bool fail_row(const struct mm_store *store, int64_t sequence, const char *why, struct mm_error *err)
{
    return mm_fail(err, MM_LEDGER_CORRUPT, "%s: entry %lld: %s", store->path, (long long)sequence, why);
}

/* Run a statement that yields no row. */
static bool execute(const struct mm_store *store, enum mm_statement which, const char *what, struct mm_error *err)
{
    sqlite3_stmt *statement = store->statements[which];
    (void)sqlite3_step(statement);
    int status = sqlite3_reset(statement); /* tells what stepping found */
    return status == SQLITE_OK || mm_sqlite_fail(store, status, what, err);
}

static bool copy_hash(sqlite3_stmt *statement, int column, uint8_t out[MM_SHA256_LENGTH])
{
    if (sqlite3_column_type(statement, column) != SQLITE_BLOB ||
        sqlite3_column_bytes(statement, column) != MM_SHA256_LENGTH)
        return false;
    memcpy(out, sqlite3_column_blob(statement, column), MM_SHA256_LENGTH);
    return true;
}

static bool take_head(struct mm_store *store, struct mm_store_head *ret_head, struct mm_error *err)
{
    sqlite3_stmt *statement = store->statements[MM_SQL_HEAD];
    struct mm_store_head head = {0};
    int status = sqlite3_step(statement);
    if (status == SQLITE_ROW) {
        head.sequence = sqlite3_column_int64(statement, 0);
        if (!copy_hash(statement, 1, head.hash))
            return fail_row(store, head.sequence, "its hash isn't 32 bytes", err);
    } else if (status != SQLITE_DONE) {
        return mm_sqlite_fail(store, status, "read the last entry", err);
    }
    *ret_head = head;
    return true;
}

bool mm_store_head(struct mm_store *store, struct mm_store_head *ret_head, struct mm_error *err)
{
    bool found = take_head(store, ret_head, err);
    (void)sqlite3_reset(store->statements[MM_SQL_HEAD]);
    return found;
}

/* Appending. */

/* Whether the file is the one that was seen last, and holds no less than it did or than SQLite itself would leave. */
static bool is_intact(const char *path, const struct stat *seen, off_t may_shrink_to)
{
    struct stat now;
    return stat(path, &now) == 0 && now.st_dev == seen->st_dev && now.st_ino == seen->st_ino &&
           (now.st_size >= seen->st_size || now.st_size >= may_shrink_to);
}

/* What is_intact() compares with from now on. */
static void remember_files(struct mm_store *store)
{
    (void)stat(store->path, &store->db_file);
    (void)stat(store->wal_path, &store->wal_file);
}

static bool check_before_write(struct mm_store *store, const struct mm_store_head *believed, struct mm_error *err)
{
    /* SQLite would go on writing into a file that nobody can find again, or behind entries that are gone. */
    if (!is_intact(store->path, &store->db_file, INT64_MAX) ||
        !is_intact(store->wal_path, &store->wal_file, MM_WAL_SIZE_LIMIT))
        return mm_fail(err, MM_LEDGER_UNAVAILABLE, "%s: it or its log was removed, replaced or cut", store->path);
    struct mm_store_head head;
    if (!mm_store_head(store, &head, err))
        return false;
    if (head.sequence != believed->sequence || memcmp(head.hash, believed->hash, sizeof head.hash) != 0)
        return mm_fail(err, MM_LEDGER_CORRUPT, "%s: its last entry is %lld and not the %lld written here", store->path,
                       (long long)head.sequence, (long long)believed->sequence);
    return true;
}

static int bind_optional(sqlite3_stmt *statement, int column, const char *text)
{
    return text ? sqlite3_bind_text(statement, column, text, -1, SQLITE_STATIC) : sqlite3_bind_null(statement, column);
}

static bool insert(struct mm_store *store, const struct mm_store_row *row, struct mm_error *err)
{
    sqlite3_stmt *statement = store->statements[MM_SQL_INSERT];
    int failed = sqlite3_bind_int64(statement, 1, row->sequence) |
                 sqlite3_bind_blob(statement, 2, row->hash, MM_SHA256_LENGTH, SQLITE_STATIC) |
                 sqlite3_bind_blob(statement, 3, row->bytes.data, (int)row->bytes.length, SQLITE_STATIC) |
                 bind_optional(statement, 4, row->type) | sqlite3_bind_int64(statement, 5, row->time) |
                 bind_optional(statement, 6, row->account) | bind_optional(statement, 7, row->jti);
    if (failed)
        return mm_sqlite_fail(store, SQLITE_NOMEM, "write an entry", err);
    return execute(store, MM_SQL_INSERT, "write an entry", err);
}

static void roll_back(struct mm_store *store)
{
    /* A full disk or an I/O error may have rolled back by itself. */
    if (!sqlite3_get_autocommit(store->db))
        (void)execute(store, MM_SQL_ROLLBACK, "roll back", NULL);
}

static bool begin(struct mm_store *store, const struct mm_store_head *head, struct mm_error *err)
{
    if (!execute(store, MM_SQL_BEGIN, "begin a transaction", err))
        return false;
    if (check_before_write(store, head, err))
        return true;
    roll_back(store);
    return false;
}

bool mm_store_append(struct mm_store *store, const struct mm_store_head *head, const struct mm_store_row *rows,
                     size_t n, struct mm_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].bytes.length > MM_STORE_BYTES_MAX)
            return mm_fail(err, MM_INTERNAL, "an entry is larger than %d bytes", MM_STORE_BYTES_MAX);
    if (!begin(store, head, err))
        return false;
    bool done = true;
    for (size_t i = 0; done && i < n; i++)
        done = insert(store, &rows[i], err);
    done = done && execute(store, MM_SQL_COMMIT, "commit", err);
    if (done)
        remember_files(store);
    else
        roll_back(store);
    return done;
}

bool mm_store_probe(struct mm_store *store, const struct mm_store_head *head, struct mm_error *err)
{
    if (!begin(store, head, err))
        return false;
    bool done = execute(store, MM_SQL_PROBE, "write", err) && execute(store, MM_SQL_COMMIT, "commit", err);
    if (!done)
        roll_back(store);
    return done;
}

/* Visiting. */

/* One row with the memory that its pointers lead to. */
struct copy {
    struct mm_store_row row;
    char *memory;
};

struct page {
    struct copy copies[PAGE_ROWS];
    size_t n;
};

static void page_clear(struct page *page)
{
    for (size_t i = 0; i < page->n; i++)
        free(page->copies[i].memory);
    page->n = 0;
}

static void page_free(struct page *page)
{
    if (page)
        page_clear(page);
    free(page);
}
MM_DEFINE_CLEANUP(struct page, page_free);

/* Columns of a SELECT of COLUMNS. */
enum { SEQUENCE, HASH, BYTES, TYPE, TIME, ACCOUNT, JTI };

static const int TEXTS[] = {TYPE, ACCOUNT, JTI};

/* What is wrong with a text column, or NULL. */
static const char *judge_text(sqlite3_stmt *statement, int column)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return column == TYPE ? "its type is missing" : NULL;
    if (sqlite3_column_type(statement, column) != SQLITE_TEXT)
        return "its type, account or jti isn't text";
    size_t length = strlen((const char *)sqlite3_column_text(statement, column));
    if (length > TEXT_MAX || length != (size_t)sqlite3_column_bytes(statement, column))
        return "its type, account or jti is too long or holds a NUL";
    return NULL;
}

/* What is wrong with the types and sizes of the row at hand, or NULL. */
static const char *judge_row(sqlite3_stmt *statement)
{
    if (sqlite3_column_type(statement, BYTES) != SQLITE_BLOB ||
        sqlite3_column_bytes(statement, BYTES) > MM_STORE_BYTES_MAX)
        return "its bytes are of another type or too many";
    if (sqlite3_column_type(statement, TIME) != SQLITE_INTEGER)
        return "its time isn't an integer";
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++) {
        const char *wrong = judge_text(statement, TEXTS[i]);
        if (wrong)
            return wrong;
    }
    return NULL;
}

/* Copy a text column with its NUL to *at and move on. */
static const char *copy_text(sqlite3_stmt *statement, int column, char **at)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return NULL;
    const char *copied = *at;
    *at = stpcpy(*at, (const char *)sqlite3_column_text(statement, column)) + 1;
    return copied;
}

static bool copy_row(const struct mm_store *store, sqlite3_stmt *statement, struct copy *ret_copy, struct mm_error *err)
{
    struct mm_store_row row = {.sequence = sqlite3_column_int64(statement, SEQUENCE)};
    const char *wrong = copy_hash(statement, HASH, row.hash) ? judge_row(statement) : "its hash isn't 32 bytes";
    if (wrong)
        return fail_row(store, row.sequence, wrong, err);
    row.time = sqlite3_column_int64(statement, TIME);
    row.bytes.length = (size_t)sqlite3_column_bytes(statement, BYTES);
    size_t size = row.bytes.length;
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++)
        size += (size_t)sqlite3_column_bytes(statement, TEXTS[i]) + 1;
    char *memory = malloc(size);
    if (!memory)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    row.bytes.data = memory;
    char *at = memory;
    if (row.bytes.length)
        at = mempcpy(at, sqlite3_column_blob(statement, BYTES), row.bytes.length);
    row.type = copy_text(statement, TYPE, &at);
    row.account = copy_text(statement, ACCOUNT, &at);
    row.jti = copy_text(statement, JTI, &at);
    *ret_copy = (struct copy){row, memory};
    return true;
}

enum { P_FIRST = 1, P_LAST, P_LIMIT, P_ACCOUNT, P_JTI, P_TYPE, P_PREFIX, P_SINCE, P_UNTIL };

/* WHERE and ORDER BY of a filter. Only terms that choose are written, so that SQLite can take an index for them. */
static void write_condition(const struct mm_store_filter *filter, const char *order, char out[SQL_MAX])
{
    (void)snprintf(out, SQL_MAX, "WHERE sequence BETWEEN ?1 AND ?2%s%s%s%s%s%s ORDER BY sequence %s LIMIT ?3",
                   filter->account ? " AND account = ?4" : "", filter->jti ? " AND jti = ?5" : "",
                   filter->type ? " AND type = ?6" : "",
                   filter->type_prefix ? " AND substr(type, 1, length(?7)) = ?7" : "",
                   filter->since ? " AND time >= ?8" : "", filter->until ? " AND time < ?9" : "", order);
}

struct range {
    int64_t first;
    int64_t last;
};

static void bind_condition(sqlite3_stmt *statement, const struct mm_store_filter *filter, const struct range *range,
                           int64_t limit)
{
    /* Parameters that the statement doesn't have are refused by SQLite, which is as well. */
    (void)sqlite3_bind_int64(statement, P_FIRST, range->first);
    (void)sqlite3_bind_int64(statement, P_LAST, range->last);
    (void)sqlite3_bind_int64(statement, P_LIMIT, limit);
    (void)bind_optional(statement, P_ACCOUNT, filter->account);
    (void)bind_optional(statement, P_JTI, filter->jti);
    (void)bind_optional(statement, P_TYPE, filter->type);
    (void)bind_optional(statement, P_PREFIX, filter->type_prefix);
    (void)sqlite3_bind_int64(statement, P_SINCE, filter->since);
    (void)sqlite3_bind_int64(statement, P_UNTIL, filter->until);
}

/* Move the start of the range to the first of the newest rows that match. */
static bool find_newest(struct mm_store *store, const struct mm_store_filter *filter, struct range *range,
                        struct mm_error *err)
{
    char condition[SQL_MAX];
    char sql[SQL_MAX + 128];
    write_condition(filter, "DESC", condition);
    (void)snprintf(sql, sizeof sql, "SELECT min(sequence) FROM (SELECT sequence FROM entries %s)", condition);
    mm_cleanup(mm_finalize) sqlite3_stmt *statement = NULL;
    if (!mm_sqlite_prepare(store, sql, 0, &statement, err))
        return false;
    bind_condition(statement, filter, range, filter->newest);
    int status = sqlite3_step(statement);
    if (status != SQLITE_ROW)
        return mm_sqlite_fail(store, status, "read entries", err);
    if (sqlite3_column_type(statement, 0) == SQLITE_INTEGER)
        range->first = sqlite3_column_int64(statement, 0);
    return true;
}

static bool fill_page(const struct mm_store *store, sqlite3_stmt *statement, int64_t first, struct page *page,
                      struct mm_error *err)
{
    int64_t lowest = first;
    int status;
    while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
        struct copy *copy = &page->copies[page->n];
        if (!copy_row(store, statement, copy, err))
            return false;
        page->n++;
        if (copy->row.sequence < lowest)
            return fail_row(store, copy->row.sequence, "stored out of order", err);
        lowest = copy->row.sequence + (copy->row.sequence < INT64_MAX);
    }
    return status == SQLITE_DONE || mm_sqlite_fail(store, status, "read entries", err);
}

static bool visit_page(const struct page *page, mm_store_visitor visit, void *context, struct mm_error *err)
{
    for (size_t i = 0; i < page->n; i++)
        if (!visit(context, &page->copies[i].row, err))
            return false;
    return true;
}

static bool visit_range(struct mm_store *store, const struct mm_store_filter *filter, struct range range,
                        mm_store_visitor visit, void *context, struct mm_error *err)
{
    char condition[SQL_MAX];
    char sql[SQL_MAX + 128];
    write_condition(filter, "ASC", condition);
    (void)snprintf(sql, sizeof sql, "SELECT " COLUMNS " FROM entries %s", condition);
    mm_cleanup(mm_finalize) sqlite3_stmt *statement = NULL;
    mm_cleanup(page_free) struct page *page = calloc(1, sizeof *page);
    if (!page)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (!mm_sqlite_prepare(store, sql, SQLITE_PREPARE_PERSISTENT, &statement, err))
        return false;
    do {
        page_clear(page);
        bind_condition(statement, filter, &range, PAGE_ROWS);
        struct mm_error why = {0};
        bool filled = fill_page(store, statement, range.first, page, &why);
        (void)sqlite3_reset(statement);
        /* The rows before a broken one come first: a visitor that checks them may find an earlier fault. */
        if (!visit_page(page, visit, context, err))
            return false;
        if (!filled)
            return mm_fail(err, why.code, "%s", why.message);
        if (page->n > 0 && page->copies[page->n - 1].row.sequence == range.last)
            return true;
        if (page->n > 0)
            range.first = page->copies[page->n - 1].row.sequence + 1;
    } while (page->n == PAGE_ROWS);
    return true;
}

bool mm_store_visit(struct mm_store *store, const struct mm_store_filter *filter, mm_store_visitor visit, void *context,
                    struct mm_error *err)
{
    struct mm_store_head head;
    if (!mm_store_head(store, &head, err))
        return false;
    struct range range = {filter->first ? filter->first : INT64_MIN, head.sequence};
    if (filter->newest > 0 && !find_newest(store, filter, &range, err))
        return false;
    return visit_range(store, filter, range, visit, context, err);
}

bool mm_store_check(struct mm_store *store, struct mm_error *err)
{
    mm_cleanup(mm_finalize) sqlite3_stmt *statement = NULL;
    if (!mm_sqlite_prepare(store, "PRAGMA integrity_check(1)", 0, &statement, err))
        return false;
    int status = sqlite3_step(statement);
    if (status != SQLITE_ROW)
        return mm_sqlite_fail(store, status, "check the store", err);
    const char *found = (const char *)sqlite3_column_text(statement, 0);
    if (!found || strcmp(found, "ok") != 0)
        return mm_fail(err, MM_LEDGER_CORRUPT, "%s: %s", store->path, found ? found : "can't be checked");
    return true;
}
