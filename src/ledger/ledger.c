/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's writer: a bounded queue and one thread that commits what has gathered in one transaction. An entry is
 * serialised when it is submitted and hashed when its place in the chain is known; the head in memory moves only after the
 * store reported the group durable, so a failed group leaves no gap.
 */
#include "ledger/ledger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "ledger/chain.h"
#include "ledger/entry.h"

enum {
    QUEUE_ENTRIES_MAX = 4096,
    QUEUE_BYTES_MAX = 16 * 1024 * 1024,
    TAIL_CHECKED = 1000, /* entries that opening verifies */
    IDLE_WAIT_MS = 1000, /* between probes while unhealthy */
};

struct mm_ledger {
    /* immutable after opening */
    struct mm_store *store; /* used by the writer thread alone */
    const struct mm_clock *clock;
    unsigned gather_us;
    pthread_t writer;
    bool has_writer;

    _Atomic int64_t latest_time;  /* that an entry stated; the writer's to move, but for what earlier runs said */
    _Atomic int64_t latest_issue; /* the same of tokens; no acceptance moves it back */

    /* the writer thread's own */
    struct mm_store_head head;
    struct mm_store_row rows[QUEUE_ENTRIES_MAX]; /* of the group being committed */

    pthread_mutex_t lock;
    pthread_cond_t wake; /* the queue is no longer empty, or closing */
    /* guarded by lock */
    struct mm_ledger_entry *first;
    struct mm_ledger_entry **last; /* where the next entry is linked */
    size_t n_queued;
    size_t bytes_queued;
    bool closing;
    bool healthy;
};

/* Chain a group of entries to `head`, which moves, into `rows`, which borrow from them; returns how many. */
static size_t chain_group(struct mm_store_head *head, const struct mm_ledger_entry *group, struct mm_store_row *rows)
{
    size_t n = 0;
    for (const struct mm_ledger_entry *entry = group; entry; entry = entry->next) {
        struct mm_bytes bytes = {entry->bytes, entry->length};
        *head = mm_chain_next(head, bytes);
        struct mm_store_row *row = &rows[n++];
        *row = (struct mm_store_row){.sequence = head->sequence,
                                     .bytes = bytes,
                                     .type = entry->type,
                                     .time = entry->time,
                                     .account = entry->account,
                                     .jti = entry->jti};
        memcpy(row->hash, head->hash, sizeof row->hash);
    }
    return n;
}

/* The queue. */

static bool enqueue_locked(struct mm_ledger *ledger, struct mm_ledger_entry *entry, struct mm_error *err)
{
    if (ledger->closing)
        return mm_fail(err, MM_LEDGER_UNAVAILABLE, "the ledger is closing");
    if (ledger->n_queued >= QUEUE_ENTRIES_MAX || entry->length > QUEUE_BYTES_MAX - ledger->bytes_queued)
        return mm_fail(err, MM_OVERLOADED, "the ledger's queue is full");
    if (ledger->n_queued == 0)
        (void)pthread_cond_signal(&ledger->wake);
    *ledger->last = entry;
    ledger->last = &entry->next;
    ledger->n_queued++;
    ledger->bytes_queued += entry->length;
    return true;
}

static struct mm_ledger_entry *take_queue_locked(struct mm_ledger *ledger)
{
    struct mm_ledger_entry *group = MM_TAKE(ledger->first);
    ledger->last = &ledger->first;
    ledger->n_queued = 0;
    ledger->bytes_queued = 0;
    return group;
}

static bool submit(struct mm_ledger *ledger, struct mm_ledger_entry *made, mm_ledger_done done, void *context,
                   struct mm_error *err)
{
    mm_cleanup(mm_ledger_entry_free) struct mm_ledger_entry *entry = made;
    if (!entry)
        return false;
    entry->done = done;
    entry->context = context;
    (void)pthread_mutex_lock(&ledger->lock);
    bool queued = enqueue_locked(ledger, entry, err);
    (void)pthread_mutex_unlock(&ledger->lock);
    if (queued)
        (void)MM_TAKE(entry);
    return queued;
}

bool mm_ledger_submit(struct mm_ledger *ledger, enum mm_entry_type type, const json_t *fields, mm_ledger_done done,
                      void *context, struct mm_error *err)
{
    return submit(ledger, mm_ledger_entry_of_fields(type, mm_clock_now(ledger->clock), fields, err), done, context,
                  err);
}

bool mm_ledger_submit_text(struct mm_ledger *ledger, enum mm_entry_type type, const struct mm_entry_text *entry,
                           mm_ledger_done done, void *context, struct mm_error *err)
{
    return submit(ledger, mm_ledger_entry_new(type, mm_clock_now(ledger->clock), entry, err), done, context, err);
}

/* The writer thread. */

enum work { WORK_GROUP, WORK_PROBE, WORK_END };

/* Wait for entries, for the time to probe while unhealthy, or for the end. */
static enum work wait_for_work(struct mm_ledger *ledger)
{
    enum work work = WORK_PROBE;
    (void)pthread_mutex_lock(&ledger->lock);
    while (!ledger->first && !ledger->closing) {
        struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(IDLE_WAIT_MS));
        int status = pthread_cond_clockwait(&ledger->wake, &ledger->lock, CLOCK_MONOTONIC, &until);
        if (status == ETIMEDOUT && !ledger->healthy)
            break;
    }
    if (ledger->first)
        work = WORK_GROUP;
    else if (ledger->closing)
        work = WORK_END;
    (void)pthread_mutex_unlock(&ledger->lock);
    return work;
}

/* Let more entries come, so that one sync serves them all. */
static void gather(const struct mm_ledger *ledger)
{
    struct timespec pause = {.tv_sec = ledger->gather_us / 1000000, .tv_nsec = ledger->gather_us % 1000000 * 1000L};
    if (ledger->gather_us > 0)
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static struct mm_ledger_entry *take_queue(struct mm_ledger *ledger)
{
    (void)pthread_mutex_lock(&ledger->lock);
    struct mm_ledger_entry *group = take_queue_locked(ledger);
    (void)pthread_mutex_unlock(&ledger->lock);
    return group;
}

static void set_healthy(struct mm_ledger *ledger, bool healthy)
{
    (void)pthread_mutex_lock(&ledger->lock);
    ledger->healthy = healthy;
    (void)pthread_mutex_unlock(&ledger->lock);
}

/* Tell each entry of a group how it went, and free it. `rows`: those of the entries, or NULL if they failed with `why`. */
static void answer_group(struct mm_ledger_entry *group, const struct mm_store_row *rows, const struct mm_error *why)
{
    while (group) {
        mm_cleanup(mm_ledger_entry_free) struct mm_ledger_entry *entry = group;
        group = entry->next;
        struct mm_receipt receipt = {0};
        if (rows) {
            receipt.sequence = rows->sequence;
            memcpy(receipt.hash, rows->hash, sizeof receipt.hash);
            rows++;
        }
        if (entry->done)
            entry->done(entry->context, rows ? &receipt : NULL, rows ? NULL : why);
    }
}

/* Chained in order, so that an acceptance counts from its own place on. */
static void note_times(struct mm_ledger *ledger, const struct mm_store_row *rows, size_t n)
{
    int64_t latest = atomic_load(&ledger->latest_time);
    int64_t issue = atomic_load(&ledger->latest_issue);
    for (size_t i = 0; i < n; i++) {
        latest = mm_chain_latest_time(latest, &rows[i]);
        issue = mm_chain_latest_issue(issue, &rows[i]);
    }
    atomic_store(&ledger->latest_time, latest);
    atomic_store(&ledger->latest_issue, issue);
}

/* Commit what is queued. False if it failed. */
static bool commit_queue(struct mm_ledger *ledger)
{
    struct mm_ledger_entry *group = take_queue(ledger);
    struct mm_store_head head = ledger->head;
    struct mm_error why = {0};
    size_t n = chain_group(&head, group, ledger->rows);
    bool done = mm_store_append(ledger->store, &ledger->head, ledger->rows, n, &why);
    if (done) {
        ledger->head = head;
        note_times(ledger, ledger->rows, n);
    }
    set_healthy(ledger, done);
    answer_group(group, done ? ledger->rows : NULL, &why);
    return done;
}

static void *write_entries(void *context)
{
    struct mm_ledger *ledger = context;
    for (;;) {
        switch (wait_for_work(ledger)) {
        case WORK_GROUP:
            gather(ledger);
            (void)commit_queue(ledger);
            break;
        case WORK_PROBE:
            set_healthy(ledger, mm_store_probe(ledger->store, &ledger->head, NULL));
            break;
        case WORK_END:
            return NULL;
        }
    }
}

/* Opening and closing. */

bool mm_ledger_create(const char *file, const struct mm_clock *clock, const struct mm_entry *entries, size_t n,
                      struct mm_error *err)
{
    mm_cleanup(mm_ledger_entries_free) struct mm_ledger_entry *group = NULL;
    mm_cleanup(free) struct mm_store_row *rows = calloc(n + 1, sizeof *rows);
    if (!rows)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    struct mm_ledger_entry **last = &group;
    for (size_t i = 0; i < n; i++) {
        *last = mm_ledger_entry_of_fields(entries[i].type, mm_clock_now(clock), entries[i].fields, err);
        if (!*last)
            return false;
        last = &(*last)->next;
    }
    struct mm_store_head head = {0};
    return mm_store_create(file, rows, chain_group(&head, group, rows), err);
}

struct tail {
    struct mm_store_head head;
    enum {
        TAIL_ANCHOR,
        TAIL_CHAIN
    } next; /* what the next row is: the one whose hash is taken as given, or chained to it */
};

static bool follow_tail(void *context, const struct mm_store_row *row, struct mm_error *err)
{
    struct tail *tail = context;
    if (tail->next == TAIL_CHAIN)
        return mm_chain_follow(&tail->head, row, err) && mm_chain_check_columns(row, err);
    if (row->sequence != tail->head.sequence)
        return mm_fail(err, MM_LEDGER_CORRUPT, "entry %lld is missing", (long long)tail->head.sequence);
    tail->next = TAIL_CHAIN;
    memcpy(tail->head.hash, row->hash, sizeof row->hash);
    return true;
}

/* Verify the newest entries, from the one before them on (or from the start). */
static bool load_head(struct mm_ledger *ledger, struct mm_error *err)
{
    struct mm_store_head stored;
    if (!mm_store_head(ledger->store, &stored, err))
        return false;
    struct tail tail = {.next = TAIL_CHAIN};
    if (stored.sequence > TAIL_CHECKED)
        tail = (struct tail){.head.sequence = stored.sequence - TAIL_CHECKED, .next = TAIL_ANCHOR};
    struct mm_store_filter rows = {.first = tail.head.sequence};
    if (!mm_store_visit(ledger->store, &rows, follow_tail, &tail, err))
        return false;
    ledger->head = tail.head;
    return true;
}

/* The writer takes no signals: they are for the threads that wait for them. */
static bool start_writer(struct mm_ledger *ledger, struct mm_error *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&ledger->writer, NULL, write_entries, ledger);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0)
        return mm_fail(err, MM_INTERNAL, "the ledger's thread can't start: %s", strerror(status));
    ledger->has_writer = true;
    return true;
}

struct mm_ledger *mm_ledger_open(const char *file, const struct mm_clock *clock, unsigned gather_us,
                                 struct mm_error *err)
{
    mm_cleanup(mm_ledger_close) struct mm_ledger *ledger = calloc(1, sizeof *ledger);
    if (!ledger) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    ledger->clock = clock;
    ledger->gather_us = gather_us;
    ledger->last = &ledger->first;
    ledger->healthy = true;
    (void)pthread_mutex_init(&ledger->lock, NULL);
    (void)pthread_cond_init(&ledger->wake, NULL);
    ledger->store = mm_store_open(file, MM_STORE_WRITE, err);
    if (!ledger->store || !load_head(ledger, err) || !start_writer(ledger, err))
        return NULL;
    return MM_TAKE(ledger);
}

bool mm_ledger_is_writer_thread(const struct mm_ledger *ledger)
{
    return pthread_equal(pthread_self(), ledger->writer);
}

bool mm_ledger_check_clock(struct mm_ledger *ledger, struct mm_error *err)
{
    int64_t behind = atomic_load(&ledger->latest_time) - mm_clock_now(ledger->clock);
    return behind <= MM_LEDGER_CLOCK_LEEWAY ||
           mm_fail(err, MM_CLOCK_UNSAFE, "the clock is %lld s behind the ledger", (long long)behind);
}

static void raise_to(_Atomic int64_t *time, int64_t least)
{
    int64_t known = atomic_load(time);
    while (known < least && !atomic_compare_exchange_weak(time, &known, least))
        ;
}

void mm_ledger_expect_time(struct mm_ledger *ledger, int64_t latest_time, int64_t latest_issue)
{
    raise_to(&ledger->latest_time, latest_time);
    raise_to(&ledger->latest_issue, latest_issue);
}

int64_t mm_ledger_latest_issue(struct mm_ledger *ledger)
{
    int64_t issue = atomic_load(&ledger->latest_issue);
    int64_t latest = atomic_load(&ledger->latest_time);
    return latest > issue ? latest : issue;
}

bool mm_ledger_is_healthy(struct mm_ledger *ledger)
{
    (void)pthread_mutex_lock(&ledger->lock);
    bool healthy = ledger->healthy;
    (void)pthread_mutex_unlock(&ledger->lock);
    return healthy;
}

void mm_ledger_close(struct mm_ledger *ledger)
{
    if (!ledger)
        return;
    if (ledger->has_writer) {
        (void)pthread_mutex_lock(&ledger->lock);
        ledger->closing = true;
        (void)pthread_cond_signal(&ledger->wake);
        (void)pthread_mutex_unlock(&ledger->lock);
        (void)pthread_join(ledger->writer, NULL);
    }
    mm_store_close(ledger->store);
    (void)pthread_cond_destroy(&ledger->wake);
    (void)pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}
