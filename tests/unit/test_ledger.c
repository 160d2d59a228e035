/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's writer: what got a receipt is there, chained and for good (also after kill -9); what failed is not; and the
 * writer comes back from locks and full disks by itself.
 */
#include "ledger/ledger.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "ledger/reader.h"
#include "tests/unit/ledger_support.h"

static int64_t fixed_ms(void *context)
{
    return *(int64_t *)context * 1000;
}

static int64_t now_seconds = 1700000000;
static const struct mm_clock CLOCK = {.unix_ms = fixed_ms, .context = &now_seconds};

static void expect(struct mm_error *err, enum mm_code code, const char *words)
{
    if (err->code != code || !strstr(err->message, words))
        fail_msg("expected %d “%s”, got %d “%s”", (int)code, words, (int)err->code, err->message);
    *err = (struct mm_error){0};
}

static struct mm_ledger *reopen(const char *file, unsigned gather_us)
{
    struct mm_error err = {0};
    struct mm_ledger *ledger = mm_ledger_open(file, &CLOCK, gather_us, &err);
    if (!ledger)
        fail_msg("%s", err.message);
    return ledger;
}

static struct mm_ledger *make(const struct place *place)
{
    struct mm_error err = {0};
    if (!mm_ledger_create(place->file, &CLOCK, NULL, 0, &err))
        fail_msg("%s", err.message);
    return reopen(place->file, 0);
}

static json_t *fields_of(const char *jti)
{
    json_t *fields = json_pack("{ss ss ss}", "account", "acme/ci", "jti", jti, "kid", "k");
    assert_non_null(fields);
    return fields;
}

static bool append(struct mm_ledger *ledger, const char *jti, struct mm_receipt *ret_receipt, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *fields = fields_of(jti);
    return mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(20000), ret_receipt, err);
}

static void append_or_fail(struct mm_ledger *ledger, const char *jti, int64_t expected_sequence)
{
    struct mm_receipt receipt;
    struct mm_error err = {0};
    if (!append(ledger, jti, &receipt, &err))
        fail_msg("%s", err.message);
    assert_int_equal(receipt.sequence, expected_sequence);
}

static void expect_verified(const char *file, int64_t entries)
{
    struct mm_error err = {0};
    struct mm_ledger_report report;
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(file, &err);
    if (!reader || !mm_ledger_verify(reader, &report, &err))
        fail_msg("%s", err.message);
    assert_int_equal(report.entries, entries);
}

static bool wait_until(bool (*condition)(struct mm_ledger *), struct mm_ledger *ledger)
{
    int64_t deadline = mm_deadline_after_ms(10000);
    while (!condition(ledger) && mm_monotonic_ns() < deadline)
        (void)usleep(10000);
    return condition(ledger);
}

/* Entries. */

struct found {
    struct mm_ledger_record record;
    char bytes[512];
    size_t n;
};

static bool keep(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    (void)err;
    struct found *found = context;
    found->n++;
    found->record = *record;
    (void)snprintf(found->bytes, sizeof found->bytes, "%.*s", (int)record->length, record->bytes);
    return true;
}

static struct found look_up(const char *file, const char *jti)
{
    struct found found = {.n = 0};
    struct mm_error err = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(file, &err);
    if (!reader || !mm_ledger_list(reader, &(struct mm_ledger_filter){.jti = jti}, keep, &found, &err))
        fail_msg("%s", err.message);
    return found;
}

static void ledger_appears_with_its_first_entries_and_goes_on_from_them(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *first = fields_of("first");
    mm_cleanup(json_decref) json_t *second = fields_of("second");
    const struct mm_entry entries[] = {{MM_ENTRY_LEDGER_CREATED, first}, {MM_ENTRY_KEY_ACTIVATED, second}};
    if (!mm_ledger_create(place->file, &CLOCK, entries, 2, &err))
        fail_msg("%s", err.message);
    expect_verified(place->file, 2);
    assert_int_equal(look_up(place->file, "second").record.sequence, 2);
    struct mm_ledger *ledger = reopen(place->file, 0);
    append_or_fail(ledger, "third", 3);
    mm_ledger_close(ledger);
    expect_verified(place->file, 3);
}

static void ledger_whose_first_entry_is_refused_is_not_made(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *good = fields_of("first");
    mm_cleanup(json_decref) json_t *bad = json_pack("{ss}", "type", "of its own");
    const struct mm_entry entries[] = {{MM_ENTRY_LEDGER_CREATED, good}, {MM_ENTRY_KEY_ACTIVATED, bad}};
    assert_false(mm_ledger_create(place->file, &CLOCK, entries, 2, &err));
    expect(&err, MM_INTERNAL, "an entry needs");
    assert_int_equal(access(place->file, F_OK), -1);
}

static void entry_is_stored_as_exact_bytes_under_its_receipt(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    struct mm_receipt receipt;
    assert_true(append(ledger, "one", &receipt, NULL));
    struct found found = look_up(place->file, "one");
    assert_int_equal(found.n, 1);
    assert_string_equal(found.bytes, "{\"type\":\"token.issued\",\"time\":1700000000,\"account\":\"acme/ci\","
                                     "\"jti\":\"one\",\"kid\":\"k\"}");
    assert_int_equal(receipt.sequence, 1);
    assert_int_equal(found.record.sequence, 1);
    assert_memory_equal(found.record.hash, receipt.hash, sizeof receipt.hash);
    mm_ledger_close(ledger);
    expect_verified(place->file, 1);
}

static void every_type_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int type = 0; type < MM_N_ENTRY_TYPES; type++)
        assert_non_null(strchr(mm_entry_type_name((enum mm_entry_type)type), '.'));
    assert_string_equal(mm_entry_type_name(MM_ENTRY_KEY_ACTIVATED), "key.activated");
    assert_null(mm_entry_type_name(MM_N_ENTRY_TYPES));
}

static void fields_borrowed_stay_as_they_were(void **state)
{
    struct mm_ledger *ledger = make(*state);
    mm_cleanup(json_decref) json_t *fields = fields_of("one");
    mm_cleanup(json_decref) json_t *before = json_deep_copy(fields);
    struct mm_receipt receipt;
    assert_true(mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(9000), &receipt, NULL));
    assert_true(json_equal(fields, before));
    mm_ledger_close(ledger);
}

static void refuse_fields(struct mm_ledger *ledger, json_t *fields, const char *words)
{
    struct mm_receipt receipt;
    struct mm_error err = {0};
    assert_false(mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(9000), &receipt, &err));
    expect(&err, MM_INTERNAL, words);
    json_decref(fields);
}

static void fields_that_would_forge_or_break_an_entry_are_refused(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    refuse_fields(ledger, json_pack("{ss}", "type", "key.activated"), "fields other than");
    refuse_fields(ledger, json_pack("{si}", "time", 1), "fields other than");
    refuse_fields(ledger, json_array(), "fields other than");
    refuse_fields(ledger, NULL, "fields other than");
    refuse_fields(ledger, json_pack("{so}", "account", json_stringn("a\0b", 3)), "can't be read back");
    json_t *deep = json_array();
    for (int i = 0; i < 40; i++)
        deep = json_pack("[o]", deep);
    refuse_fields(ledger, json_pack("{so}", "deep", deep), "can't be read back");
    append_or_fail(ledger, "after", 1);
    mm_ledger_close(ledger);
    expect_verified(place->file, 1);
}

static void largest_entry_fits_and_one_byte_more_does_not(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    static char filler[MM_ENTRY_BYTES_MAX + 1];
    size_t frame = strlen("{\"type\":\"token.issued\",\"time\":1700000000,\"x\":\"\"}");
    memset(filler, 'x', sizeof filler);
    refuse_fields(ledger, json_pack("{ss#}", "x", filler, (int)(MM_ENTRY_BYTES_MAX - frame + 1)), "more than 262144");
    mm_cleanup(json_decref) json_t *fits = json_pack("{ss#}", "x", filler, (int)(MM_ENTRY_BYTES_MAX - frame));
    struct mm_receipt receipt;
    assert_true(mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fits, mm_deadline_after_ms(9000), &receipt, NULL));
    mm_ledger_close(ledger);
    expect_verified(place->file, 1);
}

static void index_members_that_are_not_strings_are_not_indexed(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    mm_cleanup(json_decref) json_t *fields = json_pack("{si sn}", "account", 7, "jti");
    struct mm_receipt receipt;
    assert_true(mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(9000), &receipt, NULL));
    mm_ledger_close(ledger);
    expect_verified(place->file, 1);
}

/* Opening and closing. */

static void missing_ledger_is_not_made(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    assert_null(mm_ledger_open(place->file, &CLOCK, 0, &err));
    expect(&err, MM_STORE_MISSING, place->file);
    assert_false(exists(place->file, ""));
}

static void second_writer_is_refused(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    struct mm_error err = {0};
    assert_null(mm_ledger_open(place->file, &CLOCK, 0, &err));
    expect(&err, MM_LEDGER_UNAVAILABLE, "another process writes it");
    append_or_fail(ledger, "one", 1);
    mm_ledger_close(ledger);
}

static void chain_goes_on_where_it_ended(void **state)
{
    const struct place *place = *state;
    mm_ledger_close(make(place));
    for (int i = 1; i <= 5; i++) {
        struct mm_ledger *ledger = reopen(place->file, 0);
        append_or_fail(ledger, "one", i);
        mm_ledger_close(ledger);
    }
    expect_verified(place->file, 5);
}

static void count(void *context, const struct mm_receipt *receipt, const struct mm_error *err)
{
    atomic_int *counters = context; /* durable, failed */
    assert_true((receipt != NULL) != (err != NULL));
    (void)atomic_fetch_add(&counters[receipt ? 0 : 1], 1);
}

static void submit_many(struct mm_ledger *ledger, int n, atomic_int *counters)
{
    mm_cleanup(json_decref) json_t *fields = fields_of("many");
    for (int i = 0; i < n; i++) {
        struct mm_error err = {0};
        if (!mm_ledger_submit(ledger, MM_ENTRY_TOKEN_ISSUED, fields, count, counters, &err))
            fail_msg("%s", err.message);
    }
}

static void closing_commits_what_is_queued(void **state)
{
    const struct place *place = *state;
    mm_ledger_close(make(place));
    struct mm_ledger *ledger = reopen(place->file, 1000000);
    atomic_int counters[2] = {0};
    submit_many(ledger, 2000, counters);
    assert_int_equal(counters[0], 0); /* all still gathering */
    mm_ledger_close(ledger);
    assert_int_equal(counters[0], 2000);
    assert_int_equal(counters[1], 0);
    expect_verified(place->file, 2000);
}

static void entry_without_callback_is_recorded(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    mm_cleanup(json_decref) json_t *fields = json_object();
    assert_true(mm_ledger_submit(ledger, MM_ENTRY_SERVICE_STOPPED, fields, NULL, NULL, NULL));
    mm_ledger_close(ledger);
    expect_verified(place->file, 1);
}

static void fill(struct mm_ledger *ledger, int n)
{
    atomic_int counters[2] = {0};
    submit_many(ledger, n, counters);
    append_or_fail(ledger, "last", n + 1);
    assert_int_equal(counters[0], n);
}

static void expect_broken(const char *file, const char *sql, const char *words)
{
    struct mm_error err = {0};
    raw(file, sql);
    assert_null(mm_ledger_open(file, &CLOCK, 0, &err));
    expect(&err, MM_LEDGER_CORRUPT, words);
}

static void broken_tail_stops_the_start(void **state)
{
    const struct place *place = *state;
    const char *const tampering[] = {
        "UPDATE entries SET bytes = CAST(bytes || ' ' AS BLOB) WHERE sequence = 1500",
        "UPDATE entries SET hash = zeroblob(32) WHERE sequence = 1501",
        "UPDATE entries SET type = 'key.activated' WHERE sequence = 1490",
        "UPDATE entries SET account = NULL WHERE sequence = 1490",
        "DELETE FROM entries WHERE sequence = 600",
        "DELETE FROM entries WHERE sequence BETWEEN 100 AND 1500", /* also the one before the last thousand */
        "INSERT INTO entries SELECT 1502, hash, bytes, type, time, account, jti FROM entries WHERE sequence = 1501",
        "INSERT INTO entries SELECT 9223372036854775807, hash, bytes, 't', 1, NULL, NULL FROM entries LIMIT 1",
    };
    struct mm_ledger *ledger = make(place);
    fill(ledger, 1500);
    mm_ledger_close(ledger);
    char broken[128];
    (void)snprintf(broken, sizeof broken, "%s/broken.db", place->folder);
    for (size_t i = 0; i < MM_ARRAY_SIZE(tampering); i++) {
        copy_file(place->file, broken);
        expect_broken(broken, tampering[i], "entry ");
    }
    mm_ledger_close(reopen(place->file, 0));
}

/* Bad luck. */

static void entry_written_beside_us_stops_the_writer(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    append_or_fail(ledger, "one", 1);
    raw(place->file, "INSERT INTO entries SELECT 2, hash, bytes, type, time, account, jti FROM entries");
    struct mm_receipt receipt;
    struct mm_error err = {0};
    assert_false(append(ledger, "two", &receipt, &err));
    expect(&err, MM_LEDGER_CORRUPT, "its last entry is 2");
    assert_false(mm_ledger_is_healthy(ledger));
    assert_false(append(ledger, "three", &receipt, &err));
    expect(&err, MM_LEDGER_CORRUPT, "its last entry is 2");
    (void)usleep(1200000); /* a probe doesn't heal it */
    assert_false(mm_ledger_is_healthy(ledger));
    mm_ledger_close(ledger);
    assert_int_equal(look_up(place->file, "two").n, 0);
}

static void last_entry_removed_beside_us_stops_the_writer(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    append_or_fail(ledger, "one", 1);
    append_or_fail(ledger, "two", 2);
    raw(place->file, "DELETE FROM entries WHERE sequence = 2");
    struct mm_receipt receipt;
    struct mm_error err = {0};
    assert_false(append(ledger, "three", &receipt, &err));
    expect(&err, MM_LEDGER_CORRUPT, "its last entry is 1");
    mm_ledger_close(ledger);
}

static void locked_store_fails_entries_and_recovers_without_traffic(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    append_or_fail(ledger, "one", 1);
    sqlite3 *other = raw_open(place->file);
    raw_run(other, "BEGIN EXCLUSIVE");
    struct mm_receipt receipt;
    struct mm_error err = {0};
    assert_true(mm_ledger_is_healthy(ledger));
    assert_false(append(ledger, "two", &receipt, &err));
    expect(&err, MM_LEDGER_UNAVAILABLE, "locked");
    assert_false(mm_ledger_is_healthy(ledger));
    (void)usleep(1500000);
    assert_false(mm_ledger_is_healthy(ledger));
    raw_run(other, "ROLLBACK");
    (void)sqlite3_close(other);
    assert_true(wait_until(mm_ledger_is_healthy, ledger));
    append_or_fail(ledger, "three", 2);
    mm_ledger_close(ledger);
    assert_int_equal(look_up(place->file, "two").n, 0);
    expect_verified(place->file, 2);
}

static void closing_a_locked_ledger_ends_and_fails_what_is_queued(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    sqlite3 *other = raw_open(place->file);
    raw_run(other, "BEGIN EXCLUSIVE");
    atomic_int counters[2] = {0};
    submit_many(ledger, 3000, counters);
    int64_t begun = mm_monotonic_ns();
    mm_ledger_close(ledger);
    assert_true(mm_monotonic_ns() - begun < 5000000000);
    assert_int_equal(counters[0], 0);
    assert_int_equal(counters[1], 3000);
    (void)sqlite3_close(other);
    expect_verified(place->file, 0);
}

static void limit_files(rlim_t bytes)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void store_that_can_not_grow_fails_entries_and_recovers_without_traffic(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    append_or_fail(ledger, "one", 1);
    limit_files(4096);
    struct mm_receipt receipt;
    struct mm_error first = {0};
    struct mm_error second = {0};
    bool done = append(ledger, "two", &receipt, &first);
    bool again = append(ledger, "two", &receipt, &second);
    bool healthy = mm_ledger_is_healthy(ledger);
    limit_files(RLIM_INFINITY);
    assert_false(done || again || healthy);
    expect(&first, MM_LEDGER_UNAVAILABLE, place->file);
    expect(&second, MM_LEDGER_UNAVAILABLE, place->file);
    assert_true(wait_until(mm_ledger_is_healthy, ledger));
    append_or_fail(ledger, "three", 2);
    mm_ledger_close(ledger);
    assert_int_equal(look_up(place->file, "two").n, 0);
    expect_verified(place->file, 2);
}

static void removed_ledger_takes_nothing_more(void **state)
{
    const struct place *place = *state;
    struct mm_ledger *ledger = make(place);
    append_or_fail(ledger, "one", 1);
    assert_int_equal(unlink(place->file), 0);
    struct mm_receipt receipt;
    struct mm_error err = {0};
    assert_false(append(ledger, "two", &receipt, &err));
    expect(&err, MM_LEDGER_UNAVAILABLE, "removed, replaced or cut");
    mm_ledger_close(ledger);
}

/* SQLite itself would go on and report commits that nobody can find again. */
static void ledger_that_is_cut_in_place_takes_nothing_more(void **state)
{
    const struct place *place = *state;
    static const char *const SUFFIXES[] = {"-wal", ""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(SUFFIXES); i++) {
        char base[128];
        char path[160];
        (void)snprintf(base, sizeof base, "%s/cut-%zu.db", place->folder, i);
        (void)snprintf(path, sizeof path, "%s%s", base, SUFFIXES[i]);
        assert_true(mm_ledger_create(base, &CLOCK, NULL, 0, NULL));
        struct mm_ledger *ledger = mm_ledger_open(base, &MM_SYSTEM_CLOCK, 0, NULL);
        assert_non_null(ledger);
        append_or_fail(ledger, "one", 1);
        append_or_fail(ledger, "two", 2);
        assert_int_equal(truncate(path, 0), 0);
        for (int attempt = 0; attempt < 3; attempt++) {
            struct mm_receipt receipt;
            struct mm_error err = {0};
            assert_false(append(ledger, "three", &receipt, &err));
        }
        assert_false(mm_ledger_is_healthy(ledger));
        mm_ledger_close(ledger);
    }
}

/* How many entries with `fields` the queue takes while its writer still gathers. */
static int fill_queue(const struct place *place, const json_t *fields, atomic_int *counters)
{
    mm_ledger_close(make(place));
    struct mm_ledger *ledger = reopen(place->file, 8000000); /* sanitizers on a busy machine take seconds to fill it */
    int accepted = 0;
    struct mm_error err = {0};
    while (accepted < 10000 && mm_ledger_submit(ledger, MM_ENTRY_TOKEN_ISSUED, fields, count, counters, &err))
        accepted++;
    expect(&err, MM_OVERLOADED, "queue is full");
    mm_ledger_close(ledger);
    return accepted;
}

static void full_queue_refuses_at_once_and_calls_nobody_back(void **state)
{
    const struct place *place = *state;
    atomic_int counters[2] = {0};
    mm_cleanup(json_decref) json_t *fields = fields_of("many");
    assert_int_equal(fill_queue(place, fields, counters), 4096);
    assert_int_equal(counters[0], 4096);
    assert_int_equal(counters[1], 0);
    expect_verified(place->file, 4096);
}

static void full_queue_is_measured_in_bytes_too(void **state)
{
    const struct place *place = *state;
    static char filler[16000];
    memset(filler, 'x', sizeof filler);
    atomic_int counters[2] = {0};
    mm_cleanup(json_decref) json_t *fields = json_pack("{ss#}", "x", filler, (int)sizeof filler);
    size_t length = sizeof filler + strlen("{\"type\":\"token.issued\",\"time\":1700000000,\"x\":\"\"}");
    assert_int_equal(fill_queue(place, fields, counters), 16 * 1024 * 1024 / length);
    expect_verified(place->file, counters[0]);
}

static void deadline_ends_the_wait_and_the_entry_may_still_get_in(void **state)
{
    const struct place *place = *state;
    mm_ledger_close(make(place));
    struct mm_ledger *ledger = reopen(place->file, 300000);
    mm_cleanup(json_decref) json_t *fields = fields_of("late");
    struct mm_receipt receipt = {.sequence = -7};
    struct mm_error err = {0};
    assert_false(mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(20), &receipt, &err));
    expect(&err, MM_DEADLINE_EXCEEDED, "");
    assert_int_equal(receipt.sequence, -7);
    mm_ledger_close(ledger);
    assert_int_equal(look_up(place->file, "late").n, 1);
}

/* Callbacks. */

struct relay {
    struct mm_ledger *ledger;
    atomic_int n_left;
    atomic_int n_refused_to_wait;
};

static void submit_next(void *context, const struct mm_receipt *receipt, const struct mm_error *err)
{
    struct relay *relay = context;
    assert_non_null(receipt);
    assert_null(err);
    mm_cleanup(json_decref) json_t *fields = fields_of("relay");
    struct mm_receipt never;
    struct mm_error why = {0};
    if (!mm_ledger_append(relay->ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(50), &never, &why) &&
        why.code == MM_INTERNAL)
        (void)atomic_fetch_add(&relay->n_refused_to_wait, 1);
    if (atomic_fetch_sub(&relay->n_left, 1) > 0)
        assert_true(mm_ledger_submit(relay->ledger, MM_ENTRY_TOKEN_ISSUED, fields, submit_next, relay, NULL));
}

static void callback_may_submit_but_not_wait(void **state)
{
    const struct place *place = *state;
    struct relay relay = {.ledger = make(place), .n_left = 9};
    mm_cleanup(json_decref) json_t *fields = fields_of("relay");
    assert_true(mm_ledger_submit(relay.ledger, MM_ENTRY_TOKEN_ISSUED, fields, submit_next, &relay, NULL));
    int64_t deadline = mm_deadline_after_ms(10000);
    while (atomic_load(&relay.n_left) >= 0 && mm_monotonic_ns() < deadline)
        (void)usleep(1000);
    mm_ledger_close(relay.ledger);
    assert_int_equal(relay.n_refused_to_wait, 10);
    expect_verified(place->file, 10);
}

enum { THREADS = 64, SUBMITS = 200 };

struct crowd {
    struct mm_ledger *ledger;
    int number;
    int64_t sequences[SUBMITS];
};

static void *append_in_crowd(void *context)
{
    struct crowd *member = context;
    char jti[32];
    for (int i = 0; i < SUBMITS; i++) {
        struct mm_receipt receipt;
        (void)snprintf(jti, sizeof jti, "%d-%d", member->number, i);
        if (!append(member->ledger, jti, &receipt, NULL))
            return context;
        member->sequences[i] = receipt.sequence;
    }
    return NULL;
}

static void many_threads_get_a_sequence_each(void **state)
{
    const struct place *place = *state;
    mm_ledger_close(make(place));
    struct mm_ledger *ledger = reopen(place->file, 500);
    static struct crowd crowd[THREADS];
    static uint8_t seen[THREADS * SUBMITS + 1];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        crowd[i].ledger = ledger;
        crowd[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, append_in_crowd, &crowd[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        for (int k = 0; k < SUBMITS; k++) {
            assert_in_range(crowd[i].sequences[k], 1, THREADS * SUBMITS);
            assert_int_equal(seen[crowd[i].sequences[k]]++, 0);
            assert_true(k == 0 || crowd[i].sequences[k] > crowd[i].sequences[k - 1]);
        }
    }
    mm_ledger_close(ledger);
    expect_verified(place->file, THREADS * SUBMITS);
    assert_int_equal(look_up(place->file, "63-199").record.sequence, crowd[63].sequences[199]);
}

/* kill -9. */

struct report {
    struct mm_receipt receipt;
    char jti[32];
};

struct job {
    int pipe;
    struct report report;
};

static void report_receipt(void *context, const struct mm_receipt *receipt, const struct mm_error *err)
{
    (void)err;
    struct job *job = context;
    if (receipt) {
        job->report.receipt = *receipt;
        ssize_t n = write(job->pipe, &job->report, sizeof job->report);
        (void)n;
    }
    free(job);
}

/* The child: submit as fast as the queue takes it, until killed. */
static void accept_clock(struct mm_ledger *ledger)
{
    struct mm_receipt receipt;
    mm_cleanup(json_decref) json_t *fields = json_object();
    assert_true(mm_ledger_append(ledger, MM_ENTRY_CLOCK_ACCEPTED, fields, mm_deadline_after_ms(20000), &receipt, NULL));
}

static void clock_behind_the_latest_entry_is_unsafe_until_it_is_accepted(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    struct mm_receipt receipt;
    struct mm_ledger *ledger = make(place);
    assert_true(mm_ledger_check_clock(ledger, NULL));
    assert_true(append(ledger, "a", &receipt, NULL));
    now_seconds -= MM_LEDGER_CLOCK_LEEWAY;
    assert_true(mm_ledger_check_clock(ledger, NULL));
    now_seconds -= 1;
    assert_false(mm_ledger_check_clock(ledger, &err));
    expect(&err, MM_CLOCK_UNSAFE, "61 s behind");
    /* An entry doesn't make it safe: whatever else is recorded meanwhile. */
    assert_true(append(ledger, "b", &receipt, NULL));
    assert_false(mm_ledger_check_clock(ledger, NULL));
    mm_ledger_close(ledger);

    /* Nor does a restart. */
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(place->file, NULL);
    struct mm_ledger_report report;
    assert_true(mm_ledger_verify(reader, &report, NULL));
    ledger = reopen(place->file, 0);
    mm_ledger_expect_time(ledger, report.latest_time, report.latest_issue);
    assert_false(mm_ledger_check_clock(ledger, NULL));
    accept_clock(ledger);
    assert_true(mm_ledger_check_clock(ledger, NULL));
    assert_true(mm_ledger_verify(reader, &report, NULL));
    assert_int_equal(report.latest_time, now_seconds);
    /* What was issued while the clock was ahead says its own times all the same. */
    assert_int_equal(report.latest_issue, now_seconds + MM_LEDGER_CLOCK_LEEWAY + 1);
    assert_int_equal(mm_ledger_latest_issue(ledger), now_seconds + MM_LEDGER_CLOCK_LEEWAY + 1);
    now_seconds += MM_LEDGER_CLOCK_LEEWAY + 1;
    mm_ledger_close(ledger);
}

static int write_until_killed(const char *file, int pipe)
{
    struct mm_ledger *ledger = mm_ledger_open(file, &CLOCK, 200, NULL);
    if (!ledger)
        return 1;
    for (int i = 0;; i++) {
        struct job *job = calloc(1, sizeof *job);
        assert_non_null(job);
        job->pipe = pipe;
        (void)snprintf(job->report.jti, sizeof job->report.jti, "%d-%d", (int)getpid(), i);
        mm_cleanup(json_decref) json_t *fields = fields_of(job->report.jti);
        if (!mm_ledger_submit(ledger, MM_ENTRY_TOKEN_ISSUED, fields, report_receipt, job, NULL)) {
            free(job);
            (void)usleep(100);
        }
    }
}

/* This very program as the child: threads may be started only after exec(). */
static pid_t start_child(const char *file, int pipe)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char descriptor[16];
        (void)snprintf(descriptor, sizeof descriptor, "%d", pipe);
        (void)execl("/proc/self/exe", "test_ledger", "write-until-killed", file, descriptor, (char *)NULL);
        _exit(1);
    }
    return child;
}

static bool read_report(int fd, struct report *ret_report)
{
    char *at = (char *)ret_report;
    for (size_t have = 0; have < sizeof *ret_report;) {
        ssize_t n = read(fd, at + have, sizeof *ret_report - have);
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

static size_t kill_under_load(const char *file, int round, struct report *reports, size_t max)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = start_child(file, ends[1]);
    (void)close(ends[1]);
    size_t n = 0;
    size_t enough = 100 + 173 * (size_t)round;
    while (n < max && read_report(ends[0], &reports[n]))
        if (++n == enough)
            assert_int_equal(kill(child, SIGKILL), 0);
    assert_true(n >= enough);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(ends[0]);
    return n;
}

static void kill_9_under_load_loses_no_receipt_and_breaks_no_chain(void **state)
{
    const struct place *place = *state;
    enum { MAX = 60000 };
    struct report *reports = calloc(MAX, sizeof *reports);
    assert_non_null(reports);
    mm_ledger_close(make(place));
    for (int round = 0; round < 10; round++) {
        size_t n = kill_under_load(place->file, round, reports, MAX);
        mm_ledger_close(reopen(place->file, 0));
        struct mm_error err = {0};
        mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(place->file, &err);
        struct mm_ledger_report report;
        if (!reader || !mm_ledger_verify(reader, &report, &err))
            fail_msg("%s", err.message);
        for (size_t i = 0; i < n; i++) {
            struct found found = {.n = 0};
            assert_true(mm_ledger_list(reader, &(struct mm_ledger_filter){.jti = reports[i].jti}, keep, &found, NULL));
            assert_int_equal(found.n, 1);
            assert_int_equal(found.record.sequence, reports[i].receipt.sequence);
            assert_memory_equal(found.record.hash, reports[i].receipt.hash, MM_SHA256_LENGTH);
        }
    }
    free(reports);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "write-until-killed") == 0)
        return write_until_killed(argv[2], (int)strtol(argv[3], NULL, 10));
    const struct CMUnitTest tests[] = {
        placed(ledger_appears_with_its_first_entries_and_goes_on_from_them),
        placed(ledger_whose_first_entry_is_refused_is_not_made),
        placed(entry_is_stored_as_exact_bytes_under_its_receipt),
        cmocka_unit_test(every_type_has_a_name_of_its_own),
        placed(fields_borrowed_stay_as_they_were),
        placed(fields_that_would_forge_or_break_an_entry_are_refused),
        placed(largest_entry_fits_and_one_byte_more_does_not),
        placed(index_members_that_are_not_strings_are_not_indexed),
        placed(missing_ledger_is_not_made),
        placed(second_writer_is_refused),
        placed(chain_goes_on_where_it_ended),
        placed(closing_commits_what_is_queued),
        placed(entry_without_callback_is_recorded),
        placed(broken_tail_stops_the_start),
        placed(entry_written_beside_us_stops_the_writer),
        placed(last_entry_removed_beside_us_stops_the_writer),
        placed(locked_store_fails_entries_and_recovers_without_traffic),
        placed(closing_a_locked_ledger_ends_and_fails_what_is_queued),
        placed(store_that_can_not_grow_fails_entries_and_recovers_without_traffic),
        placed(removed_ledger_takes_nothing_more),
        placed(ledger_that_is_cut_in_place_takes_nothing_more),
        placed(full_queue_refuses_at_once_and_calls_nobody_back),
        placed(full_queue_is_measured_in_bytes_too),
        placed(deadline_ends_the_wait_and_the_entry_may_still_get_in),
        placed(callback_may_submit_but_not_wait),
        placed(many_threads_get_a_sequence_each),
        placed(clock_behind_the_latest_entry_is_unsafe_until_it_is_accepted),
        placed(kill_9_under_load_loses_no_receipt_and_breaks_no_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
