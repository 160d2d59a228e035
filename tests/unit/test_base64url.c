/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64url and hex: RFC 4648's vectors, and one spelling only for each byte string.
 */
#include "util/base64url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool decodes(const char *text)
{
    uint8_t out[64];
    size_t length;
    return mm_base64url_decode(text, strlen(text), out, &length);
}

static void encoding_matches_rfc_4648_without_padding(void **state)
{
    (void)state;
    static const char *const VECTORS[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "-__-"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(VECTORS); i++) {
        const char *plain = VECTORS[i][0];
        char text[32];
        mm_base64url_encode(plain, strlen(plain), text);
        assert_string_equal(text, VECTORS[i][1]);
        assert_int_equal(mm_base64url_length(strlen(plain)), strlen(text));
        uint8_t out[32];
        size_t length;
        assert_true(mm_base64url_decode(text, strlen(text), out, &length));
        assert_int_equal(length, strlen(plain));
        assert_memory_equal(out, plain, length);
    }
}

static void every_byte_survives_at_every_length(void **state)
{
    (void)state;
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 167);
    for (size_t length = 0; length <= sizeof bytes; length++) {
        char text[400];
        uint8_t out[256];
        size_t decoded;
        mm_base64url_encode(bytes, length, text);
        assert_true(mm_base64url_decode(text, strlen(text), out, &decoded));
        assert_int_equal(decoded, length);
        assert_memory_equal(out, bytes, length);
    }
}

static void other_spellings_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"Zg==", "Zm8=", "Z",      "Zm9vY", "Zh",          "Zm9",
                                      "+/8",  "Zm 9", "Zm9v\n", " Zm9",  "Zm9v\xc3\xa9"};
    assert_true(decodes("Zm9v"));
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_false(decodes(BAD[i]));
    uint8_t out[8];
    size_t length;
    assert_false(mm_base64url_decode("Zm9\0", 4, out, &length));
}

static void hex_is_lower_case_and_reads_either(void **state)
{
    (void)state;
    char text[9];
    mm_hex_encode("\x00\x7f\xab\xff", 4, text);
    assert_string_equal(text, "007fabff");
    uint8_t out[4];
    assert_true(mm_hex_decode("007FabFf", out, 4));
    assert_memory_equal(out, "\x00\x7f\xab\xff", 4);
}

static void hex_of_another_length_or_alphabet_is_refused(void **state)
{
    (void)state;
    uint8_t out[4];
    assert_false(mm_hex_decode("007fabf", out, 4));
    assert_false(mm_hex_decode("007fabff0", out, 4));
    assert_false(mm_hex_decode("007fabfg", out, 4));
    assert_false(mm_hex_decode("0x7fabff", out, 4));
    assert_false(mm_hex_decode("", out, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoding_matches_rfc_4648_without_padding),
        cmocka_unit_test(every_byte_survives_at_every_length),
        cmocka_unit_test(other_spellings_are_refused),
        cmocka_unit_test(hex_is_lower_case_and_reads_either),
        cmocka_unit_test(hex_of_another_length_or_alphabet_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
