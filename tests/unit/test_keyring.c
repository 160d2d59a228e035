/* SPDX-License-Identifier: Apache-2.0 */
/* The keyring: what the entries say of each key, and an entry that contradicts itself, or what was before, stops the start. */
#include "keyring/keyring.h"

#include "tests/unit/ledger_support.h"

/* Public keys as the members of a JWK, with the thumbprints that another implementation computed. */
static const char EC_KID[] = "SVwx5legDK39RzYNEhjH0RektVa-zISsjgVKWR036BU";
static const char EC_JWK[] =
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"14bvdE3eRCYqXZ_Qz87mutvjnBl5u37EEIwrejSCc5Q\",\"y\":\"d"
    "uGETZQnZH6E2-kyd2HCiO7QcGA2VtMNLBnsSzDFIRU\"";
static const char RSA_KID[] = "IQGxp6-aNN2AWrhjv576Jh-HpK-jQG55qFAbe6mmlMw";
static const char RSA_JWK[] =
    "\"kty\":\"RSA\",\"n\":\"ri3pkiuz3aClBILahb12sCcL8QjHfeOxEloHP7YgdY42K-N33yyPCmG1bJdDNrPHMqPQobrN"
    "SNOhJ6ZW7VtsoshzO6wJwIdkx3-L6p0Ng88OZ54iEpZShpG0KDD_KNskLvn-Kqf886BB8IG1F5ngpUj-lD1DFh7MPZFtPSxf"
    "nhJMy2TjLtBjbnes64YOKIEMYzNZ018KUE1AtH1Cc6A7Ffqkq8OZxFVgu6byuoJ4ubp0nxz_zIpGoUsOOvuQUI95CjnhjMfe"
    "tZzjJsPW3yWxRLfHlSB9Q6dNwMLqKqNjAskY4oXWT5M3JMfDiAHN-7VyRi0lYdPMjph63EyfP2_Wvw\",\"e\":\"AQAB\"";
/* RFC 8037 appendix A.2 and A.3 */
static const char ED_KID[] = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
static const char ED_JWK[] =
    "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"";

static void expect(struct mm_error *err, enum mm_code code, const char *words)
{
    if (err->code != code || !strstr(err->message, words))
        fail_msg("expected %d “%s”, got %d “%s”", (int)code, words, (int)err->code, err->message);
    *err = (struct mm_error){0};
}

/* The fields of an activation, put together by hand: what `mm_key_entry()` has to agree with. */
static json_t *activation(const char *kid, const char *alg, const char *members)
{
    char text[2048];
    (void)snprintf(text, sizeof text,
                   "{\"kid\":\"%s\",\"alg\":\"%s\",\"jwk\":{%s,\"kid\":\"%s\",\"use\":\"sig\",\"alg\":\"%s\"},"
                   "\"hsm_token\":\"primary\",\"hsm_id\":\"0a1b\",\"hsm_label\":\"mint\"}",
                   kid, alg, members, kid, alg);
    json_t *fields = mm_json_parse(text, strlen(text), NULL);
    assert_non_null(fields);
    return fields;
}

static void record_by(const struct mm_clock *clock, const char *file, enum mm_entry_type type, json_t *fields)
{
    struct mm_error err = {0};
    struct mm_receipt receipt;
    struct mm_ledger *ledger = mm_ledger_open(file, clock, 0, &err);
    if (!ledger || !mm_ledger_append(ledger, type, fields, mm_deadline_after_ms(9000), &receipt, &err))
        fail_msg("%s", err.message);
    mm_ledger_close(ledger);
    json_decref(fields);
}

static void record(const char *file, enum mm_entry_type type, json_t *fields)
{
    record_by(&MM_SYSTEM_CLOCK, file, type, fields);
}

static void activate(const char *file, json_t *fields)
{
    record(file, MM_ENTRY_KEY_ACTIVATED, fields);
}

static void make(const char *file)
{
    struct mm_error err = {0};
    if (!mm_ledger_create(file, &MM_SYSTEM_CLOCK, NULL, 0, &err))
        fail_msg("%s", err.message);
    record(file, MM_ENTRY_LEDGER_CREATED, json_object());
}

static struct mm_keyring *load(const char *file, struct mm_error *err)
{
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(file, err);
    return reader ? mm_keyring_load(reader, err) : NULL;
}

static struct mm_keyring *load_or_fail(const char *file)
{
    struct mm_error err = {0};
    struct mm_keyring *keyring = load(file, &err);
    if (!keyring)
        fail_msg("%s", err.message);
    return keyring;
}

static void ledger_without_a_key_has_no_keyring(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    make(place->file);
    assert_null(load(place->file, &err));
    expect(&err, MM_KEY_NOT_FOUND, "no activated key");
}

static void activated_key_signs_and_is_listed(void **state)
{
    const struct place *place = *state;
    make(place->file);
    activate(place->file, activation(EC_KID, "ES256", EC_JWK));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(place->file);
    const struct mm_key *key = mm_keyring_active(keyring, MM_ES256);
    assert_string_equal(key->kid, EC_KID);
    assert_int_equal(key->life.state, MM_KEY_ACTIVE);
    assert_true(mm_key_is_listed(&key->life));
    assert_string_equal(mm_pubkey_thumbprint(key->pubkey), EC_KID);
    assert_int_equal(key->algorithm, MM_ES256);
    assert_string_equal(key->hsm_token, "primary");
    assert_string_equal(key->hsm_id, "0a1b");
    assert_string_equal(key->hsm_label, "mint");
    assert_int_equal(mm_keyring_n_keys(keyring), 1);
    assert_ptr_equal(mm_keyring_key(keyring, 0), key);
    assert_null(mm_keyring_key(keyring, 1));
}

static void each_algorithm_has_its_own_active_key(void **state)
{
    const struct place *place = *state;
    make(place->file);
    activate(place->file, activation(EC_KID, "ES256", EC_JWK));
    activate(place->file, activation(RSA_KID, "PS256", RSA_JWK));
    activate(place->file, activation(ED_KID, "EdDSA", ED_JWK));
    record(place->file, MM_ENTRY_HSM_EVENT, activation(EC_KID, "ES256", EC_JWK)); /* no activation */
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(place->file);
    assert_string_equal(mm_keyring_active(keyring, MM_EDDSA)->kid, ED_KID);
    assert_string_equal(mm_keyring_active(keyring, MM_PS256)->kid, RSA_KID);
    assert_null(mm_keyring_active(keyring, MM_RS256));
    assert_int_equal(mm_keyring_n_keys(keyring), 3);
    assert_string_equal(mm_keyring_key(keyring, 0)->kid, EC_KID);
    assert_string_equal(mm_keyring_key(keyring, 1)->kid, RSA_KID);
    assert_string_equal(mm_keyring_key(keyring, 2)->kid, ED_KID);
}

static json_t *of(const char *kid)
{
    return json_pack("{ss ss}", "kid", kid, "by", "test");
}

static void expect_state(const char *file, const char *kid, enum mm_key_state expected)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(file);
    const struct mm_key *key = mm_keyring_find(keyring, kid);
    assert_non_null(key);
    assert_string_equal(mm_key_state_name(key->life.state), mm_key_state_name(expected));
}

static void entries_take_a_key_through_its_life(void **state)
{
    const struct place *place = *state;
    const char *file = place->file;
    make(file);
    activate(file, activation(EC_KID, "ES256", EC_JWK));
    record(file, MM_ENTRY_KEY_STAGED, activation(ED_KID, "EdDSA", ED_JWK));
    expect_state(file, ED_KID, MM_KEY_STAGED);
    record(file, MM_ENTRY_KEY_PUBLISHED, of(ED_KID));
    expect_state(file, ED_KID, MM_KEY_PUBLISHED);
    activate(file, of(ED_KID));
    expect_state(file, ED_KID, MM_KEY_ACTIVE);
    json_t *retiring = of(ED_KID);
    (void)json_object_set_new(retiring, "last_exp", json_integer(4000000000));
    record(file, MM_ENTRY_KEY_RETIRING, retiring);
    expect_state(file, ED_KID, MM_KEY_RETIRING);
    record(file, MM_ENTRY_KEY_RETIRED, of(ED_KID));
    expect_state(file, ED_KID, MM_KEY_RETIRED);
    record(file, MM_ENTRY_KEY_DESTROYED, of(ED_KID));
    expect_state(file, ED_KID, MM_KEY_DESTROYED);
    record(file, MM_ENTRY_KEY_REVOKED, of(EC_KID));
    expect_state(file, EC_KID, MM_KEY_RETIRED);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(file);
    assert_int_equal(mm_keyring_find(keyring, EC_KID)->life.trust, MM_KEY_REVOKED);
    assert_int_equal(mm_keyring_find(keyring, ED_KID)->life.trust, MM_KEY_TRUSTED);
    assert_int_equal(mm_keyring_find(keyring, ED_KID)->life.last_exp, 4000000000);
    assert_null(mm_keyring_active(keyring, MM_ES256));
}

static void rotation_lasts_until_its_successor_signs_alone(void **state)
{
    const struct place *place = *state;
    const char *file = place->file;
    make(file);
    activate(file, activation(EC_KID, "ES256", EC_JWK));
    record(file, MM_ENTRY_KEY_STAGED, activation(ED_KID, "EdDSA", ED_JWK));
    record(file, MM_ENTRY_KEY_PUBLISHED, of(ED_KID));
    record(file, MM_ENTRY_KEY_ROTATION, of(ED_KID));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *begun = load_or_fail(file);
    assert_string_equal(mm_keyring_successor(begun, MM_EDDSA)->kid, ED_KID);
    activate(file, of(ED_KID));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *ended = load_or_fail(file);
    assert_null(mm_keyring_successor(ended, MM_EDDSA));
}

static void runs_bound_the_last_exp_that_they_signed(void **state)
{
    const struct place *place = *state;
    make(place->file);
    activate(place->file, activation(EC_KID, "ES256", EC_JWK));
    int64_t before = mm_clock_now(&MM_SYSTEM_CLOCK);
    record(place->file, MM_ENTRY_SERVICE_STARTED, json_pack("{si}", "max_ttl", 3600));
    record(place->file, MM_ENTRY_SERVICE_STARTED, json_pack("{si}", "max_ttl", 60));
    record(place->file, MM_ENTRY_SERVICE_STARTED, json_pack("{si}", "max_ttl", 60));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(place->file);
    assert_in_range(mm_keyring_exp_bound(keyring), before + 3600, before + 3600 + 60);
    assert_int_equal(mm_keyring_longest_ttl(keyring), 3600);
    mm_cleanup(json_decref) json_t *fields = json_pack("{si}", "max_ttl", 7200);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *longer =
        mm_keyring_after(keyring, MM_ENTRY_SERVICE_STARTED, fields, before, NULL);
    assert_int_equal(mm_keyring_longest_ttl(longer), 7200);
}

static int64_t tomorrow_ms(void *context)
{
    (void)context;
    return mm_clock_now_ms(&MM_SYSTEM_CLOCK) + INT64_C(86400000);
}

static void what_a_clock_said_that_was_ahead_counts_from_its_acceptance(void **state)
{
    static const struct mm_clock TOMORROW = {tomorrow_ms, NULL};
    const struct place *place = *state;
    make(place->file);
    record_by(&TOMORROW, place->file, MM_ENTRY_KEY_ACTIVATED, activation(EC_KID, "ES256", EC_JWK));
    record(place->file, MM_ENTRY_CLOCK_ACCEPTED, json_object());
    int64_t accepted = mm_clock_now(&MM_SYSTEM_CLOCK);
    record_by(&TOMORROW, place->file, MM_ENTRY_KEY_ACTIVATED,
              activation(RSA_KID, "RS256", RSA_JWK)); /* and once more */
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(place->file);
    const struct mm_key *key = mm_keyring_find(keyring, EC_KID);
    assert_in_range(key->activated_at, accepted - 60, accepted);
    assert_in_range(key->life.published_at, accepted - 60, accepted);
    assert_in_range(key->life.since, accepted - 60, accepted);
    assert_true(mm_keyring_find(keyring, RSA_KID)->activated_at > accepted + 80000);
}

/* Which entry can't follow on an active P-256 key. */
static void expect_out_of_place(const char *file, enum mm_entry_type type, json_t *fields)
{
    struct mm_error err = {0};
    struct place *place;
    assert_int_equal(place_make((void **)&place), 0);
    copy_file(file, place->file);
    assert_int_equal(chmod(place->file, 0600), 0);
    record(place->file, type, fields);
    assert_null(load(place->file, &err));
    expect(&err, MM_LEDGER_CORRUPT, "entry 3: ");
    (void)place_remove((void **)&place);
}

static void entry_that_can_not_follow_is_refused(void **state)
{
    const struct place *place = *state;
    const char *file = place->file;
    make(file);
    activate(file, activation(EC_KID, "ES256", EC_JWK));
    expect_out_of_place(file, MM_ENTRY_KEY_STAGED, activation(EC_KID, "ES256", EC_JWK));
    expect_out_of_place(file, MM_ENTRY_KEY_PUBLISHED, of(EC_KID));
    expect_out_of_place(file, MM_ENTRY_KEY_ACTIVATED, of(EC_KID));
    expect_out_of_place(file, MM_ENTRY_KEY_ACTIVATED, activation(EC_KID, "ES256", EC_JWK));
    expect_out_of_place(file, MM_ENTRY_KEY_RETIRED, of(EC_KID));
    expect_out_of_place(file, MM_ENTRY_KEY_RETIRING, of(EC_KID)); /* without its last_exp */
    expect_out_of_place(file, MM_ENTRY_KEY_DESTROYED, of(EC_KID));
    expect_out_of_place(file, MM_ENTRY_KEY_ROTATION, of(EC_KID));
    expect_out_of_place(file, MM_ENTRY_KEY_PUBLISHED, of(ED_KID)); /* never staged */
    expect_out_of_place(file, MM_ENTRY_KEY_ATTESTED, of(ED_KID));
    expect_out_of_place(file, MM_ENTRY_KEY_REVOKED, json_pack("{ss}", "by", "test"));
}

static void expect_refused(const char *file, json_t *fields, const char *words)
{
    struct mm_error err = {0};
    struct place *place;
    assert_int_equal(place_make((void **)&place), 0);
    copy_file(file, place->file);
    assert_int_equal(chmod(place->file, 0600), 0);
    activate(place->file, fields);
    assert_null(load(place->file, &err));
    expect(&err, MM_LEDGER_CORRUPT, words);
    assert_non_null(strstr(words, "entry 3: "));
    (void)place_remove((void **)&place);
}

static json_t *with(const char *name, json_t *value)
{
    json_t *fields = activation(EC_KID, "ES256", EC_JWK);
    assert_int_equal(value ? json_object_set_new(fields, name, value) : json_object_del(fields, name), 0);
    return fields;
}

static json_t *with_jwk(const char *name, json_t *value)
{
    json_t *fields = activation(EC_KID, "ES256", EC_JWK);
    json_t *jwk = json_object_get(fields, "jwk");
    assert_int_equal(value ? json_object_set_new(jwk, name, value) : json_object_del(jwk, name), 0);
    return fields;
}

static void entry_that_contradicts_itself_is_refused(void **state)
{
    const struct place *place = *state;
    const char *file = place->file;
    make(file);
    activate(file, activation(ED_KID, "EdDSA", ED_JWK));
    expect_refused(file, activation(RSA_KID, "ES256", EC_JWK), "entry 3: its kid");
    expect_refused(file, with("kid", json_string("")), "entry 3: its kid");
    expect_refused(file, with("kid", NULL), "entry 3: its kid");
    expect_refused(file, with_jwk("kid", json_string(ED_KID)), "entry 3: its kid");
    expect_refused(file, activation(EC_KID, "ES384", EC_JWK), "entry 3: alg ES384");
    expect_refused(file, activation(EC_KID, "RS256", EC_JWK), "entry 3: alg RS256");
    expect_refused(file, activation(EC_KID, "none", EC_JWK), "entry 3: an unknown alg");
    expect_refused(file, with("alg", NULL), "entry 3: an unknown alg");
    expect_refused(file, with_jwk("alg", json_string("ES384")), "entry 3: alg ES256");
    expect_refused(file, with("jwk", NULL), "entry 3: of a key that was never staged");
    expect_refused(file, with("jwk", json_string("{}")), "entry 3: its jwk");
    expect_refused(file, with_jwk("x", json_string("AAAA")), "entry 3: its jwk");
    expect_refused(file, with_jwk("d", json_string("AAAA")), "entry 3: its jwk");
}

static void entry_that_does_not_say_where_the_key_lies_is_refused(void **state)
{
    const struct place *place = *state;
    const char *file = place->file;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    make(file);
    activate(file, activation(ED_KID, "EdDSA", ED_JWK));
    expect_refused(file, with("hsm_token", NULL), "entry 3: its hsm_token");
    expect_refused(file, with("hsm_token", json_string("")), "entry 3: its hsm_token");
    expect_refused(file, with("hsm_token", json_stringn(longest, sizeof longest)), "entry 3: its hsm_token");
    expect_refused(file, with("hsm_id", json_integer(1)), "entry 3: its hsm_id");
    expect_refused(file, with("hsm_id", json_string("")), "entry 3: ");
    expect_refused(file, with("hsm_id", json_string("0")), "entry 3: ");
    expect_refused(file, with("hsm_id", json_string("0G")), "entry 3: ");
    expect_refused(file, with("hsm_id", json_string("0A")), "entry 3: ");
    expect_refused(file, with("hsm_label", NULL), "entry 3: its hsm_label");
}

static void entry_whose_type_was_changed_beside_its_bytes_is_refused(void **state)
{
    const struct place *place = *state;
    struct mm_error err = {0};
    make(place->file);
    activate(place->file, activation(EC_KID, "ES256", EC_JWK));
    record(place->file, MM_ENTRY_HSM_EVENT, activation(ED_KID, "EdDSA", ED_JWK));
    raw(place->file, "UPDATE entries SET type = 'key.activated' WHERE sequence = 3");
    assert_null(load(place->file, &err));
    expect(&err, MM_LEDGER_CORRUPT, "entry 3: its type");
}

static void entry_of_a_key_loads_as_that_key(void **state)
{
    const struct place *place = *state;
    make(place->file);
    mm_cleanup(json_decref) json_t *expected = activation(RSA_KID, "RS256", RSA_JWK);
    activate(place->file, json_incref(expected));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(place->file);
    mm_cleanup(json_decref) json_t *entry = mm_key_entry(mm_keyring_key(keyring, 0), NULL);
    assert_true(json_equal(entry, expected));
}

static json_t *generation(const char *alg, const char *purpose)
{
    return json_pack("{ss ss ss}", "alg", alg, "hsm_token", "primary", "for", purpose);
}

static void rotation_whose_key_is_yet_to_be_generated_waits_for_it(void **state)
{
    const struct place *place = *state;
    make(place->file);
    activate(place->file, activation(EC_KID, "ES256", EC_JWK));
    record(place->file, MM_ENTRY_KEY_GENERATING, generation("RS256", "standby"));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *idle = load_or_fail(place->file);
    assert_null(mm_keyring_wanted(idle));
    record(place->file, MM_ENTRY_KEY_GENERATING, generation("RS256", "rotation"));
    record(place->file, MM_ENTRY_KEY_NOT_GENERATED, generation("RS256", "standby"));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *waiting = load_or_fail(place->file);
    assert_int_equal(mm_keyring_wanted(waiting)->algorithm, MM_RS256);
    assert_string_equal(mm_keyring_wanted(waiting)->hsm_token, "primary");
    record(place->file, MM_ENTRY_KEY_STAGED, activation(RSA_KID, "RS256", RSA_JWK));
    record(place->file, MM_ENTRY_KEY_PUBLISHED, json_pack("{ss}", "kid", RSA_KID));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *ready = load_or_fail(place->file);
    assert_non_null(mm_keyring_wanted(ready));
    record(place->file, MM_ENTRY_KEY_ROTATION, json_pack("{ss}", "kid", RSA_KID));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *begun = load_or_fail(place->file);
    assert_null(mm_keyring_wanted(begun));
}

static void rotation_that_was_given_up_waits_for_nothing(void **state)
{
    const struct place *place = *state;
    make(place->file);
    activate(place->file, activation(EC_KID, "ES256", EC_JWK));
    record(place->file, MM_ENTRY_KEY_GENERATING, generation("ES256", "rotation"));
    record(place->file, MM_ENTRY_KEY_NOT_GENERATED, generation("ES256", "rotation"));
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = load_or_fail(place->file);
    assert_null(mm_keyring_wanted(keyring));
}

/* Times as the ledger's clock would have had them. */
static void so_many_keys_are_generated_within_a_day(void **state)
{
    (void)state;
    enum { START = 1800000000, DAY = 86400 };
    int64_t from = 0;
    mm_cleanup(json_decref) json_t *first = activation(EC_KID, "ES256", EC_JWK);
    mm_cleanup(json_decref) json_t *begun = generation("ES256", "standby");
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring =
        mm_keyring_after(NULL, MM_ENTRY_KEY_ACTIVATED, first, START, NULL);
    for (int i = 0; i < 2 * MM_GENERATIONS_PER_DAY; i++) {
        int64_t now = START + 60 * i + (i < MM_GENERATIONS_PER_DAY ? 0 : DAY);
        assert_true(mm_keyring_may_generate(keyring, now, &from));
        struct mm_keyring *after = mm_keyring_after(keyring, MM_ENTRY_KEY_GENERATING, begun, now, NULL);
        assert_non_null(after);
        mm_keyring_unref(keyring);
        keyring = after;
    }
    int64_t last = START + DAY + 60 * (2 * MM_GENERATIONS_PER_DAY - 1);
    assert_false(mm_keyring_may_generate(keyring, last, &from));
    assert_int_equal(from, START + DAY + 60 * MM_GENERATIONS_PER_DAY + DAY);
    assert_false(mm_keyring_may_generate(keyring, from - 1, &from));
    assert_true(mm_keyring_may_generate(keyring, from, &from));
    /* What a clock that was wrong wrote down bars nobody for years. */
    assert_true(mm_keyring_may_generate(keyring, START, &from));
}

/* 64 bytes; configured names have at most 63. */
#define LONG_NAME "0123456789012345678901234567890123456789012345678901234567890123"

static void generation_that_says_too_little_is_refused(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "{}",
        "{\"alg\":\"none\",\"hsm_token\":\"a\",\"for\":\"standby\"}",
        "{\"alg\":\"ES256\",\"hsm_token\":\"\",\"for\":\"standby\"}",
        "{\"alg\":\"ES256\",\"hsm_token\":\"a\"}",
        "{\"alg\":\"ES256\",\"hsm_token\":\"a\",\"for\":\"fun\"}",
        "{\"alg\":\"ES256\",\"hsm_token\":\"" LONG_NAME "\",\"for\":\"rotation\"}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++) {
        struct mm_error err = {0};
        mm_cleanup(json_decref) json_t *entry = mm_json_parse(TEXTS[i], strlen(TEXTS[i]), NULL);
        assert_null(mm_keyring_after(NULL, MM_ENTRY_KEY_GENERATING, entry, 1, &err));
        assert_null(mm_keyring_after(NULL, MM_ENTRY_KEY_NOT_GENERATED, entry, 1, NULL));
        expect(&err, MM_LEDGER_CORRUPT, "generation");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        placed(ledger_without_a_key_has_no_keyring),
        placed(activated_key_signs_and_is_listed),
        placed(each_algorithm_has_its_own_active_key),
        placed(entries_take_a_key_through_its_life),
        placed(rotation_lasts_until_its_successor_signs_alone),
        placed(runs_bound_the_last_exp_that_they_signed),
        placed(what_a_clock_said_that_was_ahead_counts_from_its_acceptance),
        placed(entry_that_can_not_follow_is_refused),
        placed(entry_that_contradicts_itself_is_refused),
        placed(entry_that_does_not_say_where_the_key_lies_is_refused),
        placed(entry_whose_type_was_changed_beside_its_bytes_is_refused),
        placed(entry_of_a_key_loads_as_that_key),
        placed(rotation_whose_key_is_yet_to_be_generated_waits_for_it),
        placed(rotation_that_was_given_up_waits_for_nothing),
        cmocka_unit_test(so_many_keys_are_generated_within_a_day),
        cmocka_unit_test(generation_that_says_too_little_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
