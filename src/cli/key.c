/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark key generate` and `mintmark key list`: a custodian's work on an HSM token, in this process alone.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/custody.h"
#include "cli/problems.h"
#include "cli/states.h"
#include "hsm/generate.h"

const char MM_KEY_GENERATE_HELP[] =
    "Usage: mintmark key generate --label LABEL [--config FILE] [options]\n"
    "\n"
    "Generate a signing key inside the HSM token: sensitive, never extractable, good for signing and nothing else. It\n"
    "signs nothing until it is activated. Your PIN is asked for on the terminal unless an option says where it is.\n"
    "\n"
    "  --label LABEL          the key's CKA_LABEL; must be new on the HSM token\n"
    "  --algorithm ALG        ES256, ES384, RS256, PS256 or EdDSA (default: keys.algorithm of the configuration)\n"
    "  --bits N               RSA only: 2048 to 4096 (default: 3072)\n"
    "  --config FILE          the configuration that names the HSM token\n" MM_CUSTODY_HELP
    "  --json                 the result, and errors, as JSON\n"
    "\n"
    "Exit status: 0 generated, 4 HSM token, module or key, 5 PIN refused (don't just try again), 3 configuration,\n"
    "2 the command line.\n"
    "\n"
    "Example, a first key:\n"
    "  mintmark key generate --label mint-1 --algorithm ES256\n"
    "  mintmark init\n";

const char MM_KEY_LIST_HELP[] =
    "Usage: mintmark key list [--config FILE] [options]\n"
    "\n"
    "List the HSM token's private keys: kid, type, label, CKA_ID, whether their custody is sound (never extractable,\n"
    "always sensitive, for signing only) and the state that the ledger knows them in, and on a line of its own the "
    "PKCS#11\n"
    "URI (RFC 7512). What the module can't tell of a key's custody, and the HSM token's profile excepts, is named.\n"
    "\n"
    "  --config FILE          the configuration that names the HSM token\n" MM_CUSTODY_HELP
    "  --json                 the list, and errors, as JSON\n"
    "\n"
    "Exit status: 0 listed, 4 HSM token or module, 5 PIN refused (don't just try again), 3 configuration, 2 the "
    "command\n"
    "line.\n";

struct generate_options {
    struct mm_custody_options custody;
    const char *label;
    int64_t bits;
};

enum { LABEL = MM_OPTION_FIRST, BITS };

enum { UNTOLD_MAX = 160 };

static const struct option GENERATE_OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    MM_HSM_TOKEN_OPTION,
    MM_PIN_OPTIONS,
    {"label", required_argument, NULL, LABEL},
    MM_ALGORITHM_OPTION,
    {"bits", required_argument, NULL, BITS},
    {0},
};

static const struct option LIST_OPTIONS[] = {
    MM_COMMON_OPTIONS, MM_CONFIG_OPTION, MM_HSM_TOKEN_OPTION, MM_PIN_OPTIONS, {0},
};

static bool read_generate_options(struct mm_cli *cli, int argc, char **argv, struct generate_options *options,
                                  struct mm_error *err)
{
    int option;
    while ((option = mm_option_next(cli, argc, argv, GENERATE_OPTIONS, err)) >= 0) {
        if (option == LABEL)
            options->label = optarg;
        else if (option == BITS) {
            if (!mm_option_integer("--bits", optarg, MM_RSA_BITS_MIN, MM_RSA_BITS_MAX, &options->bits, err))
                return false;
        } else if (!mm_custody_take_option(&options->custody, option, err)) {
            return false;
        }
    }
    return option == MM_OPTION_END;
}

/* The algorithm asked for, and the request for a key of its type. */
static bool make_request(const struct generate_options *options, const struct mm_config *config,
                         enum mm_algorithm *ret_algorithm, struct mm_hsm_key_request *ret_request, struct mm_error *err)
{
    enum mm_algorithm algorithm;
    if (!mm_custody_algorithm(&options->custody, config, &algorithm, err))
        return false;
    enum mm_key_type type = mm_algorithm_key_type(algorithm);
    if (options->bits && type != MM_KEY_RSA)
        return mm_fail(err, MM_USAGE, "--bits is for RSA; a key for %s has one size", mm_algorithm_name(algorithm));
    *ret_algorithm = algorithm;
    *ret_request =
        (struct mm_hsm_key_request){.algorithm = algorithm, .bits = (unsigned)options->bits, .label = options->label};
    return true;
}

static json_t *key_to_json(const struct mm_module *module, const struct mm_hsm_key_info *info)
{
    char type[64];
    char untold[UNTOLD_MAX];
    mm_cleanup(free) char *uri = mm_custody_key_uri(module, info, NULL);
    if (!uri)
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s*, s:s*}", "kid", info->kid, "type",
                     mm_hsm_key_info_describe(info, type, sizeof type), "label", info->label, "id", info->id, "uri",
                     uri, "custody_sound", info->is_custody_sound, "custody_reason",
                     info->is_custody_sound ? NULL : info->custody_reason, "custody_untold",
                     info->untold ? mm_hsm_key_info_untold(info, untold, sizeof untold) : NULL);
}

static bool print_generated(const struct mm_cli *cli, const struct mm_module *module,
                            const struct mm_hsm_key_info *info, enum mm_algorithm algorithm, struct mm_error *err)
{
    if (cli->form == MM_FORM_JSON) {
        mm_cleanup(json_decref) json_t *json = key_to_json(module, info);
        if (!json || json_object_set_new(json, "alg", json_string(mm_algorithm_name(algorithm))) != 0)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        return mm_print_json(stdout, json, err);
    }
    char type[64];
    (void)printf("Generated a %s key for %s on the HSM token.\n  kid    %s\n  id     %s\n  label  ",
                 mm_hsm_key_info_describe(info, type, sizeof type), mm_algorithm_name(algorithm), info->kid, info->id);
    mm_print_text(stdout, info->label);
    (void)fputs("\nIt can't be read, copied or used for anything but signing.\n", stdout);
    return true;
}

bool mm_verb_key_generate(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct generate_options options = {.custody = {.pin_fd = -1}};
    if (!read_generate_options(cli, argc, argv, &options, err) || !mm_option_require("--label", options.label, err))
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    const struct mm_hsm_token_config *token =
        config ? mm_config_hsm_token(config, options.custody.hsm_token, err) : NULL;
    enum mm_algorithm algorithm = MM_ES256;
    struct mm_hsm_key_request request = {0};
    if (!token || !make_request(&options, config, &algorithm, &request, err))
        return false;
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_custody_open(config, token, &options.custody, MM_MODULE_CUSTODY, err);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = module ? mm_hsm_key_generate(module, &request, err) : NULL;
    return key && print_generated(cli, module, mm_hsm_key_info(key), algorithm, err);
}

/* The state that the ledger knows the key in; NULL: it was never staged. */
static const char *state_of(const struct mm_keyring *keyring, const struct mm_hsm_key_info *info)
{
    const struct mm_key *key = keyring && info->kid[0] ? mm_keyring_find(keyring, info->kid) : NULL;
    return key ? mm_key_state_name(key->life.state) : NULL;
}

static bool print_key(const struct mm_module *module, const struct mm_hsm_key_info *info, const char *state,
                      struct mm_error *err)
{
    mm_cleanup(free) char *uri = mm_custody_key_uri(module, info, err);
    if (!uri)
        return false;
    char type[64];
    char untold[UNTOLD_MAX];
    (void)printf("%-43s  %-9s  %-9s  ", info->kid[0] ? info->kid : "(unsupported)",
                 mm_hsm_key_info_describe(info, type, sizeof type), state ? state : "-");
    mm_print_text(stdout, info->label[0] ? info->label : "-");
    (void)printf("  id %s  %s%s", info->id[0] ? info->id : "-",
                 info->is_custody_sound ? "sound" : "UNSOUND: ", info->is_custody_sound ? "" : info->custody_reason);
    if (info->untold)
        (void)printf(" (the module can't tell %s)", mm_hsm_key_info_untold(info, untold, sizeof untold));
    (void)printf("\n  %s\n", uri);
    return true;
}

static bool print_keys_json(const struct mm_module *module, const struct mm_hsm_key_info *infos, size_t n,
                            const struct mm_keyring *keyring, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        mm_cleanup(json_decref) json_t *key = key_to_json(module, &infos[i]);
        const char *state = state_of(keyring, &infos[i]);
        if (json_object_set_new(key, "state", state ? json_string(state) : json_null()) != 0)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        if (!mm_json_append(list, MM_TAKE(key), err))
            return false;
    }
    mm_cleanup(json_decref) json_t *report = json_pack("{s:O}", "keys", list);
    return report ? mm_print_json(stdout, report, err) : mm_fail(err, MM_NO_MEMORY, "out of memory");
}

bool mm_verb_key_list(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct mm_custody_options custody = {.pin_fd = -1};
    if (!mm_custody_read_options(cli, argc, argv, LIST_OPTIONS, &custody, err))
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    const struct mm_hsm_token_config *token = config ? mm_config_hsm_token(config, custody.hsm_token, err) : NULL;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = NULL;
    if (!token || !mm_cli_load_keyring(config, &keyring, err))
        return false;
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_custody_open(config, token, &custody, MM_MODULE_SIGN, err);
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    if (!module || !mm_hsm_key_list(module, &infos, &n, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return print_keys_json(module, infos, n, keyring, err);
    if (n == 0)
        (void)printf("no private keys on HSM token %s\n", token->name);
    for (size_t i = 0; i < n; i++)
        if (!print_key(module, &infos[i], state_of(keyring, &infos[i]), err))
            return false;
    return true;
}
