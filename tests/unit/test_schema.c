/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/schema.h"

static const char *check_shout(const char *string)
{
    return strchr(string, '!') ? NULL : "must hold a !";
}

static const char *check_key(const char *string)
{
    return string[0] == 'k' ? NULL : "must start with a k";
}

static const char *const COLOURS[] = {"red", "green", NULL};
static const struct mm_schema WORD = {.type = MM_SCHEMA_STRING, .min = 2, .max = 4};
static const struct mm_schema DURATION = {.type = MM_SCHEMA_DURATION, .min = 60, .max = 3600};
static const struct mm_schema INNER[] = {
    {.name = "must", .type = MM_SCHEMA_INTEGER, .presence = MM_REQUIRED, .min = -1, .max = 5},
    {0},
};
static const struct mm_schema MEMBERS[] = {
    {.name = "one", .type = MM_SCHEMA_INTEGER, .min = 1, .max = 1},
    {.name = "no", .type = MM_SCHEMA_BOOLEAN},
    {.name = "least", .type = MM_SCHEMA_INTEGER, .min = 3},
    {.name = "text", .type = MM_SCHEMA_STRING},
    {.name = "flag", .type = MM_SCHEMA_BOOLEAN},
    {.name = "ttl", .type = MM_SCHEMA_DURATION, .min = 60, .max = 3600},
    {.name = "colour", .type = MM_SCHEMA_STRING, .one_of = COLOURS},
    {.name = "shout", .type = MM_SCHEMA_STRING, .check = check_shout},
    {.name = "words", .type = MM_SCHEMA_ARRAY, .min = 1, .max = 3, .element = &WORD, .repeats = MM_REPEATS_REFUSED},
    {.name = "ttls", .type = MM_SCHEMA_ARRAY, .element = &DURATION},
    {.name = "map", .type = MM_SCHEMA_MAP, .max = 2, .key_check = check_key, .element = &DURATION},
    {.name = "inner", .type = MM_SCHEMA_OBJECT, .members = INNER},
    {0},
};
static const struct mm_schema SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = MEMBERS};

static bool validate(const char *yaml, struct mm_document *document, struct mm_problems *problems)
{
    assert_true(mm_yaml_parse("s.yaml", yaml, strlen(yaml), document, problems));
    return mm_schema_validate(&SCHEMA, document, problems);
}

static void a_violation_is_told_with_its_line_and_pointer(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int line;
        const char *path;
        const char *reason;
    } CASES[] = {
        {"text: x\ncolor: red\n", 2, "/color", "unknown key ‹color›: did you mean ‹colour›?"},
        {"text: x\nflog: true\n", 2, "/flog", "unknown key ‹flog›: did you mean ‹flag›?"},
        {"text: x\nabcdefgh: 1\n", 2, "/abcdefgh", "unknown key ‹abcdefgh›"},
        {"x/y~: 1\n", 1, "/x~1y~0", "unknown key ‹x/y~›"},
        {"zz: 1\n", 1, "/zz", "unknown key ‹zz›"},
        {"text: x\ninner:\n\n  {}\n", 2, "/inner/must", "missing key ‹must›"},
        {"inner: {must: 6}\n", 1, "/inner/must", "‹must› must be at most 5"},
        {"inner: {must: -2}\n", 1, "/inner/must", "‹must› must be at least -1"},
        {"one: 2\n", 1, "/one", "‹one› must be 1"},
        {"least: 2\n", 1, "/least", "‹least› must be at least 3"},
        {"one: \"1\"\n", 1, "/one", "‹one› must be an integer"},
        {"one: 1.0\n", 1, "/one", "‹one› must be an integer"},
        {"one: true\n", 1, "/one", "‹one› must be an integer"},
        {"one:\n", 1, "/one", "‹one› must be an integer"},
        {"text: 1\n", 1, "/text", "‹text› must be a string: put it in quotes"},
        {"text: []\n", 1, "/text", "‹text› must be a string"},
        {"flag: yes\n", 1, "/flag", "‹flag› must be true or false"},
        {"words: cat\n", 1, "/words", "‹words› must be a list"},
        {"words: []\n", 1, "/words", "‹words› must have at least 1 items"},
        {"words: [ab, cd, ef, gh]\n", 1, "/words", "‹words› must have at most 3 items"},
        {"words:\n  - ab\n  - c\n", 3, "/words/1", "‹words[1]› must have at least 2 bytes"},
        {"words:\n  - abcde\n", 2, "/words/0", "‹words[0]› must have at most 4 bytes"},
        {"words:\n  - ab\n  - cd\n  - ab\n", 4, "/words/2", "‹words› repeats ‹ab›"},
        {"ttl: 59s\n", 1, "/ttl", "‹ttl› must be at least 1m"},
        {"ttl: 2h\n", 1, "/ttl", "‹ttl› must be at most 1h"},
        {"ttl: 10\n", 1, "/ttl", "‹ttl› must be a duration such as 30s, 10m, 1h or 1d"},
        {"ttl: 1h30m\n", 1, "/ttl", "‹ttl› must be a duration such as 30s, 10m, 1h or 1d"},
        {"ttl: -5m\n", 1, "/ttl", "‹ttl› must be a duration such as 30s, 10m, 1h or 1d"},
        {"ttls: [1m,\n  1x]\n", 2, "/ttls/1", "‹ttls[1]› must be a duration such as 30s, 10m, 1h or 1d"},
        {"colour: blue\n", 1, "/colour", "‹colour› must be one of red, green"},
        {"shout: hm\n", 1, "/shout", "‹shout› must hold a !"},
        {"map:\n  ka: 1m\n  b: 1m\n", 3, "/map/b", "‹b› must start with a k"},
        {"map:\n  ka: x\n", 2, "/map/ka", "‹ka› must be a duration such as 30s, 10m, 1h or 1d"},
        {"map: {ka: 1m, kb: 1m, kc: 1m}\n", 1, "/map", "‹map› must have at most 2 items"},
        {"inner: []\n", 1, "/inner", "‹inner› must be an object"},
        {"[]\n", 1, "", "the document must be an object"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(mm_document_clear) struct mm_document document = {0};
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        assert_false(validate(CASES[i].yaml, &document, &problems));
        assert_int_equal(problems.n_errors, 1);
        assert_string_equal(problems.items[0].reason, CASES[i].reason);
        assert_string_equal(problems.items[0].path, CASES[i].path);
        assert_int_equal(problems.items[0].line, CASES[i].line);
        assert_string_equal(problems.items[0].file, "s.yaml");
    }
}

static void every_violation_is_told_in_the_documents_order(void **state)
{
    (void)state;
    static const int LINES[] = {1, 2, 3, 5, 4};
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_false(validate("ttl: x\none: 3\nnope: 1\ninner:\n  musst: 1\n", &document, &problems));
    assert_int_equal(problems.n_errors, MM_ARRAY_SIZE(LINES));
    for (size_t i = 0; i < MM_ARRAY_SIZE(LINES); i++)
        assert_int_equal(problems.items[i].line, LINES[i]);
}

static void durations_become_seconds_in_place(void **state)
{
    (void)state;
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_true(validate("ttl: 10m\nttls: [60s, 1h]\nmap: {ka: 2m, kb: 1h}\n", &document, &problems));
    mm_cleanup(free) char *text = mm_json_compact(document.root, NULL);
    assert_string_equal(text, "{\"ttl\":600,\"ttls\":[60,3600],\"map\":{\"ka\":120,\"kb\":3600}}");
}

static void a_request_body_has_pointers_and_no_lines(void **state)
{
    (void)state;
    static const char BODY[] = "{\"text\": 1, \"wrong\": {}, \"words\": [\"ab\", \"a\\u0000\"]}";
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *root = json_loads(BODY, JSON_ALLOW_NUL, NULL);
    struct mm_document document = {.root = root};
    assert_false(mm_schema_validate(&SCHEMA, &document, &problems));
    assert_int_equal(problems.n_errors, 3);
    assert_null(problems.items[0].file);
    assert_int_equal(problems.items[0].line, 0);
    assert_string_equal(problems.items[0].path, "/text");
    assert_string_equal(problems.items[0].reason, "‹text› must be a string");
    assert_string_equal(problems.items[1].path, "/wrong");
    assert_string_equal(problems.items[2].path, "/words/1");
    assert_string_equal(problems.items[2].reason, "‹words[1]› holds a NUL character");
}

static void strings_and_lists_have_a_cap_of_their_own(void **state)
{
    (void)state;
    static const struct mm_schema ANY = {.type = MM_SCHEMA_STRING};
    static const struct mm_schema ANY_LIST = {.type = MM_SCHEMA_ARRAY, .element = &ANY};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *list = json_array();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(json_array_append_new(list, json_string("x")), 0);
    struct mm_document document = {.root = list};
    assert_true(mm_schema_validate(&ANY_LIST, &document, &problems));
    assert_int_equal(json_array_append_new(list, json_string("x")), 0);
    assert_false(mm_schema_validate(&ANY_LIST, &document, &problems));
    mm_cleanup(free) char *text = malloc(4098);
    memset(text, 'x', 4097);
    text[4097] = '\0';
    mm_cleanup(json_decref) json_t *string = json_string(text);
    document.root = string;
    assert_false(mm_schema_validate(&ANY, &document, &problems));
    text[4096] = '\0';
    assert_int_equal(json_string_set(string, text), 0);
    assert_true(mm_schema_validate(&ANY, &document, &problems));
}

static void a_value_that_was_refused_before_is_not_judged_again(void **state)
{
    (void)state;
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    static const char TEXT[] = "text: *x\none: 2\n";
    assert_false(mm_yaml_parse("s.yaml", TEXT, strlen(TEXT), &document, &problems));
    assert_false(mm_schema_validate(&SCHEMA, &document, &problems));
    assert_int_equal(problems.n_errors, 2);
    assert_string_equal(problems.items[1].path, "/one");
}

static void hundreds_of_unknown_keys_stay_within_the_cap(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *root = json_object();
    for (int i = 0; i < 3 * MM_PROBLEMS_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "unknown%d", i);
        assert_int_equal(json_object_set_new(root, name, json_null()), 0);
    }
    struct mm_document document = {.root = root};
    assert_false(mm_schema_validate(&SCHEMA, &document, &problems));
    assert_int_equal(problems.n, MM_PROBLEMS_MAX);
    assert_int_equal(problems.n_errors, 3 * MM_PROBLEMS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_violation_is_told_with_its_line_and_pointer),
        cmocka_unit_test(every_violation_is_told_in_the_documents_order),
        cmocka_unit_test(durations_become_seconds_in_place),
        cmocka_unit_test(a_request_body_has_pointers_and_no_lines),
        cmocka_unit_test(strings_and_lists_have_a_cap_of_their_own),
        cmocka_unit_test(a_value_that_was_refused_before_is_not_judged_again),
        cmocka_unit_test(hundreds_of_unknown_keys_stay_within_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
