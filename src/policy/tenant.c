/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants' files: their schema, and the tenant that is built from one.
 */
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

#include "policy/authenticate.h"
#include "policy/decide.h"
#include "policy/exchange.h"
#include "policy/grant.h"
#include "policy/index.h"
#include "policy/resource_server.h"
#include "policy/syntax.h"

enum {
    ACCOUNTS_MAX = 1000,
    GRANTS_MAX = 32,
    AUDIENCES_MAX = 16,
    ROOT_DOMAINS_MAX = 16,
};

static const struct mm_schema AUDIENCE = {.type = MM_SCHEMA_STRING,
                                          .min = 1,
                                          .max = MM_AUDIENCE_LENGTH_MAX,
                                          .check = mm_check_visible};

static const struct mm_schema GRANT_MEMBERS[] = {
    MM_GRANT_MEMBERS,
    {0},
};

static const struct mm_schema GRANT = {.type = MM_SCHEMA_OBJECT, .members = GRANT_MEMBERS};

static const char *const BINDINGS[] = {"required", NULL};

static const struct mm_schema ACCOUNT_MEMBERS[] = {
    {.name = "id", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_id},
    {.name = "name", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = 128, .check = mm_check_line},
    {.name = "is_service_account", .type = MM_SCHEMA_BOOLEAN},
    {.name = "certificate_bound", .type = MM_SCHEMA_STRING, .one_of = BINDINGS},
    {.name = "rate_limit", .type = MM_SCHEMA_OBJECT, .members = MM_RATE_MEMBERS},
    {.name = "authenticate",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_RULES_MAX,
     .element = &MM_AUTHENTICATE_SCHEMA},
    {.name = "grants",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = GRANTS_MAX,
     .element = &GRANT},
    {0},
};

static const struct mm_schema ACCOUNT = {.type = MM_SCHEMA_OBJECT, .members = ACCOUNT_MEMBERS};

static const struct mm_schema TEMPLATE_MEMBERS[] = {
    {.name = "uri",
     .type = MM_SCHEMA_STRING,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = 512,
     .check = mm_check_uri_template},
    {.name = "resource",
     .type = MM_SCHEMA_STRING,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_RESOURCE_LENGTH_MAX,
     .check = mm_check_resource_template},
    {0},
};

static const struct mm_schema ROOT_DOMAIN = {.type = MM_SCHEMA_STRING,
                                             .min = 1,
                                             .max = 253,
                                             .check = mm_check_root_domain};

static const struct mm_schema TENANT_MEMBERS[] = {
    {.name = "tenant", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_id},
    {.name = "env", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = 64, .check = mm_check_visible},
    {.name = "audience",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = AUDIENCES_MAX,
     .element = &AUDIENCE,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "max_ttl", .type = MM_SCHEMA_DURATION, .presence = MM_REQUIRED, .min = 1, .max = MM_TTL_MAX},
    {.name = "certificate_bound", .type = MM_SCHEMA_STRING, .one_of = BINDINGS},
    {.name = "rate_limit", .type = MM_SCHEMA_OBJECT, .members = MM_RATE_MEMBERS},
    {.name = "resource_template", .type = MM_SCHEMA_OBJECT, .members = TEMPLATE_MEMBERS},
    {.name = "root_domains",
     .type = MM_SCHEMA_ARRAY,
     .min = 1,
     .max = ROOT_DOMAINS_MAX,
     .element = &ROOT_DOMAIN,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "exchange", .type = MM_SCHEMA_OBJECT, .members = MM_EXCHANGE_MEMBERS},
    {.name = "resource_servers",
     .type = MM_SCHEMA_ARRAY,
     .max = MM_RESOURCE_SERVERS_MAX,
     .element = &MM_RESOURCE_SERVER_SCHEMA},
    {.name = "accounts", .type = MM_SCHEMA_ARRAY, .presence = MM_REQUIRED, .max = ACCOUNTS_MAX, .element = &ACCOUNT},
    {0},
};

const struct mm_schema MM_TENANT_FILE_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = TENANT_MEMBERS};

static bool copy_string(const json_t *json, const char *member, char **ret_string)
{
    *ret_string = strdup(mm_json_string(json, member));
    return *ret_string != NULL;
}

static bool build_grants(const struct mm_document *document, size_t account_index, const json_t *json,
                         struct mm_account *account)
{
    account->grants = calloc(json_array_size(json) + 1, sizeof *account->grants);
    if (!account->grants)
        return false;
    for (size_t i = 0; i < json_array_size(json); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/accounts/%zu/grants/%zu", account_index, i);
        if (!mm_grant_build(json_array_get(json, i), mm_document_line(document, path),
                            &account->grants[account->n_grants++]))
            return false;
    }
    return true;
}

/* Said by the account or by its tenant. */
static enum mm_binding binding_of(const struct mm_document *document, const json_t *account)
{
    bool is_said =
        json_object_get(document->root, "certificate_bound") || json_object_get(account, "certificate_bound");
    return is_said ? MM_BINDING_REQUIRED : MM_BINDING_NONE;
}

static bool build_account(const struct mm_document *document, size_t index, const json_t *json, const char *tenant,
                          const char *issuer, struct mm_account *account)
{
    account->binding = binding_of(document, json);
    account->rate = mm_rate_build(json_object_get(json, "rate_limit"));
    char path[64];
    (void)snprintf(path, sizeof path, "/accounts/%zu", index);
    account->line = mm_document_line(document, path);
    account->is_service_account = json_is_true(json_object_get(json, "is_service_account"));
    if (!copy_string(json, "id", &account->id) || !copy_string(json, "name", &account->name))
        return false;
    if (asprintf(&account->identity, "%s/%s", tenant, account->id) < 0) {
        account->identity = NULL;
        return false;
    }
    (void)snprintf(path, sizeof path, "/accounts/%zu/authenticate", index);
    return mm_authenticate_build(document, path, json_object_get(json, "authenticate"), issuer, account) &&
           build_grants(document, index, json_object_get(json, "grants"), account);
}

static bool build_template(const json_t *json, struct mm_resource_template *template)
{
    return !json || (copy_string(json, "uri", &template->uri) && copy_string(json, "resource", &template->resource));
}

static bool build_tenant(const struct mm_document *document, const char *issuer, struct mm_tenant *tenant)
{
    const json_t *root = document->root;
    const json_t *accounts = json_object_get(root, "accounts");
    size_t n_servers = json_array_size(json_object_get(root, "resource_servers"));
    memcpy(tenant->digest, document->digest, sizeof tenant->digest);
    tenant->max_ttl = mm_json_integer(root, "max_ttl", 0);
    tenant->binding = json_object_get(root, "certificate_bound") ? MM_BINDING_REQUIRED : MM_BINDING_NONE;
    tenant->accounts = calloc(json_array_size(accounts) + n_servers + 1, sizeof *tenant->accounts);
    if (!tenant->accounts || !copy_string(root, "tenant", &tenant->id) || !copy_string(root, "env", &tenant->env) ||
        !mm_strings_build(json_object_get(root, "audience"), &tenant->audience, NULL) ||
        !mm_strings_build(json_object_get(root, "root_domains"), &tenant->root_domains, NULL) ||
        !build_template(json_object_get(root, "resource_template"), &tenant->resource_template))
        return false;
    for (size_t i = 0; i < json_array_size(accounts); i++)
        if (!build_account(document, i, json_array_get(accounts, i), tenant->id, issuer,
                           &tenant->accounts[tenant->n_accounts++]))
            return false;
    for (size_t i = 0; i < n_servers; i++)
        if (!mm_resource_server_build(document, i, tenant->id, issuer, &tenant->accounts[tenant->n_accounts++]))
            return false;
    const json_t *exchange = json_object_get(root, "exchange");
    return !exchange || mm_exchange_build(document, tenant->id, tenant->binding, &tenant->exchange);
}

bool mm_tenant_build(const char *id, struct mm_document *document, const struct mm_service_terms *terms,
                     struct mm_tenant *ret_tenant, struct mm_problems *problems)
{
    size_t n_errors = problems->n_errors;
    mm_tenant_check(id, document, &ret_tenant->envelope, terms, problems);
    if (problems->n_errors > n_errors)
        return false;
    struct mm_tenant tenant = {0};
    if (!build_tenant(document, terms->issuer, &tenant) || !mm_tenant_index(&tenant)) {
        mm_tenant_clear(&tenant);
        mm_problems_add(problems, document->file, 0, "", "out of memory");
        return false;
    }
    tenant.envelope = ret_tenant->envelope;
    const json_t *rate = json_object_get(document->root, "rate_limit");
    tenant.rate = rate ? mm_rate_build(rate) : tenant.envelope.rate;
    *ret_tenant = tenant;
    return true;
}

void mm_account_clear(struct mm_account *account)
{
    mm_authenticate_clear(account);
    for (size_t i = 0; i < account->n_grants; i++)
        mm_grant_clear(&account->grants[i]);
    mm_strings_clear(&account->introspects);
    free(account->grants);
    free(account->id);
    free(account->identity);
    free(account->name);
}

void mm_tenant_clear(struct mm_tenant *tenant)
{
    for (size_t i = 0; i < tenant->n_accounts; i++)
        mm_account_clear(&tenant->accounts[i]);
    free(tenant->accounts);
    free(tenant->id);
    free(tenant->env);
    free(tenant->resource_template.uri);
    free(tenant->resource_template.resource);
    mm_strings_clear(&tenant->audience);
    mm_strings_clear(&tenant->root_domains);
    mm_index_free(tenant->index);
    mm_exchange_free(tenant->exchange);
    mm_envelope_clear(&tenant->envelope);
    mm_trust_free(tenant->client_ca);
    *tenant = (struct mm_tenant){0};
}
