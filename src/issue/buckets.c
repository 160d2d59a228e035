/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/buckets.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "util/hash.h"
#include "util/meter.h"

enum { N_SHARDS = 16, HEADS_MIN = 64 };

static const int64_t SECOND_NS = INT64_C(1000000000);

struct bucket {
    struct bucket *next;
    uint32_t hash;
    struct mm_rate rate; /* as it was asked last */
    struct mm_meter used;
    int64_t n_refused; /* in a row; the last at: */
    int64_t refused_ns;
    char name[];
};

/* A tenant and its accounts are in one, so that one lock covers what is taken together. */
struct shard {
    pthread_mutex_t lock;
    /* guarded by lock */
    struct bucket **heads; /* NULL until there is a bucket */
    size_t n_heads;        /* a power of two */
    size_t n;
};

struct mm_buckets {
    struct shard shards[N_SHARDS];
};

struct mm_buckets *mm_buckets_new(struct mm_error *err)
{
    struct mm_buckets *buckets = calloc(1, sizeof *buckets);
    if (!buckets) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for token buckets");
        return NULL;
    }
    for (size_t i = 0; i < N_SHARDS; i++)
        (void)pthread_mutex_init(&buckets->shards[i].lock, NULL);
    return buckets;
}

static void shard_clear(struct shard *shard)
{
    for (size_t i = 0; i < shard->n_heads; i++) {
        for (struct bucket *bucket = shard->heads[i], *next; bucket; bucket = next) {
            next = bucket->next;
            free(bucket);
        }
    }
    free(shard->heads);
    (void)pthread_mutex_destroy(&shard->lock);
}

void mm_buckets_free(struct mm_buckets *buckets)
{
    if (!buckets)
        return;
    for (size_t i = 0; i < N_SHARDS; i++)
        shard_clear(&buckets->shards[i]);
    free(buckets);
}

/* A limit that has changed counts as if it had been so all the while; a bucket that has shrunk is empty at most. */
static void look_at(struct bucket *bucket, const struct mm_rate *rate, int64_t now_ns)
{
    bucket->rate = *rate;
    mm_meter_drain(&bucket->used, rate->per_minute, now_ns);
    if (bucket->used.level > rate->burst * MM_METER_UNIT)
        bucket->used.level = rate->burst * MM_METER_UNIT;
}

static int64_t remaining_of(const struct bucket *bucket)
{
    return bucket->rate.burst - mm_meter_units(&bucket->used);
}

/* Seconds until there is one token more, rounded up. */
static int64_t more_after(const struct bucket *bucket)
{
    if (bucket->used.level == 0)
        return 0;
    int64_t part = bucket->used.level % MM_METER_UNIT;
    int64_t missing = part > 0 ? part : MM_METER_UNIT;
    int64_t wait_ns = (missing + bucket->rate.per_minute - 1) / bucket->rate.per_minute;
    return (wait_ns + SECOND_NS - 1) / SECOND_NS;
}

static struct bucket **find_locked(struct shard *shard, const char *name, uint32_t hash)
{
    struct bucket **link = &shard->heads[hash & (shard->n_heads - 1)];
    while (*link && ((*link)->hash != hash || strcmp((*link)->name, name) != 0))
        link = &(*link)->next;
    return link;
}

static void forget_full_locked(struct shard *shard, int64_t now_ns)
{
    for (size_t i = 0; i < shard->n_heads; i++) {
        for (struct bucket **link = &shard->heads[i]; *link;) {
            struct bucket *bucket = *link;
            mm_meter_drain(&bucket->used, bucket->rate.per_minute, now_ns);
            bool is_recent = bucket->n_refused > 0 && now_ns - bucket->refused_ns < MM_LIMITED_RECENT_S * SECOND_NS;
            if (bucket->used.level > 0 || is_recent) {
                link = &bucket->next;
                continue;
            }
            *link = bucket->next;
            free(bucket);
            shard->n--;
        }
    }
}

/* False without memory: chains that are longer than they should be do as well, none doesn't. */
static bool set_heads_locked(struct shard *shard, size_t n_heads)
{
    struct bucket **heads = calloc(n_heads, sizeof *heads);
    if (!heads)
        return false;
    for (size_t i = 0; i < shard->n_heads; i++) {
        for (struct bucket *bucket = shard->heads[i], *next; bucket; bucket = next) {
            next = bucket->next;
            struct bucket **head = &heads[bucket->hash & (n_heads - 1)];
            bucket->next = *head;
            *head = bucket;
        }
    }
    free(shard->heads);
    shard->heads = heads;
    shard->n_heads = n_heads;
    return true;
}

/* Where many are, those that are full are forgotten first; only if that brings little there is more room. */
static bool make_room_locked(struct shard *shard, int64_t now_ns)
{
    if (shard->n_heads == 0)
        return set_heads_locked(shard, HEADS_MIN);
    if (shard->n >= shard->n_heads) {
        forget_full_locked(shard, now_ns);
        if (shard->n > shard->n_heads / 2)
            (void)set_heads_locked(shard, shard->n_heads * 2);
    }
    return true;
}

static struct bucket *bucket_new(const char *name, uint32_t hash, const struct mm_rate *rate, int64_t now_ns)
{
    size_t size = strlen(name) + 1;
    struct bucket *bucket = calloc(1, sizeof *bucket + size);
    if (!bucket)
        return NULL;
    memcpy(bucket->name, name, size);
    bucket->hash = hash;
    bucket->rate = *rate;
    bucket->used.at_ns = now_ns;
    return bucket;
}

/* The bucket of that name, as it stands now. False without memory. NULL for `ret_bucket` if there is no limit. */
static bool get_locked(struct shard *shard, const char *name, const struct mm_rate *rate, int64_t now_ns,
                       struct bucket **ret_bucket)
{
    *ret_bucket = NULL;
    if (rate->per_minute == 0)
        return true;
    uint32_t hash = mm_hash_name(name);
    struct bucket **link = find_locked(shard, name, hash);
    if (!*link) {
        *link = bucket_new(name, hash, rate, now_ns);
        if (!*link)
            return false;
        shard->n++;
    }
    look_at(*link, rate, now_ns);
    *ret_bucket = *link;
    return true;
}

static void note_refusal(struct bucket *bucket, int64_t now_ns)
{
    if (now_ns - bucket->refused_ns >= MM_LIMITED_RECENT_S * SECOND_NS)
        bucket->n_refused = 0;
    bucket->n_refused++;
    bucket->refused_ns = now_ns;
}

static struct mm_rate_state state_of(const struct bucket *bucket, const char *limit)
{
    return (struct mm_rate_state){limit, bucket->rate.per_minute, remaining_of(bucket), more_after(bucket)};
}

/* Which of two stands closer: the one with less left, or that takes longer to have more. */
static bool is_closer(const struct mm_rate_state *a, const struct mm_rate_state *b)
{
    return a->remaining != b->remaining ? a->remaining < b->remaining : a->more_after > b->more_after;
}

/* Those of an account and its tenant; NULL for one that has no limit. */
struct pair {
    struct bucket *account;
    struct bucket *tenant;
};

static bool get_pair_locked(struct shard *shard, const struct mm_tenant *tenant, const struct mm_account *account,
                            int64_t now_ns, struct pair *ret_pair)
{
    static const struct mm_rate NONE = {0};
    /* For both, before the first: making room forgets what is full. */
    return make_room_locked(shard, now_ns) &&
           get_locked(shard, account ? account->identity : "", account ? &account->rate : &NONE, now_ns,
                      &ret_pair->account) &&
           get_locked(shard, tenant->id, &tenant->rate, now_ns, &ret_pair->tenant);
}

static bool has_one(const struct bucket *bucket)
{
    return !bucket || remaining_of(bucket) > 0;
}

/* From both, or from neither: then those that are empty note it. */
static bool take_from(struct pair *pair, int64_t now_ns)
{
    struct bucket *both[] = {pair->account, pair->tenant};
    bool is_granted = has_one(both[0]) && has_one(both[1]);
    for (size_t i = 0; i < MM_ARRAY_SIZE(both); i++) {
        if (both[i] && is_granted)
            both[i]->used.level += MM_METER_UNIT;
        else if (!has_one(both[i]))
            note_refusal(both[i], now_ns);
    }
    return is_granted;
}

static struct mm_rate_state closest(const struct pair *pair)
{
    struct mm_rate_state account = pair->account ? state_of(pair->account, "account") : (struct mm_rate_state){0};
    struct mm_rate_state tenant = pair->tenant ? state_of(pair->tenant, "tenant") : (struct mm_rate_state){0};
    if (!tenant.limit)
        return account;
    return account.limit && !is_closer(&tenant, &account) ? account : tenant;
}

static struct shard *shard_of(struct mm_buckets *buckets, const struct mm_tenant *tenant)
{
    return &buckets->shards[mm_hash_name(tenant->id) % N_SHARDS];
}

static bool is_limited(const struct mm_tenant *tenant, const struct mm_account *account)
{
    return tenant->rate.per_minute > 0 || (account && account->rate.per_minute > 0);
}

bool mm_buckets_take(struct mm_buckets *buckets, const struct mm_tenant *tenant, const struct mm_account *account,
                     int64_t now_ns, struct mm_rate_state *ret_state, struct mm_error *err)
{
    *ret_state = (struct mm_rate_state){0};
    if (!is_limited(tenant, account))
        return true;
    struct shard *shard = shard_of(buckets, tenant);
    struct pair pair;
    bool is_granted = false;
    (void)pthread_mutex_lock(&shard->lock);
    bool is_there = get_pair_locked(shard, tenant, account, now_ns, &pair);
    if (is_there) {
        is_granted = take_from(&pair, now_ns);
        *ret_state = closest(&pair);
    }
    (void)pthread_mutex_unlock(&shard->lock);
    if (!is_there)
        return mm_fail(err, MM_NO_MEMORY, "no memory for a token bucket");
    return is_granted || mm_fail(err, MM_RATE_LIMITED, "%s has had its tokens for now: %lld a minute",
                                 strcmp(ret_state->limit, "account") == 0 ? account->identity : tenant->id,
                                 (long long)ret_state->per_minute);
}

static void give_back_locked(struct shard *shard, const char *name, const struct mm_rate *rate)
{
    struct bucket *bucket = rate->per_minute && shard->n_heads ? *find_locked(shard, name, mm_hash_name(name)) : NULL;
    if (bucket)
        bucket->used.level = bucket->used.level > MM_METER_UNIT ? bucket->used.level - MM_METER_UNIT : 0;
}

void mm_buckets_give_back(struct mm_buckets *buckets, const struct mm_tenant *tenant, const struct mm_account *account)
{
    if (!is_limited(tenant, account))
        return;
    struct shard *shard = shard_of(buckets, tenant);
    (void)pthread_mutex_lock(&shard->lock);
    if (account)
        give_back_locked(shard, account->identity, &account->rate);
    give_back_locked(shard, tenant->id, &tenant->rate);
    (void)pthread_mutex_unlock(&shard->lock);
}

/* Into the list by how often it was refused, if that is often enough for a place in it. */
static size_t rank(const struct bucket *bucket, struct mm_limited *limited, size_t n, size_t max)
{
    size_t place = n;
    while (place > 0 && limited[place - 1].n_refused < bucket->n_refused)
        place--;
    if (place == max)
        return n;
    size_t n_after = n < max ? n + 1 : max;
    memmove(&limited[place + 1], &limited[place], (n_after - place - 1) * sizeof *limited);
    limited[place] = (struct mm_limited){.rate = bucket->rate, .n_refused = bucket->n_refused};
    (void)snprintf(limited[place].name, sizeof limited[place].name, "%s", bucket->name);
    return n_after;
}

size_t mm_buckets_limited(struct mm_buckets *buckets, int64_t now_ns, struct mm_limited *ret_limited, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < N_SHARDS; i++) {
        struct shard *shard = &buckets->shards[i];
        (void)pthread_mutex_lock(&shard->lock);
        for (size_t h = 0; h < shard->n_heads; h++)
            for (const struct bucket *bucket = shard->heads[h]; bucket; bucket = bucket->next)
                if (bucket->n_refused > 0 && now_ns - bucket->refused_ns < MM_LIMITED_RECENT_S * SECOND_NS)
                    n = rank(bucket, ret_limited, n, max);
        (void)pthread_mutex_unlock(&shard->lock);
    }
    return n;
}

size_t mm_buckets_n(struct mm_buckets *buckets)
{
    size_t n = 0;
    for (size_t i = 0; i < N_SHARDS; i++) {
        (void)pthread_mutex_lock(&buckets->shards[i].lock);
        n += buckets->shards[i].n;
        (void)pthread_mutex_unlock(&buckets->shards[i].lock);
    }
    return n;
}
