/* SPDX-License-Identifier: Apache-2.0 */
#include "http/addresses.h"

#include <pthread.h>
#include <string.h>

#include "util/meter.h"

enum {
    N_SETS = 512, /* an address has its place in one of them */
    N_WAYS = 8,
    STEPS = 4, /* 1, 2, 4, 8 s */
    /* So many lines of one address and of all together are logged at once, and so many more each minute. */
    LINES = 300,
    LINES_PER_MINUTE = 60,
    ALL_LINES = 2000,
    ALL_LINES_PER_MINUTE = 600,
};

static const int64_t MINUTE_NS = INT64_C(60000000000);

struct entry {
    struct mm_address_key key;
    bool is_used;
    int64_t n_held;
    struct mm_meter failures;
    struct mm_meter lines;
    int64_t n_left_out;
};

struct mm_addresses {
    uint64_t seed; /* immutable */

    pthread_mutex_t lock;
    /* guarded by lock */
    int64_t n_held;
    struct mm_meter lines; /* of all */
    int64_t n_left_out;
    int64_t left_out_since_ns;
    struct entry sets[N_SETS][N_WAYS];
};

struct mm_addresses *mm_addresses_new(const struct mm_random *random, struct mm_error *err)
{
    mm_cleanup(mm_addresses_free) struct mm_addresses *addresses = calloc(1, sizeof *addresses);
    if (!addresses) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for addresses");
        return NULL;
    }
    (void)pthread_mutex_init(&addresses->lock, NULL);
    if (!random->fill(random->context, (uint8_t *)&addresses->seed, sizeof addresses->seed)) {
        (void)mm_fail(err, MM_INTERNAL, "no randomness");
        return NULL;
    }
    return MM_TAKE(addresses);
}

void mm_addresses_free(struct mm_addresses *addresses)
{
    if (!addresses)
        return;
    (void)pthread_mutex_destroy(&addresses->lock);
    free(addresses);
}

/* FNV-1a from a start that nobody outside knows. */
static struct entry *set_of(struct mm_addresses *addresses, const struct mm_address_key *key)
{
    uint64_t hash = addresses->seed;
    for (size_t i = 0; i < sizeof key->bytes; i++)
        hash = (hash ^ key->bytes[i]) * 0x100000001b3U;
    return addresses->sets[(hash >> 32) % N_SETS];
}

static struct entry *find_locked(struct mm_addresses *addresses, const struct mm_address_key *key)
{
    struct entry *set = set_of(addresses, key);
    for (size_t i = 0; i < N_WAYS; i++)
        if (set[i].is_used && memcmp(&set[i].key, key, sizeof *key) == 0)
            return &set[i];
    return NULL;
}

/* A place that is free, or that of the address with the least to be remembered; NULL if answers of all are held back. */
static struct entry *place_locked(struct entry *set)
{
    struct entry *least = NULL;
    for (size_t i = 0; i < N_WAYS; i++) {
        if (!set[i].is_used)
            return &set[i];
        if (set[i].n_held == 0 && (!least || set[i].failures.level < least->failures.level))
            least = &set[i];
    }
    return least;
}

static struct entry *get_locked(struct mm_addresses *addresses, const struct mm_address_key *key, int64_t now_ns)
{
    struct entry *entry = find_locked(addresses, key);
    if (entry)
        return entry;
    entry = place_locked(set_of(addresses, key));
    if (entry)
        *entry = (struct entry){.key = *key, .is_used = true, .failures.at_ns = now_ns, .lines.at_ns = now_ns};
    return entry;
}

/* One more unit, up to `max` of them; the level before it. */
static int64_t raise_level(struct mm_meter *meter, int64_t per_minute, int64_t max, int64_t now_ns)
{
    mm_meter_drain(meter, per_minute, now_ns);
    int64_t before = mm_meter_units(meter);
    meter->level += MM_METER_UNIT;
    if (meter->level > max * MM_METER_UNIT)
        meter->level = max * MM_METER_UNIT;
    return before;
}

/* By how far it is beyond: after as many again as are answered at once, it is longest. */
static int64_t delay_ms(int64_t excess, int64_t per_minute)
{
    int64_t step = excess * STEPS / per_minute;
    return (int64_t)MM_FAILURE_DELAY_MIN_MS << (step < STEPS ? step : STEPS - 1);
}

static enum mm_failure_verdict fail_locked(struct mm_addresses *addresses, const struct mm_address_key *key,
                                           const struct mm_failure_limits *limits, int64_t now_ns,
                                           int64_t *ret_delay_ms)
{
    struct entry *entry = get_locked(addresses, key, now_ns);
    if (!entry)
        return MM_FAILURE_TURNED_AWAY;
    int64_t before = raise_level(&entry->failures, limits->per_minute, 2 * limits->per_minute, now_ns);
    if (before < limits->per_minute) {
        *ret_delay_ms = 0;
        return MM_FAILURE_ANSWERED;
    }
    *ret_delay_ms = delay_ms(before - limits->per_minute, limits->per_minute);
    if (entry->n_held >= limits->held_of_address || addresses->n_held >= limits->held)
        return MM_FAILURE_TURNED_AWAY;
    entry->n_held++;
    addresses->n_held++;
    return MM_FAILURE_HELD;
}

enum mm_failure_verdict mm_addresses_fail(struct mm_addresses *addresses, const struct mm_address_key *key,
                                          const struct mm_failure_limits *limits, int64_t now_ns, int64_t *ret_delay_ms)
{
    *ret_delay_ms = MM_FAILURE_DELAY_MAX_MS;
    (void)pthread_mutex_lock(&addresses->lock);
    enum mm_failure_verdict verdict = fail_locked(addresses, key, limits, now_ns, ret_delay_ms);
    (void)pthread_mutex_unlock(&addresses->lock);
    return verdict;
}

void mm_addresses_release(struct mm_addresses *addresses, const struct mm_address_key *key)
{
    (void)pthread_mutex_lock(&addresses->lock);
    struct entry *entry = find_locked(addresses, key); /* it is there: what is held keeps its place */
    if (entry && entry->n_held > 0) {
        entry->n_held--;
        addresses->n_held--;
    }
    (void)pthread_mutex_unlock(&addresses->lock);
}

static bool may_log_locked(struct mm_addresses *addresses, struct entry *entry, int64_t now_ns)
{
    mm_meter_drain(&addresses->lines, ALL_LINES_PER_MINUTE, now_ns);
    if (mm_meter_units(&addresses->lines) >= ALL_LINES)
        return false;
    if (entry && raise_level(&entry->lines, LINES_PER_MINUTE, LINES, now_ns) >= LINES)
        return false;
    addresses->lines.level += MM_METER_UNIT;
    return true;
}

bool mm_addresses_may_log(struct mm_addresses *addresses, const struct mm_address_key *key, int64_t now_ns)
{
    (void)pthread_mutex_lock(&addresses->lock);
    struct entry *entry = get_locked(addresses, key, now_ns);
    bool may_log = may_log_locked(addresses, entry, now_ns);
    if (!may_log) {
        if (addresses->n_left_out++ == 0)
            addresses->left_out_since_ns = now_ns;
        if (entry)
            entry->n_left_out++;
    }
    (void)pthread_mutex_unlock(&addresses->lock);
    return may_log;
}

/* The one with the most; each is counted anew. */
static void take_worst_locked(struct mm_addresses *addresses, struct mm_left_out *ret_left_out)
{
    const struct entry *worst = NULL;
    for (size_t i = 0; i < N_SETS * N_WAYS; i++) {
        struct entry *entry = &addresses->sets[i / N_WAYS][i % N_WAYS];
        if (entry->n_left_out > ret_left_out->of_address) {
            ret_left_out->of_address = entry->n_left_out;
            worst = entry;
        }
        entry->n_left_out = 0;
    }
    if (worst)
        mm_address_key_format(&worst->key, ret_left_out->address);
}

bool mm_addresses_take_left_out(struct mm_addresses *addresses, int64_t now_ns, struct mm_left_out *ret_left_out)
{
    (void)pthread_mutex_lock(&addresses->lock);
    bool is_due = addresses->n_left_out > 0 && now_ns - addresses->left_out_since_ns >= MINUTE_NS;
    if (is_due) {
        *ret_left_out = (struct mm_left_out){.lines = addresses->n_left_out};
        take_worst_locked(addresses, ret_left_out);
        addresses->n_left_out = 0;
    }
    (void)pthread_mutex_unlock(&addresses->lock);
    return is_due;
}

/* Into the list by its failures, if they are enough for a place in it. */
static size_t rank(const struct entry *entry, int64_t n_failures, struct mm_slowed *slowed, size_t n, size_t max)
{
    size_t place = n;
    while (place > 0 && slowed[place - 1].n_failures < n_failures)
        place--;
    if (place == max)
        return n;
    size_t n_after = n < max ? n + 1 : max;
    memmove(&slowed[place + 1], &slowed[place], (n_after - place - 1) * sizeof *slowed);
    slowed[place] = (struct mm_slowed){.n_failures = n_failures, .n_held = entry->n_held};
    mm_address_key_format(&entry->key, slowed[place].address);
    return n_after;
}

size_t mm_addresses_slowed(struct mm_addresses *addresses, int64_t per_minute, int64_t now_ns,
                           struct mm_slowed *ret_slowed, size_t max)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&addresses->lock);
    for (size_t i = 0; i < N_SETS * N_WAYS; i++) {
        struct entry *entry = &addresses->sets[i / N_WAYS][i % N_WAYS];
        mm_meter_drain(&entry->failures, per_minute, now_ns);
        int64_t beyond = mm_meter_units(&entry->failures) - per_minute;
        if (entry->is_used && (beyond > 0 || entry->n_held > 0))
            n = rank(entry, beyond > 0 ? beyond : 0, ret_slowed, n, max);
    }
    (void)pthread_mutex_unlock(&addresses->lock);
    return n;
}
