/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revocations over a real ledger, by a clock that the tests set: what is hit, what is stopped, what is remembered over restarts and what is
 * forgotten; held against a model that knows nothing of buckets, sweeps and restarts.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "ledger_support.h"

#include "revocation/estimate.h"
#include "revocation/revocations.h"

enum { TTL = 900, START = 1800000000, PATIENCE_MS = 5000 };

struct world {
    struct place *place;
    _Atomic int64_t now_ms;
    struct mm_clock clock;
    struct mm_ledger *ledger;
    struct mm_revocations *revocations;
    size_t clients_max;
};

static int64_t read_clock(void *context)
{
    struct world *world = context;
    return atomic_load(&world->now_ms);
}

static int64_t now(const struct world *world)
{
    return atomic_load(&world->now_ms) / 1000;
}

static void set_clock(struct world *world, int64_t unix_seconds)
{
    atomic_store(&world->now_ms, unix_seconds * 1000);
}

static bool open_index(struct world *world, struct mm_error *err)
{
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->place->file, NULL);
    assert_non_null(reader);
    const struct mm_revocations_parts parts = {world->ledger, reader, &world->clock, TTL, world->clients_max};
    world->revocations = mm_revocations_open(&parts, err);
    return world->revocations != NULL;
}

static void start(struct world *world, unsigned gather_us)
{
    world->ledger = mm_ledger_open(world->place->file, &world->clock, gather_us, NULL);
    assert_non_null(world->ledger);
    assert_true(open_index(world, NULL));
}

static void stop(struct world *world)
{
    mm_ledger_close(MM_TAKE(world->ledger));
    mm_revocations_free(MM_TAKE(world->revocations));
}

static void restart(struct world *world)
{
    stop(world);
    start(world, 0);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    void *place = NULL;
    assert_non_null(world);
    (void)place_make(&place);
    world->place = place;
    world->clients_max = MM_REVOCATIONS_CLIENTS_MAX;
    world->clock = (struct mm_clock){read_clock, world};
    set_clock(world, START);
    assert_true(mm_ledger_create(world->place->file, &world->clock, NULL, 0, NULL));
    start(world, 0);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    void *place = world->place;
    stop(world);
    (void)place_remove(&place);
    free(world);
    return 0;
}

static struct mm_revocation_order order_of(enum mm_revoke_what what, const char *name)
{
    return (struct mm_revocation_order){.what = what, .name = name, .by = "uid 1000", .reason = "leaked"};
}

static bool try_revoke(struct world *world, const struct mm_revocation_order *order, struct mm_revoked *ret_revoked,
                       struct mm_error *err)
{
    return mm_revocations_revoke_now(world->revocations, order, mm_deadline_after_ms(PATIENCE_MS), ret_revoked, err);
}

static int64_t take_back(struct world *world, enum mm_revoke_what what, const char *name)
{
    struct mm_revoked revoked;
    const struct mm_revocation_order order = order_of(what, name);
    assert_true(try_revoke(world, &order, &revoked, NULL));
    return revoked.id;
}

static void lift(struct world *world, int64_t id)
{
    struct mm_revoked lifted;
    assert_true(mm_revocations_lift_now(world->revocations, id, "uid 1000", "mended", mm_deadline_after_ms(PATIENCE_MS),
                                        &lifted, NULL));
    assert_int_equal(lifted.id, id);
}

/* A token of acme's, alive. */
static struct mm_token_facts token(const struct world *world)
{
    return (struct mm_token_facts){.jti = "j-1",
                                   .tenant = "acme",
                                   .subject = "acme/ci",
                                   .client_id = "acme/ci",
                                   .kid = "key-1",
                                   .issued_at = now(world),
                                   .expires_at = now(world) + TTL};
}

static bool has(const struct world *world, const struct mm_token_facts *facts)
{
    return mm_revocations_has(world->revocations, facts);
}

static bool allows(const struct world *world, const char *tenant, const char *account)
{
    return mm_revocations_allow(world->revocations, tenant, account, NULL);
}

static bool count_one(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    (void)record, (void)err;
    ++*(size_t *)context;
    return true;
}

static size_t n_entries(const struct world *world, const struct mm_ledger_filter *filter)
{
    size_t n = 0;
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->place->file, NULL);
    assert_true(mm_ledger_list(reader, filter, count_one, &n, NULL));
    return n;
}

static void a_token_is_hit_by_its_jti_and_no_other_is(void **state)
{
    struct world *world = *state;
    struct mm_token_facts one = token(world);
    struct mm_token_facts other = token(world);
    other.jti = "j-2";
    assert_false(has(world, &one));
    (void)take_back(world, MM_REVOKE_JTI, "j-1");
    assert_true(has(world, &one));
    assert_false(has(world, &other));
    assert_true(allows(world, "acme", "acme/ci"));
}

static void each_kind_hits_what_it_names_and_nothing_else(void **state)
{
    struct world *world = *state;
    static const struct {
        enum mm_revoke_what what;
        const char *hit;
        const char *miss;
    } CASES[] = {
        {MM_REVOKE_ACCOUNT, "acme/ci", "acme/ci-2"},
        {MM_REVOKE_TENANT, "acme", "acm"},
        {MM_REVOKE_KEY, "key-1", "key-2"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_token_facts facts = token(world);
        (void)take_back(world, CASES[i].what, CASES[i].miss);
        assert_false(has(world, &facts));
        (void)take_back(world, CASES[i].what, CASES[i].hit);
        assert_true(has(world, &facts));
        set_clock(world, now(world) + 1); /* the next round's token is a later one */
    }
}

static void an_account_is_hit_as_subject_and_as_client(void **state)
{
    struct world *world = *state;
    (void)take_back(world, MM_REVOKE_ACCOUNT, "acme/ci");
    struct mm_token_facts exchanged = token(world);
    exchanged.subject = "https://idp.example#ada";
    assert_true(has(world, &exchanged));
    exchanged.client_id = "acme/other";
    assert_false(has(world, &exchanged));
    exchanged.subject = "acme/ci";
    assert_true(has(world, &exchanged));
}

static void an_account_is_hit_as_one_that_acted_before(void **state)
{
    struct world *world = *state;
    static const char *const ACTORS[] = {"acme/deploy", "acme/other"};
    struct mm_token_facts facts = token(world);
    facts.actors = ACTORS;
    facts.n_actors = 1;
    (void)take_back(world, MM_REVOKE_ACCOUNT, "acme/other");
    assert_false(has(world, &facts));
    facts.n_actors = 2;
    assert_true(has(world, &facts));
}

static bool hits_resource(struct world *world, const char *tenant, const char *resource)
{
    struct mm_token_facts facts = token(world);
    facts.tenant = tenant;
    facts.resources = &resource;
    facts.n_resources = 1;
    return has(world, &facts);
}

static void a_resource_is_hit_within_its_tenant_and_by_whatever_pattern_reaches_it(void **state)
{
    struct world *world = *state;
    struct mm_revocation_order order = order_of(MM_REVOKE_RESOURCE, "urc-1*");
    struct mm_revoked revoked;
    order.tenant = "acme";
    assert_true(try_revoke(world, &order, &revoked, NULL));
    assert_true(hits_resource(world, "acme", "urc-1"));
    assert_true(hits_resource(world, "acme", "urc-12"));
    assert_true(hits_resource(world, "acme", "urc-*")); /* it reaches urc-1 */
    assert_false(hits_resource(world, "acme", "urc-2"));
    assert_false(hits_resource(world, "acme", "urc-"));
    assert_false(hits_resource(world, "rival", "urc-1"));
    assert_true(allows(world, "acme", "acme/ci"));
}

static void tokens_of_the_second_in_which_it_was_recorded_are_hit_and_later_ones_are_not(void **state)
{
    struct world *world = *state;
    struct mm_token_facts facts = token(world);
    atomic_store(&world->now_ms, START * 1000LL + 10);
    (void)take_back(world, MM_REVOKE_KEY, "key-1");
    atomic_store(&world->now_ms, START * 1000LL + 990);
    facts.issued_at = now(world);
    assert_true(has(world, &facts)); /* issued after it, as far as milliseconds go */
    facts.issued_at++;
    assert_false(has(world, &facts));
}

static void what_a_clock_that_was_ahead_issued_is_hit(void **state)
{
    struct world *world = *state;
    mm_cleanup(json_decref) json_t *fields = json_pack("{ss}", "jti", "j-1");
    struct mm_receipt receipt;
    set_clock(world, START + 30);
    assert_true(mm_ledger_append(world->ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(PATIENCE_MS),
                                 &receipt, NULL));
    struct mm_token_facts facts = token(world);
    set_clock(world, START);
    (void)take_back(world, MM_REVOKE_KEY, "key-1");
    assert_true(has(world, &facts));
}

static void issued_before_spares_what_was_issued_then_or_later(void **state)
{
    struct world *world = *state;
    struct mm_revocation_order order = order_of(MM_REVOKE_ALL, "");
    struct mm_revoked revoked;
    struct mm_token_facts facts = token(world);
    order.issued_before = START - 100;
    assert_true(try_revoke(world, &order, &revoked, NULL));
    facts.issued_at = START - 101;
    assert_true(has(world, &facts));
    facts.issued_at = START - 100;
    assert_false(has(world, &facts));
}

static void issued_before_narrows_an_account_and_stops_nothing(void **state)
{
    struct world *world = *state;
    struct mm_revocation_order order = order_of(MM_REVOKE_ACCOUNT, "acme/ci");
    struct mm_revoked revoked;
    struct mm_token_facts facts = token(world);
    order.issued_before = START - 100;
    assert_true(try_revoke(world, &order, &revoked, NULL));
    assert_false(has(world, &facts));
    facts.issued_at = START - 200;
    assert_true(has(world, &facts));
    assert_true(allows(world, "acme", "acme/ci"));
}

static void orders_that_can_hit_nothing_are_refused(void **state)
{
    struct world *world = *state;
    struct mm_revocation_order orders[] = {
        order_of(MM_REVOKE_JTI, ""),           order_of(MM_REVOKE_ACCOUNT, "ci"),
        order_of(MM_REVOKE_ACCOUNT, "acme/"),  order_of(MM_REVOKE_TENANT, "a c"),
        order_of(MM_REVOKE_RESOURCE, "urc-1"), order_of(MM_REVOKE_ALL, ""),
        order_of(MM_REVOKE_ALL, "all"),        order_of(MM_REVOKE_JTI, "j\n1"),
        order_of(MM_REVOKE_KEY, "k"),          order_of(MM_REVOKE_RESOURCE, "u*c"),
        order_of(MM_REVOKE_JTI, "j-1"),
    };
    orders[8].issued_before = START + 1;
    orders[9].tenant = "acme";
    orders[10].issued_before = START;
    for (size_t i = 0; i < MM_ARRAY_SIZE(orders); i++) {
        struct mm_error err = {0};
        struct mm_revoked revoked;
        assert_false(try_revoke(world, &orders[i], &revoked, &err));
        assert_int_equal(err.code, MM_INVALID_REQUEST);
    }
    assert_int_equal(n_entries(world, &(struct mm_ledger_filter){0}), 0);
}

static void an_account_and_a_tenant_get_nothing_until_each_stop_is_lifted(void **state)
{
    struct world *world = *state;
    int64_t account = take_back(world, MM_REVOKE_ACCOUNT, "acme/ci");
    assert_false(allows(world, "acme", "acme/ci"));
    assert_true(allows(world, "acme", "acme/other"));
    int64_t tenant = take_back(world, MM_REVOKE_TENANT, "acme");
    assert_false(allows(world, "acme", "acme/other"));
    assert_true(allows(world, "rival", "rival/ci"));
    restart(world);
    assert_false(allows(world, "acme", "acme/ci"));
    lift(world, tenant);
    assert_true(allows(world, "acme", "acme/other"));
    assert_false(allows(world, "acme", "acme/ci"));
    lift(world, account);
    assert_true(allows(world, "acme", "acme/ci"));
    restart(world);
    assert_true(allows(world, "acme", "acme/ci"));
}

static void what_was_revoked_stays_so_after_the_lift(void **state)
{
    struct world *world = *state;
    struct mm_token_facts facts = token(world);
    lift(world, take_back(world, MM_REVOKE_ACCOUNT, "acme/ci"));
    assert_true(has(world, &facts));
    restart(world);
    assert_true(has(world, &facts));
}

static void only_what_stops_issuance_can_be_lifted_and_once(void **state)
{
    struct world *world = *state;
    int64_t jti = take_back(world, MM_REVOKE_JTI, "j-1");
    int64_t account = take_back(world, MM_REVOKE_ACCOUNT, "acme/ci");
    lift(world, account);
    const int64_t ids[] = {jti, account, 0, -1, 4711};
    for (size_t i = 0; i < MM_ARRAY_SIZE(ids); i++) {
        struct mm_error err = {0};
        struct mm_revoked lifted;
        assert_false(mm_revocations_lift_now(world->revocations, ids[i], "x", "y", mm_deadline_after_ms(PATIENCE_MS),
                                             &lifted, &err));
        assert_int_equal(err.code, MM_REVOCATION_UNKNOWN);
    }
}

static void a_stop_outlives_every_token_that_it_hits(void **state)
{
    struct world *world = *state;
    (void)take_back(world, MM_REVOKE_ACCOUNT, "acme/ci");
    set_clock(world, START + 365 * 86400);
    mm_revocations_sweep(world->revocations);
    assert_false(allows(world, "acme", "acme/ci"));
    restart(world);
    assert_false(allows(world, "acme", "acme/ci"));
}

static void a_token_is_revoked_once_and_the_repeat_writes_nothing(void **state)
{
    struct world *world = *state;
    struct mm_revocation_order order = order_of(MM_REVOKE_JTI, "j-1");
    struct mm_revoked first;
    struct mm_revoked again;
    order.account = "acme/ci";
    order.whose = MM_REVOKED_BY_CLIENT;
    order.expires_at = START + TTL;
    assert_true(try_revoke(world, &order, &first, NULL));
    assert_true(try_revoke(world, &order, &again, NULL));
    assert_int_equal(again.when, MM_REVOKED_BEFORE);
    assert_int_equal(again.id, first.id);
    restart(world);
    assert_true(try_revoke(world, &order, &again, NULL));
    assert_int_equal(again.id, first.id);
    assert_int_equal(n_entries(world, &(struct mm_ledger_filter){.jti = "j-1", .account = "acme/ci"}), 1);
}

struct answers {
    atomic_int n_durable;
    atomic_int n_failed;
    _Atomic int64_t id;
};

static void count_answer(void *context, const struct mm_revoked *revoked, const struct mm_error *err)
{
    struct answers *answers = context;
    (void)err;
    if (revoked)
        atomic_store(&answers->id, revoked->id);
    (void)atomic_fetch_add(revoked ? &answers->n_durable : &answers->n_failed, 1);
}

static void await_answers(struct answers *answers, int n)
{
    int64_t deadline = mm_deadline_after_ms(PATIENCE_MS);
    while (atomic_load(&answers->n_durable) + atomic_load(&answers->n_failed) < n && mm_monotonic_ns() < deadline)
        (void)usleep(1000);
}

static void repeats_while_the_first_is_under_way_wait_for_its_entry(void **state)
{
    struct world *world = *state;
    struct answers answers = {0};
    const struct mm_revocation_order order = order_of(MM_REVOKE_JTI, "j-1");
    stop(world);
    start(world, 100000);
    for (int i = 0; i < 20; i++)
        assert_true(mm_revocations_revoke(world->revocations, &order, INT64_MAX, count_answer, &answers, NULL));
    assert_int_equal(atomic_load(&answers.n_durable), 0);
    await_answers(&answers, 20);
    assert_int_equal(atomic_load(&answers.n_durable), 20);
    assert_int_equal(n_entries(world, &(struct mm_ledger_filter){.jti = "j-1"}), 1);
}

/* Whatever was allowed before the stop has an iat that it hits, and it counts before it is durable. */
static void a_revocation_counts_from_the_moment_it_is_asked_for(void **state)
{
    struct world *world = *state;
    struct answers answers = {0};
    const struct mm_revocation_order order = order_of(MM_REVOKE_ACCOUNT, "acme/ci");
    stop(world);
    start(world, 100000);
    struct mm_token_facts drafted = token(world);
    assert_true(allows(world, "acme", "acme/ci"));
    assert_true(mm_revocations_revoke(world->revocations, &order, INT64_MAX, count_answer, &answers, NULL));
    set_clock(world, START + 2); /* while its entry is on its way */
    assert_false(allows(world, "acme", "acme/ci"));
    assert_true(has(world, &drafted));
    await_answers(&answers, 1);
    assert_int_equal(atomic_load(&answers.n_durable), 1);
    restart(world);
    assert_false(allows(world, "acme", "acme/ci"));
    assert_true(has(world, &drafted));
}

static void what_the_ledger_does_not_take_is_told_and_taken_back(void **state)
{
    struct world *world = *state;
    struct mm_token_facts facts = token(world);
    sqlite3 *other = raw_open(world->place->file);
    raw_run(other, "BEGIN EXCLUSIVE");
    const enum mm_revoke_what whats[] = {MM_REVOKE_JTI, MM_REVOKE_ACCOUNT};
    const char *const names[] = {"j-1", "acme/ci"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(whats); i++) {
        struct mm_error err = {0};
        struct mm_revoked revoked;
        const struct mm_revocation_order order = order_of(whats[i], names[i]);
        assert_false(try_revoke(world, &order, &revoked, &err));
        assert_int_equal(err.code, MM_LEDGER_UNAVAILABLE);
    }
    raw_run(other, "ROLLBACK");
    (void)sqlite3_close(other);
    assert_false(has(world, &facts));
    assert_true(allows(world, "acme", "acme/ci"));
    assert_int_equal(mm_revocations_count(world->revocations).n_operators, 0);
    (void)take_back(world, MM_REVOKE_JTI, "j-1");
    assert_true(has(world, &facts));
}

static void who_waits_for_a_ledger_that_hangs_is_told_so_at_its_deadline(void **state)
{
    struct world *world = *state;
    struct answers answers = {0};
    const struct mm_revocation_order order = order_of(MM_REVOKE_JTI, "j-1");
    stop(world);
    start(world, 300000);
    assert_true(mm_revocations_revoke(world->revocations, &order, mm_monotonic_ns(), count_answer, &answers, NULL));
    mm_revocations_sweep(world->revocations);
    assert_int_equal(atomic_load(&answers.n_failed), 1);
    struct mm_token_facts facts = token(world);
    stop(world); /* it is recorded all the same, and nobody is told twice */
    start(world, 0);
    assert_int_equal(atomic_load(&answers.n_failed), 1);
    assert_int_equal(atomic_load(&answers.n_durable), 0);
    assert_true(has(world, &facts));
}

static void a_lift_that_is_not_recorded_lifts_nothing(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    struct mm_revoked lifted;
    int64_t id = take_back(world, MM_REVOKE_ACCOUNT, "acme/ci");
    sqlite3 *other = raw_open(world->place->file);
    raw_run(other, "BEGIN EXCLUSIVE");
    assert_false(
        mm_revocations_lift_now(world->revocations, id, "x", "y", mm_deadline_after_ms(PATIENCE_MS), &lifted, &err));
    raw_run(other, "ROLLBACK");
    (void)sqlite3_close(other);
    assert_false(allows(world, "acme", "acme/ci"));
}

static void a_revocation_leaves_memory_once_all_that_it_hits_has_expired(void **state)
{
    struct world *world = *state;
    struct mm_revocation_order own = order_of(MM_REVOKE_JTI, "j-own");
    struct mm_revoked revoked;
    own.account = "acme/ci";
    own.whose = MM_REVOKED_BY_CLIENT;
    own.expires_at = START + 100;
    assert_true(try_revoke(world, &own, &revoked, NULL));
    (void)take_back(world, MM_REVOKE_KEY, "key-1");
    set_clock(world, START + 99 + 60);
    mm_revocations_sweep(world->revocations);
    assert_int_equal(mm_revocations_count(world->revocations).n_clients, 1);
    set_clock(world, START + 100 + 60);
    mm_revocations_sweep(world->revocations);
    assert_int_equal(mm_revocations_count(world->revocations).n_clients, 0);
    assert_int_equal(mm_revocations_count(world->revocations).n_operators, 1);
    set_clock(world, START + TTL + 60);
    mm_revocations_sweep(world->revocations);
    assert_int_equal(mm_revocations_count(world->revocations).n_operators, 0);
    restart(world);
    assert_int_equal(mm_revocations_count(world->revocations).n_operators, 0);
}

static void a_clock_that_is_set_back_brings_no_revoked_token_back(void **state)
{
    struct world *world = *state;
    struct mm_token_facts facts = token(world);
    (void)take_back(world, MM_REVOKE_JTI, "j-1");
    set_clock(world, START + 10 * TTL); /* far ahead: all is forgotten */
    mm_revocations_sweep(world->revocations);
    assert_int_equal(mm_revocations_count(world->revocations).n_operators, 0);
    set_clock(world, START);
    assert_true(has(world, &facts));
    set_clock(world, START + 10 * TTL);
    restart(world);
    set_clock(world, START);
    assert_true(has(world, &facts));
}

static void a_client_can_not_fill_the_memory_nor_take_another_clients_room(void **state)
{
    struct world *world = *state;
    struct answers answers = {0};
    char jti[32] = "";
    struct mm_revocation_order order = order_of(MM_REVOKE_JTI, jti);
    struct mm_error err = {0};
    order.account = "acme/ci";
    order.whose = MM_REVOKED_BY_CLIENT;
    order.expires_at = START + TTL;
    for (int i = 0; i < MM_REVOCATIONS_CLIENT_MAX; i++) {
        (void)snprintf(jti, sizeof jti, "j-%d", i);
        assert_true(mm_revocations_revoke(world->revocations, &order, INT64_MAX, count_answer, &answers, NULL));
        if (i % 1000 == 999)
            await_answers(&answers, i + 1); /* the ledger's queue has bounds */
    }
    await_answers(&answers, MM_REVOCATIONS_CLIENT_MAX);
    assert_int_equal(atomic_load(&answers.n_failed), 0);
    (void)snprintf(jti, sizeof jti, "j-more");
    struct mm_revoked revoked;
    assert_false(try_revoke(world, &order, &revoked, &err));
    assert_int_equal(err.code, MM_OVERLOADED);
    order.account = "acme/other";
    assert_true(try_revoke(world, &order, &revoked, NULL));
    (void)take_back(world, MM_REVOKE_TENANT, "acme");
    assert_int_equal(mm_revocations_count(world->revocations).n_clients, MM_REVOCATIONS_CLIENT_MAX + 1);
    assert_int_equal(n_entries(world, &(struct mm_ledger_filter){.account = "acme/ci"}), MM_REVOCATIONS_CLIENT_MAX);
}

/* Of so many of a tenant's clients as can be: how many revocations there is room for. */
static int fill_room_of(struct world *world, const char *tenant)
{
    char jti[32] = "";
    char account[32];
    struct mm_revoked revoked;
    struct mm_revocation_order order = order_of(MM_REVOKE_JTI, jti);
    order.tenant = tenant;
    order.account = account;
    order.whose = MM_REVOKED_BY_CLIENT;
    order.expires_at = START + TTL;
    for (int i = 0;; i++) {
        (void)snprintf(jti, sizeof jti, "%s-%d", tenant, i);
        (void)snprintf(account, sizeof account, "%s/%d", tenant, i);
        if (!try_revoke(world, &order, &revoked, NULL))
            return i;
    }
}

static void a_tenants_clients_leave_room_for_another_tenants(void **state)
{
    struct world *world = *state;
    world->clients_max = 32;
    restart(world);
    assert_int_equal(fill_room_of(world, "acme"), 16);
    assert_int_equal(fill_room_of(world, "rival"), 8);
    restart(world);
    assert_int_equal(fill_room_of(world, "third"), 4);
    assert_int_equal(fill_room_of(world, "acme"), 16); /* those are there; no other is taken */
    assert_int_equal(mm_revocations_count(world->revocations).n_clients, 28);
    set_clock(world, START + TTL + 61);
    mm_revocations_sweep(world->revocations);
    assert_int_equal(mm_revocations_count(world->revocations).n_clients, 0);
}

static void what_operators_revoked_is_listed_newest_first(void **state)
{
    struct world *world = *state;
    int64_t first = take_back(world, MM_REVOKE_JTI, "j-1");
    int64_t second = take_back(world, MM_REVOKE_ACCOUNT, "acme/ci");
    mm_cleanup(json_decref) json_t *list = mm_revocations_list(world->revocations, 10, NULL);
    assert_int_equal(json_array_size(list), 2);
    const json_t *newest = json_array_get(list, 0);
    assert_int_equal(mm_json_integer(newest, "id", 0), second);
    assert_string_equal(mm_json_string(newest, "what"), "account");
    assert_string_equal(mm_json_string(newest, "name"), "acme/ci");
    assert_string_equal(mm_json_string(newest, "by"), "uid 1000");
    assert_string_equal(mm_json_string(newest, "reason"), "leaked");
    assert_int_equal(mm_json_integer(newest, "time", 0), START);
    assert_true(json_is_true(json_object_get(newest, "stops_issuance")));
    assert_int_equal(mm_json_integer(json_array_get(list, 1), "id", 0), first);
    mm_cleanup(json_decref) json_t *one = mm_revocations_list(world->revocations, 1, NULL);
    assert_int_equal(json_array_size(one), 1);
}

static void an_entry_that_says_not_of_what_ends_the_start(void **state)
{
    struct world *world = *state;
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss sI sI sb}", "what", "everything", "name", "x", "issued_until", (json_int_t)1, "until",
                  (json_int_t)2, "stops_issuance", 0);
    struct mm_receipt receipt;
    struct mm_error err = {0};
    assert_true(mm_ledger_append(world->ledger, MM_ENTRY_TOKEN_REVOKED, fields, mm_deadline_after_ms(PATIENCE_MS),
                                 &receipt, NULL));
    mm_revocations_free(MM_TAKE(world->revocations));
    assert_false(open_index(world, &err));
    assert_int_equal(err.code, MM_LEDGER_CORRUPT);
}

static void record_token(struct world *world, enum mm_entry_type type, const char *account, const char *jti,
                         const char *kid, int64_t exp)
{
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss ss}", "tenant", "acme", "account", account, "jti", jti, "kid", kid);
    struct mm_receipt receipt;
    if (exp)
        assert_int_equal(json_object_set_new(fields, "exp", json_integer(exp)), 0);
    assert_true(mm_ledger_append(world->ledger, type, fields, mm_deadline_after_ms(PATIENCE_MS), &receipt, NULL));
}

static void record_exchange(struct world *world, const char *account, const char *client, const char *jti)
{
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss ss ss sI s{ss}}", "tenant", "acme", "account", account, "client", client, "jti", jti,
                  "kid", "k-2", "exp", (json_int_t)(START + 800), "act", "sub", "acme/before");
    struct mm_receipt receipt;
    assert_true(mm_ledger_append(world->ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(PATIENCE_MS),
                                 &receipt, NULL));
}

static int64_t count_live(const struct world *world, const struct mm_revocation_order *order)
{
    struct mm_revocation_estimate estimate;
    assert_true(mm_revocation_estimate(world->place->file, order, TTL, now(world), mm_deadline_after_ms(PATIENCE_MS),
                                       &estimate, NULL));
    assert_true(estimate.is_whole);
    return estimate.n_live;
}

static void an_estimate_counts_what_is_alive_of_it(void **state)
{
    struct world *world = *state;
    record_token(world, MM_ENTRY_TOKEN_ISSUED, "acme/ci", "j-0", "k-0", START + 10); /* expires soon */
    record_token(world, MM_ENTRY_TOKEN_ISSUED, "acme/ci", "j-1", "k-0", START + 500);
    set_clock(world, START + 20);
    record_token(world, MM_ENTRY_TOKEN_ISSUED, "acme/other", "j-2", "k-1", START + 800);
    record_token(world, MM_ENTRY_TOKEN_REROUTED, "acme/other", "j-2", "k-0", 0);
    record_token(world, MM_ENTRY_TOKEN_REFUSED, "acme/ci", "j-3", "k-0", START + 800);
    struct {
        struct mm_revocation_order order;
        int64_t n;
    } cases[] = {
        {order_of(MM_REVOKE_JTI, "j-1"), 1},         {order_of(MM_REVOKE_JTI, "j-0"), 0},
        {order_of(MM_REVOKE_ACCOUNT, "acme/ci"), 1}, {order_of(MM_REVOKE_TENANT, "acme"), 2},
        {order_of(MM_REVOKE_TENANT, "rival"), 0},    {order_of(MM_REVOKE_KEY, "k-0"), 2},
        {order_of(MM_REVOKE_KEY, "k-1"), 1},         {order_of(MM_REVOKE_ALL, ""), 1},
        {order_of(MM_REVOKE_RESOURCE, "urc-1"), 2},
    };
    cases[7].order.issued_before = START + 20;
    cases[8].order.tenant = "acme"; /* at most: no entry names resources */
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++)
        assert_int_equal(count_live(world, &cases[i].order), cases[i].n);
}

static void an_estimate_of_an_account_counts_what_it_got_for_others_too(void **state)
{
    struct world *world = *state;
    record_token(world, MM_ENTRY_TOKEN_ISSUED, "acme/ci", "j-1", "k-0", START + 500);
    record_exchange(world, "acme/ci", "acme/cli", "j-2");
    record_exchange(world, "https://idp.example#ada", "acme/cli", "j-3");
    record_exchange(world, "acme/ci", "acme/ci", "j-4"); /* its own: it counts once */
    const struct {
        const char *account;
        int64_t n;
    } cases[] = {
        {"acme/ci", 3}, {"acme/cli", 2}, {"https://idp.example#ada", 1}, {"acme/before", 3}, {"acme/other", 0}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        const struct mm_revocation_order order = order_of(MM_REVOKE_ACCOUNT, cases[i].account);
        assert_int_equal(count_live(world, &order), cases[i].n);
    }
}

static void an_estimate_ends_when_its_time_is_over_and_says_so(void **state)
{
    struct world *world = *state;
    struct mm_revocation_estimate estimate;
    const struct mm_revocation_order order = order_of(MM_REVOKE_TENANT, "acme");
    record_token(world, MM_ENTRY_TOKEN_ISSUED, "acme/ci", "j-1", "k-0", START + 500);
    assert_true(
        mm_revocation_estimate(world->place->file, &order, TTL, now(world), mm_monotonic_ns(), &estimate, NULL));
    assert_false(estimate.is_whole);
}

static atomic_bool is_over;

static void *ask_on(void *context)
{
    struct world *world = context;
    struct mm_token_facts facts = token(world);
    size_t n = 0;
    while (!atomic_load(&is_over)) {
        n += has(world, &facts) + allows(world, "acme", "acme/ci");
        mm_revocations_sweep(world->revocations);
        json_decref(mm_revocations_list(world->revocations, 5, NULL));
    }
    return n ? world : NULL;
}

static void whoever_asks_beside_changes_gets_an_answer(void **state)
{
    struct world *world = *state;
    pthread_t threads[3];
    atomic_store(&is_over, false);
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_on, world), 0);
    for (int i = 0; i < 60; i++) {
        (void)take_back(world, MM_REVOKE_JTI, i % 2 ? "j-1" : "j-2");
        lift(world, take_back(world, MM_REVOKE_ACCOUNT, "acme/ci"));
        set_clock(world, now(world) + 60); /* so that some are swept */
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < MM_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* A model that remembers every order there ever was. */

enum { MODEL_MAX = 400, STEPS = 300 };

struct model {
    size_t n;
    struct mm_revocation_order orders[MODEL_MAX];
    int64_t times[MODEL_MAX];
    int64_t ids[MODEL_MAX];
    bool is_lifted[MODEL_MAX];
};

static const char *const JTIS[] = {"j-0", "j-1", "j-2", "j-3"};
static const char *const ACCOUNTS[] = {"acme/a", "acme/b", "rival/a"};
static const char *const TENANTS[] = {"acme", "rival"};
static const char *const RESOURCES[] = {"urc-1", "urc-2", "urc-*", "urc-1*"};
static const char *const KIDS[] = {"k-0", "k-1"};

#define ONE_OF(names) names[(size_t)random() % MM_ARRAY_SIZE(names)]

static struct mm_revocation_order random_order(const struct world *world)
{
    struct mm_revocation_order order = order_of((enum mm_revoke_what)(random() % MM_N_REVOKE_WHATS), "");
    const char *const names[] = {ONE_OF(JTIS), ONE_OF(ACCOUNTS), ONE_OF(TENANTS), ONE_OF(RESOURCES), ONE_OF(KIDS), ""};
    order.name = names[order.what];
    order.tenant = order.what == MM_REVOKE_RESOURCE ? ONE_OF(TENANTS) : NULL;
    if (order.what == MM_REVOKE_ALL || (order.what != MM_REVOKE_JTI && random() % 4 == 0))
        order.issued_before = now(world) - random() % 300;
    return order;
}

static bool model_reaches(const char *pattern, const char *resource)
{
    size_t a = strcspn(pattern, "*");
    size_t b = strcspn(resource, "*");
    size_t shorter = a < b ? a : b;
    bool a_ends = pattern[a] == '\0';
    bool b_ends = resource[b] == '\0';
    if (strncmp(pattern, resource, shorter) != 0)
        return false;
    return a_ends && b_ends ? a == b : a_ends ? a >= b : b_ends ? b >= a : true;
}

static bool model_names(const struct mm_revocation_order *order, const struct mm_token_facts *facts)
{
    switch (order->what) {
    case MM_REVOKE_JTI:
        return strcmp(order->name, facts->jti) == 0;
    case MM_REVOKE_ACCOUNT:
        return strcmp(order->name, facts->subject) == 0 || strcmp(order->name, facts->client_id) == 0;
    case MM_REVOKE_TENANT:
        return strcmp(order->name, facts->tenant) == 0;
    case MM_REVOKE_KEY:
        return strcmp(order->name, facts->kid) == 0;
    case MM_REVOKE_RESOURCE:
        return strcmp(order->tenant, facts->tenant) == 0 && model_reaches(order->name, facts->resources[0]);
    default:
        return true;
    }
}

static bool model_has(const struct model *model, const struct mm_token_facts *facts)
{
    for (size_t i = 0; i < model->n; i++) {
        const struct mm_revocation_order *order = &model->orders[i];
        bool is_in_time =
            order->issued_before ? facts->issued_at < order->issued_before : facts->issued_at <= model->times[i];
        if (is_in_time && model_names(order, facts))
            return true;
    }
    return false;
}

static bool model_allows(const struct model *model, const char *tenant, const char *account)
{
    for (size_t i = 0; i < model->n; i++) {
        const struct mm_revocation_order *order = &model->orders[i];
        if (mm_revocation_order_stops(order) && !model->is_lifted[i] &&
            strcmp(order->name, order->what == MM_REVOKE_TENANT ? tenant : account) == 0)
            return false;
    }
    return true;
}

static void compare(const struct world *world, const struct model *model)
{
    for (int i = 0; i < 50; i++) {
        const char *resource = ONE_OF(RESOURCES);
        struct mm_token_facts facts = {.jti = ONE_OF(JTIS),
                                       .tenant = ONE_OF(TENANTS),
                                       .subject = ONE_OF(ACCOUNTS),
                                       .client_id = ONE_OF(ACCOUNTS),
                                       .resources = &resource,
                                       .n_resources = 1,
                                       .kid = ONE_OF(KIDS),
                                       .issued_at = now(world) - random() % TTL,
                                       .expires_at = now(world) + 1 + random() % 100};
        if (facts.expires_at > facts.issued_at + TTL)
            continue;
        assert_int_equal(has(world, &facts), model_has(model, &facts));
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(TENANTS); i++)
        for (size_t j = 0; j < MM_ARRAY_SIZE(ACCOUNTS); j++)
            assert_int_equal(allows(world, TENANTS[i], ACCOUNTS[j]), model_allows(model, TENANTS[i], ACCOUNTS[j]));
}

static void take_step(struct world *world, struct model *model)
{
    struct mm_revoked revoked;
    size_t i = model->n > 0 ? (size_t)random() % model->n : 0;
    long dice = random() % 10;
    if (dice < 5) {
        model->orders[model->n] = random_order(world);
        model->times[model->n] = now(world);
        assert_true(try_revoke(world, &model->orders[model->n], &revoked, NULL));
        model->ids[model->n] = revoked.id;
        model->n += revoked.when == MM_REVOKED_NOW;
    } else if (dice < 7) {
        set_clock(world, now(world) + random() % 200);
    } else if (dice < 8 && model->n > 0 && mm_revocation_order_stops(&model->orders[i]) && !model->is_lifted[i]) {
        lift(world, model->ids[i]);
        model->is_lifted[i] = true;
    } else if (dice < 9) {
        mm_revocations_sweep(world->revocations);
    } else {
        restart(world);
    }
}

static void in_any_order_it_says_what_a_model_says_that_forgets_nothing(void **state)
{
    struct world *world = *state;
    mm_cleanup(free) struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    srandom(4711);
    for (int i = 0; i < STEPS; i++) {
        take_step(world, model);
        compare(world, model);
    }
    set_clock(world, now(world) + 2 * TTL);
    mm_revocations_sweep(world->revocations);
    const struct mm_revocations_counts counts = mm_revocations_count(world->revocations);
    assert_int_equal(counts.n_operators, counts.n_stops); /* nothing but stops is left */
}

#define REVOCATION_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REVOCATION_TEST(a_token_is_hit_by_its_jti_and_no_other_is),
        REVOCATION_TEST(each_kind_hits_what_it_names_and_nothing_else),
        REVOCATION_TEST(an_account_is_hit_as_subject_and_as_client),
        REVOCATION_TEST(an_account_is_hit_as_one_that_acted_before),
        REVOCATION_TEST(a_resource_is_hit_within_its_tenant_and_by_whatever_pattern_reaches_it),
        REVOCATION_TEST(tokens_of_the_second_in_which_it_was_recorded_are_hit_and_later_ones_are_not),
        REVOCATION_TEST(what_a_clock_that_was_ahead_issued_is_hit),
        REVOCATION_TEST(issued_before_spares_what_was_issued_then_or_later),
        REVOCATION_TEST(issued_before_narrows_an_account_and_stops_nothing),
        REVOCATION_TEST(orders_that_can_hit_nothing_are_refused),
        REVOCATION_TEST(an_account_and_a_tenant_get_nothing_until_each_stop_is_lifted),
        REVOCATION_TEST(what_was_revoked_stays_so_after_the_lift),
        REVOCATION_TEST(only_what_stops_issuance_can_be_lifted_and_once),
        REVOCATION_TEST(a_stop_outlives_every_token_that_it_hits),
        REVOCATION_TEST(a_token_is_revoked_once_and_the_repeat_writes_nothing),
        REVOCATION_TEST(repeats_while_the_first_is_under_way_wait_for_its_entry),
        REVOCATION_TEST(a_revocation_counts_from_the_moment_it_is_asked_for),
        REVOCATION_TEST(what_the_ledger_does_not_take_is_told_and_taken_back),
        REVOCATION_TEST(who_waits_for_a_ledger_that_hangs_is_told_so_at_its_deadline),
        REVOCATION_TEST(a_lift_that_is_not_recorded_lifts_nothing),
        REVOCATION_TEST(a_revocation_leaves_memory_once_all_that_it_hits_has_expired),
        REVOCATION_TEST(a_clock_that_is_set_back_brings_no_revoked_token_back),
        REVOCATION_TEST(a_client_can_not_fill_the_memory_nor_take_another_clients_room),
        REVOCATION_TEST(a_tenants_clients_leave_room_for_another_tenants),
        REVOCATION_TEST(what_operators_revoked_is_listed_newest_first),
        REVOCATION_TEST(an_entry_that_says_not_of_what_ends_the_start),
        REVOCATION_TEST(an_estimate_counts_what_is_alive_of_it),
        REVOCATION_TEST(an_estimate_of_an_account_counts_what_it_got_for_others_too),
        REVOCATION_TEST(an_estimate_ends_when_its_time_is_over_and_says_so),
        REVOCATION_TEST(whoever_asks_beside_changes_gets_an_answer),
        REVOCATION_TEST(in_any_order_it_says_what_a_model_says_that_forgets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
