/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rate.h"

const struct mm_schema MM_RATE_MEMBERS[] = {
    {.name = "per_minute", .type = MM_SCHEMA_INTEGER, .presence = MM_REQUIRED, .min = 1, .max = MM_RATE_MAX},
    {.name = "burst", .type = MM_SCHEMA_INTEGER, .min = 1, .max = MM_RATE_MAX},
    {0},
};

static bool is_in_range(int64_t value)
{
    return value >= 1 && value <= MM_RATE_MAX;
}

struct mm_rate mm_rate_build(const json_t *json)
{
    int64_t per_minute = mm_json_integer(json, "per_minute", 0);
    struct mm_rate rate = {per_minute, mm_json_integer(json, "burst", per_minute)};
    return is_in_range(rate.per_minute) && is_in_range(rate.burst) ? rate : (struct mm_rate){0};
}

bool mm_rate_is_within(const struct mm_rate *inner, const struct mm_rate *outer)
{
    if (outer->per_minute == 0 || inner->per_minute == 0)
        return outer->per_minute == 0;
    return inner->per_minute <= outer->per_minute && inner->burst <= outer->burst;
}
