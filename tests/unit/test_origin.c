/* SPDX-License-Identifier: Apache-2.0 */
/* Where a URL leads: one spelling of a host, and no URL that two readers could take for different ones. */
#include "util/origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void a_url_leads_to_its_host(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"https://idp.example", "idp.example"},
        {"https://idp.example/", "idp.example"},
        {"https://idp.example:443/keys", "idp.example"},
        {"https://idp.example:8443/keys?p=a&b=/..//x", "idp.example:8443"},
        {"https://idp.example?p=https://other.example/", "idp.example"},
        {"https://idp.example/@other.example", "idp.example"},
        {"https://idp.example:4430", "idp.example:4430"},
        {"https://[::1]:8443/", "[::1]:8443"},
        {"https://127.0.0.1/", "127.0.0.1"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char host[MM_HOST_MAX];
        assert_true(mm_url_host(CASES[i][0], host));
        assert_string_equal(host, CASES[i][1]);
        assert_null(mm_check_url(CASES[i][0]));
        assert_null(mm_check_host(host));
    }
}

static void what_could_be_read_in_two_ways_is_no_url(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "",
        "https://",
        "http://idp.example",
        "HTTPS://idp.example",
        "https:/idp.example",
        "//idp.example",
        "https://IDP.example",
        "https://idp.example.",
        "https://user@idp.example",
        "https://idp.example@other.example",
        "https://idp.example:@other.example",
        "https://idp.example\\@other.example",
        "https://idp.example/\\other.example",
        "https://idp.example#@other.example",
        "https://idp.example/#x",
        "https://idp.example/a b",
        "https://idp.example/\t",
        "https://idp.example/\n",
        "https://idp.example/\xc3\xa9",
        "https://id%70.example/",
        "https://idp.example:/",
        "https://idp.example:0/",
        "https://idp.example:08443/",
        "https://idp.example:65536/",
        "https://idp.example:443:443/",
        "https://[::1/",
        "https://[]/",
        "https://[::1%25lo]/",
        "https://-idp.example/",
        "https://idp..example/",
        " https://idp.example/",
    };
    char host[MM_HOST_MAX];
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        if (mm_url_host(CASES[i], host))
            fail_msg("%s: %s", CASES[i], host);
        assert_non_null(mm_check_url(CASES[i]));
    }
}

static void a_url_has_a_length(void **state)
{
    (void)state;
    char host[MM_HOST_MAX];
    char url[MM_URL_MAX + 2];
    memset(url, 'a', sizeof url);
    memcpy(url, "https://idp.example/", strlen("https://idp.example/"));
    url[MM_URL_MAX] = '\0';
    assert_true(mm_url_host(url, host));
    url[MM_URL_MAX] = 'a';
    url[MM_URL_MAX + 1] = '\0';
    assert_false(mm_url_host(url, host));
}

static void the_longest_host_fits(void **state)
{
    (void)state;
    char host[MM_HOST_MAX];
    char url[512] = "https://";
    for (int i = 0; i < 63; i++)
        (void)strcat(url, "abc.");
    (void)strcat(url, "d:65535/");
    assert_true(mm_url_host(url, host));
    assert_int_equal(strlen(host), 253 + strlen(":65535"));
}

static void a_host_has_one_spelling(void **state)
{
    (void)state;
    static const char *const REFUSED[] = {"",          "IDP.example",  "idp.example:443",     "idp.example/",
                                          "*.example", "idp.example.", "https://idp.example", "idp.example:08443",
                                          "[::1]:443", "a b",          "idp.example:"};
    assert_null(mm_check_host("idp.example"));
    assert_null(mm_check_host("idp.example:8443"));
    assert_null(mm_check_host("[::1]:8443"));
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++)
        assert_non_null(mm_check_host(REFUSED[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_leads_to_its_host), cmocka_unit_test(what_could_be_read_in_two_ways_is_no_url),
        cmocka_unit_test(a_url_has_a_length),      cmocka_unit_test(the_longest_host_fits),
        cmocka_unit_test(a_host_has_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
