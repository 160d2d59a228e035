/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the keys of others come from: what may be fetched, and the issuers whose keys are somewhere else than their discovery documents say.
 */
#include "config/issuers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/loader.h"
#include "policy/exchange.h"
#include "token/spiffe_bundle.h"
#include "util/file.h"
#include "util/origin.h"

static const char ISSUERS[] = "/issuers";

void mm_loader_build_fetch(const struct loader *loader)
{
    const json_t *fetch = json_object_get(loader->document.root, "fetch");
    struct mm_fetch_config *built = &loader->config->fetch;
    if (!mm_strings_build(json_object_get(fetch, "hosts"), &built->hosts, NULL))
        mm_loader_no_memory(loader);
    built->ca_file = mm_loader_resolve(loader, mm_json_string(fetch, "ca"));
}

/* One file of keys, named at `path`; NULL if it can't be used. */
static struct mm_jwks *read_jwks(const struct loader *loader, const char *file, const char *path,
                                 char ret_digest[MM_SHA256_HEX_LENGTH + 1])
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_FOREIGN_JWKS_MAX);
    if (!mm_loader_take_file(loader, file, path, &text))
        return NULL;
    struct mm_jwks *jwks = mm_jwks_parse(text.data, text.length, &err);
    mm_sha256_hex(text.data, text.length, ret_digest);
    if (!jwks)
        mm_loader_report(loader, path, "%s: %s", file, err.message);
    else if (mm_jwks_n_keys(jwks) == 0)
        mm_loader_report(loader, path, "%s: no key of it can be used%s%s", file, mm_jwks_n_skipped(jwks) ? ": " : "",
                         mm_jwks_skipped_why(jwks));
    return jwks;
}

static void check_ca(const struct loader *loader)
{
    char digest[MM_SHA256_HEX_LENGTH + 1];
    const json_t *fetch = json_object_get(loader->document.root, "fetch");
    mm_trust_free(mm_loader_read_cas(loader, mm_json_string(fetch, "ca"), "/fetch/ca", digest));
}

/* At the line of `path`/`member`. */
static void build_jwks(const struct loader *loader, const json_t *json, const char *path, struct mm_issuer_keys *issuer)
{
    mm_cleanup(free) char *uri_path = mm_pointer_child(path, "jwks_uri");
    mm_cleanup(free) char *file_path = mm_pointer_child(path, "jwks_file");
    issuer->jwks_uri = mm_loader_copy(loader, mm_json_string(json, "jwks_uri"));
    issuer->jwks_file = mm_loader_resolve(loader, mm_json_string(json, "jwks_file"));
    if (!issuer->jwks_uri == !issuer->jwks_file)
        mm_loader_report(loader, path, "must have one of ‹jwks_file› and ‹jwks_uri›");
    else if (issuer->jwks_uri && !mm_check_url(issuer->jwks_uri) &&
             !mm_config_may_fetch(loader->config, issuer->jwks_uri))
        mm_loader_report(loader, uri_path ? uri_path : path, "its host isn't one of ‹fetch.hosts›");
    else if (issuer->jwks_file)
        issuer->jwks = read_jwks(loader, issuer->jwks_file, file_path ? file_path : path, issuer->digest);
}

/* Which keys count for an issuer is as much part of the policy as its rules: one digest over all files that say so. */
static bool digest_files(struct mm_config *config)
{
    mm_cleanup(json_decref) json_t *files = json_array();
    for (size_t i = 0; i < config->n_issuers; i++) {
        const struct mm_issuer_keys *issuer = &config->issuers[i];
        if (issuer->digest[0] && !mm_json_append(files, json_pack("[s, s]", issuer->issuer, issuer->digest), NULL))
            return false;
    }
    if (json_array_size(files) == 0)
        return files != NULL;
    mm_cleanup(free) char *text = mm_json_compact(files, NULL);
    if (text)
        mm_sha256_hex(text, strlen(text), config->policy.issuer_keys_digest);
    return text != NULL;
}

void mm_loader_build_issuers(const struct loader *loader)
{
    struct mm_config *config = loader->config;
    json_t *issuers = json_object_get(loader->document.root, "issuers");
    const char *name;
    json_t *json;
    check_ca(loader);
    config->issuers = calloc(json_object_size(issuers) + 1, sizeof *config->issuers);
    if (!config->issuers) {
        mm_loader_no_memory(loader);
        return;
    }
    json_object_foreach(issuers, name, json)
    {
        struct mm_issuer_keys *issuer = &config->issuers[config->n_issuers++];
        mm_cleanup(free) char *path = mm_pointer_child(ISSUERS, name);
        issuer->issuer = mm_loader_copy(loader, name);
        build_jwks(loader, json, path ? path : ISSUERS, issuer);
    }
    qsort(config->issuers, config->n_issuers, sizeof *config->issuers, mm_issuer_keys_compare);
    if (!digest_files(config))
        mm_loader_no_memory(loader);
}

/* Keys of either kind, or both. */
static bool parse_bundle(const struct mm_buffer *text, struct mm_trust_domain *domain, struct mm_error *err)
{
    domain->bundle = mm_jwks_parse_bundle(text->data, text->length, err);
    if (!domain->bundle || !mm_spiffe_bundle_roots(text->data, text->length, &domain->roots, err))
        return false;
    if (mm_jwks_n_keys(domain->bundle) > 0)
        return true;
    const char *why = mm_jwks_skipped_why(domain->bundle);
    if (!domain->roots)
        return mm_fail(err, MM_CONFIG_INVALID, "no key of it can be used%s%s", *why ? ": " : "", why);
    mm_jwks_unref(MM_TAKE(domain->bundle)); /* JWT-SVIDs have no source then */
    return true;
}

static void read_bundle_file(const struct loader *loader, const char *file, const char *path,
                             struct mm_trust_domain *domain)
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_FOREIGN_JWKS_MAX);
    if (!mm_loader_take_file(loader, file, path, &text))
        return;
    if (!parse_bundle(&text, domain, &err))
        mm_loader_report(loader, path, "%s: %s", file, err.message);
    mm_sha256_hex(text.data, text.length, domain->bundle_digest);
}

static void read_bundle(const struct loader *loader, const char *path, struct mm_trust_domain *domain)
{
    mm_cleanup(free) char *file = mm_loader_resolve(loader, domain->bundle_file);
    if (file && !domain->bundle_uri)
        read_bundle_file(loader, file, path, domain);
    else if (!file && domain->bundle_uri && !mm_config_may_fetch(loader->config, domain->bundle_uri))
        mm_loader_report(loader, path, "the host of ‹bundle_uri› isn't one of ‹fetch.hosts›");
}

static bool is_same_bundle(const struct mm_trust_domain *a, const struct mm_trust_domain *b)
{
    return !a->bundle_uri == !b->bundle_uri && (!a->bundle_uri || strcmp(a->bundle_uri, b->bundle_uri) == 0) &&
           strcmp(a->bundle_digest, b->bundle_digest) == 0;
}

/* A root of one must never vouch for another's. */
static void check_roots(const struct loader *loader, const char *path, const struct mm_envelope *envelope,
                        const struct mm_trust_domain *domain)
{
    for (const struct mm_trust_domain *other = envelope->trust_domains; other < domain; other++) {
        bool overlaps = false;
        if (!domain->roots || !other->roots)
            continue;
        if (!mm_trusts_overlap(domain->roots, other->roots, &overlaps, NULL))
            mm_loader_no_memory(loader);
        else if (overlaps)
            mm_loader_report(loader, path, "the bundles of ‹%s› and ‹%s› have CAs that lead to each other", other->name,
                             domain->name);
    }
}

/* A trust domain has one set of keys, whichever tenants name it. */
static void check_other_tenants(const struct loader *loader, const char *path, const struct mm_envelope *envelope,
                                const struct mm_trust_domain *domain)
{
    const struct mm_policy *policy = &loader->config->policy;
    for (size_t i = 0; i < policy->n_tenants; i++) {
        const struct mm_envelope *other = &policy->tenants[i].envelope;
        for (size_t j = 0; other != envelope && j < other->n_trust_domains; j++)
            if (strcmp(other->trust_domains[j].name, domain->name) == 0 &&
                !is_same_bundle(&other->trust_domains[j], domain))
                mm_loader_report(loader, path, "another tenant's envelope has another bundle for ‹%s›", domain->name);
    }
}

void mm_loader_read_bundles(const struct loader *loader, const char *tenant_id, struct mm_envelope *envelope)
{
    mm_cleanup(free) char *parent = mm_pointer_child("/tenants", tenant_id);
    mm_cleanup(free) char *domains = parent ? mm_pointer_child(parent, "trust_domains") : NULL;
    for (size_t i = 0; domains && i < envelope->n_trust_domains; i++) {
        mm_cleanup(free) char *path = mm_pointer_child(domains, envelope->trust_domains[i].name);
        read_bundle(loader, path ? path : domains, &envelope->trust_domains[i]);
        check_roots(loader, path ? path : domains, envelope, &envelope->trust_domains[i]);
        check_other_tenants(loader, path ? path : domains, envelope, &envelope->trust_domains[i]);
    }
}

/* At the tenant's envelope. */
static void check_envelope(const struct loader *loader, const struct mm_tenant *tenant)
{
    mm_cleanup(free) char *parent = mm_pointer_child("/tenants", tenant->id);
    mm_cleanup(free) char *path = parent ? mm_pointer_child(parent, "issuers") : NULL;
    for (size_t i = 0; path && i < tenant->envelope.issuers.n; i++) {
        const char *issuer = tenant->envelope.issuers.items[i];
        if (!mm_config_can_know_issuer(loader->config, issuer))
            mm_problems_warn(loader->problems, loader->document.file, mm_document_line(&loader->document, path), path,
                             "the keys of %s can't be had: neither is its host one of ‹fetch.hosts›, nor do "
                             "‹issuers› say where they are",
                             issuer);
    }
}

static void report_rule(const struct loader *loader, const struct mm_document *document, int line, size_t account,
                        const char *reason)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/accounts/%zu/authenticate", account);
    mm_problems_add(loader->problems, document->file, line, path, "%s", reason);
}

static void check_exchange_sources(const struct loader *loader, const struct mm_document *document,
                                   const struct mm_exchange *exchange)
{
    for (size_t i = 0; exchange && i < exchange->n_rules; i++) {
        const struct mm_exchange_rule *rule = &exchange->rules[i];
        char path[64];
        (void)snprintf(path, sizeof path, "/exchange/rules/%zu/subject", i);
        if (rule->issuer && !mm_config_can_know_issuer(loader->config, rule->issuer))
            mm_problems_add(
                loader->problems, document->file, rule->grant.line, path,
                "the keys of ‹issuer› can't be had: mintmark.yaml neither lists its host in ‹fetch.hosts› nor "
                "says in ‹issuers› where they are");
    }
}

/* A rule that nobody can satisfy is a mistake. */
void mm_loader_check_sources(const struct loader *loader, const struct mm_document *document,
                             const struct mm_tenant *tenant)
{
    const struct mm_config *config = loader->config;
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        const struct mm_account *account = &tenant->accounts[i];
        for (size_t j = 0; j < account->n_private_key_jwt; j++) {
            const struct mm_private_key_jwt_rule *rule = &account->private_key_jwt[j];
            if (rule->jwks_uri && !mm_config_may_fetch(config, rule->jwks_uri))
                report_rule(loader, document, rule->line, i,
                            "the host of ‹jwks_uri› isn't one of ‹fetch.hosts› in mintmark.yaml");
        }
        for (size_t j = 0; j < account->n_oidc; j++)
            if (!mm_config_can_know_issuer(config, account->oidc[j].issuer))
                report_rule(
                    loader, document, account->oidc[j].line, i,
                    "the keys of ‹issuer› can't be had: mintmark.yaml neither lists its host in ‹fetch.hosts› nor "
                    "says in ‹issuers› where they are");
    }
    check_exchange_sources(loader, document, tenant->exchange);
}

/* One that no envelope names is misspelt, as like as not: its keys would be looked for elsewhere. */
static void check_use(const struct loader *loader)
{
    const struct mm_config *config = loader->config;
    mm_cleanup(free) bool *is_named = calloc(config->n_issuers + 1, sizeof *is_named);
    if (!is_named)
        mm_loader_no_memory(loader);
    for (size_t i = 0; is_named && i < config->policy.n_tenants; i++) {
        const struct mm_strings *issuers = &config->policy.tenants[i].envelope.issuers;
        for (size_t j = 0; j < issuers->n; j++) {
            const struct mm_issuer_keys *keys = mm_config_issuer(config, issuers->items[j]);
            if (keys)
                is_named[keys - config->issuers] = true;
        }
    }
    for (size_t i = 0; is_named && i < config->n_issuers; i++) {
        const char *issuer = config->issuers[i].issuer;
        mm_cleanup(free) char *path = issuer ? mm_pointer_child(ISSUERS, issuer) : NULL;
        if (!is_named[i] && path)
            mm_problems_warn(loader->problems, loader->document.file, mm_document_line(&loader->document, path), path,
                             "no tenant's envelope names this issuer, by these very characters");
    }
}

static size_t add_name(const char **names, size_t n, const char *name)
{
    if (name && names)
        names[n] = name;
    return n + (name != NULL);
}

/* Whose keys the tenant may ask for, by name: how many there are. `ret_names` may be NULL. */
static size_t name_sources(const struct mm_config *config, const struct mm_tenant *tenant, const char **ret_names)
{
    const struct mm_envelope *envelope = &tenant->envelope;
    size_t n = 0;
    for (size_t i = 0; i < envelope->issuers.n; i++)
        if (mm_config_can_know_issuer(config, envelope->issuers.items[i]))
            n = add_name(ret_names, n, envelope->issuers.items[i]);
    for (size_t i = 0; i < envelope->n_trust_domains; i++)
        n = add_name(ret_names, n, envelope->trust_domains[i].name);
    for (size_t i = 0; i < tenant->n_accounts; i++)
        for (size_t j = 0; j < tenant->accounts[i].n_private_key_jwt; j++)
            n = add_name(ret_names, n, tenant->accounts[i].private_key_jwt[j].jwks_uri);
    return n;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The service wouldn't start with more: that is to be told here, before. */
static void check_sources(const struct loader *loader)
{
    const struct mm_policy *policy = &loader->config->policy;
    size_t n = 0;
    size_t n_different = 0;
    for (size_t i = 0; i < policy->n_tenants; i++)
        n += name_sources(loader->config, &policy->tenants[i], NULL);
    mm_cleanup(free) const char **names = calloc(n + 1, sizeof *names);
    if (!names) {
        mm_loader_no_memory(loader);
        return;
    }
    n = 0;
    for (size_t i = 0; i < policy->n_tenants; i++)
        n += name_sources(loader->config, &policy->tenants[i], names + n);
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++)
        n_different += i == 0 || strcmp(names[i - 1], names[i]) != 0;
    if (n_different > MM_KEY_SOURCES_MAX)
        mm_loader_report(loader, "/tenants",
                         "issuers, trust domains and jwks_uri of all tenants make %zu sources of keys: more than %d",
                         n_different, MM_KEY_SOURCES_MAX);
}

void mm_loader_check_issuers(const struct loader *loader)
{
    const struct mm_policy *policy = &loader->config->policy;
    for (size_t i = 0; i < policy->n_tenants; i++)
        if (policy->tenants[i].id)
            check_envelope(loader, &policy->tenants[i]);
    check_use(loader);
    check_sources(loader);
}

/* --- what changes */

__attribute__((format(printf, 4, 5))) static bool add_change(json_t *changes, const char *change, struct mm_error *err,
                                                             const char *format, ...)
{
    char text[MM_URL_MAX * 2];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return mm_json_append(changes,
                          json_pack("{s:s, s:n, s:n, s:s}", "change", change, "tenant", "account", "what", text), err);
}

static bool diff_hosts(const struct mm_config *here, const struct mm_config *there, const char *change, json_t *changes,
                       struct mm_error *err)
{
    for (size_t i = 0; i < there->fetch.hosts.n; i++)
        if (!mm_strings_have(&here->fetch.hosts, there->fetch.hosts.items[i]) &&
            !add_change(changes, change, err, "host %s, which may be asked for documents", there->fetch.hosts.items[i]))
            return false;
    return true;
}

/* In a few words. */
static const char *describe(const struct mm_issuer_keys *keys, char *out, size_t size)
{
    if (!keys)
        return "where its discovery document says";
    (void)snprintf(out, size, "%s%.16s", keys->jwks_uri ? keys->jwks_uri : "a file of SHA-256 ", keys->digest);
    return out;
}

static bool diff_issuer(const struct mm_config *before, const struct mm_config *after, const char *issuer,
                        json_t *changes, struct mm_error *err)
{
    char was[MM_URL_MAX + 32];
    char is[MM_URL_MAX + 32];
    const char *was_text = describe(mm_config_issuer(before, issuer), was, sizeof was);
    const char *is_text = describe(mm_config_issuer(after, issuer), is, sizeof is);
    return strcmp(was_text, is_text) == 0 ||
           add_change(changes, "changes", err, "keys of %.500s: %.1500s, was %.1500s", issuer, is_text, was_text);
}

bool mm_config_diff(const struct mm_config *before, const struct mm_config *after, json_t *changes,
                    struct mm_error *err)
{
    if (!diff_hosts(before, after, "gains", changes, err) || !diff_hosts(after, before, "loses", changes, err))
        return false;
    for (size_t i = 0; i < after->n_issuers; i++)
        if (!diff_issuer(before, after, after->issuers[i].issuer, changes, err))
            return false;
    for (size_t i = 0; i < before->n_issuers; i++)
        if (!mm_config_issuer(after, before->issuers[i].issuer) &&
            !diff_issuer(before, after, before->issuers[i].issuer, changes, err))
            return false;
    return true;
}
