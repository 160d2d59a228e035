/* SPDX-License-Identifier: Apache-2.0 */
/* `mintmark clock accept`: an operator vouches for a clock that is behind what the ledger holds. */
#include "cli/verbs.h"

#include "cli/admin.h"

const char MM_CLOCK_ACCEPT_HELP[] =
    "Usage: mintmark clock accept --reason TEXT [options]\n"
    "\n"
    "Let the service issue again though its clock is behind the latest entry of its ledger (503 clock_unsafe): you "
    "have looked,\n"
    "and it is that entry's time that was wrong. The acceptance is recorded. Takes the role operator.\n"
    "\n"
    "  --reason TEXT   why, for the ledger\n" MM_ADMIN_HELP "\n"
    "Exit status: 0 accepted, 8 refused, 7 the service can't be reached, 3 configuration, 2 the command line.\n";

static const struct option OPTIONS[] = {MM_COMMON_OPTIONS, MM_ADMIN_OPTIONS, MM_REASON_OPTION, {0}};

bool mm_verb_clock_accept(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    if (mm_option_next(cli, argc, argv, OPTIONS, err) != MM_OPTION_END ||
        !mm_option_require("--reason", cli->reason, err))
        return false;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    mm_cleanup(json_decref) json_t *body = json_pack("{s:s}", "reason", cli->reason);
    mm_cleanup(json_decref) json_t *answer = NULL;
    if (!service || !mm_cli_service_call(cli, service, "POST", "/v1/clock", body, &answer, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    (void)fputs("The clock is accepted.\n", stdout);
    return true;
}
