/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/exchange.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/grant.h"
#include "policy/shared_issuer.h"
#include "policy/syntax.h"

enum { RULES_MAX = 100, CLIENTS_MAX = 100, AUDIENCES_MAX = 16, ISSUER_MAX = 512, POINTER_MAX = 96 };

static const struct mm_schema AUDIENCE = {.type = MM_SCHEMA_STRING,
                                          .min = 1,
                                          .max = MM_AUDIENCE_LENGTH_MAX,
                                          .check = mm_check_visible};
static const struct mm_schema ID = {.type = MM_SCHEMA_STRING, .min = 1, .check = mm_check_id};

static const struct mm_schema SUBJECT_MEMBERS[] = {
    {.name = "issuer", .type = MM_SCHEMA_STRING, .min = 1, .max = ISSUER_MAX, .check = mm_check_https_url},
    {.name = "claims",
     .type = MM_SCHEMA_MAP,
     .min = 1,
     .max = MM_CLAIM_RULES_MAX,
     .key_check = mm_check_claim_name,
     .element = &MM_CLAIM_VALUE_SCHEMA},
    {.name = "accounts", .type = MM_SCHEMA_ARRAY, .min = 1, .element = &ID, .repeats = MM_REPEATS_REFUSED},
    {0},
};

static const struct mm_schema RULE_MEMBERS[] = {
    {.name = "subject", .type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = SUBJECT_MEMBERS},
    {.name = "clients", .type = MM_SCHEMA_ARRAY, .min = 1, .element = &ID, .repeats = MM_REPEATS_REFUSED},
    MM_GRANT_MEMBERS,
    {0},
};

static const struct mm_schema RULE = {.type = MM_SCHEMA_OBJECT, .members = RULE_MEMBERS};

const struct mm_schema MM_EXCHANGE_MEMBERS[] = {
    {.name = "subject_audiences",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = AUDIENCES_MAX,
     .element = &AUDIENCE,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "public_clients",
     .type = MM_SCHEMA_ARRAY,
     .min = 1,
     .max = CLIENTS_MAX,
     .element = &ID,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "rules", .type = MM_SCHEMA_ARRAY, .presence = MM_REQUIRED, .min = 1, .max = RULES_MAX, .element = &RULE},
    {0},
};

/* --- from a file */

static bool build_rule(const struct mm_document *document, size_t index, const json_t *json,
                       struct mm_exchange_rule *rule)
{
    const json_t *subject = json_object_get(json, "subject");
    const char *issuer = mm_json_string(subject, "issuer");
    char path[POINTER_MAX];
    (void)snprintf(path, sizeof path, "/exchange/rules/%zu", index);
    rule->issuer = issuer ? strdup(issuer) : NULL;
    return (!issuer ||
            (rule->issuer && mm_claim_rules_build(json_object_get(subject, "claims"), issuer, &rule->claims, NULL))) &&
           mm_strings_build(json_object_get(subject, "accounts"), &rule->accounts, NULL) &&
           mm_strings_build(json_object_get(json, "clients"), &rule->clients, NULL) &&
           mm_grant_build(json, mm_document_line(document, path), &rule->grant);
}

static bool build_client(const char *tenant_id, const char *id, enum mm_binding binding, struct mm_account *client)
{
    client->binding = binding;
    client->id = strdup(id);
    client->name = strdup(id);
    if (asprintf(&client->identity, "%s/%s", tenant_id, id) < 0)
        client->identity = NULL;
    return client->id && client->name && client->identity;
}

bool mm_exchange_build(const struct mm_document *document, const char *tenant_id, enum mm_binding binding,
                       struct mm_exchange **ret_exchange)
{
    const json_t *json = json_object_get(document->root, "exchange");
    const json_t *clients = json_object_get(json, "public_clients");
    const json_t *rules = json_object_get(json, "rules");
    struct mm_exchange *exchange = calloc(1, sizeof *exchange);
    *ret_exchange = exchange;
    if (!exchange || !mm_strings_build(json_object_get(json, "subject_audiences"), &exchange->subject_audiences, NULL))
        return false;
    exchange->public_clients = calloc(json_array_size(clients) + 1, sizeof *exchange->public_clients);
    exchange->rules = calloc(json_array_size(rules) + 1, sizeof *exchange->rules);
    if (!exchange->public_clients || !exchange->rules)
        return false;
    for (size_t i = 0; i < json_array_size(clients); i++)
        if (!build_client(tenant_id, json_string_value(json_array_get(clients, i)), binding,
                          &exchange->public_clients[exchange->n_public_clients++]))
            return false;
    for (size_t i = 0; i < json_array_size(rules); i++)
        if (!build_rule(document, i, json_array_get(rules, i), &exchange->rules[exchange->n_rules++]))
            return false;
    return true;
}

void mm_exchange_free(struct mm_exchange *exchange)
{
    if (!exchange)
        return;
    for (size_t i = 0; i < exchange->n_public_clients; i++)
        mm_account_clear(&exchange->public_clients[i]);
    for (size_t i = 0; i < exchange->n_rules; i++) {
        struct mm_exchange_rule *rule = &exchange->rules[i];
        free(rule->issuer);
        mm_claim_rules_clear(&rule->claims);
        mm_strings_clear(&rule->accounts);
        mm_strings_clear(&rule->clients);
        mm_grant_clear(&rule->grant);
    }
    mm_strings_clear(&exchange->subject_audiences);
    free(exchange->public_clients);
    free(exchange->rules);
    free(exchange);
}

/* --- what a schema can't say */

struct check {
    const struct mm_document *document;
    const json_t *exchange;
    const struct mm_envelope *envelope;
    struct mm_problems *problems;
};

__attribute__((format(printf, 3, 4))) static void report(const struct check *check, const char *path,
                                                         const char *format, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    mm_problems_add(check->problems, check->document->file, mm_document_line(check->document, path), path, "%s",
                    reason);
}

static bool is_account(const struct check *check, const char *id)
{
    const json_t *accounts = json_object_get(check->document->root, "accounts");
    for (size_t i = 0; i < json_array_size(accounts); i++) {
        const char *known = mm_json_string(json_array_get(accounts, i), "id");
        if (known && strcmp(known, id) == 0)
            return true;
    }
    return false;
}

static void check_public_clients(const struct check *check)
{
    const json_t *clients = json_object_get(check->exchange, "public_clients");
    for (size_t i = 0; i < json_array_size(clients); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/exchange/public_clients/%zu", i);
        const char *id = json_string_value(json_array_get(clients, i));
        if (id && is_account(check, id))
            report(check, path, "public client ‹%s› is an account's id: nobody could tell them apart", id);
    }
}

static void check_rule_clients(const struct check *check, const json_t *rule, size_t index)
{
    const json_t *clients = json_object_get(rule, "clients");
    for (size_t i = 0; i < json_array_size(clients); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/exchange/rules/%zu/clients/%zu", index, i);
        const char *id = json_string_value(json_array_get(clients, i));
        if (id && !is_account(check, id) && !mm_json_array_has(json_object_get(check->exchange, "public_clients"), id))
            report(check, path, "there is neither an account nor a public client ‹%s›", id);
    }
}

static void check_rule_accounts(const struct check *check, const json_t *accounts, size_t index)
{
    for (size_t i = 0; i < json_array_size(accounts); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/exchange/rules/%zu/subject/accounts/%zu", index, i);
        const char *id = json_string_value(json_array_get(accounts, i));
        if (id && !is_account(check, id))
            report(check, path, "there is no account ‹%s›", id);
    }
}

/* Their tokens are for the tenant's own audiences: where subjects' never are, the rule takes nobody. */
static void warn_of_audiences(const struct check *check, const char *path)
{
    const json_t *audiences = json_object_get(check->exchange, "subject_audiences");
    const json_t *own = json_object_get(check->document->root, "audience");
    for (size_t i = 0; i < json_array_size(audiences); i++) {
        const char *audience = json_string_value(json_array_get(audiences, i));
        if (audience && mm_json_array_has(own, audience))
            return;
    }
    mm_problems_warn(
        check->problems, check->document->file, mm_document_line(check->document, path), path,
        "no token of these accounts is exchanged: ‹subject_audiences› has none of the tenant's ‹audience›");
}

/* Whoever has an account there would be a subject. */
static void check_shared(const struct check *check, const json_t *claims, const char *issuer, const char *path)
{
    const struct mm_shared_issuer *shared = mm_shared_issuer_find(issuer);
    struct mm_claim_rules rules = {0};
    if (!shared)
        return;
    if (!mm_claim_rules_build(claims, issuer, &rules, NULL))
        report(check, path, "out of memory");
    else if (!mm_shared_issuer_is_pinned(shared, &rules))
        report(check, path, "%s signs for everybody: ‹claims› must demand an id of the owner or the project, as in %s",
               mm_shared_issuer_title(shared), mm_shared_issuer_ids(shared));
    mm_claim_rules_clear(&rules);
}

static void check_issuer(const struct check *check, const json_t *subject, const char *issuer, const char *path)
{
    const json_t *claims = json_object_get(subject, "claims");
    char claims_path[POINTER_MAX + 8];
    (void)snprintf(claims_path, sizeof claims_path, "%s/claims", path);
    if (!claims)
        report(check, path, "‹subject› must say which ‹claims› the issuer's tokens have");
    mm_claim_rules_check(claims, check->document, claims_path, check->problems);
    if (mm_check_https_url(issuer))
        return;
    if (!mm_strings_have(&check->envelope->issuers, issuer))
        report(check, path, "issuer ‹%s› lies outside the tenant's envelope", issuer);
    if (json_object_size(claims) > 0)
        check_shared(check, claims, issuer, claims_path);
}

static void check_subject(const struct check *check, const json_t *subject, size_t index)
{
    char path[POINTER_MAX];
    (void)snprintf(path, sizeof path, "/exchange/rules/%zu/subject", index);
    const json_t *accounts = json_object_get(subject, "accounts");
    const char *issuer = mm_json_string(subject, "issuer");
    if (json_is_object(subject) && !json_object_get(subject, "issuer") == !accounts)
        report(check, path, "‹subject› must name either an issuer or accounts");
    else if (accounts && json_object_get(subject, "claims"))
        report(check, path, "‹claims› are an issuer's: what accounts are is known here");
    else if (issuer)
        check_issuer(check, subject, issuer, path);
    check_rule_accounts(check, accounts, index);
    if (accounts)
        warn_of_audiences(check, path);
}

void mm_exchange_check(const struct mm_document *document, const struct mm_envelope *envelope,
                       struct mm_problems *problems)
{
    const json_t *exchange = json_object_get(document->root, "exchange");
    const json_t *rules = json_object_get(exchange, "rules");
    struct check check = {document, exchange, envelope, problems};
    check_public_clients(&check);
    if (exchange && !json_object_get(document->root, "resource_template"))
        mm_problems_warn(problems, document->file, mm_document_line(document, "/exchange"), "/exchange",
                         "without a ‹resource_template› nobody can name what they would exchange a token for");
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *rule = json_array_get(rules, i);
        check_rule_clients(&check, rule, i);
        check_subject(&check, json_object_get(rule, "subject"), i);
    }
}

/* --- the decision */

const struct mm_account *mm_exchange_public_client(const struct mm_tenant *tenant, const char *client_id)
{
    const struct mm_exchange *exchange = tenant->exchange;
    for (size_t i = 0; exchange && client_id && i < exchange->n_public_clients; i++) {
        const struct mm_account *client = &exchange->public_clients[i];
        if (strcmp(client_id, client->id) == 0 || strcmp(client_id, client->identity) == 0)
            return client;
    }
    return NULL;
}

bool mm_exchange_has_issuer(const struct mm_exchange *exchange, const char *issuer)
{
    for (size_t i = 0; exchange && i < exchange->n_rules; i++)
        if (exchange->rules[i].issuer && strcmp(exchange->rules[i].issuer, issuer) == 0)
            return true;
    return false;
}

/* A whole request, and what it is held against. */
struct question {
    const struct mm_tenant *tenant;
    const struct mm_exchange_subject *subject;
    const struct mm_account *client;
    const struct mm_token_request *request;
};

/* Whether the rule takes that subject from that client at all. */
static bool takes(const struct mm_exchange_rule *rule, const struct question *question)
{
    const struct mm_exchange_subject *subject = question->subject;
    /* A resource server is no client: it would turn what it was sent into something of its own. */
    if (question->client->introspects.n > 0)
        return false;
    if (rule->clients.n > 0 && !mm_strings_have(&rule->clients, question->client->id))
        return false;
    if (!subject->issuer)
        return !rule->issuer && mm_strings_have(&rule->accounts, subject->account);
    return rule->issuer && strcmp(rule->issuer, subject->issuer) == 0 &&
           mm_claim_rules_match(&rule->claims, subject->claims, NULL);
}

static bool has_scope(const struct mm_exchange_rule *rule, const struct question *question, const char *scope)
{
    const struct mm_exchange_subject *subject = question->subject;
    return mm_strings_have(&rule->grant.scopes, scope) && (subject->issuer || mm_strings_have(&subject->scopes, scope));
}

static bool has_any_scope(const struct mm_exchange_rule *rule, const struct question *question)
{
    for (size_t i = 0; i < rule->grant.scopes.n; i++)
        if (has_scope(rule, question, rule->grant.scopes.items[i]))
            return true;
    return false;
}

static bool has_scopes(const struct mm_exchange_rule *rule, const struct question *question)
{
    const struct mm_token_request *request = question->request;
    for (size_t i = 0; i < request->n_scopes; i++)
        if (!has_scope(rule, question, request->scopes[i]))
            return false;
    return request->n_scopes > 0 || has_any_scope(rule, question);
}

static bool has_resource(const struct mm_exchange_rule *rule, const struct question *question)
{
    const char *resource = question->request->resource_id;
    const struct mm_exchange_subject *subject = question->subject;
    return mm_resource_is_covered(&rule->grant.resources, resource) &&
           (subject->issuer || mm_resource_is_covered(&subject->resources, resource));
}

static bool has_ttl(const struct mm_exchange_rule *rule, const struct question *question)
{
    return question->request->ttl <= rule->grant.ttl_max;
}

static bool covers_all(const struct mm_exchange_rule *rule, const struct question *question)
{
    return has_scopes(rule, question) && has_resource(rule, question) && has_ttl(rule, question);
}

static bool any_rule(const struct question *question,
                     bool (*has)(const struct mm_exchange_rule *, const struct question *))
{
    const struct mm_exchange *exchange = question->tenant->exchange;
    for (size_t i = 0; exchange && i < exchange->n_rules; i++)
        if (takes(&exchange->rules[i], question) && has(&exchange->rules[i], question))
            return true;
    return false;
}

static bool is_any(const struct mm_exchange_rule *rule, const struct question *question)
{
    (void)rule;
    (void)question;
    return true;
}

/* No rule satisfies the whole request: say which part none covers. */
static bool refuse(const struct question *question, struct mm_error *err)
{
    if (!any_rule(question, is_any))
        return mm_fail(err, MM_SUBJECT_TOKEN_INVALID, "no rule takes the subject from client %s",
                       question->client->identity);
    if (!any_rule(question, has_scopes))
        return mm_fail(err, MM_SCOPE_NOT_GRANTED, "no rule has these scopes for the subject");
    if (!any_rule(question, has_resource))
        return mm_fail(err, MM_RESOURCE_NOT_GRANTED, "no rule has this resource for the subject");
    if (!any_rule(question, has_ttl))
        return mm_fail(err, MM_TTL_TOO_LONG, "no rule allows a TTL of %lld seconds", (long long)question->request->ttl);
    return mm_fail(err, MM_NO_SINGLE_GRANT, "no single rule covers the scopes, the resource and the TTL together");
}

/* What a token may be for at most: what our own subject token is for. Whoever was shown that makes none for somebody else of it. */
static const struct mm_strings *audiences_of(const struct question *question)
{
    return question->subject->issuer ? &question->tenant->audience : &question->subject->audiences;
}

/* A token that is limited to some resources reaches all of them where nobody reads which. */
static bool gains_by_tier(const struct question *question)
{
    const struct mm_envelope *envelope = &question->tenant->envelope;
    const struct mm_exchange_subject *subject = question->subject;
    if (subject->issuer || mm_envelope_is_covered(envelope, &subject->resources))
        return false;
    const struct mm_strings *audiences = audiences_of(question);
    for (size_t i = 0; i < audiences->n && !question->request->audience; i++)
        if (mm_strings_have(&envelope->tier_1, audiences->items[i]))
            return true;
    return question->request->audience && mm_strings_have(&envelope->tier_1, question->request->audience);
}

static bool check_audience(const struct question *question, struct mm_error *err)
{
    const char *audience = question->request->audience;
    if (audience && !mm_strings_have(&question->tenant->audience, audience))
        return mm_fail(err, MM_AUDIENCE_NOT_GRANTED, "the audience isn't one of the tenant's");
    if (audience ? !mm_strings_have(audiences_of(question), audience) : audiences_of(question)->n == 0)
        return mm_fail(err, MM_AUDIENCE_NOT_GRANTED, "the subject token is for another audience");
    return !gains_by_tier(question) ||
           mm_fail(err, MM_AUDIENCE_NOT_GRANTED,
                   "the subject token is limited to some resources, and the audience is of tier 1");
}

static void grant(const struct mm_exchange_rule *rule, size_t index, const struct question *question,
                  struct mm_decision *decision)
{
    int64_t ttl = question->request->ttl;
    *decision = (struct mm_decision){.grant = &rule->grant, .grant_index = index};
    decision->ttl = ttl ? ttl : rule->grant.ttl_default;
    decision->audiences = audiences_of(question);
    for (size_t i = 0; i < rule->grant.scopes.n && question->request->n_scopes == 0; i++)
        if (has_scope(rule, question, rule->grant.scopes.items[i]))
            decision->scopes[decision->n_scopes++] = rule->grant.scopes.items[i];
}

bool mm_exchange_decide(const struct mm_tenant *tenant, const struct mm_exchange_subject *subject,
                        const struct mm_account *client, const struct mm_token_request *request,
                        struct mm_decision *ret_decision, struct mm_error *err)
{
    const struct question question = {tenant, subject, client, request};
    const struct mm_exchange *exchange = tenant->exchange;
    if (!request->resource_id)
        return mm_fail(err, MM_INVALID_REQUEST, "an exchange is for one resource");
    if (request->ttl < 0)
        return mm_fail(err, MM_INVALID_REQUEST, "a TTL is a positive number of seconds");
    for (size_t i = 0; exchange && i < exchange->n_rules; i++) {
        const struct mm_exchange_rule *rule = &exchange->rules[i];
        if (!takes(rule, &question) || !covers_all(rule, &question))
            continue;
        grant(rule, i, &question, ret_decision);
        return check_audience(&question, err) &&
               mm_policy_algorithm(&tenant->envelope, request->audience, audiences_of(&question),
                                   &ret_decision->algorithm, err);
    }
    return refuse(&question, err);
}
