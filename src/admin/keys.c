/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys: what they are, and the orders that change them. The keeper decides; what is here turns requests into its orders and its
 * keyring into answers.
 */
#include "admin/request.h"

#include <string.h>

#include "admin/strand.h"

enum { REASON_MAX = 512, NAME_MAX_LENGTH = 255, ID_MAX = 510 };

_Static_assert(MM_ADMIN_BY_MAX - 1 + REASON_MAX <= MM_KEY_AUTHOR_MAX,
               "the keeper takes whatever the schemas let through");

static const struct mm_schema REASON_MEMBERS[] = {
    {.name = "reason", .type = MM_SCHEMA_STRING, .max = REASON_MAX},
    {0},
};

static const struct mm_schema REASON = {.type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = REASON_MEMBERS};

static const struct mm_schema ROTATION_MEMBERS[] = {
    {.name = "algorithm", .type = MM_SCHEMA_STRING, .one_of = MM_ALGORITHM_NAMES},
    {.name = "hsm_token", .type = MM_SCHEMA_STRING, .min = 1, .max = NAME_MAX_LENGTH},
    {.name = "reason", .type = MM_SCHEMA_STRING, .max = REASON_MAX},
    {0},
};

static const struct mm_schema ROTATION = {.type = MM_SCHEMA_OBJECT,
                                          .presence = MM_REQUIRED,
                                          .members = ROTATION_MEMBERS};

/* n of RSA-4096 is the longest member of a public JWK. */
static const struct mm_schema JWK_MEMBER = {.type = MM_SCHEMA_STRING, .max = 1024};

static const struct mm_schema STAGING_MEMBERS[] = {
    {.name = "kid", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = MM_THUMBPRINT_LENGTH},
    {.name = "alg", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = 16},
    {.name = "jwk", .type = MM_SCHEMA_MAP, .presence = MM_REQUIRED, .max = 16, .element = &JWK_MEMBER},
    {.name = "hsm_token", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = NAME_MAX_LENGTH},
    {.name = "hsm_id", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = ID_MAX},
    {.name = "hsm_label", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .max = NAME_MAX_LENGTH},
    {.name = "reason", .type = MM_SCHEMA_STRING, .max = REASON_MAX},
    {0},
};

static const struct mm_schema STAGING = {.type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = STAGING_MEMBERS};

/* Files of bounded size in base64url. */
#define ATTESTATION_PART(symbol, part_name) \
    {.name = (part_name), .type = MM_SCHEMA_STRING, .min = 1, .max = MM_ATTESTATION_PART_TEXT_MAX},

static const struct mm_schema ATTESTATION_MEMBERS[] = {
    {.name = "kind", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1, .max = 16},
    MM_ATTESTATION_PARTS(ATTESTATION_PART){.name = "reason", .type = MM_SCHEMA_STRING, .max = REASON_MAX},
    {0},
};
#undef ATTESTATION_PART

static const struct mm_schema ATTESTATION = {.type = MM_SCHEMA_OBJECT,
                                             .presence = MM_REQUIRED,
                                             .members = ATTESTATION_MEMBERS};

static bool read_body(struct mm_admin_request *request, const struct mm_schema *schema, json_t **ret_body,
                      struct mm_reply *ret_refusal)
{
    struct mm_error err = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    if (mm_admin_request_json(request, schema, ret_body, &problems, &err))
        return true;
    *ret_refusal = mm_admin_refuse(request, &err, &problems);
    return false;
}

static struct mm_key_author author_of(const struct mm_admin_request *request, const json_t *body)
{
    const char *reason = mm_json_string(body, "reason");
    return (struct mm_key_author){.by = request->connection->peer.by, .reason = reason ? reason : ""};
}

/* What happens to the key by itself; null if nothing does. */
static json_t *next_of(struct mm_keeper *keeper, const struct mm_keyring *keyring, const struct mm_key *key)
{
    enum mm_key_change change;
    int64_t time;
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    const struct mm_key_plan plan = mm_keeper_plan(keeper);
    if (!mm_plan_next(&plan, keyring, key, &moment, &change, &time))
        return json_null();
    return json_pack("{ss so}", "change", mm_key_change_name(change), "at", mm_json_timestamp(time));
}

static json_t *describe(struct mm_keeper *keeper, const struct mm_keyring *keyring, const struct mm_key *key)
{
    return json_pack("{ss ss ss sb ss ss ss so so so so so}", "kid", key->kid, "alg", mm_algorithm_name(key->algorithm),
                     "state", mm_key_state_name(key->life.state), "revoked", (int)(key->life.trust == MM_KEY_REVOKED),
                     "hsm_token", key->hsm_token, "hsm_id", key->hsm_id, "hsm_label", key->hsm_label, "since",
                     mm_json_timestamp(key->life.since), "published_at", mm_json_timestamp(key->life.published_at),
                     "activated_at", mm_json_timestamp(key->activated_at), "last_exp",
                     mm_json_timestamp(key->life.last_exp), "next", next_of(keeper, keyring, key));
}

/* Of the rotations that are under way: one of an algorithm. */
static json_t *describe_successors(const struct mm_keyring *keyring)
{
    mm_cleanup(json_decref) json_t *kids = json_array();
    for (int i = 0; i < MM_N_ALGORITHMS; i++) {
        const struct mm_key *successor = mm_keyring_successor(keyring, (enum mm_algorithm)i);
        if (successor && !mm_json_append(kids, json_string(successor->kid), NULL))
            return NULL;
    }
    return MM_TAKE(kids);
}

/* Why a key that should be there couldn't be generated; null if nothing is wrong. */
static json_t *describe_supply(struct mm_supply *supply)
{
    const struct mm_supply_state state = mm_supply_state(supply);
    if (state.failed_at == 0)
        return json_null();
    return json_pack("{ss ss ss so so}", "hsm_token", state.hsm_token, "code", mm_code_name(state.why.code), "detail",
                     state.why.message, "failed_at", mm_json_timestamp(state.failed_at), "next_at",
                     mm_json_timestamp(state.next_at));
}

json_t *mm_admin_describe_keys(const struct mm_admin_parts *parts)
{
    struct mm_keeper *keeper = parts->keeper;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    mm_cleanup(json_decref) json_t *keys = json_array();
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++)
        if (!mm_json_append(keys, describe(keeper, keyring, mm_keyring_key(keyring, i)), NULL))
            return NULL;
    return json_pack("{sO so so}", "keys", keys, "successors", describe_successors(keyring), "not_generated",
                     describe_supply(parts->supply));
}

struct mm_reply mm_admin_serve_keys(struct mm_admin_request *request)
{
    mm_cleanup(json_decref) json_t *body = mm_admin_describe_keys(&request->admin->parts);
    return mm_reply_json(MHD_HTTP_OK, body);
}

/* The key as it is after an order. */
static struct mm_reply answer_with_key(struct mm_admin_request *request, unsigned status, const char *kid)
{
    struct mm_keeper *keeper = request->admin->parts.keeper;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    const struct mm_key *key = mm_keyring_find(keyring, kid);
    mm_cleanup(json_decref) json_t *body = key ? describe(keeper, keyring, key) : NULL;
    return mm_reply_json(status, body);
}

struct mm_reply mm_admin_serve_stage(struct mm_admin_request *request)
{
    struct mm_admin *admin = request->admin;
    struct mm_error err = {0};
    struct mm_reply refusal;
    mm_cleanup(json_decref) json_t *body = NULL;
    if (!read_body(request, &STAGING, &body, &refusal))
        return refusal;
    struct mm_key_author author = author_of(request, body);
    mm_cleanup(json_decref) json_t *entry = json_copy(body);
    if (!entry || !mm_config_hsm_token(admin->config, mm_json_string(body, "hsm_token"), &err)) {
        (void)mm_fail(&err, MM_NO_MEMORY, "out of memory");
        return mm_admin_refuse(request, &err, NULL);
    }
    (void)json_object_del(entry, "reason");
    if (!mm_keeper_stage(admin->parts.keeper, entry, &author, &err))
        return mm_admin_refuse(request, &err, NULL);
    return answer_with_key(request, MHD_HTTP_CREATED, mm_json_string(body, "kid"));
}

static struct mm_reply change(struct mm_admin_request *request, enum mm_key_change what)
{
    struct mm_error err = {0};
    struct mm_reply refusal;
    mm_cleanup(json_decref) json_t *body = NULL;
    if (!read_body(request, &REASON, &body, &refusal))
        return refusal;
    struct mm_key_author author = author_of(request, body);
    const struct mm_key_order order = {what, request->match.kid};
    if (!mm_keeper_change(request->admin->parts.keeper, &order, &author, &err))
        return mm_admin_refuse(request, &err, NULL);
    return answer_with_key(request, MHD_HTTP_OK, order.kid);
}

struct mm_reply mm_admin_serve_publish(struct mm_admin_request *request)
{
    return change(request, MM_KEY_PUBLISH);
}

struct mm_reply mm_admin_serve_activate(struct mm_admin_request *request)
{
    return change(request, MM_KEY_ACTIVATE);
}

struct mm_reply mm_admin_serve_retire(struct mm_admin_request *request)
{
    return change(request, MM_KEY_RETIRE);
}

struct mm_reply mm_admin_serve_withdraw(struct mm_admin_request *request)
{
    return change(request, MM_KEY_WITHDRAW);
}

struct mm_reply mm_admin_serve_destroy(struct mm_admin_request *request)
{
    return change(request, MM_KEY_DESTROY);
}

struct mm_reply mm_admin_serve_revoke(struct mm_admin_request *request)
{
    struct mm_admin *admin = request->admin;
    struct mm_reply reply = change(request, MM_KEY_REVOKE);
    if (reply.status != MHD_HTTP_OK)
        return reply;
    mm_reply_clear(&reply);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(admin->parts.keeper);
    const struct mm_key *key = mm_keyring_find(keyring, request->match.kid);
    mm_cleanup(json_decref) json_t *body =
        key ? mm_admin_describe_stranded(admin->config, keyring, key, mm_clock_now(admin->parts.clock)) : NULL;
    return mm_reply_json(MHD_HTTP_OK, body);
}

/* The answer is what was recorded, but for the evidence, which the caller has. */
struct mm_reply mm_admin_serve_attestation(struct mm_admin_request *request)
{
    struct mm_error err = {0};
    struct mm_reply refusal;
    mm_cleanup(json_decref) json_t *body = NULL;
    mm_cleanup(json_decref) json_t *entry = NULL;
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = {0};
    if (!read_body(request, &ATTESTATION, &body, &refusal))
        return refusal;
    struct mm_key_author author = author_of(request, body);
    if (!mm_attestation_from_json(body, &attestation, &err) ||
        !mm_keeper_attest(request->admin->parts.keeper, request->match.kid, &attestation, &author, &entry, &err))
        return mm_admin_refuse(request, &err, NULL);
    (void)json_object_del(entry, "evidence");
    return mm_reply_json(MHD_HTTP_CREATED, entry);
}

/* When a rotation's key signs; where none did it may do so by now. */
static int64_t signs_from(struct mm_keeper *keeper, const char *kid)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    const struct mm_key *key = mm_keyring_find(keyring, kid);
    struct mm_key_moment moment = mm_keeper_moment(keeper);
    const struct mm_key_plan plan = mm_keeper_plan(keeper);
    return key->life.state == MM_KEY_PUBLISHED ? mm_plan_from(&plan, keyring, key, MM_KEY_ACTIVATE, &moment)
                                               : key->activated_at;
}

struct mm_reply mm_admin_serve_rotation(struct mm_admin_request *request)
{
    struct mm_error err = {0};
    struct mm_reply refusal;
    char kid[MM_THUMBPRINT_LENGTH + 1];
    mm_cleanup(json_decref) json_t *body = NULL;
    if (!read_body(request, &ROTATION, &body, &refusal))
        return refusal;
    struct mm_key_author author = author_of(request, body);
    const char *algorithm = mm_json_string(body, "algorithm");
    struct mm_rotation_order rotation = {request->admin->config->algorithm, mm_json_string(body, "hsm_token")};
    if ((algorithm && !mm_algorithm_parse(algorithm, &rotation.algorithm)) ||
        !mm_supply_rotate(request->admin->parts.supply, &rotation, &author, kid, &err))
        return mm_admin_refuse(request, &err, NULL);
    mm_cleanup(json_decref) json_t *answer =
        json_pack("{ss so}", "kid", kid, "activates_at",
                  mm_json_timestamp(signs_from(request->admin->parts.keeper, kid)));
    return mm_reply_json(MHD_HTTP_ACCEPTED, answer);
}

/* Somebody who knows better says that the clock is right, and that what the ledger holds from later isn't. */
struct mm_reply mm_admin_serve_clock(struct mm_admin_request *request)
{
    struct mm_admin *admin = request->admin;
    struct mm_error err = {0};
    struct mm_reply refusal;
    mm_cleanup(json_decref) json_t *body = NULL;
    if (!read_body(request, &REASON, &body, &refusal))
        return refusal;
    struct mm_key_author author = author_of(request, body);
    if (!mm_keeper_accept_clock(admin->parts.keeper, &author, &err))
        return mm_admin_refuse(request, &err, NULL);
    mm_cleanup(json_decref) json_t *answer =
        json_pack("{so}", "accepted", mm_json_timestamp(mm_clock_now(admin->parts.clock)));
    return mm_reply_json(MHD_HTTP_OK, answer);
}
