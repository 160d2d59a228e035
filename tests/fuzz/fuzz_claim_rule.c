/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules on claims against claims, three lines of JSON: two objects of rules and a payload. What matches is what a second reading of the rules says, and
 * what rules are said to cover they match.
 */
#include "fuzz.h"

#include <string.h>

#include "policy/claim_rule.h"
#include "policy/glob.h"

static const char GITHUB[] = "https://token.actions.githubusercontent.com";
static const char OTHER[] = "https://ci.acme.example";

/* One line of what is left of the input, as JSON; NULL if it isn't an object of it. */
static json_t *take_line(const char **text, size_t *size)
{
    const char *newline = *size ? memchr(*text, '\n', *size) : NULL;
    size_t length = newline ? (size_t)(newline - *text) : *size;
    json_t *json = *size ? mm_json_parse(*text, length, NULL) : NULL;
    *size -= newline ? length + 1 : length;
    *text += newline ? length + 1 : length;
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

static bool is_separator(char c)
{
    return c == '/' || c == ':' || c == '\0';
}

/* The same as mm_glob_matches(), by trying each length of what a star stands for. */
static bool matches_slowly(const char *pattern, const char *text)
{
    if (strcmp(pattern, "**") == 0) {
        size_t length = strlen(text);
        for (size_t i = 0; i <= length; i++)
            if (is_separator(text[i]) && (i == 0 || is_separator(text[i - 1])))
                return false;
        return true;
    }
    if (pattern[0] == '*' && is_separator(pattern[1])) {
        for (size_t n = 1; n <= strlen(text) && !is_separator(text[n - 1]); n++)
            if (is_separator(text[n]) && text[n] == pattern[1] &&
                (!text[n] || matches_slowly(pattern + 2, text + n + 1)))
                return true;
        return false;
    }
    size_t n = 0;
    while (!is_separator(pattern[n]))
        n++;
    if (strncmp(pattern, text, n) != 0 || pattern[n] != text[n])
        return false;
    return !pattern[n] || matches_slowly(pattern + n + 1, text + n + 1);
}

/* Of a rule and a value that is no list, where the subject has one form. */
static bool should_match(const struct mm_claim_rule *rule, const json_t *value)
{
    char number[MM_CLAIM_NUMBER_MAX];
    const char *text = mm_claim_text(value, number);
    for (size_t i = 0; text && i < rule->values.n; i++)
        if (matches_slowly(rule->values.items[i], text))
            return true;
    return false;
}

static void check_match(const struct mm_claim_rules *rules, const json_t *claims)
{
    struct mm_claim_mismatch why = {0};
    char reason[128];
    bool matches = mm_claim_rules_match(rules, claims, &why);
    bool should = rules->n > 0;
    for (size_t i = 0; i < rules->n; i++) {
        const json_t *value = mm_claim_find(claims, rules->items[i].name);
        bool any = !json_is_array(value) && should_match(&rules->items[i], value);
        for (size_t j = 0; rules->items[i].is_list && j < json_array_size(value); j++)
            any = any || should_match(&rules->items[i], json_array_get(value, j));
        should = should && any;
    }
    assert(matches == should);
    if (!matches)
        assert(strlen(mm_claim_mismatch_format(&why, reason, sizeof reason)) > 0);
}

static bool is_sound(const json_t *rules)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    const struct mm_document document = {.file = (char[]){"rules"}, .root = (json_t *)(uintptr_t)rules};
    mm_claim_rules_check(rules, &document, "", &problems);
    return problems.n_errors == 0 && json_object_size(rules) > 0 && json_object_size(rules) <= MM_CLAIM_RULES_MAX;
}

static void build(const json_t *json, const char *issuer, struct mm_claim_rules *ret_rules)
{
    bool is_built = mm_claim_rules_build(json, issuer, ret_rules, NULL);
    assert(is_built);
}

static void compare(const json_t *one, const json_t *other, const json_t *claims, const char *issuer)
{
    struct mm_claim_rules wide;
    struct mm_claim_rules narrow;
    build(one, issuer, &wide);
    build(other, issuer, &narrow);
    assert(mm_claim_rules_cover(&wide, &wide) && mm_claim_rules_cover(&narrow, &narrow));
    if (mm_claim_rules_cover(&wide, &narrow) && mm_claim_rules_match(&narrow, claims, NULL))
        assert(mm_claim_rules_match(&wide, claims, NULL));
    if (issuer == OTHER)
        check_match(&wide, claims);
    mm_cleanup(free) char *words = mm_claim_rules_describe(&wide);
    assert(words);
    mm_claim_rules_clear(&wide);
    mm_claim_rules_clear(&narrow);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    mm_cleanup(json_decref) json_t *one = take_line(&text, &size);
    mm_cleanup(json_decref) json_t *other = take_line(&text, &size);
    mm_cleanup(json_decref) json_t *claims = take_line(&text, &size);
    if (!one || !other || !claims || !is_sound(one) || !is_sound(other))
        return 0;
    compare(one, other, claims, OTHER);
    compare(one, other, claims, GITHUB);
    return 0;
}
