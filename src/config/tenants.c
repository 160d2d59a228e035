/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tenants of a configuration: their envelopes against each other, then each one's file and CA. A mistake in one doesn't
 * keep the others from being checked.
 */
#include "config/loader.h"

#include <string.h>

#include "crypto/certificate.h"
#include "util/clock.h"
#include "util/file.h"

enum { CA_FILE_MAX = 256 * 1024, CRL_FILE_MAX = 4 << 20 };

static json_t *tenants_of(const struct loader *loader)
{
    return json_object_get(loader->document.root, "tenants");
}

/* The pointer of tenants/‹id›/‹member›; NULL: no memory for it. */
static char *envelope_path(const char *id, const char *member)
{
    mm_cleanup(free) char *path = mm_pointer_child("/tenants", id);
    return path ? mm_pointer_child(path, member) : NULL;
}

static void report_envelope(const struct loader *loader, const char *id, const char *member, const char *reason)
{
    mm_cleanup(free) char *path = envelope_path(id, member);
    mm_loader_report(loader, path ? path : "/tenants", "%s", reason);
}

static void check_overlap(const struct loader *loader, const char *id, const struct mm_envelope *envelope,
                          const char *other_id, const struct mm_envelope *other)
{
    const char *audience = NULL;
    if (mm_strings_have(&envelope->shared_with, other_id) || mm_strings_have(&other->shared_with, id) ||
        !mm_envelopes_overlap(envelope, other, &audience))
        return;
    mm_cleanup(free) char *path = envelope_path(id, "resources");
    mm_loader_report(loader, path ? path : "/tenants",
                     "the envelopes of ‹%s› and ‹%s› overlap at audience ‹%s›: if that is meant, name one in the "
                     "other's shared_with",
                     other_id, id, audience);
}

static void check_shared_with(const struct loader *loader, const char *id, const struct mm_envelope *envelope)
{
    for (size_t i = 0; i < envelope->shared_with.n; i++) {
        const char *other = envelope->shared_with.items[i];
        if (strcmp(other, id) == 0)
            report_envelope(loader, id, "shared_with", "‹shared_with› names the tenant itself");
        else if (!json_object_get(tenants_of(loader), other))
            report_envelope(loader, id, "shared_with", "‹shared_with› names a tenant that there isn't");
    }
}

static void check_algorithm(const struct loader *loader, const char *path, enum mm_algorithm algorithm)
{
    if (!mm_algorithms_have(loader->config->algorithms, algorithm))
        mm_loader_report(loader, path, "%s isn't one of ‹keys.algorithms›: no key would sign for it",
                         mm_algorithm_name(algorithm));
}

/* What isn't said is `keys.algorithm`, which is among them. */
static void check_algorithms(const struct loader *loader, const char *id, const struct mm_envelope *envelope)
{
    mm_cleanup(free) char *one = envelope_path(id, "algorithm");
    mm_cleanup(free) char *several = envelope_path(id, "algorithms");
    if (one && envelope->algorithm != loader->config->algorithm)
        check_algorithm(loader, one, envelope->algorithm);
    for (size_t i = 0; i < envelope->n_exceptions; i++) {
        const struct mm_audience_algorithm *exception = &envelope->exceptions[i];
        mm_cleanup(free) char *path = several ? mm_pointer_child(several, exception->audience) : NULL;
        if (!path)
            mm_loader_no_memory(loader);
        else if (!mm_strings_have(&envelope->audiences, exception->audience))
            mm_loader_report(loader, path, "‹algorithms› names an audience that ‹audiences› doesn't have");
        else
            check_algorithm(loader, path, exception->algorithm);
    }
}

static void check_tiers(const struct loader *loader, const char *id, json_t *tiers, const struct mm_envelope *envelope)
{
    mm_cleanup(free) char *parent = envelope_path(id, "tiers");
    const char *audience;
    json_t *tier;
    json_object_foreach(tiers, audience, tier)
    {
        mm_cleanup(free) char *path = parent ? mm_pointer_child(parent, audience) : NULL;
        if (!path)
            mm_loader_no_memory(loader);
        else if (!mm_strings_have(&envelope->audiences, audience))
            mm_loader_report(loader, path, "‹tiers› names an audience that ‹audiences› doesn't have");
    }
}

static void check_trust_domains(const struct loader *loader, const char *id, const struct mm_envelope *envelope)
{
    mm_cleanup(free) char *domains = envelope_path(id, "trust_domains");
    for (size_t i = 0; i < envelope->n_trust_domains; i++) {
        const struct mm_trust_domain *domain = &envelope->trust_domains[i];
        mm_cleanup(free) char *path = domains ? mm_pointer_child(domains, domain->name) : NULL;
        if (domain->bundle_file && domain->bundle_uri)
            mm_loader_report(loader, path ? path : "/tenants", "‹%s› must have one of bundle_file and bundle_uri",
                             domain->name);
    }
}

void mm_loader_check_envelopes(const struct loader *loader)
{
    json_t *tenants = tenants_of(loader);
    size_t n = json_object_size(tenants);
    size_t i = 0;
    mm_cleanup(free) struct mm_envelope *envelopes = calloc(n + 1, sizeof *envelopes);
    mm_cleanup(free) const char **ids = calloc(n + 1, sizeof *ids);
    const char *id;
    json_t *json;
    json_object_foreach(tenants, id, json)
    {
        if (!envelopes || !ids || !mm_envelope_build(json, loader->config->algorithm, &envelopes[i], NULL)) {
            mm_loader_no_memory(loader);
            break;
        }
        ids[i] = id;
        check_shared_with(loader, id, &envelopes[i]);
        check_algorithms(loader, id, &envelopes[i]);
        check_tiers(loader, id, json_object_get(json, "tiers"), &envelopes[i]);
        check_trust_domains(loader, id, &envelopes[i]);
        for (size_t j = 0; j < i; j++)
            check_overlap(loader, id, &envelopes[i], ids[j], &envelopes[j]);
        i++;
    }
    for (size_t j = 0; envelopes && j < i; j++)
        mm_envelope_clear(&envelopes[j]);
}

struct mm_trust *mm_loader_read_cas(const struct loader *loader, const char *file, const char *path,
                                    char ret_digest[MM_SHA256_HEX_LENGTH + 1])
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer pem = mm_buffer_make(CA_FILE_MAX);
    mm_cleanup(free) char *resolved = mm_loader_resolve(loader, file);
    if (!resolved)
        return NULL;
    mm_loader_note_file(loader, resolved);
    mm_loader_check_hands(loader, resolved, path);
    if (!mm_file_read_trusted(resolved, &pem, &err)) {
        mm_loader_report(loader, path, "%s", err.message);
        return NULL;
    }
    struct mm_trust *trust = mm_trust_parse(pem.data, pem.length, &err);
    mm_sha256_hex(pem.data, pem.length, ret_digest);
    if (!trust)
        mm_loader_report(loader, path, "%s: %s", resolved, err.message);
    return trust;
}

/* Not an error: the service must start and reload with it, and refuses its CA's certificates alone. */
static void warn_of_crl(const struct loader *loader, const char *path, const char *file, const struct mm_crl_facts *crl,
                        int64_t now)
{
    char at[MM_TIMESTAMP_MAX];
    int line = mm_document_line(&loader->document, path);
    mm_timestamp(crl->next_update, at);
    if (now >= crl->next_update)
        mm_problems_warn(loader->problems, loader->document.file, line, path,
                         "%s: the CRL of ‹%s› has expired at %s: its certificates are refused", file, crl->issuer, at);
    else if (now >= crl->next_update - MM_CRL_SHORT)
        mm_problems_warn(loader->problems, loader->document.file, line, path,
                         "%s: the CRL of ‹%s› expires at %s: its certificates are refused from then on", file,
                         crl->issuer, at);
}

static void read_crls(const struct loader *loader, const char *file, const char *path, struct mm_tenant *tenant)
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(CRL_FILE_MAX);
    mm_cleanup(free) char *resolved = mm_loader_resolve(loader, file);
    if (!resolved)
        return;
    mm_loader_note_file(loader, resolved);
    mm_loader_check_hands(loader, resolved, path);
    if (!mm_file_read_trusted(resolved, &text, &err)) {
        mm_loader_report(loader, path, "%s", err.message);
        return;
    }
    if (!tenant->client_ca)
        return;
    if (!mm_trust_add_crls(tenant->client_ca, text.data, text.length, &err)) {
        mm_loader_report(loader, path, "%s: %s", resolved, err.message);
        return;
    }
    mm_sha256_hex(text.data, text.length, tenant->crl_digest);
    for (size_t i = 0; i < mm_trust_n_crls(tenant->client_ca); i++) {
        const struct mm_crl_facts crl = mm_trust_crl(tenant->client_ca, i);
        warn_of_crl(loader, path, resolved, &crl, mm_clock_now(&MM_SYSTEM_CLOCK));
    }
}

static void build_client_ca(const struct loader *loader, const char *id, const json_t *envelope,
                            struct mm_tenant *tenant)
{
    mm_cleanup(free) char *cas = envelope_path(id, "client_ca");
    mm_cleanup(free) char *crls = envelope_path(id, "crl_file");
    tenant->client_ca = mm_loader_read_cas(loader, mm_json_string(envelope, "client_ca"), cas ? cas : "/tenants",
                                           tenant->client_ca_digest);
    read_crls(loader, mm_json_string(envelope, "crl_file"), crls ? crls : "/tenants", tenant);
}

static void read_document(const struct loader *loader, const char *id, const char *file, struct mm_document *document)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_YAML_FILE_MAX);
    mm_cleanup(free) char *resolved = mm_loader_resolve(loader, file);
    if (!resolved)
        return;
    mm_cleanup(free) char *path = envelope_path(id, "file");
    if (mm_loader_take_file(loader, resolved, path ? path : "/tenants", &text))
        mm_loader_parse(resolved, &text, document, loader->problems);
}

/* What the file says, into `tenant`, whose envelope is in place. False if it isn't whole. */
static bool build_from_file(const struct loader *loader, const char *id, const char *file, struct mm_tenant *tenant)
{
    size_t n_errors = loader->problems->n_errors;
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    read_document(loader, id, file, &document);
    if (!document.root)
        return false;
    const struct mm_service_terms terms = {.issuer = loader->config->issuer ? loader->config->issuer : "",
                                           .max_ttl = loader->config->max_ttl};
    if (!mm_schema_validate(&MM_TENANT_FILE_SCHEMA, &document, loader->problems) ||
        loader->problems->n_errors > n_errors) {
        mm_tenant_check(id, &document, &tenant->envelope, &terms, loader->problems);
        return false;
    }
    if (!mm_tenant_build(id, &document, &terms, tenant, loader->problems))
        return false;
    mm_loader_read_jwks_files(loader, &document, tenant);
    mm_loader_check_sources(loader, &document, tenant);
    return true;
}

static int compare_tenants(const void *a, const void *b)
{
    return strcmp(((const struct mm_tenant *)a)->id, ((const struct mm_tenant *)b)->id);
}

void mm_loader_build_tenants(const struct loader *loader)
{
    json_t *tenants = tenants_of(loader);
    struct mm_policy *policy = &loader->config->policy;
    bool are_whole = true;
    policy->tenants = calloc(json_object_size(tenants) + 1, sizeof *policy->tenants);
    const char *id;
    json_t *json;
    json_object_foreach(tenants, id, json)
    {
        struct mm_tenant *tenant = policy->tenants ? &policy->tenants[policy->n_tenants] : NULL;
        if (!tenant || !mm_envelope_build(json, loader->config->algorithm, &tenant->envelope, NULL)) {
            mm_loader_no_memory(loader);
            return;
        }
        policy->n_tenants++;
        mm_loader_read_bundles(loader, id, &tenant->envelope);
        are_whole &= build_from_file(loader, id, mm_json_string(json, "file"), tenant);
        build_client_ca(loader, id, json, tenant);
    }
    if (!are_whole || !policy->tenants)
        return;
    qsort(policy->tenants, policy->n_tenants, sizeof *policy->tenants, compare_tenants);
    if (!mm_policy_seal(policy, NULL))
        mm_loader_no_memory(loader);
}
