/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/explain.h"

#include <stdio.h>
#include <string.h>

#include "policy/assertion_rules.h"
#include "policy/credentials.h"
#include "policy/exchange.h"
#include "policy/match.h"
#include "policy/spiffe.h"
#include "token/jwt.h"

enum kind { BY_OIDC, BY_PRIVATE_KEY_JWT, BY_SPIFFE };

static const char *const KINDS[] = {
    [BY_OIDC] = "oidc", [BY_PRIVATE_KEY_JWT] = "private_key_jwt", [BY_SPIFFE] = "spiffe"};

static bool starts_with(const char *text, const char *start)
{
    return text && strncmp(text, start, strlen(start)) == 0;
}

/*
 * Which rules are asked follows from who the token says has issued it: an issuer's URL, a client itself, or nobody but a SPIFFE ID. A JWT-SVID
 * may name an issuer as well, which no rule does.
 */
static enum kind kind_of(const struct mm_tenant *tenant, const json_t *claims)
{
    const char *issuer = mm_json_string(claims, "iss");
    bool is_svid = mm_is_spiffe_id(mm_json_string(claims, "sub"));
    if (!starts_with(issuer, "https://"))
        return is_svid && !issuer ? BY_SPIFFE : BY_PRIVATE_KEY_JWT;
    return is_svid && !mm_policy_oidc_audiences(tenant, issuer) ? BY_SPIFFE : BY_OIDC;
}

/* `expected` is taken over; NULL `got`: it isn't there. */
static bool add_failure(json_t *failures, const char *claim, json_t *expected, const json_t *got, const char *why)
{
    json_t *failure = json_pack("{s:s?, s:o, s:O?, s:s}", "claim", claim, "expected", expected, "got", got, "why", why);
    return mm_json_append(failures, failure, NULL);
}

static bool add_claim_failures(json_t *failures, const struct mm_claim_rules *rules, const json_t *claims)
{
    for (size_t i = 0; i < rules->n; i++) {
        const struct mm_claim_rules one = {.items = &rules->items[i], .n = 1, .subject = rules->subject};
        struct mm_claim_mismatch why = {0};
        char reason[1024];
        if (!mm_claim_rules_match(&one, claims, &why) &&
            !add_failure(failures, one.items->name, mm_strings_to_json(&one.items->values),
                         mm_claim_find(claims, one.items->name), mm_claim_mismatch_format(&why, reason, sizeof reason)))
            return false;
    }
    return true;
}

/* RULE without failures is one that matches. `says` and `failures` are taken over. */
static json_t *make_rule(const char *kind, int line, enum mm_rule_mode mode, char *says, json_t *failures)
{
    mm_cleanup(free) char *text = says;
    return json_pack("{s:s, s:i, s:s, s:s, s:b, s:o}", "kind", kind, "line", line, "says", text ? text : "", "mode",
                     mode == MM_RULE_AUDITED ? "audit" : "enforce", "matches",
                     failures && json_array_size(failures) == 0, "failures", failures);
}

static bool is_for(const json_t *claims, const char *audience)
{
    const char *sole = mm_jwt_claims_sole_audience(claims);
    return sole && strcmp(sole, audience) == 0;
}

static bool add_audience_failure(json_t *failures, const char *audience, const json_t *claims)
{
    char why[1024];
    (void)snprintf(why, sizeof why, "aud isn't %s alone", audience);
    return is_for(claims, audience) ||
           add_failure(failures, "aud", json_string(audience), json_object_get(claims, "aud"), why);
}

static json_t *explain_oidc(const struct mm_oidc_rule *rule, const json_t *claims)
{
    mm_cleanup(json_decref) json_t *failures = json_array();
    if (!add_audience_failure(failures, rule->audience, claims))
        return NULL;
    if (!add_claim_failures(failures, &rule->claims, claims))
        return NULL;
    return make_rule(KINDS[BY_OIDC], rule->line, rule->mode, mm_oidc_rule_describe(rule), MM_TAKE(failures));
}

static json_t *explain_spiffe(const struct mm_config *config, const struct mm_spiffe_rule *rule, int line,
                              const json_t *claims)
{
    const char *id = mm_json_string(claims, "sub");
    mm_cleanup(json_decref) json_t *failures = json_array();
    char *says = NULL;
    if (!add_audience_failure(failures, config->issuer, claims))
        return NULL;
    if (asprintf(&says, "SPIFFE IDs spiffe://%s%s", rule->trust_domain, rule->path) < 0)
        return NULL;
    if ((!id || !mm_spiffe_rule_matches(rule, id)) &&
        !add_failure(failures, "sub", json_string(says), json_object_get(claims, "sub"),
                     "sub isn't such a SPIFFE ID")) {
        free(says);
        return NULL;
    }
    return make_rule(KINDS[BY_SPIFFE], line, MM_RULE_ENFORCED, says, MM_TAKE(failures));
}

/* With the keys of a file at hand everything is checked, as the service would. */
static bool check_assertion(const struct mm_config *config, const struct mm_private_key_jwt_rule *rule,
                            const struct mm_explained *token, json_t *failures)
{
    mm_cleanup(free) char *endpoint = NULL;
    bool is_endpoint = rule->audience == MM_ASSERTION_FOR_TOKEN_ENDPOINT;
    if (asprintf(&endpoint, "%s/oauth2/token", config->issuer) < 0) {
        endpoint = NULL;
        return false;
    }
    const char *audiences[] = {is_endpoint ? endpoint : config->issuer, NULL};
    const char *issuer = mm_json_string(token->claims, "iss");
    const struct mm_jwt_rules rules = mm_assertion_rules(issuer, audiences);
    struct mm_error err = {0};
    struct mm_jwt_claims claims;
    if (!token->text || !rule->jwks) {
        if (mm_jwt_claims_check(token->claims, &rules, token->now, &claims, &err))
            return true;
    } else {
        mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(token->text, strlen(token->text), &err);
        if (jwt && mm_jwt_verify(jwt, rule->jwks, &rules, token->now, &err))
            return true;
    }
    return add_failure(failures, NULL, json_null(), NULL, err.message);
}

static json_t *explain_private_key_jwt(const struct mm_config *config, const struct mm_private_key_jwt_rule *rule,
                                       const struct mm_explained *token)
{
    const char *issuer = mm_json_string(token->claims, "iss");
    const char *subject = mm_json_string(token->claims, "sub");
    mm_cleanup(json_decref) json_t *failures = json_array();
    char *says = NULL;
    if ((!subject || strcmp(subject, issuer) != 0) &&
        !add_failure(failures, "sub", json_string(issuer), json_object_get(token->claims, "sub"), "sub isn't iss"))
        return NULL;
    if (!mm_json_string(token->claims, "jti") &&
        !add_failure(failures, "jti", json_null(), NULL, "jti isn't there: an assertion is used once"))
        return NULL;
    if (!check_assertion(config, rule, token, failures) ||
        asprintf(&says, "assertions signed with keys of %s", rule->jwks_uri ? rule->jwks_uri : rule->jwks_file) < 0)
        return NULL;
    return make_rule(KINDS[BY_PRIVATE_KEY_JWT], rule->line, MM_RULE_ENFORCED, says, MM_TAKE(failures));
}

static bool is_called(const struct mm_account *account, const char *client_id)
{
    return client_id && (strcmp(account->identity, client_id) == 0 || strcmp(account->id, client_id) == 0);
}

static json_t *explain_account(const struct mm_config *config, const struct mm_account *account, enum kind kind,
                               const struct mm_explained *token)
{
    const char *issuer = mm_json_string(token->claims, "iss");
    mm_cleanup(json_decref) json_t *rules = json_array();
    for (size_t i = 0; kind == BY_OIDC && i < account->n_oidc; i++)
        if (strcmp(account->oidc[i].issuer, issuer) == 0 &&
            !mm_json_append(rules, explain_oidc(&account->oidc[i], token->claims), NULL))
            return NULL;
    for (size_t i = 0; kind == BY_SPIFFE && i < account->n_spiffe; i++)
        if (!mm_json_append(rules, explain_spiffe(config, &account->spiffe[i], account->line, token->claims), NULL))
            return NULL;
    for (size_t i = 0; kind == BY_PRIVATE_KEY_JWT && is_called(account, issuer) && i < account->n_private_key_jwt; i++)
        if (!mm_json_append(rules, explain_private_key_jwt(config, &account->private_key_jwt[i], token), NULL))
            return NULL;
    return MM_TAKE(rules);
}

static bool note_audits(json_t *list, const struct mm_audit_matches *audit)
{
    for (size_t i = 0; i < audit->n; i++)
        if (!mm_json_append(list, json_string(audit->items[i].account->identity), NULL))
            return false;
    return true;
}

/* The account that is called so and has keys that sign its assertions; ones at hand must verify it. */
static const struct mm_account *find_client(const struct mm_config *config, const struct mm_tenant *tenant,
                                            const struct mm_explained *token, struct mm_error *err)
{
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        const struct mm_account *account = &tenant->accounts[i];
        mm_cleanup(json_decref) json_t *rules = explain_account(config, account, BY_PRIVATE_KEY_JWT, token);
        for (size_t j = 0; j < json_array_size(rules); j++)
            if (json_is_true(json_object_get(json_array_get(rules, j), "matches")))
                return account;
    }
    (void)mm_fail(err, MM_ACCESS_DENIED, "no account of tenant %s has such an assertion", tenant->id);
    return NULL;
}

bool mm_explain_outcome(const struct mm_config *config, const struct mm_tenant *tenant,
                        const struct mm_explained *token, struct mm_explained_outcome *ret_outcome)
{
    struct mm_explained_outcome outcome = {.audit = json_array()};
    struct mm_audit_matches audit = {0};
    struct mm_oidc_match match = {0};
    switch (kind_of(tenant, token->claims)) {
    case BY_OIDC:
        if (mm_policy_match_oidc(tenant, NULL, mm_json_string(token->claims, "iss"), token->claims, &match, &audit,
                                 &outcome.err))
            outcome.account = match.account;
        break;
    case BY_SPIFFE:
        if (!is_for(token->claims, config->issuer))
            (void)mm_fail(&outcome.err, MM_ACCESS_DENIED, "aud isn't this service alone");
        else if (!mm_policy_match_spiffe(tenant, NULL, mm_json_string(token->claims, "sub"), &outcome.account,
                                         &outcome.err))
            outcome.account = NULL;
        break;
    case BY_PRIVATE_KEY_JWT:
        outcome.account = find_client(config, tenant, token, &outcome.err);
        break;
    }
    if (!outcome.audit || !note_audits(outcome.audit, &audit)) {
        json_decref(outcome.audit);
        return false;
    }
    *ret_outcome = outcome;
    return true;
}

/* [RULE] of each account that has such rules. */
static json_t *explain_accounts(const struct mm_config *config, const struct mm_tenant *tenant,
                                const struct mm_explained *token)
{
    enum kind kind = kind_of(tenant, token->claims);
    mm_cleanup(json_decref) json_t *accounts = json_array();
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        mm_cleanup(json_decref) json_t *rules = explain_account(config, &tenant->accounts[i], kind, token);
        if (!rules)
            return NULL;
        if (json_array_size(rules) > 0 &&
            !mm_json_append(accounts, json_pack("{s:s, s:O}", "account", tenant->accounts[i].identity, "rules", rules),
                            NULL))
            return NULL;
    }
    return MM_TAKE(accounts);
}

static json_t *grant_to_json(const struct mm_grant *grant)
{
    return json_pack("{s:o, s:o, s:I, s:I}", "scopes", mm_strings_to_json(&grant->scopes), "resources",
                     mm_strings_to_json(&grant->resources), "ttl_default", (json_int_t)grant->ttl_default, "ttl_max",
                     (json_int_t)grant->ttl_max);
}

static json_t *grants_to_json(const struct mm_account *account)
{
    mm_cleanup(json_decref) json_t *grants = json_array();
    for (size_t i = 0; i < account->n_grants; i++)
        if (!mm_json_append(grants, grant_to_json(&account->grants[i]), NULL))
            return NULL;
    return MM_TAKE(grants);
}

/* --- subjects of an exchange */

static bool has_audience_among(const json_t *claims, const struct mm_strings *audiences)
{
    const json_t *aud = json_object_get(claims, "aud");
    if (json_is_string(aud))
        return mm_strings_have(audiences, json_string_value(aud));
    for (size_t i = 0; i < json_array_size(aud); i++)
        if (json_is_string(json_array_get(aud, i)) &&
            mm_strings_have(audiences, json_string_value(json_array_get(aud, i))))
            return true;
    return false;
}

/* Our own token: whether it stands for one of the rule's accounts. */
static bool is_of_accounts(const struct mm_tenant *tenant, const struct mm_exchange_rule *rule, const char *subject)
{
    size_t length = strlen(tenant->id);
    return starts_with(subject, tenant->id) && subject[length] == '/' &&
           mm_strings_have(&rule->accounts, subject + length + 1);
}

static json_t *explain_exchange_rule(const struct mm_tenant *tenant, const struct mm_exchange_rule *rule,
                                     const json_t *claims)
{
    const struct mm_strings *audiences = &tenant->exchange->subject_audiences;
    mm_cleanup(json_decref) json_t *failures = json_array();
    if (!has_audience_among(claims, audiences) &&
        !add_failure(failures, "aud", mm_strings_to_json(audiences), json_object_get(claims, "aud"),
                     "aud has none of ‹subject_audiences›"))
        return NULL;
    if (!rule->issuer && !is_of_accounts(tenant, rule, mm_json_string(claims, "sub")) &&
        !add_failure(failures, "sub", mm_strings_to_json(&rule->accounts), json_object_get(claims, "sub"),
                     "sub isn't one of the rule's accounts"))
        return NULL;
    if (rule->issuer && !add_claim_failures(failures, &rule->claims, claims))
        return NULL;
    json_t *explained =
        make_rule("exchange", rule->grant.line, MM_RULE_ENFORCED, strdup("tokens to exchange"), MM_TAKE(failures));
    json_t *more =
        json_pack("{s:o, s:[o]}", "clients", mm_strings_to_json(&rule->clients), "grants", grant_to_json(&rule->grant));
    bool is_whole = explained && more && json_object_update(explained, more) == 0;
    json_decref(more);
    if (is_whole)
        return explained;
    json_decref(explained);
    return NULL;
}

/* [RULE] of the exchange that are on the token's issuer. */
static json_t *explain_exchange(const struct mm_config *config, const struct mm_tenant *tenant, const json_t *claims)
{
    const char *issuer = mm_json_string(claims, "iss");
    mm_cleanup(json_decref) json_t *rules = json_array();
    for (size_t i = 0; issuer && tenant->exchange && i < tenant->exchange->n_rules; i++) {
        const struct mm_exchange_rule *rule = &tenant->exchange->rules[i];
        if (strcmp(rule->issuer ? rule->issuer : config->issuer, issuer) == 0 &&
            !mm_json_append(rules, explain_exchange_rule(tenant, rule, claims), NULL))
            return NULL;
    }
    return MM_TAKE(rules);
}

static json_t *explain_tenant(const struct mm_config *config, const struct mm_tenant *tenant,
                              const struct mm_explained *token, json_t *accounts, json_t *exchange)
{
    struct mm_explained_outcome outcome;
    if (!mm_explain_outcome(config, tenant, token, &outcome))
        return NULL;
    const struct mm_account *account = outcome.account;
    if (!account)
        return json_pack("{s:s, s:O, s:O, s:n, s:s, s:s, s:o}", "tenant", tenant->id, "accounts", accounts, "exchange",
                         exchange, "account", "refused", mm_code_name(outcome.err.code), "detail", outcome.err.message,
                         "audit", outcome.audit);
    return json_pack("{s:s, s:O, s:O, s:s, s:o, s:o}", "tenant", tenant->id, "accounts", accounts, "exchange", exchange,
                     "account", account->identity, "grants", grants_to_json(account), "audit", outcome.audit);
}

json_t *mm_explain(const struct mm_config *config, const struct mm_tenant *tenant, const struct mm_explained *token,
                   struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *tenants = json_array();
    for (size_t i = 0; i < config->policy.n_tenants; i++) {
        const struct mm_tenant *one = &config->policy.tenants[i];
        if (tenant && one != tenant)
            continue;
        mm_cleanup(json_decref) json_t *accounts = explain_accounts(config, one, token);
        mm_cleanup(json_decref) json_t *exchange = explain_exchange(config, one, token->claims);
        bool concerns = tenant || json_array_size(accounts) > 0 || json_array_size(exchange) > 0;
        if (accounts && exchange && !concerns)
            continue;
        if (!accounts || !exchange ||
            !mm_json_append(tenants, explain_tenant(config, one, token, accounts, exchange), NULL)) {
            (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
            return NULL;
        }
    }
    return MM_TAKE(tenants);
}
