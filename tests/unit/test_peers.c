/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which callers' certificates are remembered, and which go.
 */
#include "http/peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/make_certificate.h"

static struct mm_certificate *parse(const struct test_certificate *certificate)
{
    struct mm_bytes der = test_certificate_der(certificate);
    struct mm_certificate *parsed = mm_certificate_parse(&der, 1, NULL);
    assert_non_null(parsed);
    return parsed;
}

static bool is_known(struct mm_peers *peers, const struct test_certificate *certificate)
{
    struct mm_bytes der = test_certificate_der(certificate);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *found = mm_peers_find(peers, &der, 1);
    return found != NULL;
}

static void only_the_very_chain_that_was_remembered_is_found(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *ca = make_ca("CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *one = make_client(ca, "URI:spiffe://acme.example/one");
    mm_cleanup(test_certificate_free) struct test_certificate *other = make_client(ca, "URI:spiffe://acme.example/two");
    mm_cleanup(mm_peers_free) struct mm_peers *peers = mm_peers_new(NULL);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(one);
    assert_false(is_known(peers, one));
    mm_peers_remember(peers, certificate);
    assert_true(is_known(peers, one));
    assert_false(is_known(peers, other));
    const struct mm_bytes longer[] = {test_certificate_der(one), test_certificate_der(ca)};
    assert_null(mm_peers_find(peers, longer, 2));
}

static void remembering_twice_keeps_one(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *ca = make_ca("CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *client = make_client(ca, "URI:spiffe://acme.example/ci");
    mm_cleanup(mm_peers_free) struct mm_peers *peers = mm_peers_new(NULL);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *first = parse(client);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *second = parse(client);
    mm_peers_remember(peers, first);
    mm_peers_remember(peers, second);
    mm_peers_remember(peers, second);
    struct mm_bytes der = test_certificate_der(client);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *found = mm_peers_find(peers, &der, 1);
    assert_ptr_equal(found, first);
}

/* A caller may send anything beside its certificate, and something else each time. */
static void chains_of_one_leaf_take_one_place(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *ca = make_ca("CA", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *client = make_client(ca, "URI:spiffe://acme.example/ci");
    mm_cleanup(test_certificate_free) struct test_certificate *other = make_client(ca, "URI:spiffe://acme.example/it");
    mm_cleanup(mm_peers_free) struct mm_peers *peers = mm_peers_new(NULL);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *others = parse(other);
    mm_peers_remember(peers, others);
    for (size_t i = 0; i < MM_PEERS_MAX; i++) {
        mm_cleanup(test_certificate_free) struct test_certificate *junk = make_ca("Junk", NULL);
        const struct mm_bytes chain[] = {test_certificate_der(client), test_certificate_der(junk)};
        mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(chain, 2, NULL);
        mm_peers_remember(peers, certificate);
        mm_cleanup(mm_certificate_unref) struct mm_certificate *found = mm_peers_find(peers, chain, 2);
        assert_ptr_equal(found, certificate);
    }
    assert_true(is_known(peers, other));
    assert_false(is_known(peers, client));
}

static void the_least_lately_used_goes_first(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *ca = make_ca("CA", NULL);
    mm_cleanup(mm_peers_free) struct mm_peers *peers = mm_peers_new(NULL);
    struct test_certificate *clients[MM_PEERS_MAX + 1];
    for (size_t i = 0; i < MM_ARRAY_SIZE(clients); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "URI:spiffe://acme.example/%zu", i);
        clients[i] = make_client(ca, name);
    }
    for (size_t i = 0; i < MM_PEERS_MAX; i++) {
        mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = parse(clients[i]);
        mm_peers_remember(peers, certificate);
    }
    assert_true(is_known(peers, clients[0])); /* and so used lately */
    mm_cleanup(mm_certificate_unref) struct mm_certificate *last = parse(clients[MM_PEERS_MAX]);
    mm_peers_remember(peers, last);
    assert_true(is_known(peers, clients[0]));
    assert_false(is_known(peers, clients[1]));
    assert_true(is_known(peers, clients[MM_PEERS_MAX]));
    for (size_t i = 0; i < MM_ARRAY_SIZE(clients); i++)
        test_certificate_free(clients[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_very_chain_that_was_remembered_is_found),
        cmocka_unit_test(remembering_twice_keeps_one),
        cmocka_unit_test(chains_of_one_leaf_take_one_place),
        cmocka_unit_test(the_least_lately_used_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
