/* SPDX-License-Identifier: Apache-2.0 */
#include "http/caller.h"

#include <stdio.h>
#include <string.h>

#include "http/credentials.h"
#include "http/service.h"
#include "http/slowing.h"
#include "issue/uses.h"
#include "oauth/client.h"
#include "oauth/mtls.h"
#include "policy/exchange.h"
#include "util/log.h"

struct mm_caller_credentials mm_caller_credentials_of(const struct mm_form *form)
{
    return (struct mm_caller_credentials){
        .tenant_id = mm_form_value(form, "tenant_id"),
        .client_id = mm_form_value(form, "client_id"),
        .client_secret = mm_form_value(form, "client_secret"),
        .client_assertion = mm_form_token(form, "client_assertion"),
        .client_assertion_type = mm_form_value(form, "client_assertion_type"),
    };
}

static bool find_source_keys(struct mm_request *request, const struct mm_tenant *tenant, const char *source,
                             const struct mm_jwt *jwt, struct mm_jwks **ret_keys, struct mm_error *err)
{
    struct mm_service *service = request->service;
    if (!service->parts.key_sources)
        return mm_fail(err, MM_KEYS_UNAVAILABLE, "no keys of others are known");
    struct mm_waiter *waiter = mm_waiter_new(service->waiting, tenant->id);
    enum mm_keys keys = mm_key_sources_get(service->parts.key_sources, source, jwt, waiter ? mm_waiter_wake : NULL,
                                           waiter, ret_keys, err);
    if (keys != MM_KEYS_AWAITED) {
        mm_waiter_drop(waiter);
        return keys == MM_KEYS_READY;
    }
    mm_waiter_unref(request->waiter);
    request->waiter = waiter;
    return mm_fail(err, MM_REQUEST_WAITS, "keys are being fetched");
}

bool mm_caller_find_keys(struct mm_request *request, const char *source, const struct mm_jwt *jwt,
                         struct mm_jwks **ret_keys, struct mm_error *err)
{
    return find_source_keys(request, request->principal.tenant, source, jwt, ret_keys, err);
}

/* Keys that the JWT says it is signed with, at whichever of its claimant's places has them. */
static bool find_keys(struct mm_request *request, const struct mm_claimant *claimant, struct mm_claimant_keys *ret_keys,
                      struct mm_jwks **ret_jwks, struct mm_error *err)
{
    struct mm_error missing = {0};
    for (size_t i = 0; mm_claimant_keys(claimant, i, ret_keys); i++) {
        struct mm_error why = {0};
        mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = ret_keys->jwks ? mm_jwks_ref(ret_keys->jwks) : NULL;
        if (!jwks && !find_source_keys(request, claimant->tenant, ret_keys->source, request->jwt, &jwks, &why)) {
            if (why.code == MM_REQUEST_WAITS)
                return mm_fail(err, why.code, "%s", why.message);
            (void)mm_fail(&missing, why.code, "%s", why.message);
        } else if (mm_jwt_has_key_in(request->jwt, jwks)) {
            *ret_jwks = MM_TAKE(jwks);
            return true;
        }
    }
    (void)mm_fail(&missing, MM_TOKEN_INVALID, "none of its issuer's keys is the one that it says it is signed with");
    return mm_fail(err, missing.code, "%s", missing.message);
}

/* What a rule in audit mode decides; bounded as refusals' lines are, since whoever an issuer signs for could fill the log otherwise. */
static void log_decision(const struct mm_request *request, const struct mm_oidc_match *match, const char *decision,
                         const char *reason)
{
    char line[16];
    if (!mm_addresses_may_log(request->service->addresses, &request->key, mm_monotonic_ns()))
        return;
    (void)snprintf(line, sizeof line, "%d", match->rule->line);
    mm_log(MM_LOG_INFO, "federation_audit", "request_id", request->id, "account", match->account->identity, "rule_line",
           line, "issuer", match->rule->issuer, "decision", decision, "reason", reason, NULL);
}

static void log_audit(const struct mm_request *request, const struct mm_audit_matches *matches)
{
    for (size_t i = 0; i < matches->n; i++)
        log_decision(request, &matches->items[i], "would_match", NULL);
    for (size_t i = 0; i < matches->n_refusals; i++) {
        char reason[1024];
        const struct mm_audit_refusal *refusal = &matches->refusals[i];
        if (refusal->why.rule)
            (void)mm_claim_mismatch_format(&refusal->why, reason, sizeof reason);
        else
            (void)snprintf(reason, sizeof reason, "aud isn't %s", refusal->match.rule->audience);
        log_decision(request, &refusal->match, "would_refuse", reason);
    }
}

static void on_recorded(void *context, const struct mm_receipt *receipt, const struct mm_error *why)
{
    if (receipt)
        mm_waiter_wake(context);
    else
        mm_waiter_fail(context, why);
}

/* If it counts once: the first time alone, and not without a record of it. Only what is verified gets here, so strangers write nothing. */
static bool use(struct mm_request *request, const struct mm_principal *principal, int64_t now, struct mm_error *err)
{
    struct mm_service *service = request->service;
    const struct mm_one_use *once = &principal->use;
    if (once->until == 0)
        return true;
    if (!mm_replay_use(service->parts.replay, principal->tenant->id, once->digest, once->until, now, err))
        return false;
    struct mm_waiter *record = mm_waiter_new(service->waiting, NULL);
    if (!record)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (!mm_uses_record(service->parts.ledger, principal, on_recorded, record, err)) {
        mm_waiter_drop(record);
        return false;
    }
    request->record = record;
    return true;
}

static bool verify_jwt(struct mm_request *request, const struct mm_credentials *credentials,
                       const struct mm_tenant *tenant, struct mm_principal *ret_principal, struct mm_error *err)
{
    struct mm_service *service = request->service;
    const struct mm_assertion_terms terms = {
        .issuer = request->config->issuer,
        .token_endpoint = service->token_endpoint,
        .now = mm_clock_now(service->parts.clock),
    };
    struct mm_claimant claimant;
    struct mm_claimant_keys keys;
    struct mm_audit_matches audit;
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = NULL;
    if (!mm_assertion_claimant(tenant, credentials->client_id, request->jwt, credentials->way, &claimant, err) ||
        !find_keys(request, &claimant, &keys, &jwks, err))
        return false;
    bool is_proven = mm_assertion_verify(&claimant, &keys, request->jwt, jwks, &terms, ret_principal, &audit, err);
    log_audit(request, &audit);
    return is_proven && use(request, ret_principal, terms.now, err);
}

/* Whatever it is that a JWT doesn't prove, who sent it is told the same. */
static bool fail_alike(const struct mm_error *why, struct mm_error *err)
{
    bool is_callers =
        why->code == MM_TOKEN_INVALID || why->code == MM_ACCESS_DENIED || why->code == MM_CREDENTIAL_AMBIGUOUS;
    return mm_fail(err, is_callers ? MM_CREDENTIAL_INVALID : why->code, "%s", why->message);
}

/* Whose the credential can be and nobody else's, where a client's bare id says no more. */
static const struct mm_tenant *only_tenant(const struct mm_request *request, const struct mm_credentials *credentials)
{
    const struct mm_policy *policy = &request->config->policy;
    if (request->jwt)
        return mm_assertion_find_tenant(policy, request->jwt, credentials->way);
    return mm_mtls_find_tenant(policy, credentials->client_id, credentials->peer,
                               mm_clock_now(request->service->parts.clock));
}

/* The tenant that `client_id` or the request names, or else the credential that comes with a bare client_id. */
static bool find_tenant(const struct mm_request *request, const struct mm_credentials *credentials,
                        const char *client_id, char ret_tenant_id[MM_CLIENT_TENANT_MAX + 1], struct mm_error *err)
{
    struct mm_error unnamed = {0};
    if (mm_client_tenant(&request->config->policy, credentials->tenant_id, client_id, ret_tenant_id, &unnamed))
        return true;
    bool is_told = unnamed.code == MM_INVALID_REQUEST && credentials->client_id && (request->jwt || credentials->peer);
    if (!is_told)
        return mm_fail(err, unnamed.code, "%s", unnamed.message);
    const struct mm_tenant *tenant = only_tenant(request, credentials);
    if (!tenant)
        return mm_fail(err, MM_ACCESS_DENIED, "nothing names the tenant, and the credential is no one tenant's");
    (void)snprintf(ret_tenant_id, MM_CLIENT_TENANT_MAX + 1, "%s", tenant->id);
    return true;
}

/* Before its tenant is known, since a client's own assertion may name it. */
static bool open_jwt(struct mm_request *request, const struct mm_credentials *credentials,
                     char ret_tenant_id[MM_CLIENT_TENANT_MAX + 1], struct mm_error *err)
{
    if (!request->jwt)
        request->jwt = mm_jwt_open(credentials->jwt, strlen(credentials->jwt), err);
    const char *client_id = credentials->client_id;
    if (request->jwt && !client_id)
        client_id = mm_assertion_claimed_client(request->jwt);
    return request->jwt && find_tenant(request, credentials, client_id, ret_tenant_id, err);
}

static bool authenticate_by_jwt(struct mm_request *request, const struct mm_credentials *credentials,
                                struct mm_principal *ret_principal, struct mm_error *err)
{
    char tenant_id[MM_CLIENT_TENANT_MAX + 1];
    struct mm_error why = {0};
    return (open_jwt(request, credentials, tenant_id, &why) &&
            verify_jwt(request, credentials, mm_policy_tenant(&request->config->policy, tenant_id), ret_principal,
                       &why)) ||
           fail_alike(&why, err);
}

static bool authenticate_by_certificate(struct mm_request *request, const struct mm_credentials *credentials,
                                        const char *tenant_id, struct mm_principal *ret_principal, struct mm_error *err)
{
    int64_t now = mm_clock_now(request->service->parts.clock);
    if (!mm_mtls_authenticate(&request->config->policy, tenant_id, credentials->peer, now, ret_principal, err))
        return false;
    mm_peers_remember(request->service->peers, credentials->peer);
    return mm_client_check(ret_principal->account, credentials->client_id, err);
}

/* A client that is declared as public proves nothing: what it may do is what anybody may. */
static bool is_public(const struct mm_request *request, const struct mm_credentials *credentials, const char *tenant_id,
                      struct mm_principal *ret_principal)
{
    const struct mm_tenant *tenant = mm_policy_tenant(&request->config->policy, tenant_id);
    const struct mm_account *client =
        tenant && credentials->client_id ? mm_exchange_public_client(tenant, credentials->client_id) : NULL;
    if (!client)
        return false;
    *ret_principal = (struct mm_principal){
        .tenant = tenant,
        .account = client,
        .not_after = INT64_MAX,
        .credential = "none",
    };
    return true;
}

/* What proves nothing of who is calling may yet be what a token is bound to. */
static void note_certificate(const struct mm_credentials *credentials, struct mm_principal *principal)
{
    if (credentials->peer)
        memcpy(principal->fingerprint, mm_certificate_fingerprint(credentials->peer), sizeof principal->fingerprint);
}

static bool authenticate(struct mm_request *request, const struct mm_caller_credentials *said,
                         struct mm_principal *ret_principal, struct mm_error *err)
{
    char tenant_id[MM_CLIENT_TENANT_MAX + 1];
    mm_cleanup(mm_credentials_clear) struct mm_credentials credentials;
    if (!mm_credentials_take(request, said, &credentials, err))
        return false;
    if (credentials.jwt) {
        if (!authenticate_by_jwt(request, &credentials, ret_principal, err))
            return false;
    } else {
        if (!find_tenant(request, &credentials, credentials.client_id, tenant_id, err))
            return false;
        if (!said->may_be_public || !is_public(request, &credentials, tenant_id, ret_principal))
            return authenticate_by_certificate(request, &credentials, tenant_id, ret_principal, err);
    }
    note_certificate(&credentials, ret_principal);
    return true;
}

bool mm_caller_authenticate(struct mm_request *request, const struct mm_caller_credentials *credentials,
                            struct mm_principal *ret_principal, struct mm_error *err)
{
    if (!request->principal.tenant) {
        struct mm_principal principal;
        if (!authenticate(request, credentials, &principal, err))
            return false;
        request->principal = principal;
    }
    *ret_principal = request->principal;
    return true;
}

bool mm_caller_is_recorded(struct mm_request *request, struct mm_error *err)
{
    if (!request->record)
        return true;
    mm_waiter_unref(request->waiter);
    request->waiter = MM_TAKE(request->record);
    return mm_fail(err, MM_REQUEST_WAITS, "it is being recorded that a credential was used");
}

static bool has_proved(const struct mm_request *request)
{
    return request->principal.tenant && strcmp(request->principal.credential, "none") != 0;
}

/* Nobody has proved who they are: of a public client not even a token that could be exchanged. */
static bool is_failure(const struct mm_request *request, enum mm_code code)
{
    unsigned status = mm_code_http_status(code);
    return !has_proved(request) &&
           (status == MHD_HTTP_UNAUTHORIZED || status == MHD_HTTP_FORBIDDEN || code == MM_SUBJECT_TOKEN_INVALID);
}

/* The request waits, for keys or for a record. */
static struct mm_reply suspend(struct mm_request *request)
{
    struct mm_error why = {0};
    struct mm_waiter *waiter = MM_TAKE(request->waiter);
    request->pending = mm_pending_begin(request->service->pending, request->mhd, request->id, request->form, &why);
    if (request->pending)
        mm_waiter_suspend(waiter, request->pending, request->deadline_ns);
    mm_waiter_unref(waiter);
    return request->pending ? (struct mm_reply){0} : mm_request_refuse(request, &why, NULL, NULL);
}

/* A stranger's, taken apart, is forty times what it was: it isn't kept while the request waits, for keys or for its answer. */
static void forget_jwt(struct mm_request *request)
{
    if (!request->principal.tenant)
        mm_jwt_free(MM_TAKE(request->jwt));
}

struct mm_reply mm_caller_refuse(struct mm_request *request, const struct mm_error *err)
{
    forget_jwt(request);
    if (err->code == MM_REQUEST_WAITS)
        return suspend(request);
    struct mm_reply reply = mm_request_refuse(request, err, NULL, NULL);
    return is_failure(request, err->code) ? mm_slow_failure(request, &reply) : reply;
}

struct mm_reply mm_caller_answer_unproved(struct mm_request *request, struct mm_reply *reply)
{
    struct mm_reply answer = *reply;
    *reply = (struct mm_reply){0};
    return has_proved(request) ? answer : mm_slow_failure(request, &answer);
}
