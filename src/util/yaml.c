/* SPDX-License-Identifier: Apache-2.0 */
#include "util/yaml.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <yaml.h>

/* One value's; those of the values within it follow, in the document's order. */
struct line {
    int line;
    uint32_t end; /* index of the first that isn't within it */
};

enum { LINES_AT_FIRST = 256 };

struct mm_lines {
    size_t n;
    size_t capacity;
    struct line items[];
};

struct reader {
    yaml_parser_t parser;
    const char *file;
    const char *data;
    size_t length;
    size_t n_values;
    struct mm_lines *lines;
    struct mm_problems *problems;
};

static void yaml_event_delete_cleanup(yaml_event_t *event)
{
    yaml_event_delete(event);
}

static void yaml_parser_delete_cleanup(yaml_parser_t **parser)
{
    yaml_parser_delete(*parser);
}

static int line_of(yaml_mark_t mark)
{
    return mark.line < INT_MAX ? (int)mark.line + 1 : INT_MAX;
}

/* Problems of the stream end the reading: NULL, so that `return stop(…)` reads as one sentence. */
static json_t *stop(struct reader *reader, int line, const struct mm_place *place, const char *reason)
{
    mm_cleanup(free) char *path = place ? mm_place_pointer(place) : NULL;
    mm_problems_add(reader->problems, reader->file, line, path ? path : "", "%s", reason);
    return NULL;
}

/* A pointer's step to a member, at `out`; its end. */
static char *append_name(char *out, const char *name)
{
    *out++ = '/';
    for (; *name; name++) {
        if (*name == '~' || *name == '/')
            *out++ = '~';
        *out++ = (char)(*name == '~' ? '0' : *name == '/' ? '1' : *name);
    }
    *out = '\0';
    return out;
}

char *mm_pointer_child(const char *parent, const char *name)
{
    char *pointer = malloc(strlen(parent) + 2 * strlen(name) + 2);
    if (!pointer)
        return NULL;
    (void)append_name(stpcpy(pointer, parent), name);
    return pointer;
}

char *mm_pointer_item(const char *parent, size_t index)
{
    char *pointer;
    return asprintf(&pointer, "%s/%zu", parent, index) < 0 ? NULL : pointer;
}

char *mm_place_pointer(const struct mm_place *place)
{
    if (!place->parent)
        return strdup("");
    mm_cleanup(free) char *parent = mm_place_pointer(place->parent);
    if (!parent)
        return NULL;
    return place->name ? mm_pointer_child(parent, place->name) : mm_pointer_item(parent, place->index);
}

static int line_at_offset(const struct reader *reader, size_t offset)
{
    int line = 1;
    for (size_t i = 0; i < offset && i < reader->length; i++)
        if (reader->data[i] == '\n')
            line++;
    return line;
}

/* What misses its end is found at the end of the file, past the newline: the last line is where to look. */
static int problem_line(const struct reader *reader)
{
    if (reader->parser.error == YAML_READER_ERROR)
        return line_at_offset(reader, reader->parser.problem_offset);
    int line = line_of(reader->parser.problem_mark);
    int last = line_at_offset(reader, reader->length ? reader->length - 1 : 0);
    return line < last ? line : last;
}

static void report_syntax(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem ? parser->problem : "out of memory";
    if (parser->context)
        mm_problems_add(reader->problems, reader->file, problem_line(reader), "", "not YAML: %s (%s from line %d)",
                        problem, parser->context, line_of(parser->context_mark));
    else
        mm_problems_add(reader->problems, reader->file, problem_line(reader), "", "not YAML: %s", problem);
}

static bool next_event(struct reader *reader, yaml_event_t *ret_event)
{
    if (yaml_parser_parse(&reader->parser, ret_event))
        return true;
    *ret_event = (yaml_event_t){.type = YAML_NO_EVENT};
    report_syntax(reader);
    return false;
}

/* A decimal integer with one spelling: no sign but minus, no leading zero. Anything else stays a string. */
static bool is_integer(const char *text, json_int_t *ret_value)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    size_t length = strlen(digits);
    if (length == 0 || strspn(digits, "0123456789") != length || (digits[0] == '0' && (length > 1 || digits != text)))
        return false;
    errno = 0;
    *ret_value = strtoll(text, NULL, 10);
    return errno == 0;
}

static json_t *read_scalar(struct reader *reader, const yaml_event_t *event, const struct mm_place *place)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    int line = line_of(event->start_mark);
    if (memchr(text, '\0', length)) {
        (void)stop(reader, line, place, "holds a NUL character");
        return json_null();
    }
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (is_plain) {
        if (length == 0 || strcmp(text, "null") == 0 || strcmp(text, "~") == 0)
            return json_null();
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
            return json_boolean(text[0] == 't');
    }
    json_int_t integer;
    json_t *value = is_plain && is_integer(text, &integer) ? json_integer(integer) : json_stringn(text, length);
    return value ? value : stop(reader, line, place, "out of memory"); /* libyaml has seen to it that it is UTF-8 */
}

static json_t *read_value(struct reader *reader, const yaml_event_t *event, int line, const struct mm_place *place);

static json_t *read_sequence(struct reader *reader, int line, const struct mm_place *place)
{
    mm_cleanup(json_decref) json_t *array = json_array();
    if (!array)
        return stop(reader, line, place, "out of memory");
    for (;;) {
        mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
        if (!next_event(reader, &event))
            return NULL;
        if (event.type == YAML_SEQUENCE_END_EVENT)
            return MM_TAKE(array);
        const struct mm_place item_place = {.parent = place, .index = json_array_size(array)};
        int item_line = line_of(event.start_mark);
        json_t *item = read_value(reader, &event, item_line, &item_place);
        if (!item)
            return NULL;
        if (!mm_json_append(array, item, NULL))
            return stop(reader, item_line, place, "out of memory");
    }
}

/* Why `event` can't be a member's key; NULL if it can. */
static const char *find_key_fault(const yaml_event_t *event)
{
    if (event->type != YAML_SCALAR_EVENT)
        return "a key must be plain text";
    if (event->data.scalar.anchor || event->data.scalar.tag)
        return "a key must have no anchor and no tag";
    if (event->data.scalar.length > MM_YAML_KEY_MAX || event->data.scalar.length == 0)
        return "a key must have between 1 and 128 bytes";
    if (memchr(event->data.scalar.value, '\0', event->data.scalar.length))
        return "a key holds a NUL character";
    return NULL;
}

/* The index of the line of the i-th value within the one at `parent`; 0 if there is none. */
static size_t find_line(const struct mm_lines *lines, size_t parent, size_t i)
{
    size_t at = parent + 1;
    while (i-- > 0 && at < lines->items[parent].end)
        at = lines->items[at].end;
    return at < lines->items[parent].end ? at : 0;
}

/* How many members come before that one; SIZE_MAX: there is none. */
static size_t position_of(const json_t *object, const char *name)
{
    json_t *mutable = (json_t *)(uintptr_t)object; /* iterating changes nothing */
    size_t position = 0;
    for (void *i = json_object_iter(mutable); i; i = json_object_iter_next(mutable, i), position++)
        if (strcmp(json_object_iter_key(i), name) == 0)
            return position;
    return SIZE_MAX;
}

static void refuse_duplicate(struct reader *reader, const json_t *object, size_t object_line, const char *name,
                             int line, const struct mm_place *place)
{
    mm_cleanup(free) char *path = mm_place_pointer(place);
    reader->lines->items[object_line].end = (uint32_t)reader->lines->n;
    size_t first = find_line(reader->lines, object_line, position_of(object, name));
    mm_problems_add(reader->problems, reader->file, line, path ? path : "", "duplicate key ‹%s›, first on line %d",
                    name, reader->lines->items[first].line);
}

/* `object_line` is the index of the object's. */
static bool add_member(struct reader *reader, json_t *object, size_t object_line, const yaml_event_t *key,
                       const struct mm_place *place)
{
    int line = line_of(key->start_mark);
    const char *fault = find_key_fault(key);
    if (fault)
        return stop(reader, line, place, fault) != NULL;
    mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
    if (!next_event(reader, &event))
        return false;
    const char *name = (const char *)key->data.scalar.value;
    const struct mm_place member = {.parent = place, .name = name};
    size_t n_lines = reader->lines->n;
    bool is_duplicate = json_object_get(object, name) != NULL;
    if (is_duplicate)
        refuse_duplicate(reader, object, object_line, name, line, place);
    mm_cleanup(json_decref) json_t *value = read_value(reader, &event, line, &member);
    if (!value)
        return false;
    /* The first value of a duplicate key is the one that counts, and the one whose lines are kept. */
    if (is_duplicate)
        reader->lines->n = n_lines;
    else if (json_object_set(object, name, value) != 0)
        return stop(reader, line, &member, "out of memory") != NULL;
    return true;
}

static json_t *read_mapping(struct reader *reader, int line, size_t own_line, const struct mm_place *place)
{
    mm_cleanup(json_decref) json_t *object = json_object();
    if (!object)
        return stop(reader, line, place, "out of memory");
    for (;;) {
        mm_cleanup(yaml_event_delete) yaml_event_t key = {0};
        if (!next_event(reader, &key))
            return NULL;
        if (key.type == YAML_MAPPING_END_EVENT)
            return MM_TAKE(object);
        if (!add_member(reader, object, own_line, &key, place))
            return NULL;
    }
}

static unsigned depth_of(const struct mm_place *place)
{
    unsigned depth = 1;
    while ((place = place->parent))
        depth++;
    return depth;
}

static bool keep_line(struct reader *reader, int line)
{
    struct mm_lines *lines = reader->lines;
    if (lines->n == lines->capacity) {
        size_t capacity = 2 * lines->capacity;
        lines = realloc(lines, sizeof *lines + capacity * sizeof *lines->items);
        if (!lines)
            return false;
        lines->capacity = capacity;
        reader->lines = lines;
    }
    lines->items[lines->n++].line = line;
    return true;
}

static void refuse_reference(struct reader *reader, const yaml_event_t *event, const struct mm_place *place,
                             const char *what)
{
    mm_cleanup(free) char *path = mm_place_pointer(place);
    mm_problems_add(reader->problems, reader->file, line_of(event->start_mark), path ? path : "",
                    "%s are not accepted: write the value where it belongs", what);
}

static void check_properties(struct reader *reader, const yaml_event_t *event, const struct mm_place *place)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor)
        refuse_reference(reader, event, place, "anchors (&)");
    if (tag)
        refuse_reference(reader, event, place, "tags (!)");
}

static json_t *read_by_type(struct reader *reader, const yaml_event_t *event, int line, size_t own_line,
                            const struct mm_place *place)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, event, place);
    case YAML_SEQUENCE_START_EVENT:
        return read_sequence(reader, line, place);
    case YAML_MAPPING_START_EVENT:
        return read_mapping(reader, line, own_line, place);
    case YAML_ALIAS_EVENT:
        refuse_reference(reader, event, place, "aliases (*)");
        return json_null();
    default:
        return stop(reader, line, place, "not YAML: a value is missing");
    }
}

/* A new reference; NULL, already reported, if reading can't go on. */
static json_t *read_value(struct reader *reader, const yaml_event_t *event, int line, const struct mm_place *place)
{
    if (depth_of(place) > MM_YAML_DEPTH_MAX)
        return stop(reader, line, place, "nested too deeply");
    if (++reader->n_values > MM_YAML_VALUES_MAX)
        return stop(reader, line, place, "too many values in one file");
    size_t own_line = reader->lines->n;
    if (!keep_line(reader, line))
        return stop(reader, line, place, "out of memory");
    check_properties(reader, event, place);
    json_t *value = read_by_type(reader, event, line, own_line, place);
    reader->lines->items[own_line].end = (uint32_t)reader->lines->n;
    return value;
}

static bool expect(struct reader *reader, yaml_event_type_t type, const char *reason)
{
    mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
    if (!next_event(reader, &event))
        return false;
    return event.type == type || stop(reader, line_of(event.start_mark), NULL, reason);
}

static json_t *read_stream(struct reader *reader)
{
    static const struct mm_place ROOT = {0};
    if (!expect(reader, YAML_STREAM_START_EVENT, "not YAML") ||
        !expect(reader, YAML_DOCUMENT_START_EVENT, "the file is empty"))
        return NULL;
    mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
    if (!next_event(reader, &event))
        return NULL;
    mm_cleanup(json_decref) json_t *root = read_value(reader, &event, line_of(event.start_mark), &ROOT);
    if (!root || !expect(reader, YAML_DOCUMENT_END_EVENT, "not YAML") ||
        !expect(reader, YAML_STREAM_END_EVENT, "more than one document in the file"))
        return NULL;
    return MM_TAKE(root);
}

bool mm_yaml_parse(const char *file, const void *data, size_t length, struct mm_document *ret_document,
                   struct mm_problems *problems)
{
    size_t n_errors = problems->n_errors;
    struct reader reader = {.file = file, .data = data, .length = length, .problems = problems};
    if (length > MM_YAML_FILE_MAX)
        return stop(&reader, 0, NULL, "larger than 1 MiB") != NULL;
    mm_cleanup(free) char *name = strdup(file);
    reader.lines = calloc(1, sizeof *reader.lines + LINES_AT_FIRST * sizeof *reader.lines->items);
    if (!reader.lines || !name || !yaml_parser_initialize(&reader.parser)) {
        free(reader.lines);
        return stop(&reader, 0, NULL, "out of memory") != NULL;
    }
    reader.lines->capacity = LINES_AT_FIRST;
    mm_cleanup(yaml_parser_delete) yaml_parser_t *parser = &reader.parser;
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, data, length);
    json_t *root = read_stream(&reader);
    mm_cleanup(free) struct mm_lines *lines = reader.lines; /* it may have moved */
    if (root)
        *ret_document = (struct mm_document){.file = MM_TAKE(name), .root = root, .lines = MM_TAKE(lines)};
    return root && problems->n_errors == n_errors;
}

/* A pointer's step, which ends at a slash or with the text, as the name that it stands for; false if it is too long for one. */
static bool read_name(const char *step, size_t length, char name[MM_YAML_KEY_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        bool is_escape = step[i] == '~' && i + 1 < length;
        if (n == MM_YAML_KEY_MAX)
            return false;
        name[n++] = (char)(!is_escape ? step[i] : step[i + 1] == '1' ? '/' : '~');
        i += is_escape;
    }
    name[n] = '\0';
    return true;
}

/* The value that a pointer's step leads to, and how many come before it; NULL: to none. */
static const json_t *take_step(const json_t *value, const char *step, size_t length, size_t *ret_position)
{
    char name[MM_YAML_KEY_MAX + 1];
    if (!read_name(step, length, name))
        return NULL;
    if (json_is_array(value)) {
        *ret_position = strtoul(name, NULL, 10);
        return json_array_get(value, *ret_position);
    }
    *ret_position = position_of(value, name);
    return json_object_get(value, name);
}

int mm_document_line(const struct mm_document *document, const char *path)
{
    const struct mm_lines *lines = document->lines;
    const json_t *value = document->root;
    size_t at = 0;
    while (lines && *path == '/') {
        size_t length = strcspn(path + 1, "/");
        size_t position = 0;
        value = take_step(value, path + 1, length, &position);
        size_t within = value ? find_line(lines, at, position) : 0;
        if (within == 0)
            break;
        at = within;
        path += 1 + length;
    }
    return lines && lines->n > 0 ? lines->items[at].line : 0;
}

void mm_document_clear(struct mm_document *document)
{
    free(document->file);
    json_decref(document->root);
    free(document->lines);
    *document = (struct mm_document){0};
}
