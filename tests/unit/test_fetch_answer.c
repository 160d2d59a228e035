/* SPDX-License-Identifier: Apache-2.0 */
/* What a fetch ends with: whatever was written, mintmarkd reads a document, a reason, or that there is no answer. */
#include "fetch/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/buffer.h"

static struct mm_buffer write_answer(const struct mm_fetched *document, const void *data, size_t length)
{
    struct mm_buffer answer = mm_buffer_make(MM_FETCH_ANSWER_MAX + 16);
    uint8_t head[MM_FETCH_HEAD_LENGTH];
    mm_fetch_answer_head(document, length, head);
    assert_true(mm_buffer_append(&answer, head, sizeof head, NULL));
    assert_true(mm_buffer_append(&answer, data, length, NULL));
    return answer;
}

static void refuses(const void *data, size_t length, const char *why)
{
    struct mm_fetched fetched = {0};
    struct mm_error err = {0};
    assert_false(mm_fetch_answer_parse(data, length, &fetched, &err));
    assert_int_equal(err.code, MM_UNREACHABLE);
    assert_string_equal(err.message, why);
    assert_null(fetched.data);
}

static void a_document_arrives_as_it_was(void **state)
{
    (void)state;
    const struct mm_fetched document = {.max_age = 77};
    struct mm_fetched fetched;
    mm_cleanup(mm_buffer_clear) struct mm_buffer answer = write_answer(&document, "a\0b", 3);
    assert_true(mm_fetch_answer_parse(answer.data, answer.length, &fetched, NULL));
    assert_int_equal(fetched.length, 3);
    assert_memory_equal(fetched.data, "a\0b", 3);
    assert_int_equal(fetched.max_age, 77);
}

static void a_reason_arrives_in_printable_ascii(void **state)
{
    (void)state;
    mm_cleanup(mm_buffer_clear) struct mm_buffer answer = write_answer(NULL, "no\n\x1b[31m\xc3\xbc", 10);
    refuses(answer.data, answer.length, "no??[31m??");
}

static void an_end_too_early_is_no_document(void **state)
{
    (void)state;
    const struct mm_fetched document = {.max_age = 77};
    mm_cleanup(mm_buffer_clear) struct mm_buffer answer = write_answer(&document, "abc", 3);
    refuses("", 0, "the fetch ended without an answer");
    refuses(answer.data, MM_FETCH_HEAD_LENGTH - 1, "the fetch ended within its answer");
    for (size_t length = MM_FETCH_HEAD_LENGTH; length < answer.length; length++)
        refuses(answer.data, length, "the fetch gave an answer that is none");
}

static void what_is_no_answer_is_refused(void **state)
{
    (void)state;
    static const char NONE[] = "the fetch gave an answer that is none";
    static uint8_t large[MM_FETCH_ANSWER_MAX + 1];
    const struct mm_fetched older = {.max_age = -2};
    const struct mm_fetched document = {.max_age = 0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer longer = write_answer(&document, "abc", 3);
    mm_cleanup(mm_buffer_clear) struct mm_buffer of_no_age = write_answer(&older, "abc", 3);
    mm_cleanup(mm_buffer_clear) struct mm_buffer wordy = write_answer(NULL, large, MM_FETCH_REASON_MAX + 1);
    assert_true(mm_buffer_append(&longer, "d", 1, NULL));
    refuses(longer.data, longer.length, NONE);
    refuses(of_no_age.data, of_no_age.length, NONE);
    refuses(wordy.data, wordy.length, NONE);
    refuses(large, MM_FETCH_HEAD_LENGTH, NONE);
    mm_fetch_answer_head(&document, MM_FETCH_DOCUMENT_MAX + 1, large);
    refuses(large, sizeof large, NONE);
}

static void cache_control_is_read_with_caution(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t max_age;
    } CASES[] = {
        {"", MM_FETCH_AGE_UNSAID},
        {"public", MM_FETCH_AGE_UNSAID},
        {"s-maxage=9", MM_FETCH_AGE_UNSAID},
        {"max-age=300", 300},
        {"public , Max-Age=\"60\" ,must-revalidate,", 60},
        {"max-age=600, max-age=30", 30},
        {"max-age=600, no-cache", 0},
        {"no-store", 0},
        {"no-cache=\"x\"", 0},
        {"max-age", 0},
        {"max-age=", 0},
        {"max-age=-1", 0},
        {"max-age=1e9", 0},
        {"max-age=0x10", 0},
        {"max-age=99999999999999999999999999", INT32_MAX},
        {",,,;;==", MM_FETCH_AGE_UNSAID},
        {"xmax-age=1", MM_FETCH_AGE_UNSAID},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_int_equal(mm_fetch_max_age(CASES[i].text), CASES[i].max_age);
}

static void time_in_caches_counts(void **state)
{
    (void)state;
    assert_int_equal(mm_fetch_age_left(600, "0"), 600);
    assert_int_equal(mm_fetch_age_left(600, "599"), 1);
    assert_int_equal(mm_fetch_age_left(600, "600"), 0);
    assert_int_equal(mm_fetch_age_left(600, "99999999999999999999"), 0);
    assert_int_equal(mm_fetch_age_left(600, "-5"), 0);
    assert_int_equal(mm_fetch_age_left(600, ""), 0);
    assert_int_equal(mm_fetch_age_left(0, "0"), 0);
    assert_int_equal(mm_fetch_age_left(MM_FETCH_AGE_UNSAID, "7"), MM_FETCH_AGE_UNSAID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_arrives_as_it_was),       cmocka_unit_test(a_reason_arrives_in_printable_ascii),
        cmocka_unit_test(an_end_too_early_is_no_document),    cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(cache_control_is_read_with_caution), cmocka_unit_test(time_in_caches_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
