/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark token unlock`: an operator says that the PIN was put right, and one login shows it.
 */
#include "cli/verbs.h"

#include "cli/custody.h"
#include "cli/problems.h"
#include "hsm/login.h"
#include "util/clock.h"

const char MM_TOKEN_UNLOCK_HELP[] =
    "Usage: mintmark token unlock [NAME] [--config FILE] [options]\n"
    "\n"
    "When an HSM token refuses the PIN, Mintmark remembers it and doesn't send the PIN again, over any number of "
    "restarts:\n"
    "a few wrong ones lock most HSMs for good. Once you have put the PIN right, this sends it once more, which also\n"
    "resets the HSM's own count of wrong ones, and forgets the refusal. If the PIN is refused again, all stays as it "
    "is.\n"
    "A running service notices within a second. An HSM token that has locked itself is for its security officer.\n"
    "\n"
    "  NAME               the HSM token's name in the configuration (default: the only one); --hsm-token NAME does, "
    "too\n"
    "  --config FILE      the configuration (default: $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml)\n"
    "  --pin-file FILE    read the PIN from FILE (default: where the service reads it)\n"
    "  --pin-fd N         read the PIN from the open descriptor N\n"
    "  --no-login         send no PIN, only forget the refusal\n"
    "  --json             the result, and errors, as JSON\n"
    "\n"
    "Exit status: 0 it is unlocked (also if it was), 5 the PIN was refused again, 4 HSM token or module, 1 a file "
    "can't be\n"
    "read or removed, 3 configuration, 2 the command line.\n";

enum { NO_LOGIN = MM_OPTION_FIRST };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    MM_HSM_TOKEN_OPTION,
    MM_PIN_OPTIONS,
    {"no-login", no_argument, NULL, NO_LOGIN},
    {0},
};

struct unlock_options {
    struct mm_custody_options custody;
    enum { LOG_IN, SEND_NO_PIN } login;
};

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct unlock_options *options,
                         struct mm_error *err)
{
    cli->operands = MM_OPERAND_OPTIONAL;
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0) {
        if (option == NO_LOGIN)
            options->login = SEND_NO_PIN;
        else if (!mm_custody_take_option(&options->custody, option, err))
            return false;
    }
    if (!options->custody.pin_file && options->custody.pin_fd < 0)
        options->custody.whose = MM_PIN_OF_SERVICE;
    if (option == MM_OPTION_END && cli->operand && options->custody.hsm_token)
        return mm_fail(err, MM_USAGE, "NAME and --hsm-token exclude each other: both name the HSM token");
    if (cli->operand)
        options->custody.hsm_token = cli->operand;
    return option == MM_OPTION_END;
}

/* The operator's word that the PIN is right, put to the test. */
static bool try_pin(const struct mm_config *config, const struct mm_hsm_token_config *token,
                    const struct unlock_options *options, struct mm_error *err)
{
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_custody_open(config, token, &options->custody, MM_MODULE_UNLOCK, err);
    return module != NULL;
}

static bool print_result(const struct mm_cli *cli, const char *name, const struct mm_latch *latch, struct mm_error *err)
{
    if (cli->form == MM_FORM_JSON) {
        mm_cleanup(json_decref) json_t *result =
            json_pack("{s:s, s:b}", "hsm_token", name, "was_locked", latch != NULL);
        return result ? mm_print_json(stdout, result, err) : mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    if (!latch) {
        (void)printf("%s: it wasn't locked\n", name);
        return true;
    }
    (void)printf("%s: unlocked. It was locked at %s: ", name, latch->time[0] ? latch->time : "an unknown time");
    mm_print_text(stdout, latch->reason[0] ? latch->reason : "no reason is known");
    (void)fputc('\n', stdout);
    return true;
}

/* Forget the refusal at `path`, if there is one. */
static bool clear_latch(const char *path, struct mm_latch *ret_latch, bool *ret_was_latched, struct mm_error *err)
{
    struct mm_error cause = {0};
    *ret_was_latched = mm_latch_read(path, ret_latch, &cause) && mm_latch_clear(path, &cause);
    return *ret_was_latched || cause.code == MM_NOT_FOUND || mm_fail(err, cause.code, "%s", cause.message);
}

bool mm_verb_token_unlock(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct unlock_options options = {.custody = {.pin_fd = -1}};
    if (!read_options(cli, argc, argv, &options, err))
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    const struct mm_hsm_token_config *token =
        config ? mm_config_hsm_token(config, options.custody.hsm_token, err) : NULL;
    mm_cleanup(free) char *path = token ? mm_latch_path(config, token->name, err) : NULL;
    if (!path || !mm_latch_make_folder(config, err) ||
        (options.login == LOG_IN && !try_pin(config, token, &options, err)))
        return false;
    struct mm_latch latch = {0};
    bool was_latched = false;
    return mm_login_forget(path, token->name, mm_deadline_after_ms(token->start_timeout * 1000), err) &&
           clear_latch(path, &latch, &was_latched, err) &&
           print_result(cli, token->name, was_latched ? &latch : NULL, err);
}
