/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That a credential was used once, as the ledger has it: recorded, and found again by the next start.
 */
#include "issue/uses.h"

#include "ledger_support.h"

enum { START = 1800000000 };

static int64_t at_start(void *context)
{
    (void)context;
    return START * 1000LL;
}

static const struct mm_clock CLOCK = {.unix_ms = at_start};
static const struct mm_tenant TENANT = {.id = (char[]){"acme"}};
static const struct mm_account ACCOUNT = {.id = (char[]){"ci"}, .identity = (char[]){"acme/ci"}};

static struct mm_principal principal_of(uint8_t which, int64_t until)
{
    return (struct mm_principal){.tenant = &TENANT, .account = &ACCOUNT, .use = {.digest = {which, 1}, .until = until}};
}

static void record(struct mm_ledger *ledger, uint8_t which, int64_t until)
{
    struct mm_principal principal = principal_of(which, until);
    assert_true(mm_uses_record(ledger, &principal, NULL, NULL, NULL));
}

static struct mm_ledger *create(const struct place *place)
{
    assert_true(mm_ledger_create(place->file, &CLOCK, NULL, 0, NULL));
    struct mm_ledger *ledger = mm_ledger_open(place->file, &CLOCK, 0, NULL);
    assert_non_null(ledger);
    return ledger;
}

static bool read_all(const struct place *place, struct mm_replay *replay, struct mm_error *err)
{
    struct mm_uses uses = {replay, START};
    struct mm_ledger_report report;
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(place->file, NULL);
    assert_non_null(reader);
    return mm_ledger_verify_each(reader, mm_uses_remember, &uses, &report, err);
}

static void what_is_recorded_is_used_after_the_next_start(void **state)
{
    mm_cleanup(mm_replay_free) struct mm_replay *replay = mm_replay_new(16, &MM_SYSTEM_RANDOM, NULL);
    struct mm_ledger *ledger = create(*state);
    record(ledger, 1, START + 300);
    record(ledger, 2, START); /* over by then */
    record(ledger, 3, START + 1);
    mm_ledger_close(ledger);
    assert_true(read_all(*state, replay, NULL));
    assert_int_equal(mm_replay_n(replay), 2);
    for (uint8_t which = 1; which <= 4; which++) {
        struct mm_principal principal = principal_of(which, START + 300);
        bool is_first = mm_replay_use(replay, "acme", principal.use.digest, START + 300, START, NULL);
        assert_int_equal(is_first, which == 2 || which == 4);
    }
}

static bool note(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    (void)err;
    (void)snprintf(context, 512, "%.*s", (int)record->length, record->bytes);
    return true;
}

static void its_entry_says_whose_and_which_and_nothing_of_the_credential(void **state)
{
    char entry[512] = "";
    struct place *place = *state;
    struct mm_ledger *ledger = create(place);
    record(ledger, 0xab, START + 300);
    mm_ledger_close(ledger);
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(place->file, NULL);
    const struct mm_ledger_filter filter = {.account = "acme/ci", .type = "assertion.used"};
    assert_true(mm_ledger_list(reader, &filter, note, entry, NULL));
    assert_string_equal(entry,
                        "{\"type\":\"assertion.used\",\"time\":1800000000,\"tenant\":\"acme\",\"account\":\"acme/ci\","
                        "\"digest\":\"ab01000000000000000000000000000000000000000000000000000000000000\","
                        "\"until\":1800000300}");
}

/* Texts of others in an entry can't pass for one. */
static void other_entries_are_none_whatever_they_hold(void **state)
{
    mm_cleanup(mm_replay_free) struct mm_replay *replay = mm_replay_new(16, &MM_SYSTEM_RANDOM, NULL);
    struct mm_ledger *ledger = create(*state);
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss sI}", "reason", "{\"type\":\"assertion.used\",", "tenant", "acme", "digest", "00", "until",
                  (json_int_t)START + 300);
    assert_true(mm_ledger_append(ledger, MM_ENTRY_TOKEN_REVOKED, fields, mm_deadline_after_ms(10000),
                                 &(struct mm_receipt){0}, NULL));
    mm_ledger_close(ledger);
    assert_true(read_all(*state, replay, NULL));
    assert_int_equal(mm_replay_n(replay), 0);
}

static void one_that_is_malformed_stops_the_start(void **state)
{
    static const char *const BAD[] = {
        "{\"tenant\":\"acme\",\"digest\":\"00\",\"until\":1800000300}",
        "{\"tenant\":\"acme\",\"until\":1800000300}",
        "{\"digest\":\"ab01000000000000000000000000000000000000000000000000000000000000\",\"until\":1800000300}",
        "{\"tenant\":\"acme\",\"digest\":\"ab01000000000000000000000000000000000000000000000000000000000000\"}",
    };
    mm_cleanup(mm_replay_free) struct mm_replay *replay = mm_replay_new(16, &MM_SYSTEM_RANDOM, NULL);
    (void)state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        char bytes[256];
        int length = snprintf(bytes, sizeof bytes, "{\"type\":\"assertion.used\",\"time\":1800000000,%s", BAD[i] + 1);
        const struct mm_ledger_record bad = {.sequence = 7, .bytes = bytes, .length = (size_t)length};
        struct mm_error err = {0};
        assert_false(mm_uses_remember(&(struct mm_uses){replay, START}, &bad, &err));
        assert_int_equal(err.code, MM_LEDGER_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        placed(what_is_recorded_is_used_after_the_next_start),
        placed(its_entry_says_whose_and_which_and_nothing_of_the_credential),
        placed(other_entries_are_none_whatever_they_hold),
        cmocka_unit_test(one_that_is_malformed_stops_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
