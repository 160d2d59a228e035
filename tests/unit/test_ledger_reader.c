/* SPDX-License-Identifier: Apache-2.0 */
/* Listing and verifying: what an attacker with the file can change is found, and named by its sequence. */
#include "ledger/reader.h"

#include "tests/unit/ledger_support.h"

static int64_t fixed_ms(void *context)
{
    return *(int64_t *)context * 1000;
}

static int64_t now_seconds;
static const struct mm_clock CLOCK = {.unix_ms = fixed_ms, .context = &now_seconds};

static void expect(struct mm_error *err, enum mm_code code, const char *words)
{
    if (err->code != code || !strstr(err->message, words))
        fail_msg("expected %d “%s”, got %d “%s”", (int)code, words, (int)err->code, err->message);
    *err = (struct mm_error){0};
}

static void add(struct mm_ledger *ledger, enum mm_entry_type type, const char *account, const char *jti)
{
    mm_cleanup(json_decref) json_t *fields = json_pack("{ss* ss*}", "account", account, "jti", jti);
    struct mm_receipt receipt;
    struct mm_error err = {0};
    now_seconds++;
    if (!mm_ledger_append(ledger, type, fields, mm_deadline_after_ms(9000), &receipt, &err))
        fail_msg("%s", err.message);
}

static struct mm_ledger *open_writer(const struct place *place)
{
    struct mm_error err = {0};
    now_seconds = 1000;
    struct mm_ledger *ledger =
        mm_ledger_create(place->file, &CLOCK, NULL, 0, &err) ? mm_ledger_open(place->file, &CLOCK, 0, &err) : NULL;
    if (!ledger)
        fail_msg("%s", err.message);
    return ledger;
}

/* Six entries at 1001…1006. */
static void make(const struct place *place)
{
    struct mm_ledger *ledger = open_writer(place);
    add(ledger, MM_ENTRY_LEDGER_CREATED, NULL, NULL);
    add(ledger, MM_ENTRY_TOKEN_ISSUED, "acme/ci", "a");
    add(ledger, MM_ENTRY_TOKEN_ISSUED, "acme/other", "b");
    add(ledger, MM_ENTRY_TOKEN_REFUSED, "acme/ci", NULL);
    add(ledger, MM_ENTRY_SIGN_FAILED, "acme/ci", "a");
    add(ledger, MM_ENTRY_SERVICE_STOPPED, NULL, NULL);
    mm_ledger_close(ledger);
}

static struct mm_ledger_reader *open_reader(const char *file)
{
    struct mm_error err = {0};
    struct mm_ledger_reader *reader = mm_ledger_reader_open(file, &err);
    if (!reader)
        fail_msg("%s", err.message);
    return reader;
}

struct seen {
    int64_t sequences[16];
    size_t n;
};

static bool note(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    (void)err;
    struct seen *seen = context;
    assert_true(seen->n < MM_ARRAY_SIZE(seen->sequences));
    assert_int_equal(record->bytes[0], '{');
    assert_int_equal(record->bytes[record->length - 1], '}');
    seen->sequences[seen->n++] = record->sequence;
    return true;
}

/* Verify; the code found, its message in `err`. */
static enum mm_code verify(const char *file, struct mm_error *err)
{
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(file, err);
    struct mm_ledger_report report = {.entries = -1};
    if (!reader || !mm_ledger_verify(reader, &report, err)) {
        assert_int_equal(report.entries, -1);
        return err->code;
    }
    return MM_OK;
}

static void missing_ledger_is_said_to_be_missing(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    assert_null(mm_ledger_reader_open(place->file, &err));
    expect(&err, MM_STORE_MISSING, place->file);
    mm_ledger_reader_close(NULL);
}

static void filters_choose_what_they_name_oldest_first(void **state)
{
    const struct place *place = *state;
    const struct {
        struct mm_ledger_filter filter;
        size_t n;
        int64_t sequences[6];
    } cases[] = {
        {{0}, 6, {1, 2, 3, 4, 5, 6}},
        {{.account = "acme/ci"}, 3, {2, 4, 5}},
        {{.jti = "a"}, 2, {2, 5}},
        {{.type = "token.issued"}, 2, {2, 3}},
        {{.type = "token."}, 4, {2, 3, 4, 5}},
        {{.type = "token"}, 0, {0}},
        {{.type = "."}, 0, {0}},
        {{.type = ""}, 0, {0}},
        {{.since = 1003, .until = 1005}, 2, {3, 4}},
        {{.limit = 2}, 2, {5, 6}},
        {{.account = "acme/ci", .limit = 2}, 2, {4, 5}},
        {{.account = "acme/ci", .type = "token.", .jti = "a", .since = 1003, .limit = 9}, 1, {5}},
    };
    make(place);
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = open_reader(place->file);
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        struct seen seen = {.n = 0};
        assert_true(mm_ledger_list(reader, &cases[i].filter, note, &seen, NULL));
        assert_int_equal(seen.n, cases[i].n);
        assert_memory_equal(seen.sequences, cases[i].sequences, seen.n * sizeof seen.sequences[0]);
    }
}

static void report_tells_entries_and_head(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = open_writer(place);
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = open_reader(place->file);
    const uint8_t zeros[MM_SHA256_LENGTH] = {0};
    struct mm_ledger_report report;
    assert_true(mm_ledger_verify(reader, &report, NULL));
    assert_int_equal(report.entries, 0);
    assert_memory_equal(report.head, zeros, sizeof zeros);
    mm_cleanup(json_decref) json_t *fields = json_object();
    struct mm_receipt receipt;
    for (int i = 1; i <= 300; i++)
        assert_true(mm_ledger_append(ledger, MM_ENTRY_HSM_EVENT, fields, mm_deadline_after_ms(9000), &receipt, NULL));
    assert_true(mm_ledger_verify(reader, &report, NULL)); /* beside the live writer */
    assert_int_equal(report.entries, 300);
    assert_memory_equal(report.head, receipt.hash, sizeof receipt.hash);
    mm_ledger_close(ledger);
}

static void copy_of_the_file_verifies(void **state)
{
    const struct place *place = *state;
    make(place);
    char copy[128];
    (void)snprintf(copy, sizeof copy, "%s/copy.db", place->folder);
    copy_file(place->file, copy);
    struct mm_error err = {0};
    assert_int_equal(verify(copy, &err), MM_OK);
}

static void every_single_change_is_found_and_named(void **state)
{
    const struct place *place = *state;
    const struct {
        const char *sql;
        const char *words;
    } changes[] = {
        {"UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'acme/ci', 'acme/xx') AS BLOB)"
         " WHERE sequence = 4",
         "entry 4: its hash"},
        {"UPDATE entries SET bytes = CAST(bytes || ' ' AS BLOB) WHERE sequence = 3", "entry 3: "},
        {"UPDATE entries SET bytes = x'' WHERE sequence = 3", "entry 3: "},
        {"UPDATE entries SET hash = zeroblob(32) WHERE sequence = 2", "entry 2: its hash"},
        {"UPDATE entries SET hash = x'00' WHERE sequence = 2", "entry 2: its hash"},
        {"UPDATE entries SET type = 'token.issued' WHERE sequence = 4", "entry 4: its type"},
        {"UPDATE entries SET type = '' WHERE sequence = 6", "entry 6: its type"},
        {"UPDATE entries SET time = time + 1 WHERE sequence = 1", "entry 1: its time"},
        {"UPDATE entries SET account = 'acme/other' WHERE sequence = 2", "entry 2: its account"},
        {"UPDATE entries SET account = NULL WHERE sequence = 2", "entry 2: its account"},
        {"UPDATE entries SET account = 'acme/ci' WHERE sequence = 1", "entry 1: its account"},
        {"UPDATE entries SET account = account || char(0) WHERE sequence = 2", "entry 2: its type, account or jti"},
        {"UPDATE entries SET jti = 'z' WHERE sequence = 5", "entry 5: its jti"},
        {"UPDATE entries SET jti = NULL WHERE sequence = 5", "entry 5: its jti"},
        {"UPDATE entries SET jti = 'z' WHERE sequence = 6", "entry 6: its jti"},
        {"DELETE FROM entries WHERE sequence = 1", "entry 1 is missing"},
        {"DELETE FROM entries WHERE sequence = 4", "entry 4 is missing"},
        {"UPDATE entries SET sequence = 7 WHERE sequence = 6", "entry 6 is missing"},
        {"UPDATE entries SET sequence = 0 WHERE sequence = 1", "entry 1 is missing"},
        {"UPDATE entries SET sequence = -sequence", "entry 1 is missing"},
        {"INSERT INTO entries SELECT 0, hash, bytes, type, time, account, jti FROM entries WHERE sequence = 1",
         "entry 1 is missing: entry 0"},
        {"INSERT INTO entries SELECT 9223372036854775807, hash, bytes, type, time, account, jti FROM entries"
         " WHERE sequence = 6",
         "entry 7 is missing"},
        {"INSERT INTO entries SELECT 7, hash, bytes, type, time, account, jti FROM entries WHERE sequence = 6",
         "entry 7: its hash"},
        {"UPDATE entries SET sequence = -1 WHERE sequence = 2; UPDATE entries SET sequence = 2 WHERE sequence = 3;"
         "UPDATE entries SET sequence = 3 WHERE sequence = -1",
         "entry 2: its hash"},
        /* the content moved, sequence and hash left in their places */
        {"CREATE TEMP TABLE was AS SELECT * FROM entries;"
         "UPDATE entries SET (bytes, type, time, account, jti) ="
         " (SELECT bytes, type, time, account, jti FROM was WHERE was.sequence = 5 - entries.sequence)"
         " WHERE sequence IN (2, 3)",
         "entry 2: its hash"},
        {"DROP INDEX entries_jti; PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql ="
         " 'CREATE INDEX entries_account ON entries (account) WHERE account IS NULL' WHERE name = 'entries_account'",
         "entries_account"},
    };
    make(place);
    char copy[128];
    (void)snprintf(copy, sizeof copy, "%s/copy.db", place->folder);
    for (size_t i = 0; i < MM_ARRAY_SIZE(changes); i++) {
        copy_file(place->file, copy);
        raw(copy, changes[i].sql);
        struct mm_error err = {0};
        if (verify(copy, &err) == MM_OK)
            fail_msg("not found: %s", changes[i].sql);
        expect(&err, MM_LEDGER_CORRUPT, changes[i].words);
    }
}

static void cut_tail_shows_only_against_a_noted_head(void **state)
{
    const struct place *place = *state;
    make(place);
    struct mm_ledger_report whole;
    struct mm_ledger_report cut;
    struct mm_ledger_reader *reader = open_reader(place->file);
    assert_true(mm_ledger_verify(reader, &whole, NULL));
    mm_ledger_reader_close(reader);
    raw(place->file, "DELETE FROM entries WHERE sequence = 6");
    reader = open_reader(place->file);
    assert_true(mm_ledger_verify(reader, &cut, NULL));
    mm_ledger_reader_close(reader);
    assert_int_equal(whole.entries, 6);
    assert_int_equal(cut.entries, 5);
    assert_memory_not_equal(whole.head, cut.head, sizeof cut.head);
}

static void entry_passed_off_under_another_index_is_not_listed(void **state)
{
    const struct place *place = *state;
    make(place);
    raw(place->file, "UPDATE entries SET account = 'acme/other' WHERE sequence = 2");
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = open_reader(place->file);
    struct seen seen = {.n = 0};
    struct mm_error err = {0};
    assert_false(mm_ledger_list(reader, &(struct mm_ledger_filter){.account = "acme/other"}, note, &seen, &err));
    expect(&err, MM_LEDGER_CORRUPT, "entry 2: its account");
    assert_int_equal(seen.n, 0);
}

static bool refuse(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    *(int64_t *)context += record->sequence;
    return mm_fail(err, MM_NOT_FOUND, "enough");
}

static void append_many(const struct place *place, int n)
{
    struct mm_ledger *ledger = open_writer(place);
    for (int i = 0; i < n; i++) {
        mm_cleanup(json_decref) json_t *fields = json_pack("{ss}", "jti", "j");
        now_seconds++;
        while (!mm_ledger_submit(ledger, MM_ENTRY_TOKEN_ISSUED, fields, NULL, NULL, NULL))
            (void)usleep(1000);
    }
    mm_ledger_close(ledger);
}

/* Entry i is of 1000 + i. */
static void young_entries_are_found_from_the_end(void **state)
{
    enum { N = 6000 };
    const struct place *place = *state;
    append_many(place, N);
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = open_reader(place->file);
    const int64_t sinces[] = {0, 1001, 1002, 3000, 6000, 6950, 6999, 7000, 8000};
    for (size_t i = 0; i < MM_ARRAY_SIZE(sinces); i++) {
        int64_t first = 0;
        assert_true(mm_ledger_find_since(reader, sinces[i], &first, NULL));
        assert_in_range(first, 1, N);
        /* Nothing that young lies before it, and of a short while it isn't all that is looked at. */
        assert_true(first == 1 || first + 1000 < sinces[i] - MM_LEDGER_CLOCK_LEEWAY);
        assert_true(sinces[i] < 6900 || first > N - 3100);
    }
}

static void an_empty_ledger_has_nothing_young(void **state)
{
    const struct place *place = *state;
    mm_ledger_close(open_writer(place));
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = open_reader(place->file);
    int64_t first = 0;
    assert_true(mm_ledger_find_since(reader, 5, &first, NULL));
    assert_int_equal(first, 1);
}

static void visitor_stops_the_listing(void **state)
{
    const struct place *place = *state;
    make(place);
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = open_reader(place->file);
    int64_t sum = 0;
    struct mm_error err = {0};
    assert_false(mm_ledger_list(reader, &(struct mm_ledger_filter){0}, refuse, &sum, &err));
    expect(&err, MM_NOT_FOUND, "enough");
    assert_int_equal(sum, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        placed(missing_ledger_is_said_to_be_missing),
        placed(filters_choose_what_they_name_oldest_first),
        placed(report_tells_entries_and_head),
        placed(copy_of_the_file_verifies),
        placed(every_single_change_is_found_and_named),
        placed(cut_tail_shows_only_against_a_noted_head),
        placed(entry_passed_off_under_another_index_is_not_listed),
        placed(young_entries_are_found_from_the_end),
        placed(an_empty_ledger_has_nothing_young),
        placed(visitor_stops_the_listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
