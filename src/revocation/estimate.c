/* SPDX-License-Identifier: Apache-2.0 */
#include "revocation/estimate.h"

#include <string.h>

#include "ledger/reader.h"
#include "util/clock.h"

struct count {
    const struct mm_revocation_order *order;
    int64_t now;
    int64_t longest_ttl;
    int64_t deadline_ns;
    int64_t first;      /* sequence */
    const char *member; /* of an entry, which says whether it is hit; NULL: each is */
    struct mm_revocation_estimate estimate;
};

/* Who exchanged somebody's token for it, or what that came of; nothing finds entries by that. */
static const char CLIENT[] = "client";

/* Which member of a token's entry says whether it is hit; an entry names no resources. */
static const char *member_of(enum mm_revoke_what what)
{
    return mm_revoke_member(what == MM_REVOKE_RESOURCE ? MM_REVOKE_TENANT : what);
}

static bool says(const json_t *entry, const char *member, const char *name)
{
    const char *said = mm_json_string(entry, member);
    return said && strcmp(said, name) == 0;
}

static bool has_actor(const json_t *entry, const char *name)
{
    const char *actors[MM_TOKEN_ACTORS_MAX];
    size_t n = mm_token_actors(entry, actors);
    for (size_t i = 0; i < n; i++)
        if (strcmp(actors[i], name) == 0)
            return true;
    return false;
}

static bool is_hit(const struct count *count, const json_t *entry)
{
    const struct mm_revocation_order *order = count->order;
    const char *name = order->what == MM_REVOKE_RESOURCE ? order->tenant : order->name;
    if (order->issued_before && mm_json_integer(entry, "time", 0) >= order->issued_before)
        return false;
    return !count->member || says(entry, count->member, name) || (count->member == CLIENT && has_actor(entry, name));
}

/* Who exchanges its own token is both: it was counted by its account. */
static bool was_counted(const struct count *count, const json_t *entry)
{
    return count->member == CLIENT && says(entry, member_of(MM_REVOKE_ACCOUNT), count->order->name);
}

/* A rerouted token's entry doesn't repeat its exp: it is as late as can be. */
static bool count_entry(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct count *count = context;
    struct mm_revocation_estimate *estimate = &count->estimate;
    if (mm_monotonic_ns() >= count->deadline_ns) {
        estimate->is_whole = false;
        return mm_fail(err, MM_DEADLINE_EXCEEDED, "too many entries to count in time");
    }
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    if (!entry)
        return false;
    int64_t exp = mm_json_integer(entry, "exp", mm_json_integer(entry, "time", 0) + count->longest_ttl);
    if (exp <= count->now || !is_hit(count, entry) || was_counted(count, entry))
        return true;
    estimate->n_live++;
    estimate->last_exp = exp > estimate->last_exp ? exp : estimate->last_exp;
    return true;
}

static bool count_type(struct mm_ledger_reader *reader, enum mm_entry_type type, struct count *count,
                       struct mm_error *err)
{
    const struct mm_revocation_order *order = count->order;
    struct mm_error why = {0};
    const struct mm_ledger_filter filter = {
        .first = count->first,
        .type = mm_entry_type_name(type),
        .jti = order->what == MM_REVOKE_JTI ? order->name : NULL,
        .account = order->what == MM_REVOKE_ACCOUNT && count->member != CLIENT ? order->name : NULL,
        .since = count->now - count->longest_ttl - 1,
    };
    return mm_ledger_list(reader, &filter, count_entry, count, &why) || !count->estimate.is_whole ||
           mm_fail(err, why.code, "%s", why.message);
}

bool mm_revocation_estimate(const char *file, const struct mm_revocation_order *order, int64_t longest_ttl, int64_t now,
                            int64_t deadline_ns, struct mm_revocation_estimate *ret_estimate, struct mm_error *err)
{
    struct count count = {order, now, longest_ttl, deadline_ns, 0, member_of(order->what), {.is_whole = true}};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(file, err);
    if (!reader || !mm_ledger_find_since(reader, now - longest_ttl - 1, &count.first, err) ||
        !count_type(reader, MM_ENTRY_TOKEN_ISSUED, &count, err))
        return false;
    /* Another key than the first may have signed in the end. */
    if (order->what == MM_REVOKE_KEY && count.estimate.is_whole &&
        !count_type(reader, MM_ENTRY_TOKEN_REROUTED, &count, err))
        return false;
    count.member = CLIENT;
    if (order->what == MM_REVOKE_ACCOUNT && count.estimate.is_whole &&
        !count_type(reader, MM_ENTRY_TOKEN_ISSUED, &count, err))
        return false;
    *ret_estimate = count.estimate;
    return true;
}
