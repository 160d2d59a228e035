/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <stdarg.h>
#include <string.h>

#include "util/clock.h"
#include "util/json.h"

enum { VALUE_MAX = 1024, LINE_MAX_BYTES = 4096 };

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

static void write_line(json_t *line)
{
    char out[LINE_MAX_BYTES];
    size_t length = json_dumpb(line, out, sizeof out - 1, JSON_COMPACT);
    if (length > sizeof out - 1) { /* jansson says how much it would have taken */
        (void)json_object_del(line, "error");
        (void)json_object_set_new(line, "cut", json_true());
        length = json_dumpb(line, out, sizeof out - 1, JSON_COMPACT);
        if (length > sizeof out - 1)
            return;
    }
    out[length] = '\n';
    ssize_t ignored = write(STDERR_FILENO, out, length + 1);
    (void)ignored;
}

static json_t *start_line(enum mm_log_level level, const char *event)
{
    char now[MM_TIMESTAMP_MAX];
    mm_timestamp(mm_clock_now(&MM_SYSTEM_CLOCK), now);
    return json_pack("{ss ss ss}", "time", now, "level", LEVELS[level], "event", event);
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
