/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/time_line.h"

#include <string.h>

#include "util/clock.h"

enum { WIDTH = 40, KID_SHOWN = 8, BARS_MAX = 64 };

static const int64_t LATEST = 253402300799; /* the year 9999: no span is so long that a product of it overflows */

/*
 * A key's life; INT64_MAX: not known yet. What has happened is told by the key's state alone: a change that is overdue may be so because its
 * HSM is away, or for want of a key, and hasn't happened whatever the plan says.
 */
struct bar {
    const json_t *key;
    int64_t published;
    int64_t active;
    int64_t retiring;
    int64_t end;
    int64_t next; /* the next change by itself, now at the earliest */
    int64_t due;  /* the same as the plan has it */
};

struct span {
    int64_t from;
    int64_t to;
    int64_t now;
};

const char *mm_tell_change(const json_t *next)
{
    static const char *const WORDS[][2] = {{"activate", "signs"},
                                           {"retire", "stops signing"},
                                           {"withdraw", "leaves the JWKS"}};
    const char *change = mm_json_string(next, "change");
    for (size_t i = 0; change && i < MM_ARRAY_SIZE(WORDS); i++)
        if (strcmp(WORDS[i][0], change) == 0)
            return WORDS[i][1];
    return change ? change : "changes";
}

/* INT64_MAX for a time that isn't there, or isn't one. */
static int64_t time_of(const json_t *object, const char *name)
{
    int64_t time = 0;
    const char *text = mm_json_string(object, name);
    return text && mm_timestamp_parse(text, &time) && time > 0 && time <= LATEST ? time : INT64_MAX;
}

static bool is(const json_t *object, const char *name, const char *value)
{
    const char *text = mm_json_string(object, name);
    return text && strcmp(text, value) == 0;
}

/* By the service's clock, which may be ahead of this one. */
static int64_t past_time_of(const json_t *key, const char *name, int64_t now)
{
    int64_t time = time_of(key, name);
    return time != INT64_MAX && time > now ? now : time;
}

/* False: verifiers don't see it, or nobody knows since when. */
static bool make_bar(const json_t *key, int64_t now, struct bar *ret_bar)
{
    const json_t *next = json_object_get(key, "next");
    struct bar bar = {.key = key, .published = past_time_of(key, "published_at", now), .due = time_of(next, "at")};
    bar.next = bar.due < now ? now : bar.due;
    bar.active = is(key, "state", "published") ? bar.next : past_time_of(key, "activated_at", now);
    bar.retiring = is(key, "state", "retiring")   ? past_time_of(key, "since", now)
                   : is(next, "change", "retire") ? bar.next
                                                  : INT64_MAX;
    bar.end = is(key, "state", "retiring") ? bar.next : INT64_MAX;
    *ret_bar = bar;
    return bar.published != INT64_MAX &&
           (is(key, "state", "published") || is(key, "state", "active") || is(key, "state", "retiring"));
}

/* False: nothing to draw. */
static bool find_span(const struct bar *bars, size_t n, int64_t now, struct span *ret_span)
{
    struct span span = {.from = now, .to = now, .now = now};
    for (size_t i = 0; i < n; i++) {
        if (bars[i].published < span.from)
            span.from = bars[i].published;
        if (bars[i].next != INT64_MAX && bars[i].next > span.to)
            span.to = bars[i].next;
    }
    /* A key that has signed for a year doesn't squeeze what happens within the hour. */
    if (span.to > now && span.from < now - (span.to - now))
        span.from = now - (span.to - now);
    *ret_span = span;
    return n > 0 && span.to > span.from;
}

static char phase_at(const struct bar *bar, int64_t time)
{
    return time >= bar->end || time < bar->published ? ' '
           : time >= bar->retiring                   ? '-'
           : time >= bar->active                     ? '='
                                                     : '.';
}

static void draw(const struct bar *bar, const struct span *span, char out[WIDTH + 1])
{
    int64_t length = span->to - span->from;
    for (int64_t i = 0; i < WIDTH; i++)
        out[i] = phase_at(bar, span->from + length * (2 * i + 1) / (2 * WIDTH));
    if (bar->published < span->from)
        out[0] = '<';
    if (bar->end > span->to)
        out[WIDTH - 1] = '>';
    int64_t now = (span->now - span->from) * WIDTH / length;
    out[now < WIDTH ? now : WIDTH - 1] = '|';
    out[WIDTH] = '\0';
}

static void print_bar(FILE *out, const struct bar *bar, const struct span *span)
{
    char drawn[WIDTH + 1];
    char kid[KID_SHOWN + 1];
    const char *whole = mm_json_string(bar->key, "kid");
    (void)snprintf(kid, sizeof kid, "%s", whole ? whole : "?");
    draw(bar, span, drawn);
    (void)fprintf(out, "%*s", MM_TIME_LINE_INDENT, "");
    mm_print_text(out, kid);
    (void)fprintf(out, "  %s  ", drawn);
    if (bar->next == INT64_MAX) {
        (void)fputs(is(bar->key, "state", "active") ? "signs\n" : "on standby\n", out);
        return;
    }
    mm_print_text(out, mm_tell_change(json_object_get(bar->key, "next")));
    if (bar->due > span->now) {
        (void)fputs(" in ", out);
        mm_print_duration(out, bar->due - span->now);
    } else {
        char due[MM_TIMESTAMP_MAX];
        mm_timestamp(bar->due, due);
        (void)fprintf(out, ": overdue since %s", due);
    }
    (void)fputc('\n', out);
}

void mm_print_time_line(FILE *out, const json_t *keys, int64_t now)
{
    struct bar bars[BARS_MAX];
    struct span span;
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(keys) && n < BARS_MAX; i++)
        n += make_bar(json_array_get(keys, i), now, &bars[n]);
    if (!find_span(bars, n, now, &span))
        return;
    char from[MM_TIMESTAMP_MAX];
    char to[MM_TIMESTAMP_MAX];
    mm_timestamp(span.from, from);
    mm_timestamp(span.to, to);
    (void)fprintf(out, "%-*s%s to %s   . published  = signs  - retiring  | now\n", MM_TIME_LINE_INDENT, "time", from,
                  to);
    for (size_t i = 0; i < n; i++)
        print_bar(out, &bars[i], &span);
}
