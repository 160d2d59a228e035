/* SPDX-License-Identifier: Apache-2.0 */
/* A tenant's file, from YAML to policy: what loads grants nothing outside the envelope that the operator set. */
#include "fuzz.h"

#include <string.h>

#include "policy/authenticate.h"
#include "policy/exchange.h"
#include "policy/glob.h"
#include "policy/shared_issuer.h"

static const struct mm_service_terms TERMS = {.issuer = "https://mint.example", .max_ttl = 3600};

static const char ENVELOPE[] =
    "{\"audiences\":[\"lore.acme.example\",\"cache.acme.example\"],\"resources\":[\"urc-*\"],"
    "\"issuers\":[\"https://ci.acme.example\",\"https://token.actions.githubusercontent.com\"],"
    "\"trust_domains\":{\"acme.example\":{\"bundle_file\":\"a\"}}}";

static void check_grant(const struct mm_tenant *tenant, const struct mm_grant *grant)
{
    assert(grant->scopes.n > 0 && grant->resources.n > 0);
    assert(grant->ttl_default >= 1 && grant->ttl_default <= grant->ttl_max && grant->ttl_max <= tenant->max_ttl);
    for (size_t i = 0; i < grant->scopes.n; i++) {
        const char *scope = grant->scopes.items[i];
        assert(strcmp(scope, "read:repo") == 0 || strcmp(scope, "read:blob") == 0);
    }
    for (size_t i = 0; i < grant->resources.n; i++)
        assert(strncmp(grant->resources.items[i], "urc-", 4) == 0);
}

static bool is_same_rule(const struct mm_mtls_rule *a, const struct mm_mtls_rule *b)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(a->names); i++)
        if (!a->names[i] != !b->names[i] || (a->names[i] && strcmp(a->names[i], b->names[i]) != 0))
            return false;
    return true;
}

static bool is_pinned(const struct mm_oidc_rule *rule)
{
    const struct mm_shared_issuer *shared = mm_shared_issuer_find(rule->issuer);
    return !shared || mm_shared_issuer_is_pinned(shared, &rule->claims);
}

static void check_rules(const struct mm_tenant *tenant, const struct mm_account *account)
{
    for (size_t i = 0; i < account->n_oidc; i++) {
        const struct mm_oidc_rule *rule = &account->oidc[i];
        assert(mm_strings_have(&tenant->envelope.issuers, rule->issuer) && rule->audience[0] && is_pinned(rule));
        assert(rule->claims.n > 0);
        for (size_t j = 0; j < rule->claims.n; j++)
            assert(rule->claims.items[j].values.n > 0 && !mm_check_glob(rule->claims.items[j].values.items[0]));
    }
    for (size_t i = 0; i < account->n_spiffe; i++)
        assert(mm_envelope_trust_domain(&tenant->envelope, account->spiffe[i].trust_domain) &&
               account->spiffe[i].path[0] == '/');
    for (size_t i = 0; i < account->n_self_signed; i++)
        assert(strlen(account->self_signed[i].fingerprint) == MM_SHA256_HEX_LENGTH);
    for (size_t i = 0; i < account->n_private_key_jwt; i++)
        assert(!account->private_key_jwt[i].jwks_file != !account->private_key_jwt[i].jwks_uri);
    assert(account->n_mtls + account->n_self_signed + account->n_spiffe + account->n_private_key_jwt + account->n_oidc >
           0);
}

static bool overlap(const struct mm_account *a, const struct mm_account *b)
{
    for (size_t i = 0; i < a->n_oidc; i++)
        for (size_t j = 0; j < b->n_oidc; j++)
            if (a->oidc[i].mode == MM_RULE_ENFORCED && b->oidc[j].mode == MM_RULE_ENFORCED &&
                (mm_oidc_rule_covers(&a->oidc[i], &b->oidc[j]) || mm_oidc_rule_covers(&b->oidc[j], &a->oidc[i])))
                return true;
    for (size_t i = 0; i < a->n_spiffe; i++)
        for (size_t j = 0; j < b->n_spiffe; j++)
            if (mm_spiffe_rule_covers(&a->spiffe[i], &b->spiffe[j]))
                return true;
    return false;
}

static void check_account(const struct mm_tenant *tenant, const struct mm_account *account)
{
    size_t length = strlen(tenant->id);
    assert(strncmp(account->identity, tenant->id, length) == 0 && account->identity[length] == '/');
    assert(strcmp(account->identity + length + 1, account->id) == 0);
    for (size_t i = 0; i < account->n_grants; i++)
        check_grant(tenant, &account->grants[i]);
    check_rules(tenant, account);
    for (const struct mm_account *other = tenant->accounts; other < account; other++) {
        assert(strcmp(other->id, account->id) != 0 && !overlap(account, other) && !overlap(other, account));
        for (size_t i = 0; i < account->n_mtls; i++)
            for (size_t j = 0; j < other->n_mtls; j++)
                assert(!is_same_rule(&account->mtls[i], &other->mtls[j]));
    }
}

static void check_exchange(const struct mm_tenant *tenant, const struct mm_exchange *exchange)
{
    assert(exchange->subject_audiences.n > 0 && exchange->n_rules > 0);
    for (size_t i = 0; i < exchange->n_public_clients; i++)
        for (size_t j = 0; j < tenant->n_accounts; j++)
            assert(strcmp(exchange->public_clients[i].id, tenant->accounts[j].id) != 0);
    for (size_t i = 0; i < exchange->n_rules; i++) {
        const struct mm_exchange_rule *rule = &exchange->rules[i];
        assert(!rule->issuer == (rule->accounts.n > 0) && !rule->issuer == (rule->claims.n == 0));
        assert(!rule->issuer || mm_strings_have(&tenant->envelope.issuers, rule->issuer));
        check_grant(tenant, &rule->grant);
    }
}

static void check_tenant(const struct mm_tenant *tenant)
{
    assert(strcmp(tenant->id, "acme") == 0 && tenant->max_ttl >= 1 && tenant->max_ttl <= TERMS.max_ttl);
    for (size_t i = 0; i < tenant->audience.n; i++)
        assert(mm_strings_have(&tenant->envelope.audiences, tenant->audience.items[i]));
    for (size_t i = 0; i < tenant->n_accounts; i++)
        check_account(tenant, &tenant->accounts[i]);
    if (tenant->exchange)
        check_exchange(tenant, tenant->exchange);
}

/* As config/ does it: a file that the schema refused is checked all the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(json_decref) json_t *envelope = mm_json_parse(ENVELOPE, strlen(ENVELOPE), NULL);
    struct mm_tenant tenant = {0};
    if (!mm_yaml_parse("acme.yaml", data, size, &document, &problems) && !document.root)
        return 0;
    bool is_built = mm_envelope_build(envelope, MM_ES256, &tenant.envelope, NULL);
    assert(is_built);
    if (mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, &problems) && problems.n_errors == 0) {
        is_built = mm_tenant_build("acme", &document, &TERMS, &tenant, &problems);
        assert(is_built == (problems.n_errors == 0));
        if (is_built)
            check_tenant(&tenant);
    } else {
        mm_tenant_check("acme", &document, &tenant.envelope, &TERMS, &problems);
        assert(problems.n_errors > 0);
    }
    mm_tenant_clear(&tenant);
    return 0;
}
