/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/policy.h"

#include <string.h>

static int compare_id(const void *id, const void *tenant)
{
    return strcmp(id, ((const struct mm_tenant *)tenant)->id);
}

const struct mm_tenant *mm_policy_tenant(const struct mm_policy *policy, const char *id)
{
    if (policy->n_tenants == 0)
        return NULL;
    return bsearch(id, policy->tenants, policy->n_tenants, sizeof *policy->tenants, compare_id);
}

/* One for each of the envelope's audiences. */
static json_t *algorithms_to_json(const struct mm_envelope *envelope)
{
    mm_cleanup(json_decref) json_t *array = json_array();
    for (size_t i = 0; i < envelope->audiences.n; i++) {
        enum mm_algorithm algorithm = mm_envelope_algorithm(envelope, envelope->audiences.items[i]);
        if (!mm_json_append(array, json_string(mm_algorithm_name(algorithm)), NULL))
            return NULL;
    }
    return MM_TAKE(array);
}

/* Of each rule that names keys in a file, in the file's order. */
static json_t *jwks_to_json(const struct mm_tenant *tenant)
{
    mm_cleanup(json_decref) json_t *array = json_array();
    for (size_t i = 0; i < tenant->n_accounts; i++)
        for (size_t j = 0; j < tenant->accounts[i].n_private_key_jwt; j++)
            if (!mm_json_append(array, json_string(tenant->accounts[i].private_key_jwt[j].jwks_digest), NULL))
                return NULL;
    return MM_TAKE(array);
}

static json_t *trust_domains_to_json(const struct mm_envelope *envelope)
{
    mm_cleanup(json_decref) json_t *array = json_array();
    for (size_t i = 0; i < envelope->n_trust_domains; i++) {
        const struct mm_trust_domain *domain = &envelope->trust_domains[i];
        if (!mm_json_append(array,
                            json_pack("{s:s, s:s?, s:s?, s:s}", "name", domain->name, "bundle_file",
                                      domain->bundle_file, "bundle_uri", domain->bundle_uri, "bundle",
                                      domain->bundle_digest),
                            NULL))
            return NULL;
    }
    return MM_TAKE(array);
}

/* NULL: none, and the digest is that of a policy from before there were any. */
static json_t *rate_to_json(const struct mm_rate *rate)
{
    return rate->per_minute == 0 ? NULL : json_pack("[I, I]", (json_int_t)rate->per_minute, (json_int_t)rate->burst);
}

/* json_pack() steals the lists even when it fails, and fails on a NULL one. */
static json_t *tenant_to_json(const struct mm_tenant *tenant)
{
    const struct mm_envelope *envelope = &tenant->envelope;
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o*}", "tenant",
                     tenant->id, "file", tenant->digest, "client_ca", tenant->client_ca_digest, "crl",
                     tenant->crl_digest, "audiences", mm_strings_to_json(&envelope->audiences), "resources",
                     mm_strings_to_json(&envelope->resources), "issuers", mm_strings_to_json(&envelope->issuers),
                     "actions", mm_strings_to_json(&envelope->actions), "kinds", mm_strings_to_json(&envelope->kinds),
                     "shared_with", mm_strings_to_json(&envelope->shared_with), "algorithms",
                     algorithms_to_json(envelope), "tier_1", mm_strings_to_json(&envelope->tier_1), "jwks",
                     jwks_to_json(tenant), "trust_domains", trust_domains_to_json(envelope), "rate_limit",
                     rate_to_json(&envelope->rate));
}

bool mm_policy_seal(struct mm_policy *policy, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *tenants = json_array();
    for (size_t i = 0; i < policy->n_tenants; i++)
        if (!mm_json_append(tenants, tenant_to_json(&policy->tenants[i]), err))
            return false;
    if (policy->issuer_keys_digest[0] && !mm_json_append(tenants, json_string(policy->issuer_keys_digest), err))
        return false;
    mm_cleanup(free) char *text = mm_json_compact(tenants, err);
    if (!text)
        return false;
    mm_sha256_hex(text, strlen(text), policy->digest);
    return true;
}

void mm_policy_clear(struct mm_policy *policy)
{
    for (size_t i = 0; i < policy->n_tenants; i++)
        mm_tenant_clear(&policy->tenants[i]);
    free(policy->tenants);
    *policy = (struct mm_policy){0};
}
