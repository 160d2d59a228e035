/* SPDX-License-Identifier: Apache-2.0 */
#include "util/clock.h"

#include <stdio.h>
#include <string.h>

static const int64_t DURATION_MAX = 3653LL * 86400;

static int64_t system_unix_ms(void *context)
{
    (void)context;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

const struct mm_clock MM_SYSTEM_CLOCK = {.unix_ms = system_unix_ms};

int64_t mm_monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void mm_timestamp(int64_t unix_seconds, char *out)
{
    time_t seconds = (time_t)unix_seconds;
    struct tm parts;
    if (!gmtime_r(&seconds, &parts) || strftime(out, MM_TIMESTAMP_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        (void)snprintf(out, MM_TIMESTAMP_MAX, "%lld", (long long)unix_seconds);
}

/* A number of up to 18 digits and nothing else. */
static bool parse_digits(const char *text, int64_t *ret_value)
{
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length > 18 || text[length])
        return false;
    *ret_value = strtoll(text, NULL, 10);
    return true;
}

/* Match `text` against a pattern in which each `0` stands for a digit; returns what follows, or NULL. */
static const char *match(const char *text, const char *pattern)
{
    for (; *pattern; pattern++, text++)
        if (*pattern == '0' ? (*text < '0' || *text > '9') : *text != *pattern)
            return NULL;
    return text;
}

static int two_digits(const char *text)
{
    return (text[0] - '0') * 10 + (text[1] - '0');
}

/* `Z`, or an offset of hours and minutes. */
static bool parse_zone(const char *text, int64_t *ret_offset)
{
    *ret_offset = 0;
    if (strcasecmp(text, "Z") == 0)
        return true;
    const char *end = (text[0] == '+' || text[0] == '-') ? match(text + 1, "00:00") : NULL;
    if (!end || *end || two_digits(text + 1) > 23 || two_digits(text + 4) > 59)
        return false;
    *ret_offset = (two_digits(text + 1) * 60 + two_digits(text + 4)) * 60 * (text[0] == '-' ? -1 : 1);
    return true;
}

/* RFC 3339 section 5.6 takes a lower-case `t` or a space too. Fractions of a second are dropped. */
static bool parse_time(const char *text, struct tm *parts, int64_t *ret_offset)
{
    const char *rest = strchr("Tt ", text[0]) ? match(text + 1, "00:00:00") : NULL;
    if (!rest)
        return false;
    parts->tm_hour = two_digits(text + 1);
    parts->tm_min = two_digits(text + 4);
    parts->tm_sec = two_digits(text + 7);
    if (parts->tm_hour > 23 || parts->tm_min > 59 || parts->tm_sec > 59)
        return false;
    if (*rest == '.') {
        size_t digits = strspn(rest + 1, "0123456789");
        if (digits == 0)
            return false;
        rest += 1 + digits;
    }
    return parse_zone(rest, ret_offset);
}

bool mm_timestamp_parse(const char *text, int64_t *ret_unix_seconds)
{
    if (parse_digits(text, ret_unix_seconds))
        return true;
    const char *rest = match(text, "0000-00-00");
    if (!rest)
        return false;
    struct tm parts = {
        .tm_year = two_digits(text) * 100 + two_digits(text + 2) - 1900,
        .tm_mon = two_digits(text + 5) - 1,
        .tm_mday = two_digits(text + 8),
    };
    int day = parts.tm_mday;
    int64_t offset = 0;
    if (*rest && !parse_time(rest, &parts, &offset))
        return false;
    if (parts.tm_mon < 0 || parts.tm_mon > 11 || day < 1)
        return false;
    int64_t seconds = (int64_t)timegm(&parts);
    if (parts.tm_mday != day) /* timegm() made 30 February a day in March */
        return false;
    *ret_unix_seconds = seconds - offset;
    return true;
}

static int64_t unit_seconds(char unit)
{
    switch (unit) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return 86400;
    default:
        return 0;
    }
}

bool mm_duration_parse(const char *text, int64_t *ret_seconds)
{
    size_t length = strlen(text);
    if (length < 2 || length > 10)
        return false;
    int64_t unit = unit_seconds(text[length - 1]);
    char digits[16] = {0};
    memcpy(digits, text, length - 1);
    int64_t value;
    if (!unit || !parse_digits(digits, &value) || value < 1 || value > DURATION_MAX / unit)
        return false;
    *ret_seconds = value * unit;
    return true;
}
