/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one path that makes a token, over a real ledger and real signers whose workers behave as each test wants.
 */
#include <stdatomic.h>

#include "ledger_support.h"

#include "issue/issue.h"
#include "ledger/reader.h"
#include "support/signers_fixture.h"
#include "token/jws.h"

enum { QUEUE = 300, AT_ONCE = 40, PATIENCE_MS = 5000 };

static char LORE[] = "lore.example";
static char PATTERN[] = "urc-*";
static char RESOURCE[] = "urc-1";
static char READ[] = "read";
static char REPO[] = "repo";
static char READ_REPO[] = "read:repo";
static char ACCOUNT_ID[] = "ci";
static char IDENTITY[] = "acme/ci";
static char NAME[] = "Acme CI";
static char TENANT_ID[] = "acme";
static char ENV[] = "test";
static char *AUDIENCES[] = {LORE};
static char *PATTERNS[] = {PATTERN};
static char *RESOURCES[] = {RESOURCE};
static char *ACTIONS[] = {READ};
static char *KINDS[] = {REPO};
static char *SCOPES[] = {READ_REPO};
static const char *const WANTED[] = {"read:repo"};
static const char *const UNGRANTED[] = {"write:repo"};

struct world {
    struct signers_fixture *fixture;
    char ledger_file[96];
    struct mm_ledger *ledger;
    struct mm_revocations *revocations;
    struct mm_grant grant;
    struct mm_account account;
    struct mm_tenant tenant;
    struct mm_principal principal;
    struct mm_issuer *issuer;
};

static void describe_policy(struct world *world)
{
    world->grant = (struct mm_grant){
        .scopes = {SCOPES, 1}, .resources = {RESOURCES, 1}, .ttl_default = 600, .ttl_max = 900, .line = 1};
    world->account = (struct mm_account){
        .id = ACCOUNT_ID, .identity = IDENTITY, .name = NAME, .grants = &world->grant, .n_grants = 1};
    world->tenant = (struct mm_tenant){.id = TENANT_ID,
                                       .env = ENV,
                                       .audience = {AUDIENCES, 1},
                                       .max_ttl = 900,
                                       .accounts = &world->account,
                                       .n_accounts = 1,
                                       .envelope = {.audiences = {AUDIENCES, 1},
                                                    .resources = {PATTERNS, 1},
                                                    .actions = {ACTIONS, 1},
                                                    .kinds = {KINDS, 1}}};
    world->principal = (struct mm_principal){.tenant = &world->tenant,
                                             .account = &world->account,
                                             .not_after = INT64_MAX,
                                             .credential = "mtls",
                                             .fingerprint = "f1"};
    world->fixture->config.references = 1; /* ours: never freed by a job */
}

static bool open_ledger(struct world *world, unsigned gather_us)
{
    struct mm_error err = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = NULL;
    world->ledger = mm_ledger_open(world->ledger_file, &MM_SYSTEM_CLOCK, gather_us, &err);
    reader = mm_ledger_reader_open(world->ledger_file, &err);
    if (!world->ledger || !reader)
        return false;
    const struct mm_revocations_parts parts = {world->ledger, reader, &MM_SYSTEM_CLOCK, 900,
                                               MM_REVOCATIONS_CLIENTS_MAX};
    world->revocations = mm_revocations_open(&parts, &err);
    return world->revocations != NULL;
}

static void close_ledger(struct world *world)
{
    mm_ledger_close(MM_TAKE(world->ledger));
    mm_revocations_free(MM_TAKE(world->revocations));
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    void *fixture = NULL;
    if (!world || signers_fixture_set_up(&fixture) != 0)
        return -1;
    world->fixture = fixture;
    (void)snprintf(world->ledger_file, sizeof world->ledger_file, "%s/ledger.db", world->fixture->folder);
    struct mm_error err = {0};
    if (!mm_ledger_create(world->ledger_file, &MM_SYSTEM_CLOCK, NULL, 0, &err) || !open_ledger(world, 0))
        return -1;
    describe_policy(world);
    *state = world;
    return 0;
}

static void start_issuer(struct world *world)
{
    struct mm_issuer_parts parts = {
        .issuer_url = "https://mint.example",
        .ledger = world->ledger,
        .revocations = world->revocations,
        .signers = world->fixture->signers,
        .clock = &MM_SYSTEM_CLOCK,
        .random = &MM_SYSTEM_RANDOM,
        .max_ttl = 900,
        .queue = QUEUE,
        .at_once = AT_ONCE,
    };
    world->issuer = mm_issuer_start(&parts, NULL);
    assert_non_null(world->issuer);
}

/* Start issuer and a key whose workers behave so. */
static void serve(struct world *world, const char *behaviour)
{
    behave_at(world->fixture, 0, behaviour);
    open_signers(world->fixture);
    (void)activate_at(world->fixture, 0, MM_SIGNERS_WAIT);
    start_issuer(world);
}

/* Start issuer and two keys: the workers of the first, which is preferred, behave so; the second's `otherwise`. */
static void serve_two(struct world *world, const char *behaviour, const char *otherwise)
{
    world->fixture->tokens[0].priority = 1;
    behave_at(world->fixture, 1, otherwise);
    behave_at(world->fixture, 0, behaviour);
    open_signers(world->fixture);
    (void)activate_at(world->fixture, 0, MM_SIGNERS_WAIT);
    (void)activate_at(world->fixture, 1, MM_SIGNERS_WAIT);
    start_issuer(world);
}

/* Let every job end, then stop from the top down. */
static void stop(struct world *world)
{
    if (world->issuer)
        assert_true(mm_issuer_wait(world->issuer, mm_deadline_after_ms(10000), NULL));
    mm_issuer_stop(MM_TAKE(world->issuer));
    mm_signers_stop(MM_TAKE(world->fixture->signers));
    close_ledger(world);
}

static int tear_down(void **state)
{
    struct world *world = *state;
    stop(world);
    void *fixture = world->fixture;
    int status = signers_fixture_tear_down(&fixture);
    free(world);
    return status;
}

/* One caller: what it was told, and how often. */
struct caller {
    atomic_int n_answers;
    enum mm_code code;
    char jwt[2048];
    char jti[64];
    struct mm_rate_state rate;
};

static void on_done(void *context, const struct mm_issued *issued, const struct mm_error *err)
{
    struct caller *caller = context;
    caller->code = issued ? MM_OK : err->code;
    if (issued) {
        (void)snprintf(caller->jwt, sizeof caller->jwt, "%s", issued->jwt);
        (void)snprintf(caller->jti, sizeof caller->jti, "%s", issued->jti);
    }
    (void)atomic_fetch_add(&caller->n_answers, 1);
}

static bool call(struct world *world, struct caller *caller, const char *const *scopes, int64_t within_ms,
                 struct mm_error *err)
{
    struct mm_token_request request = {.scopes = scopes, .n_scopes = 1};
    return mm_issue(world->issuer, &world->fixture->config, &world->principal, &request, "req-1",
                    mm_deadline_after_ms(within_ms), on_done, caller, &caller->rate, err);
}

static void await(struct caller *caller)
{
    int64_t deadline = mm_deadline_after_ms(10000);
    while (atomic_load(&caller->n_answers) == 0 && mm_monotonic_ns() < deadline)
        sleep_ms(2);
    assert_int_equal(atomic_load(&caller->n_answers), 1);
}

static bool count_one(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    (void)record, (void)err;
    ++*(size_t *)context;
    return true;
}

static size_t n_entries(const struct world *world, const char *type, const char *jti)
{
    size_t n = 0;
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->ledger_file, NULL);
    assert_non_null(reader);
    struct mm_ledger_filter filter = {.type = type, .jti = jti};
    assert_true(mm_ledger_list(reader, &filter, count_one, &n, NULL));
    return n;
}

/* What the ledger says of one token: the types of its entries, and the key it names last. */
struct story {
    char types[256];
    char kid[64];
    char code[32];
    char from[64];
};

static void copy_member(const json_t *entry, const char *name, char *out, size_t size)
{
    const char *value = mm_json_string(entry, name);
    if (value)
        (void)snprintf(out, size, "%s", value);
}

static bool read_on(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct story *story = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    size_t length = strlen(story->types);
    (void)snprintf(story->types + length, sizeof story->types - length, "%s%s", length ? " " : "",
                   mm_json_string(entry, "type"));
    copy_member(entry, "kid", story->kid, sizeof story->kid);
    copy_member(entry, "from", story->from, sizeof story->from);
    copy_member(entry, "code", story->code, sizeof story->code);
    return true;
}

static struct story read_story(const struct world *world, const char *jti)
{
    struct story story = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->ledger_file, NULL);
    assert_non_null(reader);
    const struct mm_ledger_filter filter = {.type = "token.", .jti = jti};
    assert_true(mm_ledger_list(reader, &filter, read_on, &story, NULL));
    return story;
}

/* The key that signed what a caller got, which must be the one that the ledger names last. */
static size_t signed_by(const struct world *world, const struct caller *caller)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    assert_true(mm_jws_parse(caller->jwt, &jws, NULL));
    assert_true(mm_jws_verify(&jws, caller->jwt, world->fixture->jwks, NULL));
    const char *kid = mm_json_string(jws.header, "kid");
    struct story story = read_story(world, caller->jti);
    assert_string_equal(story.kid, kid);
    return strcmp(kid, kid_of(world->fixture, 0)) == 0 ? 0 : 1;
}

static void a_token_comes_back_signed_and_recorded(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    serve(world, "answer");
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_OK);
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    assert_true(mm_jws_parse(caller.jwt, &jws, NULL));
    assert_true(mm_jws_verify(&jws, caller.jwt, world->fixture->jwks, NULL));
    assert_string_equal(mm_json_string(jws.payload, "jti"), caller.jti);
    assert_int_equal(n_entries(world, "token.issued", caller.jti), 1);
    assert_int_equal(n_entries(world, "token.sign_failed", NULL), 0);
}

static void a_signature_that_fails_is_followed_by_an_entry_that_says_so(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    serve(world, "wrong");
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    await(&caller);
    assert_int_not_equal(caller.code, MM_OK);
    assert_string_equal(caller.jwt, "");
    stop(world);
    assert_int_equal(n_entries(world, "token.issued", NULL), 1);
    assert_int_equal(n_entries(world, "token.sign_failed", NULL), 1);
}

static void a_hanging_hsm_costs_its_caller_no_more_than_the_deadline(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    serve(world, "hang");
    int64_t before = mm_monotonic_ns();
    assert_true(call(world, &caller, WANTED, 200, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_DEADLINE_EXCEEDED);
    assert_in_range(mm_monotonic_ns() - before, 150000000, 2000000000);
    stop(world);
    assert_int_equal(atomic_load(&caller.n_answers), 1);
    assert_int_equal(n_entries(world, "token.sign_failed", NULL), 1);
}

static void a_token_is_not_waited_for_beyond_its_own_life(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    world->grant.ttl_default = 1;
    serve(world, "hang");
    int64_t before = mm_monotonic_ns();
    assert_true(call(world, &caller, WANTED, 8000, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_DEADLINE_EXCEEDED);
    assert_in_range(mm_monotonic_ns() - before, 0, 4000000000);
    stop(world);
}

static void what_the_ledger_does_not_take_is_never_signed(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    serve(world, "answer chatty");
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(world->ledger_file, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_LEDGER_UNAVAILABLE);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    mm_cleanup(free) char *log = read_log_at(world->fixture, 0);
    assert_null(strstr(log, "read:repo"));
    assert_int_equal(n_entries(world, "token.issued", NULL), 0);
    struct caller next = {0};
    assert_true(call(world, &next, WANTED, PATIENCE_MS, NULL));
    await(&next);
    assert_int_equal(next.code, MM_OK);
    mm_cleanup(free) char *later = read_log_at(world->fixture, 0);
    assert_non_null(strstr(later, "read:repo")); /* the log would have shown it */
}

static void assert_rerouted(struct world *world, const char *code)
{
    struct caller caller = {0};
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_OK);
    struct story story = read_story(world, caller.jti);
    assert_string_equal(story.types, "token.issued token.rerouted");
    assert_string_equal(story.from, kid_of(world->fixture, 0));
    assert_string_equal(story.code, code);
    assert_int_equal(signed_by(world, &caller), 1);
}

static void while_the_preferred_key_works_it_signs(void **state)
{
    struct world *world = *state;
    serve_two(world, "answer", "answer");
    for (int i = 0; i < 5; i++) {
        struct caller caller = {0};
        assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
        await(&caller);
        assert_int_equal(caller.code, MM_OK);
        assert_int_equal(signed_by(world, &caller), 0);
    }
    assert_int_equal(n_entries(world, "token.rerouted", NULL), 0);
}

static void a_token_whose_hsm_hangs_is_signed_by_another_within_the_deadline(void **state)
{
    struct world *world = *state;
    world->fixture->tokens[0].sign_timeout_ms = 300;
    serve_two(world, "hang", "answer");
    int64_t before = mm_monotonic_ns();
    assert_rerouted(world, "hsm_unavailable");
    assert_in_range(mm_monotonic_ns() - before, 290000000, 3000000000);
}

static void a_token_whose_hsm_is_busy_is_signed_by_another(void **state)
{
    struct world *world = *state;
    serve_two(world, "code=80", "answer"); /* MM_OVERLOADED */
    assert_rerouted(world, "overloaded");
}

static void a_token_that_an_hsm_signs_wrongly_is_signed_by_another(void **state)
{
    struct world *world = *state;
    serve_two(world, "wrong", "answer");
    assert_rerouted(world, "hsm_unavailable");
}

static void a_token_whose_key_is_removed_is_signed_by_another(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    serve_two(world, "hang chatty", "answer");
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    while (count_log_at(world->fixture, 0, "sign ") == 0)
        sleep_ms(2);
    assert_true(mm_signers_remove(world->fixture->signers, kid_of(world->fixture, 0), mm_monotonic_ns(), NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_OK);
    assert_int_equal(signed_by(world, &caller), 1);
    assert_string_equal(read_story(world, caller.jti).types, "token.issued token.rerouted");
}

static void each_key_is_tried_once(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    world->fixture->tokens[0].sign_timeout_ms = 200;
    serve_two(world, "hang chatty", "code=80 chatty");
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_OVERLOADED);
    stop(world);
    assert_string_equal(read_story(world, NULL).types, "token.issued token.rerouted token.sign_failed");
    assert_int_equal(count_log_at(world->fixture, 0, "sign "), 1);
    assert_int_equal(count_log_at(world->fixture, 1, "sign "), 1);
}

static void past_its_deadline_a_token_is_not_rerouted(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    serve_two(world, "hang", "answer chatty");
    int64_t before = mm_monotonic_ns();
    assert_true(call(world, &caller, WANTED, 300, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_DEADLINE_EXCEEDED);
    assert_in_range(mm_monotonic_ns() - before, 290000000, 2000000000);
    stop(world);
    assert_string_equal(read_story(world, NULL).types, "token.issued token.sign_failed");
    assert_int_equal(count_log_at(world->fixture, 1, "sign "), 0);
}

static void no_key_signs_what_the_ledger_does_not_name_it_for(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    world->fixture->tokens[0].sign_timeout_ms = 300;
    serve_two(world, "hang chatty", "answer chatty");
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    while (count_log_at(world->fixture, 0, "sign ") == 0)
        sleep_ms(2);
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(world->ledger_file, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    await(&caller);
    assert_int_equal(caller.code, MM_LEDGER_UNAVAILABLE);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    assert_int_equal(count_log_at(world->fixture, 1, "sign "), 0);
    assert_int_equal(n_entries(world, "token.rerouted", NULL), 0);
}

static void without_a_key_of_the_algorithm_nothing_is_announced(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    struct mm_error err = {0};
    serve(world, "answer");
    world->tenant.envelope.algorithm = MM_RS256;
    assert_false(call(world, &caller, WANTED, PATIENCE_MS, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    assert_string_equal(read_story(world, NULL).types, "");
    /* Another audience, whose key there is, is served all the same. */
    struct mm_audience_algorithm exception = {.audience = AUDIENCES[0], .algorithm = MM_ES256};
    world->tenant.envelope.exceptions = &exception;
    world->tenant.envelope.n_exceptions = 1;
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    await(&caller);
    assert_int_equal(caller.code, MM_OK);
}

static void a_refusal_is_recorded_and_nothing_is_signed(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    struct mm_error err = {0};
    serve(world, "answer");
    assert_false(call(world, &caller, UNGRANTED, PATIENCE_MS, &err));
    assert_int_equal(err.code, MM_SCOPE_NOT_GRANTED);
    stop(world);
    assert_int_equal(atomic_load(&caller.n_answers), 0);
    assert_int_equal(n_entries(world, "token.refused", NULL), 1);
    assert_int_equal(n_entries(world, "token.issued", NULL), 0);
}

static void one_tenants_flood_leaves_room_for_another(void **state)
{
    struct world *world = *state;
    static struct caller callers[QUEUE + 1];
    memset(callers, 0, sizeof callers);
    serve(world, "hang");
    size_t n = 0;
    struct mm_error err = {0};
    while (n <= QUEUE && call(world, &callers[n], WANTED, 1500, &err))
        n++;
    assert_int_equal(err.code, MM_OVERLOADED);
    assert_int_equal(n, QUEUE / 2);
    static char other_id[] = "globex";
    struct mm_tenant other = world->tenant;
    other.id = other_id;
    world->principal.tenant = &other;
    while (n <= QUEUE && call(world, &callers[n], WANTED, 1500, NULL))
        n++;
    assert_int_equal(n, QUEUE / 2 + QUEUE / 3); /* a third tenant would find room, too */
    sleep_ms(300);
    assert_int_equal(n_entries(world, "token.issued", NULL), 2 * AT_ONCE); /* the others wait for their turn */
    for (size_t i = 0; i < n; i++) {
        await(&callers[i]);
        assert_int_equal(callers[i].code, MM_DEADLINE_EXCEEDED);
    }
    assert_int_equal(atomic_load(&callers[n].n_answers), 0);
    stop(world);
    assert_int_equal(n_entries(world, "token.sign_failed", NULL), n_entries(world, "token.issued", NULL));
}

static void draining_refuses_what_is_new_and_ends_what_has_begun(void **state)
{
    struct world *world = *state;
    struct caller begun = {0};
    struct caller late = {0};
    struct mm_error err = {0};
    serve(world, "answer delay=300");
    assert_true(call(world, &begun, WANTED, PATIENCE_MS, NULL));
    mm_issuer_drain(world->issuer);
    assert_false(call(world, &late, WANTED, PATIENCE_MS, &err));
    assert_int_equal(err.code, MM_SHUTTING_DOWN);
    assert_true(mm_issuer_wait(world->issuer, mm_deadline_after_ms(5000), NULL));
    assert_int_equal(atomic_load(&begun.n_answers), 1);
    assert_int_equal(begun.code, MM_OK);
}

static void waiting_for_jobs_ends_at_its_deadline(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    struct mm_error err = {0};
    serve(world, "answer delay=600");
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    assert_false(mm_issuer_wait(world->issuer, mm_deadline_after_ms(100), &err));
    assert_int_equal(err.code, MM_DEADLINE_EXCEEDED);
    await(&caller);
}

struct crowd {
    struct world *world;
    struct caller callers[100];
};

static void *call_often(void *context)
{
    struct crowd *crowd = context;
    for (size_t i = 0; i < MM_ARRAY_SIZE(crowd->callers); i++)
        while (!call(crowd->world, &crowd->callers[i], WANTED, PATIENCE_MS, NULL))
            sleep_ms(1); /* the queue is full */
    return NULL;
}

static void every_caller_of_a_crowd_is_answered_once_and_recorded(void **state)
{
    struct world *world = *state;
    static struct crowd crowds[8];
    pthread_t threads[8];
    memset(crowds, 0, sizeof crowds);
    serve(world, "answer");
    for (size_t i = 0; i < 8; i++) {
        crowds[i].world = world;
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &crowds[i]), 0);
    }
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    stop(world);
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < MM_ARRAY_SIZE(crowds[i].callers); j++) {
            struct caller *caller = &crowds[i].callers[j];
            assert_int_equal(atomic_load(&caller->n_answers), 1);
            assert_int_equal(caller->code, MM_OK);
            assert_int_equal(n_entries(world, "token.issued", caller->jti), 1);
        }
}

static void a_crowd_loses_nothing_when_an_hsm_goes(void **state)
{
    struct world *world = *state;
    static struct crowd crowds[4];
    pthread_t threads[4];
    memset(crowds, 0, sizeof crowds);
    world->fixture->tokens[0].workers = 2;
    serve_two(world, "answer delay=1\nanswer delay=1\nexit=4", "answer");
    for (size_t i = 0; i < 4; i++) {
        crowds[i].world = world;
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &crowds[i]), 0);
    }
    while (n_entries(world, "token.issued", NULL) < 40)
        sleep_ms(2);
    kill_workers_at(world->fixture, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(mm_issuer_wait(world->issuer, mm_deadline_after_ms(10000), NULL));
    size_t n_by_other = 0;
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < MM_ARRAY_SIZE(crowds[i].callers); j++) {
            assert_int_equal(atomic_load(&crowds[i].callers[j].n_answers), 1);
            assert_int_equal(crowds[i].callers[j].code, MM_OK);
            n_by_other += signed_by(world, &crowds[i].callers[j]);
        }
    assert_true(n_by_other > 0);
    assert_int_equal(n_entries(world, "token.sign_failed", NULL), 0);
}

static void on_revoked(void *context, const struct mm_revoked *revoked, const struct mm_error *err)
{
    (void)err;
    atomic_store((atomic_int *)context, revoked ? 1 : -1);
}

static void revoke_account(struct world *world, atomic_int *ret_outcome)
{
    const struct mm_revocation_order order = {.what = MM_REVOKE_ACCOUNT, .name = "acme/ci", .by = "me", .reason = ""};
    assert_true(mm_revocations_revoke(world->revocations, &order, INT64_MAX, on_revoked, ret_outcome, NULL));
}

static void while_its_issuance_is_stopped_an_account_gets_nothing_until_that_is_lifted(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    struct caller later = {0};
    struct mm_error err = {0};
    struct mm_revoked revoked;
    serve(world, "answer");
    const struct mm_revocation_order order = {.what = MM_REVOKE_TENANT, .name = "acme", .by = "me", .reason = ""};
    assert_true(
        mm_revocations_revoke_now(world->revocations, &order, mm_deadline_after_ms(PATIENCE_MS), &revoked, NULL));
    assert_false(call(world, &caller, WANTED, PATIENCE_MS, &err));
    assert_int_equal(err.code, MM_ACCESS_DENIED);
    assert_int_equal(n_entries(world, "token.issued", NULL), 0);
    assert_true(mm_revocations_lift_now(world->revocations, revoked.id, "me", "", mm_deadline_after_ms(PATIENCE_MS),
                                        &revoked, NULL));
    assert_true(call(world, &later, WANTED, PATIENCE_MS, NULL));
    await(&later);
    assert_int_equal(later.code, MM_OK);
}

/* Its entry waits in the ledger's queue when the account is revoked: the entry gets in, the token doesn't get out. */
static void what_is_drafted_before_a_revocation_and_recorded_with_it_is_not_signed(void **state)
{
    struct world *world = *state;
    struct caller caller = {0};
    atomic_int outcome = 0;
    close_ledger(world);
    assert_true(open_ledger(world, 200000));
    serve(world, "answer chatty");
    assert_true(call(world, &caller, WANTED, PATIENCE_MS, NULL));
    revoke_account(world, &outcome);
    await(&caller);
    assert_int_equal(caller.code, MM_ACCESS_DENIED);
    stop(world);
    assert_int_equal(atomic_load(&outcome), 1);
    assert_int_equal(n_entries(world, "token.issued", NULL), 1);
    assert_int_equal(n_entries(world, "token.sign_failed", NULL), 1);
    mm_cleanup(free) char *log = read_log_at(world->fixture, 0);
    assert_null(strstr(log, "read:repo"));
}

/* A crowd asks while its account is revoked: whatever got out is hit. */
static void whatever_a_crowd_got_beside_a_revocation_is_hit_by_it(void **state)
{
    struct world *world = *state;
    static struct caller callers[200];
    atomic_int outcome = 0;
    serve(world, "answer");
    for (size_t i = 0; i < MM_ARRAY_SIZE(callers); i++) {
        callers[i] = (struct caller){0};
        if (i == 100)
            revoke_account(world, &outcome);
        bool is_begun = call(world, &callers[i], WANTED, PATIENCE_MS, NULL);
        assert_true(is_begun || i >= 100);
    }
    assert_true(mm_issuer_wait(world->issuer, mm_deadline_after_ms(10000), NULL));
    assert_int_equal(atomic_load(&outcome), 1);
    for (size_t i = 0; i < MM_ARRAY_SIZE(callers); i++) {
        mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
        if (!callers[i].jwt[0])
            continue;
        assert_true(i < 100);
        assert_true(mm_jws_parse(callers[i].jwt, &jws, NULL));
        const struct mm_token_facts facts = {.subject = mm_json_string(jws.payload, "sub"),
                                             .issued_at = mm_json_integer(jws.payload, "iat", 0),
                                             .expires_at = mm_json_integer(jws.payload, "exp", 0)};
        assert_true(mm_revocations_has(world->revocations, &facts));
    }
}

#define ISSUE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ISSUE_TEST(a_token_comes_back_signed_and_recorded),
        ISSUE_TEST(a_signature_that_fails_is_followed_by_an_entry_that_says_so),
        ISSUE_TEST(a_hanging_hsm_costs_its_caller_no_more_than_the_deadline),
        ISSUE_TEST(a_token_is_not_waited_for_beyond_its_own_life),
        ISSUE_TEST(what_the_ledger_does_not_take_is_never_signed),
        ISSUE_TEST(while_the_preferred_key_works_it_signs),
        ISSUE_TEST(a_token_whose_hsm_hangs_is_signed_by_another_within_the_deadline),
        ISSUE_TEST(a_token_whose_hsm_is_busy_is_signed_by_another),
        ISSUE_TEST(a_token_that_an_hsm_signs_wrongly_is_signed_by_another),
        ISSUE_TEST(a_token_whose_key_is_removed_is_signed_by_another),
        ISSUE_TEST(each_key_is_tried_once),
        ISSUE_TEST(past_its_deadline_a_token_is_not_rerouted),
        ISSUE_TEST(no_key_signs_what_the_ledger_does_not_name_it_for),
        ISSUE_TEST(without_a_key_of_the_algorithm_nothing_is_announced),
        ISSUE_TEST(a_crowd_loses_nothing_when_an_hsm_goes),
        ISSUE_TEST(a_refusal_is_recorded_and_nothing_is_signed),
        ISSUE_TEST(one_tenants_flood_leaves_room_for_another),
        ISSUE_TEST(draining_refuses_what_is_new_and_ends_what_has_begun),
        ISSUE_TEST(waiting_for_jobs_ends_at_its_deadline),
        ISSUE_TEST(while_its_issuance_is_stopped_an_account_gets_nothing_until_that_is_lifted),
        ISSUE_TEST(what_is_drafted_before_a_revocation_and_recorded_with_it_is_not_signed),
        ISSUE_TEST(whatever_a_crowd_got_beside_a_revocation_is_hit_by_it),
        ISSUE_TEST(every_caller_of_a_crowd_is_answered_once_and_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
