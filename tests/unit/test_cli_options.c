/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { LABEL = MM_OPTION_FIRST, FLAG };

static const struct option TABLE[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    {"label", required_argument, NULL, LABEL},
    {"flag", no_argument, NULL, FLAG},
    {0},
};

enum { ARGUMENTS_MAX = 8 };

struct run {
    struct mm_cli cli;
    struct mm_error err;
    int result; /* MM_OPTION_END or MM_OPTION_WRONG */
    const char *label;
    int n_flags;
};

/* Read the arguments, NULL-terminated, as a verb would. */
static struct run read_all(struct mm_cli cli, const char *const *arguments)
{
    char *argv[ARGUMENTS_MAX + 2] = {(char[]){"mintmark"}};
    int argc = 1;
    for (; arguments[argc - 1]; argc++)
        argv[argc] = strdup(arguments[argc - 1]);
    char *owned[ARGUMENTS_MAX + 2];
    memcpy(owned, argv, sizeof owned);

    struct run run = {.cli = cli};
    optind = 0; /* getopt starts afresh */
    while ((run.result = mm_option_next(&run.cli, argc, argv, TABLE, &run.err)) >= 0) {
        if (run.result == LABEL)
            run.label = strcmp(optarg, "x") == 0 ? "x" : "other";
        else
            run.n_flags++;
    }
    for (int i = 1; i < argc; i++)
        free(owned[i]);
    return run;
}

#define READ(...) read_all((struct mm_cli){0}, (const char *const[]){__VA_ARGS__, NULL})

static void options_are_taken_in_any_order_and_form(void **state)
{
    (void)state;
    struct run run = READ("--flag", "--label=x", "--json", "--flag");
    assert_int_equal(run.result, MM_OPTION_END);
    assert_string_equal(run.label, "x");
    assert_int_equal(run.n_flags, 2);
    assert_int_equal(run.cli.form, MM_FORM_JSON);
}

static void assert_wrong(struct run run, const char *part)
{
    assert_int_equal(run.result, MM_OPTION_WRONG);
    assert_int_equal(run.err.code, MM_USAGE);
    assert_non_null(strstr(run.err.message, part));
}

static void an_unknown_option_is_named(void **state)
{
    (void)state;
    assert_wrong(READ("--pen"), "--pen");
    assert_wrong(READ("-x"), "-x");
}

static void a_missing_value_is_named(void **state)
{
    (void)state;
    assert_wrong(READ("--flag", "--label"), "--label needs a value");
}

static void a_value_that_may_be_a_secret_is_never_repeated(void **state)
{
    (void)state;
    static const char *const LINES[][3] = {{"--pin=4711-secret"}, {"--flag=4711-secret"}, {"--flag", "4711-secret"}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(LINES); i++) {
        struct run run = read_all((struct mm_cli){0}, LINES[i]);
        assert_int_equal(run.result, MM_OPTION_WRONG);
        assert_null(strstr(run.err.message, "4711"));
    }
    struct mm_error err = {0};
    int64_t value = 0;
    assert_false(mm_option_integer("--pin-fd", "4711-secret", 0, 9999, &value, &err));
    assert_null(strstr(err.message, "4711"));
}

static void an_operand_is_taken_only_where_the_verb_takes_one(void **state)
{
    (void)state;
    assert_wrong(READ("primary"), "belongs to no option");
    const struct mm_cli takes_one = {.operands = MM_OPERAND_OPTIONAL};
    struct run run = read_all(takes_one, (const char *const[]){"primary", "--flag", NULL});
    assert_int_equal(run.result, MM_OPTION_END);
    assert_non_null(run.cli.operand);
    assert_int_equal(run.n_flags, 1);
    assert_wrong(read_all(takes_one, (const char *const[]){"primary", "second", NULL}), "belongs to no option");
}

/* It isn't taken for one: what ends a key must say that it means a key. */
static void an_operand_where_a_key_is_named_is_told_how(void **state)
{
    (void)state;
    static const struct option WITH_KID[] = {MM_COMMON_OPTIONS, MM_KID_OPTION, {0}};
    char program[] = "mintmark", kid[] = "4711-secret";
    char *argv[] = {program, kid, NULL};
    struct mm_cli cli = {0};
    struct mm_error err = {0};
    optind = 0;
    assert_int_equal(mm_option_next(&cli, 2, argv, WITH_KID, &err), MM_OPTION_WRONG);
    assert_non_null(strstr(err.message, "a key is named with --kid"));
    assert_null(strstr(err.message, "4711"));
    assert_null(cli.kid);
    assert_null(strstr(READ("primary").err.message, "--kid"));
}

static void integers_keep_to_their_bounds(void **state)
{
    (void)state;
    static const char *const WRONG[] = {"", "-1", "+5", " 5", "5 ", "5x", "0x5", "11", "99999999999999999999"};
    int64_t value = 77;
    for (size_t i = 0; i < MM_ARRAY_SIZE(WRONG); i++) {
        struct mm_error err = {0};
        assert_false(mm_option_integer("--n", WRONG[i], 0, 10, &value, &err));
        assert_int_equal(err.code, MM_USAGE);
        assert_int_equal(value, 77);
    }
    assert_true(mm_option_integer("--n", "10", 0, 10, &value, NULL));
    assert_int_equal(value, 10);
}

static void an_instant_is_a_time_or_an_age(void **state)
{
    (void)state;
    int64_t value = 0;
    assert_true(mm_option_instant("--since", "1h", 10000, &value, NULL));
    assert_int_equal(value, 6400);
    assert_true(mm_option_instant("--since", "1970-01-02", 10000, &value, NULL));
    assert_int_equal(value, 86400);
    assert_true(mm_option_instant("--since", "1970-01-01T00:00:05Z", 10000, &value, NULL));
    assert_int_equal(value, 5);
    struct mm_error err = {0};
    assert_false(mm_option_instant("--since", "yesterday", 10000, &value, &err));
    assert_int_equal(err.code, MM_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_taken_in_any_order_and_form),
        cmocka_unit_test(an_unknown_option_is_named),
        cmocka_unit_test(a_missing_value_is_named),
        cmocka_unit_test(a_value_that_may_be_a_secret_is_never_repeated),
        cmocka_unit_test(an_operand_is_taken_only_where_the_verb_takes_one),
        cmocka_unit_test(an_operand_where_a_key_is_named_is_told_how),
        cmocka_unit_test(integers_keep_to_their_bounds),
        cmocka_unit_test(an_instant_is_a_time_or_an_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
