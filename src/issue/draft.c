/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/draft.h"

#include <string.h>

#include "oauth/subject.h"
#include "util/base64url.h"
#include "util/json_writer.h"

enum { THUMBPRINT_LENGTH = 43 }; /* base64url of a SHA-256 */

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
                                    const struct mm_decision *decision)
{
    const struct mm_grant *grant = decision->grant;
    const struct mm_strings *audience = decision->audiences ? decision->audiences : &principal->tenant->audience;
    struct parts_of_token chosen = {
        .scopes = request->scopes,
        .n_scopes = request->n_scopes,
        .resources = (const char *const *)grant->resources.items,
        .n_resources = grant->resources.n,
        .audiences = (const char *const *)audience->items,
        .n_audiences = audience->n,
    };
    if (request->n_scopes == 0) {
        chosen.scopes = decision->scopes;
        chosen.n_scopes = decision->n_scopes;
    }
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

/*
 * The account or the request says so, or the token that is exchanged is: what was somebody's alone doesn't become everybody's.
 */
static bool is_bound(const struct mm_principal *principal, const struct mm_token_request *request)
{
    return principal->account->binding != MM_BINDING_NONE || request->is_bound ||
           (principal->subject && principal->subject->fingerprint[0]);
}

static const char *identity_of(const struct mm_principal *principal)
{
    return principal->subject ? principal->subject->identity : principal->account->identity;
}

/* Of an exchange: whose token it was, and who exchanged it. */
static void put_subject(struct mm_json_writer *entry, const struct mm_principal *principal)
{
    const struct mm_subject *subject = principal->subject;
    if (!subject)
        return;
    mm_json_member_string(entry, "client", principal->account->identity);
    mm_json_name(entry, "subject");
    mm_json_open(entry, '{');
    mm_json_member_string(entry, "iss", subject->issuer);
    mm_json_member_string(entry, "sub", subject->subject);
    if (subject->jti_digest[0])
        mm_json_member_string(entry, "jti_sha256", subject->jti_digest);
    mm_json_close(entry, '}');
    if (subject->actor) {
        mm_json_name(entry, "act");
        mm_json_put_text(entry, subject->actor);
    }
}

/* How the caller proved itself, and as whom, where somebody else vouched for it. */
static void put_credential(struct mm_json_writer *entry, const struct mm_principal *principal)
{
    mm_json_member_string(entry, "credential", principal->credential);
    if (principal->fingerprint[0])
        mm_json_member_string(entry, "certificate_sha256", principal->fingerprint);
    if (principal->federated.issuer) {
        mm_json_name(entry, "federated");
        mm_json_open(entry, '{');
        mm_json_member_string(entry, "iss", principal->federated.issuer);
        if (principal->federated.subject)
            mm_json_member_string(entry, "sub", principal->federated.subject);
        mm_json_close(entry, '}');
    }
}

static bool make_entry(const struct mm_policy *policy, const struct mm_principal *principal,
                       const struct mm_token_request *request, const struct mm_decision *decision, const char *kid,
                       const char *request_id, struct mm_draft *draft, struct mm_error *err)
{
    char claims_digest[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(draft->payload, strlen(draft->payload), claims_digest);
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer entry = mm_json_writer_make();
    mm_json_open(&entry, '{');
    mm_json_member_string(&entry, "tenant", principal->tenant->id);
    mm_json_member_string(&entry, "account", identity_of(principal));
    mm_json_member_string(&entry, "jti", draft->jti);
    mm_json_name(&entry, "rule");
    mm_json_open(&entry, '{');
    mm_json_member_integer(&entry, principal->subject ? "exchange" : "grant", (int64_t)decision->grant_index);
    mm_json_member_integer(&entry, "line", decision->grant->line);
    mm_json_close(&entry, '}');
    mm_json_member_string(&entry, "policy", policy->digest);
    mm_json_member_string(&entry, "kid", kid);
    mm_json_member_string(&entry, "claims_sha256", claims_digest);
    mm_json_member_integer(&entry, "exp", draft->expires_at);
    put_credential(&entry, principal);
    put_subject(&entry, principal);
    if (is_bound(principal, request)) {
        mm_json_name(&entry, "certificate_bound");
        mm_json_put_bool(&entry, true);
    }
    mm_json_member_string(&entry, "request_id", request_id);
    mm_json_close(&entry, '}');
    draft->entry = mm_json_writer_finish(&entry, err);
    return draft->entry != NULL;
}

static char *array_text(const char *const *strings, size_t n, struct mm_error *err)
{
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_put_strings(&writer, strings, n);
    return mm_json_writer_finish(&writer, err);
}

/*
 * What that token is bound to, in `out`; an empty string: nothing. A credential that it can't be bound to
 * gets none.
 */
static bool find_binding(const struct mm_principal *principal, const struct mm_token_request *request,
                         char out[THUMBPRINT_LENGTH + 1], struct mm_error *err)
{
    uint8_t digest[MM_SHA256_LENGTH];
    out[0] = '\0';
    if (!is_bound(principal, request))
        return true;
    if (!principal->fingerprint[0])
        return mm_fail(err, MM_CERTIFICATE_REQUIRED,
                       "a token must be bound, and there is no certificate to bind it to");
    if (!mm_hex_decode(principal->fingerprint, digest, sizeof digest))
        return mm_fail(err, MM_INTERNAL, "a certificate's fingerprint is malformed");
    mm_base64url_encode(digest, sizeof digest, out);
    return true;
}

static bool make_claims(const struct mm_issuer_parts *parts, const struct mm_principal *principal,
                        const struct mm_token_request *request, const struct parts_of_token *token,
                        struct mm_draft *draft, struct mm_error *err)
{
    char certificate[THUMBPRINT_LENGTH + 1];
    if (!find_binding(principal, request, certificate, err))
        return false;
    const struct mm_subject *subject = principal->subject;
    const struct mm_strings *root_domains = &principal->tenant->root_domains;
    struct mm_claims claims = {
        .issuer = parts->issuer_url,
        .identity = principal->account->identity,
        .subject = subject ? &subject->claims : NULL,
        .name = subject ? subject->name : principal->account->name,
        .env = principal->tenant->env,
        .tenant_id = principal->tenant->id,
        .is_service_account = !subject && principal->account->is_service_account,
        .audiences = token->audiences,
        .n_audiences = token->n_audiences,
        .scopes = token->scopes,
        .n_scopes = token->n_scopes,
        .resources = token->resources,
        .n_resources = token->n_resources,
        .issued_at = draft->issued_at,
        .expires_at = draft->expires_at,
        .jti = draft->jti,
        .root_domains = (const char *const *)root_domains->items,
        .n_root_domains = root_domains->n,
        .certificate = certificate[0] ? certificate : NULL,
    };
    draft->resources = mm_claims_resources(&claims, err);
    draft->payload = draft->resources ? mm_claims_payload(&claims, draft->resources, err) : NULL;
    draft->scopes = draft->payload ? array_text(token->scopes, token->n_scopes, err) : NULL;
    draft->audiences = draft->scopes ? array_text(token->audiences, token->n_audiences, err) : NULL;
    if (!draft->audiences)
        return false;
    /* Before it is recorded: what can't be signed must not be announced. */
    size_t length = strlen(draft->payload);
    return length <= MM_PAYLOAD_MAX || mm_fail(err, MM_INTERNAL, "claims of %zu bytes can't be signed", length);
}

bool mm_draft_make(const struct mm_issuer_parts *parts, const struct mm_policy *policy,
                   const struct mm_principal *principal, const struct mm_token_request *request,
                   const struct mm_decision *decision, const char *kid, const char *request_id,
                   struct mm_draft *ret_draft, struct mm_error *err)
{
    struct parts_of_token token = choose(principal, request, decision);
    mm_cleanup(mm_draft_clear) struct mm_draft draft = {0};
    if (!stays_inside(&principal->tenant->envelope, &token, err) ||
        !set_times(parts, principal, decision->ttl, &draft, err) ||
        !mm_jti_make(parts->random, mm_clock_now_ms(parts->clock), draft.jti, err) ||
        !make_claims(parts, principal, request, &token, &draft, err) ||
        !make_entry(policy, principal, request, decision, kid, request_id, &draft, err))
        return false;
    *ret_draft = draft;
    draft = (struct mm_draft){0};
    return true;
}

void mm_draft_clear(struct mm_draft *draft)
{
    free(draft->payload);
    free(draft->entry);
    free(draft->scopes);
    free(draft->resources);
    free(draft->audiences);
    *draft = (struct mm_draft){0};
}
