/* SPDX-License-Identifier: Apache-2.0 */
/* SPIFFE IDs taken apart: no id of one trust domain passes for another's. */
#include "policy/spiffe.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_path_is_told_of_ids_of_the_very_trust_domain(void **state)
{
    (void)state;
    assert_string_equal(mm_spiffe_path("spiffe://acme.example/ci/build", "acme.example"), "/ci/build");
    assert_string_equal(mm_spiffe_path("spiffe://acme.example", "acme.example"), "");
    assert_null(mm_spiffe_path("spiffe://acme.example.evil/ci", "acme.example"));
    assert_null(mm_spiffe_path("spiffe://acme/ci", "acme.example"));
    assert_null(mm_spiffe_path("spiffe:///ci", ""));
    assert_null(mm_spiffe_path("https://acme.example/ci", "acme.example"));
    assert_null(mm_spiffe_path("SPIFFE://acme.example/ci", "acme.example"));
}

static void nothing_is_no_spiffe_id(void **state)
{
    (void)state;
    assert_false(mm_is_spiffe_id(NULL));
    assert_false(mm_is_spiffe_id("spiffe:/acme.example"));
    assert_true(mm_is_spiffe_id("spiffe://acme.example"));
}

static void an_id_is_of_one_of_the_envelopes_trust_domains(void **state)
{
    char shorter[] = "acme.example";
    char longer[] = "acme.example.org";
    struct mm_trust_domain domains[] = {{.name = shorter}, {.name = longer}};
    const struct mm_envelope envelope = {.trust_domains = domains, .n_trust_domains = MM_ARRAY_SIZE(domains)};
    const struct mm_envelope none = {0};
    (void)state;
    assert_ptr_equal(mm_spiffe_trust_domain(&envelope, "spiffe://acme.example.org/ci"), &domains[1]);
    assert_ptr_equal(mm_spiffe_trust_domain(&envelope, "spiffe://acme.example/ci"), &domains[0]);
    assert_null(mm_spiffe_trust_domain(&envelope, "spiffe://other.example/ci"));
    assert_null(mm_spiffe_trust_domain(&none, "spiffe://acme.example/ci"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_told_of_ids_of_the_very_trust_domain),
        cmocka_unit_test(nothing_is_no_spiffe_id),
        cmocka_unit_test(an_id_is_of_one_of_the_envelopes_trust_domains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
