/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/assertion.h"

#include <stdio.h>
#include <string.h>

#include "oauth/replay.h"
#include "policy/index.h"
#include "policy/spiffe.h"

static const char HTTPS[] = "https://";

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool mm_assertion_way_parse(const char *type, enum mm_assertion_way *ret_way, struct mm_error *err)
{
    static const struct {
        const char *type;
        enum mm_assertion_way way;
    } TYPES[] = {
        {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer", MM_ASSERTION_AS_JWT_BEARER},
        {"urn:ietf:params:oauth:client-assertion-type:jwt-spiffe", MM_ASSERTION_AS_JWT_SPIFFE},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(TYPES); i++) {
        if (strcmp(TYPES[i].type, type) != 0)
            continue;
        *ret_way = TYPES[i].way;
        return true;
    }
    return mm_fail(err, MM_CREDENTIAL_INVALID, "no such type of client assertion");
}

const char *mm_assertion_claimed_client(const struct mm_jwt *jwt)
{
    const char *issuer = mm_jwt_claimed_issuer(jwt);
    return issuer && !starts_with(issuer, HTTPS) ? issuer : NULL;
}

/* What a JWT says it is. Whoever has a SPIFFE ID and says so by the way it came needn't do without an issuer. */
static bool find_kind(const struct mm_jwt *jwt, enum mm_assertion_way way, enum mm_assertion_kind *ret_kind,
                      struct mm_error *err)
{
    const char *issuer = mm_jwt_claimed_issuer(jwt);
    const char *subject = mm_jwt_claimed_subject(jwt);
    if (!issuer || way == MM_ASSERTION_AS_JWT_SPIFFE)
        *ret_kind = MM_JWT_SVID;
    else
        *ret_kind = starts_with(issuer, HTTPS) ? MM_OIDC_TOKEN : MM_PRIVATE_KEY_JWT;
    if (*ret_kind == MM_JWT_SVID && !mm_is_spiffe_id(subject))
        return mm_fail(err, MM_ACCESS_DENIED, "neither iss nor sub says whose JWT it is");
    return true;
}

/* What may come by each way. A client's own assertion is none of its secrets, nor did anybody issue it. */
static bool check_way(enum mm_assertion_kind kind, enum mm_assertion_way way, struct mm_error *err)
{
    bool is_taken = way == MM_ASSERTION_AS_SECRET          ? kind == MM_OIDC_TOKEN
                    : way == MM_ASSERTION_AS_SUBJECT_TOKEN ? kind != MM_PRIVATE_KEY_JWT
                                                           : true;
    return is_taken || mm_fail(err, MM_ACCESS_DENIED, "such a JWT isn't taken this way");
}

/* The trust domain of a SPIFFE ID as its key source is called, if the tenant's envelope has it. */
static bool find_trust_domain(const struct mm_tenant *tenant, const char *spiffe_id, struct mm_claimant *claimant,
                              struct mm_error *err)
{
    const struct mm_trust_domain *domain = mm_spiffe_trust_domain(&tenant->envelope, spiffe_id);
    if (!domain)
        return mm_fail(err, MM_ACCESS_DENIED, "the trust domain of its sub isn't one of tenant %s's", tenant->id);
    claimant->trust_domain = domain->name;
    int n = snprintf(claimant->source, sizeof claimant->source, MM_SPIFFE_SCHEME "%s", domain->name);
    return (n > 0 && (size_t)n < sizeof claimant->source) ||
           mm_fail(err, MM_INTERNAL, "the trust domain's name is too long");
}

static bool find_issuer(const struct mm_jwt *jwt, struct mm_claimant *claimant, struct mm_error *err)
{
    const struct mm_tenant *tenant = claimant->tenant;
    switch (claimant->kind) {
    case MM_PRIVATE_KEY_JWT: {
        const struct mm_account *account = mm_tenant_client(tenant, mm_jwt_claimed_issuer(jwt));
        if (!account || (claimant->account && claimant->account != account))
            return mm_fail(err, MM_ACCESS_DENIED,
                           "its iss is no client of tenant %s, or not the one that client_id says", tenant->id);
        claimant->account = account;
        return account->n_private_key_jwt > 0 ||
               mm_fail(err, MM_ACCESS_DENIED, "%s has no keys of its own", account->identity);
    }
    case MM_OIDC_TOKEN:
        claimant->issuer = mm_jwt_claimed_issuer(jwt);
        return mm_strings_have(&tenant->envelope.issuers, claimant->issuer) ||
               mm_fail(err, MM_ACCESS_DENIED, "its iss is no issuer of tenant %s's", tenant->id);
    case MM_JWT_SVID:
        return find_trust_domain(tenant, mm_jwt_claimed_subject(jwt), claimant, err);
    }
    return mm_fail(err, MM_INTERNAL, "a JWT of no kind");
}

bool mm_assertion_claimant(const struct mm_tenant *tenant, const char *client_id, const struct mm_jwt *jwt,
                           enum mm_assertion_way way, struct mm_claimant *ret_claimant, struct mm_error *err)
{
    struct mm_claimant claimant = {.way = way, .tenant = tenant};
    if (!tenant)
        return mm_fail(err, MM_ACCESS_DENIED, "no such tenant");
    if (client_id && !(claimant.account = mm_tenant_client(tenant, client_id)))
        return mm_fail(err, MM_ACCESS_DENIED, "client_id is no client of tenant %s", tenant->id);
    if (!find_kind(jwt, way, &claimant.kind, err) || !check_way(claimant.kind, way, err) ||
        !find_issuer(jwt, &claimant, err))
        return false;
    *ret_claimant = claimant;
    return true;
}

const struct mm_tenant *mm_assertion_find_tenant(const struct mm_policy *policy, const struct mm_jwt *jwt,
                                                 enum mm_assertion_way way)
{
    const struct mm_tenant *found = NULL;
    enum mm_assertion_kind kind;
    struct mm_error why = {0};
    if (!find_kind(jwt, way, &kind, &why) || kind == MM_PRIVATE_KEY_JWT)
        return NULL;
    for (size_t i = 0; i < policy->n_tenants; i++) {
        struct mm_claimant claimant = {.kind = kind, .way = way, .tenant = &policy->tenants[i]};
        struct mm_error other = {0};
        if (!find_issuer(jwt, &claimant, &other))
            continue;
        if (found)
            return NULL;
        found = claimant.tenant;
    }
    return found;
}

bool mm_claimant_keys(const struct mm_claimant *claimant, size_t i, struct mm_claimant_keys *ret_keys)
{
    if (claimant->kind == MM_PRIVATE_KEY_JWT) {
        const struct mm_private_key_jwt_rule *rules = claimant->account->private_key_jwt;
        if (i >= claimant->account->n_private_key_jwt)
            return false;
        *ret_keys = (struct mm_claimant_keys){rules[i].jwks, rules[i].jwks_uri, rules[i].audience};
        return true;
    }
    *ret_keys = (struct mm_claimant_keys){
        .source = claimant->kind == MM_OIDC_TOKEN ? claimant->issuer : claimant->source,
    };
    return i == 0;
}

static void count_once(struct mm_principal *principal, const char *issuer, const struct mm_jwt_claims *claims)
{
    mm_replay_digest(issuer, claims->id, principal->use.digest);
    principal->use.until = claims->expires_at + MM_JWT_LEEWAY;
}

/* RFC 7523 section 3 with RFC 10070: who signed it is its issuer, its subject and the client, and it is for us alone, once and soon. */
static bool verify_own(const struct mm_claimant *claimant, const struct mm_claimant_keys *keys, struct mm_jwt *jwt,
                       struct mm_jwks *jwks, const struct mm_assertion_terms *terms, struct mm_principal *principal,
                       struct mm_error *err)
{
    bool is_for_endpoint = keys->audience == MM_ASSERTION_FOR_TOKEN_ENDPOINT;
    const char *const audiences[] = {is_for_endpoint ? terms->token_endpoint : terms->issuer, NULL};
    /* Its issuer is one of the account's two names. */
    const struct mm_jwt_rules rules = mm_assertion_rules(mm_jwt_claimed_issuer(jwt), audiences);
    const struct mm_jwt_claims *claims = mm_jwt_verify(jwt, jwks, &rules, terms->now, err);
    if (!claims)
        return false;
    if (!claims->subject || strcmp(claims->subject, claims->issuer) != 0)
        return mm_fail(err, MM_TOKEN_INVALID, "sub isn't iss");
    if (!claims->id)
        return mm_fail(err, MM_TOKEN_INVALID, "jti is missing");
    principal->account = claimant->account;
    principal->credential = "private_key_jwt";
    /* By the account's whole name, however the client spelled it. */
    count_once(principal, claimant->account->identity, claims);
    return true;
}

/* By which of the account's rules a secret counts, if any. */
static const struct mm_oidc_rule *find_secret_rule(const struct mm_account *account, const struct mm_jwt_claims *claims)
{
    for (size_t i = 0; i < account->n_oidc; i++) {
        const struct mm_oidc_rule *rule = &account->oidc[i];
        if (rule->is_client_secret && rule->mode == MM_RULE_ENFORCED &&
            mm_oidc_rule_matches(rule, claims->issuer, claims->all, NULL))
            return rule;
    }
    return NULL;
}

static bool match_token(const struct mm_claimant *claimant, const struct mm_jwt_claims *claims,
                        struct mm_oidc_match *ret_match, struct mm_audit_matches *ret_audit, struct mm_error *err)
{
    if (!mm_policy_match_oidc(claimant->tenant, claimant->account, claims->issuer, claims->all, ret_match, ret_audit,
                              err))
        return false;
    if (claimant->way == MM_ASSERTION_AS_SECRET)
        ret_match->rule = find_secret_rule(ret_match->account, claims);
    return ret_match->rule ||
           mm_fail(err, MM_ACCESS_DENIED, "%s takes no token as a client_secret", ret_match->account->identity);
}

static bool check_single_use(const struct mm_jwt_claims *claims, int64_t now, struct mm_error *err)
{
    if (!claims->id)
        return mm_fail(err, MM_TOKEN_INVALID, "jti is missing, and its rule wants it used once");
    return claims->expires_at <= now + MM_JWT_LEEWAY + MM_SINGLE_USE_LIFETIME_MAX ||
           mm_fail(err, MM_TOKEN_INVALID, "it counts once, and lives for longer than %d s", MM_SINGLE_USE_LIFETIME_MAX);
}

/* A platform's identity token. Never one of ours: an access token proves nothing to whoever issued it (RFC 8725 section 2.8). */
static bool verify_platform(const struct mm_claimant *claimant, struct mm_jwt *jwt, struct mm_jwks *jwks,
                            const struct mm_assertion_terms *terms, struct mm_principal *principal,
                            struct mm_audit_matches *ret_audit, struct mm_error *err)
{
    static const char *const TYPES[] = {"", "JWT", NULL};
    const char *const *audiences = mm_policy_oidc_audiences(claimant->tenant, claimant->issuer);
    if (strcmp(claimant->issuer, terms->issuer) == 0)
        return mm_fail(err, MM_ACCESS_DENIED, "it is a token of our own");
    if (!audiences)
        return mm_fail(err, MM_ACCESS_DENIED, "no rule of tenant %s names its issuer", claimant->tenant->id);
    const struct mm_jwt_rules rules = {
        .issuer = claimant->issuer,
        .audiences = audiences,
        .audience = MM_AUDIENCE_SOLE,
        .types = TYPES,
        .leeway = MM_JWT_LEEWAY,
    };
    const struct mm_jwt_claims *claims = mm_jwt_verify(jwt, jwks, &rules, terms->now, err);
    struct mm_oidc_match match;
    if (!claims || !match_token(claimant, claims, &match, ret_audit, err))
        return false;
    if (match.rule->is_single_use) {
        if (!check_single_use(claims, terms->now, err))
            return false;
        count_once(principal, claims->issuer, claims);
    }
    principal->account = match.account;
    principal->credential = "oidc";
    principal->federated = (struct mm_federated){match.rule->issuer, claims->subject};
    return true;
}

/* SPIFFE's JWT-SVID section 3: sub, aud and exp; its bundle says whose keys count. */
static bool verify_svid(const struct mm_claimant *claimant, struct mm_jwt *jwt, struct mm_jwks *jwks,
                        const struct mm_assertion_terms *terms, struct mm_principal *principal, struct mm_error *err)
{
    static const char *const TYPES[] = {"", "JWT", "JOSE", NULL};
    const char *const audiences[] = {terms->issuer, NULL};
    const struct mm_jwt_rules rules = {
        .audiences = audiences,
        .audience = MM_AUDIENCE_SOLE,
        .types = TYPES,
        .leeway = MM_JWT_LEEWAY,
    };
    const struct mm_jwt_claims *claims = mm_jwt_verify(jwt, jwks, &rules, terms->now, err);
    if (!claims ||
        !mm_policy_match_spiffe(claimant->tenant, claimant->account, claims->subject, &principal->account, err))
        return false;
    principal->credential = "jwt_svid";
    principal->federated = (struct mm_federated){claimant->trust_domain, claims->subject};
    return true;
}

bool mm_assertion_verify(const struct mm_claimant *claimant, const struct mm_claimant_keys *keys, struct mm_jwt *jwt,
                         struct mm_jwks *jwks, const struct mm_assertion_terms *terms,
                         struct mm_principal *ret_principal, struct mm_audit_matches *ret_audit, struct mm_error *err)
{
    struct mm_principal principal = {.tenant = claimant->tenant, .not_after = INT64_MAX};
    bool is_proven = false;
    *ret_audit = (struct mm_audit_matches){0};
    switch (claimant->kind) {
    case MM_PRIVATE_KEY_JWT:
        is_proven = verify_own(claimant, keys, jwt, jwks, terms, &principal, err);
        break;
    case MM_OIDC_TOKEN:
        is_proven = verify_platform(claimant, jwt, jwks, terms, &principal, ret_audit, err);
        break;
    case MM_JWT_SVID:
        is_proven = verify_svid(claimant, jwt, jwks, terms, &principal, err);
        break;
    }
    if (is_proven)
        *ret_principal = principal;
    return is_proven;
}
