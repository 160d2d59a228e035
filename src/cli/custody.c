/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/custody.h"

#include <limits.h>
#include <string.h>

#include "cli/pin.h"
#include "hsm/direct.h"
#include "hsm/latch.h"
#include "util/clock.h"

bool mm_custody_take_option(struct mm_custody_options *options, int option, struct mm_error *err)
{
    int64_t number = 0;
    switch (option) {
    case MM_OPTION_HSM_TOKEN:
        options->hsm_token = optarg;
        return true;
    case MM_OPTION_PIN_FILE:
        options->pin_file = optarg;
        return true;
    case MM_OPTION_PIN_FD:
        if (!mm_option_integer("--pin-fd", optarg, 0, INT_MAX, &number, err))
            return false;
        options->pin_fd = (int)number;
        return true;
    default:
        options->whose = MM_PIN_OF_SERVICE;
        return true;
    }
}

bool mm_custody_read_options(struct mm_cli *cli, int argc, char **argv, const struct option *table,
                             struct mm_custody_options *options, struct mm_error *err)
{
    int option;
    while ((option = mm_option_next(cli, argc, argv, table, err)) >= 0)
        if (!mm_custody_take_option(options, option, err))
            return false;
    return option == MM_OPTION_END;
}

bool mm_custody_algorithm(const char *text, const struct mm_config *config, enum mm_algorithm *ret_algorithm,
                          struct mm_error *err)
{
    enum mm_algorithm algorithm = config->algorithm;
    if (text && !mm_algorithm_parse(text, &algorithm))
        return mm_fail(err, MM_USAGE, "--algorithm is ES256, ES384, RS256, PS256 or EdDSA");
    *ret_algorithm = algorithm;
    return true;
}

static bool is_pin_given(const struct mm_custody_options *options)
{
    return options->pin_file || options->pin_fd >= 0;
}

static struct mm_secret *read_custodians_pin(const struct mm_hsm_token_config *token,
                                             const struct mm_custody_options *options, struct mm_error *err)
{
    if (options->pin_file)
        return mm_pin_from_file(options->pin_file, err);
    if (options->pin_fd >= 0)
        return mm_secret_read(options->pin_fd, "--pin-fd", err);
    return mm_pin_ask(token->name, err);
}

/* NULL in `ret_pin` where the HSM token needs no login and nobody says a PIN. */
static bool read_pin(const struct mm_hsm_token_config *token, const struct mm_custody_options *options,
                     struct mm_secret **ret_pin, struct mm_error *err)
{
    bool is_services = options->whose == MM_PIN_OF_SERVICE;
    if (is_services ? token->pin_source == MM_PIN_NONE : token->login == MM_LOGIN_OPTIONAL && !is_pin_given(options))
        return true;
    mm_cleanup(mm_secret_free) struct mm_secret *pin =
        is_services ? mm_config_read_pin(token, err) : read_custodians_pin(token, options, err);
    if (!pin || (!is_services && !mm_config_check_pin(token, pin, "the PIN", err)))
        return false;
    *ret_pin = MM_TAKE(pin);
    return true;
}

/* The service's PIN is shared with a running service, and so is the knowledge that it was refused. */
static struct mm_module *open_as_service(const struct mm_config *config, const struct mm_hsm_token_config *token,
                                         const struct mm_secret *pin, enum mm_module_purpose purpose,
                                         struct mm_error *err)
{
    mm_cleanup(free) char *latch = mm_latch_path(config, token->name, err);
    if (!latch || !mm_latch_make_folder(config, err) ||
        (purpose != MM_MODULE_UNLOCK && !mm_latch_check(latch, token->name, err)))
        return NULL;
    /* A refusal after the PIN was sent is latched by the login itself; this is for one before, by the token's flags. */
    struct mm_error cause = {0};
    struct mm_module *module = mm_module_open(token, pin, purpose, latch, &cause);
    if (module)
        return module;
    (void)mm_fail(err, cause.code, "%s", cause.message);
    if (cause.code == MM_PIN_REFUSED && !mm_latch_set(latch, mm_clock_now(&MM_SYSTEM_CLOCK), cause.message, &cause))
        (void)fputs("mintmark: warning: the refusal of the PIN couldn't be recorded\n", stderr);
    return NULL;
}

struct mm_module *mm_custody_open(const struct mm_config *config, const struct mm_hsm_token_config *token,
                                  const struct mm_custody_options *options, enum mm_module_purpose purpose,
                                  struct mm_error *err)
{
    if ((options->pin_file != NULL) + (options->pin_fd >= 0) + (options->whose == MM_PIN_OF_SERVICE) > 1) {
        (void)mm_fail(err, MM_USAGE, "--pin-file, --pin-fd and --service-pin exclude each other");
        return NULL;
    }
    mm_cleanup(mm_secret_free) struct mm_secret *pin = NULL;
    if (!read_pin(token, options, &pin, err))
        return NULL;
    return options->whose == MM_PIN_OF_SERVICE ? open_as_service(config, token, pin, purpose, err)
                                               : mm_module_open(token, pin, purpose, NULL, err);
}

void mm_custody_key_clear(struct mm_custody_key *key)
{
    json_decref(key->jwk);
    free(key->id);
    free(key->label);
}

static bool is_fit(const struct mm_hsm_key_info *info, enum mm_algorithm algorithm)
{
    return info->is_supported && info->type == mm_algorithm_key_type(algorithm) && info->kid[0] && info->id[0];
}

static const struct mm_hsm_key_info *find_named(const struct mm_hsm_key_info *infos, size_t n,
                                                enum mm_algorithm algorithm, const char *kid, struct mm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(infos[i].kid, kid) != 0)
            continue;
        if (is_fit(&infos[i], algorithm))
            return &infos[i];
        char type[64];
        (void)mm_fail(err, MM_KEY_MISMATCH, "key %s is %s%s and can't sign %s as keys.algorithm asks", kid,
                      mm_hsm_key_info_describe(&infos[i], type, sizeof type), infos[i].id[0] ? "" : " without a CKA_ID",
                      mm_algorithm_name(algorithm));
        return NULL;
    }
    (void)mm_fail(err, MM_KEY_NOT_FOUND, "no key %.64s on the HSM token (see mintmark key list)", kid);
    return NULL;
}

static const struct mm_hsm_key_info *find_only(const struct mm_hsm_key_info *infos, size_t n,
                                               enum mm_algorithm algorithm, struct mm_error *err)
{
    const struct mm_hsm_key_info *found = NULL, *unsound = NULL;
    size_t n_sound = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_fit(&infos[i], algorithm))
            continue;
        if (infos[i].is_custody_sound) {
            found = &infos[i];
            n_sound++;
        } else {
            unsound = &infos[i];
        }
    }
    const char *name = mm_algorithm_name(algorithm);
    if (n_sound > 1)
        (void)mm_fail(err, MM_KEY_AMBIGUOUS, "%zu keys could sign %s: choose one with --kid (see mintmark key list)",
                      n_sound, name);
    else if (n_sound == 0 && unsound)
        (void)mm_fail(err, MM_KEY_CUSTODY, "the HSM token's key for %s isn't in sound custody: %s", name,
                      unsound->custody_reason);
    else if (n_sound == 0)
        (void)mm_fail(err, MM_KEY_NOT_FOUND,
                      "the HSM token holds no key that signs %s: make one with mintmark key generate", name);
    return n_sound == 1 ? found : NULL;
}

static bool export_key(const struct mm_hsm_key *key, enum mm_algorithm algorithm, struct mm_custody_key *ret_key,
                       struct mm_error *err)
{
    mm_cleanup(mm_custody_key_clear) struct mm_custody_key exported = {
        .jwk = mm_pubkey_to_jwk(mm_hsm_key_pubkey(key), algorithm, err),
        .id = strdup(mm_hsm_key_info(key)->id),
        .label = strdup(mm_hsm_key_info(key)->label),
    };
    if (!exported.jwk || !exported.id || !exported.label)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    *ret_key = exported;
    exported = (struct mm_custody_key){0};
    return true;
}

bool mm_custody_choose_key(const struct mm_module *module, enum mm_algorithm algorithm, const char *kid,
                           struct mm_custody_key *ret_key, struct mm_error *err)
{
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    if (!mm_direct_check_offer(module, algorithm, err) || !mm_hsm_key_list(module, &infos, &n, err))
        return false;
    const struct mm_hsm_key_info *info =
        kid ? find_named(infos, n, algorithm, kid, err) : find_only(infos, n, algorithm, err);
    if (!info)
        return false;
    /* Found again the way the service will find it, by id and label, which must be unique. */
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, info->id, info->label, err);
    if (!key || !mm_hsm_key_check_custody(key, err))
        return false;
    if (strcmp(mm_pubkey_thumbprint(mm_hsm_key_pubkey(key)), info->kid) != 0)
        return mm_fail(err, MM_KEY_MISMATCH, "key %s changed while it was looked at", info->kid);
    return export_key(key, algorithm, ret_key, err);
}
