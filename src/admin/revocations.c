/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking tokens back: what was, by whom and why; what it would hit; and the end of a stop.
 */
#include "admin/request.h"

#include <stdio.h>
#include <string.h>

#include "policy/exchange.h"
#include "policy/index.h"
#include "revocation/estimate.h"
#include "revocation/revocations.h"

enum { LISTED_MAX = 1000, COUNT_MS = 5000, RECORD_MS = 30000 };

static const char *const WHATS[] = {
#define WHAT_NAME(symbol, name, member) name,
    MM_REVOKE_TABLE(WHAT_NAME)
#undef WHAT_NAME
        NULL,
};

static const struct mm_schema REVOCATION_MEMBERS[] = {
    {.name = "what", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .one_of = WHATS},
    {.name = "name", .type = MM_SCHEMA_STRING, .max = MM_REVOKE_NAME_MAX},
    {.name = "tenant", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_REVOKE_NAME_MAX},
    {.name = "issued_before", .type = MM_SCHEMA_INTEGER, .min = 1, .max = INT64_MAX},
    {.name = "reason", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = MM_REVOKE_REASON_MAX},
    {.name = "dry_run", .type = MM_SCHEMA_BOOLEAN},
    {0},
};

static const struct mm_schema REVOCATION = {.type = MM_SCHEMA_OBJECT,
                                            .presence = MM_REQUIRED,
                                            .members = REVOCATION_MEMBERS};

static const struct mm_schema LIFT_MEMBERS[] = {
    {.name = "id", .type = MM_SCHEMA_INTEGER, .presence = MM_REQUIRED, .min = 1, .max = INT64_MAX},
    {.name = "reason", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = MM_REVOKE_REASON_MAX},
    {0},
};

static const struct mm_schema LIFT = {.type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = LIFT_MEMBERS};

_Static_assert(MM_ADMIN_BY_MAX - 1 <= MM_REVOKE_BY_MAX, "whoever may ask may be named");

struct mm_reply mm_admin_serve_revocations(struct mm_admin_request *request)
{
    struct mm_revocations *revocations = request->admin->parts.revocations;
    const struct mm_revocations_counts counts = mm_revocations_count(revocations);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{so sI sI sI}", "revocations", mm_revocations_list(revocations, LISTED_MAX, NULL), "by_operators",
                  (json_int_t)counts.n_operators, "by_clients", (json_int_t)counts.n_clients, "stops",
                  (json_int_t)counts.n_stops);
    return mm_reply_json(MHD_HTTP_OK, body);
}

static struct mm_revocation_order order_of(const struct mm_admin_request *request, const json_t *body)
{
    const char *name = mm_json_string(body, "name");
    struct mm_revocation_order order = {
        .name = name ? name : "",
        .tenant = mm_json_string(body, "tenant"),
        .issued_before = mm_json_integer(body, "issued_before", 0),
        .by = request->connection->peer.by,
        .reason = mm_json_string(body, "reason"),
        .whose = MM_REVOKED_BY_OPERATOR,
    };
    bool is_known = mm_revoke_parse(mm_json_string(body, "what"), &order.what);
    (void)is_known; /* the schema has said so */
    return order;
}

static json_t *describe_order(const struct mm_revocation_order *order)
{
    return json_pack("{ss ss ss* so sb}", "what", mm_revoke_name(order->what), "name", order->name, "tenant",
                     order->tenant, "issued_before", mm_json_timestamp(order->issued_before), "stops_issuance",
                     (int)mm_revocation_order_stops(order));
}

/* A user of somebody else's issuer, `‹issuer›#‹sub›`: whether tokens of that issuer are exchanged. */
static bool is_user_of(const struct mm_policy *policy, const char *name)
{
    char issuer[MM_REVOKE_NAME_MAX + 1];
    size_t length = strcspn(name, "#");
    (void)snprintf(issuer, sizeof issuer, "%.*s", (int)length, name);
    for (size_t i = 0; name[length] && i < policy->n_tenants; i++)
        if (mm_exchange_has_issuer(policy->tenants[i].exchange, issuer))
            return true;
    return false;
}

/* Whether the policy in force has whose tokens these are: who was taken out of it may be meant, or who was never in it. */
static bool is_in_policy(const struct mm_admin *admin, const struct mm_revocation_order *order)
{
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_server_config(admin->parts.server);
    char tenant_id[MM_REVOKE_NAME_MAX + 1];
    const char *name = order->what == MM_REVOKE_RESOURCE ? order->tenant : order->name;
    bool is_account = order->what == MM_REVOKE_ACCOUNT;
    if (!is_account && order->what != MM_REVOKE_TENANT && order->what != MM_REVOKE_RESOURCE)
        return true;
    if (is_account && is_user_of(&config->policy, name))
        return true;
    (void)snprintf(tenant_id, sizeof tenant_id, "%.*s", (int)(is_account ? strcspn(name, "/") : strlen(name)), name);
    const struct mm_tenant *tenant = mm_policy_tenant(&config->policy, tenant_id);
    if (!tenant || !is_account || mm_exchange_public_client(tenant, name))
        return tenant != NULL;
    return mm_tenant_client(tenant, name) != NULL;
}

/* What is alive of it and who goes on accepting that, as far as the ledger can be read in time. */
static json_t *describe_hit(const struct mm_admin *admin, const struct mm_revocation_order *order)
{
    struct mm_revocation_estimate estimate = {0};
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(admin->parts.keeper);
    bool is_counted =
        mm_revocation_estimate(admin->config->store_file, order, mm_keyring_longest_ttl(keyring),
                               mm_clock_now(admin->parts.clock), mm_deadline_after_ms(COUNT_MS), &estimate, NULL);
    return json_pack("{sb so sb so s[s s]}", "in_policy", (int)is_in_policy(admin, order), "live_tokens",
                     is_counted ? json_integer(estimate.n_live) : json_null(), "counted_all", (int)estimate.is_whole,
                     "last_exp", mm_json_timestamp(estimate.last_exp), "verifiers",
                     "who asks at /oauth2/introspect sees it at once, and so does the exchange of tokens",
                     "a verifier that checks tokens by itself accepts them until they expire");
}

static struct mm_reply answer(unsigned status, json_t *body, json_t *more)
{
    mm_cleanup(json_decref) json_t *whole = body;
    mm_cleanup(json_decref) json_t *rest = more;
    bool is_whole = whole && rest && json_object_update(whole, rest) == 0;
    return mm_reply_json(status, is_whole ? whole : NULL);
}

struct mm_reply mm_admin_serve_revoke_tokens(struct mm_admin_request *request)
{
    struct mm_admin *admin = request->admin;
    struct mm_error err = {0};
    struct mm_revoked revoked;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *body = NULL;
    if (!mm_admin_request_json(request, &REVOCATION, &body, &problems, &err))
        return mm_admin_refuse(request, &err, &problems);
    const struct mm_revocation_order order = order_of(request, body);
    if (!mm_revocation_order_check(&order, mm_clock_now(admin->parts.clock), &err))
        return mm_admin_refuse(request, &err, NULL);
    if (json_is_true(json_object_get(body, "dry_run")))
        return answer(MHD_HTTP_OK, describe_order(&order), describe_hit(admin, &order));
    if (!mm_revocations_revoke_now(admin->parts.revocations, &order, mm_deadline_after_ms(RECORD_MS), &revoked, &err))
        return mm_admin_refuse(request, &err, NULL);
    return answer(MHD_HTTP_CREATED, describe_order(&order),
                  json_pack("{sI so}", "id", (json_int_t)revoked.id, "revoked_at", mm_json_timestamp(revoked.time)));
}

struct mm_reply mm_admin_serve_lift(struct mm_admin_request *request)
{
    struct mm_error err = {0};
    struct mm_revoked lifted;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *body = NULL;
    if (!mm_admin_request_json(request, &LIFT, &body, &problems, &err))
        return mm_admin_refuse(request, &err, &problems);
    if (!mm_revocations_lift_now(request->admin->parts.revocations, mm_json_integer(body, "id", 0),
                                 request->connection->peer.by, mm_json_string(body, "reason"),
                                 mm_deadline_after_ms(RECORD_MS), &lifted, &err))
        return mm_admin_refuse(request, &err, NULL);
    mm_cleanup(json_decref) json_t *done =
        json_pack("{sI so}", "id", (json_int_t)lifted.id, "lifted_at", mm_json_timestamp(lifted.time));
    return mm_reply_json(MHD_HTTP_OK, done);
}
