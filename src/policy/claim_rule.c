/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/claim_rule.h"

#include <stdio.h>
#include <string.h>

#include "policy/github_subject.h"
#include "policy/glob.h"
#include "policy/shared_issuer.h"
#include "policy/syntax.h"
#include "util/buffer.h"

enum {
    POINTER_NAME_MAX = 128, /* bytes of a member's name in a pointer */
    SUBJECT_MAX = 2048,
    DESCRIPTION_MAX = 65536,
};

/* Said by `issuer` and `audience`, or of the token and not of its subject. */
static const char *const NOT_OF_THE_SUBJECT[] = {"iss", "aud", "exp", "nbf", "iat", "jti"};

const struct mm_schema MM_CLAIM_VALUE_SCHEMA = {.type = MM_SCHEMA_ANY};

/* Whether each step has a name, and each tilde what it stands for (RFC 6901 section 3). */
static bool is_pointer(const char *name)
{
    for (const char *c = name; *c; c++)
        if ((*c == '/' && (c[1] == '/' || !c[1])) || (*c == '~' && c[1] != '0' && c[1] != '1'))
            return false;
    return true;
}

const char *mm_check_claim_name(const char *name)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(NOT_OF_THE_SUBJECT); i++)
        if (strcmp(name, NOT_OF_THE_SUBJECT[i]) == 0)
            return "isn't a claim to be matched: tokens are checked for it anyway";
    if (name[0] == '/' && !is_pointer(name))
        return "must be a claim's name, or the JSON pointer of one inside others, such as /realm/groups";
    return mm_check_line(name);
}

/* Of one member's name: `~1` is a slash and `~0` a tilde (RFC 6901 section 4). */
static const json_t *step_into(const json_t *value, const char *segment, size_t length)
{
    char name[POINTER_NAME_MAX + 1];
    size_t n = 0;
    if (length > POINTER_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < length; i++) {
        bool is_escape = segment[i] == '~' && i + 1 < length && (segment[i + 1] == '0' || segment[i + 1] == '1');
        name[n++] = (char)(!is_escape ? segment[i] : segment[i + 1] == '1' ? '/' : '~');
        i += is_escape;
    }
    name[n] = '\0';
    return json_object_get(value, name);
}

const json_t *mm_claim_find(const json_t *claims, const char *name)
{
    if (name[0] != '/')
        return json_object_get(claims, name);
    const json_t *value = claims;
    while (*name && value) {
        size_t length = strcspn(name + 1, "/");
        value = step_into(value, name + 1, length);
        name += 1 + length;
    }
    return value;
}

const char *mm_claim_text(const json_t *value, char buffer[MM_CLAIM_NUMBER_MAX])
{
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        return strlen(text) == json_string_length(value) ? text : NULL;
    }
    if (json_is_boolean(value))
        return json_is_true(value) ? "true" : "false";
    if (!json_is_integer(value))
        return NULL;
    (void)snprintf(buffer, MM_CLAIM_NUMBER_MAX, "%lld", (long long)json_integer_value(value));
    return buffer;
}

static bool any_matches(const struct mm_claim_rule *rule, const char *text)
{
    for (size_t i = 0; i < rule->values.n; i++)
        if (mm_glob_matches(rule->values.items[i], text))
            return true;
    return false;
}

static bool one_of_list_matches(const struct mm_claim_rule *rule, const json_t *list, struct mm_claim_mismatch *why)
{
    why->reason = MM_CLAIM_TYPE;
    for (size_t i = 0; i < json_array_size(list); i++) {
        char number[MM_CLAIM_NUMBER_MAX];
        const char *text = mm_claim_text(json_array_get(list, i), number);
        if (!text)
            continue;
        if (any_matches(rule, text))
            return true;
        why->reason = MM_CLAIM_OTHER;
    }
    return false;
}

static bool github_subject_matches(const struct mm_claim_rule *rule, const char *subject, const json_t *claims,
                                   struct mm_claim_mismatch *why)
{
    char owner[MM_CLAIM_NUMBER_MAX];
    char repository[MM_CLAIM_NUMBER_MAX];
    const struct mm_github_ids ids = {mm_claim_text(json_object_get(claims, "repository_owner_id"), owner),
                                      mm_claim_text(json_object_get(claims, "repository_id"), repository)};
    why->reason = MM_CLAIM_NO_ID;
    for (size_t i = 0; i < rule->values.n; i++) {
        char buffer[SUBJECT_MAX];
        const char *pattern = rule->values.items[i];
        const char *alike = mm_github_subject_like(pattern, subject, ids, buffer, sizeof buffer);
        if (alike && mm_glob_matches(pattern, alike))
            return true;
        if (alike)
            why->reason = MM_CLAIM_OTHER;
    }
    return false;
}

static bool is_github_subject(const struct mm_claim_rules *rules, const struct mm_claim_rule *rule)
{
    return rules->subject == MM_SUBJECT_GITHUB && strcmp(rule->name, "sub") == 0;
}

bool mm_claim_rule_is_literal(const struct mm_claim_rules *rules, const struct mm_claim_rule *rule)
{
    for (size_t i = 0; i < rule->values.n; i++)
        if (!mm_glob_is_literal(rule->values.items[i]))
            return false;
    return rule->values.n > 0 && !is_github_subject(rules, rule);
}

static bool rule_matches(const struct mm_claim_rules *rules, const struct mm_claim_rule *rule, const json_t *claims,
                         struct mm_claim_mismatch *why)
{
    const json_t *value = mm_claim_find(claims, rule->name);
    char number[MM_CLAIM_NUMBER_MAX];
    *why = (struct mm_claim_mismatch){.rule = rule, .reason = MM_CLAIM_MISSING};
    if (!value)
        return false;
    why->reason = MM_CLAIM_IS_LIST;
    if (json_is_array(value))
        return rule->is_list && one_of_list_matches(rule, value, why);
    const char *text = mm_claim_text(value, number);
    why->reason = MM_CLAIM_TYPE;
    if (!text)
        return false;
    if (is_github_subject(rules, rule))
        return github_subject_matches(rule, text, claims, why);
    why->reason = MM_CLAIM_OTHER;
    return any_matches(rule, text);
}

bool mm_claim_rules_match(const struct mm_claim_rules *rules, const json_t *claims, struct mm_claim_mismatch *ret_why)
{
    struct mm_claim_mismatch why = {0};
    bool matches = rules->n > 0;
    for (size_t i = 0; i < rules->n && matches; i++)
        matches = rule_matches(rules, &rules->items[i], claims, &why);
    if (!matches && ret_why)
        *ret_why = why;
    return matches;
}

static bool append_values(struct mm_buffer *text, const struct mm_claim_rule *rule)
{
    for (size_t i = 0; i < rule->values.n; i++)
        if (!mm_buffer_append_string(text, i ? " or " : "", NULL) ||
            !mm_buffer_append_string(text, rule->values.items[i], NULL))
            return false;
    return true;
}

const char *mm_claim_mismatch_format(const struct mm_claim_mismatch *why, char *buffer, size_t size)
{
    static const char *const REASONS[] = {
        [MM_CLAIM_MISSING] = "isn't there; it should be",
        [MM_CLAIM_OTHER] = "isn't",
        [MM_CLAIM_IS_LIST] = "is a list, and the rule isn't written as one:",
        [MM_CLAIM_TYPE] = "is nothing that could be",
        [MM_CLAIM_NO_ID] = "has no id, nor has the token, for",
    };
    mm_cleanup(mm_buffer_clear) struct mm_buffer values = mm_buffer_make(DESCRIPTION_MAX);
    if (!why->rule)
        (void)snprintf(buffer, size, "no claims are named");
    else if (!append_values(&values, why->rule))
        (void)snprintf(buffer, size, "%s doesn't match", why->rule->name);
    else
        (void)snprintf(buffer, size, "%s %s %s", why->rule->name, REASONS[why->reason], (const char *)values.data);
    return buffer;
}

const struct mm_claim_rule *mm_claim_rules_find(const struct mm_claim_rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->n; i++)
        if (strcmp(rules->items[i].name, name) == 0)
            return &rules->items[i];
    return NULL;
}

static bool any_covers(const struct mm_claim_rules *rules, const struct mm_claim_rule *wide, const char *narrow)
{
    static const struct mm_github_ids NOWHERE = {0};
    for (size_t i = 0; i < wide->values.n; i++) {
        char buffer[SUBJECT_MAX];
        const char *pattern = wide->values.items[i];
        const char *alike = is_github_subject(rules, wide)
                                ? mm_github_subject_like(pattern, narrow, NOWHERE, buffer, sizeof buffer)
                                : narrow;
        if (alike && mm_glob_covers(pattern, alike))
            return true;
    }
    return false;
}

static bool rule_covers(const struct mm_claim_rules *rules, const struct mm_claim_rule *wide,
                        const struct mm_claim_rule *narrow)
{
    if (narrow->is_list && !wide->is_list)
        return false;
    for (size_t i = 0; i < narrow->values.n; i++)
        if (!any_covers(rules, wide, narrow->values.items[i]))
            return false;
    return true;
}

bool mm_claim_rules_cover(const struct mm_claim_rules *wide, const struct mm_claim_rules *narrow)
{
    for (size_t i = 0; i < wide->n; i++) {
        const struct mm_claim_rule *rule = mm_claim_rules_find(narrow, wide->items[i].name);
        if (!rule || !rule_covers(wide, &wide->items[i], rule))
            return false;
    }
    return wide->n > 0;
}

static bool append_rule(struct mm_buffer *text, const struct mm_claim_rule *rule)
{
    return mm_buffer_append_string(text, text->length ? " and " : "", NULL) &&
           mm_buffer_append_string(text, rule->name, NULL) && mm_buffer_append_string(text, ": ", NULL) &&
           mm_buffer_append_string(text, rule->is_list ? "any of " : "", NULL) && append_values(text, rule);
}

char *mm_claim_rules_describe(const struct mm_claim_rules *rules)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(DESCRIPTION_MAX);
    if (!mm_buffer_append_string(&text, "", NULL))
        return NULL;
    for (size_t i = 0; i < rules->n; i++)
        if (!append_rule(&text, &rules->items[i]))
            return NULL;
    return (char *)MM_TAKE(text.data);
}

/* A list of texts of what is comparable in `json`, one value or a list of them. */
static bool build_values(const json_t *json, struct mm_strings *ret_values)
{
    size_t n = json_is_array(json) ? json_array_size(json) : 1;
    struct mm_strings values = {.items = calloc(n + 1, sizeof(char *))};
    if (!values.items)
        return false;
    for (size_t i = 0; i < n; i++) {
        char number[MM_CLAIM_NUMBER_MAX];
        const char *text = mm_claim_text(json_is_array(json) ? json_array_get(json, i) : json, number);
        if (!text)
            continue;
        values.items[values.n] = strdup(text);
        if (!values.items[values.n++]) {
            values.n--;
            mm_strings_clear(&values);
            return false;
        }
    }
    *ret_values = values;
    return true;
}

bool mm_claim_rules_build(const json_t *json, const char *issuer, struct mm_claim_rules *ret_rules,
                          struct mm_error *err)
{
    const struct mm_shared_issuer *shared = issuer ? mm_shared_issuer_find(issuer) : NULL;
    struct mm_claim_rules rules = {.items = calloc(json_object_size(json) + 1, sizeof *rules.items),
                                   .subject = shared ? mm_shared_issuer_subject(shared) : MM_SUBJECT_PLAIN};
    if (!rules.items)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    for (void *i = json_object_iter((json_t *)(uintptr_t)json); i;
         i = json_object_iter_next((json_t *)(uintptr_t)json, i)) {
        struct mm_claim_rule *rule = &rules.items[rules.n++];
        const json_t *value = json_object_iter_value(i);
        *rule = (struct mm_claim_rule){.name = strdup(json_object_iter_key(i)), .is_list = json_is_array(value)};
        if (!rule->name || !build_values(value, &rule->values)) {
            mm_claim_rules_clear(&rules);
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        }
    }
    *ret_rules = rules;
    return true;
}

void mm_claim_rules_clear(struct mm_claim_rules *rules)
{
    for (size_t i = 0; i < rules->n; i++) {
        free(rules->items[i].name);
        mm_strings_clear(&rules->items[i].values);
    }
    free(rules->items);
    *rules = (struct mm_claim_rules){0};
}

/* NULL if it can be compared with what is in tokens; else a reason that completes "‹name› …". */
static const char *find_fault(const json_t *value)
{
    char number[MM_CLAIM_NUMBER_MAX];
    const char *text = mm_claim_text(value, number);
    if (!text)
        return "must be a string, an integer, true or false, or a list of such";
    if (!*text || strlen(text) > MM_CLAIM_VALUE_LENGTH_MAX)
        return "must have between 1 and 512 bytes";
    const char *reason = mm_check_line(text);
    return reason ? reason : mm_check_glob(text);
}

static void check_value(const json_t *value, const struct mm_document *document, const char *path, const char *name,
                        struct mm_problems *problems)
{
    const char *reason = find_fault(value);
    if (reason)
        mm_problems_add(problems, document->file, mm_document_line(document, path), path, "‹%s› %s", name, reason);
}

static void check_claim(const json_t *value, const struct mm_document *document, const char *path, const char *name,
                        struct mm_problems *problems)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value)) {
        check_value(value, document, path, name, problems);
        return;
    }
    if (n == 0 || n > MM_CLAIM_VALUES_MAX)
        mm_problems_add(problems, document->file, mm_document_line(document, path), path,
                        "‹%s› must have between 1 and %d values", name, MM_CLAIM_VALUES_MAX);
    for (size_t i = 0; i < n; i++) {
        mm_cleanup(free) char *item = mm_pointer_item(path, i);
        check_value(json_array_get(value, i), document, item ? item : path, name, problems);
    }
}

void mm_claim_rules_check(const json_t *json, const struct mm_document *document, const char *path,
                          struct mm_problems *problems)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json, name, value)
    {
        mm_cleanup(free) char *child = mm_pointer_child(path, name);
        check_claim(value, document, child ? child : path, name, problems);
    }
}
