/* SPDX-License-Identifier: Apache-2.0 */
#include "http/caller.h"

#include <string.h>

#include "http/service.h"
#include "http/slowing.h"
#include "oauth/client.h"
#include "oauth/key_sources.h"
#include "oauth/mtls.h"
#include "policy/exchange.h"

struct mm_caller_credentials mm_caller_credentials_of(const struct mm_form *form)
{
    return (struct mm_caller_credentials){
        .tenant_id = mm_form_value(form, "tenant_id"),
        .client_id = mm_form_value(form, "client_id"),
        .client_secret = mm_form_value(form, "client_secret"),
        .client_assertion = mm_form_value(form, "client_assertion"),
        .client_assertion_type = mm_form_value(form, "client_assertion_type"),
    };
}

/* Whether it brings something to authenticate with, other than a certificate. */
static bool has_secret(const struct mm_request *request, const struct mm_caller_credentials *credentials)
{
    return mm_request_header(request, MHD_HTTP_HEADER_AUTHORIZATION) || credentials->client_secret ||
           credentials->client_assertion || credentials->client_assertion_type;
}

/* One way to authenticate a request (RFC 6749 section 2.3), and that one a certificate. */
static bool check_credentials(const struct mm_request *request, const struct mm_caller_credentials *credentials,
                              const struct mm_certificate *peer, struct mm_error *err)
{
    bool has_authorization =
        request->form == MM_ERRORS_OAUTH && mm_request_header(request, MHD_HTTP_HEADER_AUTHORIZATION);
    bool has_secret = credentials->client_secret;
    bool has_assertion = credentials->client_assertion || credentials->client_assertion_type;
    if (has_authorization + has_secret + has_assertion + (peer != NULL) > 1)
        return mm_fail(err, MM_INVALID_REQUEST, "the client authenticates in more than one way");
    return peer || mm_fail(err, MM_CERTIFICATE_REQUIRED, "a client certificate is required");
}

/* Whoever says so. A certificate beside it is none of an account's: it only proves what tokens may be bound to (RFC 8705 section 4). */
static bool take_public(const struct mm_policy *policy, const struct mm_caller_credentials *credentials,
                        struct mm_certificate *peer, struct mm_principal *ret_principal)
{
    char tenant_id[MM_CLIENT_TENANT_MAX + 1];
    if (!mm_client_tenant(policy, credentials->tenant_id, credentials->client_id, tenant_id, NULL))
        return false;
    const struct mm_tenant *tenant = mm_policy_tenant(policy, tenant_id);
    const struct mm_account *client = tenant ? mm_exchange_public_client(tenant, credentials->client_id) : NULL;
    if (!client)
        return false;
    *ret_principal =
        (struct mm_principal){.tenant = tenant, .account = client, .not_after = INT64_MAX, .credential = "none"};
    if (peer)
        memcpy(ret_principal->fingerprint, mm_certificate_fingerprint(peer), sizeof ret_principal->fingerprint);
    return true;
}

static bool authenticate(struct mm_request *request, const struct mm_caller_credentials *credentials,
                         struct mm_principal *ret_principal, struct mm_error *err)
{
    const struct mm_policy *policy = &request->config->policy;
    int64_t now = mm_clock_now(request->service->parts.clock);
    char tenant_id[MM_CLIENT_TENANT_MAX + 1];
    mm_cleanup(mm_certificate_unref) struct mm_certificate *peer = NULL;
    if (!mm_request_peer(request, &peer, err))
        return false;
    if (credentials->may_be_public && !has_secret(request, credentials) &&
        take_public(policy, credentials, peer, ret_principal))
        return true;
    if (!check_credentials(request, credentials, peer, err) ||
        !mm_client_tenant(policy, credentials->tenant_id, credentials->client_id, tenant_id, err) ||
        !mm_mtls_authenticate(policy, tenant_id, peer, now, ret_principal, err))
        return false;
    mm_peers_remember(request->service->peers, peer);
    return mm_client_check(ret_principal->account, credentials->client_id, err);
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

bool mm_caller_find_keys(struct mm_request *request, const char *source, const struct mm_jwt *jwt,
                         struct mm_jwks **ret_keys, struct mm_error *err)
{
    struct mm_key_sources *sources = request->service->parts.key_sources;
    if (!sources)
        return mm_fail(err, MM_KEYS_UNAVAILABLE, "no keys of others are known");
    return mm_key_sources_get(sources, source, jwt, NULL, NULL, ret_keys, err) == MM_KEYS_READY;
}

/* Nobody has proved who they are: of a public client not even a token that could be exchanged. */
static bool is_failure(const struct mm_request *request, enum mm_code code)
{
    unsigned status = mm_code_http_status(code);
    bool is_known = request->principal.tenant && strcmp(request->principal.credential, "none") != 0;
    return !is_known &&
           (status == MHD_HTTP_UNAUTHORIZED || status == MHD_HTTP_FORBIDDEN || code == MM_SUBJECT_TOKEN_INVALID);
}

struct mm_reply mm_caller_refuse(struct mm_request *request, const struct mm_error *err)
{
    struct mm_reply reply = mm_request_refuse(request, err, NULL, NULL);
    return is_failure(request, err->code) ? mm_slow_failure(request, &reply) : reply;
}
