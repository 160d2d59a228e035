/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark key destroy`: ends a retired key on its HSM token, under the custodian's PIN, and has the service record it. The service is asked
 * first whether the key is retired, so that nothing alive is destroyed; and the custodian types the kid, so that no history of a shell does it.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/admin.h"
#include "cli/custody.h"
#include "cli/problems.h"
#include "hsm/destroy.h"

const char MM_KEY_DESTROY_HELP[] =
    "Usage: mintmark key destroy --kid KID [--config FILE] [options]\n"
    "\n"
    "Destroy a retired key on its HSM token, for ever. The kid is asked for once more on standard input; anything else "
    "than the\n"
    "same kid stops here. Refused unless the service knows the key as retired. Your PIN is asked for on the terminal\n"
    "unless an option says where it is, and goes to the HSM token that the key lies on; --hsm-token makes sure which "
    "that is.\n"
    "\n"
    "  --kid KID              the key\n"
    "  --reason TEXT          why, for the ledger\n"
    "  --config FILE          the configuration that names HSM token and admin socket\n" MM_CUSTODY_HELP
    "  --socket FILE          the admin listener's socket, if it isn't the one that the configuration "
    "names\n" MM_ADMIN_HTTPS_HELP "  --json                 the answer, and errors, as JSON\n"
    "\n"
    "Exit status: 0 destroyed, 8 refused, 4 HSM token, module or key, 5 PIN refused (don't just try again), 7 the "
    "service\n"
    "can't be reached, 1 no answer in time (mintmark status shows what became of it), 3 configuration, 2 the command\n"
    "line or the kid that was typed.\n";

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS, MM_ADMIN_OPTIONS, MM_HSM_TOKEN_OPTION, MM_PIN_OPTIONS, MM_KID_OPTION, MM_REASON_OPTION, {0},
};

/* The service's word on the key: what it is and where it lies. */
static bool find_retired(struct mm_cli *cli, struct mm_cli_service *service, const char *kid, json_t **ret_key,
                         struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *answer = NULL;
    if (!mm_cli_service_call(cli, service, "GET", "/v1/keys", NULL, &answer, err))
        return false;
    const json_t *key = mm_cli_service_key(answer, kid);
    const char *state = mm_json_string(key, "state");
    if (!key)
        return mm_fail(err, MM_KEY_UNKNOWN, "the service knows no such key");
    if (!state || strcmp(state, "retired") != 0)
        return mm_fail(err, MM_KEY_STATE, "the key is %.32s: only a retired one can be destroyed",
                       state ? state : "of no state that the service told");
    *ret_key = json_deep_copy(key);
    return *ret_key || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

static bool confirm(const char *kid, struct mm_error *err)
{
    char typed[128] = "";
    (void)fputs("There is no way back. Type the kid of the key to destroy: ", stderr);
    (void)fflush(stderr);
    if (!fgets(typed, sizeof typed, stdin))
        typed[0] = '\0';
    typed[strcspn(typed, "\n")] = '\0';
    return strcmp(typed, kid) == 0 || mm_fail(err, MM_USAGE, "that isn't the kid: nothing was destroyed");
}

/*
 * The HSM token that the key lies on, before anybody is asked for a kid or a PIN: one that was named for a key on another would get neither.
 * NULL: MM_USAGE for another one than --hsm-token names, MM_HSM_TOKEN_NOT_FOUND for one that the configuration doesn't know any more.
 */
static const struct mm_hsm_token_config *find_token(const struct mm_config *config, const char *named,
                                                    const json_t *known, struct mm_error *err)
{
    const char *lies_on = mm_json_string(known, "hsm_token");
    if (!lies_on) {
        (void)mm_fail(err, MM_INTERNAL, "the service didn't say where the key lies");
        return NULL;
    }
    if (named && strcmp(named, lies_on) != 0) {
        (void)mm_fail(err, MM_USAGE, "the key lies on HSM token %.64s, not on the one that --hsm-token names", lies_on);
        return NULL;
    }
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, lies_on, NULL);
    if (!token)
        (void)
            mm_fail(err, MM_HSM_TOKEN_NOT_FOUND,
                    "the key lies on HSM token %.64s, which %s doesn't name any more: name it there to destroy the key",
                    lies_on, config->file);
    return token;
}

/* Where the service says that it lies. */
static bool destroy(const struct mm_config *config, const struct mm_hsm_token_config *token,
                    const struct mm_custody_options *custody, const json_t *known, struct mm_error *err)
{
    const char *kid = mm_json_string(known, "kid");
    const char *id = mm_json_string(known, "hsm_id");
    const char *label = mm_json_string(known, "hsm_label");
    if (!id || !label)
        return mm_fail(err, MM_INTERNAL, "the service didn't say where the key lies");
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_custody_open(config, token, custody, MM_MODULE_CUSTODY, err);
    if (!module)
        return false;
    struct mm_error why = {0};
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, id, label, &why);
    /* Destroyed by other means, or by an earlier try whose end the service couldn't record. */
    if (!key && why.code == MM_KEY_NOT_FOUND) {
        (void)fputs("It isn't on the HSM token any more; that is recorded.\n", stderr);
        return true;
    }
    if (!key)
        return mm_fail(err, why.code, "%s", why.message);
    if (strcmp(mm_hsm_key_info(key)->kid, kid) != 0)
        return mm_fail(err, MM_KEY_MISMATCH, "what lies there now is another key: it wasn't touched");
    return mm_hsm_key_destroy(module, key, err);
}

bool mm_verb_key_destroy(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct mm_custody_options custody = {.pin_fd = -1};
    if (!mm_custody_read_options(cli, argc, argv, OPTIONS, &custody, err) || !mm_option_require("--kid", cli->kid, err))
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    mm_cleanup(json_decref) json_t *known = NULL;
    mm_cleanup(json_decref) json_t *answer = NULL;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = config ? mm_cli_service_find(cli, err) : NULL;
    if (!service || !find_retired(cli, service, cli->kid, &known, err))
        return false;
    const struct mm_hsm_token_config *token = find_token(config, custody.hsm_token, known, err);
    if (!token || !confirm(cli->kid, err) || !destroy(config, token, &custody, known, err) ||
        !mm_cli_service_order(cli, service, "destroy", &answer, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    (void)printf("Key %s is destroyed.\n", cli->kid);
    return true;
}
