/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envelopes: what the operator lets a tenant's file grant at most.
 */
#include "policy/policy.h"

#include <string.h>

#include "policy/syntax.h"

enum { LIST_MAX = 100 };

static const struct mm_schema AUDIENCE = {.type = MM_SCHEMA_STRING, .min = 1, .max = 256, .check = mm_check_visible};
static const struct mm_schema PATTERN = {.type = MM_SCHEMA_STRING, .min = 1, .check = mm_check_resource_pattern};
static const struct mm_schema ISSUER = {.type = MM_SCHEMA_STRING, .min = 1, .max = 512, .check = mm_check_https_url};
static const struct mm_schema WORD = {.type = MM_SCHEMA_STRING, .min = 1, .check = mm_check_word};
static const struct mm_schema TIER = {.type = MM_SCHEMA_INTEGER, .min = 1, .max = 2};
static const struct mm_schema ALGORITHM = {.type = MM_SCHEMA_STRING, .one_of = MM_ALGORITHM_NAMES};
static const struct mm_schema TENANT_ID = {.type = MM_SCHEMA_STRING, .min = 1, .check = mm_check_id};

static const struct mm_schema TRUST_DOMAIN_MEMBERS[] = {
    {.name = "bundle_file", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "bundle_uri", .type = MM_SCHEMA_STRING, .min = 1, .max = 512, .check = mm_check_https_url},
    {0},
};

static const struct mm_schema TRUST_DOMAIN = {.type = MM_SCHEMA_OBJECT, .members = TRUST_DOMAIN_MEMBERS};

#define LIST_OF(member, is_required, item) \
    { \
        .name = (member), .type = MM_SCHEMA_ARRAY, .presence = (is_required), .min = 1, .max = LIST_MAX, \
        .element = &(item), .repeats = MM_REPEATS_REFUSED \
    }

static const struct mm_schema MEMBERS[] = {
    {.name = "file", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {.name = "client_ca", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {.name = "crl_file", .type = MM_SCHEMA_STRING, .min = 1},
    LIST_OF("audiences", MM_REQUIRED, AUDIENCE),
    LIST_OF("resources", MM_REQUIRED, PATTERN),
    LIST_OF("issuers", MM_OPTIONAL, ISSUER),
    LIST_OF("actions", MM_OPTIONAL, WORD),
    LIST_OF("kinds", MM_OPTIONAL, WORD),
    LIST_OF("shared_with", MM_OPTIONAL, TENANT_ID),
    {.name = "algorithm", .type = MM_SCHEMA_STRING, .one_of = MM_ALGORITHM_NAMES},
    {.name = "algorithms",
     .type = MM_SCHEMA_MAP,
     .min = 1,
     .max = LIST_MAX,
     .key_check = mm_check_visible,
     .element = &ALGORITHM},
    {.name = "tiers",
     .type = MM_SCHEMA_MAP,
     .min = 1,
     .max = LIST_MAX,
     .key_check = mm_check_visible,
     .element = &TIER},
    {.name = "trust_domains",
     .type = MM_SCHEMA_MAP,
     .min = 1,
     .max = LIST_MAX,
     .key_check = mm_check_trust_domain,
     .element = &TRUST_DOMAIN},
    {.name = "rate_limit", .type = MM_SCHEMA_OBJECT, .members = MM_RATE_MEMBERS},
    {0},
};

const struct mm_schema MM_ENVELOPE_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = MEMBERS};

static bool build_lists(const json_t *json, const json_t *defaults, struct mm_envelope *envelope, struct mm_error *err)
{
    const struct {
        const char *member;
        struct mm_strings *list;
    } lists[] = {
        {"audiences", &envelope->audiences}, {"resources", &envelope->resources},
        {"issuers", &envelope->issuers},     {"actions", &envelope->actions},
        {"kinds", &envelope->kinds},         {"shared_with", &envelope->shared_with},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(lists); i++) {
        const json_t *list = json_object_get(json, lists[i].member);
        if (!mm_strings_build(list ? list : json_object_get(defaults, lists[i].member), lists[i].list, err))
            return false;
    }
    return true;
}

static bool build_algorithms(const json_t *json, enum mm_algorithm otherwise, struct mm_envelope *envelope,
                             struct mm_error *err)
{
    json_t *algorithms = json_object_get(json, "algorithms");
    const char *algorithm = mm_json_string(json, "algorithm");
    const char *audience;
    json_t *name;
    if (!algorithm || !mm_algorithm_parse(algorithm, &envelope->algorithm))
        envelope->algorithm = otherwise;
    envelope->exceptions = calloc(json_object_size(algorithms) + 1, sizeof *envelope->exceptions);
    if (!envelope->exceptions)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    json_object_foreach(algorithms, audience, name)
    {
        struct mm_audience_algorithm *exception = &envelope->exceptions[envelope->n_exceptions];
        if (!json_is_string(name) || !mm_algorithm_parse(json_string_value(name), &exception->algorithm))
            continue;
        exception->audience = strdup(audience);
        if (!exception->audience)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        envelope->n_exceptions++;
    }
    return true;
}

/* Tier 2 is what isn't named. */
static bool build_tiers(json_t *json, struct mm_envelope *envelope, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *first = json_array();
    const char *audience;
    json_t *tier;
    json_object_foreach(json, audience, tier)
    {
        if (json_integer_value(tier) == 1 && !mm_json_append(first, json_string(audience), err))
            return false;
    }
    return mm_strings_build(first, &envelope->tier_1, err);
}

static bool copy(const json_t *json, const char *member, char **ret_string)
{
    const char *string = mm_json_string(json, member);
    *ret_string = string ? strdup(string) : NULL;
    return *ret_string || !string;
}

static bool build_trust_domains(const json_t *json, struct mm_envelope *envelope, struct mm_error *err)
{
    json_t *domains = json_object_get(json, "trust_domains");
    const char *name;
    json_t *bundle;
    envelope->trust_domains = calloc(json_object_size(domains) + 1, sizeof *envelope->trust_domains);
    if (!envelope->trust_domains)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    json_object_foreach(domains, name, bundle)
    {
        struct mm_trust_domain *domain = &envelope->trust_domains[envelope->n_trust_domains++];
        domain->name = strdup(name);
        if (!domain->name || !copy(bundle, "bundle_file", &domain->bundle_file) ||
            !copy(bundle, "bundle_uri", &domain->bundle_uri))
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    return true;
}

bool mm_envelope_build(const json_t *json, enum mm_algorithm algorithm, struct mm_envelope *ret_envelope,
                       struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *defaults =
        json_pack("{s:[s], s:[s, s]}", "actions", "read", "kinds", "repo", "blob");
    if (!defaults)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    struct mm_envelope envelope = {.rate = mm_rate_build(json_object_get(json, "rate_limit"))};
    if (!build_lists(json, defaults, &envelope, err) || !build_algorithms(json, algorithm, &envelope, err) ||
        !build_tiers(json_object_get(json, "tiers"), &envelope, err) ||

        !build_trust_domains(json, &envelope, err)) {
        mm_envelope_clear(&envelope);
        return false;
    }
    *ret_envelope = envelope;
    return true;
}

void mm_envelope_clear(struct mm_envelope *envelope)
{
    mm_strings_clear(&envelope->audiences);
    mm_strings_clear(&envelope->resources);
    mm_strings_clear(&envelope->issuers);
    mm_strings_clear(&envelope->actions);
    mm_strings_clear(&envelope->kinds);
    mm_strings_clear(&envelope->shared_with);
    mm_strings_clear(&envelope->tier_1);
    for (size_t i = 0; i < envelope->n_exceptions; i++)
        free(envelope->exceptions[i].audience);
    free(envelope->exceptions);
    for (size_t i = 0; i < envelope->n_trust_domains; i++) {
        free(envelope->trust_domains[i].name);
        free(envelope->trust_domains[i].bundle_file);
        free(envelope->trust_domains[i].bundle_uri);
        mm_jwks_unref(envelope->trust_domains[i].bundle);
        mm_trust_free(envelope->trust_domains[i].roots);
    }
    free(envelope->trust_domains);
}

const struct mm_trust_domain *mm_envelope_trust_domain(const struct mm_envelope *envelope, const char *name)
{
    for (size_t i = 0; i < envelope->n_trust_domains; i++)
        if (strcmp(envelope->trust_domains[i].name, name) == 0)
            return &envelope->trust_domains[i];
    return NULL;
}

enum mm_algorithm mm_envelope_algorithm(const struct mm_envelope *envelope, const char *audience)
{
    for (size_t i = 0; i < envelope->n_exceptions; i++)
        if (strcmp(envelope->exceptions[i].audience, audience) == 0)
            return envelope->exceptions[i].algorithm;
    return envelope->algorithm;
}
