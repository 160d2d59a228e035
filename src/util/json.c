/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "util/buffer.h"
#include "util/clock.h"

enum { DEPTH_MAX = 32 };

/*
 * jansson doesn't always say that memory was short: its parser speaks of bad syntax or leaves characters out, its dumps leave out
 * keys, its json_pack() members. malloc() does say so, in errno (POSIX), so what was made while one failed isn't believed.
 * json_set_alloc_funcs() would tell as well, but for the whole process, which is someone else's where this is libmintmark.
 */
static void watch_memory(void)
{
    errno = 0;
}

static bool was_memory_short(void)
{
    return errno == ENOMEM;
}

/* jansson recurses up to 2,048 levels; refuse deep nesting before it parses. `ret_longest`: no token of the text is longer. */
static bool depth_is_bounded(const char *text, size_t length, size_t *ret_longest)
{
    size_t depth = 0;
    size_t quote = 0;
    size_t longest = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        if (in_string && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            in_string = !in_string;
            longest = i + 1 - quote > longest ? i + 1 - quote : longest;
            quote = i;
        } else if (!in_string && (text[i] == '{' || text[i] == '[')) {
            if (++depth > DEPTH_MAX)
                return false;
        } else if (!in_string && (text[i] == '}' || text[i] == ']') && depth > 0) {
            depth--;
        }
    }
    *ret_longest = length - quote > longest ? length - quote : longest;
    return true;
}

/* Whether a string of some JSON text has an escaped NUL in it, the one character that jansson writes but won't read. */
static bool has_escaped_nul(const char *text)
{
    for (const char *escape = text; (escape = strchr(escape, '\\')); escape += 2)
        if (strncmp(escape, "\\u0000", 6) == 0)
            return true;
    return false;
}

json_t *mm_json_pack(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    watch_memory();
    mm_cleanup(json_decref) json_t *value = json_vpack_ex(NULL, 0, format, args);
    va_end(args);
    return was_memory_short() ? NULL : MM_TAKE(value);
}

/* json_dump_callback()'s; it doesn't heed every failure, so the first one is kept. */
struct dump {
    struct mm_buffer text;
    bool is_cut;
};

static int append_dump(const char *data, size_t length, void *context)
{
    struct dump *dump = context;
    dump->is_cut = dump->is_cut || !mm_buffer_append(&dump->text, data, length, NULL);
    return dump->is_cut ? -1 : 0;
}

char *mm_json_dumps(const json_t *value, size_t flags)
{
    struct dump dump = {.text = mm_buffer_make(SIZE_MAX / 2)};
    if (json_dump_callback(value, append_dump, &dump, flags) != 0 || dump.is_cut)
        mm_buffer_clear(&dump.text);
    return (char *)dump.text.data;
}

int mm_json_update_recursive(json_t *object, json_t *other)
{
    watch_memory();
    int failed = (json_object_update_recursive)(object, other);
    return was_memory_short() ? -1 : failed;
}

/*
 * What json_load_callback() reads. Where jansson can't keep a string's closing quote for want of memory it runs past the end of the
 * string, and it reads a number whose last digit it lost. But it keeps its buffer from one token to the next, doubling it from 16 bytes. So it
 * reads [FILLER, TEXT], where the filler is a string longer than any token of the text and short of a power of two by two: the buffer grows
 * there, not at the closing quote and not in the text, which it is only given if all went well so far.
 */
struct reading {
    struct {
        const char *data; /* NULL: filler */
        size_t length;
    } parts[5];
    size_t part;
    size_t at; /* in that part */
    bool is_short;
};

static struct reading make_reading(const char *text, size_t length, size_t longest_token)
{
    size_t capacity = 32;
    while (capacity - 2 <= longest_token + 1)
        capacity *= 2;
    return (struct reading){.parts = {{"[\"", 2}, {NULL, capacity - 4}, {"\",\n", 3}, {text, length}, {"]", 1}}};
}

static size_t feed(void *out, size_t size, void *context)
{
    struct reading *reading = context;
    while (reading->part < MM_ARRAY_SIZE(reading->parts) && reading->at == reading->parts[reading->part].length) {
        reading->part++;
        reading->at = 0;
    }
    reading->is_short = reading->is_short || was_memory_short();
    if (reading->is_short || reading->part == MM_ARRAY_SIZE(reading->parts) || size == 0)
        return 0;
    const char *data = reading->parts[reading->part].data;
    size_t left = reading->parts[reading->part].length - reading->at;
    size_t n = left < size ? left : size;
    if (data)
        memcpy(out, data + reading->at, n);
    else
        memset(out, 'x', n);
    reading->at += n;
    return n;
}

json_t *mm_json_parse(const void *data, size_t length, struct mm_error *err)
{
    size_t longest_token;
    if (!depth_is_bounded(data, length, &longest_token)) {
        (void)mm_fail(err, MM_INVALID_JSON, "nested deeper than %d levels", DEPTH_MAX);
        return NULL;
    }
    /* A NUL is never JSON (RFC 8259 section 2), and jansson takes one at the end for the end. */
    if (memchr(data, '\0', length)) {
        (void)mm_fail(err, MM_INVALID_JSON, "holds a NUL byte");
        return NULL;
    }
    json_error_t why;
    struct reading reading = make_reading(data, length, longest_token);
    watch_memory();
    mm_cleanup(json_decref) json_t *pair = json_load_callback(feed, &reading, JSON_REJECT_DUPLICATES, &why);
    if (reading.is_short || was_memory_short()) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    size_t end = reading.parts[0].length + reading.parts[1].length + reading.parts[2].length + length;
    if (!pair && json_error_code(&why) == json_error_end_of_input_expected)
        (void)mm_fail(err, MM_INVALID_JSON, "more than one value");
    else if (!pair && why.position > 0 && (size_t)why.position > end)
        (void)mm_fail(err, MM_INVALID_JSON, "line %d column %d: ends too soon", why.line - 1, why.column);
    else if (!pair)
        (void)mm_fail(err, MM_INVALID_JSON, "line %d column %d: %s", why.line - 1, why.column, why.text);
    else if (json_array_size(pair) != 2)
        (void)mm_fail(err, MM_INVALID_JSON, "more than one value");
    return json_array_size(pair) == 2 ? json_incref(json_array_get(pair, 1)) : NULL;
}

char *mm_json_compact(const json_t *value, struct mm_error *err)
{
    size_t longest_token;
    mm_cleanup(free) char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        (void)mm_fail(err, MM_NO_MEMORY, "JSON can't be serialised");
        return NULL;
    }
    if (has_escaped_nul(text) || !depth_is_bounded(text, strlen(text), &longest_token)) {
        (void)mm_fail(err, MM_INTERNAL, "JSON that can't be read back: a NUL in it, or nested too deep");
        return NULL;
    }
    return MM_TAKE(text);
}

bool mm_json_append(json_t *array, json_t *element, struct mm_error *err)
{
    return json_array_append_new(array, element) == 0 || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

json_t *mm_json_timestamp(int64_t unix_seconds)
{
    char text[MM_TIMESTAMP_MAX];
    if (unix_seconds == 0)
        return json_null();
    mm_timestamp(unix_seconds, text);
    return json_string(text);
}

const char *mm_json_string(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

int64_t mm_json_integer(const json_t *object, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

/* jansson has no other way to a string's own bytes. */
void mm_json_zero(const json_t *value)
{
    if (json_is_string(value))
        explicit_bzero((char *)(uintptr_t)json_string_value(value), json_string_length(value));
}

bool mm_json_array_has(const json_t *value, const char *string)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *item = json_string_value(json_array_get(value, i));
        if (item && strcmp(item, string) == 0)
            return true;
    }
    return false;
}
