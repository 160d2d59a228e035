/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark key evidence`: what stands behind a private key's custody, as JSON. What the module says of it, attribute
 * by attribute, is the module's own word, and no more is claimed for it. An attestation of the device's is verified,
 * and kept by the service in its ledger.
 */
#include "cli/verbs.h"

#include <stdio.h>

#include "cli/admin.h"
#include "cli/attestation.h"
#include "cli/custody.h"
#include "cli/problems.h"
#include "util/clock.h"

const char MM_KEY_EVIDENCE_HELP[] =
    "Usage: mintmark key evidence --kid KID | --uri URI [--config FILE] [options]\n"
    "\n"
    "Print, as JSON, what stands behind a key's custody. What the HSM token's module says of it is the module's own "
    "word: "
    "each\n"
    "attribute that the service relies on, which ones it can't tell, and the verdict. An attestation that the device "
    "itself signed\n"
    "is verified (the key was made in the device, can't leave it, only signs) and kept in the ledger of the running "
    "service, which\n"
    "must know the key (mintmark key stage); without one given, the one kept last is verified again. Your PIN is asked "
    "for "
    "on the\n"
    "terminal unless an option says where it is.\n"
    "\n"
    "  --kid KID              the key\n" MM_URI_HELP MM_ATTESTATION_HELP
    "  --reason TEXT          why it is kept, for the ledger\n"
    "  --config FILE          the configuration that names HSM token and admin socket\n" MM_CUSTODY_HELP
    "  --socket FILE          the admin listener's socket, if it isn't the one that the configuration "
    "names\n" MM_ADMIN_HTTPS_HELP "\n"
    "Exit status: 0 printed, also when custody is unsound, 9 an attestation doesn't verify, 4 HSM token, module or "
    "key, 5 "
    "PIN\n"
    "refused (don't just try again), 7 the service can't be reached, 8 refused, 3 configuration, 2 the command line.\n";

enum { UNTOLD_MAX = 160 };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS, MM_ADMIN_OPTIONS,       MM_HSM_TOKEN_OPTION,
    MM_PIN_OPTIONS,    MM_KID_OPTION,          MM_URI_OPTION,
    MM_REASON_OPTION,  MM_ATTESTATION_OPTIONS, {0},
};

/* What a run is about. All is borrowed. */
struct evidence {
    struct mm_cli *cli;
    const struct mm_config *config;
    const struct mm_hsm_token_config *token;
    const struct mm_module *module;
    const struct mm_hsm_key_info *info;
    struct mm_cli_attestation_options options;
    bool is_attestation_given;
    struct mm_attestation given;
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

static json_t *module_says(const struct mm_hsm_key_info *info)
{
    char untold[UNTOLD_MAX];
    return json_pack("{s:s, s:o, s:s, s:b, s:s*}", "source", "the PKCS#11 module's own word", "attributes",
                     attributes(info), "untold", mm_hsm_key_info_untold(info, untold, sizeof untold), "custody_sound",
                     info->is_custody_sound, "custody_reason", info->is_custody_sound ? NULL : info->custody_reason);
}

/* `attestation` may be NULL: there is none. */
static json_t *describe(const struct evidence *evidence, json_t *attestation, struct mm_error *err)
{
    const struct mm_hsm_token_config *token = evidence->token;
    const struct mm_hsm_key_info *info = evidence->info;
    char type[64];
    char now[MM_TIMESTAMP_MAX];
    mm_cleanup(free) char *uri = mm_custody_key_uri(evidence->module, info, err);
    if (!uri)
        return NULL;
    mm_timestamp(mm_clock_now(&MM_SYSTEM_CLOCK), now);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s}, s:o, s:o, s:s}", "kid", info->kid,
                             "type", mm_hsm_key_info_describe(info, type, sizeof type), "id", info->id, "label",
                             info->label, "uri", uri, "hsm_token", "name", token->name, "profile", token->profile,
                             "module", token->module, "label", mm_module_token_label(evidence->module), "serial",
                             mm_module_token_serial(evidence->module), "module_says", module_says(info), "attestation",
                             attestation ? json_incref(attestation) : json_null(), "time", now);
    if (!json)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return json;
}

/* The service verifies it once more, and records it. */
static bool keep(const struct evidence *evidence, json_t **ret_fields, struct mm_error *err)
{
    char path[128];
    mm_cleanup(json_decref) json_t *body = mm_attestation_to_json(&evidence->given, err);
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service =
        body ? mm_cli_service_find(evidence->cli, err) : NULL;
    if (!service)
        return false;
    if (evidence->cli->reason && json_object_set_new(body, "reason", json_string(evidence->cli->reason)) != 0)
        return mm_fail(err, MM_USAGE, "--reason isn't UTF-8");
    (void)snprintf(path, sizeof path, "/v1/keys/%s/attestations", evidence->info->kid);
    return mm_cli_service_call(evidence->cli, service, "POST", path, body, ret_fields, err);
}

/* The entry that is in the ledger; what keeps it from being read is no reason to keep the module's word back. */
static bool find_kept(const struct evidence *evidence, json_t **ret_entry, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(evidence->config->store_file, &why);
    if (reader)
        return mm_attested_find(reader, evidence->info->kid, ret_entry, err);
    if (why.code != MM_STORE_MISSING)
        (void)fprintf(stderr, "mintmark: warning: an attestation may have been kept, but %s\n", why.message);
    return true;
}

/* True without one: `ret_attestation` is left alone then. */
static bool take_kept(const struct evidence *evidence, const struct mm_key *key, json_t **ret_attestation,
                      struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *entry = NULL;
    if (!find_kept(evidence, &entry, err))
        return false;
    if (!entry)
        return true;
    if (!mm_attested_check(entry, key->pubkey, &why) && why.code != MM_ATTESTATION_INVALID)
        return mm_fail(err, why.code, "%s", why.message);
    *ret_attestation = mm_cli_attestation_describe(entry, &why, err);
    return *ret_attestation != NULL;
}

/* What was given verifies for the key as it lies on the HSM token, before anything else is done with it. */
static json_t *take_given(const struct evidence *evidence, const struct mm_key *key, struct mm_error *err)
{
    static const struct mm_error GOOD = {0};
    mm_cleanup(json_decref) json_t *kept = NULL;
    mm_cleanup(json_decref) json_t *fields =
        mm_attested_entry(key, &evidence->given, mm_clock_now(&MM_SYSTEM_CLOCK), err);
    if (!fields)
        return NULL;
    if (evidence->options.fate == MM_CLI_ATTESTATION_VERIFY_ONLY)
        return mm_cli_attestation_describe(fields, &GOOD, err);
    json_t *entry = NULL;
    if (!keep(evidence, &kept, err) || !take_kept(evidence, key, &entry, err))
        return NULL;
    if (entry)
        return entry;
    /* Kept, but by a service whose ledger this user can't read. */
    if (json_object_set(kept, "evidence", json_object_get(fields, "evidence")) != 0 ||
        json_object_set_new(kept, "time", json_integer(mm_clock_now(&MM_SYSTEM_CLOCK))) != 0) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return mm_cli_attestation_describe(kept, &GOOD, err);
}

/* Printed whole, even if the attestation in the ledger isn't what it was: then the exit status says so. */
static bool print_evidence(const struct evidence *evidence, struct mm_error *err)
{
    const struct mm_hsm_key_info *info = evidence->info;
    mm_cleanup(json_decref) json_t *attestation = NULL;
    struct mm_error why = {0};
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *found =
        mm_hsm_key_find(evidence->module, info->id, info->label, &why);
    if (!found && evidence->is_attestation_given)
        return mm_fail(err, why.code, "%s", why.message);
    const struct mm_key key = {.kid = info->kid, .pubkey = found ? mm_hsm_key_pubkey(found) : NULL};
    if (evidence->is_attestation_given && !(attestation = take_given(evidence, &key, err)))
        return false;
    if (!evidence->is_attestation_given && found && !take_kept(evidence, &key, &attestation, err))
        return false;
    mm_cleanup(json_decref) json_t *json = describe(evidence, attestation, err);
    if (!json || !mm_print_json(stdout, json, err))
        return false;
    const char *refused = mm_json_string(attestation, "refused");
    return !refused || mm_fail(err, MM_ATTESTATION_INVALID, "the ledger's attestation: %s", refused);
}

static bool find_and_print(struct evidence *evidence, const struct mm_custody_options *custody, struct mm_error *err)
{
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    if (!mm_hsm_key_list(evidence->module, &infos, &n, err))
        return false;
    evidence->info = mm_custody_find_key(evidence->module, infos, n, evidence->cli->kid, custody, err);
    return evidence->info && print_evidence(evidence, err);
}

static bool read_options(struct evidence *evidence, int argc, char **argv, struct mm_custody_options *custody,
                         struct mm_error *err)
{
    struct mm_cli *cli = evidence->cli;
    bool is_named = false;
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0)
        if (!mm_cli_attestation_take_option(&evidence->options, option) &&
            !mm_custody_take_option(custody, option, err))
            return false;
    if (option != MM_OPTION_END || !mm_custody_names_key(cli->kid, custody, &is_named, err))
        return false;
    return (is_named || mm_fail(err, MM_USAGE, "--kid or --uri is needed (see --help)")) &&
           mm_cli_attestation_is_given(&evidence->options, &evidence->is_attestation_given, err);
}

static bool open_and_print(struct evidence *evidence, const struct mm_custody_options *custody, struct mm_error *err)
{
    struct mm_cli *cli = evidence->cli;
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    evidence->config = config;
    evidence->token = config ? mm_custody_hsm_token(config, custody, err) : NULL;
    mm_cleanup(mm_module_close) struct mm_module *module =
        evidence->token ? mm_custody_open(config, evidence->token, custody, MM_MODULE_SIGN, err) : NULL;
    evidence->module = module;
    return module && find_and_print(evidence, custody, err);
}

bool mm_verb_key_evidence(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct mm_custody_options custody = {.pin_fd = -1};
    struct evidence evidence = {.cli = cli};
    if (!read_options(&evidence, argc, argv, &custody, err) ||
        (evidence.is_attestation_given && !mm_cli_attestation_read(&evidence.options, &evidence.given, err)))
        return false;
    bool is_done = open_and_print(&evidence, &custody, err);
    mm_attestation_clear(&evidence.given);
    return is_done;
}
