/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/answer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DOCUMENT = 0x6d6d0001, REASON = 0x6d6d0002 };

/* In host byte order: one build, one machine. */
struct head {
    uint32_t kind;
    uint32_t length;
    int64_t max_age;
};

_Static_assert(sizeof(struct head) == MM_FETCH_HEAD_LENGTH, "no padding");

void mm_fetch_answer_head(const struct mm_fetched *document, size_t length, uint8_t out[MM_FETCH_HEAD_LENGTH])
{
    const struct head head = {
        .kind = document ? DOCUMENT : REASON,
        .length = (uint32_t)length,
        .max_age = document ? document->max_age : MM_FETCH_AGE_UNSAID,
    };
    memcpy(out, &head, sizeof head);
}

static bool fail_with_reason(const char *reason, size_t length, struct mm_error *err)
{
    char text[MM_FETCH_REASON_MAX + 1];
    for (size_t i = 0; i < length; i++)
        text[i] = reason[i] < ' ' || reason[i] > '~' ? '?' : reason[i];
    text[length] = '\0';
    return mm_fail(err, MM_UNREACHABLE, "%s", text);
}

bool mm_fetch_answer_parse(const void *data, size_t length, struct mm_fetched *ret_fetched, struct mm_error *err)
{
    struct head head;
    if (length == 0)
        return mm_fail(err, MM_UNREACHABLE, "the fetch ended without an answer");
    if (length < sizeof head)
        return mm_fail(err, MM_UNREACHABLE, "the fetch ended within its answer");
    memcpy(&head, data, sizeof head);
    const char *rest = (const char *)data + sizeof head;
    bool is_whole = head.length == length - sizeof head;
    if (is_whole && head.kind == REASON && head.length <= MM_FETCH_REASON_MAX)
        return fail_with_reason(rest, head.length, err);
    if (!is_whole || head.kind != DOCUMENT || head.length > MM_FETCH_DOCUMENT_MAX || head.max_age < MM_FETCH_AGE_UNSAID)
        return mm_fail(err, MM_UNREACHABLE, "the fetch gave an answer that is none");
    *ret_fetched = (struct mm_fetched){.data = rest, .length = head.length, .max_age = head.max_age};
    return true;
}

static bool is_called(const char *directive, size_t length, const char *name)
{
    return length == strlen(name) && strncasecmp(directive, name, length) == 0;
}

/* Digits, perhaps quoted; 0 for anything else, and at most what fits. */
static int64_t read_seconds(const char *text, size_t length)
{
    int64_t seconds = 0;
    if (length >= 2 && text[0] == '"' && text[length - 1] == '"') {
        text++;
        length -= 2;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        if (seconds < INT32_MAX)
            seconds = seconds * 10 + (text[i] - '0');
    }
    return seconds < INT32_MAX ? seconds : INT32_MAX;
}

int64_t mm_fetch_max_age(const char *cache_control)
{
    int64_t max_age = MM_FETCH_AGE_UNSAID;
    const char *next = cache_control;
    while (*next) {
        next += strspn(next, " \t,");
        size_t whole = strcspn(next, ",");
        size_t length = whole;
        while (length > 0 && (next[length - 1] == ' ' || next[length - 1] == '\t'))
            length--;
        const char *equals = memchr(next, '=', length);
        size_t name = equals ? (size_t)(equals - next) : length;
        int64_t said = MM_FETCH_AGE_UNSAID;
        if (is_called(next, name, "no-store") || is_called(next, name, "no-cache"))
            said = 0;
        else if (is_called(next, name, "max-age"))
            said = equals ? read_seconds(equals + 1, length - name - 1) : 0;
        /* Of several the shortest. */
        if (said >= 0 && (max_age < 0 || said < max_age))
            max_age = said;
        next += whole;
    }
    return max_age;
}

int64_t mm_fetch_age_left(int64_t max_age, const char *age)
{
    size_t length = strlen(age);
    bool is_number = length > 0 && strspn(age, "0123456789") == length;
    int64_t seconds = is_number ? read_seconds(age, length) : INT32_MAX;
    if (max_age <= seconds)
        return max_age < 0 ? max_age : 0;
    return max_age - seconds;
}
