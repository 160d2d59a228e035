/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The YAML reader. What it takes has a line for every value, and reads the same when it is written as JSON, which is YAML too.
 */
#include "fuzz.h"

#include <string.h>

#include "util/yaml.h"

static size_t count_lines(const uint8_t *data, size_t size)
{
    size_t n = 2;                     /* libyaml has one more, at whose start the file ends */
    for (size_t i = 0; i < size; i++) /* a CR, NEL, LS or PS breaks lines too; no more of them than bytes */
        n += data[i] == '\n' || data[i] == '\r' || data[i] >= 0x80;
    return n;
}

/* From `least` on, in the document's order. The last line within the value. */
static int check_lines(const struct mm_document *document, const json_t *value, const char *path, int least,
                       size_t n_lines)
{
    int line = mm_document_line(document, path);
    assert(line >= least && line >= 1 && (size_t)line <= n_lines);
    for (size_t i = 0; i < json_array_size(value); i++) {
        mm_cleanup(free) char *child = mm_pointer_item(path, i);
        line = check_lines(document, json_array_get(value, i), child, line, n_lines);
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)value); at;
         at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        const char *name = json_object_iter_key(at);
        assert(strlen(name) >= 1 && strlen(name) <= MM_YAML_KEY_MAX);
        mm_cleanup(free) char *child = mm_pointer_child(path, name);
        line = check_lines(document, json_object_iter_value(at), child, line, n_lines);
    }
    return line;
}

/* libyaml reads neither DEL nor a pair of surrogates, which is how JSON escapes what lies beyond U+FFFF. */
static bool is_yaml_too(const char *json)
{
    return !strchr(json, 0x7f) && !strstr(json, "\\uD8") && !strstr(json, "\\uD9") && !strstr(json, "\\uDA") &&
           !strstr(json, "\\uDB");
}

static void check_written_again(const struct mm_document *document)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_document_clear) struct mm_document again = {0};
    mm_cleanup(free) char *json = json_dumps(document->root, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    assert(json);
    if (!is_yaml_too(json) || strlen(json) > MM_YAML_FILE_MAX)
        return;
    bool is_taken = mm_yaml_parse("again", json, strlen(json), &again, &problems);
    assert(is_taken && json_equal(document->root, again.root));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    bool is_taken = mm_yaml_parse("input", data, size, &document, &problems);
    assert(is_taken == (problems.n_errors == 0));
    assert(!is_taken || document.root);
    if (document.root)
        (void)check_lines(&document, document.root, "", 1, count_lines(data, size));
    if (is_taken)
        check_written_again(&document);
    return 0;
}
