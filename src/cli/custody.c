/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/custody.h"

#include <limits.h>
#include <stdio.h>
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
    case MM_OPTION_ALGORITHM:
        options->algorithm = optarg;
        return true;
    case MM_OPTION_URI:
        return mm_pkcs11_uri_parse(optarg, MM_PKCS11_URI_OF_KEY, &options->uri, err);
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

/* The configuration doesn't say everything of an HSM token, and the URI may say something else of it. */
static bool may_be(const struct mm_hsm_token_config *token, const struct mm_pkcs11_uri *uri)
{
    const struct {
        const char *configured;
        const char *wanted;
    } parts[] = {{token->label, uri->token},
                 {token->serial, uri->serial},
                 {token->manufacturer, uri->manufacturer},
                 {token->model, uri->model}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(parts); i++)
        if (parts[i].configured && parts[i].wanted[0] && strcmp(parts[i].configured, parts[i].wanted) != 0)
            return false;
    return true;
}

const struct mm_hsm_token_config *mm_custody_hsm_token(const struct mm_config *config,
                                                       const struct mm_custody_options *options, struct mm_error *err)
{
    const struct mm_hsm_token_config *found = NULL;
    size_t n = 0;
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        if (!may_be(&config->hsm_tokens[i], &options->uri))
            continue;
        found = &config->hsm_tokens[i];
        n++;
    }
    if (!options->hsm_token && n == 0)
        (void)mm_fail(err, MM_HSM_TOKEN_NOT_FOUND, "no HSM token of the configuration is the one that the URI names");
    return !options->hsm_token && n < 2 ? found : mm_config_hsm_token(config, options->hsm_token, err);
}

bool mm_custody_algorithm(const struct mm_custody_options *options, const struct mm_config *config,
                          enum mm_algorithm *ret_algorithm, struct mm_error *err)
{
    enum mm_algorithm algorithm = config->algorithm;
    if (options->algorithm && !mm_algorithm_parse(options->algorithm, &algorithm))
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

/*
 * `: KID "label", …` for a message: which keys there are to choose from. Whole ones, as many as the message has
 * room for.
 */
struct listing {
    char text[256];
    size_t n_left_out;
};

static void list_key(const struct mm_hsm_key_info *info, struct listing *listing)
{
    char item[128];
    size_t length = strlen(listing->text);
    int needed = strlen(info->label) <= 40
                     ? snprintf(item, sizeof item, "%s%s \"%s\"", length ? ", " : ": ", info->kid, info->label)
                     : snprintf(item, sizeof item, "%s%s", length ? ", " : ": ", info->kid);
    if (listing->n_left_out || needed < 0 || length + (size_t)needed >= sizeof listing->text)
        listing->n_left_out++;
    else
        memcpy(listing->text + length, item, (size_t)needed + 1);
}

static bool fail_ambiguous(struct mm_error *err, const char *what, const struct listing *listing)
{
    return mm_fail(err, MM_KEY_AMBIGUOUS, "%s: choose one with --kid or --uri%s%s", what, listing->text,
                   listing->n_left_out ? ", and more (see mintmark key list)" : "");
}

char *mm_custody_key_uri(const struct mm_module *module, const struct mm_hsm_key_info *info, struct mm_error *err)
{
    const struct mm_pkcs11_uri uri = mm_hsm_key_uri(module, info);
    struct mm_buffer text = mm_buffer_make(MM_PKCS11_URI_MAX);
    if (mm_pkcs11_uri_format(&uri, &text, err))
        return (char *)text.data;
    mm_buffer_clear(&text);
    return NULL;
}

bool mm_custody_names_key(const char *kid, const struct mm_custody_options *options, bool *ret_names,
                          struct mm_error *err)
{
    bool has_uri = options->uri.object[0] || options->uri.id[0];
    *ret_names = kid || has_uri;
    return !(kid && has_uri) || mm_fail(err, MM_USAGE, "--kid and --uri exclude each other: both name the key");
}

static bool is_meant(const struct mm_hsm_key_info *info, const char *kid, const struct mm_pkcs11_uri *uri)
{
    if (kid)
        return strcmp(info->kid, kid) == 0;
    return (!uri->object[0] || strcmp(info->label, uri->object) == 0) &&
           (!uri->id[0] || strcmp(info->id, uri->id) == 0);
}

const struct mm_hsm_key_info *mm_custody_find_key(const struct mm_module *module, const struct mm_hsm_key_info *infos,
                                                  size_t n, const char *kid, const struct mm_custody_options *options,
                                                  struct mm_error *err)
{
    const struct mm_hsm_key_info *found = NULL;
    struct listing listing = {0};
    size_t n_found = 0;
    if (!kid && !mm_pkcs11_uri_fits_token(&options->uri, mm_module_token(module))) {
        (void)mm_fail(err, MM_HSM_TOKEN_NOT_FOUND, "HSM token \"%s\" isn't the one that the URI names",
                      mm_module_token_label(module));
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_meant(&infos[i], kid, &options->uri))
            continue;
        found = &infos[i];
        n_found++;
        list_key(found, &listing);
    }
    if (n_found == 1)
        return found;
    if (n_found > 1)
        (void)fail_ambiguous(err, kid ? "several keys have this kid" : "several keys are what the URI names", &listing);
    else if (kid)
        (void)mm_fail(err, MM_KEY_NOT_FOUND, "no key %.64s on the HSM token (see mintmark key list)", kid);
    else
        (void)mm_fail(err, MM_KEY_NOT_FOUND, "no key on the HSM token is what the URI names (see mintmark key list)");
    return NULL;
}

/* `; it could sign RS256 or PS256`, for a message; empty where it could sign nothing. */
static const char *describe_uses(const struct mm_hsm_key_info *info, char *buffer, size_t size)
{
    const char *before = "; it could sign ";
    size_t length = 0;
    buffer[0] = '\0';
    for (int i = 0; i < MM_N_ALGORITHMS && length < size; i++) {
        if (!is_fit(info, (enum mm_algorithm)i))
            continue;
        length +=
            (size_t)snprintf(buffer + length, size - length, "%s%s", before, mm_algorithm_name((enum mm_algorithm)i));
        before = " or ";
    }
    return buffer;
}

static const struct mm_hsm_key_info *find_named(const struct mm_module *module, const struct mm_hsm_key_info *infos,
                                                size_t n, enum mm_algorithm algorithm, const char *kid,
                                                const struct mm_custody_options *options, struct mm_error *err)
{
    const struct mm_hsm_key_info *info = mm_custody_find_key(module, infos, n, kid, options, err);
    if (!info || is_fit(info, algorithm))
        return info;
    char type[64];
    char uses[64];
    (void)mm_fail(err, MM_KEY_MISMATCH, "key %s is %s%s and can't sign %s as %s asks%s", info->kid,
                  mm_hsm_key_info_describe(info, type, sizeof type), info->id[0] ? "" : " without a CKA_ID",
                  mm_algorithm_name(algorithm), options->algorithm ? "--algorithm" : "keys.algorithm",
                  describe_uses(info, uses, sizeof uses));
    return NULL;
}

static const struct mm_hsm_key_info *find_only(const struct mm_hsm_key_info *infos, size_t n,
                                               enum mm_algorithm algorithm, const json_t *known, struct mm_error *err)
{
    const struct mm_hsm_key_info *found = NULL, *unsound = NULL;
    struct listing listing = {0};
    char what[64];
    size_t n_sound = 0, n_known = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_fit(&infos[i], algorithm))
            continue;
        if (mm_json_array_has(known, infos[i].kid)) {
            n_known++;
        } else if (infos[i].is_custody_sound) {
            found = &infos[i];
            n_sound++;
            list_key(found, &listing);
        } else {
            unsound = &infos[i];
        }
    }
    const char *name = mm_algorithm_name(algorithm);
    (void)snprintf(what, sizeof what, "%zu keys could sign %s", n_sound, name);
    if (n_sound > 1)
        (void)fail_ambiguous(err, what, &listing);
    else if (n_sound == 0 && unsound)
        (void)mm_fail(err, MM_KEY_CUSTODY, "the HSM token's key for %s isn't in sound custody: %s", name,
                      unsound->custody_reason);
    else if (n_sound == 0)
        (void)mm_fail(err, MM_KEY_NOT_FOUND,
                      "the HSM token holds no key that signs %s%s: make one with mintmark key generate", name,
                      n_known > 0 ? " and wasn't staged yet" : "");
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
                           const struct mm_custody_options *options, const json_t *known,
                           struct mm_custody_key *ret_key, struct mm_error *err)
{
    bool is_named = false;
    if (!mm_custody_names_key(kid, options, &is_named, err))
        return false;
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    if (!mm_direct_check_offer(module, algorithm, err) || !mm_hsm_key_list(module, &infos, &n, err))
        return false;
    const struct mm_hsm_key_info *info = is_named ? find_named(module, infos, n, algorithm, kid, options, err)
                                                  : find_only(infos, n, algorithm, known, err);
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
