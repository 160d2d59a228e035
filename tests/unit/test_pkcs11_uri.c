/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/pkcs11_uri.h"

static struct mm_pkcs11_uri parse(const char *text, enum mm_pkcs11_uri_subject subject)
{
    struct mm_pkcs11_uri uri;
    struct mm_error err = {0};
    if (!mm_pkcs11_uri_parse(text, subject, &uri, &err))
        fail_msg("%s: %s", text, err.message);
    return uri;
}

static void assert_refused(const char *text, enum mm_pkcs11_uri_subject subject, const char *why)
{
    struct mm_pkcs11_uri uri;
    struct mm_pkcs11_uri untouched;
    struct mm_error err = {0};
    memset(&uri, 0x5a, sizeof uri);
    untouched = uri;
    if (mm_pkcs11_uri_parse(text, subject, &uri, &err))
        fail_msg("%s was taken", text);
    assert_int_equal(err.code, MM_USAGE);
    if (!strstr(err.message, why))
        fail_msg("%s: %s", text, err.message);
    assert_memory_equal(&uri, &untouched, sizeof uri);
}

static void a_token_is_named_by_its_four_attributes(void **state)
{
    (void)state;
    struct mm_pkcs11_uri uri =
        parse("pkcs11:token=mintmark;serial=56978c3590258369;manufacturer=SoftHSM%20project;model=SoftHSM%20v2",
              MM_PKCS11_URI_OF_TOKEN);
    assert_string_equal(uri.token, "mintmark");
    assert_string_equal(uri.serial, "56978c3590258369");
    assert_string_equal(uri.manufacturer, "SoftHSM project");
    assert_string_equal(uri.model, "SoftHSM v2");
    assert_string_equal(uri.object, "");
    assert_string_equal(uri.id, "");
}

static void each_attribute_alone_names_a_token(void **state)
{
    (void)state;
    static const char *const URIS[] = {"pkcs11:token=a", "pkcs11:serial=1", "pkcs11:manufacturer=m", "pkcs11:model=m"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(URIS); i++)
        (void)parse(URIS[i], MM_PKCS11_URI_OF_TOKEN);
}

static void a_key_is_named_by_object_and_id(void **state)
{
    (void)state;
    struct mm_pkcs11_uri uri = parse("pkcs11:token=t;object=mint%2d1;id=%01%02%fF;type=private", MM_PKCS11_URI_OF_KEY);
    assert_string_equal(uri.token, "t");
    assert_string_equal(uri.object, "mint-1");
    assert_string_equal(uri.id, "0102ff");
    assert_string_equal(parse("pkcs11:id=a%00b", MM_PKCS11_URI_OF_KEY).id, "610062");
    assert_string_equal(parse("pkcs11:object=x&y=1", MM_PKCS11_URI_OF_KEY).object, "x&y=1");
}

static void what_is_written_is_read_as_the_same(void **state)
{
    (void)state;
    struct mm_pkcs11_uri uri = {.token = "a b;c?&=%/é",
                                .manufacturer = "Ünïcode & Söhne",
                                .model = "m",
                                .serial = "0",
                                .object = "mint 2027/1",
                                .id = "00ff7e2e"};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_PKCS11_URI_MAX);
    assert_true(mm_pkcs11_uri_format(&uri, &text, NULL));
    assert_string_equal((char *)text.data,
                        "pkcs11:token=a%20b%3Bc%3F%26%3D%25%2F%C3%A9;manufacturer=%C3%9Cn%C3%AFcode%20%26%20S%C3%B6hne"
                        ";model=m;serial=0;object=mint%202027%2F1;id=%00%ff%7e%2e;type=private");
    struct mm_pkcs11_uri again = parse((char *)text.data, MM_PKCS11_URI_OF_KEY);
    assert_memory_equal(&again, &uri, sizeof uri);
}

static void the_longest_uri_that_is_written_can_be_read(void **state)
{
    (void)state;
    struct mm_pkcs11_uri uri = {0};
    memset(uri.token, ';', sizeof uri.token - 1);
    memset(uri.manufacturer, ';', sizeof uri.manufacturer - 1);
    memset(uri.model, ';', sizeof uri.model - 1);
    memset(uri.serial, ';', sizeof uri.serial - 1);
    memset(uri.object, ';', sizeof uri.object - 1);
    memset(uri.id, 'a', sizeof uri.id - 1);
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_PKCS11_URI_MAX);
    assert_true(mm_pkcs11_uri_format(&uri, &text, NULL));
    struct mm_pkcs11_uri again = parse((char *)text.data, MM_PKCS11_URI_OF_KEY);
    assert_memory_equal(&again, &uri, sizeof uri);
}

static void an_attribute_that_is_repeated_is_refused(void **state)
{
    (void)state;
    assert_refused("pkcs11:token=a;token=b", MM_PKCS11_URI_OF_TOKEN, "token twice");
    assert_refused("pkcs11:token=a;serial=1;token=a", MM_PKCS11_URI_OF_TOKEN, "token twice");
    assert_refused("pkcs11:id=%01;id=%02", MM_PKCS11_URI_OF_KEY, "id twice");
    assert_refused("pkcs11:id=%01;type=private;type=private", MM_PKCS11_URI_OF_KEY, "type twice");
}

static void what_is_not_well_formed_is_refused(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "",
        "pkcs11",
        "PKCS11:token=a",
        "pkcs11:",
        "pkcs11:;",
        "pkcs11:token",
        "pkcs11:=a",
        "pkcs11:token=a;",
        "pkcs11:token=a;;serial=1",
        "pkcs11:token=a?",
        "pkcs11:token=",
        "pkcs11:token=a b",
        " pkcs11:token=a",
        "pkcs11:token=a ",
        "pkcs11: token=a",
        "pkcs11:token =a",
        "pkcs11:Token=a",
        "pkcs11:token=a%",
        "pkcs11:token=a%2",
        "pkcs11:token=a%zz",
        "pkcs11:token=%2",
        "pkcs11:token=a#b",
        "pkcs11:token=\xc3\xa9",
        "pkcs11:token=a\nb",
        "pkcs11:token=a/b",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++)
        assert_refused(TEXTS[i], MM_PKCS11_URI_OF_TOKEN, "URI");
}

static void what_a_name_cannot_hold_is_refused(void **state)
{
    (void)state;
    assert_refused("pkcs11:token=a%00b", MM_PKCS11_URI_OF_TOKEN, "must be text");
    assert_refused("pkcs11:token=%00", MM_PKCS11_URI_OF_TOKEN, "must be text");
    assert_refused("pkcs11:token=%ff", MM_PKCS11_URI_OF_TOKEN, "must be text");
    assert_refused("pkcs11:token=%C0%80", MM_PKCS11_URI_OF_TOKEN, "must be text");
    assert_refused("pkcs11:token=a%0ab", MM_PKCS11_URI_OF_TOKEN, "control");
    assert_refused("pkcs11:object=a%1bb", MM_PKCS11_URI_OF_KEY, "control");
    assert_refused("pkcs11:serial=a%20b", MM_PKCS11_URI_OF_TOKEN, "printable");
    assert_refused("pkcs11:token=123456789012345678901234567890123", MM_PKCS11_URI_OF_TOKEN, "too long");
    assert_refused("pkcs11:serial=12345678901234567", MM_PKCS11_URI_OF_TOKEN, "too long");
    assert_refused("pkcs11:id=", MM_PKCS11_URI_OF_KEY, "empty");
    char text[MM_PKCS11_URI_MAX + 64] = "pkcs11:object=";
    memset(text + strlen(text), 'a', 256);
    assert_refused(text, MM_PKCS11_URI_OF_KEY, "too long");
    memcpy(text, "pkcs11:id=aaaa", 14);
    assert_refused(text, MM_PKCS11_URI_OF_KEY, "too long");
    memset(text + 14, 'a', sizeof text - 15);
    assert_refused(text, MM_PKCS11_URI_OF_KEY, "at most");
}

static void a_pin_is_refused_and_never_repeated(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"pkcs11:token=a?pin-value=hunter2",
                                        "pkcs11:token=a;pin-value=hunter2",
                                        "pkcs11:token=a?pin-source=hunter2",
                                        "pkcs11:token=a?x=hunter2",
                                        "pkcs11:hunter2=a",
                                        "pkcs11:token=hunter2;token=hunter2",
                                        "pkcs11:token=hunter2%00"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(TEXTS); i++) {
        struct mm_pkcs11_uri uri;
        struct mm_error err = {0};
        assert_false(mm_pkcs11_uri_parse(TEXTS[i], MM_PKCS11_URI_OF_TOKEN, &uri, &err));
        assert_null(strstr(err.message, "hunter2"));
    }
    assert_refused(TEXTS[0], MM_PKCS11_URI_OF_TOKEN, "pin_file");
    assert_refused("pkcs11:token=a;object=b?pin-value=x", MM_PKCS11_URI_OF_KEY, "--pin-file");
    assert_refused("pkcs11:token=a?pin-source=file:/etc/pin", MM_PKCS11_URI_OF_TOKEN, "pin_file");
}

static void what_the_configuration_says_is_not_said_again(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"module-path", "module-name", "library-version", "library-description",
                                        "library-manufacturer"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "pkcs11:token=a;%s=b", NAMES[i]);
        assert_refused(text, MM_PKCS11_URI_OF_TOKEN, "which module");
        (void)snprintf(text, sizeof text, "pkcs11:token=a?%s=b", NAMES[i]);
        assert_refused(text, MM_PKCS11_URI_OF_TOKEN, "which module");
    }
}

static void slots_and_unknown_attributes_are_refused(void **state)
{
    (void)state;
    assert_refused("pkcs11:token=a;slot-id=1", MM_PKCS11_URI_OF_TOKEN, "slot-id isn't taken: a slot's number changes");
    assert_refused("pkcs11:token=a;slot-description=b", MM_PKCS11_URI_OF_TOKEN, "slot-description isn't taken");
    assert_refused("pkcs11:token=a;slot-manufacturer=b", MM_PKCS11_URI_OF_TOKEN, "slot-manufacturer isn't taken");
    assert_refused("pkcs11:token=a;x-vendor=b", MM_PKCS11_URI_OF_TOKEN, "isn't known");
    assert_refused("pkcs11:token=a?serial=b", MM_PKCS11_URI_OF_TOKEN, "isn't known");
}

static void a_token_is_not_named_by_an_object(void **state)
{
    (void)state;
    assert_refused("pkcs11:token=a;object=b", MM_PKCS11_URI_OF_TOKEN, "names an object (object)");
    assert_refused("pkcs11:token=a;id=%01", MM_PKCS11_URI_OF_TOKEN, "names an object (id)");
    assert_refused("pkcs11:token=a;type=private", MM_PKCS11_URI_OF_TOKEN, "names an object (type)");
}

static void a_key_is_not_named_without_object_and_id(void **state)
{
    (void)state;
    assert_refused("pkcs11:token=a", MM_PKCS11_URI_OF_KEY, "lacks object and id");
    assert_refused("pkcs11:token=a;type=private", MM_PKCS11_URI_OF_KEY, "lacks object and id");
    assert_refused("pkcs11:object=a;type=public", MM_PKCS11_URI_OF_KEY, "type isn't private");
    assert_refused("pkcs11:object=a;type=", MM_PKCS11_URI_OF_KEY, "type isn't private");
    assert_refused("pkcs11:object=a;type=cert", MM_PKCS11_URI_OF_KEY, "type isn't private");
}

static void a_token_fits_what_is_said_of_it_and_no_other(void **state)
{
    (void)state;
    const struct mm_pkcs11_uri token = {.token = "t", .manufacturer = "m", .model = "o", .serial = "s"};
    struct mm_pkcs11_uri wanted = {.token = "t", .object = "key"};
    assert_true(mm_pkcs11_uri_fits_token(&wanted, &token));
    wanted = (struct mm_pkcs11_uri){.object = "key"};
    assert_true(mm_pkcs11_uri_fits_token(&wanted, &token));
    const struct mm_pkcs11_uri others[] = {{.token = "T"},
                                           {.manufacturer = "x"},
                                           {.model = "x"},
                                           {.token = "t", .serial = "x"}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(others); i++)
        assert_false(mm_pkcs11_uri_fits_token(&others[i], &token));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_named_by_its_four_attributes),
        cmocka_unit_test(each_attribute_alone_names_a_token),
        cmocka_unit_test(a_key_is_named_by_object_and_id),
        cmocka_unit_test(what_is_written_is_read_as_the_same),
        cmocka_unit_test(the_longest_uri_that_is_written_can_be_read),
        cmocka_unit_test(an_attribute_that_is_repeated_is_refused),
        cmocka_unit_test(what_is_not_well_formed_is_refused),
        cmocka_unit_test(what_a_name_cannot_hold_is_refused),
        cmocka_unit_test(a_pin_is_refused_and_never_repeated),
        cmocka_unit_test(what_the_configuration_says_is_not_said_again),
        cmocka_unit_test(slots_and_unknown_attributes_are_refused),
        cmocka_unit_test(a_token_is_not_named_by_an_object),
        cmocka_unit_test(a_key_is_not_named_without_object_and_id),
        cmocka_unit_test(a_token_fits_what_is_said_of_it_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
