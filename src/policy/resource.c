/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource patterns: a literal, or a prefix that ends in `*` and stands for every string that starts with it. `*` has no
 * other meaning and no other place, so that what a pattern covers can be decided by comparing prefixes.
 */
#include "policy/policy.h"

#include <string.h>

#include "policy/syntax.h"

struct pattern {
    const char *text;
    size_t length; /* without the star */
    bool is_prefix;
};

static struct pattern pattern_of(const char *text)
{
    size_t length = strlen(text);
    bool is_prefix = length > 0 && text[length - 1] == '*';
    return (struct pattern){.text = text, .length = length - is_prefix, .is_prefix = is_prefix};
}

static bool starts_with(struct pattern whole, struct pattern start)
{
    return whole.length >= start.length && memcmp(whole.text, start.text, start.length) == 0;
}

static bool is_equal(struct pattern a, struct pattern b)
{
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

static bool covers(struct pattern outer, struct pattern inner)
{
    if (outer.is_prefix)
        return starts_with(inner, outer);
    return !inner.is_prefix && is_equal(outer, inner);
}

bool mm_pattern_is_covered(const struct mm_strings *patterns, const char *pattern)
{
    if (mm_check_resource_pattern(pattern))
        return false;
    for (size_t i = 0; i < patterns->n; i++)
        if (covers(pattern_of(patterns->items[i]), pattern_of(pattern)))
            return true;
    return false;
}

bool mm_resource_is_covered(const struct mm_strings *patterns, const char *resource)
{
    return !mm_check_resource(resource) && mm_pattern_is_covered(patterns, resource);
}

static bool patterns_meet(struct pattern a, struct pattern b)
{
    return covers(a, b) || covers(b, a);
}

bool mm_envelope_is_covered(const struct mm_envelope *envelope, const struct mm_strings *patterns)
{
    for (size_t i = 0; i < envelope->resources.n; i++)
        if (!mm_pattern_is_covered(patterns, envelope->resources.items[i]))
            return false;
    return true;
}

bool mm_patterns_meet(const char *a, const char *b)
{
    return patterns_meet(pattern_of(a), pattern_of(b));
}

static bool resources_meet(const struct mm_envelope *a, const struct mm_envelope *b)
{
    for (size_t i = 0; i < a->resources.n; i++)
        for (size_t j = 0; j < b->resources.n; j++)
            if (patterns_meet(pattern_of(a->resources.items[i]), pattern_of(b->resources.items[j])))
                return true;
    return false;
}

bool mm_envelopes_overlap(const struct mm_envelope *a, const struct mm_envelope *b, const char **ret_audience)
{
    bool do_meet = resources_meet(a, b);
    for (size_t i = 0; i < a->audiences.n; i++) {
        const char *audience = a->audiences.items[i];
        if (mm_strings_have(&b->audiences, audience) &&
            (do_meet || mm_strings_have(&a->tier_1, audience) || mm_strings_have(&b->tier_1, audience))) {
            *ret_audience = audience;
            return true;
        }
    }
    return false;
}
