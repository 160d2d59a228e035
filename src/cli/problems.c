/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/problems.h"

json_t *mm_problems_to_json(const struct mm_problems *problems)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    for (size_t i = 0; list && i < problems->n; i++) {
        const struct mm_problem *problem = &problems->items[i];
        json_t *item = json_pack("{s:s, s:s*, s:i, s:s, s:s}", "severity",
                                 problem->severity == MM_PROBLEM_ERROR ? "error" : "warning", "file", problem->file,
                                 "line", problem->line, "path", problem->path, "reason", problem->reason);
        if (!mm_json_append(list, item, NULL))
            return NULL;
    }
    return MM_TAKE(list);
}

void mm_cli_print_problems(const struct mm_cli *cli, const struct mm_problems *problems)
{
    if (cli->form == MM_FORM_JSON)
        return;
    for (size_t i = 0; i < problems->n; i++) {
        char line[2048];
        mm_print_text(stderr, mm_problem_format(&problems->items[i], line, sizeof line));
        (void)fputc('\n', stderr);
    }
}

bool mm_cli_fail_with_problems(struct mm_cli *cli, const char *file, const struct mm_problems *problems,
                               struct mm_error *err)
{
    if (cli->form == MM_FORM_JSON && !cli->failure)
        cli->failure = json_pack("{s:o}", "problems", mm_problems_to_json(problems));
    return mm_fail(err, MM_CONFIG_INVALID, "%s: %zu error%s", file, problems->n_errors,
                   problems->n_errors == 1 ? "" : "s");
}

struct mm_config *mm_cli_load_config(struct mm_cli *cli, const char *file, enum mm_load load, struct mm_error *err)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_config *config = load == MM_LOAD_ALL      ? mm_config_load(file, &problems)
                               : load == MM_LOAD_POLICY ? mm_config_load_policy(file, &problems)
                                                        : mm_config_load_service(file, &problems);
    mm_cli_print_problems(cli, &problems);
    if (!config)
        (void)mm_cli_fail_with_problems(cli, file, &problems, err);
    return config;
}
