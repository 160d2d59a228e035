/* SPDX-License-Identifier: Apache-2.0 */
#include "token/claims.h"

#include <assert.h>
#include <string.h>

#include "util/base64url.h"

enum { JTI_TIME_BYTES = 6, JTI_RANDOM_BYTES = 10 };

bool mm_jti_make(const struct mm_random *random, int64_t unix_ms, char *out, struct mm_error *err)
{
    uint8_t bytes[JTI_TIME_BYTES + JTI_RANDOM_BYTES];
    for (int i = JTI_TIME_BYTES - 1; i >= 0; i--, unix_ms >>= 8)
        bytes[i] = (uint8_t)unix_ms;
    if (!random->fill(random->context, bytes + JTI_TIME_BYTES, JTI_RANDOM_BYTES))
        return mm_fail(err, MM_INTERNAL, "the machine has no entropy for a jti");
    mm_base64url_encode(bytes, sizeof bytes, out);
    return true;
}

static json_t *out_of_memory(struct mm_error *err)
{
    (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return NULL;
}

static json_t *audience(const struct mm_claims *claims)
{
    assert(claims->n_audiences > 0);
    if (claims->n_audiences == 1)
        return json_string(claims->audiences[0]);
    mm_cleanup(json_decref) json_t *array = json_array();
    for (size_t i = 0; array && i < claims->n_audiences; i++)
        if (json_array_append_new(array, json_string(claims->audiences[i])) != 0)
            return NULL;
    return MM_TAKE(array);
}

/* The scopes' distinct actions, in the order in which they first come. */
static json_t *permission(const struct mm_claims *claims, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *actions = json_array();
    if (!actions)
        return out_of_memory(err);
    for (size_t i = 0; i < claims->n_scopes; i++) {
        const char *scope = claims->scopes[i];
        const char *colon = strchr(scope, ':');
        /* A space would make two scopes of one. */
        if (!colon || colon == scope || strchr(scope, ' ')) {
            (void)mm_fail(err, MM_INTERNAL, "a scope that isn't action:kind");
            return NULL;
        }
        mm_cleanup(json_decref) json_t *action = json_stringn(scope, (size_t)(colon - scope));
        if (!action)
            return out_of_memory(err);
        if (!mm_json_array_has(actions, json_string_value(action)) && json_array_append(actions, action) != 0)
            return out_of_memory(err);
    }
    return MM_TAKE(actions);
}

static json_t *resources(const struct mm_claims *claims, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *actions = permission(claims, err);
    mm_cleanup(json_decref) json_t *array = json_array();
    if (!actions)
        return NULL;
    for (size_t i = 0; i < claims->n_resources; i++) {
        json_t *entry =
            json_pack("{ss so}", "resource_id", claims->resources[i], "permission", json_deep_copy(actions));
        if (!array || json_array_append_new(array, entry) != 0)
            return out_of_memory(err);
    }
    return array ? MM_TAKE(array) : out_of_memory(err);
}

static json_t *scope(const struct mm_claims *claims, struct mm_error *err)
{
    size_t length = 0;
    for (size_t i = 0; i < claims->n_scopes; i++)
        length += strlen(claims->scopes[i]) + 1;
    mm_cleanup(free) char *joined = calloc(1, length + 1);
    if (!joined)
        return out_of_memory(err);
    char *end = joined;
    for (size_t i = 0; i < claims->n_scopes; i++) {
        if (i > 0)
            *end++ = ' ';
        end = stpcpy(end, claims->scopes[i]);
    }
    json_t *value = json_string(joined);
    return value ? value : out_of_memory(err);
}

json_t *mm_claims_to_json(const struct mm_claims *claims, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *granted = resources(claims, err);
    mm_cleanup(json_decref) json_t *scopes = granted ? scope(claims, err) : NULL;
    if (!scopes)
        return NULL;
    /* clang-format off */
    json_t *payload = json_pack("{ss ss so ss sI sI ss sO ss ss ss ss ss sb sO}",
        "iss", claims->issuer,
        "sub", claims->identity,
        "aud", audience(claims),
        "client_id", claims->identity,
        "iat", (json_int_t)claims->issued_at,
        "exp", (json_int_t)claims->expires_at,
        "jti", claims->jti,
        "scope", scopes,
        "tenant_id", claims->tenant_id,
        "env", claims->env,
        "name", claims->name,
        "preferred_username", claims->identity,
        "idp", "mintmark",
        "is_service_account", claims->is_service_account,
        "resources", granted);
    /* clang-format on */
    return payload ? payload : out_of_memory(err);
}
