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

enum {
    QUEUE_ENTRIES_MAX = 4096,
    QUEUE_BYTES_MAX = 16 * 1024 * 1024,
    TAIL_CHECKED = 1000, /* entries that opening verifies */
    IDLE_WAIT_MS = 1000, /* between probes while unhealthy */
};

_Static_assert((int)MM_ENTRY_BYTES_MAX <= (int)MM_STORE_BYTES_MAX, "an entry must fit into a row");

static const char *const TYPE_NAMES[] = {
#define MM_ENTRY_NAME(symbol, name) [symbol] = name,
    MM_ENTRY_TABLE(MM_ENTRY_NAME)
#undef MM_ENTRY_NAME
};

const char *mm_entry_type_name(enum mm_entry_type type)
{
    return (size_t)type < MM_ARRAY_SIZE(TYPE_NAMES) ? TYPE_NAMES[type] : NULL;
}

bool mm_entry_type_parse(const char *name, enum mm_entry_type *ret_type)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(TYPE_NAMES); i++)
        if (strcmp(TYPE_NAMES[i], name) == 0) {
            *ret_type = (enum mm_entry_type)i;
            return true;
        }
    return false;
}

struct entry {
    struct entry *next;
    mm_ledger_done done;
    void *context;
    int64_t time;
    const char *type;
    char *bytes; /* the three are owned */
    char *account;
    char *jti;
    size_t length; /* of bytes */
};

struct mm_ledger {
    /* immutable after opening */
    struct mm_store *store; /* used by the writer thread alone */
    const struct mm_clock *clock;
    unsigned gather_us;
    pthread_t writer;
    bool has_writer;

    _Atomic int64_t latest_time; /* that an entry stated; the writer's to move, but for what earlier runs said */

    /* the writer thread's own */
    struct mm_store_head head;
    struct mm_store_row rows[QUEUE_ENTRIES_MAX]; /* of the group being committed */

    pthread_mutex_t lock;
    pthread_cond_t wake; /* the queue is no longer empty, or closing */
    /* guarded by lock */
    struct entry *first;
    struct entry **last; /* where the next entry is linked */
    size_t n_queued;
    size_t bytes_queued;
    bool closing;
    bool healthy;
};

/* Entries. */

static void entry_free(struct entry *entry)
{
    if (!entry)
        return;
    free(entry->bytes);
    free(entry->account);
    free(entry->jti);
    free(entry);
}
MM_DEFINE_CLEANUP(struct entry, entry_free);

static void group_free(struct entry *group)
{
    while (group) {
        struct entry *next = group->next;
        entry_free(group);
        group = next;
    }
}
MM_DEFINE_CLEANUP(struct entry, group_free);

/* `{"type":‹type›,"time":‹time›` and the members of `fields`, an object's text. */
static char *compose(const char *type, int64_t time, const char *fields, struct mm_error *err)
{
    char *bytes = NULL;
    if (asprintf(&bytes, "{\"type\":\"%s\",\"time\":%lld%s%s", type, (long long)time, fields[1] == '}' ? "" : ",",
                 fields + 1) >= 0)
        return bytes;
    (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return NULL;
}

/* Copy an index, if it is there. */
static bool copy_index(const char *value, char **ret_copy, struct mm_error *err)
{
    *ret_copy = value ? strdup(value) : NULL;
    return *ret_copy || !value || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

static struct entry *entry_new(enum mm_entry_type type, int64_t time, const struct mm_entry_text *text,
                               struct mm_error *err)
{
    mm_cleanup(entry_free) struct entry *entry = calloc(1, sizeof *entry);
    if (!entry) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    entry->type = mm_entry_type_name(type);
    entry->time = time;
    entry->bytes = compose(entry->type, time, text->fields, err);
    if (!entry->bytes)
        return NULL;
    entry->length = strlen(entry->bytes);
    if (entry->length > MM_ENTRY_BYTES_MAX) {
        (void)mm_fail(err, MM_INTERNAL, "an entry of %zu bytes, more than %d", entry->length, MM_ENTRY_BYTES_MAX);
        return NULL;
    }
    if (!copy_index(text->account, &entry->account, err) || !copy_index(text->jti, &entry->jti, err))
        return NULL;
    return MM_TAKE(entry);
}

/* What can't be read back would break the ledger for ever; mm_json_compact() doesn't write it. */
static struct entry *entry_of_fields(enum mm_entry_type type, int64_t time, const json_t *fields, struct mm_error *err)
{
    if (!mm_entry_type_name(type) || !json_is_object(fields) || json_object_get(fields, "type") ||
        json_object_get(fields, "time")) {
        (void)mm_fail(err, MM_INTERNAL, "an entry needs a known type, and fields other than `type` and `time`");
        return NULL;
    }
    mm_cleanup(free) char *text = mm_json_compact(fields, err);
    if (!text)
        return NULL;
    struct mm_entry_text entry = {text, mm_json_string(fields, "account"), mm_json_string(fields, "jti")};
    return entry_new(type, time, &entry, err);
}

/* Chain a group of entries to `head`, which moves, into `rows`, which borrow from them; returns how many. */
static size_t chain_group(struct mm_store_head *head, const struct entry *group, struct mm_store_row *rows)
{
    size_t n = 0;
    for (const struct entry *entry = group; entry; entry = entry->next) {
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

static bool enqueue_locked(struct mm_ledger *ledger, struct entry *entry, struct mm_error *err)
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

static struct entry *take_queue_locked(struct mm_ledger *ledger)
{
    struct entry *group = MM_TAKE(ledger->first);
    ledger->last = &ledger->first;
    ledger->n_queued = 0;
    ledger->bytes_queued = 0;
    return group;
}

static bool submit(struct mm_ledger *ledger, struct entry *made, mm_ledger_done done, void *context,
                   struct mm_error *err)
{
    mm_cleanup(entry_free) struct entry *entry = made;
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
    return submit(ledger, entry_of_fields(type, mm_clock_now(ledger->clock), fields, err), done, context, err);
}

bool mm_ledger_submit_text(struct mm_ledger *ledger, enum mm_entry_type type, const struct mm_entry_text *entry,
                           mm_ledger_done done, void *context, struct mm_error *err)
{
    return submit(ledger, entry_new(type, mm_clock_now(ledger->clock), entry, err), done, context, err);
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

static struct entry *take_queue(struct mm_ledger *ledger)
{
    (void)pthread_mutex_lock(&ledger->lock);
    struct entry *group = take_queue_locked(ledger);
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
static void answer_group(struct entry *group, const struct mm_store_row *rows, const struct mm_error *why)
{
    while (group) {
        mm_cleanup(entry_free) struct entry *entry = group;
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
    for (size_t i = 0; i < n; i++)
        latest = mm_chain_latest_time(latest, &rows[i]);
    atomic_store(&ledger->latest_time, latest);
}

/* Commit what is queued. False if it failed. */
static bool commit_queue(struct mm_ledger *ledger)
{
    struct entry *group = take_queue(ledger);
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
    mm_cleanup(group_free) struct entry *group = NULL;
    mm_cleanup(free) struct mm_store_row *rows = calloc(n + 1, sizeof *rows);
    if (!rows)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    struct entry **last = &group;
    for (size_t i = 0; i < n; i++) {
        *last = entry_of_fields(entries[i].type, mm_clock_now(clock), entries[i].fields, err);
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

int64_t mm_ledger_latest_time(struct mm_ledger *ledger)
{
    return atomic_load(&ledger->latest_time);
}

bool mm_ledger_check_clock(struct mm_ledger *ledger, struct mm_error *err)
{
    int64_t behind = atomic_load(&ledger->latest_time) - mm_clock_now(ledger->clock);
    return behind <= MM_LEDGER_CLOCK_LEEWAY ||
           mm_fail(err, MM_CLOCK_UNSAFE, "the clock is %lld s behind the ledger", (long long)behind);
}

void mm_ledger_expect_time(struct mm_ledger *ledger, int64_t latest_time)
{
    int64_t latest = atomic_load(&ledger->latest_time);
    while (latest < latest_time && !atomic_compare_exchange_weak(&ledger->latest_time, &latest, latest_time))
        ;
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

/* Waiting for one entry. */

struct waiter {
    atomic_int n_users; /* the waiting thread and the writer: the last one frees it */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    /* guarded by lock */
    bool has_answer;
    bool durable;
    struct mm_receipt receipt;
    struct mm_error why;
};

static struct waiter *waiter_new(struct mm_error *err)
{
    struct waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    (void)pthread_mutex_init(&waiter->lock, NULL);
    (void)pthread_cond_init(&waiter->answered, NULL);
    atomic_init(&waiter->n_users, 1);
    return waiter;
}

static void waiter_release(struct waiter *waiter)
{
    if (!waiter || atomic_fetch_sub(&waiter->n_users, 1) > 1)
        return;
    (void)pthread_cond_destroy(&waiter->answered);
    (void)pthread_mutex_destroy(&waiter->lock);
    free(waiter);
}
MM_DEFINE_CLEANUP(struct waiter, waiter_release);

static void answer_waiter(void *context, const struct mm_receipt *receipt, const struct mm_error *err)
{
    struct waiter *waiter = context;
    (void)pthread_mutex_lock(&waiter->lock);
    waiter->has_answer = true;
    waiter->durable = receipt != NULL;
    if (receipt)
        waiter->receipt = *receipt;
    else
        waiter->why = *err;
    (void)pthread_cond_signal(&waiter->answered);
    (void)pthread_mutex_unlock(&waiter->lock);
    waiter_release(waiter);
}

static bool await_answer(struct waiter *waiter, int64_t deadline_ns, struct mm_receipt *ret_receipt,
                         struct mm_error *err)
{
    struct timespec until = mm_deadline_timespec(deadline_ns);
    int status = 0;
    (void)pthread_mutex_lock(&waiter->lock);
    while (!waiter->has_answer && status == 0)
        status = pthread_cond_clockwait(&waiter->answered, &waiter->lock, CLOCK_MONOTONIC, &until);
    bool done = waiter->has_answer && waiter->durable;
    if (done)
        *ret_receipt = waiter->receipt;
    else if (waiter->has_answer)
        (void)mm_fail(err, waiter->why.code, "%s", waiter->why.message);
    else
        (void)mm_fail(err, MM_DEADLINE_EXCEEDED, "the ledger didn't answer in time");
    (void)pthread_mutex_unlock(&waiter->lock);
    return done;
}

bool mm_ledger_append(struct mm_ledger *ledger, enum mm_entry_type type, const json_t *fields, int64_t deadline_ns,
                      struct mm_receipt *ret_receipt, struct mm_error *err)
{
    if (pthread_equal(pthread_self(), ledger->writer))
        return mm_fail(err, MM_INTERNAL, "the ledger's thread can't wait for itself");
    mm_cleanup(waiter_release) struct waiter *waiter = waiter_new(err);
    if (!waiter)
        return false;
    atomic_store(&waiter->n_users, 2);
    if (!mm_ledger_submit(ledger, type, fields, answer_waiter, waiter, err)) {
        atomic_store(&waiter->n_users, 1);
        return false;
    }
    return await_answer(waiter, deadline_ns, ret_receipt, err);
}
