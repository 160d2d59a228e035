/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "issue/draft.h"
#include "oauth/subject.h"

#define RESOURCE "urc-0194b726b34e72b0b45550b88a967076"

static const int64_t NOW = 1700000000;

static int64_t fixed_now(void *context)
{
    (void)context;
    return NOW * 1000LL;
}

static bool fixed_random(void *context, void *out, size_t length)
{
    (void)context;
    memset(out, 0xa5, length);
    return true;
}

static bool no_random(void *context, void *out, size_t length)
{
    (void)context;
    (void)out;
    (void)length;
    return false;
}

static char RESOURCE_ID[] = RESOURCE;
static char SECOND[] = "urc-two";
static char LORE[] = "lore.example";
static char OTHER[] = "other.example";
static char PATTERN[] = "urc-*";
static char READ[] = "read";
static char REPO[] = "repo";
static char BLOB[] = "blob";
static char READ_REPO[] = "read:repo";
static char READ_BLOB[] = "read:blob";

static char *AUDIENCES[] = {LORE};
static char *TWO_AUDIENCES[] = {LORE, OTHER};
static char *RESOURCES[] = {RESOURCE_ID, SECOND};
static char *PATTERNS[] = {PATTERN};
static char *ACTIONS[] = {READ};
static char *KINDS[] = {REPO, BLOB};
static char *SCOPES[] = {READ_REPO, READ_BLOB};
static char ACCOUNT_ID[] = "ci";
static char IDENTITY[] = "acme/ci";
static char NAME[] = "Acme CI";
static char TENANT_ID[] = "acme";
static char ENV[] = "test";
static char FOREIGN[] = "other-1";
static const char *const WANTED[] = {"read:repo"};

/* A policy of one tenant, one account and one grant, and a request it allows. */
struct world {
    struct mm_clock clock;
    struct mm_random random;
    struct mm_issuer_parts parts;
    struct mm_policy policy;
    struct mm_grant grant;
    struct mm_account account;
    struct mm_tenant tenant;
    struct mm_principal principal;
    struct mm_token_request request;
    struct mm_decision decision;
};

static void make_world(struct world *world)
{
    *world = (struct world){
        .clock = {.unix_ms = fixed_now},
        .random = {.fill = fixed_random},
        .policy = {.digest = "policy-digest"},
        .grant = {.scopes = {SCOPES, 2}, .resources = {RESOURCES, 2}, .ttl_default = 600, .ttl_max = 900, .line = 12},
        .account = {.id = ACCOUNT_ID, .identity = IDENTITY, .name = NAME, .n_grants = 1},
        .tenant = {.id = TENANT_ID, .env = ENV, .audience = {AUDIENCES, 1}, .max_ttl = 900, .n_accounts = 1},
        .principal = {.not_after = NOW + 86400, .credential = "mtls", .fingerprint = "f1"},
        .request = {.scopes = WANTED, .n_scopes = 1},
        .decision = {.ttl = 600},
    };
    world->tenant.envelope = (struct mm_envelope){
        .audiences = {TWO_AUDIENCES, 2},
        .resources = {PATTERNS, 1},
        .actions = {ACTIONS, 1},
        .kinds = {KINDS, 2},
    };
    world->parts = (struct mm_issuer_parts){
        .issuer_url = "https://mint.example",
        .clock = &world->clock,
        .random = &world->random,
        .max_ttl = 3600,
    };
    world->account.grants = &world->grant;
    world->tenant.accounts = &world->account;
    world->principal.tenant = &world->tenant;
    world->principal.account = &world->account;
    world->decision.grant = &world->grant;
}

static bool draft(struct world *world, struct mm_draft *ret_draft, struct mm_error *err)
{
    return mm_draft_make(&world->parts, &world->policy, &world->principal, &world->request, &world->decision, "the-kid",
                         "req-1", ret_draft, err);
}

static json_t *parsed(const char *text)
{
    json_t *value = mm_json_parse(text, strlen(text), NULL);
    assert_non_null(value);
    return value;
}

static void assert_refused(struct world *world, enum mm_code code)
{
    struct mm_draft made = {.issued_at = 7};
    struct mm_error err = {0};
    assert_false(draft(world, &made, &err));
    assert_int_equal(err.code, code);
    assert_int_equal(made.issued_at, 7);
}

static void draft_carries_what_the_decision_allows(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    struct mm_error err = {0};
    assert_true(draft(&world, &made, &err));
    mm_cleanup(json_decref) json_t *claims = parsed(made.payload);
    assert_string_equal(mm_json_string(claims, "iss"), "https://mint.example");
    assert_string_equal(mm_json_string(claims, "sub"), "acme/ci");
    assert_string_equal(mm_json_string(claims, "scope"), "read:repo");
    assert_string_equal(mm_json_string(claims, "aud"), "lore.example");
    assert_int_equal(mm_json_integer(claims, "iat", 0), NOW);
    assert_int_equal(mm_json_integer(claims, "exp", 0), NOW + 600);
    assert_int_equal(json_array_size(json_object_get(claims, "resources")), 2);
    assert_true(json_is_false(json_object_get(claims, "is_service_account")));
}

static void requested_resource_replaces_the_grants(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.request.resource_id = RESOURCE;
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    mm_cleanup(json_decref) json_t *claims = parsed(made.payload);
    json_t *resources = json_object_get(claims, "resources");
    assert_int_equal(json_array_size(resources), 1);
    assert_string_equal(mm_json_string(json_array_get(resources, 0), "resource_id"), RESOURCE);
}

static void entry_names_account_rule_policy_and_claims_digest_but_no_token(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    mm_cleanup(json_decref) json_t *entry = parsed(made.entry);
    char digest[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(made.payload, strlen(made.payload), digest);
    assert_string_equal(mm_json_string(entry, "claims_sha256"), digest);
    assert_string_equal(mm_json_string(entry, "account"), "acme/ci");
    assert_string_equal(mm_json_string(entry, "jti"), made.jti);
    assert_string_equal(mm_json_string(entry, "kid"), "the-kid");
    assert_string_equal(mm_json_string(entry, "policy"), "policy-digest");
    assert_int_equal(mm_json_integer(json_object_get(entry, "rule"), "line", 0), 12);
    assert_null(strstr(made.entry, "eyJ"));
    assert_null(strstr(made.entry, "preferred_username"));
}

static void a_bound_token_and_its_entry_say_so(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.account.binding = MM_BINDING_REQUIRED;
    (void)memset(world.principal.fingerprint, 'f', MM_SHA256_HEX_LENGTH);
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    assert_non_null(strstr(made.payload, ",\"cnf\":{\"x5t#S256\":\"__________________________________________8\"}}"));
    assert_non_null(strstr(made.entry, ",\"certificate_bound\":true,"));
}

static void a_token_that_must_be_bound_is_not_made_without_a_certificate(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.account.binding = MM_BINDING_REQUIRED;
    world.principal.fingerprint[0] = '\0';
    assert_refused(&world, MM_CERTIFICATE_REQUIRED);
}

static void an_account_without_binding_has_neither(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    assert_null(strstr(made.payload, "cnf"));
    assert_null(strstr(made.entry, "certificate_bound"));
}

static void a_request_that_asks_for_binding_is_bound_or_refused(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.request.is_bound = true;
    (void)memset(world.principal.fingerprint, 'f', MM_SHA256_HEX_LENGTH);
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    assert_non_null(strstr(made.payload, ",\"cnf\":{\"x5t#S256\":\"__________________________________________8\"}}"));
    assert_non_null(strstr(made.entry, ",\"certificate_bound\":true,"));
    world.principal.fingerprint[0] = '\0';
    assert_refused(&world, MM_CERTIFICATE_REQUIRED);
}

static void token_ends_with_its_certificate(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.principal.not_after = NOW + 90;
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    mm_cleanup(json_decref) json_t *claims = parsed(made.payload);
    mm_cleanup(json_decref) json_t *entry = parsed(made.entry);
    assert_int_equal(made.expires_at, NOW + 90);
    assert_int_equal(mm_json_integer(claims, "exp", 0), NOW + 90);
    assert_int_equal(mm_json_integer(entry, "exp", 0), NOW + 90);
}

static void certificate_that_ends_now_gets_nothing(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.principal.not_after = NOW;
    assert_refused(&world, MM_CERTIFICATE_INVALID);
}

static void decision_outside_the_envelope_makes_no_claims(void **state)
{
    (void)state;
    static const char *const WRITE[] = {"write:repo"};
    static const char *const PREFIX_OF_AN_ACTION[] = {"rea:repo"};
    static const char *const UNKNOWN_KIND[] = {"read:secret"};
    static char *foreign[] = {FOREIGN};
    struct world world;
    make_world(&world);
    world.request.scopes = WRITE;
    assert_refused(&world, MM_INTERNAL);
    make_world(&world);
    world.request.scopes = PREFIX_OF_AN_ACTION;
    assert_refused(&world, MM_INTERNAL);
    make_world(&world);
    world.request.scopes = UNKNOWN_KIND;
    assert_refused(&world, MM_INTERNAL);
    make_world(&world);
    world.grant.resources = (struct mm_strings){foreign, 1};
    assert_refused(&world, MM_INTERNAL);
    make_world(&world);
    world.request.audience = "stranger.example";
    assert_refused(&world, MM_INTERNAL);
}

static void lifetime_over_a_cap_makes_no_claims(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.decision.ttl = 901; /* the tenant's cap is 900 */
    assert_refused(&world, MM_INTERNAL);
    make_world(&world);
    world.parts.max_ttl = 599;
    assert_refused(&world, MM_INTERNAL);
    make_world(&world);
    world.decision.ttl = 0;
    assert_refused(&world, MM_INTERNAL);
}

static void claims_too_large_to_be_signed_are_not_even_announced(void **state)
{
    (void)state;
    static char *many[400];
    for (size_t i = 0; i < MM_ARRAY_SIZE(many); i++)
        many[i] = RESOURCE_ID;
    struct world world;
    make_world(&world);
    world.grant.resources = (struct mm_strings){many, MM_ARRAY_SIZE(many)};
    assert_refused(&world, MM_INTERNAL);
}

/* Somebody else's user, on whose behalf the account asks. */
static struct mm_subject user(void)
{
    static char identity[] = "https://idp#ada";
    return (struct mm_subject){
        .claims = {identity, "ada", "https://idp", "{\"sub\":\"acme/ci\"}"},
        .issuer = "https://idp",
        .subject = "ada",
        .identity = identity,
        .name = "Ada",
        .jti_digest = "d1",
    };
}

static void a_token_on_a_subjects_behalf_is_the_subjects(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    const struct mm_subject subject = user();
    world.principal.subject = &subject;
    world.account.is_service_account = true;
    world.request.n_scopes = 0;
    world.request.resource_id = RESOURCE;
    world.decision.scopes[world.decision.n_scopes++] = READ_BLOB;
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    mm_cleanup(json_decref) json_t *claims = parsed(made.payload);
    mm_cleanup(json_decref) json_t *entry = parsed(made.entry);
    assert_string_equal(mm_json_string(claims, "sub"), "https://idp#ada");
    assert_string_equal(mm_json_string(claims, "client_id"), "acme/ci");
    assert_string_equal(mm_json_string(claims, "scope"), "read:blob");
    assert_string_equal(mm_json_string(claims, "name"), "Ada");
    assert_true(json_is_false(json_object_get(claims, "is_service_account")));
    assert_null(json_object_get(claims, "cnf"));
    assert_string_equal(mm_json_string(entry, "account"), "https://idp#ada");
    assert_string_equal(mm_json_string(entry, "client"), "acme/ci");
    assert_string_equal(mm_json_string(json_object_get(entry, "subject"), "jti_sha256"), "d1");
    assert_int_equal(mm_json_integer(json_object_get(entry, "rule"), "exchange", -1), 0);
}

static void what_its_subject_was_bound_to_binds_a_token(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    struct mm_subject subject = user();
    (void)memset(subject.fingerprint, 'f', MM_SHA256_HEX_LENGTH);
    (void)memset(world.principal.fingerprint, 'f', MM_SHA256_HEX_LENGTH);
    world.principal.subject = &subject;
    mm_cleanup(mm_draft_clear) struct mm_draft made = {0};
    assert_true(draft(&world, &made, NULL));
    assert_non_null(strstr(made.payload, ",\"cnf\":{\"x5t#S256\":\"__________________________________________8\"}}"));
    assert_non_null(strstr(made.entry, ",\"certificate_bound\":true,"));
    world.principal.fingerprint[0] = '\0';
    assert_refused(&world, MM_CERTIFICATE_REQUIRED);
}

static void without_randomness_there_is_no_token(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    world.random.fill = no_random;
    assert_refused(&world, MM_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draft_carries_what_the_decision_allows),
        cmocka_unit_test(requested_resource_replaces_the_grants),
        cmocka_unit_test(entry_names_account_rule_policy_and_claims_digest_but_no_token),
        cmocka_unit_test(token_ends_with_its_certificate),
        cmocka_unit_test(certificate_that_ends_now_gets_nothing),
        cmocka_unit_test(decision_outside_the_envelope_makes_no_claims),
        cmocka_unit_test(lifetime_over_a_cap_makes_no_claims),
        cmocka_unit_test(claims_too_large_to_be_signed_are_not_even_announced),
        cmocka_unit_test(without_randomness_there_is_no_token),
        cmocka_unit_test(a_token_on_a_subjects_behalf_is_the_subjects),
        cmocka_unit_test(what_its_subject_was_bound_to_binds_a_token),
        cmocka_unit_test(a_bound_token_and_its_entry_say_so),
        cmocka_unit_test(a_token_that_must_be_bound_is_not_made_without_a_certificate),
        cmocka_unit_test(an_account_without_binding_has_neither),
        cmocka_unit_test(a_request_that_asks_for_binding_is_bound_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
