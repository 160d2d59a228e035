/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets are read whole or not at all, and never appear in a message.
 */
#include "util/secret.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "tests/support/in_child.h"

/* The sanitizers' own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MLOCK_DOES_NOTHING
#endif

static int file_with(const void *data, size_t length)
{
    char path[] = "/tmp/mm-test-secret-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(fd, data, length), length);
    return fd;
}

static struct mm_secret *read_file(const char *content, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = file_with(content, strlen(content));
    return mm_secret_read(fd, "the PIN file", err);
}

static void assert_read(const char *content, const char *expected)
{
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *secret = read_file(content, &err);
    assert_string_equal(err.message, "");
    assert_string_equal(mm_secret_string(secret), expected);
    assert_int_equal(mm_secret_length(secret), strlen(expected));
}

static void assert_refused(const void *content, size_t length)
{
    mm_cleanup(mm_close) int fd = file_with(content, length);
    struct mm_error err = {0};
    assert_null(mm_secret_read(fd, "the PIN file", &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, "the PIN file"));
    assert_null(strstr(err.message, "1234"));
}

static void one_trailing_newline_is_stripped(void **state)
{
    (void)state;
    assert_read("1234", "1234");
    assert_read("1234\n", "1234");
    assert_read("1234\r\n", "1234");
    assert_read("1234\n\n", "1234\n");
    assert_read(" 12\n34 \n", " 12\n34 ");
}

static void empty_and_nul_are_refused(void **state)
{
    (void)state;
    assert_refused("", 0);
    assert_refused("\n", 1);
    assert_refused("\r\n", 2);
    assert_refused("1234\0", 5);
    assert_refused("1234\0005678\n", 10);
}

static void secret_past_its_bound_is_refused(void **state)
{
    (void)state;
    char content[MM_SECRET_MAX + 16];
    memset(content, 'x', sizeof content);
    assert_refused(content, MM_SECRET_MAX + 1);
    assert_refused(content, sizeof content);
    content[MM_SECRET_MAX] = '\n';
    mm_cleanup(mm_close) int fd = file_with(content, MM_SECRET_MAX + 1);
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *longest = mm_secret_read(fd, "the PIN file", &err);
    assert_int_equal(mm_secret_length(longest), MM_SECRET_MAX);
}

static void file_can_be_read_again_by_a_successor(void **state)
{
    (void)state;
    mm_cleanup(mm_close) int fd = file_with("1234\n", 5);
    struct mm_error err = {0};
    for (int i = 0; i < 2; i++) {
        mm_cleanup(mm_secret_free) struct mm_secret *secret = mm_secret_read(fd, "the PIN file", &err);
        assert_string_equal(mm_secret_string(secret), "1234");
    }
}

static void pipe_is_read_to_its_end(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "12", 2), 2);
    assert_int_equal(write(ends[1], "34\n", 3), 3);
    assert_int_equal(close(ends[1]), 0);
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *secret = mm_secret_read(ends[0], "the pipe", &err);
    assert_string_equal(mm_secret_string(secret), "1234");
    assert_int_equal(close(ends[0]), 0);
}

static void unreadable_descriptor_is_an_error(void **state)
{
    (void)state;
    struct mm_error err = {0};
    assert_null(mm_secret_read(-1, "the PIN file", &err));
    assert_int_equal(err.code, MM_FILE);
    err = (struct mm_error){0};
    mm_cleanup(mm_close) int folder = open("/", O_RDONLY);
    assert_null(mm_secret_read(folder, "the folder", &err));
    assert_int_equal(err.code, MM_FILE);
}

static void copied_secret_is_bounded_too(void **state)
{
    (void)state;
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *secret = mm_secret_new("1234xxxx", 4, &err);
    assert_string_equal(mm_secret_string(secret), "1234");
    static const char LONG[MM_SECRET_MAX + 1] = "1234";
    assert_null(mm_secret_new(LONG, sizeof LONG, &err));
    assert_null(mm_secret_new("", 0, &err));
    assert_int_equal(err.code, MM_FILE);
    mm_secret_free(NULL);
}

/* The lines of /proc/self/smaps about the mapping that `address` lies in. */
static void read_mapping(const void *address, char *out, size_t size)
{
    char line[512];
    bool is_ours = false;
    size_t length = 0;
    FILE *stream = fopen("/proc/self/smaps", "re");
    assert_non_null(stream);
    out[0] = '\0';
    while (fgets(line, sizeof line, stream)) {
        unsigned long start;
        unsigned long end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            is_ours = (uintptr_t)address >= start && (uintptr_t)address < end;
        if (is_ours)
            length += (size_t)snprintf(out + length, size - length, "%s", line);
        assert_true(length < size);
    }
    (void)fclose(stream);
}

static void a_secrets_page_is_locked_and_neither_dumped_nor_inherited(void **state)
{
    (void)state;
    char mapping[8192];
    mm_cleanup(mm_secret_free) struct mm_secret *secret = mm_secret_new("1234", 4, NULL);
    read_mapping(mm_secret_string(secret), mapping, sizeof mapping);
    const char *flags = strstr(mapping, "VmFlags:");
    assert_non_null(flags);
    assert_non_null(strstr(flags, " dd"));
    assert_non_null(strstr(flags, " wf"));
#ifndef MLOCK_DOES_NOTHING
    assert_non_null(strstr(flags, " lo"));
    const char *locked = strstr(mapping, "Locked:");
    assert_non_null(locked);
    assert_true(strtol(locked + strlen("Locked:"), NULL, 10) > 0);
#endif
}

static int hold_what_cannot_be_locked(void)
{
    struct mm_error err = {0};
    const struct rlimit none = {0, 0};
    /* Root may lock whatever the limit says. */
    CHECK(setrlimit(RLIMIT_MEMLOCK, &none) == 0 && (geteuid() != 0 || setuid(65534) == 0));
    CHECK(!mm_secret_new("1234", 4, &err));
    CHECK(err.code == MM_FILE && strstr(err.message, "RLIMIT_MEMLOCK"));
    return 0;
}

static void a_secret_that_cannot_be_locked_is_not_held(void **state)
{
    (void)state;
#ifdef MLOCK_DOES_NOTHING
    skip();
#endif
    assert_int_equal(in_child(hold_what_cannot_be_locked), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secrets_page_is_locked_and_neither_dumped_nor_inherited),
        cmocka_unit_test(a_secret_that_cannot_be_locked_is_not_held),
        cmocka_unit_test(one_trailing_newline_is_stripped),
        cmocka_unit_test(empty_and_nul_are_refused),
        cmocka_unit_test(secret_past_its_bound_is_refused),
        cmocka_unit_test(file_can_be_read_again_by_a_successor),
        cmocka_unit_test(pipe_is_read_to_its_end),
        cmocka_unit_test(unreadable_descriptor_is_an_error),
        cmocka_unit_test(copied_secret_is_bounded_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
