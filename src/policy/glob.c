/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/glob.h"

#include <string.h>

static size_t segment_length(const char *segment)
{
    return strcspn(segment, "/:");
}

static bool is_star(const char *segment, size_t length)
{
    return length == 1 && segment[0] == '*';
}

/* Of a pattern's last segment. */
static bool is_rest(const char *segment)
{
    return strcmp(segment, "**") == 0;
}

const char *mm_check_glob(const char *pattern)
{
    bool has_text = false;
    for (const char *segment = pattern;;) {
        size_t length = segment_length(segment);
        bool has_star = memchr(segment, '*', length) != NULL;
        if (has_star && !is_star(segment, length) && !is_rest(segment))
            return "may have * for whole segments between / or : only, and ** for the last of them: a part of one "
                   "would "
                   "match too much";
        has_text = has_text || (length > 0 && !has_star);
        if (!segment[length])
            break;
        segment += length + 1;
    }
    return has_text ? NULL : "would match anything: name at least one segment";
}

bool mm_glob_is_literal(const char *pattern)
{
    return !strchr(pattern, '*');
}

static bool has_empty_segment(const char *text)
{
    for (;; text++) {
        size_t length = segment_length(text);
        if (length == 0)
            return true;
        text += length;
        if (!*text)
            return false;
    }
}

bool mm_glob_matches(const char *pattern, const char *text)
{
    for (;;) {
        size_t wanted = segment_length(pattern);
        size_t found = segment_length(text);
        if (is_rest(pattern))
            return !has_empty_segment(text);
        bool matches = is_star(pattern, wanted) ? found > 0 : wanted == found && memcmp(pattern, text, wanted) == 0;
        if (!matches || pattern[wanted] != text[found])
            return false;
        if (!pattern[wanted])
            return true;
        pattern += wanted + 1;
        text += found + 1;
    }
}

bool mm_glob_covers(const char *wide, const char *narrow)
{
    /* `narrow` read as a text: its stars are segments that aren't empty, and only a `**` of `wide` reaches a `**`. */
    for (;;) {
        size_t wanted = segment_length(wide);
        size_t found = segment_length(narrow);
        if (is_rest(wide))
            return !has_empty_segment(narrow);
        if (is_rest(narrow) ||
            (is_star(wide, wanted) ? found == 0 : wanted != found || memcmp(wide, narrow, wanted) != 0) ||
            wide[wanted] != narrow[found])
            return false;
        if (!wide[wanted])
            return true;
        wide += wanted + 1;
        narrow += found + 1;
    }
}
