/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json_scan.h"

#include <assert.h>
#include <string.h>

#include "util/utf8.h"

struct scan {
    const char *text;
    size_t length;
    size_t at;
    const char *failure; /* the first one */
};

static bool refuse(struct scan *scan, const char *why)
{
    if (!scan->failure)
        scan->failure = why;
    return false;
}

/* The next byte; a NUL, which no JSON has, at the end. */
static char peek(const struct scan *scan)
{
    return scan->at < scan->length ? scan->text[scan->at] : '\0';
}

static bool take(struct scan *scan, char byte)
{
    if (peek(scan) != byte)
        return false;
    scan->at++;
    return true;
}

static struct mm_bytes since(const struct scan *scan, size_t start)
{
    return (struct mm_bytes){scan->text + start, scan->at - start};
}

static bool is_equal(struct mm_bytes bytes, const char *string, size_t length)
{
    return bytes.length == length && memcmp(bytes.data, string, length) == 0;
}

static bool take_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (scan->length - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
        return refuse(scan, "not a value");
    scan->at += length;
    return true;
}

/* What follows a backslash: one letter, or the code of a control character but NUL. */
static bool take_escape(struct scan *scan)
{
    char c = peek(scan);
    if (c != '\0' && strchr("\"\\bfnrt", c)) {
        scan->at++;
        return true;
    }
    if (scan->length - scan->at < 5 || memcmp(scan->text + scan->at, "u00", 3) != 0)
        return refuse(scan, "an escape that isn't needed");
    char tens = scan->text[scan->at + 3];
    char ones = scan->text[scan->at + 4];
    bool is_control = (tens == '0' || tens == '1') && ones != '\0' && strchr("0123456789abcdefABCDEF", ones);
    if (!is_control || (tens == '0' && ones == '0'))
        return refuse(scan, "an escape that isn't needed");
    scan->at += 5;
    return true;
}

static bool take_string(struct scan *scan)
{
    if (!take(scan, '"'))
        return refuse(scan, "not a string");
    while (!take(scan, '"')) {
        uint32_t code;
        unsigned char c = (unsigned char)peek(scan);
        if (c < 0x20)
            return refuse(scan, scan->at < scan->length ? "a control character" : "a string without an end");
        size_t n = c < 0x80 ? 1 : mm_utf8_decode(scan->text + scan->at, scan->length - scan->at, &code);
        if (n == 0)
            return refuse(scan, "not UTF-8");
        scan->at += n;
        if (c == '\\' && !take_escape(scan))
            return false;
    }
    return true;
}

static bool take_name(struct scan *scan, struct mm_bytes *ret_name)
{
    if (!take(scan, '"'))
        return refuse(scan, "not a name");
    size_t start = scan->at;
    while (peek(scan) > ' ' && peek(scan) <= '~' && peek(scan) != '"' && peek(scan) != '\\')
        scan->at++;
    *ret_name = since(scan, start);
    return (take(scan, '"') && take(scan, ':')) || refuse(scan, "a name that isn't plain ASCII, or no colon after it");
}

static bool take_integer(struct scan *scan)
{
    int64_t ignored;
    size_t start = scan->at;
    (void)take(scan, '-');
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return mm_json_read_integer(since(scan, start), &ignored) || refuse(scan, "not an integer within 64 bits");
}

static bool take_value(struct scan *scan, unsigned depth);

static bool take_array(struct scan *scan, unsigned depth)
{
    scan->at++;
    if (take(scan, ']'))
        return true;
    do {
        if (!take_value(scan, depth))
            return false;
    } while (take(scan, ','));
    return take(scan, ']') || refuse(scan, "an array without an end");
}

static bool add_member(struct scan *scan, struct mm_json_members *members, const struct mm_json_member *member)
{
    for (size_t i = 0; i < members->n; i++)
        if (is_equal(members->items[i].name, member->name.data, member->name.length))
            return refuse(scan, "a member said twice");
    if (members->n == MM_JSON_SCAN_MEMBERS)
        return refuse(scan, "too many members");
    members->items[members->n++] = *member;
    return true;
}

static bool take_object(struct scan *scan, unsigned depth, struct mm_json_members *members)
{
    members->n = 0;
    if (!take(scan, '{'))
        return refuse(scan, "not an object");
    if (take(scan, '}'))
        return true;
    do {
        struct mm_json_member member;
        if (!take_name(scan, &member.name))
            return false;
        size_t start = scan->at;
        if (!take_value(scan, depth))
            return false;
        member.value = since(scan, start);
        if (!add_member(scan, members, &member))
            return false;
    } while (take(scan, ','));
    return take(scan, '}') || refuse(scan, "an object without an end");
}

/* Of its members only the names matter: none may be there twice. In a function of its own, their 2 KiB are on no stack but an object's. */
__attribute__((noinline)) static bool take_nested_object(struct scan *scan, unsigned depth)
{
    struct mm_json_members members;
    return take_object(scan, depth, &members);
}

/* `depth`: of what holds the value; the recursion is bounded by MM_JSON_SCAN_DEPTH. */
static bool take_value(struct scan *scan, unsigned depth)
{
    switch (peek(scan)) {
    case '"':
        return take_string(scan);
    case '{':
        return depth < MM_JSON_SCAN_DEPTH ? take_nested_object(scan, depth + 1) : refuse(scan, "nested too deep");
    case '[':
        return depth < MM_JSON_SCAN_DEPTH ? take_array(scan, depth + 1) : refuse(scan, "nested too deep");
    case 't':
        return take_word(scan, "true");
    case 'f':
        return take_word(scan, "false");
    case 'n':
        return take_word(scan, "null");
    default:
        return take_integer(scan);
    }
}

bool mm_json_scan(struct mm_bytes text, struct mm_json_members *ret, struct mm_error *err)
{
    struct scan scan = {.text = text.data, .length = text.length};
    if (take_object(&scan, 1, ret) && (scan.at == scan.length || refuse(&scan, "more than one value")))
        return true;
    ret->n = 0;
    return mm_fail(err, MM_INVALID_JSON, "byte %zu: %s", scan.at, scan.failure);
}

struct mm_bytes mm_json_members_find(const struct mm_json_members *members, const char *name)
{
    for (size_t i = 0; i < members->n; i++)
        if (is_equal(members->items[i].name, name, strlen(name)))
            return members->items[i].value;
    return (struct mm_bytes){NULL, 0};
}

static bool needs_no_escape(const char *string)
{
    for (const char *c = string; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == '"' || *c == '\\')
            return false;
    return true;
}

bool mm_json_equals_string(struct mm_bytes value, const char *string)
{
    assert(needs_no_escape(string));
    const char *text = value.data;
    return value.length >= 2 && text[0] == '"' &&
           is_equal((struct mm_bytes){text + 1, value.length - 2}, string, strlen(string));
}

bool mm_json_read_integer(struct mm_bytes value, int64_t *ret_integer)
{
    const char *text = value.data;
    bool is_negative = value.length > 0 && text[0] == '-';
    size_t first = is_negative ? 1 : 0;
    int64_t integer = 0;
    if (value.length == first || (text[first] == '0' && (value.length > first + 1 || is_negative)))
        return false;
    for (size_t i = first; i < value.length; i++) {
        int digit = text[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(integer, 10, &integer) ||
            __builtin_sub_overflow(integer, digit, &integer))
            return false;
    }
    /* Counted downwards, since INT64_MIN has no positive counterpart. */
    if (!is_negative && integer == INT64_MIN)
        return false;
    *ret_integer = is_negative ? integer : -integer;
    return true;
}
