/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark token unlock`: an operator says that the PIN was put right.
 */
#include "cli/verbs.h"

#include "cli/problems.h"
#include "hsm/latch.h"

const char MM_TOKEN_UNLOCK_HELP[] =
    "Usage: mintmark token unlock [NAME] [--config FILE] [--json]\n"
    "\n"
    "When an HSM token refuses the PIN, Mintmark remembers it and never sends a PIN to that HSM token again, over any\n"
    "number of restarts: a few wrong ones lock most HSMs for good. Once the PIN file is right, this makes it forget.\n"
    "A running service notices within a second. It doesn't unlock an HSM token that has locked itself: that is for "
    "its\n"
    "security officer.\n"
    "\n"
    "  NAME               the HSM token's name in the configuration (default: the only one)\n"
    "  --config FILE      the configuration (default: $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml)\n"
    "  --json             the result, and errors, as JSON\n"
    "\n"
    "Exit status: 0 it is unlocked (also if it was), 1 the file that says so can't be removed, 3 configuration.\n";

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    {0},
};

static void print_result(const struct mm_cli *cli, const char *name, const struct mm_latch *latch)
{
    if (cli->form == MM_FORM_JSON) {
        (void)printf("{\"hsm_token\":\"%s\",\"was_latched\":%s}\n", name, latch ? "true" : "false");
        return;
    }
    if (!latch) {
        (void)printf("%s: not locked, nothing to do\n", name);
        return;
    }
    (void)printf("%s: unlocked. It was locked at %s: ", name, latch->time);
    mm_print_text(stdout, latch->reason);
    (void)fputc('\n', stdout);
}

bool mm_verb_token_unlock(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    cli->operands = MM_OPERAND_OPTIONAL;
    if (mm_option_next(cli, argc, argv, OPTIONS, err) != MM_OPTION_END)
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    const struct mm_hsm_token_config *token = config ? mm_config_hsm_token(config, cli->operand, err) : NULL;
    mm_cleanup(free) char *path = token ? mm_latch_path(config, token->name, err) : NULL;
    if (!path)
        return false;

    struct mm_latch latch = {0};
    struct mm_error cause = {0};
    if (mm_latch_read(path, &latch, &cause) && mm_latch_clear(path, &cause)) {
        print_result(cli, token->name, &latch);
        return true;
    }
    if (cause.code != MM_NOT_FOUND)
        return mm_fail(err, cause.code, "%s", cause.message);
    print_result(cli, token->name, NULL);
    return true;
}
