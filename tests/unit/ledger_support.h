/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of store, ledger and keyring share: a folder of their own, and a connection to the database that goes round
 * the code under test, as an attacker or a careless administrator would.
 */
#ifndef MM_TESTS_LEDGER_SUPPORT_H
#define MM_TESTS_LEDGER_SUPPORT_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "util/base.h"

struct place {
    char folder[64];
    char file[96];
};

static inline int place_make(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    (void)snprintf(place->folder, sizeof place->folder, "/tmp/mm-ledger-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->file, sizeof place->file, "%s/mint.db", place->folder);
    *state = place;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline int place_remove(void **state)
{
    struct place *place = *state;
    (void)umount2(place->folder, MNT_DETACH); /* where a test mounted a small disk */
    (void)nftw(place->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(place);
    return 0;
}

/* A test with a place of its own. */
#define placed(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

static inline sqlite3 *raw_open(const char *file)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 2000);
    return db;
}

static inline void raw_run(sqlite3 *db, const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why ? why : "?");
}

static inline void raw(const char *file, const char *sql)
{
    sqlite3 *db = raw_open(file);
    raw_run(db, sql);
    (void)sqlite3_close(db);
}

static inline bool exists(const char *file, const char *suffix)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s%s", file, suffix);
    struct stat info;
    return lstat(path, &info) == 0;
}

static inline void write_file(const char *file, const char *suffix, const char *content)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s%s", file, suffix);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fputs(content, out);
    (void)fclose(out);
}

/* A copy of the database file alone, as it lies there. */
static inline void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "r");
    FILE *out = fopen(to, "w");
    assert_non_null(in);
    assert_non_null(out);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, in)) > 0;)
        assert_int_equal(fwrite(chunk, 1, n, out), n);
    (void)fclose(in);
    (void)fclose(out);
}

#endif
