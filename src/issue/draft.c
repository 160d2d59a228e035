/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/draft.h"

#include <string.h>

/* The strings of a draft, borrowed from the request or else from the policy. */
struct parts_of_token {
    const char *const *scopes;
    size_t n_scopes;
    const char *const *resources;
    size_t n_resources;
    const char *const *audiences;
    size_t n_audiences;
};

static struct parts_of_token choose(const struct mm_principal *principal, const struct mm_token_request *request,
                                    const struct mm_grant *grant)
{
    const struct mm_strings *audience = &principal->tenant->audience;
    struct parts_of_token chosen = {
        .scopes = request->scopes,
        .n_scopes = request->n_scopes,
        .resources = (const char *const *)grant->resources.items,
        .n_resources = grant->resources.n,
        .audiences = (const char *const *)audience->items,
        .n_audiences = audience->n,
    };
    if (request->resource_id) {
        chosen.resources = &request->resource_id;
        chosen.n_resources = 1;
    }
    if (request->audience) {
        chosen.audiences = &request->audience;
        chosen.n_audiences = 1;
    }
    return chosen;
}

/* Whether `length` bytes of `word` are one of `words`. */
static bool has_word(const struct mm_strings *words, const char *word, size_t length)
{
    for (size_t i = 0; i < words->n; i++)
        if (strlen(words->items[i]) == length && memcmp(words->items[i], word, length) == 0)
            return true;
    return false;
}

static bool scope_is_allowed(const struct mm_envelope *envelope, const char *scope)
{
    const char *colon = strchr(scope, ':');
    return colon && has_word(&envelope->actions, scope, (size_t)(colon - scope)) &&
           has_word(&envelope->kinds, colon + 1, strlen(colon + 1));
}

/* The load has checked all this already; a token is where a mistake would cost most, so it is checked again. */
static bool stays_inside(const struct mm_envelope *envelope, const struct parts_of_token *token, struct mm_error *err)
{
    for (size_t i = 0; i < token->n_scopes; i++)
        if (!scope_is_allowed(envelope, token->scopes[i]))
            return mm_fail(err, MM_INTERNAL, "scope %s is outside the tenant's envelope", token->scopes[i]);
    for (size_t i = 0; i < token->n_resources; i++)
        if (!mm_pattern_is_covered(&envelope->resources, token->resources[i]))
            return mm_fail(err, MM_INTERNAL, "resource %s is outside the tenant's envelope", token->resources[i]);
    for (size_t i = 0; i < token->n_audiences; i++)
        if (!mm_strings_have(&envelope->audiences, token->audiences[i]))
            return mm_fail(err, MM_INTERNAL, "audience %s is outside the tenant's envelope", token->audiences[i]);
    return true;
}

static bool set_times(const struct mm_issuer_parts *parts, const struct mm_principal *principal, int64_t ttl,
                      struct mm_draft *draft, struct mm_error *err)
{
    if (ttl < 1 || ttl > parts->max_ttl || ttl > principal->tenant->max_ttl)
        return mm_fail(err, MM_INTERNAL, "a lifetime of %lld s is outside the service's cap", (long long)ttl);
    draft->issued_at = mm_clock_now(parts->clock);
    draft->expires_at = draft->issued_at + ttl;
    if (draft->expires_at > principal->not_after)
        draft->expires_at = principal->not_after;
    if (draft->expires_at <= draft->issued_at)
        return mm_fail(err, MM_CERTIFICATE_INVALID, "the credential ends now");
    return true;
}

static json_t *string_array(const char *const *items, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(array, json_string(items[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static bool make_entry(const struct mm_issuer_parts *parts, const struct mm_policy *policy,
                       const struct mm_principal *principal, const struct mm_decision *decision, const char *request_id,
                       struct mm_draft *draft, struct mm_error *err)
{
    char claims_digest[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(draft->payload, strlen(draft->payload), claims_digest);
    draft->entry =
        json_pack("{ss ss ss s{sI sI} ss ss ss sI ss ss ss}", "tenant", principal->tenant->id, "account",
                  principal->account->identity, "jti", draft->jti, "rule", "grant", (json_int_t)decision->grant_index,
                  "line", (json_int_t)decision->grant->line, "policy", policy->digest, "kid", parts->key->kid,
                  "claims_sha256", claims_digest, "exp", (json_int_t)draft->expires_at, "credential",
                  principal->credential, "certificate_sha256", principal->fingerprint, "request_id", request_id);
    return draft->entry || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

static bool make_claims(const struct mm_issuer_parts *parts, const struct mm_principal *principal,
                        const struct parts_of_token *token, struct mm_draft *draft, struct mm_error *err)
{
    struct mm_claims claims = {
        .issuer = parts->issuer_url,
        .identity = principal->account->identity,
        .name = principal->account->name,
        .env = principal->tenant->env,
        .tenant_id = principal->tenant->id,
        .is_service_account = principal->account->is_service_account,
        .audiences = token->audiences,
        .n_audiences = token->n_audiences,
        .scopes = token->scopes,
        .n_scopes = token->n_scopes,
        .resources = token->resources,
        .n_resources = token->n_resources,
        .issued_at = draft->issued_at,
        .expires_at = draft->expires_at,
        .jti = draft->jti,
    };
    draft->claims = mm_claims_to_json(&claims, err);
    if (!draft->claims)
        return false;
    draft->payload = mm_json_compact(draft->claims, err);
    draft->scopes = string_array(token->scopes, token->n_scopes);
    if (!draft->payload || !(draft->scopes || mm_fail(err, MM_NO_MEMORY, "out of memory")))
        return false;
    /* Before it is recorded: what can't be signed must not be announced. */
    size_t length = strlen(draft->payload);
    return length <= MM_PAYLOAD_MAX || mm_fail(err, MM_INTERNAL, "claims of %zu bytes can't be signed", length);
}

bool mm_draft_make(const struct mm_issuer_parts *parts, const struct mm_policy *policy,
                   const struct mm_principal *principal, const struct mm_token_request *request,
                   const struct mm_decision *decision, const char *request_id, struct mm_draft *ret_draft,
                   struct mm_error *err)
{
    struct parts_of_token token = choose(principal, request, decision->grant);
    mm_cleanup(mm_draft_clear) struct mm_draft draft = {0};
    if (!stays_inside(&principal->tenant->envelope, &token, err) ||
        !set_times(parts, principal, decision->ttl, &draft, err) ||
        !mm_jti_make(parts->random, mm_clock_now_ms(parts->clock), draft.jti, err) ||
        !make_claims(parts, principal, &token, &draft, err) ||
        !make_entry(parts, policy, principal, decision, request_id, &draft, err))
        return false;
    *ret_draft = draft;
    draft = (struct mm_draft){0};
    return true;
}

void mm_draft_clear(struct mm_draft *draft)
{
    json_decref(draft->claims);
    json_decref(draft->scopes);
    json_decref(draft->entry);
    free(draft->payload);
    *draft = (struct mm_draft){0};
}
