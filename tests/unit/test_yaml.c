/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/yaml.h"

#define FILE_NAME "test.yaml"

static bool parse_bytes(const void *data, size_t length, struct mm_document *document, struct mm_problems *problems)
{
    /* A copy of the exact size, so that reading past the end shows. */
    mm_cleanup(free) char *exact = malloc(length ? length : 1);
    memcpy(exact, data, length);
    return mm_yaml_parse(FILE_NAME, exact, length, document, problems);
}

static json_t *root_of(const char *text)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_true(parse_bytes(text, strlen(text), &document, &problems));
    assert_int_equal(problems.n, 0);
    return MM_TAKE(document.root);
}

static void assert_reads_as(const char *text, const char *json)
{
    mm_cleanup(json_decref) json_t *root = root_of(text);
    mm_cleanup(free) char *dumped = mm_json_compact(root, NULL);
    assert_string_equal(dumped, json);
}

/* Parsing `text` finds exactly one problem: on `line`, and its reason holds `words`. */
static void assert_refused(const char *text, size_t length, int line, const char *words)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_false(parse_bytes(text, length, &document, &problems));
    assert_int_equal(problems.n_errors, 1);
    assert_string_equal(problems.items[0].file, FILE_NAME);
    if (!strstr(problems.items[0].reason, words) || problems.items[0].line != line)
        fail_msg("%s: line %d: %s (wanted line %d, %s)", text, problems.items[0].line, problems.items[0].reason, line,
                 words);
}

static void only_plain_integers_booleans_and_null_are_typed(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        const char *json;
    } CASES[] = {
        {"1", "1"},
        {"0", "0"},
        {"-5", "-5"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "\"9223372036854775808\""},
        {"\"1\"", "\"1\""},
        {"'1'", "\"1\""},
        {"|\n  1\n", "\"1\\n\""},
        {"01", "\"01\""},
        {"-0", "\"-0\""},
        {"+1", "\"+1\""},
        {"0x10", "\"0x10\""},
        {"1.5", "\"1.5\""},
        {"1e3", "\"1e3\""},
        {"1_000", "\"1_000\""},
        {"-", "[null]"},
        {"true", "true"},
        {"false", "false"},
        {"\"true\"", "\"true\""},
        {"True", "\"True\""},
        {"yes", "\"yes\""},
        {"no", "\"no\""},
        {"on", "\"on\""},
        {"off", "\"off\""},
        {"null", "null"},
        {"~", "null"},
        {"''", "\"\""},
        {"Null", "\"Null\""},
        {"10m", "\"10m\""},
        {"2026-11-24", "\"2026-11-24\""},
        {"a:", "{\"a\":null}"},
        {"true: 1", "{\"true\":1}"},
        {"{a: 1, \"b\": [x, 2]}", "{\"a\":1,\"b\":[\"x\",2]}"},
        {"---\na: b\n...\n", "{\"a\":\"b\"}"},
        {"# only a comment\na: ä\n", "{\"a\":\"ä\"}"},
        {"\xef\xbb\xbf"
         "a: 1",
         "{\"a\":1}"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_reads_as(CASES[i].yaml, CASES[i].json);
}

static void every_value_knows_its_line(void **state)
{
    (void)state;
    static const char TEXT[] = "a: 1\n"
                               "list:\n"
                               "  - x\n"
                               "  -\n"
                               "    k: v\n"
                               "    long: |\n"
                               "      one\n"
                               "      two\n"
                               "a/b~c:\n"
                               "  d: 2\n";
    static const struct {
        const char *path;
        int line;
    } CASES[] = {
        {"", 1},          {"/a", 1},           {"/list", 2},         {"/list/0", 3},     {"/list/1", 5},
        {"/list/1/k", 5}, {"/list/1/long", 6}, {"/a~1b~0c", 9},      {"/a~1b~0c/d", 10}, {"/list/1/gone", 5},
        {"/list/9", 2},   {"/nothing", 1},     {"/list/1/k/x/y", 5},
    };
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_true(parse_bytes(TEXT, strlen(TEXT), &document, &problems));
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_int_equal(mm_document_line(&document, CASES[i].path), CASES[i].line);
    struct mm_document without_lines = {.root = document.root};
    assert_int_equal(mm_document_line(&without_lines, "/a"), 0);
}

static void lines_are_those_of_the_first_of_a_duplicate(void **state)
{
    (void)state;
    static const char TEXT[] = "a: {x: 1}\nb:\n  c: 1\n  a: [1, 2]\na: {y: [1, 2], z: {w: 1}}\nd: 5\ne:\n  a: 8\n";
    static const struct {
        const char *path;
        int line;
    } CASES[] = {{"/a", 1}, {"/a/x", 1}, {"/a/y", 1}, {"/b/a/1", 4}, {"/d", 6}, {"/e", 7}, {"/e/a", 8}};
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_false(parse_bytes(TEXT, strlen(TEXT), &document, &problems));
    assert_int_equal(problems.n_errors, 1);
    assert_int_equal(problems.items[0].line, 5);
    assert_non_null(strstr(problems.items[0].reason, "first on line 1"));
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_int_equal(mm_document_line(&document, CASES[i].path), CASES[i].line);
    /* What is added later has no line of its own. */
    assert_int_equal(json_object_set_new(document.root, "f", json_integer(1)), 0);
    assert_int_equal(mm_document_line(&document, "/f"), 1);
}

static void what_a_reviewer_could_misread_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int line;
        const char *words;
    } CASES[] = {
        {"a: 1\nb: &x 2\n", 2, "anchors"},
        {"a:\n  - 1\n  - &x\n    k: v\n", 3, "anchors"},
        {"a: 1\nb: *x\n", 2, "aliases"},
        {"a: 1\nb: {<<: *x}\n", 2, "aliases"},
        {"a: 1\nb: !!str 2\n", 2, "tags"},
        {"a: 1\nb: ! 2\n", 2, "tags"},
        {"a: 1\nb: !mine [2]\n", 2, "tags"},
        {"a: 1\n&x b: 2\n", 2, "no anchor"},
        {"a: 1\n!!str b: 2\n", 2, "no anchor and no tag"},
        {"a: 1\nb: 2\n\na: 3\n", 4, "duplicate key ‹a›, first on line 1"},
        {"x:\n  \"k\": 1\n  'k': 2\n", 3, "duplicate key ‹k›, first on line 2"},
        {"a: 1\n? [x, y]\n: 2\n", 2, "plain text"},
        {"a: 1\n? {x: y}\n: 2\n", 2, "plain text"},
        {"a: 1\n*x : 2\n", 2, "plain text"},
        {"a: 1\n? \n: 2\n", 2, "between 1 and 128"},
        {"a: 1\n---\nb: 2\n", 2, "more than one document"},
        {"", 1, "empty"},
        {"# nothing\n", 2, "empty"},
        {"a: \"x\\0y\"\n", 1, "NUL"},
        {"a: 1\n\"k\\0\": 1\n", 2, "NUL"},
        {"a: [1,\nb: 2\n", 2, "not YAML"},
        {"a: 1\n\tb: 2\n", 2, "not YAML"},
        {"a: 1\n b: 2\n", 2, "not YAML"},
        {"a: 'x\n", 1, "not YAML"},
        {"a: 1\nb: @x\n", 2, "not YAML"},
        {"a: \"\\ud800\"\n", 1, "not YAML"},
        {"%YAML 3.0\n---\na: 1\n", 1, "not YAML"},
        {"a: 1\nb: \x01\n", 2, "not YAML"},
        {"a: 1\nb: 2\nc: \xff\n", 3, "not YAML"},
        {"a: \xc0\xaf\n", 1, "not YAML"},
        {"\xff\xfe"
         "a\0:\0",
         1, "not YAML"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_refused(CASES[i].yaml, strlen(CASES[i].yaml), CASES[i].line, CASES[i].words);
    assert_refused("a: 1\nb: x\0y\n", 11, 2, "not YAML");
    static const char UTF_16[] = "\xff\xfe"
                                 "a\0:\0 \0b\0\n";
    assert_refused(UTF_16, sizeof UTF_16, 1, "not YAML");
}

static void an_alias_bomb_is_refused_before_it_grows(void **state)
{
    (void)state;
    static const char BOMB[] = "a: &a [x, x, x, x, x, x, x, x, x]\n"
                               "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
                               "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
                               "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
                               "e: [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n";
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_false(parse_bytes(BOMB, strlen(BOMB), &document, &problems));
    assert_int_equal(problems.n_errors, 4 + 4 * 9);
    for (size_t i = 0; i < problems.n; i++)
        assert_in_range(problems.items[i].line, 1, 5);
    for (size_t i = 0; i < 9; i++)
        assert_true(json_is_null(json_array_get(json_object_get(document.root, "e"), i)));
}

static void a_recursive_alias_is_refused(void **state)
{
    (void)state;
    static const char TEXT[] = "a: &a\n  b: *a\n";
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_false(parse_bytes(TEXT, strlen(TEXT), &document, &problems));
    assert_int_equal(problems.n_errors, 2);
}

static void every_duplicate_is_listed_and_the_first_value_stays(void **state)
{
    (void)state;
    static const char TEXT[] = "a: 1\na: 2\nb: 1\nb: {c: 1, c: 2}\n";
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_false(parse_bytes(TEXT, strlen(TEXT), &document, &problems));
    assert_int_equal(problems.n_errors, 3);
    assert_int_equal(problems.items[0].line, 2);
    assert_int_equal(problems.items[1].line, 4);
    assert_int_equal(problems.items[2].line, 4);
    assert_int_equal(mm_json_integer(document.root, "a", 0), 1);
    assert_int_equal(mm_json_integer(document.root, "b", 0), 1);
    assert_int_equal(mm_document_line(&document, "/a"), 1);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char text[256] = "";
    memset(text, '[', MM_YAML_DEPTH_MAX - 1);
    text[MM_YAML_DEPTH_MAX - 1] = '1';
    memset(text + MM_YAML_DEPTH_MAX, ']', MM_YAML_DEPTH_MAX - 1);
    mm_cleanup(json_decref) json_t *root = root_of(text);
    assert_true(json_is_array(root));
    memset(text, '[', MM_YAML_DEPTH_MAX);
    text[MM_YAML_DEPTH_MAX] = '1';
    memset(text + MM_YAML_DEPTH_MAX + 1, ']', MM_YAML_DEPTH_MAX);
    assert_refused(text, strlen(text), 1, "nested too deeply");
}

static void a_megabyte_of_open_brackets_ends_quickly(void **state)
{
    (void)state;
    size_t length = MM_YAML_FILE_MAX;
    mm_cleanup(free) char *text = malloc(length);
    memset(text, '[', length);
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_false(parse_bytes(text, length, &document, &problems));
    assert_int_equal(problems.n_errors, 1);
    memset(text, '-', length);
    for (size_t i = 1; i < length; i += 2)
        text[i] = ' ';
    assert_false(parse_bytes(text, length, &document, &problems));
}

static void size_keys_and_number_of_values_are_bounded(void **state)
{
    (void)state;
    size_t length = MM_YAML_FILE_MAX + 1;
    mm_cleanup(free) char *text = malloc(length);
    memset(text, ' ', length);
    assert_refused(text, length, 0, "larger than 1 MiB");
    memset(text, 'k', length);
    (void)stpcpy(text + MM_YAML_KEY_MAX, ": 1");
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_true(parse_bytes(text, MM_YAML_KEY_MAX + 3, &document, &problems));
    (void)stpcpy(text + MM_YAML_KEY_MAX, "k: 1");
    assert_refused(text, MM_YAML_KEY_MAX + 4, 1, "128 bytes");
    for (size_t i = 0; i + 4 < length; i += 4)
        (void)stpcpy(text + i, "- x\n");
    assert_refused(text, (size_t)4 * MM_YAML_VALUES_MAX, MM_YAML_VALUES_MAX, "too many values");
}

/* A small generator of its own, so that a failure can be had again. */
static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void mutated_files_end_in_a_value_or_a_problem(void **state)
{
    (void)state;
    static const char CORPUS[] = "tenant: acme\nmax_ttl: 15m\naccounts:\n  - {id: a, mtls: {x: \"y\\u00e4\"}}\n"
                                 "  - id: 'b'\n    n: [1, -2, true, ~]\n    t: |\n      x\n    u: >-\n      y\n";
    static const char ALPHABET[] = "&*!|>'\"[]{}:,-?%@#\\\n\t a0\xc3\xff";
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof CORPUS];
        memcpy(text, CORPUS, sizeof CORPUS);
        size_t length = sizeof CORPUS - 1 - next_random(&seed) % 20;
        for (uint32_t n = 1 + next_random(&seed) % 4; n > 0; n--)
            text[next_random(&seed) % length] = ALPHABET[next_random(&seed) % sizeof ALPHABET];
        mm_cleanup(mm_document_clear) struct mm_document document = {0};
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        bool is_clean = parse_bytes(text, length, &document, &problems);
        assert_int_equal(is_clean, problems.n_errors == 0);
        assert_true(!is_clean || document.root);
        for (size_t i = 0; i < problems.n; i++)
            assert_in_range(problems.items[i].line, 1, 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_plain_integers_booleans_and_null_are_typed),
        cmocka_unit_test(every_value_knows_its_line),
        cmocka_unit_test(lines_are_those_of_the_first_of_a_duplicate),
        cmocka_unit_test(what_a_reviewer_could_misread_is_refused_with_its_line),
        cmocka_unit_test(an_alias_bomb_is_refused_before_it_grows),
        cmocka_unit_test(a_recursive_alias_is_refused),
        cmocka_unit_test(every_duplicate_is_listed_and_the_first_value_stays),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(a_megabyte_of_open_brackets_ends_quickly),
        cmocka_unit_test(size_keys_and_number_of_values_are_bounded),
        cmocka_unit_test(mutated_files_end_in_a_value_or_a_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
