/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CAs in a trust domain's bundle: all of them, or the bundle is refused.
 */
#include "token/spiffe_bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "tests/support/make_certificate.h"

static struct test_certificate *root;
static char x5c[8192];

static int set_up(void **state)
{
    (void)state;
    root = make_ca("Workloads", NULL);
    assert_true(EVP_EncodeBlock((uint8_t *)x5c, root->der, (int)root->der_length) > 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_certificate_free(root);
    return 0;
}

static bool parse(const char *members, struct mm_trust **ret_roots, struct mm_error *err)
{
    char text[16384];
    (void)snprintf(text, sizeof text, "{\"spiffe_sequence\":1,\"keys\":[%s]}", members);
    return mm_spiffe_bundle_roots(text, strlen(text), ret_roots, err);
}

static char *key_with(const char *use, const char *more)
{
    char *text = NULL;
    assert_true(asprintf(&text, "{\"kty\":\"EC\",\"use\":\"%s\"%s}", use, more) > 0);
    return text;
}

static void roots_of_a_bundle_stand_behind_its_workloads(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_trust_free) struct mm_trust *roots = NULL;
    char more[9000];
    (void)snprintf(more, sizeof more, ",\"x5c\":[\"%s\"]", x5c);
    mm_cleanup(free) char *key = key_with("x509-svid", more);
    mm_cleanup(free) char *both = NULL;
    assert_true(asprintf(&both, "{\"kty\":\"EC\",\"use\":\"jwt-svid\",\"kid\":\"a\"},%s", key) > 0);
    assert_true(parse(both, &roots, &err));
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, "URI:spiffe://a.example/x");
    const struct mm_bytes der = test_certificate_der(leaf);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(&der, 1, &err);
    int64_t not_after;
    assert_true(mm_trust_verify(roots, certificate, TEST_NOW, &not_after, &err));
}

static void bundle_without_keys_for_x509_has_no_roots(void **state)
{
    (void)state;
    struct mm_trust *roots = NULL;
    assert_true(parse("", &roots, NULL));
    assert_null(roots);
    assert_true(parse("{\"use\":\"jwt-svid\",\"x5c\":[7]},3", &roots, NULL));
    assert_null(roots);
}

static void key_without_one_good_certificate_refuses_the_bundle(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(root, "DNS:a.example");
    char of_leaf[8192];
    assert_true(EVP_EncodeBlock((uint8_t *)of_leaf, leaf->der, (int)leaf->der_length) > 0);
    char several[17000];
    char no_ca[9000];
    char cut[9000];
    (void)snprintf(several, sizeof several, ",\"x5c\":[\"%s\",\"%s\"]", x5c, x5c);
    (void)snprintf(no_ca, sizeof no_ca, ",\"x5c\":[\"%s\"]", of_leaf);
    (void)snprintf(cut, sizeof cut, ",\"x5c\":[\"%.*s\"]", (int)strlen(x5c) - 4, x5c);
    const char *const BAD[] = {
        "",    ",\"x5c\":[]", ",\"x5c\":\"a\"",     ",\"x5c\":[\"\"]", ",\"x5c\":[\"AA==\"]", several,
        no_ca, cut,           ",\"x5c\":[\"A-_A\"]"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        struct mm_trust *roots = NULL;
        struct mm_error err = {0};
        mm_cleanup(free) char *key = key_with("x509-svid", BAD[i]);
        assert_false(parse(key, &roots, &err));
        assert_null(roots);
        assert_int_equal(err.code, MM_CONFIG_INVALID);
    }
    struct mm_trust *roots = NULL;
    assert_false(mm_spiffe_bundle_roots("{}", 2, &roots, NULL));
    assert_false(mm_spiffe_bundle_roots("[", 1, &roots, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_of_a_bundle_stand_behind_its_workloads),
        cmocka_unit_test(bundle_without_keys_for_x509_has_no_roots),
        cmocka_unit_test(key_without_one_good_certificate_refuses_the_bundle),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
