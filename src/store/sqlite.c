/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in SQLite: the file and the connection. Keeps three promises: a store exists complete or not at all, opening never
 * makes one, and one process at a time writes it (SQLite alone would let several take turns).
 */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
    APPLICATION_ID = 0x4d4d4c31, /* "MML1" */
    SCHEMA_VERSION = 1,
    BUSY_TIMEOUT_MS = 1000,
    SQLITE_LENGTH_MAX = 1024 * 1024, /* of any row: a forged one must not exhaust memory */
    /* After so many bytes the log is copied into the database: more often costs more than the rows themselves. */
    CHECKPOINT_BYTES = 16 * 1024 * 1024,
};

/* Files that SQLite keeps beside a database. */
static const char *const COMPANIONS[] = {"-wal", "-shm", "-journal"};

static const char LOCK_SUFFIX[] = ".lock";

/*
 * An issuance is some 800 bytes. Eight of them in a commit change some 9 pages of 4 KiB, 6 of 8 KiB or 5 of 16 KiB, each of which costs CPU
 * beside its bytes; but the bytes that are synced are then 35, 51 or 76 KiB, and of one alone in a commit 15, 28 or 52 KiB.
 */
static const char SCHEMA[] = "PRAGMA page_size = 8192;"
                             "BEGIN;"
                             "CREATE TABLE entries ("
                             " sequence INTEGER PRIMARY KEY,"
                             " hash BLOB NOT NULL,"
                             " bytes BLOB NOT NULL,"
                             " type TEXT NOT NULL,"
                             " time INTEGER NOT NULL,"
                             " account TEXT,"
                             " jti TEXT"
                             ") STRICT;"
                             "CREATE INDEX entries_account ON entries (account) WHERE account IS NOT NULL;"
                             "CREATE INDEX entries_jti ON entries (jti) WHERE jti IS NOT NULL;"
                             "PRAGMA application_id = 1296911409;" /* APPLICATION_ID */
                             "PRAGMA user_version = 1;"            /* SCHEMA_VERSION */
                             "COMMIT;"
                             "PRAGMA journal_mode = WAL;";

static const char WRITER_SETTINGS[] = "PRAGMA synchronous = FULL;"
                                      "PRAGMA journal_size_limit = 67108864;" /* MM_WAL_SIZE_LIMIT */;

bool mm_sqlite_fail(const struct mm_store *store, int status, const char *what, struct mm_error *err)
{
    enum mm_code code = MM_LEDGER_UNAVAILABLE;
    const char *why = sqlite3_errstr(status);
    switch (status & 0xff) {
    case SQLITE_BUSY:
        why = "another connection holds it locked";
        break;
    case SQLITE_FULL:
        why = "the disk is full";
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_ERROR: /* an SQL statement of ours failed: the schema isn't the one we made */
        code = MM_LEDGER_CORRUPT;
        break;
    case SQLITE_NOMEM:
        code = MM_NO_MEMORY;
        break;
    default:
        break;
    }
    return mm_fail(err, code, "%s: can't %s: %s", store->path, what, why);
}

bool mm_sqlite_prepare(const struct mm_store *store, const char *sql, unsigned flags, sqlite3_stmt **ret_statement,
                       struct mm_error *err)
{
    int status = sqlite3_prepare_v3(store->db, sql, -1, flags, ret_statement, NULL);
    return status == SQLITE_OK || mm_sqlite_fail(store, status, "use the store", err);
}

static bool run(const struct mm_store *store, const char *sql, const char *what, struct mm_error *err)
{
    int status = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return status == SQLITE_OK || mm_sqlite_fail(store, status, what, err);
}

static char *join(const char *path, const char *suffix, struct mm_error *err)
{
    char *joined = NULL;
    if (asprintf(&joined, "%s%s", path, suffix) < 0) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return joined;
}

/* Creating. */

static void remove_with(const char *path, const char *suffix)
{
    mm_cleanup(free) char *joined = join(path, suffix, NULL);
    if (joined)
        (void)unlink(joined);
}

static void remove_with_companions(const char *path)
{
    (void)unlink(path);
    remove_with(path, LOCK_SUFFIX);
    for (size_t i = 0; i < MM_ARRAY_SIZE(COMPANIONS); i++)
        remove_with(path, COMPANIONS[i]);
}

static bool refuse_existing(const char *path, struct mm_error *err)
{
    struct stat info;
    if (lstat(path, &info) == 0)
        return mm_fail(err, MM_STORE_EXISTS, "%s: exists already", path);
    if (errno != ENOENT)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    return true;
}

static bool refuse_remains(const char *file, struct mm_error *err)
{
    if (!refuse_existing(file, err))
        return false;
    for (size_t i = 0; i < MM_ARRAY_SIZE(COMPANIONS); i++) {
        mm_cleanup(free) char *companion = join(file, COMPANIONS[i], err);
        if (!companion || !refuse_existing(companion, err))
            return false;
    }
    return true;
}

static bool fill_new(const char *path, struct mm_error *err)
{
    mm_cleanup(mm_store_close) struct mm_store *store = calloc(1, sizeof *store);
    if (!store)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    store->lock_fd = -1;
    store->path = join(path, "", err);
    if (!store->path)
        return false;
    int status = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (status != SQLITE_OK)
        return mm_sqlite_fail(store, status, "create the store", err);
    return run(store, SCHEMA, "create the store", err);
}

static bool append_first(const char *path, const struct mm_store_row *rows, size_t n, struct mm_error *err)
{
    const struct mm_store_head none = {0};
    mm_cleanup(mm_store_close) struct mm_store *store = mm_store_open(path, MM_STORE_WRITE, err);
    return store && mm_store_append(store, &none, rows, n, err);
}

static bool sync_folder(const char *file, struct mm_error *err)
{
    mm_cleanup(free) char *folder = join(file, "", err);
    if (!folder)
        return false;
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[1] = '\0';
    mm_cleanup(mm_close) int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return mm_fail(err, MM_FILE, "%s: can't sync its folder: %s", file, strerror(errno));
    return true;
}

/* Give a finished store its name; link(), unlike rename(), never replaces what is there. */
static bool publish(const char *made, const char *file, struct mm_error *err)
{
    if (link(made, file) != 0)
        return mm_fail(err, errno == EEXIST ? MM_STORE_EXISTS : MM_FILE, "%s: %s", file, strerror(errno));
    if (!sync_folder(file, err)) {
        (void)unlink(file);
        return false;
    }
    return true;
}

bool mm_store_create(const char *file, const struct mm_store_row *rows, size_t n, struct mm_error *err)
{
    if (!refuse_remains(file, err))
        return false;
    mm_cleanup(free) char *made = join(file, ".new.XXXXXX", err);
    if (!made)
        return false;
    int fd = mkostemp(made, O_CLOEXEC); /* mode 0600, which SQLite gives to the companions, too */
    if (fd < 0)
        return mm_fail(err, MM_LEDGER_UNAVAILABLE, "%s: can't be created: %s", file, strerror(errno));
    (void)close(fd);
    bool done = fill_new(made, err) && append_first(made, rows, n, err) && publish(made, file, err);
    remove_with_companions(made);
    return done;
}

/* Opening. */

static bool find_file(struct mm_store *store, const char *file, struct mm_error *err)
{
    store->path = realpath(file, NULL);
    if (!store->path && errno == ENOENT)
        return mm_fail(err, MM_STORE_MISSING, "%s: there is no store; only `mintmark init` makes one", file);
    if (!store->path || stat(store->path, &store->db_file) != 0)
        return mm_fail(err, errno == ENOMEM ? MM_NO_MEMORY : MM_FILE, "%s: %s", file, strerror(errno));
    if (!S_ISREG(store->db_file.st_mode))
        return mm_fail(err, MM_FILE, "%s: not a regular file", file);
    store->wal_path = join(store->path, "-wal", err);
    return store->wal_path != NULL;
}

/*
 * Take the writer's lock. It lies on a file of its own: closing any descriptor of the database would drop the locks that
 * SQLite holds on it. The file is never removed, or two writers could hold locks on two files of one name.
 */
static bool take_lock(struct mm_store *store, struct mm_error *err)
{
    mm_cleanup(free) char *path = join(store->path, LOCK_SUFFIX, err);
    if (!path)
        return false;
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_fd < 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(store->lock_fd, F_OFD_SETLK, &whole) == 0)
        return true;
    if (errno == EAGAIN || errno == EACCES)
        return mm_fail(err, MM_LEDGER_UNAVAILABLE, "%s: another process writes it", store->path);
    return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
}

/* Refuse what a hostile file could make SQLite do. */
static void harden(sqlite3 *db)
{
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, SQLITE_LENGTH_MAX);
}

static bool connect_path(struct mm_store *store, const char *path, int flags, struct mm_error *err)
{
    int status = sqlite3_open_v2(path, &store->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (status != SQLITE_OK)
        return mm_sqlite_fail(store, status, "open the store", err);
    harden(store->db);
    (void)sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
    return true;
}

static bool read_pragma(const struct mm_store *store, const char *sql, int *ret_value, int *ret_status,
                        struct mm_error *err)
{
    mm_cleanup(mm_finalize) sqlite3_stmt *statement = NULL;
    *ret_status = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (*ret_status == SQLITE_OK)
        *ret_status = sqlite3_step(statement);
    if (*ret_status != SQLITE_ROW)
        return mm_sqlite_fail(store, *ret_status, "open the store", err);
    *ret_value = sqlite3_column_int(statement, 0);
    return true;
}

static bool check_identity(const struct mm_store *store, int *ret_status, struct mm_error *err)
{
    int application;
    int version;
    if (!read_pragma(store, "PRAGMA application_id", &application, ret_status, err) ||
        !read_pragma(store, "PRAGMA user_version", &version, ret_status, err))
        return false;
    if (application != APPLICATION_ID)
        return mm_fail(err, MM_LEDGER_CORRUPT, "%s: not a Mintmark store", store->path);
    if (version != SCHEMA_VERSION)
        return mm_fail(err, MM_LEDGER_UNAVAILABLE, "%s: schema version %d, this Mintmark knows version %d", store->path,
                       version, SCHEMA_VERSION);
    return true;
}

/* `file:` URI of an absolute path, for the one option that can't be given otherwise. */
static char *immutable_uri(const char *path, struct mm_error *err)
{
    static const char HEAD[] = "file:";
    static const char TAIL[] = "?immutable=1";
    char *uri = malloc(sizeof HEAD + 3 * strlen(path) + sizeof TAIL);
    if (!uri) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    char *at = stpcpy(uri, HEAD);
    for (const char *c = path; *c; c++) {
        if (strchr("%?#", *c))
            at += sprintf(at, "%%%02X", (unsigned)(unsigned char)*c);
        else
            *at++ = *c;
    }
    memcpy(at, TAIL, sizeof TAIL);
    return uri;
}

/*
 * On read-only media SQLite can't make the shared memory that a WAL database asks for. Without a log there is nothing to
 * share, and nobody can begin one there.
 */
static bool connect_immutable(struct mm_store *store, struct mm_error *err)
{
    struct stat wal;
    if (stat(store->wal_path, &wal) == 0 && wal.st_size > 0)
        return mm_sqlite_fail(store, SQLITE_CANTOPEN, "read its log in a folder that can't be written", err);
    (void)sqlite3_close_v2(MM_TAKE(store->db));
    mm_cleanup(free) char *uri = immutable_uri(store->path, err);
    int status;
    return uri && connect_path(store, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err) &&
           check_identity(store, &status, err);
}

static bool connect_reader(struct mm_store *store, struct mm_error *err)
{
    int status = SQLITE_OK;
    struct mm_error why = {0};
    if (!connect_path(store, store->path, SQLITE_OPEN_READONLY, err))
        return false;
    if (check_identity(store, &status, &why))
        return true;
    if ((status & 0xff) == SQLITE_CANTOPEN || (status & 0xff) == SQLITE_READONLY)
        return connect_immutable(store, err);
    return mm_fail(err, why.code, "%s", why.message);
}

/* SQLite counts the log in pages, and a store keeps the size of page that it was made with. */
static bool set_up_writer(const struct mm_store *store, struct mm_error *err)
{
    int page_size;
    int status;
    if (!run(store, WRITER_SETTINGS, "set up the store", err) ||
        !read_pragma(store, "PRAGMA page_size", &page_size, &status, err))
        return false;
    status = sqlite3_wal_autocheckpoint(store->db, CHECKPOINT_BYTES / page_size);
    return status == SQLITE_OK || mm_sqlite_fail(store, status, "set up the store", err);
}

static bool connect_writer(struct mm_store *store, struct mm_error *err)
{
    if (store->db_file.st_mode & (S_IWGRP | S_IWOTH))
        return mm_fail(err, MM_FILE, "%s: group or others can write it (mode %04o)", store->path,
                       (unsigned)(store->db_file.st_mode & 07777));
    int status;
    if (!take_lock(store, err) || !connect_path(store, store->path, SQLITE_OPEN_READWRITE, err) ||
        !check_identity(store, &status, err) || !set_up_writer(store, err))
        return false;
    if (sqlite3_db_readonly(store->db, "main") != 0)
        return mm_fail(err, MM_FILE, "%s: can't be written", store->path);
    if (stat(store->wal_path, &store->wal_file) != 0)
        return mm_fail(err, MM_LEDGER_CORRUPT, "%s: not in WAL mode", store->path);
    return true;
}

struct mm_store *mm_store_open(const char *file, enum mm_store_mode mode, struct mm_error *err)
{
    mm_cleanup(mm_store_close) struct mm_store *store = calloc(1, sizeof *store);
    if (!store) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    store->lock_fd = -1;
    if (!find_file(store, file, err) ||
        !(mode == MM_STORE_WRITE ? connect_writer(store, err) : connect_reader(store, err)) ||
        !mm_sqlite_prepare_rows(store, mode, err))
        return NULL;
    return MM_TAKE(store);
}

void mm_store_close(struct mm_store *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < MM_N_SQL; i++)
        mm_finalize(store->statements[i]);
    (void)sqlite3_close_v2(store->db);
    if (store->lock_fd >= 0)
        (void)close(store->lock_fd);
    free(store->wal_path);
    free(store->path);
    free(store);
}
