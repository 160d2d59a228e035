/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that asks for keys: what is due or wanted gets one of a few slots, a document is read as it comes, parsed without the lock, and
 * then everybody who waits for it is woken. It waits for nothing but its slots and its callers.
 */
#include "oauth/key_sources_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "fetch/answer.h"
#include "oauth/discovery.h"

enum {
    SLOTS = MM_FETCHES_MAX,
    TROUBLED_MAX = SLOTS / 2, /* slots of sources that were slow or failed, or that nobody waits for */
    HOST_MAX = SLOTS / 4,     /* slots of one host's sources: it may be slow, and no source of it known to be yet */
    SLOT_MS = MM_FETCH_MS + 2000,
    BUSY_MS = 100,
    IDLE_MS = 1000,
    PIECE = 16384,
    VALUES_MAX = 16384, /* of a document: each becomes an allocation, some of them 300 bytes */
};

/* One fetch. Of the source only what never changes is copied: it may be gone before the fetch ends. */
struct slot {
    int fd; /* -1: free */
    enum { DISCOVERY, KEYS } step;
    bool is_troubled;
    enum mm_key_source_kind kind;
    char *name;
    char host[MM_HOST_MAX]; /* that was asked first */
    int64_t until_ns;
    struct mm_buffer answer;
};

struct work {
    struct mm_key_sources *sources;
    struct slot slots[SLOTS];
};

/* What a fetch came to. */
struct outcome {
    struct mm_jwks *jwks; /* NULL: it failed */
    int64_t max_age;
    struct mm_error why;
};

static void release(struct work *work, size_t i)
{
    struct slot *slot = &work->slots[i];
    if (slot->fd >= 0)
        (void)close(slot->fd);
    free(slot->name);
    mm_buffer_clear(&slot->answer);
    *slot = (struct slot){.fd = -1};
}

/* --- the end of a fetch */

static void tell(const struct mm_key_sources *sources, enum mm_key_source_event event, const char *name,
                 const char *detail)
{
    if (sources->parts.observer)
        sources->parts.observer(sources->parts.observer_context, event, name, detail);
}

/* What is worth telling of it; `ret_event` is set then. */
static bool settle_locked(struct mm_key_source *source, struct outcome *outcome, int64_t now_ns,
                          const struct mm_random *random, enum mm_key_source_event *ret_event)
{
    bool had_failed = source->n_failures > 0;
    *ret_event = outcome->jwks ? MM_KEY_SOURCE_BACK : MM_KEY_SOURCE_FAILED;
    bool is_news = outcome->jwks ? had_failed : !had_failed || strcmp(source->why, outcome->why.message) != 0;
    if (outcome->jwks)
        mm_key_source_succeed(source, MM_TAKE(outcome->jwks), outcome->max_age, now_ns, random);
    else
        mm_key_source_fail(source, outcome->why.message, now_ns, random);
    return is_news;
}

/* How many keys would be kept of the host. */
static size_t count_keys_locked(const struct mm_key_sources *sources, const struct mm_key_source *source,
                                const struct mm_jwks *jwks)
{
    size_t n = mm_jwks_n_keys(jwks);
    for (size_t i = 0; i < sources->n; i++) {
        const struct mm_key_source *other = sources->items[i];
        if (other != source && other->url && other->jwks && strcmp(other->host, source->host) == 0)
            n += mm_jwks_n_keys(other->jwks);
    }
    return n;
}

/* A key takes up to 5 KiB: a host that gives each of thousands of sources as many as there may be would fill the memory. */
static void refuse_too_many(struct work *work, size_t i, struct outcome *outcome)
{
    struct mm_key_sources *sources = work->sources;
    (void)pthread_mutex_lock(&sources->lock);
    const struct mm_key_source *source = sources->asked[i];
    size_t n = source && outcome->jwks ? count_keys_locked(sources, source, outcome->jwks) : 0;
    (void)pthread_mutex_unlock(&sources->lock);
    if (n <= MM_KEYS_OF_HOST_MAX)
        return;
    mm_jwks_unref(MM_TAKE(outcome->jwks));
    (void)mm_fail(&outcome->why, MM_UNREACHABLE, "with its keys there would be more than %d of its host",
                  MM_KEYS_OF_HOST_MAX);
}

static void finish(struct work *work, size_t i, struct outcome *outcome)
{
    refuse_too_many(work, i, outcome);
    struct mm_key_sources *sources = work->sources;
    struct mm_key_woken woken = {0};
    enum mm_key_source_event event = MM_KEY_SOURCE_FAILED;
    bool is_news = false;
    char detail[MM_KEY_REASON_MAX];
    outcome->why.message[MM_KEY_REASON_MAX - 1] = '\0';
    (void)snprintf(detail, sizeof detail, "%.255s", outcome->why.message);
    if (outcome->jwks)
        (void)snprintf(detail, sizeof detail, "%zu key%s", mm_jwks_n_keys(outcome->jwks),
                       mm_jwks_n_keys(outcome->jwks) == 1 ? "" : "s");
    (void)pthread_mutex_lock(&sources->lock);
    struct mm_key_source *source = sources->asked[i];
    sources->asked[i] = NULL;
    if (source) {
        is_news = settle_locked(source, outcome, mm_key_sources_now(sources), sources->parts.random, &event);
        woken = mm_key_waiters_take_locked(sources, source);
    }
    (void)pthread_mutex_unlock(&sources->lock);
    if (is_news)
        tell(sources, event, work->slots[i].name, detail);
    mm_key_waiters_wake(&woken);
    mm_jwks_unref(outcome->jwks); /* nobody's any more */
    release(work, i);
}

static void fail(struct work *work, size_t i, const char *why)
{
    struct outcome outcome = {0};
    (void)mm_fail(&outcome.why, MM_UNREACHABLE, "%s%s", work->slots[i].step == DISCOVERY ? "discovery: " : "", why);
    finish(work, i, &outcome);
}

/* --- asking */

static void ask(struct work *work, size_t i, const char *url)
{
    const struct mm_key_sources_parts *parts = &work->sources->parts;
    struct slot *slot = &work->slots[i];
    struct mm_error err = {0};
    int fd = -1;
    slot->answer = mm_buffer_make(MM_FETCH_ANSWER_MAX);
    slot->until_ns = mm_key_sources_now(work->sources) + SLOT_MS * 1000000LL;
    if (!parts->fetch(parts->fetch_context, url, &fd, &err))
        fail(work, i, err.message);
    else
        slot->fd = fd;
}

static void want_what_is_due_locked(struct mm_key_sources *sources, int64_t now_ns)
{
    for (size_t i = 0; i < sources->n; i++) {
        struct mm_key_source *source = sources->items[i];
        if (source->due_ns > now_ns || !mm_key_source_may_ask(source, now_ns))
            continue;
        source->state = MM_KEY_SOURCE_WANTED;
        source->wanted_ns = now_ns;
    }
}

/* Whose fetch may take long, or matters to nobody yet: these leave slots to the others. */
static bool is_troubled(const struct mm_key_source *source)
{
    return source->n_failures > 0 || source->was_slow || source->n_waiters == 0;
}

static bool has_host_room(const struct work *work, const char *host)
{
    size_t n = 0;
    for (size_t i = 0; i < SLOTS; i++)
        n += work->slots[i].name && strcmp(work->slots[i].host, host) == 0;
    return n < HOST_MAX;
}

/* Of those that are wanted: first who isn't troubled, then who has waited longest. NULL: none may have a slot. */
static struct mm_key_source *pick_locked(const struct work *work)
{
    size_t n_troubled = 0;
    struct mm_key_source *best = NULL;
    for (size_t i = 0; i < SLOTS; i++)
        n_troubled += work->slots[i].name && work->slots[i].is_troubled;
    for (size_t i = 0; i < work->sources->n; i++) {
        struct mm_key_source *source = work->sources->items[i];
        if (source->state != MM_KEY_SOURCE_WANTED || (is_troubled(source) && n_troubled >= TROUBLED_MAX) ||
            !has_host_room(work, source->host))
            continue;
        bool is_better = !best || is_troubled(source) < is_troubled(best) ||
                         (is_troubled(source) == is_troubled(best) && source->wanted_ns < best->wanted_ns);
        best = is_better ? source : best;
    }
    return best;
}

/* The URL to ask for, the caller's; NULL: there is nothing to ask, or no memory to. */
static char *take_slot_locked(struct work *work, size_t i, int64_t now_ns)
{
    struct mm_key_source *source = pick_locked(work);
    mm_cleanup(free) char *name = source ? strdup(source->name) : NULL;
    char *url = name ? strdup(source->url) : NULL;
    if (!url)
        return NULL;
    work->slots[i] = (struct slot){
        .fd = -1,
        .step = source->kind == MM_KEY_SOURCE_ISSUER ? DISCOVERY : KEYS,
        .is_troubled = is_troubled(source),
        .kind = source->kind,
        .name = MM_TAKE(name),
    };
    memcpy(work->slots[i].host, source->host, sizeof source->host);
    work->sources->asked[i] = source;
    mm_key_source_ask(source, now_ns);
    return url;
}

static void fill_slots(struct work *work)
{
    struct mm_key_sources *sources = work->sources;
    for (size_t i = 0; i < SLOTS; i++) {
        if (work->slots[i].name)
            continue;
        int64_t now_ns = mm_key_sources_now(sources);
        (void)pthread_mutex_lock(&sources->lock);
        want_what_is_due_locked(sources, now_ns);
        mm_cleanup(free) char *url = sources->phase == MM_KEY_SOURCES_RUN ? take_slot_locked(work, i, now_ns) : NULL;
        (void)pthread_mutex_unlock(&sources->lock);
        if (!url)
            return;
        ask(work, i, url);
    }
}

/* --- answers */

/* Whether it is worth making a tree of it: a megabyte of empty objects would be a hundred of memory. */
static bool is_modest(const struct mm_fetched *fetched)
{
    const char *text = fetched->data;
    size_t n = 0;
    for (size_t i = 0; i < fetched->length; i++)
        n += text[i] == ',' || text[i] == '{' || text[i] == '[';
    return n <= VALUES_MAX;
}

static void take_document(struct work *work, size_t i, const struct mm_fetched *fetched)
{
    struct slot *slot = &work->slots[i];
    char jwks_uri[MM_URL_MAX + 1];
    struct outcome outcome = {.max_age = fetched->max_age};
    if (slot->step == KEYS) {
        outcome.jwks = slot->kind == MM_KEY_SOURCE_BUNDLE
                           ? mm_jwks_parse_bundle(fetched->data, fetched->length, &outcome.why)
                           : mm_jwks_parse(fetched->data, fetched->length, &outcome.why);
        finish(work, i, &outcome);
        return;
    }
    if (!mm_discovery_parse(fetched->data, fetched->length, slot->name, jwks_uri, &outcome.why)) {
        finish(work, i, &outcome);
        return;
    }
    (void)close(slot->fd);
    slot->fd = -1;
    slot->step = KEYS;
    mm_buffer_clear(&slot->answer);
    ask(work, i, jwks_uri);
}

static void take_answer(struct work *work, size_t i)
{
    const struct slot *slot = &work->slots[i];
    struct mm_fetched fetched;
    struct mm_error why = {0};
    if (!mm_fetch_answer_parse(slot->answer.data, slot->answer.length, &fetched, &why))
        fail(work, i, why.message);
    else if (!is_modest(&fetched))
        fail(work, i, "the document has more parts than one needs");
    else
        take_document(work, i, &fetched);
}

/* What there is to read now. */
static void read_answer(struct work *work, size_t i)
{
    uint8_t piece[PIECE];
    struct slot *slot = &work->slots[i];
    ssize_t n = read(slot->fd, piece, sizeof piece);
    struct mm_error err = {0};
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        fail(work, i, strerror(errno));
    else if (n == 0)
        take_answer(work, i);
    else if (!mm_buffer_append(&slot->answer, piece, (size_t)n, &err))
        fail(work, i, err.code == MM_NO_MEMORY ? err.message : "the fetch gave an answer that is none");
}

/* --- what is late */

static void end_overdue_fetches(struct work *work)
{
    int64_t now_ns = mm_key_sources_now(work->sources);
    for (size_t i = 0; i < SLOTS; i++)
        if (work->slots[i].fd >= 0 && now_ns > work->slots[i].until_ns)
            fail(work, i, "it took too long");
}

/* Nobody waits for a fetch for longer than MM_KEY_WAIT_MS, whether it goes on or hasn't begun. */
static void wake_overdue(struct mm_key_sources *sources)
{
    int64_t now_ns = mm_key_sources_now(sources);
    for (;;) {
        struct mm_key_woken woken = {0};
        (void)pthread_mutex_lock(&sources->lock);
        for (size_t i = 0; i < sources->n && woken.n == 0; i++) {
            struct mm_key_source *source = sources->items[i];
            if (source->n_waiters == 0 || now_ns < source->wanted_ns + MM_KEY_WAIT_MS * 1000000LL)
                continue;
            source->is_given_up = true;
            woken = mm_key_waiters_take_locked(sources, source);
        }
        (void)pthread_mutex_unlock(&sources->lock);
        if (woken.n == 0)
            return;
        mm_key_waiters_wake(&woken);
    }
}

/* --- the thread */

/* Wait for an answer, a caller, or the time to look again. */
static void wait_for_something(struct work *work)
{
    struct pollfd fds[SLOTS + 1];
    size_t slots[SLOTS];
    nfds_t n = 0;
    uint64_t pokes;
    for (size_t i = 0; i < SLOTS; i++) {
        if (work->slots[i].fd < 0)
            continue;
        slots[n] = i;
        fds[n++] = (struct pollfd){.fd = work->slots[i].fd, .events = POLLIN};
    }
    fds[n] = (struct pollfd){.fd = work->sources->poke_fd, .events = POLLIN};
    if (poll(fds, n + 1, n > 0 ? BUSY_MS : IDLE_MS) <= 0)
        return;
    if (fds[n].revents && read(fds[n].fd, &pokes, sizeof pokes) < 0)
        return;
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].revents)
            read_answer(work, slots[i]);
}

static bool is_stopping(struct mm_key_sources *sources)
{
    (void)pthread_mutex_lock(&sources->lock);
    bool is_stopping = sources->phase == MM_KEY_SOURCES_STOP;
    (void)pthread_mutex_unlock(&sources->lock);
    return is_stopping;
}

void *mm_key_fetches_run(void *context)
{
    struct work work = {.sources = context};
    for (size_t i = 0; i < SLOTS; i++)
        work.slots[i].fd = -1;
    while (!is_stopping(work.sources)) {
        atomic_store(&work.sources->beat_ns, mm_monotonic_ns());
        fill_slots(&work);
        wait_for_something(&work);
        end_overdue_fetches(&work);
        wake_overdue(work.sources);
    }
    for (size_t i = 0; i < SLOTS; i++)
        release(&work, i);
    return NULL;
}
