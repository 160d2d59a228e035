/* SPDX-License-Identifier: Apache-2.0 */
/* The hash chain: pinned against values computed outside this tree, and every way a row can fail to continue it. */
#include "ledger/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "util/base64url.h"

static const char FIRST[] = "{\"type\":\"ledger.created\",\"time\":1}";
static const char SECOND[] = "{\"type\":\"token.issued\",\"time\":2,\"account\":\"acme/ci\",\"jti\":\"j\"}";

static struct mm_bytes bytes_of(const char *text)
{
    return (struct mm_bytes){text, strlen(text)};
}

static struct mm_store_row second_row(void)
{
    return (struct mm_store_row){
        .sequence = 2, .bytes = bytes_of(SECOND), .type = "token.issued", .time = 2, .account = "acme/ci", .jti = "j"};
}

static void hash_is_sha256_of_tag_previous_sequence_and_bytes(void **state)
{
    (void)state;
    const struct mm_store_head empty = {0};
    char hex[2 * MM_SHA256_LENGTH + 1];
    struct mm_store_head head = mm_chain_next(&empty, bytes_of(FIRST));
    mm_hex_encode(head.hash, sizeof head.hash, hex);
    assert_int_equal(head.sequence, 1);
    assert_string_equal(hex, "534cf89d4521733580f128cc539a8421e1655be5dcb0ce436b0751b9e6ec72be");
    head = mm_chain_next(&head, bytes_of(SECOND));
    mm_hex_encode(head.hash, sizeof head.hash, hex);
    assert_int_equal(head.sequence, 2);
    assert_string_equal(hex, "a503ce5389bae54037180b64d32174a7686f27641784e786edc737ea2faf06b0");
}

static void row_that_continues_the_chain_is_followed(void **state)
{
    (void)state;
    const struct mm_store_head empty = {0};
    struct mm_store_head head = mm_chain_next(&empty, bytes_of(FIRST));
    struct mm_store_head next = mm_chain_next(&head, bytes_of(SECOND));
    struct mm_store_row row = second_row();
    memcpy(row.hash, next.hash, sizeof row.hash);
    struct mm_error err = {0};
    assert_true(mm_chain_follow(&head, &row, &err));
    assert_memory_equal(&head, &next, sizeof head);
}

static void each_flipped_bit_of_hash_or_bytes_breaks_the_chain(void **state)
{
    (void)state;
    const struct mm_store_head empty = {0};
    const struct mm_store_head head = mm_chain_next(&empty, bytes_of(FIRST));
    const struct mm_store_head next = mm_chain_next(&head, bytes_of(SECOND));
    char text[sizeof SECOND];
    for (size_t bit = 0; bit < 8 * (sizeof SECOND - 1 + MM_SHA256_LENGTH); bit++) {
        struct mm_store_row row = second_row();
        memcpy(text, SECOND, sizeof text);
        memcpy(row.hash, next.hash, sizeof row.hash);
        row.bytes.data = text;
        size_t at = bit / 8;
        uint8_t *target = at < sizeof SECOND - 1 ? (uint8_t *)&text[at] : &row.hash[at - (sizeof SECOND - 1)];
        *target ^= (uint8_t)(1U << bit % 8);
        struct mm_store_head at_head = head;
        struct mm_error err = {0};
        assert_false(mm_chain_follow(&at_head, &row, &err));
        assert_int_equal(err.code, MM_LEDGER_CORRUPT);
        assert_memory_equal(&at_head, &head, sizeof head);
    }
}

static void bytes_moved_between_entry_and_sequence_hash_differently(void **state)
{
    (void)state;
    struct mm_store_head a = {.sequence = 0};
    struct mm_store_head b = {.sequence = 1};
    a = mm_chain_next(&a, bytes_of(SECOND));
    b = mm_chain_next(&b, bytes_of(SECOND));
    assert_memory_not_equal(a.hash, b.hash, sizeof a.hash);
}

static void sequence_that_skips_or_repeats_is_refused(void **state)
{
    (void)state;
    const struct mm_store_head empty = {0};
    const int64_t wrong[] = {-1, 0, 1, 3, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < MM_ARRAY_SIZE(wrong); i++) {
        struct mm_store_head head = mm_chain_next(&empty, bytes_of(FIRST));
        struct mm_store_head as_if = {.sequence = wrong[i] == INT64_MIN ? INT64_MAX : wrong[i] - 1};
        memcpy(as_if.hash, head.hash, sizeof as_if.hash);
        struct mm_store_row row = second_row();
        row.sequence = wrong[i];
        struct mm_error err = {0};
        assert_false(mm_chain_follow(&head, &row, &err));
        assert_int_equal(err.code, MM_LEDGER_CORRUPT);
        assert_non_null(strstr(err.message, "entry 2 is missing"));
    }
}

static void expect_columns_refused(struct mm_store_row row, const char *why)
{
    struct mm_error err = {0};
    assert_false(mm_chain_check_columns(&row, &err));
    assert_int_equal(err.code, MM_LEDGER_CORRUPT);
    assert_non_null(strstr(err.message, "entry 2: "));
    assert_non_null(strstr(err.message, why));
}

static void columns_that_say_what_the_bytes_say_pass(void **state)
{
    (void)state;
    struct mm_error err = {0};
    struct mm_store_row row = second_row();
    assert_true(mm_chain_check_columns(&row, &err));
    row = (struct mm_store_row){.sequence = 1, .bytes = bytes_of(FIRST), .type = "ledger.created", .time = 1};
    assert_true(mm_chain_check_columns(&row, &err));
}

static void column_that_differs_from_the_bytes_is_refused(void **state)
{
    (void)state;
    struct mm_store_row row = second_row();
    row.type = "token.refused";
    expect_columns_refused(row, "type");
    row = second_row();
    row.time++;
    expect_columns_refused(row, "time");
    row = second_row();
    row.account = "acme/other";
    expect_columns_refused(row, "account");
    row.account = NULL;
    expect_columns_refused(row, "account");
    row = second_row();
    row.jti = NULL;
    expect_columns_refused(row, "jti");
    row.jti = "";
    expect_columns_refused(row, "jti");
}

static void index_for_a_member_that_is_not_there_is_refused(void **state)
{
    (void)state;
    struct mm_store_row row = {
        .sequence = 2, .bytes = bytes_of(FIRST), .type = "ledger.created", .time = 1, .account = "acme/ci"};
    expect_columns_refused(row, "account");
}

static void bytes_that_are_no_json_object_are_refused(void **state)
{
    (void)state;
    const char *const broken[] = {"", "{", "[]", "null", "\"type\"", "{\"type\":\"a\",\"type\":\"token.issued\"}"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(broken); i++) {
        struct mm_store_row row = second_row();
        row.bytes = bytes_of(broken[i]);
        expect_columns_refused(row, "JSON object");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_is_sha256_of_tag_previous_sequence_and_bytes),
        cmocka_unit_test(row_that_continues_the_chain_is_followed),
        cmocka_unit_test(each_flipped_bit_of_hash_or_bytes_breaks_the_chain),
        cmocka_unit_test(bytes_moved_between_entry_and_sequence_hash_differently),
        cmocka_unit_test(sequence_that_skips_or_repeats_is_refused),
        cmocka_unit_test(columns_that_say_what_the_bytes_say_pass),
        cmocka_unit_test(column_that_differs_from_the_bytes_is_refused),
        cmocka_unit_test(index_for_a_member_that_is_not_there_is_refused),
        cmocka_unit_test(bytes_that_are_no_json_object_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
