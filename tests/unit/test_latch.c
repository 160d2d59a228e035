/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/latch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "util/file.h"
#include "util/json.h"

struct place {
    char folder[64];
    struct mm_config config;
    char *path;
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    (void)snprintf(place->folder, sizeof place->folder, "/tmp/mm-latch-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    assert_true(asprintf(&place->config.store_file, "%s/state.db", place->folder) > 0);
    place->path = mm_latch_path(&place->config, "primary", NULL);
    assert_non_null(place->path);
    assert_true(mm_latch_make_folder(&place->config, NULL));
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", place->folder);
    assert_int_equal(system(command), 0);
    free(place->config.store_file);
    free(place->path);
    free(place);
    return 0;
}

static void a_latch_lies_in_a_folder_of_latches_beside_the_store(void **state)
{
    struct place *place = *state;
    assert_int_equal(strncmp(place->path, place->folder, strlen(place->folder)), 0);
    assert_non_null(strstr(place->path, "/latches/primary."));
}

static void the_folder_is_made_once_and_for_its_owner_alone(void **state)
{
    struct place *place = *state;
    mm_cleanup(free) char *folder = mm_latch_folder(&place->config, NULL);
    struct stat info;
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode, S_IFDIR | 0700);
    assert_true(mm_latch_set(place->path, 1764000000, "x", NULL));
    assert_true(mm_latch_make_folder(&place->config, NULL));
    assert_false(mm_latch_check(place->path, "primary", NULL));
}

static void nothing_else_is_taken_for_the_folder(void **state)
{
    struct place *place = *state;
    mm_cleanup(free) char *folder = mm_latch_folder(&place->config, NULL);
    struct mm_error err = {0};
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(symlink("/tmp", folder), 0);
    assert_false(mm_latch_make_folder(&place->config, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, folder));
    free(place->config.store_file);
    place->config.store_file = strdup("/nonexistent/state.db");
    assert_false(mm_latch_make_folder(&place->config, NULL));
}

static void a_name_that_leaves_the_folder_is_refused(void **state)
{
    struct place *place = *state;
    static const char *const NAMES[] = {"", ".", "..", "../x", "a/b", "/etc/passwd"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        struct mm_error err = {0};
        assert_null(mm_latch_path(&place->config, NAMES[i], &err));
        assert_int_equal(err.code, MM_CONFIG_INVALID);
    }
}

static void without_a_latch_a_login_may_be_tried(void **state)
{
    struct place *place = *state;
    struct mm_latch latch;
    struct mm_error err = {0};
    assert_true(mm_latch_check(place->path, "primary", NULL));
    assert_false(mm_latch_read(place->path, &latch, &err));
    assert_int_equal(err.code, MM_NOT_FOUND);
}

static void a_latch_names_its_file_reason_and_cure(void **state)
{
    struct place *place = *state;
    assert_true(mm_latch_set(place->path, 1764000000, "CKR_PIN_INCORRECT", NULL));
    struct mm_error err = {0};
    assert_false(mm_latch_check(place->path, "primary", &err));
    assert_int_equal(err.code, MM_PIN_LATCHED);
    assert_non_null(strstr(err.message, place->path));
    assert_non_null(strstr(err.message, "mintmark token unlock"));
    assert_non_null(strstr(err.message, "CKR_PIN_INCORRECT"));
    assert_non_null(strstr(err.message, "2025-11-24T16:00:00Z"));
}

static void a_latch_file_holds_time_and_reason_only(void **state)
{
    struct place *place = *state;
    assert_true(mm_latch_set(place->path, 1764000000, "CKR_PIN_LOCKED", NULL));
    struct stat info;
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(4096);
    assert_true(mm_file_read(place->path, &text, NULL));
    assert_string_equal((char *)text.data, "{\"time\":\"2025-11-24T16:00:00Z\",\"reason\":\"CKR_PIN_LOCKED\"}");
    char command[128];
    (void)snprintf(command, sizeof command, "test $(ls -A %s | wc -l) = 1", place->folder);
    assert_int_equal(system(command), 0);
}

static void the_first_refusal_is_kept(void **state)
{
    struct place *place = *state;
    struct mm_latch latch;
    assert_true(mm_latch_set(place->path, 1764000000, "first", NULL));
    assert_true(mm_latch_set(place->path, 1764000001, "second", NULL));
    assert_true(mm_latch_read(place->path, &latch, NULL));
    assert_string_equal(latch.reason, "first");
}

static void a_cleared_latch_is_gone(void **state)
{
    struct place *place = *state;
    struct mm_error err = {0};
    assert_true(mm_latch_set(place->path, 1764000000, "x", NULL));
    assert_true(mm_latch_clear(place->path, NULL));
    assert_true(mm_latch_check(place->path, "primary", NULL));
    assert_false(mm_latch_clear(place->path, &err));
    assert_int_equal(err.code, MM_NOT_FOUND);
}

static void a_file_that_makes_no_sense_is_a_latch_all_the_same(void **state)
{
    struct place *place = *state;
    static const char *const CONTENTS[] = {"", "{", "[]", "{\"time\":1,\"reason\":null}", "\xff\xfe"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CONTENTS); i++) {
        FILE *file = fopen(place->path, "we");
        assert_true(fputs(CONTENTS[i], file) >= 0);
        (void)fclose(file);
        struct mm_error err = {0};
        assert_false(mm_latch_check(place->path, "primary", &err));
        assert_int_equal(err.code, MM_PIN_LATCHED);
    }
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mkdir(place->path, 0700), 0);
    assert_false(mm_latch_check(place->path, "primary", NULL));
    assert_int_equal(rmdir(place->path), 0);
    assert_int_equal(symlink("/nonexistent", place->path), 0);
    assert_false(mm_latch_check(place->path, "primary", NULL));
}

static void a_reason_of_any_bytes_and_length_is_stored(void **state)
{
    struct place *place = *state;
    char reason[2000];
    memset(reason, 'a', sizeof reason);
    reason[sizeof reason - 1] = '\0';
    struct mm_latch latch;
    assert_true(mm_latch_set(place->path, 1764000000, reason, NULL));
    assert_true(mm_latch_read(place->path, &latch, NULL));
    assert_int_equal(strlen(latch.reason), MM_LATCH_REASON_MAX - 1);
    assert_true(mm_latch_clear(place->path, NULL));
    assert_true(mm_latch_set(place->path, 1764000000, "\xff", NULL));
    assert_true(mm_latch_read(place->path, &latch, NULL));
    assert_string_equal(latch.reason, "PIN refused");
}

static void a_latch_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    struct mm_error err = {0};
    assert_false(mm_latch_set("/nonexistent/primary.pin-refused", 1764000000, "x", &err));
    assert_int_equal(err.code, MM_FILE);
}

static void what_cannot_be_examined_counts_as_latched(void **state)
{
    struct place *place = *state;
    mm_cleanup(free) char *path = NULL;
    assert_true(asprintf(&path, "%s/file/primary.pin-refused", place->folder) > 0);
    mm_cleanup(free) char *file = NULL;
    assert_true(asprintf(&file, "%s/file", place->folder) > 0);
    (void)fclose(fopen(file, "we"));
    struct mm_error err = {0};
    assert_false(mm_latch_check(path, "primary", &err));
    assert_int_equal(err.code, MM_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_latch_lies_in_a_folder_of_latches_beside_the_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_folder_is_made_once_and_for_its_owner_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_else_is_taken_for_the_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_leaves_the_folder_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_latch_a_login_may_be_tried, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_latch_names_its_file_reason_and_cure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_latch_file_holds_time_and_reason_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_refusal_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cleared_latch_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_makes_no_sense_is_a_latch_all_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reason_of_any_bytes_and_length_is_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_latch_that_cannot_be_written_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_examined_counts_as_latched, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
