/* SPDX-License-Identifier: Apache-2.0 */
#include "token/readers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void each_reader_reads_the_keys_that_it_is_known_to_read(void **state)
{
    (void)state;
    static const struct {
        const char *reader;
        bool reads[MM_N_ALGORITHMS]; /* ES256, ES384, RS256, PS256, EdDSA */
    } CASES[] = {
        {"rsa", {false, false, true, true, false}},
        {"rfc7518", {true, true, true, true, false}},
        {"rfc8037", {true, true, true, true, true}},
        {"lore", {true, true, true, true, true}},
    };
    assert_int_equal(MM_ARRAY_SIZE(CASES), MM_N_READERS);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++)
        for (int algorithm = 0; algorithm < MM_N_ALGORITHMS; algorithm++) {
            enum mm_reader reader;
            assert_true(mm_reader_parse(CASES[i].reader, &reader));
            struct mm_error err = {0};
            if (mm_readers_check(mm_reader_bit(reader), (enum mm_algorithm)algorithm, &err) !=
                CASES[i].reads[algorithm])
                fail_msg("%s and %s", CASES[i].reader, MM_ALGORITHM_NAMES[algorithm]);
            assert_int_equal(err.code, CASES[i].reads[algorithm] ? MM_OK : MM_CONFIG_INVALID);
        }
}

static void the_weakest_of_several_readers_decides(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_reader_set readers = mm_reader_bit(MM_READER_LORE) | mm_reader_bit(MM_READER_RFC7518);
    assert_true(mm_readers_check(readers, MM_PS256, &err));
    assert_false(mm_readers_check(readers, MM_EDDSA, &err));
    assert_string_equal(err.message,
                        "verifiers that know RSA and EC keys alone (RFC 7518) (keys.readers: rfc7518) could "
                        "refuse the whole JWKS for one key of EdDSA");
}

static void an_unknown_reader_is_none(void **state)
{
    (void)state;
    enum mm_reader reader;
    assert_false(mm_reader_parse("Lore", &reader));
    assert_false(mm_reader_parse("", &reader));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reader_reads_the_keys_that_it_is_known_to_read),
        cmocka_unit_test(the_weakest_of_several_readers_decides),
        cmocka_unit_test(an_unknown_reader_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
