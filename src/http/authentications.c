/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How clients can prove who they are, as the discovery documents tell it: what any account's rules switch on, and nothing else.
 */
#include <string.h>

#include "crypto/algorithm.h"
#include "http/routes.h"
#include "policy/exchange.h"

static bool any_account(const struct mm_policy *policy, bool (*has)(const struct mm_account *account))
{
    for (size_t i = 0; i < policy->n_tenants; i++)
        for (size_t j = 0; j < policy->tenants[i].n_accounts; j++)
            if (has(&policy->tenants[i].accounts[j]))
                return true;
    return false;
}

static bool has_certificate(const struct mm_account *account)
{
    return account->n_mtls > 0 || account->n_spiffe > 0;
}

static bool is_self_signed(const struct mm_account *account)
{
    return account->n_self_signed > 0;
}

static bool has_keys(const struct mm_account *account)
{
    return account->n_private_key_jwt > 0;
}

static bool is_federated(const struct mm_account *account)
{
    return account->n_oidc > 0 || account->n_spiffe > 0;
}

static bool has_secret(const struct mm_account *account)
{
    for (size_t i = 0; i < account->n_oidc; i++)
        if (account->oidc[i].is_client_secret && account->oidc[i].mode == MM_RULE_ENFORCED)
            return true;
    return false;
}

static bool any_has_certificate(const struct mm_policy *policy)
{
    return any_account(policy, has_certificate);
}

static bool any_is_self_signed(const struct mm_policy *policy)
{
    return any_account(policy, is_self_signed);
}

static bool any_has_keys(const struct mm_policy *policy)
{
    return any_account(policy, has_keys);
}

static bool any_has_secret(const struct mm_policy *policy)
{
    return any_account(policy, has_secret);
}

static bool any_is_public(const struct mm_policy *policy)
{
    for (size_t i = 0; i < policy->n_tenants; i++)
        if (policy->tenants[i].exchange && policy->tenants[i].exchange->n_public_clients > 0)
            return true;
    return false;
}

bool mm_oauth_has_federation(const struct mm_policy *policy)
{
    return any_account(policy, is_federated);
}

/* RFC 7591 section 2, RFC 8705 section 2. What is no proof comes last. */
static const struct client_authentication {
    const char *name;
    bool (*is_on)(const struct mm_policy *policy);
} CLIENT_AUTHENTICATIONS[] = {
    {"tls_client_auth", any_has_certificate},
    {"self_signed_tls_client_auth", any_is_self_signed},
    {"private_key_jwt", any_has_keys},
    {"client_secret_basic", any_has_secret}, /* the secret is a platform's token */
    {"client_secret_post", any_has_secret},
    {"none", any_is_public},
};

const char *mm_oauth_client_authentication(const struct mm_policy *policy, size_t i)
{
    for (size_t j = 0; j < MM_ARRAY_SIZE(CLIENT_AUTHENTICATIONS); j++)
        if (CLIENT_AUTHENTICATIONS[j].is_on(policy) && i-- == 0)
            return CLIENT_AUTHENTICATIONS[j].name;
    return NULL;
}

const char *mm_oauth_client_proof(const struct mm_policy *policy, size_t i)
{
    const char *name = mm_oauth_client_authentication(policy, i);
    return name && strcmp(name, "none") != 0 ? name : NULL;
}

const char *mm_oauth_assertion_algorithm(const struct mm_policy *policy, size_t i)
{
    static const char ED25519[] = "Ed25519"; /* RFC 9864: the other name of EdDSA */
    if (!any_has_keys(policy) || i > MM_N_FOREIGN_ALGORITHMS)
        return NULL;
    return i == MM_N_FOREIGN_ALGORITHMS ? ED25519 : mm_algorithm_name((enum mm_algorithm)i);
}
