/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/replay.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

enum {
    CAPACITY_MAX = 1 << 20,
    SALT_LENGTH = 16,
    N_SHARES = 256, /* tenants are counted by a byte of a salted hash: two of one byte share a share */
    NONE = 0,       /* places are counted from 1 */
};

struct use {
    uint8_t digest[MM_SHA256_LENGTH];
    int64_t until;
    uint32_t next; /* in its bucket, or among the free; NONE ends */
    uint8_t share;
};

struct mm_replay {
    /* immutable after mm_replay_new() */
    size_t capacity;
    size_t n_buckets; /* a power of two */
    uint8_t salt[SALT_LENGTH];

    pthread_mutex_t lock;
    /* guarded by lock */
    struct use *uses; /* of place 1 and so on */
    uint32_t *buckets;
    uint32_t first_free; /* of those that were in use */
    size_t n_touched;    /* what lies behind has never been in use, nor touched */
    size_t n;
    size_t n_of_share[N_SHARES];
    int64_t earliest;        /* no use expires before; not yet looked for: 0 */
    int64_t forgotten_until; /* the latest `until` of what was forgotten */
};

struct mm_replay *mm_replay_new(size_t capacity, const struct mm_random *random, struct mm_error *err)
{
    assert(capacity > 0 && capacity <= CAPACITY_MAX);
    mm_cleanup(mm_replay_free) struct mm_replay *replay = calloc(1, sizeof *replay);
    if (!replay) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    (void)pthread_mutex_init(&replay->lock, NULL);
    replay->capacity = capacity;
    for (replay->n_buckets = 1; replay->n_buckets < capacity; replay->n_buckets *= 2)
        ;
    replay->uses = calloc(capacity, sizeof *replay->uses);
    replay->buckets = calloc(replay->n_buckets, sizeof *replay->buckets);
    if (!replay->uses || !replay->buckets) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!random->fill(random->context, replay->salt, sizeof replay->salt)) {
        (void)mm_fail(err, MM_INTERNAL, "no randomness");
        return NULL;
    }
    return MM_TAKE(replay);
}

void mm_replay_free(struct mm_replay *replay)
{
    if (!replay)
        return;
    (void)pthread_mutex_destroy(&replay->lock);
    free(replay->uses);
    free(replay->buckets);
    free(replay);
}

void mm_replay_digest(const char *issuer, const char *jti, uint8_t out[MM_SHA256_LENGTH])
{
    static const char TAG[] = "mintmark jti 1";
    /* The NULs, which neither string can hold, keep ("a", "bc") and ("ab", "c") apart. */
    const struct mm_bytes parts[] = {{TAG, sizeof TAG}, {issuer, strlen(issuer) + 1}, {jti, strlen(jti)}};
    mm_sha256_parts(parts, MM_ARRAY_SIZE(parts), out);
}

/* Salted, so that nobody can choose what falls together. */
static uint32_t hash(const struct mm_replay *replay, const void *data, size_t length)
{
    const struct mm_bytes parts[] = {{replay->salt, sizeof replay->salt}, {data, length}};
    uint8_t digest[MM_SHA256_LENGTH];
    uint32_t number;
    mm_sha256_parts(parts, MM_ARRAY_SIZE(parts), digest);
    memcpy(&number, digest, sizeof number);
    return number;
}

static uint32_t *bucket_of(struct mm_replay *replay, const uint8_t digest[MM_SHA256_LENGTH])
{
    return &replay->buckets[hash(replay, digest, MM_SHA256_LENGTH) & (replay->n_buckets - 1)];
}

static struct use *use_at(struct mm_replay *replay, uint32_t place)
{
    return &replay->uses[place - 1];
}

static bool is_used_locked(struct mm_replay *replay, const uint8_t digest[MM_SHA256_LENGTH])
{
    for (uint32_t i = *bucket_of(replay, digest); i != NONE; i = use_at(replay, i)->next)
        if (memcmp(use_at(replay, i)->digest, digest, MM_SHA256_LENGTH) == 0)
            return true;
    return false;
}

/* Take use `*link` out of its bucket. */
static void forget_locked(struct mm_replay *replay, uint32_t *link)
{
    uint32_t i = *link;
    struct use *use = use_at(replay, i);
    *link = use->next;
    use->next = replay->first_free;
    replay->first_free = i;
    replay->n--;
    replay->n_of_share[use->share]--;
}

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Forget what has expired: a walk through all of it, so only where there is no room, and not before the first has. */
static void forget_expired_locked(struct mm_replay *replay, int64_t now)
{
    if (now < replay->earliest)
        return;
    int64_t earliest = INT64_MAX;
    for (size_t b = 0; b < replay->n_buckets; b++) {
        uint32_t *link = &replay->buckets[b];
        while (*link != NONE) {
            struct use *use = use_at(replay, *link);
            if (use->until <= now) {
                if (use->until > replay->forgotten_until)
                    replay->forgotten_until = use->until;
                forget_locked(replay, link);
                continue;
            }
            earliest = lesser(use->until, earliest);
            link = &use->next;
        }
    }
    replay->earliest = earliest;
}

/* No share grows beyond what is left for all the others: those that are hardly used take nothing from one that is. */
static bool has_room_locked(const struct mm_replay *replay, uint8_t share)
{
    return replay->n_of_share[share] < replay->capacity - replay->n;
}

static void remember_locked(struct mm_replay *replay, const uint8_t digest[MM_SHA256_LENGTH], int64_t until,
                            uint8_t share)
{
    uint32_t *bucket = bucket_of(replay, digest);
    uint32_t i = replay->first_free != NONE ? replay->first_free : (uint32_t)++replay->n_touched;
    struct use *use = use_at(replay, i);
    if (i == replay->first_free)
        replay->first_free = use->next;
    memcpy(use->digest, digest, MM_SHA256_LENGTH);
    use->until = until;
    use->share = share;
    use->next = *bucket;
    *bucket = i;
    replay->n++;
    replay->n_of_share[share]++;
    replay->earliest = lesser(until, replay->earliest);
}

static bool use_locked(struct mm_replay *replay, uint8_t share, const uint8_t digest[MM_SHA256_LENGTH], int64_t until,
                       int64_t now, struct mm_error *err)
{
    if (is_used_locked(replay, digest))
        return mm_fail(err, MM_TOKEN_INVALID, "it was used before");
    if (!has_room_locked(replay, share))
        forget_expired_locked(replay, now);
    if (until <= now || until <= replay->forgotten_until)
        return mm_fail(err, MM_TOKEN_INVALID, "it has expired");
    if (!has_room_locked(replay, share))
        return mm_fail(err, MM_OVERLOADED, "no room to remember that a JWT was used: %zu are, %zu of its tenant",
                       replay->n, replay->n_of_share[share]);
    remember_locked(replay, digest, until, share);
    return true;
}

bool mm_replay_use(struct mm_replay *replay, const char *tenant, const uint8_t digest[MM_SHA256_LENGTH], int64_t until,
                   int64_t now, struct mm_error *err)
{
    uint8_t share = (uint8_t)hash(replay, tenant, strlen(tenant));
    (void)pthread_mutex_lock(&replay->lock);
    bool is_first = use_locked(replay, share, digest, until, now, err);
    (void)pthread_mutex_unlock(&replay->lock);
    return is_first;
}

void mm_replay_remember(struct mm_replay *replay, const char *tenant, const uint8_t digest[MM_SHA256_LENGTH],
                        int64_t until, int64_t now)
{
    uint8_t share = (uint8_t)hash(replay, tenant, strlen(tenant));
    struct mm_error err = {0};
    (void)pthread_mutex_lock(&replay->lock);
    bool is_known = until > now && (use_locked(replay, share, digest, until, now, &err) || err.code != MM_OVERLOADED);
    if (!is_known && until > replay->forgotten_until)
        replay->forgotten_until = until;
    (void)pthread_mutex_unlock(&replay->lock);
}

size_t mm_replay_n(struct mm_replay *replay)
{
    (void)pthread_mutex_lock(&replay->lock);
    size_t n = replay->n;
    (void)pthread_mutex_unlock(&replay->lock);
    return n;
}
