/* SPDX-License-Identifier: Apache-2.0 */
#include "revocation/revocations.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "policy/policy.h"
#include "revocation/record.h"
#include "revocation/tally.h"
#include "util/hash.h"

enum {
    N_BUCKETS = 1 << 16,
    SWEEP_MAX = 4096,
    TOLD_MAX = 256, /* in one sweep */
    LEEWAY = 60,    /* seconds for which a clock may be set back without anything being forgotten */
};

struct mm_revocations {
    /* immutable after mm_revocations_open() */
    struct mm_ledger *ledger;
    const struct mm_clock *clock;
    int64_t longest_ttl;
    size_t clients_max;

    atomic_size_t n; /* of all; read without the lock by who needs no more if there are none */

    pthread_rwlock_t lock;
    /* guarded by lock */
    LIST_HEAD(bucket, mm_revocation) buckets[N_BUCKETS];
    TAILQ_HEAD(places, mm_revocation) places; /* in the order in which they came */
    /* Tokens of their own that clients have revoked, by the client's name and by the tenant's, which has no slash as each client's has. */
    struct mm_tally clients;
    LIST_HEAD(, mm_revocation_waiter) waiters;
    struct mm_revocations_counts counts;
    struct mm_revocation *next_swept; /* NULL: the first */
    int64_t forgotten_until;          /* the latest `until` of what was forgotten */
};

static struct bucket *bucket_of(struct mm_revocations *revocations, enum mm_revoke_what what, const char *key)
{
    uint32_t hash = mm_hash_name(key) ^ ((uint32_t)what * 2654435761U);
    return &revocations->buckets[(hash ^ hash >> 16) % N_BUCKETS];
}

static bool count_client_locked(struct mm_revocations *revocations, const struct mm_revocation *revocation)
{
    if (!mm_tally_add(&revocations->clients, revocation->account))
        return false;
    if (!mm_tally_add(&revocations->clients, revocation->tenant)) {
        mm_tally_remove(&revocations->clients, revocation->account);
        return false;
    }
    revocations->counts.n_clients++;
    return true;
}

static void uncount_client_locked(struct mm_revocations *revocations, const struct mm_revocation *revocation)
{
    mm_tally_remove(&revocations->clients, revocation->account);
    mm_tally_remove(&revocations->clients, revocation->tenant);
    revocations->counts.n_clients--;
}

static bool insert_locked(struct mm_revocations *revocations, struct mm_revocation *revocation, struct mm_error *err)
{
    if (revocation->is_client && !count_client_locked(revocations, revocation))
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    revocations->counts.n_operators += !revocation->is_client;
    revocations->counts.n_stops += revocation->stops;
    revocation->index = revocations;
    LIST_INSERT_HEAD(bucket_of(revocations, revocation->what, mm_revocation_key(revocation)), revocation, link);
    TAILQ_INSERT_TAIL(&revocations->places, revocation, place);
    (void)atomic_fetch_add(&revocations->n, 1);
    return true;
}

static void remove_locked(struct mm_revocations *revocations, struct mm_revocation *revocation)
{
    if (revocation->is_client)
        uncount_client_locked(revocations, revocation);
    revocations->counts.n_operators -= !revocation->is_client;
    revocations->counts.n_stops -= revocation->stops;
    if (revocations->next_swept == revocation)
        revocations->next_swept = TAILQ_NEXT(revocation, place);
    LIST_REMOVE(revocation, link);
    TAILQ_REMOVE(&revocations->places, revocation, place);
    (void)atomic_fetch_sub(&revocations->n, 1);
}

/* Whether it may be forgotten at `now`. */
static bool is_spent(const struct mm_revocation *revocation, int64_t now)
{
    return revocation->id > 0 && !revocation->stops && revocation->until + LEEWAY <= now;
}

static void note_forgotten_locked(struct mm_revocations *revocations, const struct mm_revocation *revocation)
{
    if (revocation->until > revocations->forgotten_until)
        revocations->forgotten_until = revocation->until;
}

/* Reading the ledger, at the start: nobody else has the index yet. */

struct loading {
    struct mm_revocations *revocations;
    int64_t now;
};

static bool load_revoked(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    const struct loading *loading = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    mm_cleanup(mm_revocation_free) struct mm_revocation *revocation =
        entry ? mm_revocation_from_entry(entry, record->sequence, err) : NULL;
    if (!revocation)
        return false;
    if (is_spent(revocation, loading->now)) {
        note_forgotten_locked(loading->revocations, revocation);
        return true;
    }
    if (!insert_locked(loading->revocations, revocation, err))
        return false;
    revocation = NULL; /* the index's */
    return true;
}

static struct mm_revocation *find_stop_locked(struct mm_revocations *revocations, int64_t id)
{
    struct mm_revocation *revocation;
    TAILQ_FOREACH(revocation, &revocations->places, place)
        if (revocation->id == id && id > 0 && revocation->stops)
            return revocation;
    return NULL;
}

static void end_stop_locked(struct mm_revocations *revocations, struct mm_revocation *revocation)
{
    revocation->stops = false;
    revocations->counts.n_stops--;
}

static bool load_lifted(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    const struct loading *loading = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    if (!entry)
        return false;
    struct mm_revocation *revocation = find_stop_locked(loading->revocations, mm_json_integer(entry, "revocation", 0));
    if (revocation)
        end_stop_locked(loading->revocations, revocation);
    return true;
}

static bool load(struct mm_revocations *revocations, struct mm_ledger_reader *reader, struct mm_error *err)
{
    struct loading loading = {revocations, mm_clock_now(revocations->clock)};
    const struct mm_ledger_filter revoked = {.type = mm_entry_type_name(MM_ENTRY_TOKEN_REVOKED)};
    const struct mm_ledger_filter lifted = {.type = mm_entry_type_name(MM_ENTRY_REVOCATION_LIFTED)};
    return mm_ledger_list(reader, &revoked, load_revoked, &loading, err) &&
           mm_ledger_list(reader, &lifted, load_lifted, &loading, err);
}

struct mm_revocations *mm_revocations_open(const struct mm_revocations_parts *parts, struct mm_error *err)
{
    mm_cleanup(mm_revocations_free) struct mm_revocations *revocations = calloc(1, sizeof *revocations);
    if (!revocations) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    revocations->ledger = parts->ledger;
    revocations->clock = parts->clock;
    revocations->longest_ttl = parts->longest_ttl;
    revocations->clients_max = parts->clients_max;
    (void)pthread_rwlock_init(&revocations->lock, NULL);
    TAILQ_INIT(&revocations->places);
    return load(revocations, parts->reader, err) ? MM_TAKE(revocations) : NULL;
}

void mm_revocations_free(struct mm_revocations *revocations)
{
    if (!revocations)
        return;
    struct mm_revocation *revocation;
    while ((revocation = TAILQ_FIRST(&revocations->places))) {
        assert(!revocation->waiters);
        remove_locked(revocations, revocation);
        mm_revocation_free(revocation);
    }
    (void)pthread_rwlock_destroy(&revocations->lock);
    free(revocations);
}

/* Asking. */

static bool meets(const struct mm_revocation *revocation, const struct mm_token_facts *facts)
{
    for (size_t i = 0; i < facts->n_resources; i++)
        if (mm_patterns_meet(revocation->name, facts->resources[i]))
            return true;
    return false;
}

static bool is_hit_locked(struct mm_revocations *revocations, enum mm_revoke_what what, const char *key,
                          const struct mm_token_facts *facts)
{
    const struct mm_revocation *revocation;
    if (!key)
        return false;
    LIST_FOREACH(revocation, bucket_of(revocations, what, key), link)
        if (revocation->what == what && facts->issued_at <= revocation->issued_until &&
            strcmp(mm_revocation_key(revocation), key) == 0 && (what != MM_REVOKE_RESOURCE || meets(revocation, facts)))
            return true;
    return false;
}

/* Whoever had it, or what it came of, in its hands. */
static bool is_account_hit_locked(struct mm_revocations *revocations, const struct mm_token_facts *facts)
{
    bool is_hit = is_hit_locked(revocations, MM_REVOKE_ACCOUNT, facts->subject, facts) ||
                  is_hit_locked(revocations, MM_REVOKE_ACCOUNT, facts->client_id, facts);
    for (size_t i = 0; i < facts->n_actors && !is_hit; i++)
        is_hit = is_hit_locked(revocations, MM_REVOKE_ACCOUNT, facts->actors[i], facts);
    return is_hit;
}

bool mm_revocations_has(struct mm_revocations *revocations, const struct mm_token_facts *facts)
{
    (void)pthread_rwlock_rdlock(&revocations->lock);
    bool is_hit = facts->expires_at <= revocations->forgotten_until;
    if (!is_hit && atomic_load(&revocations->n) > 0)
        is_hit = is_hit_locked(revocations, MM_REVOKE_JTI, facts->jti, facts) ||
                 is_account_hit_locked(revocations, facts) ||
                 is_hit_locked(revocations, MM_REVOKE_TENANT, facts->tenant, facts) ||
                 is_hit_locked(revocations, MM_REVOKE_RESOURCE, facts->tenant, facts) ||
                 is_hit_locked(revocations, MM_REVOKE_KEY, facts->kid, facts) ||
                 is_hit_locked(revocations, MM_REVOKE_ALL, "", facts);
    (void)pthread_rwlock_unlock(&revocations->lock);
    return is_hit;
}

/* Whether issuance is stopped by one of that kind and name; its id, 0 while it isn't durable, in `ret_id`. */
static bool is_stopped_locked(struct mm_revocations *revocations, enum mm_revoke_what what, const char *name,
                              int64_t *ret_id)
{
    const struct mm_revocation *revocation;
    LIST_FOREACH(revocation, bucket_of(revocations, what, name), link)
        if (revocation->what == what && revocation->stops && strcmp(revocation->name, name) == 0) {
            *ret_id = revocation->id;
            return true;
        }
    return false;
}

bool mm_revocations_allow(struct mm_revocations *revocations, const char *tenant, const char *account,
                          struct mm_error *err)
{
    int64_t id = 0;
    (void)pthread_rwlock_rdlock(&revocations->lock);
    bool is_stopped =
        revocations->counts.n_stops > 0 && (is_stopped_locked(revocations, MM_REVOKE_TENANT, tenant, &id) ||
                                            is_stopped_locked(revocations, MM_REVOKE_ACCOUNT, account, &id));
    (void)pthread_rwlock_unlock(&revocations->lock);
    return !is_stopped ||
           mm_fail(err, MM_ACCESS_DENIED, "revocation %lld stops issuance to %s", (long long)id, account);
}

struct mm_revocations_counts mm_revocations_count(struct mm_revocations *revocations)
{
    (void)pthread_rwlock_rdlock(&revocations->lock);
    struct mm_revocations_counts counts = revocations->counts;
    (void)pthread_rwlock_unlock(&revocations->lock);
    return counts;
}

static json_t *describe(const struct mm_revocation *revocation)
{
    return json_pack("{sI ss ss ss sI sI sb ss ss sI}", "id", (json_int_t)revocation->id, "what",
                     mm_revoke_name(revocation->what), "name", revocation->name, "tenant", revocation->tenant,
                     "issued_until", (json_int_t)revocation->issued_until, "until", (json_int_t)revocation->until,
                     "stops_issuance", (int)revocation->stops, "by", revocation->by, "reason", revocation->reason,
                     "time", (json_int_t)revocation->time);
}

json_t *mm_revocations_list(struct mm_revocations *revocations, size_t max, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    const struct mm_revocation *revocation;
    bool is_whole = list;
    (void)pthread_rwlock_rdlock(&revocations->lock);
    TAILQ_FOREACH_REVERSE(revocation, &revocations->places, places, place)
    if (!revocation->is_client && revocation->id > 0 && is_whole && json_array_size(list) < max)
        is_whole = mm_json_append(list, describe(revocation), err);
    (void)pthread_rwlock_unlock(&revocations->lock);
    if (!is_whole)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return is_whole ? MM_TAKE(list) : NULL;
}

/* Whoever has waited until now is told, and whose turn it is in the ledger isn't waited for any more. */
static size_t take_expired_locked(struct mm_revocations *revocations, struct mm_revocation_waiter *ret_expired)
{
    int64_t now = mm_monotonic_ns();
    size_t n = 0;
    struct mm_revocation_waiter *waiter;
    LIST_FOREACH(waiter, &revocations->waiters, link)
        if (waiter->done && waiter->deadline_ns <= now && n < TOLD_MAX) {
            ret_expired[n++] = *waiter;
            waiter->done = NULL;
        }
    return n;
}

static void tell_expired(const struct mm_revocation_waiter *expired, size_t n)
{
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_DEADLINE_EXCEEDED, "the ledger didn't answer in time");
    for (size_t i = 0; i < n; i++)
        expired[i].done(expired[i].context, NULL, &err);
}

static void forget_spent_locked(struct mm_revocations *revocations)
{
    int64_t now = mm_clock_now(revocations->clock);
    struct mm_revocation *next = revocations->next_swept ? revocations->next_swept : TAILQ_FIRST(&revocations->places);
    for (size_t i = 0; next && i < SWEEP_MAX; i++) {
        struct mm_revocation *revocation = next;
        next = TAILQ_NEXT(revocation, place);
        if (!is_spent(revocation, now))
            continue;
        note_forgotten_locked(revocations, revocation);
        remove_locked(revocations, revocation);
        mm_revocation_free(revocation);
    }
    revocations->next_swept = next;
}

void mm_revocations_sweep(struct mm_revocations *revocations)
{
    struct mm_revocation_waiter expired[TOLD_MAX];
    if (atomic_load(&revocations->n) == 0)
        return;
    (void)pthread_rwlock_wrlock(&revocations->lock);
    forget_spent_locked(revocations);
    size_t n = take_expired_locked(revocations, expired);
    (void)pthread_rwlock_unlock(&revocations->lock);
    tell_expired(expired, n);
}

/* Changing. */

static void tell(struct mm_revocation_waiter *waiters, const struct mm_revoked *revoked, const struct mm_error *err)
{
    while (waiters) {
        struct mm_revocation_waiter *waiter = waiters;
        waiters = waiter->next;
        if (waiter->done)
            waiter->done(waiter->context, revoked, err);
        free(waiter);
    }
}

/* The end of a revocation's way into the ledger: it is durable, or taken back. */
static void on_recorded(void *context, const struct mm_receipt *receipt, const struct mm_error *why)
{
    struct mm_revocation *revocation = context;
    struct mm_revocations *revocations = revocation->index;
    (void)pthread_rwlock_wrlock(&revocations->lock);
    struct mm_revocation_waiter *waiters = MM_TAKE(revocation->waiters);
    for (struct mm_revocation_waiter *waiter = waiters; waiter; waiter = waiter->next)
        LIST_REMOVE(waiter, link);
    const struct mm_revoked revoked = {.id = receipt ? receipt->sequence : 0, .time = revocation->time};
    revocation->id = revoked.id;
    if (!receipt)
        remove_locked(revocations, revocation);
    (void)pthread_rwlock_unlock(&revocations->lock);
    tell(waiters, receipt ? &revoked : NULL, why);
    if (!receipt)
        mm_revocation_free(revocation);
}

/* The same token, revoked by name already, by whomever. */
static struct mm_revocation *find_jti_locked(struct mm_revocations *revocations, const char *jti)
{
    struct mm_revocation *revocation;
    LIST_FOREACH(revocation, bucket_of(revocations, MM_REVOKE_JTI, jti), link)
        if (revocation->what == MM_REVOKE_JTI && strcmp(revocation->name, jti) == 0)
            return revocation;
    return NULL;
}

/* However many tenants have taken all that they may, there is room for one more. */
static bool has_client_room_locked(struct mm_revocations *revocations, const struct mm_revocation *revocation,
                                   struct mm_error *err)
{
    size_t n_free = revocations->clients_max - revocations->counts.n_clients;
    if (mm_tally_of(&revocations->clients, revocation->account) >= MM_REVOCATIONS_CLIENT_MAX)
        return mm_fail(err, MM_OVERLOADED, "%s has revoked %d live tokens of its own", revocation->account,
                       MM_REVOCATIONS_CLIENT_MAX);
    return (revocations->counts.n_clients < revocations->clients_max &&
            mm_tally_of(&revocations->clients, revocation->tenant) < n_free) ||
           mm_fail(err, MM_OVERLOADED, "there is no room for another revocation by tenant %s's clients",
                   revocation->tenant);
}

static bool has_room_locked(struct mm_revocations *revocations, const struct mm_revocation *revocation,
                            struct mm_error *err)
{
    if (revocation->is_client)
        return has_client_room_locked(revocations, revocation, err);
    return revocations->counts.n_operators < MM_REVOCATIONS_OPERATORS_MAX ||
           mm_fail(err, MM_OVERLOADED, "there is no room for another revocation");
}

/*
 * Whoever was allowed a token before this has the lock fixed its iat before, by a clock that isn't ahead of this moment; a clock that was ahead
 * has shown in the ledger.
 */
static void set_times_locked(struct mm_revocations *revocations, struct mm_revocation *revocation,
                             const struct mm_revocation_order *order)
{
    int64_t now = mm_clock_now(revocations->clock);
    int64_t latest = mm_ledger_latest_issue(revocations->ledger);
    int64_t issued_until = order->issued_before ? order->issued_before - 1 : latest > now ? latest : now;
    revocation->time = now;
    revocation->issued_until = issued_until;
    revocation->until = issued_until + revocations->longest_ttl;
    if (order->expires_at)
        revocation->until = order->expires_at;
}

enum entry { ENTERED, IS_THERE, AWAITED, REFUSED };

/* Put a revocation into the index, so that it counts; unless it is there, which `ret_revoked` tells of, or on its way: then its end is awaited. */
static enum entry enter_locked(struct mm_revocations *revocations, struct mm_revocation *revocation,
                               const struct mm_revocation_order *order, struct mm_revocation_waiter *waiter,
                               struct mm_revoked *ret_revoked, struct mm_error *err)
{
    struct mm_revocation *same = order->what == MM_REVOKE_JTI ? find_jti_locked(revocations, order->name) : NULL;
    if (same && same->id > 0) {
        *ret_revoked = (struct mm_revoked){same->id, same->time, MM_REVOKED_BEFORE};
        return IS_THERE;
    }
    if (same) {
        waiter->next = same->waiters;
        same->waiters = waiter;
        LIST_INSERT_HEAD(&revocations->waiters, waiter, link);
        return AWAITED;
    }
    if (!has_room_locked(revocations, revocation, err) || !insert_locked(revocations, revocation, err))
        return REFUSED;
    set_times_locked(revocations, revocation, order);
    revocation->waiters = waiter;
    LIST_INSERT_HEAD(&revocations->waiters, waiter, link);
    return ENTERED;
}

/* From here on the revocation is the ledger's writer's, or over. */
static void record(struct mm_revocations *revocations, struct mm_revocation *revocation)
{
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *entry = mm_revocation_to_entry(revocation, &err);
    if (!entry || !mm_ledger_submit(revocations->ledger, MM_ENTRY_TOKEN_REVOKED, entry, on_recorded, revocation, &err))
        on_recorded(revocation, NULL, &err);
}

bool mm_revocations_revoke(struct mm_revocations *revocations, const struct mm_revocation_order *order,
                           int64_t deadline_ns, mm_revocations_done done, void *context, struct mm_error *err)
{
    if (!mm_revocation_order_check(order, mm_clock_now(revocations->clock), err))
        return false;
    struct mm_revoked revoked;
    mm_cleanup(free) struct mm_revocation_waiter *waiter = calloc(1, sizeof *waiter);
    mm_cleanup(mm_revocation_free) struct mm_revocation *revocation = mm_revocation_new(order, err);
    if (!waiter || !revocation)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    *waiter = (struct mm_revocation_waiter){.deadline_ns = deadline_ns, .done = done, .context = context};
    (void)pthread_rwlock_wrlock(&revocations->lock);
    enum entry entry = enter_locked(revocations, revocation, order, waiter, &revoked, err);
    (void)pthread_rwlock_unlock(&revocations->lock);
    if (entry == IS_THERE)
        done(context, &revoked, NULL);
    if (entry == ENTERED || entry == AWAITED)
        waiter = NULL;
    if (entry == ENTERED)
        record(revocations, MM_TAKE(revocation));
    return entry != REFUSED;
}

/* A lift on its way into the ledger. */
struct lift {
    struct mm_revocations *revocations;
    int64_t id;
    int64_t time;
    mm_revocations_done done;
    void *context;
};

static void on_lifted(void *context, const struct mm_receipt *receipt, const struct mm_error *why)
{
    mm_cleanup(free) struct lift *lift = context;
    struct mm_revocations *revocations = lift->revocations;
    if (receipt) {
        (void)pthread_rwlock_wrlock(&revocations->lock);
        struct mm_revocation *revocation = find_stop_locked(revocations, lift->id);
        if (revocation)
            end_stop_locked(revocations, revocation);
        (void)pthread_rwlock_unlock(&revocations->lock);
    }
    const struct mm_revoked lifted = {.id = lift->id, .time = lift->time};
    lift->done(lift->context, receipt ? &lifted : NULL, why);
}

/* The fields of its entry, which say what was lifted to who reads the ledger. */
static json_t *lift_entry(struct mm_revocations *revocations, int64_t id, const char *by, const char *reason,
                          struct mm_error *err)
{
    json_t *entry = NULL;
    (void)pthread_rwlock_rdlock(&revocations->lock);
    const struct mm_revocation *revocation = find_stop_locked(revocations, id);
    if (revocation)
        entry = json_pack("{sI ss ss ss}", "revocation", (json_int_t)id, mm_revoke_name(revocation->what),
                          revocation->name, "by", by, "reason", reason);
    (void)pthread_rwlock_unlock(&revocations->lock);
    if (!revocation)
        (void)mm_fail(err, MM_REVOCATION_UNKNOWN, "no revocation %lld stops issuance", (long long)id);
    else if (!entry)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return entry;
}

bool mm_revocations_lift(struct mm_revocations *revocations, int64_t id, const char *by, const char *reason,
                         mm_revocations_done done, void *context, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *entry = lift_entry(revocations, id, by, reason, err);
    mm_cleanup(free) struct lift *lift = entry ? calloc(1, sizeof *lift) : NULL;
    if (!lift)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    *lift = (struct lift){revocations, id, mm_clock_now(revocations->clock), done, context};
    if (!mm_ledger_submit(revocations->ledger, MM_ENTRY_REVOCATION_LIFTED, entry, on_lifted, lift, err))
        return false;
    lift = NULL; /* on_lifted()'s */
    return true;
}
