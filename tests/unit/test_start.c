/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/start.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* P-256's generator, and its thumbprint. */
#define JWK \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\"," \
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}"
#define KID      "xx0BcA-wMohw8atYDJOe6peGModklG2wRHBlXHMvl0M"
#define SIGN     "\"kid\":\"" KID "\",\"alg\":\"ES256\",\"id\":\"01\",\"label\":\"x\",\"config\":\"d\",\"jwk\":" JWK
#define GENERATE "\"purpose\":\"generate\",\"alg\":\"RS256\",\"config\":\"d\""

static void a_key_to_sign_with_is_named_in_full(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *json = json_loads("{" SIGN "}", 0, NULL);
    struct mm_start start = {0};
    assert_true(mm_start_parse(json, &start, NULL));
    assert_int_equal(start.purpose, MM_PURPOSE_SIGN);
    assert_int_equal(start.algorithm, MM_ES256);
    assert_string_equal(start.id, "01");
    assert_string_equal(start.label, "x");
    assert_string_equal(start.config, "d");
    assert_string_equal(mm_pubkey_thumbprint(start.pinned), KID);
    mm_start_clear(&start);
}

static void a_key_to_generate_is_nothing_but_an_algorithm(void **state)
{
    (void)state;
    mm_cleanup(json_decref) json_t *json = json_loads("{" GENERATE "}", 0, NULL);
    struct mm_start start = {0};
    assert_true(mm_start_parse(json, &start, NULL));
    assert_int_equal(start.purpose, MM_PURPOSE_GENERATE);
    assert_int_equal(start.algorithm, MM_RS256);
    assert_string_equal(start.config, "d");
    assert_null(start.pinned);
}

static void anything_else_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum mm_code code;
    } CASES[] = {
        {"[]", MM_INTERNAL},
        {"{}", MM_INTERNAL},
        {"{\"alg\":\"none\"}", MM_INTERNAL},
        {"{\"alg\":\"HS256\",\"purpose\":\"generate\",\"config\":\"d\"}", MM_INTERNAL},
        {"{\"alg\":\"ES256\",\"purpose\":\"generate\"}", MM_INTERNAL},
        {"{\"alg\":\"ES256\",\"purpose\":\"generate\",\"config\":3}", MM_INTERNAL},
        {"{" GENERATE ",\"label\":\"mine\"}", MM_INTERNAL},
        {"{" GENERATE ",\"bits\":1024}", MM_INTERNAL},
        {"{" SIGN ",\"purpose\":\"generate\"}", MM_INTERNAL},
        {"{" SIGN ",\"purpose\":\"sign\"}", MM_INTERNAL},
        {"{" SIGN ",\"purpose\":null}", MM_INTERNAL},
        {"{" SIGN ",\"purpose\":[\"generate\"]}", MM_INTERNAL},
        {"{" SIGN ",\"label\":7}", MM_INTERNAL},
        {"{" SIGN ",\"id\":null}", MM_INTERNAL},
        {"{" SIGN ",\"kid\":\"another\"}", MM_KEY_MISMATCH},
    };
    (void)state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(json_decref) json_t *json = json_loads(CASES[i].text, 0, NULL);
        struct mm_start start = {0};
        struct mm_error err = {0};
        assert_non_null(json);
        if (mm_start_parse(json, &start, &err) || err.code != CASES[i].code)
            fail_msg("%s: code %d", CASES[i].text, (int)err.code);
        mm_start_clear(&start);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_to_sign_with_is_named_in_full),
        cmocka_unit_test(a_key_to_generate_is_nothing_but_an_algorithm),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
