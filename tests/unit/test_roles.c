/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/roles.h"
#include "policy/rule.h"
#include "tests/support/make_certificate.h"

enum { SERVICE = 900, ALICE = 1001, BOB = 1002, STAFF = 50, OPERATORS = 60 };

static struct mm_role_holder HOLDERS[] = {
    {MM_ROLE_VIEWER, MM_HOLDER_GROUP, STAFF, (char[]){"group:staff"}, {{0}}},
    {MM_ROLE_VIEWER, MM_HOLDER_USER, ALICE, (char[]){"user:alice"}, {{0}}},
    {MM_ROLE_OPERATOR, MM_HOLDER_GROUP, OPERATORS, (char[]){"gid:60"}, {{0}}},
    {MM_ROLE_CUSTODIAN, MM_HOLDER_USER, BOB, (char[]){"uid:1002"}, {{0}}},
};
static const struct mm_roles ROLES = {HOLDERS, MM_ARRAY_SIZE(HOLDERS)};
static const struct mm_roles NOBODY = {NULL, 0};

static enum mm_role role_of(const struct mm_roles *roles, uid_t uid, gid_t first, gid_t second)
{
    const gid_t groups[] = {first, second};
    const struct mm_identity identity = {.uid = uid, .groups = groups, .n_groups = 2};
    return mm_roles_of(roles, &identity, SERVICE);
}

static void a_role_comes_from_the_user_or_any_of_its_groups(void **state)
{
    (void)state;
    assert_int_equal(role_of(&ROLES, 1003, STAFF, 1003), MM_ROLE_VIEWER);
    assert_int_equal(role_of(&ROLES, 1003, 1003, STAFF), MM_ROLE_VIEWER);
    assert_int_equal(role_of(&ROLES, 1003, 1003, OPERATORS), MM_ROLE_OPERATOR);
    assert_int_equal(role_of(&ROLES, ALICE, 1001, 1001), MM_ROLE_VIEWER);
    assert_int_equal(role_of(&ROLES, BOB, 1002, 1002), MM_ROLE_CUSTODIAN);
}

static void the_highest_of_several_roles_counts(void **state)
{
    (void)state;
    assert_int_equal(role_of(&ROLES, 1003, OPERATORS, STAFF), MM_ROLE_OPERATOR);
    assert_int_equal(role_of(&ROLES, BOB, STAFF, OPERATORS), MM_ROLE_CUSTODIAN);
    assert_int_equal(role_of(&ROLES, ALICE, OPERATORS, 1001), MM_ROLE_OPERATOR);
}

static void who_is_in_no_list_has_no_role(void **state)
{
    (void)state;
    assert_int_equal(role_of(&ROLES, 1003, 1003, 1003), MM_ROLE_NONE);
    assert_int_equal(role_of(&NOBODY, ALICE, STAFF, OPERATORS), MM_ROLE_NONE);
}

static void an_id_of_a_group_is_no_users_and_the_other_way_round(void **state)
{
    (void)state;
    assert_int_equal(role_of(&ROLES, STAFF, 1003, 1003), MM_ROLE_NONE);
    assert_int_equal(role_of(&ROLES, 1003, BOB, ALICE), MM_ROLE_NONE);
}

static void root_and_the_services_user_are_custodians_always(void **state)
{
    (void)state;
    assert_int_equal(role_of(&NOBODY, 0, 1, 1), MM_ROLE_CUSTODIAN);
    assert_int_equal(role_of(&NOBODY, SERVICE, 1, 1), MM_ROLE_CUSTODIAN);
    /* The group root is nobody. */
    assert_int_equal(role_of(&NOBODY, 1003, 0, 0), MM_ROLE_NONE);
}

static void a_user_that_the_lists_name_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(mm_roles_user_name(&ROLES, ALICE), "alice");
    assert_null(mm_roles_user_name(&ROLES, BOB));
    assert_null(mm_roles_user_name(&ROLES, STAFF));
}

static void roles_have_names(void **state)
{
    (void)state;
    assert_string_equal(mm_role_name(MM_ROLE_NONE), "none");
    assert_string_equal(mm_role_name(MM_ROLE_VIEWER), "viewer");
    assert_string_equal(mm_role_name(MM_ROLE_OPERATOR), "operator");
    assert_string_equal(mm_role_name(MM_ROLE_CUSTODIAN), "custodian");
}

static void a_holder_is_a_name_or_a_number(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum mm_holder_kind kind;
        const char *name;
        uint32_t id;
    } CASES[] = {
        {"user:alice", MM_HOLDER_USER, "alice", 0}, {"group:mint-ops", MM_HOLDER_GROUP, "mint-ops", 0},
        {"user:1001", MM_HOLDER_USER, "1001", 0},   {"group:ACME\\mint", MM_HOLDER_GROUP, "ACME\\mint", 0},
        {"uid:0", MM_HOLDER_USER, NULL, 0},         {"gid:4294967294", MM_HOLDER_GROUP, NULL, 4294967294},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        enum mm_holder_kind kind;
        const char *name = NULL;
        uint32_t id = 0;
        assert_null(mm_role_holder_parse(CASES[i].text, &kind, &name, &id));
        assert_int_equal(kind, CASES[i].kind);
        assert_int_equal(id, CASES[i].id);
        assert_int_equal(name == NULL, CASES[i].name == NULL);
        if (name)
            assert_string_equal(name, CASES[i].name);
        assert_null(mm_check_role_holder(CASES[i].text));
    }
}

static void anything_else_is_no_holder(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "",         "alice",   "user:",    "group:",         "uid:",           "gid:x",
        "uid:-1",   "uid:+1",  "uid: 1",   "uid:4294967295", "uid:4294967296", "gid:99999999999",
        "uid:0x10", "User:al", "user:a b", "user:a:b",       "user:\xc3\xa4",  "users:alice",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        if (!mm_check_role_holder(CASES[i]))
            fail_msg("taken: %s", CASES[i]);
    char longest[256] = "user:";
    memset(longest + 5, 'a', 128);
    assert_null(mm_check_role_holder(longest));
    memset(longest + 5, 'a', 129);
    assert_non_null(mm_check_role_holder(longest));
}

static void a_holder_may_be_a_client_certificate_in_the_words_of_tenants_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum mm_mtls_name name;
        const char *value;
    } CASES[] = {
        {"san_uri:spiffe://acme.example/alice", MM_MTLS_SAN_URI, "spiffe://acme.example/alice"},
        {"san_dns:Console.Acme.Example", MM_MTLS_SAN_DNS, "console.acme.example"},
        {"subject_dn:CN=Alice: custodian,O=Acme", MM_MTLS_SUBJECT_DN, "CN=Alice: custodian,O=Acme"},
        {"fingerprint:AB00000000000000000000000000000000000000000000000000000000000000", MM_MTLS_FINGERPRINT,
         "ab00000000000000000000000000000000000000000000000000000000000000"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        enum mm_holder_kind kind;
        const char *name = NULL;
        uint32_t id = 0;
        struct mm_mtls_rule rule = {0};
        assert_null(mm_role_holder_parse(CASES[i].text, &kind, &name, &id));
        assert_int_equal(kind, MM_HOLDER_CERTIFICATE);
        assert_true(mm_role_holder_rule(CASES[i].text, &rule, NULL));
        for (size_t j = 0; j < MM_MTLS_NAMES; j++)
            assert_int_equal(rule.names[j] != NULL, j == (size_t)CASES[i].name);
        assert_string_equal(rule.names[CASES[i].name], CASES[i].value);
        mm_mtls_rule_clear(&rule);
    }
}

static void a_certificate_that_nothing_could_match_is_no_holder(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "san_uri:",
        "san_uri:alice",
        "san_uri:spiffe://Acme.example/alice",
        "san_uri:spiffe://acme.example//alice",
        "san_dns:",
        "san_dns:*.acme.example",
        "subject_dn:",
        "subject_dn:CN=a\nb",
        "fingerprint:ab",
        "fingerprint:xy00000000000000000000000000000000000000000000000000000000000000",
        "sha256:ab00000000000000000000000000000000000000000000000000000000000000",
        "san_email:alice@acme.example",
        "SAN_URI:spiffe://acme.example/alice",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        if (!mm_check_role_holder(CASES[i]))
            fail_msg("taken: %s", CASES[i]);
    assert_non_null(mm_check_local_holder("san_uri:spiffe://acme.example/alice"));
    assert_null(mm_check_local_holder("group:staff"));
}

/* The text of the entry that gives a client with that SAN its role; NULL for none. */
static const char *holder_of(const struct mm_roles *roles, const char *alternative_names)
{
    mm_cleanup(test_certificate_free) struct test_certificate *ca = make_ca("Custodians", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *client = make_client(ca, alternative_names);
    const struct mm_bytes der = test_certificate_der(client);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(&der, 1, NULL);
    assert_non_null(certificate);
    const struct mm_role_holder *holder = mm_roles_holder(roles, certificate);
    return holder ? holder->text : NULL;
}

static void the_highest_role_that_names_a_certificate_counts(void **state)
{
    (void)state;
    struct mm_role_holder holders[] = {
        {MM_ROLE_CUSTODIAN, MM_HOLDER_USER, 0, (char[]){"user:root"}, {{0}}},
        {MM_ROLE_VIEWER, MM_HOLDER_CERTIFICATE, 0, (char[]){"san_dns:alice.example"}, {{0}}},
        {MM_ROLE_CUSTODIAN, MM_HOLDER_CERTIFICATE, 0, (char[]){"san_uri:spiffe://acme.example/alice"}, {{0}}},
        {MM_ROLE_OPERATOR, MM_HOLDER_CERTIFICATE, 0, (char[]){"san_dns:bob.example"}, {{0}}},
    };
    const struct mm_roles roles = {holders, MM_ARRAY_SIZE(holders)};
    for (size_t i = 1; i < roles.n; i++)
        assert_true(mm_role_holder_rule(holders[i].text, &holders[i].rule, NULL));
    assert_string_equal(holder_of(&roles, "DNS:alice.example"), "san_dns:alice.example");
    assert_string_equal(holder_of(&roles, "DNS:alice.example,URI:spiffe://acme.example/alice"),
                        "san_uri:spiffe://acme.example/alice");
    assert_string_equal(holder_of(&roles, "DNS:alice.example,DNS:bob.example"), "san_dns:bob.example");
    /* Whoever has two SPIFFE IDs has neither. */
    assert_null(holder_of(&roles, "URI:spiffe://acme.example/alice,URI:spiffe://acme.example/bob"));
    assert_null(holder_of(&roles, "URI:spiffe://acme.example/alice/laptop"));
    assert_null(holder_of(&roles, "DNS:root"));
    /* A process is never a certificate's entry, whatever its ids. */
    assert_int_equal(role_of(&roles, 1003, 1003, 0), MM_ROLE_NONE);
    for (size_t i = 1; i < roles.n; i++)
        mm_mtls_rule_clear(&holders[i].rule);
}

static void lists_are_the_same_if_they_give_the_same_roles(void **state)
{
    (void)state;
    struct mm_role_holder others[MM_ARRAY_SIZE(HOLDERS)];
    struct mm_roles other = {others, MM_ARRAY_SIZE(others)};
    memcpy(others, HOLDERS, sizeof others);
    others[0].text = NULL;
    assert_true(mm_roles_are_same_locally(&ROLES, &other));
    others[0].id++;
    assert_false(mm_roles_are_same_locally(&ROLES, &other));
    memcpy(others, HOLDERS, sizeof others);
    others[0].kind = MM_HOLDER_USER;
    assert_false(mm_roles_are_same_locally(&ROLES, &other));
    memcpy(others, HOLDERS, sizeof others);
    others[0].role = MM_ROLE_OPERATOR;
    assert_false(mm_roles_are_same_locally(&ROLES, &other));
    assert_false(mm_roles_are_same_locally(&ROLES, &NOBODY));
    assert_true(mm_roles_are_same_locally(&NOBODY, &NOBODY));
}

static void certificates_may_come_and_go_among_lists_that_are_the_same(void **state)
{
    (void)state;
    struct mm_role_holder others[MM_ARRAY_SIZE(HOLDERS) + 2] = {
        {MM_ROLE_VIEWER, MM_HOLDER_CERTIFICATE, 0, NULL, {{0}}}};
    struct mm_roles other = {others, MM_ARRAY_SIZE(others)};
    memcpy(others + 1, HOLDERS, sizeof HOLDERS);
    others[other.n - 1] = others[0];
    assert_true(mm_roles_are_same_locally(&ROLES, &other));
    assert_true(mm_roles_are_same_locally(&other, &ROLES));
    other.n -= 2;
    assert_false(mm_roles_are_same_locally(&ROLES, &other));
    other.n = 1;
    assert_true(mm_roles_are_same_locally(&NOBODY, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_role_comes_from_the_user_or_any_of_its_groups),
        cmocka_unit_test(the_highest_of_several_roles_counts),
        cmocka_unit_test(who_is_in_no_list_has_no_role),
        cmocka_unit_test(an_id_of_a_group_is_no_users_and_the_other_way_round),
        cmocka_unit_test(root_and_the_services_user_are_custodians_always),
        cmocka_unit_test(a_user_that_the_lists_name_has_a_name),
        cmocka_unit_test(roles_have_names),
        cmocka_unit_test(a_holder_is_a_name_or_a_number),
        cmocka_unit_test(anything_else_is_no_holder),
        cmocka_unit_test(lists_are_the_same_if_they_give_the_same_roles),
        cmocka_unit_test(a_holder_may_be_a_client_certificate_in_the_words_of_tenants_files),
        cmocka_unit_test(a_certificate_that_nothing_could_match_is_no_holder),
        cmocka_unit_test(the_highest_role_that_names_a_certificate_counts),
        cmocka_unit_test(certificates_may_come_and_go_among_lists_that_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
