/* SPDX-License-Identifier: Apache-2.0 */
#include "util/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/clock.h"

enum {
    STRING_MAX = 4096,
    ITEMS_MAX = 1000,
    LABEL_MAX = 160,
    SHORT_LIST_MAX = 16,
    SUGGESTION_MAX = 32, /* longer names get no suggestion */
    DISTANCE_MAX = 2,
};

struct walk {
    struct mm_document *document;
    struct mm_problems *problems;
};

/* A value that something else already complained about isn't judged twice. */
static bool is_reported(const struct walk *walk, const char *path)
{
    const char *file = walk->document->file;
    for (size_t i = 0; i < walk->problems->n; i++) {
        const struct mm_problem *problem = &walk->problems->items[i];
        bool is_same_file = file && problem->file ? strcmp(problem->file, file) == 0 : file == problem->file;
        if (is_same_file && problem->severity == MM_PROBLEM_ERROR && strcmp(problem->path, path) == 0)
            return true;
    }
    return false;
}

__attribute__((format(printf, 3, 4))) static void report(const struct walk *walk, const struct mm_place *place,
                                                         const char *format, ...)
{
    mm_cleanup(free) char *pointer = mm_place_pointer(place);
    const char *path = pointer ? pointer : "";
    walk->problems->is_out_of_memory |= !pointer;
    if (path[0] && is_reported(walk, path))
        return;
    char reason[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    mm_problems_add(walk->problems, walk->document->file, mm_document_line(walk->document, path), path, "%s", reason);
}

/* What a message calls a value: `name`, `name[2]`. NULL: the root. */
static const char *call(const struct mm_place *place, char label[LABEL_MAX])
{
    char parent[LABEL_MAX];
    if (!place->parent)
        return NULL;
    if (place->name)
        return place->name;
    const char *list = call(place->parent, parent);
    (void)snprintf(label, LABEL_MAX, "%.*s[%zu]", LABEL_MAX - 24, list ? list : "", place->index);
    return label;
}

static void complain(const struct walk *walk, const struct mm_place *place, const char *reason)
{
    char buffer[LABEL_MAX];
    const char *label = call(place, buffer);
    if (label)
        report(walk, place, "‹%s› %s", label, reason);
    else
        report(walk, place, "the document %s", reason);
}

/* What couldn't be looked at is no mistake of whoever wrote it. */
static void complain_no_memory(const struct walk *walk, const struct mm_place *place)
{
    walk->problems->is_out_of_memory = true;
    complain(walk, place, "out of memory");
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance of two names of at most SUGGESTION_MAX bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[SUGGESTION_MAX + 1];
    size_t b_length = strlen(b);
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_length; j++) {
            size_t above = row[j + 1];
            row[j + 1] = smallest(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[b_length];
}

static const char *nearest_member(const struct mm_schema *schema, const char *name)
{
    const char *nearest = NULL;
    size_t least = DISTANCE_MAX + 1;
    size_t length = strlen(name);
    if (length > SUGGESTION_MAX)
        return NULL;
    for (const struct mm_schema *member = schema->members; member->name; member++) {
        if (strlen(member->name) > SUGGESTION_MAX)
            continue;
        size_t distance = edit_distance(name, member->name);
        if (distance < least && distance < length) {
            least = distance;
            nearest = member->name;
        }
    }
    return nearest;
}

/* `90s`, `15m`, `1h`: the largest unit that divides. */
static void format_bound(char *out, size_t size, enum mm_schema_type type, int64_t value)
{
    static const struct {
        int64_t seconds;
        char unit;
    } UNITS[] = {{3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    while (value % UNITS[i].seconds != 0)
        i++;
    if (type == MM_SCHEMA_DURATION)
        (void)snprintf(out, size, "%lld%c", (long long)(value / UNITS[i].seconds), UNITS[i].unit);
    else
        (void)snprintf(out, size, "%lld", (long long)value);
}

/* Whether `value` lies within the schema's bounds (0 for `max`: `default_max`, itself 0 for none). */
static bool check_bounds(const struct walk *walk, const struct mm_schema *schema, const struct mm_place *place,
                         int64_t value, int64_t default_max)
{
    int64_t max = schema->max ? schema->max : default_max;
    if (value >= schema->min && (max == 0 || value <= max))
        return true;
    const char *verb = "must be";
    const char *noun = "";
    if (schema->type == MM_SCHEMA_STRING) {
        verb = "must have";
        noun = " bytes";
    } else if (schema->type == MM_SCHEMA_ARRAY || schema->type == MM_SCHEMA_MAP) {
        verb = "must have";
        noun = " items";
    }
    char low[32];
    char high[32];
    char reason[160];
    format_bound(low, sizeof low, schema->type, schema->min);
    format_bound(high, sizeof high, schema->type, max);
    if (schema->min == max)
        (void)snprintf(reason, sizeof reason, "%s %s%s", verb, low, noun);
    else if (max == 0 || value < schema->min)
        (void)snprintf(reason, sizeof reason, "%s at least %s%s", verb, low, noun);
    else
        (void)snprintf(reason, sizeof reason, "%s at most %s%s", verb, high, noun);
    complain(walk, place, reason);
    return false;
}

static void complain_one_of(const struct walk *walk, const struct mm_schema *schema, const struct mm_place *place)
{
    char reason[512] = "must be one of";
    for (const char *const *allowed = schema->one_of; *allowed; allowed++) {
        size_t length = strlen(reason);
        (void)snprintf(reason + length, sizeof reason - length, "%s %s", allowed == schema->one_of ? "" : ",",
                       *allowed);
    }
    complain(walk, place, reason);
}

static bool is_one_of(const char *const *allowed, const char *string)
{
    for (; *allowed; allowed++)
        if (strcmp(*allowed, string) == 0)
            return true;
    return false;
}

static void check_string(const struct walk *walk, const struct mm_schema *schema, const json_t *value,
                         const struct mm_place *place)
{
    const char *string = json_string_value(value);
    if (strlen(string) != json_string_length(value)) {
        complain(walk, place, "holds a NUL character");
        return;
    }
    if (!check_bounds(walk, schema, place, (int64_t)json_string_length(value), STRING_MAX))
        return;
    if (schema->one_of && !is_one_of(schema->one_of, string)) {
        complain_one_of(walk, schema, place);
        return;
    }
    const char *reason = schema->check ? schema->check(string) : NULL;
    if (reason)
        complain(walk, place, reason);
}

/* Returns the seconds that take the duration's place, or NULL. */
static json_t *check_duration(const struct walk *walk, const struct mm_schema *schema, const json_t *value,
                              const struct mm_place *place)
{
    int64_t seconds;
    const char *string = json_string_value(value);
    if (!string || !mm_duration_parse(string, &seconds)) {
        complain(walk, place, "must be a duration such as 30s, 10m, 1h or 1d");
        return NULL;
    }
    if (!check_bounds(walk, schema, place, seconds, 0))
        return NULL;
    json_t *replacement = json_integer(seconds);
    if (!replacement)
        complain_no_memory(walk, place);
    return replacement;
}

static bool has_type(enum mm_schema_type type, const json_t *value)
{
    switch (type) {
    case MM_SCHEMA_STRING:
        return json_is_string(value);
    case MM_SCHEMA_INTEGER:
        return json_is_integer(value);
    case MM_SCHEMA_BOOLEAN:
        return json_is_boolean(value);
    case MM_SCHEMA_OBJECT:
    case MM_SCHEMA_MAP:
        return json_is_object(value);
    case MM_SCHEMA_ARRAY:
        return json_is_array(value);
    case MM_SCHEMA_ANY:
    case MM_SCHEMA_DURATION:
        return true; /* check_duration() says it better */
    }
    return false;
}

static void complain_type(const struct walk *walk, enum mm_schema_type type, const json_t *value,
                          const struct mm_place *place)
{
    static const char *const WANTED[] = {
        [MM_SCHEMA_STRING] = "must be a string",       [MM_SCHEMA_INTEGER] = "must be an integer",
        [MM_SCHEMA_BOOLEAN] = "must be true or false", [MM_SCHEMA_OBJECT] = "must be an object",
        [MM_SCHEMA_ARRAY] = "must be a list",          [MM_SCHEMA_MAP] = "must be an object",
    };
    bool lacks_quotes =
        walk->document->lines && type == MM_SCHEMA_STRING && !json_is_object(value) && !json_is_array(value);
    complain(walk, place, lacks_quotes ? "must be a string: put it in quotes" : WANTED[type]);
}

static json_t *check_value(const struct walk *walk, const struct mm_schema *schema, json_t *value,
                           const struct mm_place *place);

static void check_member(const struct walk *walk, const struct mm_schema *member, json_t *object, void *iterator,
                         const struct mm_place *place)
{
    json_t *replacement = check_value(walk, member, json_object_iter_value(iterator), place);
    if (replacement && json_object_iter_set_new(object, iterator, replacement) != 0)
        complain_no_memory(walk, place);
}

static const struct mm_schema *find_member(const struct mm_schema *schema, const char *name)
{
    for (const struct mm_schema *member = schema->members; member->name; member++)
        if (strcmp(member->name, name) == 0)
            return member;
    return NULL;
}

static void complain_unknown(const struct walk *walk, const struct mm_schema *schema, const struct mm_place *place)
{
    const char *nearest = nearest_member(schema, place->name);
    if (nearest)
        report(walk, place, "unknown key ‹%s›: did you mean ‹%s›?", place->name, nearest);
    else
        report(walk, place, "unknown key ‹%s›", place->name);
}

static void check_missing(const struct walk *walk, const struct mm_schema *schema, const json_t *object,
                          const struct mm_place *place)
{
    for (const struct mm_schema *member = schema->members; member->name; member++) {
        const struct mm_place missing = {.parent = place, .name = member->name};
        if (member->presence == MM_REQUIRED && !json_object_get(object, member->name))
            report(walk, &missing, "missing key ‹%s›", member->name);
    }
}

/* Objects and maps: every member in the document's order, then those that are missing. */
static void check_members(const struct walk *walk, const struct mm_schema *schema, json_t *object,
                          const struct mm_place *place)
{
    bool is_map = schema->type == MM_SCHEMA_MAP;
    if (is_map && !check_bounds(walk, schema, place, (int64_t)json_object_size(object), ITEMS_MAX))
        return;
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        const struct mm_place child = {.parent = place, .name = json_object_iter_key(i)};
        const struct mm_schema *member = is_map ? schema->element : find_member(schema, child.name);
        const char *reason = is_map && schema->key_check ? schema->key_check(child.name) : NULL;
        if (reason)
            report(walk, &child, "‹%s› %s", child.name, reason);
        if (member)
            check_member(walk, member, object, i, &child);
        else
            complain_unknown(walk, schema, &child);
    }
    if (!is_map)
        check_missing(walk, schema, object, place);
}

/* Of a short list every pair is compared, which makes nothing. */
static bool is_repeated(const json_t *array, size_t i)
{
    const char *string = json_string_value(json_array_get(array, i));
    for (size_t j = 0; string && j < i; j++) {
        const char *earlier = json_string_value(json_array_get(array, j));
        if (earlier && strcmp(earlier, string) == 0)
            return true;
    }
    return false;
}

static void complain_repeat(const struct walk *walk, const json_t *array, size_t i, const struct mm_place *place)
{
    const struct mm_place item = {.parent = place, .index = i};
    char buffer[LABEL_MAX];
    const char *label = call(place, buffer);
    report(walk, &item, "‹%s› repeats ‹%s›", label ? label : "the list", json_string_value(json_array_get(array, i)));
}

static void check_repeats(const struct walk *walk, const json_t *array, const struct mm_place *place)
{
    size_t n = json_array_size(array);
    mm_cleanup(json_decref) json_t *seen = n > SHORT_LIST_MAX ? json_object() : NULL;
    for (size_t i = 0; i < n; i++) {
        const char *string = json_string_value(json_array_get(array, i));
        if (!string)
            continue;
        if (seen ? json_object_get(seen, string) != NULL : is_repeated(array, i))
            complain_repeat(walk, array, i, place);
        else if (seen && json_object_set_new(seen, string, json_true()) != 0)
            complain_no_memory(walk, place);
    }
}

static void check_array(const struct walk *walk, const struct mm_schema *schema, json_t *array,
                        const struct mm_place *place)
{
    if (!check_bounds(walk, schema, place, (int64_t)json_array_size(array), ITEMS_MAX))
        return;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const struct mm_place item = {.parent = place, .index = i};
        json_t *replacement = check_value(walk, schema->element, json_array_get(array, i), &item);
        if (replacement && json_array_set_new(array, i, replacement) != 0)
            complain_no_memory(walk, &item);
    }
    if (schema->repeats == MM_REPEATS_REFUSED)
        check_repeats(walk, array, place);
}

/* Returns a new reference to what must take the value's place, or NULL. */
static json_t *check_value(const struct walk *walk, const struct mm_schema *schema, json_t *value,
                           const struct mm_place *place)
{
    if (!has_type(schema->type, value)) {
        complain_type(walk, schema->type, value, place);
        return NULL;
    }
    switch (schema->type) {
    case MM_SCHEMA_STRING:
        check_string(walk, schema, value, place);
        break;
    case MM_SCHEMA_INTEGER:
        (void)check_bounds(walk, schema, place, json_integer_value(value), 0);
        break;
    case MM_SCHEMA_BOOLEAN:
    case MM_SCHEMA_ANY:
        break;
    case MM_SCHEMA_DURATION:
        return check_duration(walk, schema, value, place);
    case MM_SCHEMA_OBJECT:
    case MM_SCHEMA_MAP:
        check_members(walk, schema, value, place);
        break;
    case MM_SCHEMA_ARRAY:
        check_array(walk, schema, value, place);
        break;
    }
    return NULL;
}

bool mm_schema_validate(const struct mm_schema *schema, struct mm_document *document, struct mm_problems *problems)
{
    size_t n_errors = problems->n_errors;
    const struct walk walk = {.document = document, .problems = problems};
    static const struct mm_place ROOT = {0};
    json_t *replacement = check_value(&walk, schema, document->root, &ROOT);
    json_decref(replacement);
    return problems->n_errors == n_errors;
}
