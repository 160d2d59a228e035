/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tenant's policy is expected to decide, in files beside the tenants': `acme.test.yaml` is of `acme.yaml`.
 */
#ifndef MM_CLI_EXPECTATIONS_H
#define MM_CLI_EXPECTATIONS_H

#include "config/config.h"

/*
 * Hold the policy against the expectations of `file`. A list of {"file", "line", "name", "passed", "expected", "got"}, in the file's order; NULL
 * if the file or a token that it names can't be read or isn't as it should be, with every problem of it in `problems`.
 */
MM_MUST_USE json_t *mm_expectations_run(const struct mm_config *config, const char *file, struct mm_problems *problems);

/* Append the names of the files of expectations in `folder` (`….test.yaml`), sorted, to the array `ret_files`. */
MM_MUST_USE bool mm_expectations_list(const char *folder, json_t *ret_files, struct mm_error *err);

/* Append those that lie beside files of the configuration. */
MM_MUST_USE bool mm_expectations_beside(const struct mm_config *config, json_t *ret_files, struct mm_error *err);

#endif
