/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark policy test`: what the policy is expected to decide, held against what it does. For the review of a change, before it is loaded.
 */
#include "cli/verbs.h"

#include <string.h>
#include <sys/stat.h>

#include "cli/expectations.h"
#include "cli/problems.h"

const char MM_POLICY_TEST_HELP[] =
    "Usage: mintmark policy test [FILE|FOLDER ...] [--config FILE] [--json]\n"
    "\n"
    "Hold the tenants' files against what is expected of them: for whom tokens with given claims stand, and what that "
    "account may have. Nothing is\n"
    "asked of the service. Expectations lie in files called NAME.test.yaml:\n"
    "\n"
    "  tenant: acme\n"
    "  expectations:\n"
    "    - name: the main branch builds\n"
    "      claims: {iss: \"https://token.actions.githubusercontent.com\", repository_id: \"1\", ref: refs/heads/main}\n"
    "      account: ci-build\n"
    "      request: {scopes: [\"read:repo\"], resource: urc-1, ttl: 5m}\n"
    "    - name: nobody else does\n"
    "      token_file: tokens/fork.jwt\n"
    "      refused: access_denied\n"
    "\n"
    "  claims      what the token says; without aud it is for this service\n"
    "  token_file  or a token, whoever signed it and whenever\n"
    "  account     for whom it stands; without it, nobody\n"
    "  audit       an account whose rule in audit mode matches\n"
    "  request     what that account asks for: scopes, and resource, audience, ttl\n"
    "  refused     the code of the refusal, of the token or, with account, of the request\n"
    "\n"
    "  FILE, FOLDER   files of expectations, or folders with some (default: those beside the configuration's and the "
    "tenants'\n"
    "                 files)\n"
    "  --config FILE  the configuration (default: $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml); certificates,\n"
    "                 keys and PINs of the service aren't looked at\n"
    "  --json         the result, and errors, as JSON\n"
    "\n"
    "Exit status: 0 all is as expected, 3 it isn't, there are no expectations, or a file isn't as it should be, 1 a "
    "file can't\n"
    "be read, 2 the command line.\n";

static const struct option OPTIONS[] = {MM_COMMON_OPTIONS, MM_CONFIG_OPTION, {0}};

static bool add_operand(const char *operand, json_t *files, struct mm_error *err)
{
    struct stat info;
    if (stat(operand, &info) == 0 && S_ISDIR(info.st_mode))
        return mm_expectations_list(operand, files, err);
    return mm_json_append(files, json_string(operand), err);
}

static json_t *find_files(const struct mm_cli *cli, const struct mm_config *config, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *files = json_array();
    if (cli->n_operands == 0 && !mm_expectations_beside(config, files, err))
        return NULL;
    for (size_t i = 0; i < cli->n_operands; i++)
        if (!add_operand(cli->all_operands[i], files, err))
            return NULL;
    if (json_array_size(files) > 0)
        return MM_TAKE(files);
    (void)mm_fail(err, MM_CONFIG_INVALID, "there are no files of expectations (NAME.test.yaml)");
    return NULL;
}

static void print_result(const json_t *result)
{
    bool passed = json_is_true(json_object_get(result, "passed"));
    (void)printf("  %-5s ", passed ? "ok" : "FAIL");
    mm_print_value(stdout, json_object_get(result, "name"));
    if (!passed) {
        (void)printf(" (line %lld): expected ", (long long)mm_json_integer(result, "line", 0));
        mm_print_value(stdout, json_object_get(result, "expected"));
        (void)fputs("; got ", stdout);
        mm_print_value(stdout, json_object_get(result, "got"));
    }
    (void)fputc('\n', stdout);
}

static size_t count_failed(const json_t *results)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(results); i++)
        n += json_is_false(json_object_get(json_array_get(results, i), "passed"));
    return n;
}

static bool print_report(const struct mm_cli *cli, const json_t *results, size_t n_failed, struct mm_error *err)
{
    size_t n_passed = json_array_size(results) - n_failed;
    if (cli->form == MM_FORM_JSON) {
        mm_cleanup(json_decref) json_t *report =
            json_pack("{s:I, s:I, s:O}", "passed", (json_int_t)n_passed, "failed", (json_int_t)n_failed, "expectations",
                      (json_t *)(uintptr_t)results);
        return report ? mm_print_json(stdout, report, err) : mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    const char *file = "";
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *result = json_array_get(results, i);
        if (strcmp(file, mm_json_string(result, "file")) != 0) {
            file = mm_json_string(result, "file");
            mm_print_text(stdout, file);
            (void)fputc('\n', stdout);
        }
        print_result(result);
    }
    return printf("%zu as expected, %zu not\n", n_passed, n_failed) > 0;
}

/* All of the files' results, or every problem of the files. */
static json_t *run_files(struct mm_cli *cli, const struct mm_config *config, const json_t *files, struct mm_error *err)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(json_decref) json_t *results = json_array();
    bool is_whole = results != NULL;
    for (size_t i = 0; i < json_array_size(files); i++) {
        mm_cleanup(json_decref) json_t *one =
            mm_expectations_run(config, json_string_value(json_array_get(files, i)), &problems);
        is_whole &= one && json_array_extend(results, one) == 0;
    }
    mm_cli_print_problems(cli, &problems);
    if (is_whole)
        return MM_TAKE(results);
    (void)(problems.n_errors > 0 ? mm_cli_fail_with_problems(cli, "expectations", &problems, err)
                                 : mm_fail(err, MM_NO_MEMORY, "out of memory"));
    return NULL;
}

bool mm_verb_policy_test(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    cli->operands = MM_OPERANDS_ANY;
    if (mm_option_next(cli, argc, argv, OPTIONS, err) != MM_OPTION_END)
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_POLICY, err);
    mm_cleanup(json_decref) json_t *files = config ? find_files(cli, config, err) : NULL;
    mm_cleanup(json_decref) json_t *results = files ? run_files(cli, config, files, err) : NULL;
    size_t n_failed = count_failed(results);
    if (!results || !print_report(cli, results, n_failed, err))
        return false;
    return n_failed == 0 ||
           mm_fail(err, MM_CONFIG_INVALID, "%zu of %zu expectations aren't met", n_failed, json_array_size(results));
}
