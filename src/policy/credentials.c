/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/credentials.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/authenticate.h"
#include "policy/rule.h"
#include "util/buffer.h"

enum { TEXT_MAX = 65536 };

__attribute__((format(printf, 1, 2))) static char *text_of(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    return text;
}

static char *describe_mtls(const struct mm_mtls_rule *rule)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(TEXT_MAX);
    for (size_t i = 0; i < MM_MTLS_NAMES; i++)
        if (rule->names[i] &&
            (!mm_buffer_append_string(&text, text.length ? " and " : "certificates with ", NULL) ||
             !mm_buffer_append_string(&text, mm_mtls_title((enum mm_mtls_name)i), NULL) ||
             !mm_buffer_append_string(&text, " ", NULL) || !mm_buffer_append_string(&text, rule->names[i], NULL)))
            return NULL;
    return (char *)MM_TAKE(text.data);
}

static bool has_mtls(const struct mm_account *account, const struct mm_mtls_rule *rule)
{
    for (size_t i = 0; i < account->n_mtls; i++)
        if (mm_mtls_rule_covers(&account->mtls[i], rule))
            return true;
    return false;
}

static bool has_self_signed(const struct mm_account *account, const struct mm_self_signed_rule *rule)
{
    for (size_t i = 0; i < account->n_self_signed; i++)
        if (strcmp(account->self_signed[i].fingerprint, rule->fingerprint) == 0)
            return true;
    return false;
}

static bool has_spiffe(const struct mm_account *account, const struct mm_spiffe_rule *rule)
{
    for (size_t i = 0; i < account->n_spiffe; i++)
        if (mm_spiffe_rule_covers(&account->spiffe[i], rule))
            return true;
    return false;
}

static bool are_same_keys(const struct mm_private_key_jwt_rule *a, const struct mm_private_key_jwt_rule *b)
{
    if (a->jwks_uri || b->jwks_uri)
        return a->jwks_uri && b->jwks_uri && strcmp(a->jwks_uri, b->jwks_uri) == 0;
    return strcmp(a->jwks_digest, b->jwks_digest) == 0;
}

static bool has_private_key_jwt(const struct mm_account *account, const struct mm_private_key_jwt_rule *rule)
{
    for (size_t i = 0; i < account->n_private_key_jwt; i++)
        if (account->private_key_jwt[i].audience == rule->audience && are_same_keys(&account->private_key_jwt[i], rule))
            return true;
    return false;
}

static char *describe_private_key_jwt(const struct mm_private_key_jwt_rule *rule)
{
    const char *audience = rule->audience == MM_ASSERTION_FOR_TOKEN_ENDPOINT ? ", for the token endpoint" : "";
    if (rule->jwks_uri)
        return text_of("assertions signed with keys of %s%s", rule->jwks_uri, audience);
    return text_of("assertions signed with keys of %s (SHA-256 %.16s…)%s", rule->jwks_file, rule->jwks_digest,
                   audience);
}

static bool has_oidc(const struct mm_account *account, const struct mm_oidc_rule *rule)
{
    for (size_t i = 0; i < account->n_oidc; i++) {
        const struct mm_oidc_rule *own = &account->oidc[i];
        if (own->mode == rule->mode && own->is_single_use <= rule->is_single_use &&
            own->is_client_secret >= rule->is_client_secret && mm_oidc_rule_covers(own, rule))
            return true;
    }
    return false;
}

char *mm_oidc_rule_describe(const struct mm_oidc_rule *rule)
{
    mm_cleanup(free) char *claims = mm_claim_rules_describe(&rule->claims);
    if (!claims)
        return NULL;
    return text_of("%stokens of %s for %s with %s%s%s", rule->mode == MM_RULE_AUDITED ? "an audit of " : "",
                   rule->issuer, rule->audience, claims, rule->is_single_use ? ", once each" : "",
                   rule->is_client_secret ? ", also as a client secret" : "");
}

static bool add(json_t *texts, char *taken)
{
    mm_cleanup(free) char *text = taken;
    return text && mm_json_append(texts, json_string(text), NULL);
}

bool mm_credentials_added(const struct mm_account *here, const struct mm_account *there, json_t *ret_texts)
{
    bool is_whole = true;
    for (size_t i = 0; i < there->n_mtls; i++)
        if (!has_mtls(here, &there->mtls[i]))
            is_whole &= add(ret_texts, describe_mtls(&there->mtls[i]));
    for (size_t i = 0; i < there->n_self_signed; i++)
        if (!has_self_signed(here, &there->self_signed[i]))
            is_whole &= add(ret_texts, text_of("the certificate with fingerprint %s, whoever issued it",
                                               there->self_signed[i].fingerprint));
    for (size_t i = 0; i < there->n_spiffe; i++)
        if (!has_spiffe(here, &there->spiffe[i]))
            is_whole &= add(ret_texts,
                            text_of("SPIFFE IDs spiffe://%s%s", there->spiffe[i].trust_domain, there->spiffe[i].path));
    for (size_t i = 0; i < there->n_private_key_jwt; i++)
        if (!has_private_key_jwt(here, &there->private_key_jwt[i]))
            is_whole &= add(ret_texts, describe_private_key_jwt(&there->private_key_jwt[i]));
    for (size_t i = 0; i < there->n_oidc; i++)
        if (!has_oidc(here, &there->oidc[i]))
            is_whole &= add(ret_texts, mm_oidc_rule_describe(&there->oidc[i]));
    return is_whole;
}
