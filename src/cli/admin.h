/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the service, over its admin listener: on this machine, or wherever it is. For the verbs that operators and custodians use while it runs.
 */
#ifndef MM_CLI_ADMIN_H
#define MM_CLI_ADMIN_H

#include "cli/options.h"
#include "config/config.h"

/* What the help of a verb says of the options that all of them take; the second, of what asks over the network. */
#define MM_ADMIN_HELP \
    "  --config FILE   the configuration, which says where the admin listener is\n" \
    "  --socket FILE   the admin listener's socket, for who can't read the configuration\n" MM_ADMIN_HTTPS_HELP \
    "  --json          the answer, and errors, as JSON\n"
#define MM_ADMIN_HTTPS_HELP \
    "  --admin-url URL  the admin listener over HTTPS, from wherever you are: https://HOST:PORT, with\n" \
    "      --cert FILE                 your client certificate, PEM, with its chain\n" \
    "      --key FILE                  its key, PEM\n" \
    "      --key-passphrase-file FILE  what the key is encrypted with (default: it isn't)\n" \
    "      --ca FILE                   CA of the listener's certificate, PEM (default: the machine's CAs)\n"

enum { MM_ADMIN_LOOK_MS = 10000 };

/*
 * The longest that a change may take a service of that configuration, in milliseconds: it waits for other changes, for the ledger, and for an
 * HSM's workers to start, by the longest start_timeout there. NULL: as in the profile `generic`, where nobody can say.
 */
int64_t mm_cli_service_change_ms(const struct mm_config *config);

struct
    mm_cli_service; /* opaque: where the admin listener is, and what to show it; not to be used by two threads at once */

/*
 * Where to ask: --admin-url, --socket, else what the configuration says. Nothing is asked yet. MM_CONFIG_INVALID if that can't be read or
 * names no socket; what else is wrong with it doesn't matter. MM_USAGE for options that exclude or miss each other, or a URL that is none;
 * MM_FILE for a file that can't be read.
 */
MM_MUST_USE struct mm_cli_service *mm_cli_service_find(struct mm_cli *cli, struct mm_error *err);
void mm_cli_service_free(struct mm_cli_service *service);
MM_DEFINE_CLEANUP(struct mm_cli_service, mm_cli_service_free);

/*
 * Ask `method` `path` with `body` (NULL: none) and take the answer, which the caller releases. Within MM_ADMIN_LOOK_MS for GET, else
 * mm_cli_service_change_ms(): past it nobody knows what became of a change, which may go on (MM_DEADLINE_EXCEEDED). A refusal becomes the
 * error of the table that its problem document names; what else the document says is kept in cli->failure and, of its `errors`, printed to
 * standard error in human form. MM_UNREACHABLE if there is no proper answer.
 */
MM_MUST_USE bool mm_cli_service_call(struct mm_cli *cli, struct mm_cli_service *service, const char *method,
                                     const char *path, const json_t *body, json_t **ret_answer, struct mm_error *err);

/*
 * Order `change` (`publish`, `revoke`, …) for the key cli->kid, which was given, because of cli->reason, and take the answer as
 * mm_cli_service_call() does. MM_USAGE if --kid is no kid.
 */
MM_MUST_USE bool mm_cli_service_order(struct mm_cli *cli, struct mm_cli_service *service, const char *change,
                                      json_t **ret_answer, struct mm_error *err);

/* The key `kid` in the answer to GET /v1/keys, borrowed; NULL if it isn't there. */
const json_t *mm_cli_service_key(const json_t *answer, const char *kid);

/* Print each item of an answer's list of problems to standard error, as `file:line: detail`. NULL is an empty list. */
void mm_cli_service_print_problems(const json_t *problems);

#endif
