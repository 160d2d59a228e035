/* SPDX-License-Identifier: Apache-2.0 */
#include "util/yaml.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    const char *file;
    const char *data;
    size_t length;
    size_t n_values;
    json_t *lines;
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
static json_t *stop(struct reader *reader, int line, const char *path, const char *reason)
{
    mm_problems_add(reader->problems, reader->file, line, path, "%s", reason);
    return NULL;
}

char *mm_pointer_child(const char *parent, const char *name)
{
    char *pointer = malloc(strlen(parent) + 2 * strlen(name) + 2);
    if (!pointer)
        return NULL;
    char *out = stpcpy(pointer, parent);
    *out++ = '/';
    for (; *name; name++) {
        if (*name == '~' || *name == '/')
            *out++ = '~';
        *out++ = (char)(*name == '~' ? '0' : *name == '/' ? '1' : *name);
    }
    *out = '\0';
    return pointer;
}

char *mm_pointer_item(const char *parent, size_t index)
{
    char *pointer;
    return asprintf(&pointer, "%s/%zu", parent, index) < 0 ? NULL : pointer;
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

static json_t *read_scalar(struct reader *reader, const yaml_event_t *event, const char *path)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    int line = line_of(event->start_mark);
    if (memchr(text, '\0', length)) {
        mm_problems_add(reader->problems, reader->file, line, path, "holds a NUL character");
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
    return value ? value : stop(reader, line, path, "out of memory"); /* libyaml has seen to it that it is UTF-8 */
}

static json_t *read_value(struct reader *reader, const yaml_event_t *event, int line, const char *path);

static json_t *read_sequence(struct reader *reader, int line, const char *path)
{
    mm_cleanup(json_decref) json_t *array = json_array();
    if (!array)
        return stop(reader, line, path, "out of memory");
    for (;;) {
        mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
        if (!next_event(reader, &event))
            return NULL;
        if (event.type == YAML_SEQUENCE_END_EVENT)
            return MM_TAKE(array);
        mm_cleanup(free) char *item_path = mm_pointer_item(path, json_array_size(array));
        int item_line = line_of(event.start_mark);
        if (!item_path)
            return stop(reader, item_line, path, "out of memory");
        json_t *item = read_value(reader, &event, item_line, item_path);
        if (!item)
            return NULL;
        if (!mm_json_append(array, item, NULL))
            return stop(reader, item_line, path, "out of memory");
    }
}

/* The pointer of the member that `event` is the key of; NULL if it can't be one. */
static char *member_path(struct reader *reader, const yaml_event_t *event, const char *path)
{
    const char *reason = "out of memory";
    if (event->type != YAML_SCALAR_EVENT)
        reason = "a key must be plain text";
    else if (event->data.scalar.anchor || event->data.scalar.tag)
        reason = "a key must have no anchor and no tag";
    else if (event->data.scalar.length > MM_YAML_KEY_MAX || event->data.scalar.length == 0)
        reason = "a key must have between 1 and 128 bytes";
    else if (memchr(event->data.scalar.value, '\0', event->data.scalar.length))
        reason = "a key holds a NUL character";
    else {
        char *child = mm_pointer_child(path, (const char *)event->data.scalar.value);
        if (child)
            return child;
    }
    (void)stop(reader, line_of(event->start_mark), path, reason);
    return NULL;
}

static bool add_member(struct reader *reader, json_t *object, const yaml_event_t *key, const char *path)
{
    mm_cleanup(free) char *child_path = member_path(reader, key, path);
    mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
    if (!child_path || !next_event(reader, &event))
        return false;
    const char *name = (const char *)key->data.scalar.value;
    int line = line_of(key->start_mark);
    bool is_duplicate = json_object_get(object, name) != NULL;
    if (is_duplicate)
        mm_problems_add(reader->problems, reader->file, line, path, "duplicate key ‹%s›, first on line %lld", name,
                        (long long)json_integer_value(json_object_get(reader->lines, child_path)));
    mm_cleanup(json_decref) json_t *value = read_value(reader, &event, line, child_path);
    if (!value)
        return false;
    if (!is_duplicate && json_object_set(object, name, value) != 0)
        return stop(reader, line, child_path, "out of memory") != NULL;
    return true;
}

static json_t *read_mapping(struct reader *reader, int line, const char *path)
{
    mm_cleanup(json_decref) json_t *object = json_object();
    if (!object)
        return stop(reader, line, path, "out of memory");
    for (;;) {
        mm_cleanup(yaml_event_delete) yaml_event_t key = {0};
        if (!next_event(reader, &key))
            return NULL;
        if (key.type == YAML_MAPPING_END_EVENT)
            return MM_TAKE(object);
        if (!add_member(reader, object, &key, path))
            return NULL;
    }
}

static unsigned depth_of(const char *path)
{
    unsigned depth = 1;
    for (; *path; path++)
        depth += *path == '/';
    return depth;
}

/* The first value of a duplicate key is the one that counts, and the one whose lines are kept. */
static bool keep_line(struct reader *reader, const char *path, int line)
{
    return json_object_get(reader->lines, path) || json_object_set_new(reader->lines, path, json_integer(line)) == 0;
}

static void refuse_reference(struct reader *reader, const yaml_event_t *event, const char *path, const char *what)
{
    mm_problems_add(reader->problems, reader->file, line_of(event->start_mark), path,
                    "%s are not accepted: write the value where it belongs", what);
}

static void check_properties(struct reader *reader, const yaml_event_t *event, const char *path)
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
        refuse_reference(reader, event, path, "anchors (&)");
    if (tag)
        refuse_reference(reader, event, path, "tags (!)");
}

/* A new reference; NULL, already reported, if reading can't go on. */
static json_t *read_value(struct reader *reader, const yaml_event_t *event, int line, const char *path)
{
    if (depth_of(path) > MM_YAML_DEPTH_MAX)
        return stop(reader, line, path, "nested too deeply");
    if (++reader->n_values > MM_YAML_VALUES_MAX)
        return stop(reader, line, path, "too many values in one file");
    if (!keep_line(reader, path, line))
        return stop(reader, line, path, "out of memory");
    check_properties(reader, event, path);
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, event, path);
    case YAML_SEQUENCE_START_EVENT:
        return read_sequence(reader, line, path);
    case YAML_MAPPING_START_EVENT:
        return read_mapping(reader, line, path);
    case YAML_ALIAS_EVENT:
        refuse_reference(reader, event, path, "aliases (*)");
        return json_null();
    default:
        return stop(reader, line, path, "not YAML: a value is missing");
    }
}

static bool expect(struct reader *reader, yaml_event_type_t type, const char *reason)
{
    mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
    if (!next_event(reader, &event))
        return false;
    return event.type == type || stop(reader, line_of(event.start_mark), "", reason);
}

static json_t *read_stream(struct reader *reader)
{
    if (!expect(reader, YAML_STREAM_START_EVENT, "not YAML") ||
        !expect(reader, YAML_DOCUMENT_START_EVENT, "the file is empty"))
        return NULL;
    mm_cleanup(yaml_event_delete) yaml_event_t event = {0};
    if (!next_event(reader, &event))
        return NULL;
    mm_cleanup(json_decref) json_t *root = read_value(reader, &event, line_of(event.start_mark), "");
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
        return stop(&reader, 0, "", "larger than 1 MiB") != NULL;
    mm_cleanup(json_decref) json_t *lines = json_object();
    mm_cleanup(free) char *name = strdup(file);
    if (!lines || !name || !yaml_parser_initialize(&reader.parser))
        return stop(&reader, 0, "", "out of memory") != NULL;
    mm_cleanup(yaml_parser_delete) yaml_parser_t *parser = &reader.parser;
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, data, length);
    reader.lines = lines;
    json_t *root = read_stream(&reader);
    if (root)
        *ret_document = (struct mm_document){.file = MM_TAKE(name), .root = root, .lines = MM_TAKE(lines)};
    return root && problems->n_errors == n_errors;
}

int mm_document_line(const struct mm_document *document, const char *path)
{
    mm_cleanup(free) char *ancestor = document->lines ? strdup(path) : NULL;
    while (ancestor) {
        const json_t *line = json_object_get(document->lines, ancestor);
        if (line)
            return (int)json_integer_value(line);
        char *slash = strrchr(ancestor, '/');
        if (!slash)
            return 0;
        *slash = '\0';
    }
    return 0;
}

void mm_document_clear(struct mm_document *document)
{
    free(document->file);
    json_decref(document->root);
    json_decref(document->lines);
    *document = (struct mm_document){0};
}
