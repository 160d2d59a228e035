/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 against FIPS 180-4's examples, and the two helpers beside it.
 */
#include "crypto/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void sha256_matches_its_standard(void **state)
{
    (void)state;
    char hex[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    mm_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    mm_sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void parts_hash_like_their_concatenation(void **state)
{
    (void)state;
    const struct mm_bytes parts[] = {{"a", 1}, {"", 0}, {"bc", 2}};
    uint8_t in_parts[MM_SHA256_LENGTH];
    uint8_t whole[MM_SHA256_LENGTH];
    mm_sha256_parts(parts, MM_ARRAY_SIZE(parts), in_parts);
    mm_sha256("abc", 3, whole);
    assert_memory_equal(in_parts, whole, sizeof whole);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    assert_true(MM_SYSTEM_RANDOM.fill(MM_SYSTEM_RANDOM.context, a, sizeof a));
    assert_true(MM_SYSTEM_RANDOM.fill(MM_SYSTEM_RANDOM.context, b, sizeof b));
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_matches_its_standard),
        cmocka_unit_test(parts_hash_like_their_concatenation),
        cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
