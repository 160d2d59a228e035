/* SPDX-License-Identifier: Apache-2.0 */
#include "util/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const int64_t DURATION_MAX = 3653LL * 86400;

static int64_t system_unix_seconds(void *context)
{
    (void)context;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

const struct mm_clock MM_SYSTEM_CLOCK = {.unix_seconds = system_unix_seconds};

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

static bool parse_digits(const char *text, int64_t *ret_value)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || text[0] == '+' || text[0] == ' ')
        return false;
    *ret_value = value;
    return true;
}

static bool parse_zone(const char *text, int64_t *ret_offset)
{
    *ret_offset = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    int hours;
    int minutes;
    char sign = text[0];
    if ((sign != '+' && sign != '-') || strlen(text) != 6 || sscanf(text + 1, "%2d:%2d", &hours, &minutes) != 2)
        return false;
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *ret_offset = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);
    return true;
}

bool mm_timestamp_parse(const char *text, int64_t *ret_unix_seconds)
{
    if (parse_digits(text, ret_unix_seconds))
        return true;
    struct tm parts = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &parts);
    if (!rest)
        return false;
    int64_t offset = 0;
    if (*rest) {
        if (*rest != 'T' && *rest != 't' && *rest != ' ')
            return false;
        rest = strptime(rest + 1, "%H:%M:%S", &parts);
        if (!rest || !parse_zone(rest, &offset))
            return false;
    }
    *ret_unix_seconds = (int64_t)timegm(&parts) - offset;
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
