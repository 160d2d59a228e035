/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that decide what the service does: read whole, bounded, and only if nobody else could have written them.
 */
#include "util/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { PATH_LENGTH = 256 };

static char folder[] = "/tmp/mm-test-file-XXXXXX";
static char path[PATH_LENGTH];

static int set_up(void **state)
{
    (void)state;
    (void)strcpy(strrchr(folder, '-') + 1, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static void write_file(const char *content, mode_t mode)
{
    mm_cleanup(mm_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
}

static enum mm_code read_trusted(void)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(16);
    struct mm_error err = {0};
    bool done = mm_file_read_trusted(path, &buffer, &err);
    assert_int_equal(done, err.code == MM_OK);
    assert_true(done || strstr(err.message, path));
    return err.code;
}

static void whole_file_is_read(void **state)
{
    (void)state;
    write_file("0123456789abcdef", 0644);
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(16);
    struct mm_error err = {0};
    assert_true(mm_file_read_trusted(path, &buffer, &err));
    assert_string_equal((const char *)buffer.data, "0123456789abcdef");
}

static void empty_file_is_an_empty_string(void **state)
{
    (void)state;
    write_file("", 0600);
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(16);
    assert_true(mm_file_read(path, &buffer, NULL));
    assert_int_equal(buffer.length, 0);
    assert_string_equal((const char *)buffer.data, "");
}

static void larger_file_is_refused_not_cut(void **state)
{
    (void)state;
    write_file("0123456789abcdefg", 0600);
    assert_int_equal(read_trusted(), MM_FILE);
}

static void file_that_others_can_write_is_refused(void **state)
{
    (void)state;
    static const mode_t BAD[] = {0620, 0602, 0666, 0777};
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        write_file("x", BAD[i]);
        assert_int_equal(read_trusted(), MM_CONFIG_INVALID);
    }
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(16);
    assert_true(mm_file_read(path, &buffer, NULL));
    write_file("x", 0444);
    assert_int_equal(read_trusted(), MM_OK);
}

static void file_of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can give a file away */
    write_file("x", 0600);
    assert_int_equal(chown(path, 4242, 4242), 0);
    assert_int_equal(read_trusted(), MM_CONFIG_INVALID);
}

/* What mm_file_check_out_of_hand() says of `file` to a process of nobody's. */
static enum mm_code judged_by_nobody(const char *file)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct mm_error err = {0};
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(255);
        _exit(mm_file_check_out_of_hand(file, &err) ? MM_OK : (int)err.code);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (enum mm_code)WEXITSTATUS(status);
}

static void file_that_this_user_could_change_is_in_hand(void **state)
{
    (void)state;
    char link[64];
    (void)snprintf(link, sizeof link, "%s/link", folder);
    write_file("x", 0444);
    struct mm_error err = {0};
    assert_false(mm_file_check_out_of_hand(path, &err)); /* its owner can make it writable */
    assert_non_null(strstr(err.message, path));
    if (geteuid() != 0)
        return;
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(judged_by_nobody(path), MM_OK); /* although /tmp, where it lies, is everybody's */
    assert_int_equal(judged_by_nobody("/etc/passwd"), MM_OK);
    assert_int_equal(judged_by_nobody("/etc/no-such-file"), MM_FILE);
    assert_int_equal(chmod(path, 0646), 0);
    assert_int_equal(judged_by_nobody(path), MM_CONFIG_INVALID);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    assert_int_equal(judged_by_nobody(link), MM_OK);
    /* A folder of one's own: the file in it can be replaced, a link pointed elsewhere. */
    assert_int_equal(chown(folder, 65534, 65534), 0);
    assert_int_equal(judged_by_nobody(path), MM_CONFIG_INVALID);
    assert_int_equal(judged_by_nobody(link), MM_CONFIG_INVALID);
    assert_int_equal(unlink(link), 0);
}

static void a_link_on_the_way_to_a_file_is_in_hand_like_any_other(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can give a file away */
    char own[64], given[64], hop[96], through[96], loop[64];
    (void)snprintf(own, sizeof own, "%s/own", folder);
    (void)snprintf(given, sizeof given, "%s/given", folder);
    (void)snprintf(hop, sizeof hop, "%s/hop", own);
    (void)snprintf(through, sizeof through, "%s/up/../given", folder);
    (void)snprintf(loop, sizeof loop, "%s/loop", folder);
    assert_int_equal(chmod(folder, 0755), 0);
    write_file("x", 0644);
    assert_int_equal(mkdir(own, 0755), 0);
    assert_int_equal(symlink("../file", hop), 0);
    assert_int_equal(symlink("own/hop", given), 0);
    assert_int_equal(judged_by_nobody(given), MM_OK);
    /* given -> own/hop -> file, where what lies in own/ is nobody's to change; then a link itself is. */
    assert_int_equal(chown(own, 65534, 65534), 0);
    assert_int_equal(judged_by_nobody(given), MM_CONFIG_INVALID);
    assert_int_equal(chown(own, 0, 0), 0);
    assert_int_equal(lchown(hop, 65534, 65534), 0);
    assert_int_equal(judged_by_nobody(given), MM_CONFIG_INVALID);
    assert_int_equal(lchown(hop, 0, 0), 0);
    assert_int_equal(judged_by_nobody(through), MM_FILE);
    assert_int_equal(symlink("loop", loop), 0);
    assert_int_equal(judged_by_nobody(loop), MM_CONFIG_INVALID);
    assert_int_equal(unlink(loop) | unlink(given) | unlink(hop) | rmdir(own), 0);
}

static void dots_and_relative_paths_are_walked_like_the_kernel_does(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    char own[64], up[96], spelled[128];
    (void)snprintf(own, sizeof own, "%s/own", folder);
    (void)snprintf(up, sizeof up, "%s/up", folder);
    (void)snprintf(spelled, sizeof spelled, "%s/.//up/../file", folder);
    assert_int_equal(chmod(folder, 0755), 0);
    write_file("x", 0644);
    assert_int_equal(mkdir(own, 0755), 0);
    assert_int_equal(symlink("own", up), 0);
    assert_int_equal(judged_by_nobody(spelled), MM_OK);
    mm_cleanup(free) char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(own), 0);
    assert_int_equal(judged_by_nobody("../file"), MM_OK);
    assert_int_equal(chown(own, 65534, 65534), 0);
    assert_int_equal(judged_by_nobody("../file"), MM_CONFIG_INVALID);
    assert_int_equal(judged_by_nobody(spelled), MM_CONFIG_INVALID);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(unlink(up) | rmdir(own), 0);
}

static void missing_file_is_named(void **state)
{
    (void)state;
    assert_int_equal(read_trusted(), MM_FILE);
}

static void fifo_in_a_files_place_does_not_hang(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(read_trusted(), MM_CONFIG_INVALID);
}

static void folder_in_a_files_place_is_refused(void **state)
{
    (void)state;
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(16);
    struct mm_error err = {0};
    assert_false(mm_file_read_trusted(folder, &buffer, &err));
    assert_int_equal(err.code, MM_CONFIG_INVALID);
    err = (struct mm_error){0};
    assert_false(mm_file_read(folder, &buffer, &err));
    assert_int_equal(err.code, MM_FILE);
}

/* --- mm_file_replace() */

static void assert_holds(const char *content, mode_t mode)
{
    struct stat info;
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(64);
    assert_int_equal(lstat(path, &info), 0);
    assert_int_equal(info.st_mode, S_IFREG | mode);
    assert_true(mm_file_read(path, &buffer, NULL));
    assert_string_equal((const char *)buffer.data, content);
}

static void assert_not_replaced(const char *file)
{
    struct mm_error err = {0};
    assert_false(mm_file_replace(file, "new", 3, &err));
    assert_int_equal(err.code, MM_FILE);
    assert_non_null(strstr(err.message, file));
}

/* The folder's own test, tear_down(), finds what stays behind. */
static void a_replaced_file_is_its_owners_alone_whatever_it_was(void **state)
{
    (void)state;
    mode_t before = umask(0);
    assert_true(mm_file_replace(path, "first", 5, NULL));
    assert_holds("first", 0600);
    write_file("others may read this", 0666);
    mm_cleanup(mm_close) int old = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(mm_file_replace(path, "second", 6, NULL));
    assert_holds("second", 0600);
    char text[64] = "";
    assert_true(read(old, text, sizeof text - 1) > 0);
    assert_string_equal(text, "others may read this");
    (void)umask(0777);
    assert_true(mm_file_replace(path, "third", 5, NULL));
    assert_holds("third", 0600);
    (void)umask(before);
}

static void what_is_no_regular_file_is_not_replaced(void **state)
{
    (void)state;
    char other[PATH_LENGTH];
    (void)snprintf(other, sizeof other, "%s/other", folder);
    write_file("old", 0600);
    assert_int_equal(symlink(path, other), 0);
    assert_not_replaced(other);
    assert_holds("old", 0600);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_not_replaced(other);
    assert_int_equal(unlink(other), 0);
    assert_not_replaced(folder);
    (void)snprintf(other, sizeof other, "%s/nowhere/file", folder);
    assert_not_replaced(other);
}

static void assert_beside(const char *base, const char *name, const char *expected)
{
    mm_cleanup(free) char *joined = mm_path_beside(base, name, NULL);
    assert_string_equal(joined, expected);
}

static void relative_paths_start_at_the_files_folder(void **state)
{
    (void)state;
    assert_beside("/etc/mintmark/mintmark.yaml", "tls/ca.pem", "/etc/mintmark/tls/ca.pem");
    assert_beside("conf/mintmark.yaml", "../x", "conf/../x");
    assert_beside("mintmark.yaml", "tls/ca.pem", "tls/ca.pem");
    assert_beside("/mintmark.yaml", "x", "/x");
    assert_beside("/etc/mintmark.yaml", "/abs/x", "/abs/x");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(whole_file_is_read),
        TEST(empty_file_is_an_empty_string),
        TEST(larger_file_is_refused_not_cut),
        TEST(file_that_others_can_write_is_refused),
        TEST(file_of_another_user_is_refused),
        TEST(file_that_this_user_could_change_is_in_hand),
        TEST(a_link_on_the_way_to_a_file_is_in_hand_like_any_other),
        TEST(dots_and_relative_paths_are_walked_like_the_kernel_does),
        TEST(missing_file_is_named),
        TEST(fifo_in_a_files_place_does_not_hang),
        TEST(folder_in_a_files_place_is_refused),
        TEST(a_replaced_file_is_its_owners_alone_whatever_it_was),
        TEST(what_is_no_regular_file_is_not_replaced),
        TEST(relative_paths_start_at_the_files_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
