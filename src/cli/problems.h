/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading the configuration in a verb, and saying what is wrong with it: every problem on a line of its own.
 */
#ifndef MM_CLI_PROBLEMS_H
#define MM_CLI_PROBLEMS_H

#include "cli/options.h"
#include "config/config.h"

enum mm_load { MM_LOAD_ALL, MM_LOAD_SERVICE /* mm_config_load_service() */, MM_LOAD_POLICY /* …_policy() */ };

/* Load `file`. Problems are printed to standard error, or in JSON form kept in cli->failure; NULL with MM_CONFIG_INVALID. */
MM_MUST_USE struct mm_config *mm_cli_load_config(struct mm_cli *cli, const char *file, enum mm_load load,
                                                 struct mm_error *err);

/* In human form, print each problem to standard error. */
void mm_cli_print_problems(const struct mm_cli *cli, const struct mm_problems *problems);

/* Fail with MM_CONFIG_INVALID, counting the errors in `file`; in JSON form they go to cli->failure. */
bool mm_cli_fail_with_problems(struct mm_cli *cli, const char *file, const struct mm_problems *problems,
                               struct mm_error *err);

/* [{"severity","file","line","path","reason"}]; NULL without memory. */
MM_MUST_USE json_t *mm_problems_to_json(const struct mm_problems *problems);

#endif
