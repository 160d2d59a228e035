/* SPDX-License-Identifier: Apache-2.0 */
#include "revocation/record.h"

#include <string.h>

/* Copy `from` (NULL: an empty string) to where there is room for it, which moves on. */
static const char *put(char **room, const char *from)
{
    const char *copy = *room;
    *room = stpcpy(*room, from ? from : "") + 1;
    return copy;
}

static size_t size_of(const char *text)
{
    return text ? strlen(text) + 1 : 1;
}

/* One piece of memory: there may be many. */
struct mm_revocation *mm_revocation_new(const struct mm_revocation_order *order, struct mm_error *err)
{
    struct mm_revocation *revocation = malloc(sizeof *revocation + size_of(order->name) + size_of(order->tenant) +
                                              size_of(order->account) + size_of(order->by) + size_of(order->reason));
    if (!revocation) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    char *room = (char *)(revocation + 1);
    *revocation = (struct mm_revocation){
        .what = order->what,
        .is_client = order->whose == MM_REVOKED_BY_CLIENT,
        .stops = mm_revocation_order_stops(order),
    };
    revocation->name = put(&room, order->name);
    revocation->tenant = put(&room, order->tenant);
    revocation->account = put(&room, order->account);
    revocation->by = put(&room, order->by);
    revocation->reason = put(&room, order->reason);
    return revocation;
}

void mm_revocation_free(struct mm_revocation *revocation)
{
    free(revocation);
}

static bool put_name(json_t *entry, const struct mm_revocation *revocation)
{
    const char *member = mm_revoke_member(revocation->what);
    return !member || json_object_set_new(entry, member, json_string(revocation->name)) == 0;
}

static bool put_optional(json_t *entry, const char *member, const char *text)
{
    return !text[0] || json_object_get(entry, member) || json_object_set_new(entry, member, json_string(text)) == 0;
}

json_t *mm_revocation_to_entry(const struct mm_revocation *revocation, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *entry = json_pack("{ss}", "what", mm_revoke_name(revocation->what));
    mm_cleanup(json_decref) json_t *rest =
        json_pack("{sI sI sb ss ss ss}", "issued_until", (json_int_t)revocation->issued_until, "until",
                  (json_int_t)revocation->until, "stops_issuance", (int)revocation->stops, "asked_by",
                  revocation->is_client ? "client" : "operator", "by", revocation->by, "reason", revocation->reason);
    if (!entry || !rest || !put_name(entry, revocation) || !put_optional(entry, "tenant", revocation->tenant) ||
        !put_optional(entry, "account", revocation->account) || json_object_update(entry, rest) != 0) {
        (void)mm_fail(err, MM_INVALID_REQUEST, "a revocation with text that isn't UTF-8");
        return NULL;
    }
    return MM_TAKE(entry);
}

static const char *name_in(const json_t *entry, enum mm_revoke_what what)
{
    const char *member = mm_revoke_member(what);
    return member ? mm_json_string(entry, member) : "";
}

static const char *string_in(const json_t *entry, const char *member)
{
    const char *text = mm_json_string(entry, member);
    return text ? text : "";
}

struct mm_revocation *mm_revocation_from_entry(const json_t *entry, int64_t sequence, struct mm_error *err)
{
    enum mm_revoke_what what;
    const char *kind = mm_json_string(entry, "what");
    bool is_known = kind && mm_revoke_parse(kind, &what);
    const struct mm_revocation_order order = {
        .what = is_known ? what : MM_REVOKE_ALL,
        .name = is_known ? name_in(entry, what) : NULL,
        .tenant = mm_json_string(entry, "tenant"),
        .account = mm_json_string(entry, "account"),
        .by = string_in(entry, "by"),
        .reason = string_in(entry, "reason"),
        .whose = strcmp(string_in(entry, "asked_by"), "client") == 0 ? MM_REVOKED_BY_CLIENT : MM_REVOKED_BY_OPERATOR,
    };
    const json_t *stops = json_object_get(entry, "stops_issuance");
    int64_t issued_until = mm_json_integer(entry, "issued_until", -1);
    int64_t until = mm_json_integer(entry, "until", -1);
    if (!order.name || !json_is_boolean(stops) || issued_until < 0 || until < 0 ||
        (what == MM_REVOKE_RESOURCE && !order.tenant)) {
        (void)mm_fail(err, MM_LEDGER_CORRUPT, "entry %lld: a revocation that doesn't say of what", (long long)sequence);
        return NULL;
    }
    struct mm_revocation *revocation = mm_revocation_new(&order, err);
    if (!revocation)
        return NULL;
    revocation->id = sequence;
    revocation->time = mm_json_integer(entry, "time", 0);
    revocation->stops = json_is_true(stops);
    revocation->issued_until = issued_until;
    revocation->until = until;
    return revocation;
}

const char *mm_revocation_key(const struct mm_revocation *revocation)
{
    return revocation->what == MM_REVOKE_RESOURCE ? revocation->tenant : revocation->name;
}
