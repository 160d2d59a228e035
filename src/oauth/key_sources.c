/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/key_sources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "oauth/discovery.h"
#include "oauth/key_sources_internal.h"
#include "policy/spiffe.h"

static const int64_t SECOND_NS = 1000000000;

int64_t mm_key_sources_now(const struct mm_key_sources *sources)
{
    return sources->parts.monotonic_ns ? sources->parts.monotonic_ns() : mm_monotonic_ns();
}

void mm_key_sources_poke(const struct mm_key_sources *sources)
{
    const uint64_t one = 1;
    ssize_t n = sources->poke_fd >= 0 ? write(sources->poke_fd, &one, sizeof one) : 0;
    (void)n; /* full: it will look anyway */
}

struct mm_key_woken mm_key_waiters_take_locked(struct mm_key_sources *sources, struct mm_key_source *source)
{
    struct mm_key_woken woken = {source->waiters, source->n_waiters};
    sources->n_waiting -= source->n_waiters;
    source->waiters = NULL;
    source->n_waiters = 0;
    return woken;
}

void mm_key_waiters_wake(struct mm_key_woken *woken)
{
    for (size_t i = 0; i < woken->n; i++)
        woken->waiters[i].wake(woken->waiters[i].context);
    free(woken->waiters);
    *woken = (struct mm_key_woken){0};
}

struct mm_key_sources *mm_key_sources_start(const struct mm_key_sources_parts *parts, struct mm_error *err)
{
    struct mm_key_sources *sources = calloc(1, sizeof *sources);
    if (!sources) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    sources->parts = *parts;
    (void)pthread_mutex_init(&sources->lock, NULL);
    atomic_init(&sources->beat_ns, mm_monotonic_ns());
    sources->poke_fd = parts->fetch ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    int failed = parts->fetch && sources->poke_fd < 0 ? errno : 0;
    if (parts->fetch && !failed)
        failed = pthread_create(&sources->thread, NULL, mm_key_fetches_run, sources);
    if (!failed)
        return sources;
    (void)mm_fail(err, MM_INTERNAL, "key sources: no thread: %s", strerror(failed));
    if (sources->poke_fd >= 0)
        (void)close(sources->poke_fd);
    (void)pthread_mutex_destroy(&sources->lock);
    free(sources);
    return NULL;
}

/* --- which there are */

struct table {
    struct mm_key_source **items;
    size_t n;
    size_t capacity;
    int64_t now_ns;
};

static void table_clear_cleanup(struct table *table)
{
    for (size_t i = 0; i < table->n; i++)
        mm_key_source_free(table->items[i]);
    free(table->items);
}

static bool add(struct table *table, enum mm_key_source_kind kind, const char *name, const char *url,
                struct mm_jwks *jwks, struct mm_error *err)
{
    if (table->n == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 16;
        struct mm_key_source **items = realloc(table->items, capacity * sizeof(struct mm_key_source *));
        if (!items)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        table->items = items;
        table->capacity = capacity;
    }
    struct mm_key_source *source = mm_key_source_new(kind, name, url, jwks, table->now_ns, err);
    if (!source)
        return false;
    table->items[table->n++] = source;
    return true;
}

/* An issuer whose keys can't be had is none. */
static bool add_issuer(struct table *table, const struct mm_config *config, const char *issuer, struct mm_error *err)
{
    const struct mm_issuer_keys *keys = mm_config_issuer(config, issuer);
    if (!mm_config_can_know_issuer(config, issuer))
        return true;
    if (keys)
        return keys->jwks_uri ? add(table, MM_KEY_SOURCE_JWKS, issuer, keys->jwks_uri, NULL, err)
                              : add(table, MM_KEY_SOURCE_FILE, issuer, NULL, keys->jwks, err);
    mm_cleanup(free) char *url = mm_discovery_url(issuer, err);
    return url && add(table, MM_KEY_SOURCE_ISSUER, issuer, url, NULL, err);
}

static bool add_trust_domain(struct table *table, const struct mm_config *config, const struct mm_trust_domain *domain,
                             struct mm_error *err)
{
    mm_cleanup(free) char *name = NULL;
    if (asprintf(&name, MM_SPIFFE_SCHEME "%s", domain->name) < 0) {
        name = NULL;
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    if (domain->bundle)
        return add(table, MM_KEY_SOURCE_FILE, name, NULL, domain->bundle, err);
    return !mm_config_may_fetch(config, domain->bundle_uri) ||
           add(table, MM_KEY_SOURCE_BUNDLE, name, domain->bundle_uri, NULL, err);
}

static bool add_account(struct table *table, const struct mm_config *config, const struct mm_account *account,
                        struct mm_error *err)
{
    for (size_t i = 0; i < account->n_private_key_jwt; i++) {
        const char *url = account->private_key_jwt[i].jwks_uri;
        if (mm_config_may_fetch(config, url) && !add(table, MM_KEY_SOURCE_JWKS, url, url, NULL, err))
            return false;
    }
    return true;
}

static bool add_tenant(struct table *table, const struct mm_config *config, const struct mm_tenant *tenant,
                       struct mm_error *err)
{
    const struct mm_envelope *envelope = &tenant->envelope;
    bool ok = true;
    for (size_t i = 0; ok && i < envelope->issuers.n; i++)
        ok = add_issuer(table, config, envelope->issuers.items[i], err);
    for (size_t i = 0; ok && i < envelope->n_trust_domains; i++)
        ok = add_trust_domain(table, config, &envelope->trust_domains[i], err);
    for (size_t i = 0; ok && i < tenant->n_accounts; i++)
        ok = add_account(table, config, &tenant->accounts[i], err);
    return ok;
}

static int compare_names(const struct mm_key_source *a, const struct mm_key_source *b)
{
    return strcmp(a->name, b->name);
}

/* By name; of those of one name the operator's comes first, before a URL that a tenant's file names. */
static int compare(const void *a, const void *b)
{
    const struct mm_key_source *one = *(struct mm_key_source *const *)a;
    const struct mm_key_source *other = *(struct mm_key_source *const *)b;
    int order = compare_names(one, other);
    bool is_own = one->url && strcmp(one->name, one->url) == 0;
    bool is_other_own = other->url && strcmp(other->name, other->url) == 0;
    return order ? order : (int)is_own - (int)is_other_own;
}

/* Sorted, each once. */
static bool sort(struct table *table, struct mm_error *err)
{
    size_t n = 0;
    if (table->n > 0)
        qsort(table->items, table->n, sizeof(struct mm_key_source *), compare);
    for (size_t i = 0; i < table->n; i++) {
        if (n > 0 && compare_names(table->items[n - 1], table->items[i]) == 0)
            mm_key_source_free(table->items[i]);
        else
            table->items[n++] = table->items[i];
    }
    table->n = n;
    return n <= MM_KEY_SOURCES_MAX ||
           mm_fail(err, MM_CONFIG_INVALID, "%zu sources of keys are more than %d", n, MM_KEY_SOURCES_MAX);
}

static bool build(const struct mm_config *config, struct table *table, struct mm_error *err)
{
    for (size_t i = 0; i < config->policy.n_tenants; i++)
        if (!add_tenant(table, config, &config->policy.tenants[i], err))
            return false;
    return sort(table, err);
}

static size_t find_place(struct mm_key_source *const *items, size_t n, const char *name)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(items[middle]->name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return n;
}

/* What stays the same stays, with its keys and who waits; `table` is left with what goes. */
static void replace_locked(struct mm_key_sources *sources, struct table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        size_t place = find_place(sources->items, sources->n, table->items[i]->name);
        if (place == sources->n || !mm_key_source_is_same(sources->items[place], table->items[i]))
            continue;
        struct mm_key_source *kept = sources->items[place];
        sources->items[place] = table->items[i];
        table->items[i] = kept;
    }
    struct table gone = {.items = sources->items, .n = sources->n};
    sources->items = table->items;
    sources->n = table->n;
    table->items = gone.items;
    table->n = gone.n;
    for (size_t i = 0; i < MM_FETCHES_MAX; i++) {
        const struct mm_key_source *asked = sources->asked[i];
        size_t place = asked ? find_place(sources->items, sources->n, asked->name) : sources->n;
        if (asked && (place == sources->n || sources->items[place] != asked))
            sources->asked[i] = NULL;
    }
}

bool mm_key_sources_use(struct mm_key_sources *sources, const struct mm_config *config, struct mm_error *err)
{
    mm_cleanup(table_clear) struct table table = {.now_ns = mm_key_sources_now(sources)};
    if (!build(config, &table, err))
        return false;
    (void)pthread_mutex_lock(&sources->lock);
    replace_locked(sources, &table);
    (void)pthread_mutex_unlock(&sources->lock);
    for (size_t i = 0; i < table.n; i++) { /* nobody else knows them any more */
        (void)pthread_mutex_lock(&sources->lock);
        struct mm_key_woken woken = mm_key_waiters_take_locked(sources, table.items[i]);
        (void)pthread_mutex_unlock(&sources->lock);
        mm_key_waiters_wake(&woken);
    }
    mm_key_sources_poke(sources);
    return true;
}

/* --- who asks */

static bool has_room(const struct mm_key_sources *sources, const struct mm_key_source *source)
{
    return source->n_waiters < MM_KEY_WAITERS_PER_SOURCE && sources->n_waiting < MM_KEY_WAITERS_MAX;
}

static bool add_waiter_locked(struct mm_key_sources *sources, struct mm_key_source *source, mm_keys_wake wake,
                              void *context)
{
    if (!has_room(sources, source))
        return false;
    if (!source->waiters)
        source->waiters = calloc(MM_KEY_WAITERS_PER_SOURCE, sizeof *source->waiters);
    if (!source->waiters)
        return false;
    source->waiters[source->n_waiters++] = (struct mm_key_waiter){wake, context};
    sources->n_waiting++;
    return true;
}

/* The keys that are there don't do, if there are any: what becomes of who wants others. */
static enum mm_keys await_locked(struct mm_key_sources *sources, struct mm_key_source *source, int64_t now_ns,
                                 mm_keys_wake wake, void *context, struct mm_error *err)
{
    /* What stands in line for nobody's sake is wanted from now on, and comes before the others. */
    if (source->state == MM_KEY_SOURCE_WANTED && source->n_waiters == 0 && !source->is_given_up)
        source->wanted_ns = now_ns;
    bool is_under_way = source->state != MM_KEY_SOURCE_IDLE && now_ns < source->wanted_ns + MM_KEY_WAIT_MS * 1000000LL;
    bool has_keys = mm_key_source_keys(source, now_ns) != NULL;
    if (!is_under_way && !mm_key_source_may_ask(source, now_ns)) {
        if (!has_keys)
            (void)mm_fail(err, MM_KEYS_UNAVAILABLE, "no keys of %.200s: %s", source->name,
                          source->why[0] ? source->why : "they are being fetched, slowly");
        return has_keys ? MM_KEYS_READY : MM_KEYS_FAILED;
    }
    if (sources->phase != MM_KEY_SOURCES_RUN) {
        if (!has_keys)
            (void)mm_fail(err, MM_SHUTTING_DOWN, "stopping");
        return has_keys ? MM_KEYS_READY : MM_KEYS_FAILED;
    }
    if (source->state == MM_KEY_SOURCE_IDLE) {
        source->state = MM_KEY_SOURCE_WANTED;
        source->wanted_ns = now_ns;
    }
    if (wake && add_waiter_locked(sources, source, wake, context))
        return MM_KEYS_AWAITED;
    (void)mm_fail(err, MM_OVERLOADED, "too many wait for the keys of %.200s", source->name);
    return MM_KEYS_FAILED;
}

enum mm_keys mm_key_sources_get(struct mm_key_sources *sources, const char *source, const struct mm_jwt *jwt,
                                mm_keys_wake wake, void *context, struct mm_jwks **ret_jwks, struct mm_error *err)
{
    enum mm_keys answer = MM_KEYS_FAILED;
    int64_t now_ns = mm_key_sources_now(sources);
    (void)pthread_mutex_lock(&sources->lock);
    size_t place = find_place(sources->items, sources->n, source);
    struct mm_key_source *found = place < sources->n ? sources->items[place] : NULL;
    struct mm_jwks *jwks = found ? mm_key_source_keys(found, now_ns) : NULL;
    if (!found)
        (void)mm_fail(err, MM_ACCESS_DENIED, "there are no keys of such an issuer");
    else if (jwks && (!jwt || !found->url || mm_jwt_has_key_in(jwt, jwks)))
        answer = MM_KEYS_READY;
    else
        answer = await_locked(sources, found, now_ns, wake, context, err);
    if (answer == MM_KEYS_READY)
        *ret_jwks = mm_jwks_ref(jwks);
    (void)pthread_mutex_unlock(&sources->lock);
    if (answer == MM_KEYS_AWAITED)
        mm_key_sources_poke(sources);
    return answer;
}

/* --- how they are */

static bool describe(const struct mm_key_source *source, int64_t now_ns, struct mm_key_source_state *ret_state)
{
    const struct mm_jwks *jwks = mm_key_source_keys(source, now_ns);
    int64_t next_ns = source->state == MM_KEY_SOURCE_IDLE ? source->due_ns - now_ns : 0;
    *ret_state = (struct mm_key_source_state){
        .name = strdup(source->name),
        .url = source->url ? strdup(source->url) : NULL,
        .n_keys = jwks ? mm_jwks_n_keys(jwks) : 0,
        .n_unusable = jwks ? mm_jwks_n_skipped(jwks) : 0,
        .unusable_why = jwks && mm_jwks_n_skipped(jwks) > 0 ? strdup(mm_jwks_skipped_why(jwks)) : NULL,
        .age = source->url && jwks ? (now_ns - source->fetched_ns) / SECOND_NS : -1,
        .next = !source->url  ? -1
                : next_ns > 0 ? (next_ns + SECOND_NS - 1) / SECOND_NS
                              : 0,
        .error = source->n_failures > 0 ? strdup(source->why) : NULL,
        .is_stale = source->url && jwks && now_ns >= source->expires_ns,
    };
    return ret_state->name && !ret_state->url == !source->url && !ret_state->error == !source->n_failures &&
           !ret_state->unusable_why == !ret_state->n_unusable;
}

bool mm_key_sources_describe(struct mm_key_sources *sources, struct mm_key_source_state **ret_states, size_t *ret_n,
                             struct mm_error *err)
{
    int64_t now_ns = mm_key_sources_now(sources);
    bool ok = true;
    (void)pthread_mutex_lock(&sources->lock);
    size_t n = sources->n;
    struct mm_key_source_state *states = calloc(n + 1, sizeof *states);
    for (size_t i = 0; states && ok && i < n; i++)
        ok = describe(sources->items[i], now_ns, &states[i]);
    (void)pthread_mutex_unlock(&sources->lock);
    if (!states || !ok) {
        mm_key_source_states_free(states, states ? n : 0);
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    *ret_states = states;
    *ret_n = n;
    return true;
}

void mm_key_source_states_free(struct mm_key_source_state *states, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(states[i].name);
        free(states[i].url);
        free(states[i].error);
        free(states[i].unusable_why);
    }
    free(states);
}

int64_t mm_key_sources_beat_ns(const struct mm_key_sources *sources)
{
    return sources->poke_fd >= 0 ? atomic_load(&sources->beat_ns) : mm_monotonic_ns();
}

/* --- the end */

static void set_phase(struct mm_key_sources *sources, int phase)
{
    (void)pthread_mutex_lock(&sources->lock);
    sources->phase = phase;
    (void)pthread_mutex_unlock(&sources->lock);
}

void mm_key_sources_drain(struct mm_key_sources *sources)
{
    set_phase(sources, MM_KEY_SOURCES_DRAIN);
    for (;;) {
        struct mm_key_woken woken = {0};
        (void)pthread_mutex_lock(&sources->lock);
        for (size_t i = 0; i < sources->n && woken.n == 0; i++)
            if (sources->items[i]->n_waiters > 0)
                woken = mm_key_waiters_take_locked(sources, sources->items[i]);
        (void)pthread_mutex_unlock(&sources->lock);
        if (woken.n == 0)
            return;
        mm_key_waiters_wake(&woken);
    }
}

void mm_key_sources_free(struct mm_key_sources *sources)
{
    if (!sources)
        return;
    mm_key_sources_drain(sources);
    set_phase(sources, MM_KEY_SOURCES_STOP);
    if (sources->poke_fd >= 0) {
        mm_key_sources_poke(sources);
        (void)pthread_join(sources->thread, NULL);
        (void)close(sources->poke_fd);
    }
    for (size_t i = 0; i < sources->n; i++)
        mm_key_source_free(sources->items[i]);
    free(sources->items);
    (void)pthread_mutex_destroy(&sources->lock);
    free(sources);
}
