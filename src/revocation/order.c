/* SPDX-License-Identifier: Apache-2.0 */
#include "revocation/order.h"

#include <string.h>

#include "policy/policy.h"
#include "policy/syntax.h"

static const char *const NAMES[] = {
#define MM_REVOKE_NAME(symbol, name, member) [symbol] = name,
    MM_REVOKE_TABLE(MM_REVOKE_NAME)
#undef MM_REVOKE_NAME
};

static const char *const MEMBERS[] = {
#define MM_REVOKE_MEMBER(symbol, name, member) [symbol] = member,
    MM_REVOKE_TABLE(MM_REVOKE_MEMBER)
#undef MM_REVOKE_MEMBER
};

const char *mm_revoke_name(enum mm_revoke_what what)
{
    return NAMES[what];
}

const char *mm_revoke_member(enum mm_revoke_what what)
{
    return MEMBERS[what];
}

bool mm_revoke_parse(const char *name, enum mm_revoke_what *ret_what)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++)
        if (strcmp(NAMES[i], name) == 0) {
            *ret_what = (enum mm_revoke_what)i;
            return true;
        }
    return false;
}

static bool is_identity(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash && slash > name && slash[1] != '\0';
}

/* What a name must be, or NULL if it is. Accounts and tenants may be gone from the policy: they aren't looked up there. */
static const char *judge_name(const struct mm_revocation_order *order)
{
    size_t length = strlen(order->name);
    switch (order->what) {
    case MM_REVOKE_ALL:
        return length == 0 ? NULL : "all tokens have no name";
    case MM_REVOKE_ACCOUNT:
        return mm_check_visible(order->name) || !is_identity(order->name) ? "an account is named tenant/account" : NULL;
    case MM_REVOKE_TENANT:
        return mm_check_id(order->name) ? "a tenant's id is none" : NULL;
    case MM_REVOKE_RESOURCE:
        return !order->tenant || mm_check_id(order->tenant) ? "a resource is a tenant's: name that, too"
                                                            : mm_check_resource_pattern(order->name);
    default:
        return mm_check_visible(order->name);
    }
}

bool mm_revocation_order_check(const struct mm_revocation_order *order, int64_t now, struct mm_error *err)
{
    bool has_name = order->what != MM_REVOKE_ALL;
    if (has_name && (order->name[0] == '\0' || strlen(order->name) > MM_REVOKE_NAME_MAX))
        return mm_fail(err, MM_INVALID_REQUEST, "what is revoked has a name of 1 to %d bytes", MM_REVOKE_NAME_MAX);
    const char *wrong = judge_name(order);
    if (wrong)
        return mm_fail(err, MM_INVALID_REQUEST, "%s", wrong);
    if (strlen(order->by) > MM_REVOKE_BY_MAX || strlen(order->reason) > MM_REVOKE_REASON_MAX)
        return mm_fail(err, MM_INVALID_REQUEST, "who asks, or why, is longer than %d bytes", MM_REVOKE_REASON_MAX);
    if (order->issued_before < 0 || order->issued_before > now)
        return mm_fail(err, MM_INVALID_REQUEST, "issued_before lies ahead: what isn't issued yet can't be revoked");
    if (order->what == MM_REVOKE_JTI && order->issued_before > 0)
        return mm_fail(err, MM_INVALID_REQUEST, "a jti is one token's, whenever that was issued");
    return order->what != MM_REVOKE_ALL || order->issued_before > 0 ||
           mm_fail(err, MM_INVALID_REQUEST,
                   "all tokens are revoked by when they were issued: issued_before is missing");
}

bool mm_revocation_order_stops(const struct mm_revocation_order *order)
{
    return (order->what == MM_REVOKE_ACCOUNT || order->what == MM_REVOKE_TENANT) && order->issued_before == 0;
}

size_t mm_token_actors(const json_t *claims, const char *ret_actors[MM_TOKEN_ACTORS_MAX])
{
    size_t n = 0;
    for (const json_t *act = json_object_get(claims, "act"); act && n < MM_TOKEN_ACTORS_MAX;
         act = json_object_get(act, "act")) {
        const char *actor = mm_json_string(act, "sub");
        if (actor)
            ret_actors[n++] = actor;
    }
    return n;
}
