/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark key stage`: a custodian shows the service a key on an HSM token. Its custody is judged here, under the custodian's PIN, and its public
 * key goes to the ledger: what the key is from then on is what was staged.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/admin.h"
#include "cli/custody.h"
#include "cli/problems.h"

const char MM_KEY_STAGE_HELP[] =
    "Usage: mintmark key stage [--kid KID | --uri URI] [--config FILE] [options]\n"
    "\n"
    "Make a key on an HSM token known to the running service: its public key, and where it lies, go to the ledger. It "
    "signs\n"
    "nothing yet. If no other key is on standby the service publishes it by itself; mintmark key rotate lets it sign.\n"
    "Your PIN is asked for on the terminal unless an option says where it is.\n"
    "\n"
    "  --kid KID              the key (default: the only one on the HSM token that fits and is new)\n" MM_URI_HELP
    "  --algorithm ALG        what it signs: ES256, ES384, RS256, PS256 or EdDSA (default: keys.algorithm)\n"
    "  --reason TEXT          why, for the ledger\n"
    "  --config FILE          the configuration that names HSM token and admin socket\n" MM_CUSTODY_HELP
    "  --socket FILE          the admin listener's socket, if it isn't the one that the configuration "
    "names\n" MM_ADMIN_HTTPS_HELP "  --json                 the answer, and errors, as JSON\n"
    "\n"
    "Exit status: 0 staged, 4 HSM token, module or key, 5 PIN refused (don't just try again), 7 the service can't be "
    "reached,\n"
    "8 refused, 1 no answer in time (mintmark status shows what became of it), 3 configuration, 2 the command line.\n";

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS, MM_ADMIN_OPTIONS,    MM_HSM_TOKEN_OPTION,
    MM_PIN_OPTIONS,    MM_KID_OPTION,       MM_URI_OPTION,
    MM_REASON_OPTION,  MM_ALGORITHM_OPTION, {0},
};

/* The kids of all keys that the service knows. */
static bool find_known(struct mm_cli *cli, struct mm_cli_service *service, json_t **ret_kids, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *answer = NULL;
    mm_cleanup(json_decref) json_t *kids = json_array();
    if (!mm_cli_service_call(cli, service, "GET", "/v1/keys", NULL, &answer, err))
        return false;
    const json_t *keys = json_object_get(answer, "keys");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *kid = mm_json_string(json_array_get(keys, i), "kid");
        if (kid && !mm_json_append(kids, json_string(kid), err))
            return false;
    }
    *ret_kids = MM_TAKE(kids);
    return true;
}

static bool print_answer(const struct mm_cli *cli, const json_t *answer, struct mm_error *err)
{
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    (void)fputs("Staged key ", stdout);
    mm_print_value(stdout, json_object_get(answer, "kid"));
    (void)fputs(".\n", stdout);
    return true;
}

static bool stage(struct mm_cli *cli, struct mm_cli_service *service, const char *hsm_token,
                  enum mm_algorithm algorithm, const struct mm_custody_key *key, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *body =
        json_pack("{s:s*, s:s, s:s, s:O, s:s, s:s, s:s*}", "kid", mm_json_string(key->jwk, "kid"), "alg",
                  mm_algorithm_name(algorithm), "hsm_token", hsm_token, "jwk", key->jwk, "hsm_id", key->id, "hsm_label",
                  key->label, "reason", cli->reason);
    mm_cleanup(json_decref) json_t *answer = NULL;
    if (!body)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return mm_cli_service_call(cli, service, "POST", "/v1/keys", body, &answer, err) && print_answer(cli, answer, err);
}

bool mm_verb_key_stage(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct mm_custody_options custody = {.pin_fd = -1};
    enum mm_algorithm algorithm;
    bool is_named = false;
    if (!mm_custody_read_options(cli, argc, argv, OPTIONS, &custody, err) ||
        !mm_custody_names_key(cli->kid, &custody, &is_named, err))
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    const struct mm_hsm_token_config *token = config ? mm_custody_hsm_token(config, &custody, err) : NULL;
    if (!token || !mm_custody_algorithm(&custody, config, &algorithm, err))
        return false;
    mm_cleanup(json_decref) json_t *known = NULL;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    if (!service || (!is_named && !find_known(cli, service, &known, err)))
        return false;
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_custody_open(config, token, &custody, MM_MODULE_SIGN, err);
    mm_cleanup(mm_custody_key_clear) struct mm_custody_key key = {0};
    return module && mm_custody_choose_key(module, algorithm, cli->kid, &custody, known, &key, err) &&
           stage(cli, service, token->name, algorithm, &key, err);
}
