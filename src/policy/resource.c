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

bool mm_envelopes_overlap(const struct mm_envelope *a, const struct mm_envelope *b, const char **ret_audience)
{
    const char *audience = NULL;
    for (size_t i = 0; i < a->audiences.n && !audience; i++)
        if (mm_strings_have(&b->audiences, a->audiences.items[i]))
            audience = a->audiences.items[i];
    if (!audience)
        return false;
    for (size_t i = 0; i < a->resources.n; i++)
        for (size_t j = 0; j < b->resources.n; j++)
            if (patterns_meet(pattern_of(a->resources.items[i]), pattern_of(b->resources.items[j]))) {
                *ret_audience = audience;
                return true;
            }
    return false;
}
