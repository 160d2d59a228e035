/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark init`: the only maker of a ledger, and the only way to activate a first key at once. A lost store is never replaced
 * unseen: the service starts with an existing one or not at all.
 */
#include "cli/verbs.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/custody.h"
#include "cli/problems.h"
#include "keyring/keyring.h"
#include "ledger/ledger.h"

const char MM_INIT_HELP[] =
    "Usage: mintmark init [--config FILE] [--hsm-token NAME] [--kid KID | --uri URI] [--json]\n"
    "\n"
    "Make the ledger and activate the first key. Run it once, before the service's first start, as the service's "
    "user:\n"
    "the service never makes a ledger itself, so that a lost one can't go unnoticed. The key is found on the HSM "
    "token\n"
    "under the service's own PIN and must be in sound custody. An existing store is never touched.\n"
    "\n"
    "  --config FILE      the configuration (default: $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml)\n"
    "  --hsm-token NAME   the HSM token's name in the configuration (default: the only one)\n"
    "  --kid KID          the key to activate (default: the only one that fits keys.algorithm)\n"
    "  --uri URI          the same by its PKCS#11 URI, as mintmark key list prints it\n"
    "  --json             the result, and errors, as JSON\n"
    "\n"
    "Exit status: 0 done, 4 HSM token, module or key, 5 PIN refused or latched, 6 the store exists or can't be made,\n"
    "3 configuration, 2 the command line.\n";

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS, MM_CONFIG_OPTION, MM_HSM_TOKEN_OPTION, MM_KID_OPTION, MM_URI_OPTION, {0},
};

/* Before the PIN is sent, not only when the store is made. */
static bool check_store_is_new(const char *file, struct mm_error *err)
{
    struct stat info;
    if (lstat(file, &info) == 0)
        return mm_fail(err, MM_STORE_EXISTS, "%s: there is a store already, and it isn't touched", file);
    if (errno != ENOENT)
        return mm_fail(err, MM_FILE, "%s: %s", file, strerror(errno));
    return true;
}

/* Who makes this ledger: `name (uid 1000)`. */
static json_t *current_user(void)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    (void)getpwuid_r(geteuid(), &entry, buffer, sizeof buffer, &found);
    return json_sprintf("%s (uid %u)", found ? found->pw_name : "?", (unsigned)geteuid());
}

/* The only key that signs without having been published for a while: nobody has cached a JWKS without it. */
static bool write_ledger(const struct mm_config *config, const struct mm_key *key, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *created =
        json_pack("{s:s, s:s, s:o}", "issuer", config->issuer, "version", MM_VERSION, "by", current_user());
    mm_cleanup(json_decref) json_t *staged = mm_key_entry(key, err);
    mm_cleanup(json_decref) json_t *who =
        json_pack("{s:s, s:o, s:s}", "kid", key->kid, "by", current_user(), "reason", "mintmark init");
    if (!created || !staged || !who || json_object_update(staged, who) != 0)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    const struct mm_entry entries[] = {
        {MM_ENTRY_LEDGER_CREATED, created},
        {MM_ENTRY_KEY_STAGED, staged},
        {MM_ENTRY_KEY_PUBLISHED, who},
        {MM_ENTRY_KEY_ACTIVATED, who},
    };
    return mm_ledger_create(config->store_file, &MM_SYSTEM_CLOCK, entries, MM_ARRAY_SIZE(entries), err);
}

static bool make_ledger(const struct mm_config *config, const struct mm_hsm_token_config *token,
                        const struct mm_custody_key *chosen, struct mm_error *err)
{
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *pubkey = mm_pubkey_from_jwk(chosen->jwk, err);
    if (!pubkey)
        return false;
    const struct mm_key key = {
        .kid = mm_pubkey_thumbprint(pubkey),
        .pubkey = pubkey,
        .algorithm = config->algorithm,
        .hsm_token = token->name,
        .hsm_id = chosen->id,
        .hsm_label = chosen->label,
    };
    return write_ledger(config, &key, err);
}

static bool print_result(const struct mm_cli *cli, const struct mm_config *config,
                         const struct mm_hsm_token_config *token, const struct mm_custody_key *key,
                         struct mm_error *err)
{
    const char *kid = mm_json_string(key->jwk, "kid");
    if (cli->form == MM_FORM_HUMAN) {
        (void)printf("Made the ledger %s for %s.\nActive key: %s (%s, HSM token %s, label ", config->store_file,
                     config->issuer, kid, mm_algorithm_name(config->algorithm), token->name);
        mm_print_text(stdout, key->label);
        (void)fputs(").\n", stdout);
        return true;
    }
    mm_cleanup(json_decref) json_t *report =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "store", config->store_file, "issuer", config->issuer, "kid", kid, "alg",
                  mm_algorithm_name(config->algorithm), "hsm_token", token->name);
    return report ? mm_print_json(stdout, report, err) : mm_fail(err, MM_NO_MEMORY, "out of memory");
}

bool mm_verb_init(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct mm_custody_options custody = {.pin_fd = -1, .whose = MM_PIN_OF_SERVICE};
    if (!mm_custody_read_options(cli, argc, argv, OPTIONS, &custody, err))
        return false;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    const struct mm_hsm_token_config *token = config ? mm_custody_hsm_token(config, &custody, err) : NULL;
    if (!token || !check_store_is_new(config->store_file, err))
        return false;
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_custody_open(config, token, &custody, MM_MODULE_SIGN, err);
    mm_cleanup(mm_custody_key_clear) struct mm_custody_key key = {0};
    return module && mm_custody_choose_key(module, config->algorithm, cli->kid, &custody, NULL, &key, err) &&
           make_ledger(config, token, &key, err) && print_result(cli, config, token, &key, err);
}
