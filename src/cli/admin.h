/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the service on this machine, over its admin listener: for the verbs that operators and custodians use while it runs.
 */
#ifndef MM_CLI_ADMIN_H
#define MM_CLI_ADMIN_H

#include "cli/options.h"

/* What the help of a verb says of the options that all of them take. */
#define MM_ADMIN_HELP \
    "  --config FILE   the configuration, which says where the admin listener is\n" \
    "  --socket FILE   the admin listener's socket, for who can't read the configuration\n" \
    "  --json          the answer, and errors, as JSON\n"

enum { MM_ADMIN_LOOK_MS = 10000, MM_ADMIN_CHANGE_MS = 120000 /* a handler may wait for an HSM */ };

/*
 * The path of the admin listener's socket, for the caller to free: --socket, else what the configuration says. MM_CONFIG_INVALID if
 * that can't be read or has no `admin`; what else is wrong with it doesn't matter.
 */
MM_MUST_USE char *mm_admin_find(struct mm_cli *cli, struct mm_error *err);

/*
 * Ask `method` `path` with `body` (NULL: none) and take the answer, which the caller releases. Within MM_ADMIN_LOOK_MS for GET, else
 * MM_ADMIN_CHANGE_MS. A refusal becomes the error of the table that its problem document names; what else the document says is
 * kept in cli->failure and, of its `errors`, printed to standard error in human form. MM_UNREACHABLE if there is no proper answer.
 */
MM_MUST_USE bool mm_admin_call(struct mm_cli *cli, const char *socket, const char *method, const char *path,
                               const json_t *body, json_t **ret_answer, struct mm_error *err);

/*
 * Order `change` (`publish`, `revoke`, …) for the key cli->kid, which was given, because of cli->reason, and take the answer as
 * mm_admin_call() does. MM_USAGE if --kid is no kid.
 */
MM_MUST_USE bool mm_admin_order(struct mm_cli *cli, const char *socket, const char *change, json_t **ret_answer,
                                struct mm_error *err);

/* Print each item of an answer's list of problems to standard error, as `file:line: detail`. NULL is an empty list. */
void mm_admin_print_problems(const json_t *problems);

#endif
