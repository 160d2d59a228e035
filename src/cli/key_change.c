/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark key publish`, `activate`, `retire`, `withdraw` and `revoke`: one order to the running service, which checks it, records it and
 * answers what became of it.
 */
#include "cli/verbs.h"

#include <stdio.h>

#include "cli/admin.h"

#define CHANGE_HELP \
    "  --kid KID       the key (see mintmark key list, mintmark status)\n" \
    "  --reason TEXT   why, for the ledger\n" MM_ADMIN_HELP "\n" \
    "Exit status: 0 done, 8 refused (the reason is told), 7 the service can't be reached, 1 no answer in time\n" \
    "(mintmark status shows what became of it), 3 configuration, 2 the command line.\n"

const char MM_KEY_PUBLISH_HELP[] =
    "Usage: mintmark key publish --kid KID [options]\n"
    "\n"
    "Show a staged key to verifiers: it joins the JWKS and may sign once every cache has it. The service first checks\n"
    "the key's custody on its HSM token and has it sign a probe.\n"
    "\n" CHANGE_HELP;
const char MM_KEY_ACTIVATE_HELP[] =
    "Usage: mintmark key activate --kid KID [options]\n"
    "\n"
    "Let a published key sign, beside those that are active. Refused before it has been published for\n"
    "keys.publish_ahead. (mintmark key rotate does this, and retires the others, by itself.)\n"
    "\n" CHANGE_HELP;
const char MM_KEY_RETIRE_HELP[] = "Usage: mintmark key retire --kid KID [options]\n"
                                  "\n"
                                  "Stop signing with an active key. It stays in the JWKS until its last token has "
                                  "expired, and is withdrawn by itself\n"
                                  "then. The last active key can't retire: rotate instead.\n"
                                  "\n" CHANGE_HELP;
const char MM_KEY_WITHDRAW_HELP[] = "Usage: mintmark key withdraw --kid KID [options]\n"
                                    "\n"
                                    "Give up a staged or published key that never signed.\n"
                                    "\n" CHANGE_HELP;
const char MM_KEY_REVOKE_HELP[] = "Usage: mintmark key revoke --kid KID --compromised [options]\n"
                                  "\n"
                                  "For the bad day: the standby is activated at once, and the key leaves signing and "
                                  "the JWKS. Tokens that it signed stop\n"
                                  "verifying as verifiers fetch the JWKS again; the answer says how many are alive and "
                                  "who accepts them for how long.\n"
                                  "There is no way back.\n"
                                  "\n"
                                  "  --compromised   say so: without it nothing is done\n" CHANGE_HELP;

enum { COMPROMISED = MM_OPTION_FIRST };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS, MM_ADMIN_OPTIONS, MM_KID_OPTION, MM_REASON_OPTION, {0},
};

static const struct option REVOKE_OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_ADMIN_OPTIONS,
    MM_KID_OPTION,
    MM_REASON_OPTION,
    {"compromised", no_argument, NULL, COMPROMISED},
    {0},
};

/* What `key revoke` adds: facts that no command can change any more, but that decide what is done next. */
static void print_stranded(const json_t *answer)
{
    const json_t *verifiers = json_object_get(answer, "verifiers");
    const json_t *live = json_object_get(answer, "live_tokens");
    bool has_key = json_is_string(json_object_get(answer, "signs"));
    (void)fputs(has_key ? "Key " : "No key signs ", stdout);
    mm_print_value(stdout, json_object_get(answer, has_key ? "signs" : "alg"));
    (void)fputs(has_key ? " signs now.\n" : " any more: stage one (mintmark key stage).\n", stdout);
    if (json_is_integer(live))
        (void)printf("At most %lld live tokens were signed with it.\n", (long long)json_integer_value(live));
    else
        (void)fputs("How many live tokens were signed with it isn't known: the ledger couldn't be read.\n", stdout);
    for (size_t i = 0; i < json_array_size(verifiers); i++) {
        (void)fputs("  ", stdout);
        mm_print_value(stdout, json_array_get(verifiers, i));
        (void)fputc('\n', stdout);
    }
}

static bool print_answer(const struct mm_cli *cli, const json_t *answer, struct mm_error *err)
{
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    (void)fputs("Key ", stdout);
    mm_print_value(stdout, json_object_get(answer, "kid"));
    (void)fputs(" is ", stdout);
    mm_print_value(stdout, json_object_get(answer, "state"));
    (void)fputs(".\n", stdout);
    if (json_object_get(answer, "live_tokens"))
        print_stranded(answer);
    return true;
}

static bool order(struct mm_cli *cli, const char *change, struct mm_error *err)
{
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    mm_cleanup(json_decref) json_t *answer = NULL;
    return service && mm_cli_service_order(cli, service, change, &answer, err) && print_answer(cli, answer, err);
}

static bool run(struct mm_cli *cli, int argc, char **argv, const char *change, struct mm_error *err)
{
    return mm_option_next(cli, argc, argv, OPTIONS, err) == MM_OPTION_END &&
           mm_option_require("--kid", cli->kid, err) && order(cli, change, err);
}

bool mm_verb_key_publish(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    return run(cli, argc, argv, "publish", err);
}

bool mm_verb_key_activate(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    return run(cli, argc, argv, "activate", err);
}

bool mm_verb_key_retire(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    return run(cli, argc, argv, "retire", err);
}

bool mm_verb_key_withdraw(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    return run(cli, argc, argv, "withdraw", err);
}

bool mm_verb_key_revoke(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    enum { NOT_SAID, SAID } compromised = NOT_SAID;
    int option;
    while ((option = mm_option_next(cli, argc, argv, REVOKE_OPTIONS, err)) >= 0)
        compromised = SAID;
    if (option == MM_OPTION_WRONG || !mm_option_require("--kid", cli->kid, err))
        return false;
    if (compromised == NOT_SAID)
        return mm_fail(err, MM_USAGE, "revoking strands live tokens: say --compromised, or rotate");
    return order(cli, "revoke", err);
}
