/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a schema can't say about a tenant's file: that it stays inside its envelope and doesn't contradict itself. Reads the
 * document rather than what is built from it, so that every mistake is found even in a file that the schema refused.
 */
#include "policy/policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/authenticate.h"
#include "policy/exchange.h"
#include "policy/overlap.h"
#include "policy/resource_server.h"
#include "policy/syntax.h"
#include "policy/template.h"

enum {
    POINTER_MAX = 160,
    LEAF_POINTER_MAX = POINTER_MAX + 40,
    /* A token without resource_id carries all of a grant's resources: its claims must fit into what the worker signs. */
    CLAIMS_BYTES_MAX = 16384,
    CLAIMS_BYTES_FIXED = 1602,   /* what doesn't depend on the grant: issuer, names, ids, times, cnf */
    EXCHANGE_BYTES_FIXED = 2048, /* what an exchange adds: its subject's names, its issuer, who acts */
    RESOURCE_BYTES_FIXED = 40,   /* of one entry of `resources`: member names and punctuation */
};

struct check {
    const struct mm_document *document;
    const struct mm_envelope *envelope;
    int64_t max_ttl; /* what the tenant's grants may reach */
    struct mm_problems *problems;
};

__attribute__((format(printf, 3, 4))) static void report(const struct check *check, const char *path,
                                                         const char *format, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    mm_problems_add(check->problems, check->document->file, mm_document_line(check->document, path), path, "%s",
                    reason);
}

static void check_scope(const struct check *check, const char *scope, const char *path)
{
    if (mm_check_scope(scope))
        return;
    const char *kind = strchr(scope, ':') + 1;
    mm_cleanup(free) char *action = strndup(scope, (size_t)(kind - 1 - scope));
    if (!action)
        report(check, path, "out of memory");
    else if (!mm_strings_have(&check->envelope->actions, action))
        report(check, path, "scope ‹%s› lies outside the tenant's envelope: its actions don't have ‹%s›", scope,
               action);
    else if (!mm_strings_have(&check->envelope->kinds, kind))
        report(check, path, "unknown scope ‹%s›: the envelope's kinds don't have ‹%s›", scope, kind);
}

static void check_scopes(const struct check *check, const json_t *grant, const char *grant_path)
{
    const json_t *scopes = json_object_get(grant, "scopes");
    for (size_t i = 0; i < json_array_size(scopes); i++) {
        char path[LEAF_POINTER_MAX];
        (void)snprintf(path, sizeof path, "%s/scopes/%zu", grant_path, i);
        const char *scope = json_string_value(json_array_get(scopes, i));
        if (scope)
            check_scope(check, scope, path);
    }
}

static void check_resources(const struct check *check, const json_t *grant, const char *grant_path)
{
    const json_t *resources = json_object_get(grant, "resources");
    for (size_t i = 0; i < json_array_size(resources); i++) {
        char path[LEAF_POINTER_MAX];
        (void)snprintf(path, sizeof path, "%s/resources/%zu", grant_path, i);
        const char *pattern = json_string_value(json_array_get(resources, i));
        if (!pattern || mm_check_resource_pattern(pattern))
            continue;
        if (!mm_pattern_is_covered(&check->envelope->resources, pattern))
            report(check, path, "resource ‹%s› lies outside the tenant's envelope", pattern);
    }
}

/* The bytes of an array's strings, each with `overhead` more. */
static size_t count_bytes(const json_t *strings, size_t overhead)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < json_array_size(strings); i++)
        n_bytes += json_string_length(json_array_get(strings, i)) + overhead;
    return n_bytes;
}

/* No more than the grant's largest token: each resource with the actions of all scopes, every audience. */
static void check_token_size(const struct check *check, const json_t *grant, const char *grant_path, size_t n_more)
{
    const json_t *root = check->document->root;
    size_t n_bytes = CLAIMS_BYTES_FIXED + count_bytes(json_object_get(grant, "scopes"), 3) +
                     count_bytes(json_object_get(root, "audience"), 3) +
                     count_bytes(json_object_get(root, "root_domains"), 3) + n_more;
    if (n_bytes > CLAIMS_BYTES_MAX)
        report(check, grant_path, "a token with all of this grant would take up to %zu bytes, more than %d", n_bytes,
               CLAIMS_BYTES_MAX);
}

static void check_ttl(const struct check *check, const json_t *grant, const char *grant_path)
{
    const json_t *ttl = json_object_get(grant, "ttl");
    int64_t most = mm_json_integer(ttl, "max", 0);
    char path[LEAF_POINTER_MAX];
    (void)snprintf(path, sizeof path, "%s/ttl/default", grant_path);
    if (most && mm_json_integer(ttl, "default", 0) > most)
        report(check, path, "the default TTL is longer than the grant's max");
    (void)snprintf(path, sizeof path, "%s/ttl/max", grant_path);
    if (most > check->max_ttl)
        report(check, path, "the TTL is longer than the tenant's max_ttl");
}

static bool has_tier_1(const struct check *check, const json_t *audience)
{
    for (size_t i = 0; i < json_array_size(audience); i++) {
        const char *item = json_string_value(json_array_get(audience, i));
        if (item && mm_strings_have(&check->envelope->tier_1, item))
            return true;
    }
    return false;
}

/*
 * Who reads no `resources` takes any token for all of them: a grant for less than the envelope has would say what isn't so. Which audience a
 * token has is the caller's to choose, so that one of tier 1 is enough.
 */
static void check_tier(const struct check *check, const json_t *grant, const char *grant_path)
{
    mm_cleanup(mm_strings_clear) struct mm_strings resources = {0};
    char path[LEAF_POINTER_MAX];
    (void)snprintf(path, sizeof path, "%s/resources", grant_path);
    if (!has_tier_1(check, json_object_get(check->document->root, "audience")))
        return;
    if (!mm_strings_build(json_object_get(grant, "resources"), &resources, NULL))
        report(check, path, "out of memory");
    else if (!mm_envelope_is_covered(check->envelope, &resources))
        report(
            check, path,
            "an audience of the tenant's is of tier 1, where ‹resources› limit nothing: they must cover all that the "
            "envelope has");
}

/* What has scopes, resources and a TTL: an account's grant, a rule of the exchange. */
static void check_grant(const struct check *check, const json_t *grant, const char *path)
{
    check_scopes(check, grant, path);
    check_resources(check, grant, path);
    check_ttl(check, grant, path);
    check_tier(check, grant, path);
}

static void check_grants(const struct check *check, const json_t *account, size_t account_index)
{
    const json_t *grants = json_object_get(account, "grants");
    for (size_t i = 0; i < json_array_size(grants); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/accounts/%zu/grants/%zu", account_index, i);
        const json_t *grant = json_array_get(grants, i);
        size_t permission = count_bytes(json_object_get(grant, "scopes"), 3);
        check_grant(check, grant, path);
        check_token_size(check, grant, path,
                         count_bytes(json_object_get(grant, "resources"), RESOURCE_BYTES_FIXED + permission));
    }
}

static void check_exchange(const struct check *check, const json_t *exchange)
{
    const json_t *rules = json_object_get(exchange, "rules");
    for (size_t i = 0; i < json_array_size(rules); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/exchange/rules/%zu", i);
        const json_t *rule = json_array_get(rules, i);
        size_t permission = count_bytes(json_object_get(rule, "scopes"), 3);
        check_grant(check, rule, path);
        check_token_size(check, rule, path,
                         EXCHANGE_BYTES_FIXED + RESOURCE_BYTES_FIXED + MM_RESOURCE_LENGTH_MAX + permission);
    }
    mm_exchange_check(check->document, check->envelope, check->problems);
}

static void check_accounts(const struct check *check, const json_t *accounts)
{
    mm_cleanup(json_decref) json_t *lines = json_object();
    for (size_t i = 0; i < json_array_size(accounts); i++) {
        const json_t *account = json_array_get(accounts, i);
        check_grants(check, account, i);
        const char *id = mm_json_string(account, "id");
        if (!id)
            continue;
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/accounts/%zu/id", i);
        const json_t *first = json_object_get(lines, id);
        if (first)
            report(check, path, "duplicate account ‹%s›, first on line %lld", id, (long long)json_integer_value(first));
        else if (json_object_set_new(lines, id, json_integer(mm_document_line(check->document, path))) != 0)
            report(check, path, "out of memory");
    }
}

static void check_authenticate(const struct check *check, const json_t *accounts)
{
    for (size_t i = 0; i < json_array_size(accounts); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/accounts/%zu/authenticate", i);
        mm_authenticate_check(check->document, path, json_object_get(json_array_get(accounts, i), "authenticate"),
                              check->envelope, check->problems);
    }
    mm_overlap_check(check->document, check->problems);
}

/* What a caller's `resource` means must not depend on what is looked at first. */
static void check_audience(const struct check *check, const json_t *audience)
{
    const json_t *template = json_object_get(check->document->root, "resource_template");
    for (size_t i = 0; i < json_array_size(audience); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/audience/%zu", i);
        const char *item = json_string_value(json_array_get(audience, i));
        if (item && !mm_strings_have(&check->envelope->audiences, item))
            report(check, path, "audience ‹%s› lies outside the tenant's envelope", item);
        if (item && mm_template_has(mm_json_string(template, "uri"), item))
            report(check, path, "audience ‹%s› would name a resource as well: resource_template has it", item);
    }
}

static void check_account_rates(const struct check *check, const json_t *accounts, const struct mm_rate *tenant)
{
    for (size_t i = 0; i < json_array_size(accounts); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/accounts/%zu/rate_limit", i);
        struct mm_rate rate = mm_rate_build(json_object_get(json_array_get(accounts, i), "rate_limit"));
        if (rate.per_minute > 0 && tenant->per_minute > 0 && !mm_rate_is_within(&rate, tenant))
            report(check, path, "‹rate_limit› is more than its tenant's: it would never be reached");
    }
}

static void check_rates(const struct check *check)
{
    const json_t *root = check->document->root;
    const struct mm_rate *envelope = &check->envelope->rate;
    struct mm_rate rate = mm_rate_build(json_object_get(root, "rate_limit"));
    if (rate.per_minute > 0 && envelope->per_minute > 0 && !mm_rate_is_within(&rate, envelope))
        report(check, "/rate_limit", "‹rate_limit› is more than the tenant's envelope has");
    check_account_rates(check, json_object_get(root, "accounts"), rate.per_minute > 0 ? &rate : envelope);
}

void mm_tenant_check(const char *id, const struct mm_document *document, const struct mm_envelope *envelope,
                     const struct mm_service_terms *terms, struct mm_problems *problems)
{
    struct check check = {.document = document, .envelope = envelope, .problems = problems};
    const json_t *root = document->root;
    const char *tenant = mm_json_string(root, "tenant");
    if (tenant && !mm_check_id(tenant) && strcmp(tenant, id) != 0)
        report(&check, "/tenant", "the file is for tenant ‹%s›, the configuration names it for ‹%s›", tenant, id);
    check.max_ttl = mm_json_integer(root, "max_ttl", terms->max_ttl);
    if (check.max_ttl > terms->max_ttl)
        report(&check, "/max_ttl", "‹max_ttl› is longer than the service's keys.max_ttl");
    check_audience(&check, json_object_get(root, "audience"));
    check_rates(&check);
    check_accounts(&check, json_object_get(root, "accounts"));
    check_authenticate(&check, json_object_get(root, "accounts"));
    check_exchange(&check, json_object_get(root, "exchange"));
    mm_resource_servers_check(document, envelope, problems);
}
