/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/clock.h"
#include "util/json.h"

enum { VALUE_MAX = 1024, LINE_MAX_BYTES = 4096, QUEUE_BYTES = 256 * 1024, LOST_DETAIL_MAX = 32 };

/* Whole lines that wait for the writer. One, as standard error is: the only state of its kind. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;  /* there is a line, or an end */
    pthread_cond_t ended; /* the writer has */
    /* guarded by lock */
    pthread_t writer;
    enum { DIRECT, QUEUED, STOPPING, ENDED } state;
    size_t start, length; /* of what is queued in `bytes`, which is a ring */
    uint64_t n_lost;      /* lines, since the last that said how many */
    char bytes[QUEUE_BYTES];
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

static const char *const LEVELS[] = {"info", "warning", "error"};

static void add(json_t *line, const char *key, const char *value)
{
    if (!value)
        return;
    size_t length = strlen(value);
    json_t *text = json_stringn(value, length < VALUE_MAX ? length : VALUE_MAX);
    if (!text) /* not UTF-8, or cut inside a character */
        text = json_string("(not UTF-8)");
    (void)json_object_set_new(line, key, text);
}

static void add_all(json_t *line, va_list pairs)
{
    for (const char *key; (key = va_arg(pairs, const char *));)
        add(line, key, va_arg(pairs, const char *));
}

/* Whole, however long its reader takes. False: it can't be, for a reason that waiting doesn't mend. */
static bool write_all(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(STDERR_FILENO, text, length);
        if (n < 0 && errno == EAGAIN) { /* somebody else's O_NONBLOCK */
            struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
            (void)poll(&writable, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            return false;
        } else if (n > 0) {
            text += n;
            length -= (size_t)n;
        }
    }
    return true;
}

/* As text, with a newline; 0: it doesn't fit, or there is no memory. */
static size_t format_line(json_t *line, char out[LINE_MAX_BYTES])
{
    size_t length = json_dumpb(line, out, LINE_MAX_BYTES - 1, JSON_COMPACT);
    if (length > LINE_MAX_BYTES - 1) { /* jansson says how much it would have taken */
        (void)json_object_del(line, "error");
        (void)json_object_set_new(line, "cut", json_true());
        length = json_dumpb(line, out, LINE_MAX_BYTES - 1, JSON_COMPACT);
    }
    if (length == 0 || length > LINE_MAX_BYTES - 1)
        return 0;
    out[length] = '\n';
    return length + 1;
}

/* Once a line was lost, so are those that follow until the queue is empty: one gap, and its size is told where it is. */
static void enqueue_locked(const char *text, size_t length)
{
    if (length > QUEUE_BYTES - queue.length || (queue.n_lost > 0 && queue.length > 0)) {
        queue.n_lost++;
        return;
    }
    for (size_t i = 0; i < length; i++)
        queue.bytes[(queue.start + queue.length + i) % QUEUE_BYTES] = text[i];
    queue.length += length;
    (void)pthread_cond_signal(&queue.wake);
}

static void write_line(json_t *line)
{
    char out[LINE_MAX_BYTES];
    size_t length = format_line(line, out);
    (void)pthread_mutex_lock(&queue.lock);
    bool is_direct = queue.state == DIRECT;
    if (!is_direct && length > 0)
        enqueue_locked(out, length);
    (void)pthread_mutex_unlock(&queue.lock);
    if (is_direct)
        (void)write_all(out, length);
}

static json_t *start_line(enum mm_log_level level, const char *event)
{
    char now[MM_TIMESTAMP_MAX];
    mm_timestamp(mm_clock_now(&MM_SYSTEM_CLOCK), now);
    return json_pack("{ss ss ss}", "time", now, "level", LEVELS[level], "event", event);
}

/* The first line; it stays queued until it is written, so that what comes meanwhile finds its place taken. */
static size_t peek_locked(char out[LINE_MAX_BYTES])
{
    size_t length = 0;
    do
        out[length] = queue.bytes[(queue.start + length) % QUEUE_BYTES];
    while (out[length++] != '\n');
    return length;
}

static void write_next_locked(void)
{
    char out[LINE_MAX_BYTES];
    size_t length = peek_locked(out);
    (void)pthread_mutex_unlock(&queue.lock);
    bool is_written = write_all(out, length);
    (void)pthread_mutex_lock(&queue.lock);
    queue.start = (queue.start + length) % QUEUE_BYTES;
    queue.length -= length;
    queue.n_lost += !is_written;
}

static void tell_lost_locked(void)
{
    uint64_t n = queue.n_lost;
    char out[LINE_MAX_BYTES];
    char number[LOST_DETAIL_MAX];
    queue.n_lost = 0;
    (void)pthread_mutex_unlock(&queue.lock);
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)n);
    mm_cleanup(json_decref) json_t *line = start_line(MM_LOG_WARNING, "lines_lost");
    add(line, "lines", number);
    size_t length = format_line(line, out);
    bool is_written = length > 0 && write_all(out, length);
    (void)pthread_mutex_lock(&queue.lock);
    queue.n_lost += is_written ? 0 : n;
}

static void *write_queued(void *context)
{
    (void)pthread_mutex_lock(&queue.lock);
    for (;;) {
        while (queue.length == 0 && queue.state == QUEUED)
            (void)pthread_cond_wait(&queue.wake, &queue.lock);
        if (queue.length == 0)
            break;
        while (queue.length > 0)
            write_next_locked();
        if (queue.n_lost > 0)
            tell_lost_locked();
    }
    queue.state = ENDED;
    (void)pthread_cond_signal(&queue.ended);
    (void)pthread_mutex_unlock(&queue.lock);
    return context;
}

bool mm_log_start(struct mm_error *err)
{
    (void)pthread_mutex_lock(&queue.lock);
    bool ok = queue.state == DIRECT && pthread_create(&queue.writer, NULL, write_queued, NULL) == 0;
    if (ok)
        queue.state = QUEUED;
    (void)pthread_mutex_unlock(&queue.lock);
    return ok || mm_fail(err, MM_INTERNAL, "no thread to write the log");
}

void mm_log_stop(int64_t deadline_ns)
{
    const struct timespec until = mm_deadline_timespec(deadline_ns);
    (void)pthread_mutex_lock(&queue.lock);
    pthread_t writer = queue.writer;
    bool is_started = queue.state == QUEUED;
    if (is_started)
        queue.state = STOPPING;
    (void)pthread_cond_signal(&queue.wake);
    while (queue.state == STOPPING &&
           pthread_cond_clockwait(&queue.ended, &queue.lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool has_ended = queue.state == ENDED;
    if (has_ended)
        queue.state = DIRECT;
    (void)pthread_mutex_unlock(&queue.lock);
    if (has_ended)
        (void)pthread_join(writer, NULL);
    else if (is_started)
        (void)pthread_detach(writer);
}

void mm_log(enum mm_log_level level, const char *event, ...)
{
    mm_cleanup(json_decref) json_t *line = start_line(level, event);
    va_list pairs;
    va_start(pairs, event);
    add_all(line, pairs);
    va_end(pairs);
    write_line(line);
}

void mm_log_error(const char *event, const struct mm_error *err, ...)
{
    mm_cleanup(json_decref) json_t *line = start_line(MM_LOG_ERROR, event);
    va_list pairs;
    va_start(pairs, err);
    add_all(line, pairs);
    va_end(pairs);
    add(line, "code", mm_code_name(err->code));
    add(line, "error", err->message);
    write_line(line);
}
