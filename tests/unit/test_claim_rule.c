/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/claim_rule.h"
#include "policy/glob.h"
#include "policy/shared_issuer.h"

#define GITHUB "https://token.actions.githubusercontent.com"
#define OTHER  "https://ci.acme.example"

struct glob_case {
    const char *pattern;
    const char *text;
    bool matches;
};

static void a_pattern_stands_for_whole_segments_and_the_whole_text(void **state)
{
    (void)state;
    static const struct glob_case CASES[] = {
        {"refs/heads/main", "refs/heads/main", true},
        {"refs/heads/main", "refs/heads/main2", false},
        {"refs/heads/main", "refs/heads/mai", false},
        {"refs/heads/main", "xrefs/heads/main", false},
        {"refs/heads/main", "refs/heads/main/", false},
        {"refs/heads/main", "refs:heads:main", false},
        {"refs/heads/main", "REFS/HEADS/MAIN", false},
        {"refs/heads/*", "refs/heads/main", true},
        {"refs/heads/*", "refs/heads/", false},
        {"refs/heads/*", "refs/heads", false},
        {"refs/heads/*", "refs/heads/feature/x", false},
        {"refs/heads/*", "refs/heads/feature:x", false},
        {"refs/heads/*", "/refs/heads/main", false},
        {"refs/heads/**", "refs/heads/main", true},
        {"refs/heads/**", "refs/heads/feature/x:y", true},
        {"refs/heads/**", "refs/heads/", false},
        {"refs/heads/**", "refs/heads", false},
        {"refs/heads/**", "refs/heads/a//b", false},
        {"refs/heads/**", "refs/heads/a/", false},
        {"*/main", "heads/main", true},
        {"*/main", "a/heads/main", false},
        {"repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main", true},
        {"repo:acme/*:ref:refs/heads/main", "repo:acme/app/x:ref:refs/heads/main", false},
        {"repo:acme/*:ref:refs/heads/main", "repo:acme-evil/app:ref:refs/heads/main", false},
        {"repo:acme/*:ref:refs/heads/main", "repo:acme/app:environment:ref:refs/heads/main", false},
        {"repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main\n", false},
        {"acme",
         "\xd0\xb0"
         "cme",
         false},                                /* a Cyrillic a */
        {"acme", "acme\xe2\x80\x8b", false},    /* a zero-width space */
        {"caf\xc3\xa9", "cafe\xcc\x81", false}, /* composed and not */
        {"", "", true},
        {"a/*", "a/*", true}, /* a star is a name like any other */
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        if (mm_glob_matches(CASES[i].pattern, CASES[i].text) != CASES[i].matches)
            fail_msg("%s and %s", CASES[i].pattern, CASES[i].text);
}

static void stars_for_parts_of_segments_are_refused(void **state)
{
    (void)state;
    static const char *const GOOD[] = {"a", "a/*", "*/a", "a/*/b", "a:*:b", "a/**", "*:a/**", "acme/"};
    static const char *const BAD[] = {"acme*", "*acme", "a*b", "a/b*", "a/**/b", "**/a",
                                      "a/***", "*",     "**",  "*/*",  "/",      ""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(GOOD); i++)
        if (mm_check_glob(GOOD[i]))
            fail_msg("%s", GOOD[i]);
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        if (!mm_check_glob(BAD[i]))
            fail_msg("%s", BAD[i]);
}

static void a_pattern_covers_what_it_matches_of_another(void **state)
{
    (void)state;
    static const struct glob_case CASES[] = {
        {"a/b", "a/b", true},    {"a/*", "a/b", true},  {"a/*", "a/*", true},      {"a/b", "a/*", false},
        {"a/**", "a/b/c", true}, {"a/**", "a/*", true}, {"a/**", "a/b/**", true},  {"a/*", "a/**", false},
        {"a/**", "a/b/", false}, {"a/*", "a:b", false}, {"a/*/c", "a/b/*", false}, {"a/*", "a/b/c", false},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        if (mm_glob_covers(CASES[i].pattern, CASES[i].text) != CASES[i].matches)
            fail_msg("%s and %s", CASES[i].pattern, CASES[i].text);
}

static void build(const char *json, const char *issuer, struct mm_claim_rules *ret_rules)
{
    mm_cleanup(json_decref) json_t *object = mm_json_parse(json, strlen(json), NULL);
    assert_non_null(object);
    assert_true(mm_claim_rules_build(object, issuer, ret_rules, NULL));
}

struct rule_case {
    const char *rules;
    const char *claims;
    const char *why; /* part of what is said; NULL: it matches */
};

static void assert_case(const char *issuer, const struct rule_case *expected)
{
    struct mm_claim_rules rules;
    struct mm_claim_mismatch why = {0};
    char reason[256] = "";
    build(expected->rules, issuer, &rules);
    mm_cleanup(json_decref) json_t *claims = mm_json_parse(expected->claims, strlen(expected->claims), NULL);
    assert_non_null(claims);
    bool matches = mm_claim_rules_match(&rules, claims, &why);
    if (!matches)
        (void)mm_claim_mismatch_format(&why, reason, sizeof reason);
    if (matches != !expected->why || (expected->why && !strstr(reason, expected->why)))
        fail_msg("%s with %s: %s", expected->rules, expected->claims, matches ? "matches" : reason);
    mm_claim_rules_clear(&rules);
}

static void every_claim_must_have_one_of_its_values(void **state)
{
    (void)state;
    static const struct rule_case CASES[] = {
        {"{\"a\": \"1\"}", "{\"a\": \"1\"}", NULL},
        {"{\"a\": \"1\"}", "{\"a\": \"1\", \"b\": 2}", NULL},
        {"{\"a\": \"1\"}", "{}", "a isn't there; it should be 1"},
        {"{\"a\": \"1\"}", "{\"A\": \"1\"}", "a isn't there"},
        {"{\"a\": \"1\"}", "{\"a\": \"2\"}", "a isn't 1"},
        {"{\"a\": \"1\"}", "{\"a\": \"1 \"}", "a isn't 1"},
        {"{\"a\": \"1\"}", "{\"a\": \"\"}", "a isn't 1"},
        {"{\"a\": \"1\", \"b\": \"x\"}", "{\"a\": \"1\", \"b\": \"y\"}", "b isn't x"},
        {"{\"a\": [\"1\", \"2\"]}", "{\"a\": \"2\"}", NULL},
        {"{\"a\": [\"1\", \"2\"]}", "{\"a\": \"3\"}", "a isn't 1 or 2"},
        {"{\"ref\": [\"refs/heads/main\", \"refs/tags/*\"]}", "{\"ref\": \"refs/tags/v1\"}", NULL},
        {"{\"ref\": [\"refs/heads/main\", \"refs/tags/*\"]}", "{\"ref\": \"refs/tags/v1/x\"}", "ref isn't"},
        /* numbers and booleans by their text */
        {"{\"a\": 4711}", "{\"a\": \"4711\"}", NULL},
        {"{\"a\": \"4711\"}", "{\"a\": 4711}", NULL},
        {"{\"a\": \"4711\"}", "{\"a\": 4711.0}", "nothing that could be"},
        {"{\"a\": \"4711\"}", "{\"a\": 4.711e3}", "nothing that could be"},
        {"{\"a\": \"4711\"}", "{\"a\": \"04711\"}", "a isn't 4711"},
        {"{\"a\": \"9223372036854775807\"}", "{\"a\": 9223372036854775807}", NULL},
        {"{\"a\": \"9223372036854775807\"}", "{\"a\": 9223372036854775806}", "a isn't"},
        {"{\"a\": \"1e400\"}", "{\"a\": \"1e400\"}", NULL},
        {"{\"a\": \"-1\"}", "{\"a\": -1}", NULL},
        {"{\"a\": true}", "{\"a\": true}", NULL},
        {"{\"a\": true}", "{\"a\": \"true\"}", NULL},
        {"{\"a\": true}", "{\"a\": 1}", "a isn't true"},
        {"{\"a\": \"null\"}", "{\"a\": null}", "nothing that could be"},
        {"{\"a\": \"x\"}", "{\"a\": {\"x\": 1}}", "nothing that could be"},
        /* lists match lists, and nothing else does */
        {"{\"groups\": [\"dev\"]}", "{\"groups\": [\"ops\", \"dev\"]}", NULL},
        {"{\"groups\": [\"dev\"]}", "{\"groups\": \"dev\"}", NULL},
        {"{\"groups\": \"dev\"}", "{\"groups\": [\"dev\"]}", "is a list"},
        {"{\"groups\": [\"dev\"]}", "{\"groups\": [\"ops\"]}", "groups isn't dev"},
        {"{\"groups\": [\"dev\"]}", "{\"groups\": []}", "nothing that could be"},
        {"{\"groups\": [\"dev\"]}", "{\"groups\": [[\"dev\"], {\"dev\": 1}, null]}", "nothing that could be"},
        {"{\"groups\": [1]}", "{\"groups\": [2, 1]}", NULL},
        /* inside others */
        {"{\"/realm/roles\": [\"dev\"]}", "{\"realm\": {\"roles\": [\"dev\"]}}", NULL},
        {"{\"/realm/roles\": [\"dev\"]}", "{\"realm\": {\"role\": [\"dev\"]}}", "isn't there"},
        {"{\"/realm/roles\": [\"dev\"]}", "{\"realm\": [\"roles\"]}", "isn't there"},
        {"{\"/realm/roles\": [\"dev\"]}", "{\"/realm/roles\": [\"dev\"]}", "isn't there"},
        {"{\"/kubernetes.io/serviceaccount/uid\": \"u\"}",
         "{\"kubernetes.io\": {\"serviceaccount\": {\"uid\": \"u\"}}}", NULL},
        {"{\"/a~1b/c~0d\": \"x\"}", "{\"a/b\": {\"c~d\": \"x\"}}", NULL},
        {"{\"https://x/roles\": \"dev\"}", "{\"https://x/roles\": \"dev\"}", NULL},
        /* names that only look alike */
        {"{\"org\": \"acme\"}", "{\"org\": \"\\u0430cme\"}", "org isn't acme"},
        {"{\"org\": \"acme\"}", "{\"org\": \"\\uff41cme\"}", "org isn't acme"},
        {"{\"org\": \"acme\"}", "{\"org\": \"ACME\"}", "org isn't acme"},
        {"{\"org\": \"acme\"}", "{\"org\": \"acme\\u200b\"}", "org isn't acme"},
        {"{\"org\": \"acme\"}", "{\"\\u043erg\": \"acme\"}", "org isn't there"},
        {"{\"sub\": \"system:serviceaccount:*:ci\"}", "{\"sub\": \"system:serviceaccount:a:b:ci\"}", "sub isn't"},
        {"{}", "{\"a\": 1}", "no claims are named"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_case(OTHER, &CASES[i]);
}

#define IDS ", \"repository_owner_id\": \"1\", \"repository_id\": 2}"

static void both_forms_of_githubs_subject_are_understood(void **state)
{
    (void)state;
    static const struct rule_case CASES[] = {
        {"{\"sub\": \"repo:o/r:ref:x\"}", "{\"sub\": \"repo:o/r:ref:x\"}", NULL},
        {"{\"sub\": \"repo:o/r:ref:x\"}", "{\"sub\": \"repo:o@1/r@2:ref:x\"}", NULL},
        {"{\"sub\": \"repo:o/r:ref:x\"}", "{\"sub\": \"repo:o@1/s@2:ref:x\"}", "sub isn't"},
        {"{\"sub\": \"repo:o/r:ref:x\"}", "{\"sub\": \"repo:o-evil@1/r@2:ref:x\"}", "sub isn't"},
        {"{\"sub\": \"repo:o/r:ref:x\"}", "{\"sub\": \"repo:o@evil/r@2:ref:x\"}", "sub isn't"},
        {"{\"sub\": \"repo:o/r:ref:x\"}", "{\"sub\": \"repo:o@@1/r@2:ref:x\"}", "sub isn't"},
        {"{\"sub\": \"repo:o@1/r@2:ref:x\"}", "{\"sub\": \"repo:o@1/r@2:ref:x\"}", NULL},
        {"{\"sub\": \"repo:o@1/r@2:ref:x\"}", "{\"sub\": \"repo:o@9/r@2:ref:x\"" IDS, "sub isn't"},
        {"{\"sub\": \"repo:o@1/r@2:ref:x\"}", "{\"sub\": \"repo:o@1/r@9:ref:x\"" IDS, "sub isn't"},
        {"{\"sub\": \"repo:o@1/r@2:ref:x\"}", "{\"sub\": \"repo:o/r:ref:x\"" IDS, NULL},
        {"{\"sub\": \"repo:o@1/r@3:ref:x\"}", "{\"sub\": \"repo:o/r:ref:x\"" IDS, "sub isn't"},
        {"{\"sub\": \"repo:o@1/r@2:ref:x\"}", "{\"sub\": \"repo:o/r:ref:x\"}", "has no id"},
        {"{\"sub\": \"repo:o@1/r@2:ref:x\"}", "{\"sub\": \"repo:o/r:ref:x\", \"repository_owner_id\": \"1\"}",
         "has no id"},
        {"{\"sub\": \"repo:o@1/r@2:ref:x\"}",
         "{\"sub\": \"repo:o/r:ref:x\", \"repository_owner_id\": \"1\", \"repository_id\": \"2:ref\"}", "has no id"},
        {"{\"sub\": \"repo:o@1/*:ref:x\"}", "{\"sub\": \"repo:o@1/r@2:ref:x\"}", NULL},
        {"{\"sub\": \"repo:o@1/*:ref:x\"}", "{\"sub\": \"repo:o/r:ref:x\"" IDS, NULL},
        {"{\"sub\": \"repo:o/*:ref:x\"}", "{\"sub\": \"repo:o@1/r@2:ref:x\"}", NULL},
        {"{\"sub\": \"repo:o/**\"}", "{\"sub\": \"repo:o@1/r@2:ref:refs/heads/x\"}", NULL},
        {"{\"sub\": \"repo:o/r:pull_request\"}", "{\"sub\": \"repo:o@1/r@2:pull_request\"}", NULL},
        {"{\"sub\": [\"repo:a/b:x\", \"repo:o@1/r@2:x\"]}", "{\"sub\": \"repo:o@1/r@2:x\"}", NULL},
        {"{\"sub\": \"environment:prod\"}", "{\"sub\": \"environment:prod\"}", NULL},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        assert_case(GITHUB, &CASES[i]);
}

static void no_other_issuers_subject_has_two_forms(void **state)
{
    (void)state;
    static const struct rule_case CASE = {"{\"sub\": \"repo:o/r:x\"}", "{\"sub\": \"repo:o@1/r@2:x\"}", "sub isn't"};
    assert_case(OTHER, &CASE);
}

static void rules_cover_others_that_ask_for_more(void **state)
{
    (void)state;
    static const struct {
        const char *wide;
        const char *narrow;
        bool covers;
    } CASES[] = {
        {"{\"a\": \"1\"}", "{\"a\": \"1\"}", true},
        {"{\"a\": \"1\"}", "{\"a\": 1, \"b\": \"2\"}", true},
        {"{\"a\": \"1\", \"b\": \"2\"}", "{\"a\": \"1\"}", false},
        {"{\"a\": [\"1\", \"2\"]}", "{\"a\": \"1\"}", true},
        {"{\"a\": \"1\"}", "{\"a\": [\"1\"]}", false},
        {"{\"a\": [\"1\", \"2\"]}", "{\"a\": [\"2\", \"3\"]}", false},
        {"{\"a\": \"x/*\"}", "{\"a\": \"x/y\"}", true},
        {"{\"sub\": \"repo:o/r:x\"}", "{\"sub\": \"repo:o@1/r@2:x\"}", true},
        {"{\"sub\": \"repo:o@1/r@2:x\"}", "{\"sub\": \"repo:o/r:x\"}", false},
        {"{}", "{\"a\": \"1\"}", false},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_claim_rules wide;
        struct mm_claim_rules narrow;
        build(CASES[i].wide, GITHUB, &wide);
        build(CASES[i].narrow, GITHUB, &narrow);
        if (mm_claim_rules_cover(&wide, &narrow) != CASES[i].covers)
            fail_msg("%s and %s", CASES[i].wide, CASES[i].narrow);
        mm_claim_rules_clear(&wide);
        mm_claim_rules_clear(&narrow);
    }
}

static void shared_issuers_are_known_with_what_follows_them(void **state)
{
    (void)state;
    static const char *const SHARED[] = {GITHUB,
                                         GITHUB "/acme-inc",
                                         "https://gitlab.com",
                                         "https://agent.buildkite.com",
                                         "https://oidc.circleci.com/org/0f",
                                         "https://app.terraform.io",
                                         "https://accounts.google.com",
                                         "https://oidc.vercel.com/acme",
                                         "https://api.bitbucket.org/2.0/workspaces/a/pipelines-config/identity/oidc"};
    static const char *const OWN[] = {GITHUB ".evil.example",          "https://gitlab.com.acme.example",
                                      "https://gitlab.com/x",          "https://gitlab.acme.example",
                                      "https://oidc.circleci.com/org", OTHER};
    for (size_t i = 0; i < MM_ARRAY_SIZE(SHARED); i++)
        if (!mm_shared_issuer_find(SHARED[i]))
            fail_msg("%s", SHARED[i]);
    for (size_t i = 0; i < MM_ARRAY_SIZE(OWN); i++)
        if (mm_shared_issuer_find(OWN[i]))
            fail_msg("%s", OWN[i]);
}

static void rules_on_a_shared_issuer_are_pinned_by_ids_alone(void **state)
{
    (void)state;
    static const struct {
        const char *issuer;
        const char *rules;
        bool is_pinned;
    } CASES[] = {
        {GITHUB, "{\"repository_id\": \"1\"}", true},
        {GITHUB, "{\"repository_owner_id\": [1, 2]}", true},
        {GITHUB, "{\"repository\": \"acme/app\"}", false},
        {GITHUB, "{\"repository_id\": [\"1\", \"x/*\"]}", false},
        {GITHUB, "{\"sub\": \"repo:acme/app:ref:refs/heads/main\"}", false},
        {GITHUB, "{\"sub\": \"repo:acme@1/app@2:ref:refs/heads/main\"}", true},
        {GITHUB, "{\"sub\": \"repo:acme@1/*:ref:refs/heads/main\"}", true},
        {GITHUB, "{\"sub\": [\"repo:acme@1/app@2:x\", \"repo:acme/app:x\"]}", false},
        {GITHUB "/acme", "{\"actor_id\": \"7\"}", false},
        {"https://gitlab.com", "{\"project_id\": \"7\"}", true},
        {"https://gitlab.com", "{\"project_path\": \"acme/app\"}", false},
        {"https://agent.buildkite.com", "{\"organization_slug\": \"acme\"}", false},
        {"https://agent.buildkite.com", "{\"organization_id\": \"0f\"}", true},
        {"https://oidc.circleci.com/org/0f", "{\"oidc.circleci.com/vcs-origin\": \"x\"}", true},
        {"https://accounts.google.com", "{\"email\": \"ci@acme.example\"}", false},
        {"https://accounts.google.com", "{\"sub\": \"123\"}", true},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct mm_claim_rules rules;
        build(CASES[i].rules, CASES[i].issuer, &rules);
        if (mm_shared_issuer_is_pinned(mm_shared_issuer_find(CASES[i].issuer), &rules) != CASES[i].is_pinned)
            fail_msg("%s %s", CASES[i].issuer, CASES[i].rules);
        mm_claim_rules_clear(&rules);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_stands_for_whole_segments_and_the_whole_text),
        cmocka_unit_test(stars_for_parts_of_segments_are_refused),
        cmocka_unit_test(a_pattern_covers_what_it_matches_of_another),
        cmocka_unit_test(every_claim_must_have_one_of_its_values),
        cmocka_unit_test(both_forms_of_githubs_subject_are_understood),
        cmocka_unit_test(no_other_issuers_subject_has_two_forms),
        cmocka_unit_test(rules_cover_others_that_ask_for_more),
        cmocka_unit_test(shared_issuers_are_known_with_what_follows_them),
        cmocka_unit_test(rules_on_a_shared_issuer_are_pinned_by_ids_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
