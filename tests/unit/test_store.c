/* SPDX-License-Identifier: Apache-2.0 */
/* The store: made whole or not at all, never made by opening, one writer, all or nothing, and honest about bad rows. */
#include "store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/ledger_support.h"
#include "util/clock.h"

static void expect(struct mm_error *err, enum mm_code code, const char *words)
{
    if (err->code != code || !strstr(err->message, words))
        fail_msg("expected %d “%s”, got %d “%s”", (int)code, words, (int)err->code, err->message);
    *err = (struct mm_error){0};
}

static void create(const char *file)
{
    struct mm_error err = {0};
    if (!mm_store_create(file, NULL, 0, &err))
        fail_msg("%s", err.message);
}

static struct mm_store *open_store(const char *file, enum mm_store_mode mode)
{
    struct mm_error err = {0};
    struct mm_store *store = mm_store_open(file, mode, &err);
    if (!store)
        fail_msg("%s", err.message);
    return store;
}

static void refuse_open(const char *file, enum mm_store_mode mode, enum mm_code code, const char *words)
{
    struct mm_error err = {0};
    assert_null(mm_store_open(file, mode, &err));
    expect(&err, code, words);
}

static const char BYTES[] = "{\"any\":\"bytes\"}";

static struct mm_store_row row_at(int64_t sequence)
{
    struct mm_store_row row = {.sequence = sequence,
                               .bytes = {BYTES, sizeof BYTES - 1},
                               .type = "token.issued",
                               .time = 1000 + sequence};
    memset(row.hash, (int)(sequence & 0xff), sizeof row.hash);
    return row;
}

static struct mm_store_head head_at(int64_t sequence)
{
    struct mm_store_head head = {.sequence = sequence};
    memset(head.hash, (int)(sequence & 0xff), sizeof head.hash);
    return head;
}

static void append_up_to(struct mm_store *store, int64_t first, int64_t last)
{
    for (int64_t sequence = first; sequence <= last; sequence++) {
        struct mm_store_row row = row_at(sequence);
        struct mm_store_head head = head_at(sequence - 1);
        struct mm_error err = {0};
        if (!mm_store_append(store, &head, &row, 1, &err))
            fail_msg("%s", err.message);
    }
}

/* What a visit saw. */
struct seen {
    int64_t sequences[1024];
    size_t n;
};

static bool note(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    (void)err;
    struct seen *seen = context;
    assert_true(seen->n < MM_ARRAY_SIZE(seen->sequences));
    seen->sequences[seen->n++] = row->sequence;
    return true;
}

static void expect_rows(struct mm_store *store, const struct mm_store_filter *filter, size_t n,
                        const int64_t *sequences)
{
    struct seen seen = {.n = 0};
    struct mm_error err = {0};
    if (!mm_store_visit(store, filter, note, &seen, &err))
        fail_msg("%s", err.message);
    assert_int_equal(seen.n, n);
    assert_memory_equal(seen.sequences, sequences, n * sizeof *sequences);
}

static void expect_head(struct mm_store *store, int64_t sequence)
{
    struct mm_store_head head;
    struct mm_store_head expected = head_at(sequence);
    assert_true(mm_store_head(store, &head, NULL));
    assert_int_equal(head.sequence, sequence);
    assert_memory_equal(head.hash, expected.hash, sizeof head.hash);
}

static struct stat stat_of(const char *file, const char *suffix)
{
    char path[160];
    struct stat info;
    (void)snprintf(path, sizeof path, "%s%s", file, suffix);
    assert_int_equal(stat(path, &info), 0);
    return info;
}

static unsigned mode_of(const char *file, const char *suffix)
{
    return stat_of(file, suffix).st_mode & 07777;
}

/* Creating. */

static void new_store_is_empty_and_private_whatever_the_umask(void **state)
{
    const struct place *place = *state;
    mode_t before = umask(0);
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    (void)umask(before);
    expect_head(store, 0);
    append_up_to(store, 1, 1);
    assert_int_equal(mode_of(place->file, ""), 0600);
    assert_int_equal(mode_of(place->file, "-wal"), 0600);
    assert_int_equal(mode_of(place->file, "-shm"), 0600);
    assert_int_equal(mode_of(place->file, ".lock"), 0600);
    mm_store_close(store);
}

static size_t n_files(const char *folder)
{
    DIR *open_folder = opendir(folder);
    assert_non_null(open_folder);
    size_t n = 0;
    for (const struct dirent *entry; (entry = readdir(open_folder));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(open_folder);
    return n;
}

static void creating_leaves_one_file(void **state)
{
    const struct place *place = *state;
    create(place->file);
    assert_int_equal(n_files(place->folder), 1);
}

static void existing_file_is_never_replaced(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    create(place->file);
    assert_false(mm_store_create(place->file, NULL, 0, &err));
    expect(&err, MM_STORE_EXISTS, "exists already");
    mm_store_close(open_store(place->file, MM_STORE_READ));
}

static void dangling_link_in_a_stores_place_is_refused(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    assert_int_equal(symlink("nowhere", place->file), 0);
    assert_false(mm_store_create(place->file, NULL, 0, &err));
    expect(&err, MM_STORE_EXISTS, "exists already");
    assert_int_equal(n_files(place->folder), 1);
}

static void log_of_a_lost_store_is_not_replayed_into_a_new_one(void **state)
{
    const struct place *place = *state;
    const char *const remains[] = {"-wal", "-shm", "-journal"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(remains); i++) {
        struct mm_error err = {0};
        write_file(place->file, remains[i], "x");
        assert_false(mm_store_create(place->file, NULL, 0, &err));
        expect(&err, MM_STORE_EXISTS, remains[i]);
        char path[160];
        (void)snprintf(path, sizeof path, "%s%s", place->file, remains[i]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(n_files(place->folder), 0);
    }
}

static void missing_folder_is_named(void **state)
{
    const struct place *place = *state;
    char file[128];
    (void)snprintf(file, sizeof file, "%s/none/mint.db", place->folder);
    struct mm_error err = {0};
    assert_false(mm_store_create(file, NULL, 0, &err));
    expect(&err, MM_LEDGER_UNAVAILABLE, file);
    assert_int_equal(n_files(place->folder), 0);
}

/* Let no file grow past `bytes`; RLIM_INFINITY lifts it again. */
static void limit_files(rlim_t bytes)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void failed_creation_leaves_nothing_behind(void **state)
{
    const struct place *place = *state;
    const rlim_t limits[] = {0, 100, 4096, 8192, 12288};
    for (size_t i = 0; i < MM_ARRAY_SIZE(limits); i++) {
        struct mm_error err = {0};
        limit_files(limits[i]);
        bool done = mm_store_create(place->file, NULL, 0, &err);
        limit_files(RLIM_INFINITY);
        assert_false(done);
        assert_non_null(strstr(err.message, place->file));
        assert_int_equal(n_files(place->folder), 0);
    }
    static const char LONG[MM_STORE_BYTES_MAX + 1];
    const struct mm_store_row too_large = {.sequence = 1, .bytes = {LONG, sizeof LONG}, .type = "t"};
    struct mm_error err = {0};
    assert_false(mm_store_create(place->file, &too_large, 1, &err));
    expect(&err, MM_INTERNAL, "larger than");
    assert_int_equal(n_files(place->folder), 0);
    create(place->file);
}

/* Opening. */

static void opening_never_makes_a_store(void **state)
{
    const struct place *place = *state;
    refuse_open(place->file, MM_STORE_WRITE, MM_STORE_MISSING, place->file);
    refuse_open(place->file, MM_STORE_READ, MM_STORE_MISSING, place->file);
    assert_int_equal(n_files(place->folder), 0);
}

static void file_of_another_kind_is_refused(void **state)
{
    const struct place *place = *state;
    write_file(place->file, "", "");
    refuse_open(place->file, MM_STORE_READ, MM_LEDGER_CORRUPT, "not a Mintmark store");
    write_file(place->file, "",
               "This is a text, and a long one, longer than the header of a database, so that it is read.\n"
               "It goes on for a second line, as texts do.\n");
    refuse_open(place->file, MM_STORE_READ, MM_LEDGER_CORRUPT, "file is not a database");
    refuse_open(place->folder, MM_STORE_READ, MM_FILE, "not a regular file");
}

static void database_of_another_program_or_version_is_refused(void **state)
{
    const struct place *place = *state;
    create(place->file);
    raw(place->file, "PRAGMA user_version = 2");
    refuse_open(place->file, MM_STORE_READ, MM_LEDGER_UNAVAILABLE, "schema version 2");
    raw(place->file, "PRAGMA user_version = 1; PRAGMA application_id = 7");
    refuse_open(place->file, MM_STORE_WRITE, MM_LEDGER_CORRUPT, "not a Mintmark store");
}

static void store_without_write_ahead_log_is_refused(void **state)
{
    const struct place *place = *state;
    create(place->file);
    raw(place->file, "PRAGMA journal_mode = DELETE");
    refuse_open(place->file, MM_STORE_WRITE, MM_LEDGER_CORRUPT, "not in WAL mode");
}

static void store_that_others_can_write_is_not_written(void **state)
{
    const struct place *place = *state;
    create(place->file);
    assert_int_equal(chmod(place->file, 0620), 0);
    refuse_open(place->file, MM_STORE_WRITE, MM_FILE, "group or others can write it");
    assert_int_equal(chmod(place->file, 0602), 0);
    refuse_open(place->file, MM_STORE_WRITE, MM_FILE, "group or others can write it");
}

static void second_writer_is_refused_until_the_first_closes(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *first = open_store(place->file, MM_STORE_WRITE);
    refuse_open(place->file, MM_STORE_WRITE, MM_LEDGER_UNAVAILABLE, "another process writes it");
    char link[128];
    (void)snprintf(link, sizeof link, "%s/link.db", place->folder);
    assert_int_equal(symlink(place->file, link), 0);
    refuse_open(link, MM_STORE_WRITE, MM_LEDGER_UNAVAILABLE, "another process writes it");
    mm_store_close(open_store(place->file, MM_STORE_READ));
    append_up_to(first, 1, 1);
    mm_store_close(first);
    mm_store_close(open_store(link, MM_STORE_WRITE));
}

/* Open for writing in a child, report, and wait to be killed. */
static pid_t start_writer(const char *file)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct mm_store *store = mm_store_open(file, MM_STORE_WRITE, NULL);
        if (write(ready[1], store ? "y" : "n", 1) == 1)
            (void)sleep(30);
        _exit(1);
    }
    char answer = 0;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    (void)close(ready[0]);
    (void)close(ready[1]);
    return child;
}

static void writer_in_another_process_is_noticed_and_its_death_frees_the_store(void **state)
{
    const struct place *place = *state;
    create(place->file);
    pid_t child = start_writer(place->file);
    refuse_open(place->file, MM_STORE_WRITE, MM_LEDGER_UNAVAILABLE, "another process writes it");
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    mm_store_close(open_store(place->file, MM_STORE_WRITE));
}

static int read_as_nobody(const char *file)
{
    if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
        return 2;
    struct mm_store *store = mm_store_open(file, MM_STORE_READ, NULL);
    struct mm_store_head head;
    bool read = store && mm_store_head(store, &head, NULL) && head.sequence == 3;
    mm_store_close(store);
    return read ? 0 : 1;
}

static void copy_in_a_folder_that_can_not_be_written_is_read(void **state)
{
    const struct place *place = *state;
    if (geteuid() != 0)
        skip();
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    append_up_to(store, 1, 3);
    mm_store_close(store);
    char copy[128];
    (void)snprintf(copy, sizeof copy, "%s/a copy?#%%41.db", place->folder);
    copy_file(place->file, copy);
    assert_int_equal(chmod(copy, 0444), 0);
    assert_int_equal(chmod(place->folder, 0555), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(read_as_nobody(copy));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(chmod(place->folder, 0700), 0);
}

/* Appending. */

static void rows_come_back_as_they_went_in(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *writer = open_store(place->file, MM_STORE_WRITE);
    struct mm_store *reader = open_store(place->file, MM_STORE_READ);
    append_up_to(writer, 1, 2);
    expect_head(writer, 2);
    expect_head(reader, 2);
    expect_rows(reader, &(struct mm_store_filter){0}, 2, (const int64_t[]){1, 2});
    mm_store_close(reader);
    mm_store_close(writer);
    reader = open_store(place->file, MM_STORE_READ);
    expect_head(reader, 2);
    mm_store_close(reader);
}

static void reader_can_not_append(void **state)
{
    const struct place *place = *state;
    create(place->file);
    sqlite3 *db = NULL;
    struct mm_store *reader = open_store(place->file, MM_STORE_READ);
    assert_int_equal(sqlite3_open_v2(place->file, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM entries", NULL, NULL, NULL), SQLITE_READONLY);
    (void)sqlite3_close(db);
    expect_head(reader, 0);
    mm_store_close(reader);
}

static void append_over_another_head_is_refused(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    append_up_to(store, 1, 2);
    struct mm_error err = {0};
    struct mm_store_row row = row_at(3);
    struct mm_store_head behind = head_at(1);
    assert_false(mm_store_append(store, &behind, &row, 1, &err));
    expect(&err, MM_LEDGER_CORRUPT, "its last entry is 2");
    struct mm_store_head other_hash = head_at(2);
    other_hash.hash[31] ^= 1;
    assert_false(mm_store_append(store, &other_hash, &row, 1, &err));
    expect(&err, MM_LEDGER_CORRUPT, "its last entry is 2");
    assert_false(mm_store_probe(store, &behind, &err));
    expect(&err, MM_LEDGER_CORRUPT, "its last entry is 2");
    expect_head(store, 2);
    append_up_to(store, 3, 3);
    mm_store_close(store);
}

static void group_with_one_bad_row_leaves_none(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    struct mm_store_row rows[] = {row_at(1), row_at(2), row_at(2)};
    struct mm_store_head head = {0};
    struct mm_error err = {0};
    assert_false(mm_store_append(store, &head, rows, 3, &err));
    expect(&err, MM_LEDGER_CORRUPT, "write an entry");
    expect_head(store, 0);
    rows[1].bytes.length = MM_STORE_BYTES_MAX + 1;
    assert_false(mm_store_append(store, &head, rows, 2, &err));
    expect(&err, MM_INTERNAL, "larger than");
    expect_head(store, 0);
    append_up_to(store, 1, 1);
    mm_store_close(store);
}

static void locked_store_is_waited_for_a_second_and_then_refused(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    append_up_to(store, 1, 1);
    sqlite3 *other = raw_open(place->file);
    raw_run(other, "BEGIN EXCLUSIVE");
    struct mm_store_row row = row_at(2);
    struct mm_store_head head = head_at(1);
    struct mm_error err = {0};
    int64_t begun = mm_monotonic_ns();
    assert_false(mm_store_append(store, &head, &row, 1, &err));
    int64_t waited_ms = (mm_monotonic_ns() - begun) / 1000000;
    expect(&err, MM_LEDGER_UNAVAILABLE, "another connection holds it locked");
    assert_in_range(waited_ms, 500, 3000);
    raw_run(other, "ROLLBACK");
    (void)sqlite3_close(other);
    append_up_to(store, 2, 2);
    mm_store_close(store);
}

/* Append until it fails; returns the last sequence that got in. */
static int64_t append_until_failure(struct mm_store *store, int64_t last, struct mm_error *err)
{
    static const char FILLER[4000] = {'x'};
    for (; last < 100000; last++) {
        struct mm_store_row row = row_at(last + 1);
        row.bytes = (struct mm_bytes){FILLER, sizeof FILLER};
        struct mm_store_head head = head_at(last);
        if (!mm_store_append(store, &head, &row, 1, err))
            break;
    }
    return last;
}

static void file_that_can_not_grow_fails_the_group_and_recovers(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    append_up_to(store, 1, 5);
    struct mm_error err = {0};
    limit_files(200 * 1024);
    int64_t last = append_until_failure(store, 5, &err);
    struct mm_error again = {0};
    int64_t still = append_until_failure(store, last, &again);
    struct mm_store_head head = head_at(last);
    limit_files(4096);
    bool probed = mm_store_probe(store, &head, NULL);
    limit_files(RLIM_INFINITY);
    expect(&err, MM_LEDGER_UNAVAILABLE, place->file);
    expect(&again, MM_LEDGER_UNAVAILABLE, place->file);
    assert_true(last > 5 && last < 100);
    assert_int_equal(still, last);
    assert_false(probed);
    expect_head(store, last);
    assert_true(mm_store_probe(store, &head, NULL));
    append_up_to(store, last + 1, last + 3);
    mm_store_close(store);
}

static void full_disk_fails_the_group_and_recovers(void **state)
{
    const struct place *place = *state;
    if (geteuid() != 0 || mount("tmpfs", place->folder, "tmpfs", 0, "size=512k") != 0)
        skip();
    char filler[96];
    (void)snprintf(filler, sizeof filler, "%s/filler", place->folder);
    write_file(place->folder, "/filler", "");
    assert_int_equal(truncate(filler, 0), 0);
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    append_up_to(store, 1, 3);
    int fd = open(filler, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, 200 * 1024), 0);
    struct mm_error err = {0};
    int64_t last = append_until_failure(store, 3, &err);
    expect(&err, MM_LEDGER_UNAVAILABLE, "the disk is full");
    expect_head(store, last);
    assert_int_equal(ftruncate(fd, 0), 0);
    (void)close(fd);
    append_up_to(store, last + 1, last + 3);
    mm_store_close(store);
    store = open_store(place->file, MM_STORE_WRITE);
    expect_head(store, last + 3);
    assert_true(mm_store_check(store, NULL));
    mm_store_close(store);
}

/* A log that was copied is written from its beginning again, and keeps the size it had. */
static void log_is_copied_every_16_mib_whatever_the_size_of_a_page(void **state)
{
    const struct place *place = *state;
    static const char LONG[MM_STORE_BYTES_MAX] = {'x'};
    const char *const makers[] = {"SELECT 1", "PRAGMA journal_mode = DELETE; PRAGMA page_size = 4096; VACUUM;"
                                              "PRAGMA journal_mode = WAL"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(makers); i++) {
        create(place->file);
        raw(place->file, makers[i]);
        struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
        for (int64_t last = 0; last < 96; last += 4) {
            struct mm_store_row rows[] = {row_at(last + 1), row_at(last + 2), row_at(last + 3), row_at(last + 4)};
            for (size_t k = 0; k < MM_ARRAY_SIZE(rows); k++)
                rows[k].bytes = (struct mm_bytes){LONG, sizeof LONG};
            struct mm_store_head head = head_at(last);
            assert_true(mm_store_append(store, &head, rows, MM_ARRAY_SIZE(rows), NULL));
        }
        assert_in_range(stat_of(place->file, "-wal").st_size, 16 << 20, 18 << 20);
        mm_store_close(store);
        assert_int_equal(unlink(place->file), 0);
    }
}

static void expect_lost(struct mm_store *store, int64_t last)
{
    struct mm_store_row row = row_at(last + 1);
    struct mm_store_head head = head_at(last);
    struct mm_error err = {0};
    assert_false(mm_store_append(store, &head, &row, 1, &err));
    expect(&err, MM_LEDGER_UNAVAILABLE, "removed, replaced or cut");
    assert_false(mm_store_probe(store, &head, &err));
    expect(&err, MM_LEDGER_UNAVAILABLE, "removed, replaced or cut");
}

static void store_whose_file_or_log_was_removed_takes_nothing(void **state)
{
    const struct place *place = *state;
    const char *const lost[] = {"", "-wal"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(lost); i++) {
        create(place->file);
        struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
        append_up_to(store, 1, 1);
        char path[160];
        (void)snprintf(path, sizeof path, "%s%s", place->file, lost[i]);
        assert_int_equal(unlink(path), 0);
        expect_lost(store, 1);
        write_file(place->file, lost[i], "another file");
        expect_lost(store, 1);
        mm_store_close(store);
        (void)unlink(path); /* SQLite may have removed the log by its name */
        (void)unlink(place->file);
        (void)snprintf(path, sizeof path, "%s-shm", place->file);
        (void)unlink(path);
        (void)snprintf(path, sizeof path, "%s-wal", place->file);
        (void)unlink(path);
    }
}

static void trigger_put_into_the_file_does_not_run(void **state)
{
    const struct place *place = *state;
    create(place->file);
    raw(place->file, "CREATE TRIGGER forge AFTER INSERT ON entries BEGIN"
                     " UPDATE entries SET account = 'acme/forged' WHERE sequence = new.sequence; END");
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    append_up_to(store, 1, 1);
    expect_rows(store, &(struct mm_store_filter){.account = "acme/forged"}, 0, NULL);
    mm_store_close(store);
}

static void view_in_the_tables_place_is_refused(void **state)
{
    const struct place *place = *state;
    create(place->file);
    raw(place->file, "ALTER TABLE entries RENAME TO hidden; CREATE VIEW entries AS SELECT * FROM hidden");
    refuse_open(place->file, MM_STORE_READ, MM_LEDGER_CORRUPT, place->file);
    raw(place->file, "DROP VIEW entries");
    refuse_open(place->file, MM_STORE_READ, MM_LEDGER_CORRUPT, place->file);
}

/* Visiting. */

static struct mm_store *make_varied(const struct place *place)
{
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    struct mm_store_row rows[] = {row_at(1), row_at(2), row_at(3), row_at(4), row_at(5), row_at(6)};
    rows[0].type = "key.activated";
    rows[1].account = "acme/ci";
    rows[1].jti = "a";
    rows[2].account = "acme/other";
    rows[2].jti = "b";
    rows[3].account = "acme/ci";
    rows[3].type = "token.refused";
    rows[4].type = "tokenXlike";
    rows[4].time = 1; /* the clock was set back */
    rows[5].account = "acme/ci";
    rows[5].jti = "c";
    struct mm_store_head head = {0};
    assert_true(mm_store_append(store, &head, rows, MM_ARRAY_SIZE(rows), NULL));
    return store;
}

static void filters_choose_what_they_name(void **state)
{
    struct mm_store *store = make_varied(*state);
    const struct {
        struct mm_store_filter filter;
        size_t n;
        int64_t sequences[6];
    } cases[] = {
        {{0}, 6, {1, 2, 3, 4, 5, 6}},
        {{.first = 4}, 3, {4, 5, 6}},
        {{.first = 7}, 0, {0}},
        {{.account = "acme/ci"}, 3, {2, 4, 6}},
        {{.account = "acme/c"}, 0, {0}},
        {{.account = "acme/%"}, 0, {0}},
        {{.account = ""}, 0, {0}},
        {{.jti = "b"}, 1, {3}},
        {{.jti = "b", .account = "acme/ci"}, 0, {0}},
        {{.type = "key.activated"}, 1, {1}},
        {{.type = "token."}, 0, {0}},
        {{.type_prefix = "token."}, 4, {2, 3, 4, 6}},
        {{.type_prefix = "token%"}, 0, {0}},
        {{.since = 1003}, 3, {3, 4, 6}},
        {{.until = 1003}, 3, {1, 2, 5}},
        {{.since = 1002, .until = 1004}, 2, {2, 3}},
        {{.newest = 2}, 2, {5, 6}},
        {{.newest = 100}, 6, {1, 2, 3, 4, 5, 6}},
        {{.account = "acme/ci", .newest = 2}, 2, {4, 6}},
        {{.account = "none", .newest = 2}, 0, {0}},
        {{.account = "acme/ci", .type_prefix = "token.", .since = 1003, .until = 1006, .newest = 5}, 1, {4}},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++)
        expect_rows(store, &cases[i].filter, cases[i].n, cases[i].sequences);
    mm_store_close(store);
}

static void long_ledger_is_visited_whole_across_pages(void **state)
{
    const struct place *place = *state;
    const int64_t sizes[] = {255, 256, 257, 512, 800};
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    int64_t last = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(sizes); i++) {
        append_up_to(store, last + 1, sizes[i]);
        last = sizes[i];
        struct seen seen = {.n = 0};
        assert_true(mm_store_visit(store, &(struct mm_store_filter){0}, note, &seen, NULL));
        assert_int_equal(seen.n, last);
        for (size_t k = 0; k < seen.n; k++)
            assert_int_equal(seen.sequences[k], k + 1);
    }
    mm_store_close(store);
}

struct appender {
    struct mm_store *writer;
    int64_t last;
    size_t n_seen;
    const char *file;
};

static bool append_meanwhile(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    (void)row;
    (void)err;
    struct appender *appender = context;
    appender->n_seen++;
    append_up_to(appender->writer, appender->last + 1, appender->last + 1);
    appender->last++;
    return true;
}

static void visit_ends_at_the_head_it_began_with(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *writer = open_store(place->file, MM_STORE_WRITE);
    struct mm_store *reader = open_store(place->file, MM_STORE_READ);
    append_up_to(writer, 1, 300);
    struct appender appender = {.writer = writer, .last = 300};
    assert_true(mm_store_visit(reader, &(struct mm_store_filter){0}, append_meanwhile, &appender, NULL));
    assert_int_equal(appender.n_seen, 300);
    mm_store_close(reader);
    mm_store_close(writer);
}

static bool checkpoint_meanwhile(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    (void)row;
    (void)err;
    const struct appender *appender = context;
    sqlite3 *db = raw_open(appender->file);
    assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    return true;
}

static void slow_visitor_keeps_no_transaction_open(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *writer = open_store(place->file, MM_STORE_WRITE);
    struct mm_store *reader = open_store(place->file, MM_STORE_READ);
    append_up_to(writer, 1, 3);
    struct appender appender = {.file = place->file};
    assert_true(mm_store_visit(reader, &(struct mm_store_filter){0}, checkpoint_meanwhile, &appender, NULL));
    assert_true(mm_store_visit(reader, &(struct mm_store_filter){.newest = 2}, checkpoint_meanwhile, &appender, NULL));
    mm_store_close(reader);
    mm_store_close(writer);
}

static bool stop_at_two(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    *(int64_t *)context = row->sequence;
    return row->sequence < 2 || mm_fail(err, MM_NOT_FOUND, "enough");
}

static void visitor_stops_the_visit_with_its_own_error(void **state)
{
    struct mm_store *store = make_varied(*state);
    int64_t last = 0;
    struct mm_error err = {0};
    assert_false(mm_store_visit(store, &(struct mm_store_filter){0}, stop_at_two, &last, &err));
    expect(&err, MM_NOT_FOUND, "enough");
    assert_int_equal(last, 2);
    mm_store_close(store);
}

static void row_of_wrong_types_is_named_after_the_good_ones_before_it(void **state)
{
    const struct place *place = *state;
    const char *const bad[] = {
        "NULL, x'00', 't', 1, NULL, NULL",
        "x'00', x'00', 't', 1, NULL, NULL",
        "'00000000000000000000000000000000', x'00', 't', 1, NULL, NULL",
        "zeroblob(33), x'00', 't', 1, NULL, NULL",
        "zeroblob(32), NULL, 't', 1, NULL, NULL",
        "zeroblob(32), '{}', 't', 1, NULL, NULL",
        "zeroblob(32), zeroblob(262145), 't', 1, NULL, NULL",
        "zeroblob(32), x'00', NULL, 1, NULL, NULL",
        "zeroblob(32), x'00', x'00', 1, NULL, NULL",
        "zeroblob(32), x'00', 't', 1.5, NULL, NULL",
        "zeroblob(32), x'00', 't', '1', NULL, NULL",
        "zeroblob(32), x'00', 't', 1, 7, NULL",
        "zeroblob(32), x'00', 't', 1, NULL, x'61'",
        "zeroblob(32), x'00', 't', 1, NULL, 'a' || char(0) || 'b'",
        "zeroblob(32), x'00', 't', 1, printf('%.*c', 16385, 'x'), NULL",
    };
    create(place->file);
    raw(place->file, "DROP TABLE entries; CREATE TABLE entries (sequence INTEGER PRIMARY KEY,"
                     " hash, bytes, type, time, account, jti);"
                     "INSERT INTO entries VALUES (1, zeroblob(32), x'00', 't', 1, NULL, NULL);"
                     "INSERT INTO entries VALUES (3, zeroblob(32), x'00', 't', 1, NULL, NULL);");
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        char sql[256];
        (void)snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO entries VALUES (2, %s)", bad[i]);
        raw(place->file, sql);
        struct mm_store *store = open_store(place->file, MM_STORE_READ);
        struct seen seen = {.n = 0};
        struct mm_error err = {0};
        assert_false(mm_store_visit(store, &(struct mm_store_filter){0}, note, &seen, &err));
        expect(&err, MM_LEDGER_CORRUPT, "entry 2: ");
        assert_int_equal(seen.n, 1);
        mm_store_close(store);
    }
}

static void index_that_hides_a_row_is_found(void **state)
{
    const struct place *place = *state;
    struct mm_store *store = make_varied(place);
    assert_true(mm_store_check(store, NULL));
    mm_store_close(store);
    raw(place->file, "DROP INDEX entries_jti;"
                     "CREATE INDEX entries_jti ON entries (jti) WHERE jti IS NOT NULL AND sequence <> 3;"
                     "PRAGMA writable_schema = ON;"
                     "UPDATE sqlite_schema SET sql ="
                     " 'CREATE INDEX entries_jti ON entries (jti) WHERE jti IS NOT NULL' WHERE name = 'entries_jti'");
    store = open_store(place->file, MM_STORE_READ);
    expect_rows(store, &(struct mm_store_filter){.jti = "b"}, 0, NULL); /* hidden indeed */
    struct mm_error err = {0};
    assert_false(mm_store_check(store, &err));
    expect(&err, MM_LEDGER_CORRUPT, "missing from index entries_jti");
    mm_store_close(store);
}

static void overwritten_pages_are_reported_never_crash(void **state)
{
    const struct place *place = *state;
    create(place->file);
    struct mm_store *store = open_store(place->file, MM_STORE_WRITE);
    append_up_to(store, 1, 300);
    mm_store_close(store);
    struct stat info;
    assert_int_equal(stat(place->file, &info), 0);
    char broken[128];
    (void)snprintf(broken, sizeof broken, "%s/broken.db", place->folder);
    uint32_t noise = 7; /* the same damage each time */
    for (int round = 0; round < 60; round++) {
        copy_file(place->file, broken);
        int fd = open(broken, O_RDWR);
        for (int i = 0; i < 40; i++) {
            noise = noise * 1664525 + 1013904223;
            assert_int_equal(pwrite(fd, &noise, 1, 100 + (noise >> 8) % (info.st_size - 100)), 1);
        }
        (void)close(fd);
        struct mm_error err = {0};
        struct seen seen = {.n = 0};
        store = mm_store_open(broken, MM_STORE_READ, &err);
        bool whole = store && mm_store_visit(store, &(struct mm_store_filter){0}, note, &seen, &err) &&
                     mm_store_check(store, &err);
        assert_true(whole || err.code != MM_OK);
        assert_true(seen.n <= 300);
        mm_store_close(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        placed(new_store_is_empty_and_private_whatever_the_umask),
        placed(creating_leaves_one_file),
        placed(existing_file_is_never_replaced),
        placed(dangling_link_in_a_stores_place_is_refused),
        placed(log_of_a_lost_store_is_not_replayed_into_a_new_one),
        placed(missing_folder_is_named),
        placed(failed_creation_leaves_nothing_behind),
        placed(opening_never_makes_a_store),
        placed(file_of_another_kind_is_refused),
        placed(database_of_another_program_or_version_is_refused),
        placed(store_without_write_ahead_log_is_refused),
        placed(store_that_others_can_write_is_not_written),
        placed(second_writer_is_refused_until_the_first_closes),
        placed(writer_in_another_process_is_noticed_and_its_death_frees_the_store),
        placed(copy_in_a_folder_that_can_not_be_written_is_read),
        placed(rows_come_back_as_they_went_in),
        placed(reader_can_not_append),
        placed(append_over_another_head_is_refused),
        placed(group_with_one_bad_row_leaves_none),
        placed(locked_store_is_waited_for_a_second_and_then_refused),
        placed(log_is_copied_every_16_mib_whatever_the_size_of_a_page),
        placed(file_that_can_not_grow_fails_the_group_and_recovers),
        placed(full_disk_fails_the_group_and_recovers),
        placed(store_whose_file_or_log_was_removed_takes_nothing),
        placed(trigger_put_into_the_file_does_not_run),
        placed(view_in_the_tables_place_is_refused),
        placed(filters_choose_what_they_name),
        placed(long_ledger_is_visited_whole_across_pages),
        placed(visit_ends_at_the_head_it_began_with),
        placed(slow_visitor_keeps_no_transaction_open),
        placed(visitor_stops_the_visit_with_its_own_error),
        placed(row_of_wrong_types_is_named_after_the_good_ones_before_it),
        placed(index_that_hides_a_row_is_found),
        placed(overwritten_pages_are_reported_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
