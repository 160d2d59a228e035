/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a proxy says of its client: one spelling is taken, and of addresses only the word of the proxy itself.
 */
#include "http/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

static struct mm_forwarded head_of(const char *certificate, const char *chain, const char *addresses)
{
    struct mm_forwarded forwarded = {0};
    if (certificate)
        mm_forwarded_add(&forwarded, "Client-Cert", strlen("Client-Cert"), certificate, strlen(certificate));
    if (chain)
        mm_forwarded_add(&forwarded, "CLIENT-CERT-CHAIN", strlen("Client-Cert-Chain"), chain, strlen(chain));
    if (addresses)
        mm_forwarded_add(&forwarded, "x-forwarded-for", strlen("X-Forwarded-For"), addresses, strlen(addresses));
    return forwarded;
}

static void assert_decoded(const char *certificate, const char *chain, size_t n, const char *all)
{
    struct mm_error err = {0};
    struct mm_forwarded_chain decoded;
    const struct mm_forwarded forwarded = head_of(certificate, chain, NULL);
    assert_true(mm_forwarded_check(&forwarded, &err));
    assert_true(mm_forwarded_decode(&forwarded, &decoded, &err));
    assert_int_equal(decoded.n, n);
    size_t length = 0;
    for (size_t i = 0; i < decoded.n; length += decoded.items[i++].length)
        assert_memory_equal(decoded.items[i].data, all + length, decoded.items[i].length);
    assert_int_equal(length, strlen(all));
}

static void a_certificate_and_its_chain_are_byte_sequences(void **state)
{
    (void)state;
    assert_decoded(NULL, NULL, 0, "");
    assert_decoded(":Zm9v:", NULL, 1, "foo");
    assert_decoded("  :Zm8=:\t", NULL, 1, "fo");
    assert_decoded(":Zg==:", "", 1, "f");
    assert_decoded(":Zm9v:", ":YmE=:", 2, "fooba");
    assert_decoded(":Zm9v:", ":YmE=: \t,  :cg==:,:Pz8/:", 4, "foobar???");
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",        ":",         "::",         ":Zm9v",          "Zm9v:",   "Zm9v",
        ":Zm9v::", ":Zm9v: x",  ":Zm9v:;a=1", ":Zm9v:, :Zm9v:", ":Zm8:",   ":Zm9=:",
        ":Zg=:",   ":Z===:",    ":====:",     ":Zm8=Zm8=:",     ":Zm 9v:", ": Zm9v:",
        ":Zm-_:",  ":Zm9\xc3:", "\":Zm9v:\"",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        struct mm_error err = {0};
        struct mm_forwarded_chain decoded;
        struct mm_forwarded forwarded = head_of(BAD[i], NULL, NULL);
        if (mm_forwarded_decode(&forwarded, &decoded, &err))
            fail_msg("taken: %s", BAD[i]);
        assert_int_equal(err.code, MM_INVALID_REQUEST);
        forwarded = head_of(":Zm9v:", BAD[i], NULL);
        bool is_list = !*BAD[i] || strcmp(BAD[i], ":Zm9v:, :Zm9v:") == 0;
        assert_int_equal(mm_forwarded_decode(&forwarded, &decoded, NULL), is_list);
    }
    static const char *const BAD_LISTS[] = {",", ":Zm9v:,", ",:Zm9v:", ":Zm9v: :Zm9v:", ":Zm9v:,,:Zm9v:"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD_LISTS); i++) {
        struct mm_forwarded_chain decoded;
        const struct mm_forwarded forwarded = head_of(":Zm9v:", BAD_LISTS[i], NULL);
        assert_false(mm_forwarded_decode(&forwarded, &decoded, NULL));
    }
}

static void no_more_is_taken_than_a_client_may_send(void **state)
{
    (void)state;
    struct mm_forwarded_chain decoded;
    char list[128] = ":Zm9v:";
    for (size_t n = 1; n < MM_CHAIN_MAX - 1; n++)
        (void)strcat(list, ",:Zm9v:");
    struct mm_forwarded forwarded = head_of(":Zm9v:", list, NULL);
    assert_true(mm_forwarded_decode(&forwarded, &decoded, NULL));
    assert_int_equal(decoded.n, MM_CHAIN_MAX);
    (void)strcat(list, ",:Zm9v:");
    forwarded = head_of(":Zm9v:", list, NULL);
    assert_false(mm_forwarded_decode(&forwarded, &decoded, NULL));

    static char large[MM_CHAIN_BYTES_MAX / 3 * 4 + 16];
    memset(large, 'A', sizeof large - 1);
    large[0] = ':';
    large[MM_CHAIN_BYTES_MAX / 3 * 4 + 1] = ':';
    large[MM_CHAIN_BYTES_MAX / 3 * 4 + 2] = '\0';
    forwarded = head_of(large, NULL, NULL);
    assert_true(mm_forwarded_decode(&forwarded, &decoded, NULL));
    forwarded = head_of(large, ":Zm9v:", NULL);
    assert_false(mm_forwarded_decode(&forwarded, &decoded, NULL));
    memset(large, 'A', sizeof large - 1);
    large[0] = ':';
    large[MM_CHAIN_BYTES_MAX / 3 * 4 + 5] = ':';
    large[MM_CHAIN_BYTES_MAX / 3 * 4 + 6] = '\0';
    forwarded = head_of(large, NULL, NULL);
    assert_false(mm_forwarded_decode(&forwarded, &decoded, NULL));
}

static void fields_that_come_twice_or_alone_are_refused(void **state)
{
    (void)state;
    struct mm_forwarded forwarded = head_of(":Zm9v:", ":Zm9v:", NULL);
    assert_true(mm_forwarded_check(&forwarded, NULL));
    mm_forwarded_add(&forwarded, "client-cert", strlen("client-cert"), ":Zm9v:", 6);
    assert_false(mm_forwarded_check(&forwarded, NULL));
    forwarded = head_of(":Zm9v:", ":Zm9v:", NULL);
    mm_forwarded_add(&forwarded, "Client-Cert-Chain", strlen("Client-Cert-Chain"), "", 0);
    assert_false(mm_forwarded_check(&forwarded, NULL));
    forwarded = head_of(NULL, ":Zm9v:", NULL);
    assert_false(mm_forwarded_check(&forwarded, NULL));
    forwarded = head_of(NULL, NULL, NULL);
    mm_forwarded_add(&forwarded, "Client_Cert", strlen("Client_Cert"), ":Zm9v:", 6);
    mm_forwarded_add(&forwarded, "X-Client-Cert", strlen("X-Client-Cert"), ":Zm9v:", 6);
    assert_null(forwarded.certificate);
}

static void assert_address(const char *field, const char *expected)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct sockaddr_storage address = {0};
    const struct mm_forwarded forwarded = head_of(NULL, NULL, field);
    if (!expected) {
        if (mm_forwarded_address(&forwarded, &address))
            fail_msg("taken: %s", field);
        return;
    }
    assert_true(mm_forwarded_address(&forwarded, &address));
    const void *bytes = address.ss_family == AF_INET ? (const void *)&((struct sockaddr_in *)&address)->sin_addr
                                                     : (const void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
    assert_non_null(inet_ntop(address.ss_family, bytes, text, sizeof text));
    assert_string_equal(text, expected);
}

static void an_address_is_the_last_that_the_proxy_wrote(void **state)
{
    (void)state;
    assert_address("192.0.2.1", "192.0.2.1");
    assert_address("10.0.0.1, 192.0.2.1:4711 ", "192.0.2.1");
    assert_address("unknown, 2001:db8::1", "2001:db8::1");
    assert_address("[2001:db8::1]", "2001:db8::1");
    assert_address("[2001:db8::1]:443", "2001:db8::1");
    assert_address("::ffff:192.0.2.1", "::ffff:192.0.2.1");
    static const char *const BAD[] = {
        "",
        "192.0.2.1,",
        "192.0.2.1, unknown",
        "192.0.2.1:",
        "192.0.2.1:x",
        "192.0.2.1:123456",
        "192.0.2.01",
        "[192.0.2.1]",
        "[2001:db8::1",
        "[::1]x",
        "[::1]:",
        "fe80::1%eth0",
        "for=1.2.3.4",
        "1.2.3.4 5",
        "\"[::1]\"",
        "1.2.3",
        "1.2.3.4, 1.2.3",
        "_hidden",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_address(BAD[i], NULL);
    assert_address(NULL, NULL);
    struct mm_forwarded forwarded = head_of(NULL, NULL, "192.0.2.1");
    mm_forwarded_add(&forwarded, "X-Forwarded-For", strlen("X-Forwarded-For"), "192.0.2.2", strlen("192.0.2.2"));
    struct sockaddr_storage address;
    assert_true(mm_forwarded_address(&forwarded, &address));
    assert_int_equal(ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr), 0xc0000202);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_and_its_chain_are_byte_sequences),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(no_more_is_taken_than_a_client_may_send),
        cmocka_unit_test(fields_that_come_twice_or_alone_are_refused),
        cmocka_unit_test(an_address_is_the_last_that_the_proxy_wrote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
