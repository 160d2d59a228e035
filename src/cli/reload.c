/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark reload`: have the running service load its configuration anew, and say what came of it.
 */
#include "cli/verbs.h"

#include "cli/admin.h"
#include "cli/removed.h"

const char MM_RELOAD_HELP[] =
    "Usage: mintmark reload [--config FILE | --socket FILE | --admin-url URL …] [--json]\n"
    "\n"
    "Have the running service load its configuration, its tenants' files, CAs and certificates anew, as\n"
    "SIGHUP does, and wait for the outcome. If anything is wrong, each problem is printed with its file and line,\n"
    "and nothing changes. Takes the role operator.\n"
    "\n" MM_ADMIN_HELP "\n"
    "Exit status: 0 reloaded, 3 refused for what is in the files, 8 refused to whoever asks, 6 the ledger can't "
    "record\n"
    "it, 7 the service can't be reached, or who asks holds no role there.\n"
    "\n"
    "Example:\n"
    "  mintmark check-config && mintmark reload\n";

static void print_reloaded(const json_t *answer)
{
    const json_t *policy = json_object_get(answer, "policy");
    const char *digest = mm_json_string(policy, "digest");
    int64_t n = mm_json_integer(policy, "tenants", 0);
    mm_cli_service_print_problems(json_object_get(answer, "warnings"));
    (void)printf("reloaded: %lld tenant%s, policy ", (long long)n, n == 1 ? "" : "s");
    mm_print_text(stdout, digest ? digest : "?");
    (void)fputc('\n', stdout);
    mm_print_removed(json_object_get(answer, "removed"));
}

bool mm_verb_reload(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    static const struct option OPTIONS[] = {MM_COMMON_OPTIONS, MM_ADMIN_OPTIONS, {0}};
    if (mm_option_next(cli, argc, argv, OPTIONS, err) != MM_OPTION_END)
        return false;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    mm_cleanup(json_decref) json_t *answer = NULL;
    if (!service || !mm_cli_service_call(cli, service, "POST", "/v1/reload", NULL, &answer, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    print_reloaded(answer);
    return true;
}
