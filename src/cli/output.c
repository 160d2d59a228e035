/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <errno.h>
#include <string.h>

#include "util/clock.h"
#include "util/utf8.h"

/* Control characters, and the marks that reorder or hide text: what one reads must be what is there. */
static bool is_deceptive(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
           (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || (code >= 0xe0000 && code <= 0xe007f);
}

void mm_print_text(FILE *out, const char *text)
{
    const char *end = text + strlen(text);
    for (const char *at = text; at < end;) {
        uint32_t code = 0;
        size_t length = mm_utf8_decode(at, (size_t)(end - at), &code);
        if (length == 0) {
            (void)fprintf(out, "\\x%02x", (unsigned char)*at);
            length = 1;
        } else if (is_deceptive(code)) {
            (void)fprintf(out, "\\u%04x", code);
        } else {
            (void)fwrite(at, 1, length, out);
        }
        at += length;
    }
}

void mm_print_value(FILE *out, const json_t *value)
{
    if (json_is_string(value)) {
        mm_print_text(out, json_string_value(value));
        return;
    }
    mm_cleanup(free) char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    mm_print_text(out, text ? text : "?");
}

void mm_print_duration(FILE *out, int64_t seconds)
{
    static const struct {
        uint64_t seconds;
        const char *unit;
    } UNITS[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    uint64_t left = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
    size_t i = 0;
    while (i + 1 < MM_ARRAY_SIZE(UNITS) && left < UNITS[i].seconds)
        i++;
    (void)fprintf(out, "%llu %s", (unsigned long long)(left / UNITS[i].seconds), UNITS[i].unit);
    left %= UNITS[i].seconds;
    if (i + 1 < MM_ARRAY_SIZE(UNITS) && left >= UNITS[i + 1].seconds)
        (void)fprintf(out, " %llu %s", (unsigned long long)(left / UNITS[i + 1].seconds), UNITS[i + 1].unit);
}

void mm_print_instant(FILE *out, int64_t unix_seconds, int64_t now)
{
    /* Beyond the year 9999 there is no RFC 3339 form, and subtracting could overflow. */
    if (unix_seconds < 0 || unix_seconds > 253402300799) {
        (void)fprintf(out, "%lld s since 1970", (long long)unix_seconds);
        return;
    }
    char text[MM_TIMESTAMP_MAX];
    mm_timestamp(unix_seconds, text);
    bool is_past = unix_seconds <= now;
    (void)fprintf(out, "%s (%s", text, is_past ? "" : "in ");
    mm_print_duration(out, unix_seconds - now);
    (void)fputs(is_past ? " ago)" : ")", out);
}

bool mm_print_json(FILE *out, const json_t *value, struct mm_error *err)
{
    mm_cleanup(free) char *text = mm_json_compact(value, err);
    if (!text)
        return false;
    (void)fprintf(out, "%s\n", text);
    return true;
}

bool mm_output_finish(struct mm_error *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return mm_fail(err, MM_FILE, "standard output: %s", strerror(errno));
    return true;
}

void mm_print_failure(FILE *out, enum mm_form form, const struct mm_error *err, int exit_status, const json_t *extra)
{
    if (form == MM_FORM_HUMAN) {
        (void)fputs("mintmark: ", out);
        mm_print_text(out, err->message);
        (void)fputc('\n', out);
        return;
    }
    mm_cleanup(json_decref) json_t *failure = json_pack("{s:s, s:s, s:i}", "code", mm_code_name(err->code), "detail",
                                                        err->message, "exit_status", exit_status);
    if (!failure) /* a message that isn't UTF-8 */
        failure = json_pack("{s:s, s:i}", "code", mm_code_name(err->code), "exit_status", exit_status);
    if (failure && extra)
        (void)json_object_update(failure, (json_t *)(uintptr_t)extra);
    if (!failure || !mm_print_json(out, failure, NULL))
        (void)fprintf(out, "{\"code\":\"internal_error\",\"exit_status\":%d}\n", exit_status);
}
