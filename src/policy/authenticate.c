/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/authenticate.h"

#include <stdio.h>
#include <string.h>

#include "policy/glob.h"
#include "policy/rule.h"
#include "policy/syntax.h"

static const struct mm_schema MTLS_MEMBERS[] = {
    {.name = "san_uri", .type = MM_SCHEMA_STRING, .min = 1, .max = 2048, .check = mm_check_san_uri},
    {.name = "san_dns", .type = MM_SCHEMA_STRING, .min = 1, .max = 253, .check = mm_check_dns_name},
    {.name = "subject_dn", .type = MM_SCHEMA_STRING, .min = 1, .max = 1024, .check = mm_check_line},
    {.name = "fingerprint", .type = MM_SCHEMA_STRING, .min = 1, .check = mm_check_fingerprint},
    {0},
};

static const struct mm_schema SELF_SIGNED_MEMBERS[] = {
    {.name = "fingerprint", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .check = mm_check_fingerprint},
    {0},
};

static const struct mm_schema SPIFFE_MEMBERS[] = {
    {.name = "trust_domain", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_trust_domain},
    {.name = "path", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .max = 1024, .check = mm_check_spiffe_pattern},
    {0},
};

static const char *const ASSERTION_AUDIENCES[] = {"issuer", "token_endpoint", NULL};

static const struct mm_schema PRIVATE_KEY_JWT_MEMBERS[] = {
    {.name = "jwks_file", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "jwks_uri", .type = MM_SCHEMA_STRING, .min = 1, .max = 512, .check = mm_check_https_url},
    {.name = "assertion_audience", .type = MM_SCHEMA_STRING, .one_of = ASSERTION_AUDIENCES},
    {0},
};

static const char *const MODES[] = {"enforce", "audit", NULL};

static const struct mm_schema OIDC_MEMBERS[] = {
    {.name = "issuer",
     .type = MM_SCHEMA_STRING,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = 512,
     .check = mm_check_https_url},
    {.name = "audience", .type = MM_SCHEMA_STRING, .min = 1, .max = 256, .check = mm_check_visible},
    {.name = "claims",
     .type = MM_SCHEMA_MAP,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_CLAIM_RULES_MAX,
     .key_check = mm_check_claim_name,
     .element = &MM_CLAIM_VALUE_SCHEMA},
    {.name = "single_use", .type = MM_SCHEMA_BOOLEAN},
    {.name = "mode", .type = MM_SCHEMA_STRING, .one_of = MODES},
    {.name = "as_client_secret", .type = MM_SCHEMA_BOOLEAN},
    {0},
};

static const struct mm_schema ENTRY_MEMBERS[] = {
    {.name = "mtls", .type = MM_SCHEMA_OBJECT, .members = MTLS_MEMBERS},
    {.name = "self_signed", .type = MM_SCHEMA_OBJECT, .members = SELF_SIGNED_MEMBERS},
    {.name = "spiffe", .type = MM_SCHEMA_OBJECT, .members = SPIFFE_MEMBERS},
    {.name = "private_key_jwt", .type = MM_SCHEMA_OBJECT, .members = PRIVATE_KEY_JWT_MEMBERS},
    {.name = "oidc", .type = MM_SCHEMA_OBJECT, .members = OIDC_MEMBERS},
    {0},
};

const struct mm_schema MM_AUTHENTICATE_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = ENTRY_MEMBERS};

static bool copy(const json_t *json, const char *member, char **ret_string)
{
    const char *string = mm_json_string(json, member);
    *ret_string = string ? strdup(string) : NULL;
    return *ret_string || !string;
}

static bool is_said(const json_t *json, const char *member, const char *value)
{
    const char *said = mm_json_string(json, member);
    return said && strcmp(said, value) == 0;
}

static bool build_self_signed(const json_t *json, struct mm_self_signed_rule *rule)
{
    const char *fingerprint = mm_json_string(json, "fingerprint");
    rule->fingerprint = fingerprint ? mm_fingerprint_normalise(fingerprint) : NULL;
    return rule->fingerprint || !fingerprint;
}

static bool build_spiffe(const json_t *json, struct mm_spiffe_rule *rule)
{
    return copy(json, "trust_domain", &rule->trust_domain) && copy(json, "path", &rule->path);
}

static bool build_private_key_jwt(const json_t *json, int line, struct mm_private_key_jwt_rule *rule)
{
    rule->line = line;
    rule->audience = is_said(json, "assertion_audience", "token_endpoint") ? MM_ASSERTION_FOR_TOKEN_ENDPOINT
                                                                           : MM_ASSERTION_FOR_ISSUER;
    return copy(json, "jwks_file", &rule->jwks_file) && copy(json, "jwks_uri", &rule->jwks_uri);
}

static bool build_oidc(const json_t *json, int line, const char *issuer, struct mm_oidc_rule *rule)
{
    rule->line = line;
    rule->is_single_use = json_is_true(json_object_get(json, "single_use"));
    rule->is_client_secret = json_is_true(json_object_get(json, "as_client_secret"));
    rule->mode = is_said(json, "mode", "audit") ? MM_RULE_AUDITED : MM_RULE_ENFORCED;
    if (!copy(json, "issuer", &rule->issuer) || !copy(json, "audience", &rule->audience))
        return false;
    if (!rule->audience && !(rule->audience = strdup(issuer)))
        return false;
    return mm_claim_rules_build(json_object_get(json, "claims"), rule->issuer, &rule->claims, NULL);
}

/* `entry` into the next rule of its kind. */
static bool build_entry(const json_t *entry, int line, const char *issuer, struct mm_account *account)
{
    const json_t *rule;
    if ((rule = json_object_get(entry, "mtls")) && !mm_mtls_rule_build(rule, &account->mtls[account->n_mtls++], NULL))
        return false;
    if ((rule = json_object_get(entry, "self_signed")) &&
        !build_self_signed(rule, &account->self_signed[account->n_self_signed++]))
        return false;
    if ((rule = json_object_get(entry, "spiffe")) && !build_spiffe(rule, &account->spiffe[account->n_spiffe++]))
        return false;
    if ((rule = json_object_get(entry, "private_key_jwt")) &&
        !build_private_key_jwt(rule, line, &account->private_key_jwt[account->n_private_key_jwt++]))
        return false;
    return !(rule = json_object_get(entry, "oidc")) ||
           build_oidc(rule, line, issuer, &account->oidc[account->n_oidc++]);
}

/* Room for all rules of one kind. */
#define MAKE_ROOM(list, json, kind) ((list) = calloc(count_kind((json), (kind)) + 1, sizeof *(list)))

static size_t count_kind(const json_t *json, const char *kind)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(json); i++)
        n += json_object_get(json_array_get(json, i), kind) != NULL;
    return n;
}

bool mm_authenticate_build(const struct mm_document *document, const char *path, const json_t *json, const char *issuer,
                           struct mm_account *account)
{
    if (!MAKE_ROOM(account->mtls, json, "mtls") || !MAKE_ROOM(account->self_signed, json, "self_signed") ||
        !MAKE_ROOM(account->spiffe, json, "spiffe") || !MAKE_ROOM(account->private_key_jwt, json, "private_key_jwt") ||
        !MAKE_ROOM(account->oidc, json, "oidc"))
        return false;
    for (size_t i = 0; i < json_array_size(json); i++) {
        mm_cleanup(free) char *entry = mm_pointer_item(path, i);
        if (!entry || !build_entry(json_array_get(json, i), mm_document_line(document, entry), issuer, account))
            return false;
    }
    return true;
}

void mm_authenticate_clear(struct mm_account *account)
{
    for (size_t i = 0; i < account->n_mtls; i++)
        mm_mtls_rule_clear(&account->mtls[i]);
    for (size_t i = 0; i < account->n_self_signed; i++)
        free(account->self_signed[i].fingerprint);
    for (size_t i = 0; i < account->n_spiffe; i++) {
        free(account->spiffe[i].trust_domain);
        free(account->spiffe[i].path);
    }
    for (size_t i = 0; i < account->n_private_key_jwt; i++) {
        free(account->private_key_jwt[i].jwks_file);
        free(account->private_key_jwt[i].jwks_uri);
        mm_jwks_unref(account->private_key_jwt[i].jwks);
    }
    for (size_t i = 0; i < account->n_oidc; i++) {
        free(account->oidc[i].issuer);
        free(account->oidc[i].audience);
        mm_claim_rules_clear(&account->oidc[i].claims);
    }
    free(account->mtls);
    free(account->self_signed);
    free(account->spiffe);
    free(account->private_key_jwt);
    free(account->oidc);
}

bool mm_oidc_rule_covers(const struct mm_oidc_rule *wide, const struct mm_oidc_rule *narrow)
{
    return wide->issuer && narrow->issuer && strcmp(wide->issuer, narrow->issuer) == 0 &&
           strcmp(wide->audience, narrow->audience) == 0 && mm_claim_rules_cover(&wide->claims, &narrow->claims);
}

bool mm_spiffe_rule_covers(const struct mm_spiffe_rule *wide, const struct mm_spiffe_rule *narrow)
{
    return wide->trust_domain && wide->path && narrow->trust_domain && narrow->path &&
           strcmp(wide->trust_domain, narrow->trust_domain) == 0 && mm_glob_covers(wide->path, narrow->path);
}
