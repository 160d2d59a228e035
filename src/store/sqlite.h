/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of the SQLite store share: the connection (sqlite.c) and its rows (sqlite_rows.c). Private to this
 * folder.
 */
#ifndef MM_STORE_SQLITE_H
#define MM_STORE_SQLITE_H

#include <sqlite3.h>
#include <sys/stat.h>

#include "store/store.h"

enum mm_statement { MM_SQL_BEGIN, MM_SQL_COMMIT, MM_SQL_ROLLBACK, MM_SQL_HEAD, MM_SQL_INSERT, MM_SQL_PROBE, MM_N_SQL };

struct mm_store {
    char *path; /* absolute, without symbolic links */
    char *wal_path;
    sqlite3 *db;
    int lock_fd;         /* -1 when reading */
    struct stat db_file; /* as opened, to notice when a file was removed or replaced */
    struct stat wal_file;
    sqlite3_stmt *statements[MM_N_SQL]; /* when writing; MM_SQL_HEAD when reading, too */
};

/* Once the log has been copied into the database, SQLite may cut it down to so many bytes. */
enum { MM_WAL_SIZE_LIMIT = 67108864 };

/* Report SQLite's failure `status` of doing `what`. Returns false. */
bool mm_sqlite_fail(const struct mm_store *store, int status, const char *what, struct mm_error *err);

/* Prepare one statement, kept for the connection's life or (SQLITE_PREPARE_PERSISTENT not set) for one use. */
MM_MUST_USE bool mm_sqlite_prepare(const struct mm_store *store, const char *sql, unsigned flags,
                                   sqlite3_stmt **ret_statement, struct mm_error *err);

/* Prepare the statements that a connection of this mode keeps. */
MM_MUST_USE bool mm_sqlite_prepare_rows(struct mm_store *store, enum mm_store_mode mode, struct mm_error *err);

static inline void mm_finalize(sqlite3_stmt *statement)
{
    (void)sqlite3_finalize(statement);
}
MM_DEFINE_CLEANUP(sqlite3_stmt, mm_finalize);

#endif
