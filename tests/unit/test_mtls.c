/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a client certificate to an account: exact names, one account, and the same answer for everybody else.
 */
#include "oauth/mtls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "policy/index.h"
#include "tests/support/make_certificate.h"

enum { N_ACCOUNTS = 2, N_RULES = 2 };

/* Tenants `acme` and `beta`, each with its own CA and two accounts; a test writes the rules of acme's. */
struct world {
    struct test_certificate *acme_ca;
    struct test_certificate *beta_ca;
    struct mm_mtls_rule rules[N_ACCOUNTS][N_RULES];
    struct mm_mtls_rule beta_rule;
    struct mm_account accounts[N_ACCOUNTS];
    struct mm_account beta_account;
    struct mm_tenant tenants[2];
    struct mm_policy policy;
};

static char *text(const char *literal)
{
    return (char *)(uintptr_t)literal;
}

static struct mm_mtls_rule rule_of(enum mm_mtls_name kind, const char *name)
{
    struct mm_mtls_rule rule = {0};
    rule.names[kind] = text(name);
    return rule;
}

static struct mm_trust *trust_in(const struct test_certificate *ca)
{
    mm_cleanup(free) char *pem = test_certificates_pem(ca, NULL);
    struct mm_trust *trust = mm_trust_parse(pem, strlen(pem), NULL);
    assert_non_null(trust);
    return trust;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->acme_ca = make_ca("Acme CA", NULL);
    world->beta_ca = make_ca("Beta CA", NULL);
    world->accounts[0] =
        (struct mm_account){.id = text("build"), .identity = text("acme/build"), .mtls = world->rules[0]};
    world->accounts[1] =
        (struct mm_account){.id = text("deploy"), .identity = text("acme/deploy"), .mtls = world->rules[1]};
    world->beta_rule = rule_of(MM_MTLS_SAN_URI, "spiffe://beta.example/build");
    world->beta_account = (struct mm_account){.id = text("build"),
                                              .identity = text("beta/build"),
                                              .mtls = &world->beta_rule,
                                              .n_mtls = 1};
    world->tenants[0] = (struct mm_tenant){.id = text("acme"),
                                           .accounts = world->accounts,
                                           .n_accounts = N_ACCOUNTS,
                                           .client_ca = trust_in(world->acme_ca)};
    world->tenants[1] = (struct mm_tenant){.id = text("beta"),
                                           .accounts = &world->beta_account,
                                           .n_accounts = 1,
                                           .client_ca = trust_in(world->beta_ca)};
    world->policy = (struct mm_policy){.tenants = world->tenants, .n_tenants = 2};
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    test_certificate_free(world->acme_ca);
    test_certificate_free(world->beta_ca);
    mm_trust_free(world->tenants[0].client_ca);
    mm_trust_free(world->tenants[1].client_ca);
    free(world);
    return 0;
}

static void set_rule(struct world *world, size_t account, struct mm_mtls_rule rule)
{
    struct mm_account *of = &world->accounts[account];
    of->mtls[of->n_mtls++] = rule;
}

static enum mm_code authenticate(const struct world *world, const char *tenant_id, const struct test_certificate *leaf,
                                 struct mm_principal *ret_principal)
{
    struct mm_bytes der = test_certificate_der(leaf);
    struct mm_error err = {0};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(&der, 1, &err);
    assert_non_null(certificate);
    for (size_t i = 0; i < world->policy.n_tenants; i++)
        assert_true(mm_tenant_index(&world->policy.tenants[i]));
    bool known = mm_mtls_authenticate(&world->policy, tenant_id, certificate, TEST_NOW, ret_principal, &err);
    for (size_t i = 0; i < world->policy.n_tenants; i++)
        mm_index_free(MM_TAKE(world->policy.tenants[i].index));
    assert_int_equal(known, err.code == MM_OK);
    assert_int_equal(known, ret_principal->account != NULL);
    return err.code;
}

/* What comes of a certificate of acme's CA with these SANs. */
static enum mm_code verdict(const struct world *world, const char *alternative_names)
{
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(world->acme_ca, alternative_names);
    struct mm_principal principal = {0};
    return authenticate(world, "acme", leaf, &principal);
}

static void certificate_stands_for_the_account_that_names_it(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/build"));
    set_rule(world, 1, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/deploy"));
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_client(world->acme_ca, "URI:spiffe://acme.example/deploy");
    struct mm_principal principal = {0};
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_OK);
    assert_ptr_equal(principal.tenant, &world->tenants[0]);
    assert_ptr_equal(principal.account, &world->accounts[1]);
    assert_int_equal(principal.not_after, TEST_NOT_AFTER);
    assert_string_equal(principal.credential, "mtls");
    char fingerprint[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(leaf->der, leaf->der_length, fingerprint);
    assert_string_equal(principal.fingerprint, fingerprint);
}

static void no_certificate_says_so(void **state)
{
    struct world *world = *state;
    struct mm_principal principal;
    struct mm_error err = {0};
    assert_false(mm_mtls_authenticate(&world->policy, "acme", NULL, TEST_NOW, &principal, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_REQUIRED);
    err = (struct mm_error){0};
    assert_false(mm_mtls_authenticate(&world->policy, "nobody", NULL, TEST_NOW, &principal, &err));
    assert_int_equal(err.code, MM_CERTIFICATE_REQUIRED);
}

static void unknown_tenant_foreign_and_unnamed_certificates_answer_alike(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/build"));
    mm_cleanup(test_certificate_free) struct test_certificate *named =
        make_client(world->acme_ca, "URI:spiffe://acme.example/build");
    mm_cleanup(test_certificate_free) struct test_certificate *unnamed =
        make_client(world->acme_ca, "URI:spiffe://acme.example/other");
    mm_cleanup(test_certificate_free) struct test_certificate *foreign =
        make_client(world->beta_ca, "URI:spiffe://acme.example/build");
    struct mm_principal principal = {0};
    assert_int_equal(authenticate(world, "nobody", named, &principal), MM_ACCESS_DENIED);
    assert_int_equal(authenticate(world, "", named, &principal), MM_ACCESS_DENIED);
    assert_int_equal(authenticate(world, "acme", unnamed, &principal), MM_ACCESS_DENIED);
    assert_int_equal(authenticate(world, "acme", foreign, &principal), MM_ACCESS_DENIED);
    assert_int_equal(authenticate(world, "beta", named, &principal), MM_ACCESS_DENIED);
    assert_int_equal(authenticate(world, "acme", named, &principal), MM_OK);
}

/* The id of the only tenant whose account of that bare id the certificate stands for; "": none. */
static const char *tenant_of(const struct world *world, const char *id, const struct test_certificate *leaf)
{
    struct mm_bytes der = test_certificate_der(leaf);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(&der, 1, NULL);
    assert_non_null(certificate);
    for (size_t i = 0; i < world->policy.n_tenants; i++)
        assert_true(mm_tenant_index(&world->policy.tenants[i]));
    const struct mm_tenant *found = mm_mtls_find_tenant(&world->policy, id, certificate, TEST_NOW);
    for (size_t i = 0; i < world->policy.n_tenants; i++)
        mm_index_free(MM_TAKE(world->policy.tenants[i].index));
    return found ? found->id : "";
}

static void certificate_fixes_the_tenant_if_it_is_one_tenants_alone(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/build"));
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://beta.example/build"));
    mm_cleanup(test_certificate_free) struct test_certificate *acmes =
        make_client(world->acme_ca, "URI:spiffe://acme.example/build");
    mm_cleanup(test_certificate_free) struct test_certificate *betas =
        make_client(world->beta_ca, "URI:spiffe://beta.example/build");
    assert_string_equal(tenant_of(world, "build", acmes), "acme");
    assert_string_equal(tenant_of(world, "build", betas),
                        "beta"); /* acme's account names it, and acme's CA hasn't signed it */
    assert_string_equal(tenant_of(world, "deploy", acmes), "");
    assert_string_equal(tenant_of(world, "nobody", acmes), "");
    struct mm_trust *ca = world->tenants[0].client_ca;
    world->tenants[0].client_ca = world->tenants[1].client_ca; /* both tenants trust the same CA */
    assert_string_equal(tenant_of(world, "build", betas), "");
    world->tenants[0].client_ca = ca;
}

static void certificate_that_many_tenants_name_is_checked_for_none_of_them(void **state)
{
    struct world *world = *state;
    struct mm_tenant many[6];
    static const char *const IDS[] = {"a", "b", "c", "d", "e", "f"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(many); i++) {
        many[i] = world->tenants[1];
        many[i].id = text(IDS[i]);
    }
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_client(world->acme_ca, "URI:spiffe://beta.example/build");
    many[5].client_ca = world->tenants[0].client_ca; /* who has signed it */
    struct mm_policy policy = world->policy;
    world->policy = (struct mm_policy){.tenants = many, .n_tenants = MM_ARRAY_SIZE(many)};
    assert_string_equal(tenant_of(world, "build", leaf), "");
    world->policy = (struct mm_policy){.tenants = many + 3, .n_tenants = 3};
    assert_string_equal(tenant_of(world, "build", leaf), "f");
    world->policy = policy;
}

static void tenant_without_a_ca_knows_nobody(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/build"));
    struct mm_trust *ca = MM_TAKE(world->tenants[0].client_ca);
    assert_int_equal(verdict(world, "URI:spiffe://acme.example/build"), MM_ACCESS_DENIED);
    world->tenants[0].client_ca = ca;
}

static void expired_certificate_is_told_so(void **state)
{
    struct world *world = *state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.issuer = world->acme_ca,
                                                    .extended_key_usage = "clientAuth",
                                                    .not_after = TEST_NOW - 1});
    struct mm_principal principal = {0};
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_CERTIFICATE_INVALID);
    assert_int_equal(authenticate(world, "beta", leaf, &principal), MM_ACCESS_DENIED);
}

static void certificate_of_two_accounts_is_refused(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "https://acme.example/build"));
    set_rule(world, 1, rule_of(MM_MTLS_SAN_DNS, "deploy.acme.example"));
    assert_int_equal(verdict(world, "URI:https://acme.example/build"), MM_OK);
    assert_int_equal(verdict(world, "DNS:deploy.acme.example"), MM_OK);
    assert_int_equal(verdict(world, "URI:https://acme.example/build,DNS:deploy.acme.example"), MM_CREDENTIAL_AMBIGUOUS);
}

static void two_rules_of_one_account_are_no_conflict(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "https://acme.example/build"));
    set_rule(world, 0, rule_of(MM_MTLS_SAN_DNS, "build.acme.example"));
    assert_int_equal(verdict(world, "URI:https://acme.example/build,DNS:build.acme.example"), MM_OK);
}

static void every_name_of_a_rule_must_match(void **state)
{
    struct world *world = *state;
    struct mm_mtls_rule rule = rule_of(MM_MTLS_SAN_URI, "https://acme.example/build");
    rule.names[MM_MTLS_SAN_DNS] = text("build.acme.example");
    set_rule(world, 0, rule);
    assert_int_equal(verdict(world, "URI:https://acme.example/build"), MM_ACCESS_DENIED);
    assert_int_equal(verdict(world, "DNS:build.acme.example"), MM_ACCESS_DENIED);
    assert_int_equal(verdict(world, "URI:https://acme.example/build,DNS:build.acme.example"), MM_OK);
}

static void rule_that_names_nothing_matches_nobody(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, (struct mm_mtls_rule){0});
    set_rule(world, 1, rule_of(MM_MTLS_SUBJECT_DN, ""));
    assert_int_equal(verdict(world, "URI:https://acme.example/build"), MM_ACCESS_DENIED);
    mm_cleanup(test_certificate_free) struct test_certificate *nameless =
        make_certificate(&(struct certificate_spec){.issuer = world->acme_ca, .extended_key_usage = "clientAuth"});
    struct mm_principal principal = {0};
    assert_int_equal(authenticate(world, "acme", nameless, &principal), MM_ACCESS_DENIED);
}

static void names_match_exactly(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/build"));
    set_rule(world, 1, rule_of(MM_MTLS_SAN_DNS, "build.acme.example"));
    static const char *const OTHERS[] = {
        "URI:spiffe://acme.example/build/",  "URI:spiffe://acme.example/buil",
        "URI:spiffe://acme.example/Build",   "URI:spiffe://ACME.example/build",
        "URI:spiffe://acme.example/%62uild", "DNS:*.acme.example",
        "DNS:build.acme.example.",           "DNS:acme.example",
        "DNS:x.build.acme.example",          "email:build@acme.example",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERS); i++)
        assert_int_equal(verdict(world, OTHERS[i]), MM_ACCESS_DENIED);
    assert_int_equal(verdict(world, "URI:spiffe://acme.example/build"), MM_OK);
    assert_int_equal(verdict(world, "DNS:Build.Acme.Example"), MM_OK);
}

static void spiffe_id_stands_alone(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/build"));
    set_rule(world, 1, rule_of(MM_MTLS_SAN_URI, "https://acme.example/deploy"));
    assert_int_equal(verdict(world, "URI:spiffe://acme.example/build,DNS:x.example"), MM_OK);
    assert_int_equal(verdict(world, "URI:spiffe://acme.example/build,URI:spiffe://acme.example/admin"),
                     MM_ACCESS_DENIED);
    assert_int_equal(verdict(world, "URI:spiffe://acme.example/build,URI:spiffe://acme.example/build"),
                     MM_ACCESS_DENIED);
    assert_int_equal(verdict(world, "URI:https://acme.example/x,URI:https://acme.example/deploy"), MM_OK);
}

static void subject_and_fingerprint_match_exactly(void **state)
{
    struct world *world = *state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_certificate(&(struct certificate_spec){
        .organization = "Acme", .common_name = "build", .issuer = world->acme_ca, .extended_key_usage = "clientAuth"});
    char fingerprint[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(leaf->der, leaf->der_length, fingerprint);
    struct mm_principal principal = {0};
    set_rule(world, 0, rule_of(MM_MTLS_SUBJECT_DN, "O=Acme,CN=build"));
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_ACCESS_DENIED);
    set_rule(world, 0, rule_of(MM_MTLS_SUBJECT_DN, "CN=build,O=Acme"));
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_OK);
    world->accounts[0].n_mtls = 0;
    principal = (struct mm_principal){0};
    set_rule(world, 1, rule_of(MM_MTLS_FINGERPRINT, fingerprint));
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_OK);
    assert_ptr_equal(principal.account, &world->accounts[1]);
    fingerprint[63] = fingerprint[63] == '0' ? '1' : '0';
    principal = (struct mm_principal){0};
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_ACCESS_DENIED);
}

static void common_name_never_stands_for_a_dns_name(void **state)
{
    struct world *world = *state;
    set_rule(world, 0, rule_of(MM_MTLS_SAN_DNS, "build.acme.example"));
    mm_cleanup(test_certificate_free) struct test_certificate *leaf =
        make_certificate(&(struct certificate_spec){.common_name = "build.acme.example",
                                                    .issuer = world->acme_ca,
                                                    .extended_key_usage = "clientAuth"});
    struct mm_principal principal = {0};
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_ACCESS_DENIED);
}

/* --- self-signed certificates */

static struct test_certificate *make_self_signed(struct certificate_spec spec)
{
    spec.common_name = "ci";
    return make_certificate(&spec);
}

static void name_self_signed(struct world *world, size_t account, const struct test_certificate *certificate,
                             struct mm_self_signed_rule *rule)
{
    static char fingerprint[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(certificate->der, certificate->der_length, fingerprint);
    rule->fingerprint = fingerprint;
    world->accounts[account].self_signed = rule;
    world->accounts[account].n_self_signed = 1;
}

/* The verdict on a self-signed certificate that follows `spec` and that an account names. */
static enum mm_code self_signed_verdict(struct world *world, struct certificate_spec spec,
                                        struct mm_principal *ret_principal)
{
    struct mm_self_signed_rule rule;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_self_signed(spec);
    name_self_signed(world, 0, leaf, &rule);
    enum mm_code code = authenticate(world, "acme", leaf, ret_principal);
    world->accounts[0].n_self_signed = 0;
    return code;
}

static void self_signed_certificate_stands_for_the_account_that_names_it(void **state)
{
    struct world *world = *state;
    struct mm_principal principal = {0};
    assert_int_equal(self_signed_verdict(world, (struct certificate_spec){0}, &principal), MM_OK);
    assert_string_equal(principal.account->identity, "acme/build");
    assert_string_equal(principal.credential, "self_signed_mtls");
    assert_int_equal(principal.not_after, TEST_NOT_AFTER);
    /* As `openssl req -x509` makes them. */
    const struct certificate_spec plain = {.basic_constraints = "critical,CA:TRUE", .subject_key_id = "hash"};
    assert_int_equal(self_signed_verdict(world, plain, &principal), MM_OK);
}

static void self_signed_certificate_must_be_fit(void **state)
{
    struct world *world = *state;
    const struct certificate_spec UNFIT[] = {
        {.not_after = TEST_NOW - 1},
        {.not_before = TEST_NOW + 1},
        {.rsa_bits = 1024},
        {.digest = "SHA1"},
        {.extended_key_usage = "serverAuth"},
        {.key_usage = "critical,keyCertSign"},
        {.issuer = world->acme_ca, .extended_key_usage = "clientAuth"}, /* a CA's */
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(UNFIT); i++) {
        struct mm_principal principal = {0};
        if (self_signed_verdict(world, UNFIT[i], &principal) != MM_CERTIFICATE_INVALID)
            fail_msg("case %zu is taken", i);
    }
}

static void self_signed_certificate_counts_for_nothing_else(void **state)
{
    struct world *world = *state;
    struct mm_principal principal = {0};
    const struct certificate_spec named = {.alternative_names = "URI:spiffe://acme.example/build",
                                           .extended_key_usage = "clientAuth"};
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://acme.example/build"));
    mm_cleanup(test_certificate_free) struct test_certificate *unknown = make_self_signed(named);
    assert_int_equal(authenticate(world, "acme", unknown, &principal), MM_ACCESS_DENIED);
    /* Its fingerprint in an mtls rule is about a certificate of the tenant's CA. */
    char fingerprint[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(unknown->der, unknown->der_length, fingerprint);
    set_rule(world, 1, rule_of(MM_MTLS_FINGERPRINT, fingerprint));
    assert_int_equal(authenticate(world, "acme", unknown, &principal), MM_ACCESS_DENIED);
    /* Named by one account, it isn't also what its names say. */
    struct mm_self_signed_rule rule;
    name_self_signed(world, 1, unknown, &rule);
    assert_int_equal(authenticate(world, "acme", unknown, &principal), MM_OK);
    assert_ptr_equal(principal.account, &world->accounts[1]);
    assert_int_equal(authenticate(world, "beta", unknown, &(struct mm_principal){0}), MM_ACCESS_DENIED);
}

static void self_signed_certificate_of_two_accounts_is_ambiguous(void **state)
{
    struct world *world = *state;
    struct mm_principal principal = {0};
    struct mm_self_signed_rule rules[2];
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_self_signed((struct certificate_spec){0});
    name_self_signed(world, 0, leaf, &rules[0]);
    name_self_signed(world, 1, leaf, &rules[1]);
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_CREDENTIAL_AMBIGUOUS);
}

static void self_signed_certificate_comes_alone_and_expires_though_it_was_good(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    int64_t not_after;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_self_signed((struct certificate_spec){0});
    const struct mm_bytes chain[] = {test_certificate_der(leaf), test_certificate_der(world->acme_ca)};
    mm_cleanup(mm_certificate_unref) struct mm_certificate *two = mm_certificate_parse(chain, 2, &err);
    assert_false(mm_self_signed_verify(two, TEST_NOW, &not_after, &err));
    mm_cleanup(mm_certificate_unref) struct mm_certificate *one = mm_certificate_parse(chain, 1, NULL);
    assert_true(mm_self_signed_verify(one, TEST_NOW, &not_after, NULL));
    assert_false(mm_trust_verify(world->tenants[0].client_ca, one, TEST_NOW, &not_after, NULL));
    assert_true(mm_self_signed_verify(one, TEST_NOT_AFTER - 1, &not_after, NULL));
    assert_false(mm_self_signed_verify(one, TEST_NOT_AFTER, &not_after, NULL));
    assert_false(mm_self_signed_verify(one, TEST_NOW - 3601, &not_after, NULL));
}

/* --- X.509-SVIDs */

#define DOMAIN "workloads.example"

/* acme has a trust domain of its own CA's; `build` is whoever has an ID of one segment there, `deploy` one whole ID. */
struct spiffe_world {
    struct test_certificate *root;
    struct test_certificate *other_root;
    struct mm_trust_domain domains[2];
    struct mm_spiffe_rule rules[2];
};

static void spiffe_open(struct world *world, struct spiffe_world *spiffe)
{
    spiffe->root = make_ca("Workloads", NULL);
    spiffe->other_root = make_ca("Others", NULL);
    spiffe->domains[0] =
        (struct mm_trust_domain){.name = text(DOMAIN), .bundle_file = text("b"), .roots = trust_in(spiffe->root)};
    spiffe->domains[1] = (struct mm_trust_domain){.name = text("others.example"),
                                                  .bundle_file = text("o"),
                                                  .roots = trust_in(spiffe->other_root)};
    spiffe->rules[0] = (struct mm_spiffe_rule){text(DOMAIN), text("/ci/*")};
    spiffe->rules[1] = (struct mm_spiffe_rule){text(DOMAIN), text("/deploy/prod")};
    for (size_t i = 0; i < N_ACCOUNTS; i++) {
        world->accounts[i].spiffe = &spiffe->rules[i];
        world->accounts[i].n_spiffe = 1;
    }
    world->tenants[0].envelope.trust_domains = spiffe->domains;
    world->tenants[0].envelope.n_trust_domains = 2;
}

static void spiffe_close(struct world *world, struct spiffe_world *spiffe)
{
    world->tenants[0].envelope.n_trust_domains = 0;
    mm_trust_free(spiffe->domains[0].roots);
    mm_trust_free(spiffe->domains[1].roots);
    test_certificate_free(spiffe->root);
    test_certificate_free(spiffe->other_root);
}

static enum mm_code svid_verdict(const struct world *world, const struct test_certificate *issuer, const char *names,
                                 struct mm_principal *ret_principal)
{
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(issuer, names);
    *ret_principal = (struct mm_principal){0};
    return authenticate(world, "acme", leaf, ret_principal);
}

static void svid_stands_for_the_account_of_its_path(void **state)
{
    struct world *world = *state;
    struct spiffe_world spiffe;
    struct mm_principal principal;
    spiffe_open(world, &spiffe);
    assert_int_equal(svid_verdict(world, spiffe.root, "URI:spiffe://" DOMAIN "/ci/a", &principal), MM_OK);
    assert_string_equal(principal.account->identity, "acme/build");
    assert_string_equal(principal.credential, "x509_svid");
    assert_int_equal(principal.not_after, TEST_NOT_AFTER);
    assert_int_equal(svid_verdict(world, spiffe.root, "URI:spiffe://" DOMAIN "/deploy/prod", &principal), MM_OK);
    assert_string_equal(principal.account->identity, "acme/deploy");
    static const char *const STRANGERS[] = {
        "URI:spiffe://" DOMAIN "/ci",
        "URI:spiffe://" DOMAIN "/ci/a/b",
        "URI:spiffe://" DOMAIN "/deploy/prod2",
        "URI:spiffe://" DOMAIN "/ci/../x",
        "URI:spiffe://" DOMAIN "/ci/a/",
        "URI:spiffe://" DOMAIN,
        "URI:SPIFFE://" DOMAIN "/ci/a",
        "URI:https://" DOMAIN "/ci/a",
        "URI:spiffe://x" DOMAIN "/ci/a",
        "URI:spiffe://" DOMAIN ".x/ci/a",
        "URI:spiffe://" DOMAIN ":1/ci/a",
        "URI:spiffe://" DOMAIN "/ci/a,URI:spiffe://" DOMAIN "/ci/b",
        "URI:spiffe://" DOMAIN "/ci/a,URI:https://a.example",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(STRANGERS); i++)
        if (svid_verdict(world, spiffe.root, STRANGERS[i], &principal) != MM_ACCESS_DENIED)
            fail_msg("taken: %s", STRANGERS[i]);
    spiffe_close(world, &spiffe);
}

static void root_vouches_for_its_own_trust_domain_alone(void **state)
{
    struct world *world = *state;
    struct spiffe_world spiffe;
    struct mm_principal principal;
    spiffe_open(world, &spiffe);
    set_rule(world, 1, rule_of(MM_MTLS_SAN_DNS, "deploy.acme.example"));
    set_rule(world, 1, rule_of(MM_MTLS_SAN_URI, "spiffe://" DOMAIN "/x"));
    static const char ID[] = "URI:spiffe://" DOMAIN "/ci/a";
    assert_int_equal(svid_verdict(world, spiffe.other_root, ID, &principal), MM_ACCESS_DENIED);
    assert_int_equal(svid_verdict(world, world->acme_ca, ID, &principal), MM_ACCESS_DENIED);
    assert_int_equal(svid_verdict(world, world->beta_ca, ID, &principal), MM_ACCESS_DENIED);
    /* Nor do the roots stand behind what mtls rules ask the tenant's CAs for. */
    static const char DNS[] = "DNS:deploy.acme.example,URI:spiffe://" DOMAIN "/nobody";
    assert_int_equal(svid_verdict(world, spiffe.root, DNS, &principal), MM_ACCESS_DENIED);
    assert_int_equal(svid_verdict(world, spiffe.root, "URI:spiffe://" DOMAIN "/x", &principal), MM_ACCESS_DENIED);
    assert_int_equal(svid_verdict(world, world->acme_ca, "URI:spiffe://" DOMAIN "/x", &principal), MM_OK);
    assert_string_equal(principal.credential, "mtls");
    spiffe_close(world, &spiffe);
}

static void trust_domain_without_a_bundle_is_the_tenants_cas(void **state)
{
    struct world *world = *state;
    struct spiffe_world spiffe;
    struct mm_principal principal;
    spiffe_open(world, &spiffe);
    mm_trust_free(MM_TAKE(spiffe.domains[0].roots));
    static const char ID[] = "URI:spiffe://" DOMAIN "/ci/a";
    assert_int_equal(svid_verdict(world, world->acme_ca, ID, &principal), MM_ACCESS_DENIED); /* keys for JWTs alone */
    spiffe.domains[0].bundle_file = NULL;
    assert_int_equal(svid_verdict(world, world->acme_ca, ID, &principal), MM_OK);
    assert_string_equal(principal.credential, "x509_svid");
    assert_int_equal(svid_verdict(world, spiffe.root, ID, &principal), MM_ACCESS_DENIED);
    spiffe_close(world, &spiffe);
}

static void svid_that_is_behind_both_and_stands_for_two_is_ambiguous(void **state)
{
    struct world *world = *state;
    struct spiffe_world spiffe;
    struct mm_principal principal;
    spiffe_open(world, &spiffe);
    mm_trust_free(spiffe.domains[0].roots);
    spiffe.domains[0].roots = trust_in(world->acme_ca);
    set_rule(world, 0, rule_of(MM_MTLS_SAN_URI, "spiffe://" DOMAIN "/ci/a"));
    set_rule(world, 1, rule_of(MM_MTLS_SAN_URI, "spiffe://" DOMAIN "/ci/b"));
    assert_int_equal(svid_verdict(world, world->acme_ca, "URI:spiffe://" DOMAIN "/ci/a", &principal), MM_OK);
    assert_int_equal(svid_verdict(world, world->acme_ca, "URI:spiffe://" DOMAIN "/ci/b", &principal),
                     MM_CREDENTIAL_AMBIGUOUS);
    spiffe_close(world, &spiffe);
}

static void svid_that_has_expired_is_told_so(void **state)
{
    struct world *world = *state;
    struct spiffe_world spiffe;
    struct mm_principal principal = {0};
    spiffe_open(world, &spiffe);
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_certificate(&(struct certificate_spec){
        .common_name = "old",
        .issuer = spiffe.root,
        .not_after = TEST_NOW - 1,
        .extended_key_usage = "clientAuth",
        .alternative_names = "URI:spiffe://" DOMAIN "/ci/a",
    });
    assert_int_equal(authenticate(world, "acme", leaf, &principal), MM_CERTIFICATE_INVALID);
    spiffe_close(world, &spiffe);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(certificate_stands_for_the_account_that_names_it),
        TEST(self_signed_certificate_stands_for_the_account_that_names_it),
        TEST(self_signed_certificate_must_be_fit),
        TEST(self_signed_certificate_counts_for_nothing_else),
        TEST(self_signed_certificate_of_two_accounts_is_ambiguous),
        TEST(self_signed_certificate_comes_alone_and_expires_though_it_was_good),
        TEST(svid_stands_for_the_account_of_its_path),
        TEST(root_vouches_for_its_own_trust_domain_alone),
        TEST(trust_domain_without_a_bundle_is_the_tenants_cas),
        TEST(svid_that_is_behind_both_and_stands_for_two_is_ambiguous),
        TEST(svid_that_has_expired_is_told_so),
        TEST(no_certificate_says_so),
        TEST(unknown_tenant_foreign_and_unnamed_certificates_answer_alike),
        TEST(certificate_fixes_the_tenant_if_it_is_one_tenants_alone),
        TEST(certificate_that_many_tenants_name_is_checked_for_none_of_them),
        TEST(tenant_without_a_ca_knows_nobody),
        TEST(expired_certificate_is_told_so),
        TEST(certificate_of_two_accounts_is_refused),
        TEST(two_rules_of_one_account_are_no_conflict),
        TEST(every_name_of_a_rule_must_match),
        TEST(rule_that_names_nothing_matches_nobody),
        TEST(names_match_exactly),
        TEST(spiffe_id_stands_alone),
        TEST(subject_and_fingerprint_match_exactly),
        TEST(common_name_never_stands_for_a_dns_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
