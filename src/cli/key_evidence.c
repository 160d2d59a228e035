/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark key evidence`: what the module says of a private key's custody, attribute by attribute, as JSON. It is the module's own word: no
 * more is claimed for it.
 */
#include "cli/verbs.h"

#include "cli/custody.h"
#include "cli/problems.h"
#include "util/clock.h"

const char MM_KEY_EVIDENCE_HELP[] =
    "Usage: mintmark key evidence --kid KID | --uri URI [--config FILE] [options]\n"
    "\n"
    "Print, as JSON, what the HSM token's module says of a key's custody: each attribute that the service relies on, "
    "which ones\n"
    "the module can't tell, and the verdict. Your PIN is asked for on the terminal unless an option says where it is.\n"
    "\n"
    "  --kid KID              the key\n" MM_URI_HELP
    "  --config FILE          the configuration that names the HSM token\n" MM_CUSTODY_HELP "\n"
    "Exit status: 0 printed, also when custody is unsound, 4 HSM token, module or key, 5 PIN refused (don't just try "
    "again),\n"
    "3 configuration, 2 the command line.\n";

enum { UNTOLD_MAX = 160 };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS, MM_CONFIG_OPTION, MM_HSM_TOKEN_OPTION, MM_PIN_OPTIONS, MM_KID_OPTION, MM_URI_OPTION, {0},
};

static json_t *attributes(const struct mm_hsm_key_info *info)
{
    return json_pack("{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "CKA_PRIVATE", info->is_private,
                     "CKA_SENSITIVE", info->is_sensitive, "CKA_ALWAYS_SENSITIVE", info->is_always_sensitive,
                     "CKA_EXTRACTABLE", info->is_extractable, "CKA_NEVER_EXTRACTABLE", info->is_never_extractable,
                     "CKA_LOCAL", info->is_local, "CKA_SIGN", info->can_sign, "CKA_SIGN_RECOVER",
                     info->can_sign_recover, "CKA_DECRYPT", info->can_decrypt, "CKA_UNWRAP", info->can_unwrap,
                     "CKA_DERIVE", info->can_derive);
}

static json_t *evidence(const struct mm_hsm_token_config *token, const struct mm_module *module,
                        const struct mm_hsm_key_info *info)
{
    mm_cleanup(free) char *uri = mm_custody_key_uri(module, info, NULL);
    if (!uri)
        return NULL;
    char type[64];
    char untold[UNTOLD_MAX];
    char now[MM_TIMESTAMP_MAX];
    mm_timestamp(mm_clock_now(&MM_SYSTEM_CLOCK), now);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s}, s:o, s:s, s:s, s:b, s:s*, s:s}", "kid",
                     info->kid, "type", mm_hsm_key_info_describe(info, type, sizeof type), "id", info->id, "label",
                     info->label, "uri", uri, "hsm_token", "name", token->name, "profile", token->profile, "module",
                     token->module, "label", mm_module_token_label(module), "serial", mm_module_token_serial(module),
                     "attributes", attributes(info), "untold", mm_hsm_key_info_untold(info, untold, sizeof untold),
                     "source", "the PKCS#11 module's own word", "custody_sound", info->is_custody_sound,
                     "custody_reason", info->is_custody_sound ? NULL : info->custody_reason, "time", now);
}

static bool print_evidence(const struct mm_hsm_token_config *token, const struct mm_module *module, const char *kid,
                           const struct mm_custody_options *options, struct mm_error *err)
{
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    if (!mm_hsm_key_list(module, &infos, &n, err))
        return false;
    const struct mm_hsm_key_info *info = mm_custody_find_key(module, infos, n, kid, options, err);
    if (!info)
        return false;
    mm_cleanup(json_decref) json_t *json = evidence(token, module, info);
    return json ? mm_print_json(stdout, json, err) : mm_fail(err, MM_NO_MEMORY, "out of memory");
}

bool mm_verb_key_evidence(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct mm_custody_options custody = {.pin_fd = -1};
    bool is_named = false;
    if (!mm_custody_read_options(cli, argc, argv, OPTIONS, &custody, err) ||
        !mm_custody_names_key(cli->kid, &custody, &is_named, err))
        return false;
    if (!is_named)
        return mm_fail(err, MM_USAGE, "--kid or --uri is needed (see --help)");
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    const struct mm_hsm_token_config *token = config ? mm_custody_hsm_token(config, &custody, err) : NULL;
    mm_cleanup(mm_module_close) struct mm_module *module =
        token ? mm_custody_open(config, token, &custody, MM_MODULE_SIGN, err) : NULL;
    return module && print_evidence(token, module, cli->kid, &custody, err);
}
