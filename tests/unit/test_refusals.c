/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "issue/refusals.h"
#include "ledger/reader.h"

static int64_t now;

static int64_t test_now(void *context)
{
    (void)context;
    return now * 1000;
}

static const struct mm_clock CLOCK = {.unix_ms = test_now};

struct world {
    char folder[64];
    char file[128];
    struct mm_ledger *ledger;
    struct mm_refusals *refusals;
};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    (void)snprintf(world->folder, sizeof world->folder, "/tmp/mm-refusals-XXXXXX");
    if (!mkdtemp(world->folder))
        return -1;
    (void)snprintf(world->file, sizeof world->file, "%s/ledger.db", world->folder);
    now = 1700000000;
    struct mm_error err = {0};
    if (!mm_ledger_create(world->file, &CLOCK, NULL, 0, &err) ||
        !(world->ledger = mm_ledger_open(world->file, &CLOCK, 0, &err)) ||
        !(world->refusals = mm_refusals_new(world->ledger, &CLOCK, &err)))
        return -1;
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    mm_refusals_free(world->refusals);
    mm_ledger_close(world->ledger);
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", world->folder);
    int status = system(command); /* NOLINT(cert-env33-c): a folder this test made */
    free(world);
    return status;
}

static char TENANT_ID[] = "acme";
static char CI[] = "acme/ci";
static char OTHER[] = "acme/other";

static void note(struct world *world, char *identity, enum mm_code code)
{
    static const char *const SCOPES[] = {"write:repo"};
    struct mm_tenant tenant = {.id = TENANT_ID};
    struct mm_account account = {.identity = identity};
    struct mm_principal principal = {.tenant = &tenant, .account = &account, .credential = "mtls", .fingerprint = "f1"};
    struct mm_token_request request = {.scopes = SCOPES, .n_scopes = 1};
    struct mm_error why = {.code = code};
    mm_refusals_note(world->refusals, &principal, &request, "req-1", &why);
}

struct tally {
    size_t entries;
    int64_t repeated;
};

static bool count(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct tally *tally = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    if (!entry)
        return false;
    tally->entries++;
    tally->repeated += mm_json_integer(entry, "repeated", 0);
    return true;
}

/* Close the ledger, so that everything submitted is in it, and count the refusals. */
static struct tally recorded(struct world *world)
{
    mm_ledger_close(MM_TAKE(world->ledger));
    struct mm_ledger_reader *reader = mm_ledger_reader_open(world->file, NULL);
    assert_non_null(reader);
    struct tally tally = {0};
    struct mm_ledger_filter filter = {.type = "token.refused"};
    assert_true(mm_ledger_list(reader, &filter, count, &tally, NULL));
    mm_ledger_reader_close(reader);
    return tally;
}

static void first_refusal_is_recorded_at_once(void **state)
{
    struct world *world = *state;
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    struct tally tally = recorded(world);
    assert_int_equal(tally.entries, 1);
    assert_int_equal(tally.repeated, 0);
}

static void repeats_within_the_window_become_one_entry(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < 1000; i++)
        note(world, CI, MM_SCOPE_NOT_GRANTED);
    now += MM_REFUSALS_WINDOW;
    mm_refusals_flush(world->refusals, MM_REFUSALS_ENDED);
    struct tally tally = recorded(world);
    assert_int_equal(tally.entries, 2);
    assert_int_equal(tally.repeated, 999);
}

static void window_that_goes_on_is_not_flushed_early(void **state)
{
    struct world *world = *state;
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    now += MM_REFUSALS_WINDOW - 1;
    mm_refusals_flush(world->refusals, MM_REFUSALS_ENDED);
    assert_int_equal(recorded(world).entries, 1);
}

static void stopping_records_what_was_counted(void **state)
{
    struct world *world = *state;
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    mm_refusals_flush(world->refusals, MM_REFUSALS_ALL);
    struct tally tally = recorded(world);
    assert_int_equal(tally.entries, 2);
    assert_int_equal(tally.repeated, 1);
}

static void other_accounts_and_codes_are_counted_apart(void **state)
{
    struct world *world = *state;
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    note(world, CI, MM_TTL_TOO_LONG);
    note(world, OTHER, MM_SCOPE_NOT_GRANTED);
    assert_int_equal(recorded(world).entries, 3);
}

static void clock_set_back_does_not_hold_a_window_open(void **state)
{
    struct world *world = *state;
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    now -= 86400;
    note(world, CI, MM_SCOPE_NOT_GRANTED);
    assert_int_equal(recorded(world).entries, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(first_refusal_is_recorded_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeats_within_the_window_become_one_entry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(window_that_goes_on_is_not_flushed_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopping_records_what_was_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_accounts_and_codes_are_counted_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clock_set_back_does_not_hold_a_window_open, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
