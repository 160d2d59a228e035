/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verb's session on an HSM token: under the custodian's own PIN, or, only when asked to, the service's.
 */
#ifndef MM_CLI_CUSTODY_H
#define MM_CLI_CUSTODY_H

#include "cli/options.h"
#include "config/config.h"
#include "hsm/key.h"

/* The options that choose HSM token, PIN and, where the verb takes --uri, the key. */
struct mm_custody_options {
    const char *hsm_token; /* name in the configuration; NULL: the only one */
    const char *pin_file;  /* NULL: not given */
    int pin_fd;            /* -1: not given */
    enum { MM_PIN_OF_CUSTODIAN, MM_PIN_OF_SERVICE } whose;
    struct mm_pkcs11_uri uri; /* --uri; names no key unless given */
    const char *algorithm;    /* --algorithm; NULL: not given */
};

enum {
    MM_OPTION_HSM_TOKEN = 1024,
    MM_OPTION_PIN_FILE,
    MM_OPTION_PIN_FD,
    MM_OPTION_SERVICE_PIN,
    MM_OPTION_URI,
    MM_OPTION_ALGORITHM
};

#define MM_HSM_TOKEN_OPTION \
    { \
        "hsm-token", required_argument, NULL, MM_OPTION_HSM_TOKEN \
    }
#define MM_PIN_OPTIONS \
    {"pin-file", required_argument, NULL, MM_OPTION_PIN_FILE}, {"pin-fd", required_argument, NULL, MM_OPTION_PIN_FD}, \
    { \
        "service-pin", no_argument, NULL, MM_OPTION_SERVICE_PIN \
    }

#define MM_ALGORITHM_OPTION \
    { \
        "algorithm", required_argument, NULL, MM_OPTION_ALGORITHM \
    }

#define MM_URI_OPTION \
    { \
        "uri", required_argument, NULL, MM_OPTION_URI \
    }

/* What the help of a verb says of them. */
#define MM_CUSTODY_HELP \
    "  --hsm-token NAME       the HSM token's name in the configuration (default: the only one)\n" \
    "  --pin-file FILE        read your PIN from FILE\n" \
    "  --pin-fd N             read your PIN from the open descriptor N\n" \
    "  --service-pin          use the service's own PIN, from where the configuration says\n"

#define MM_URI_HELP "  --uri URI              the same by its PKCS#11 URI, as mintmark key list prints it\n"

/* Take one of these options (its argument is in optarg). */
MM_MUST_USE bool mm_custody_take_option(struct mm_custody_options *options, int option, struct mm_error *err);

/* Read all options of a verb whose `table` has no others than these and those of options.h. */
MM_MUST_USE bool mm_custody_read_options(struct mm_cli *cli, int argc, char **argv, const struct option *table,
                                         struct mm_custody_options *options, struct mm_error *err);

/*
 * The HSM token that --hsm-token names; without it the only one that may be what --uri says, as far as the
 * configuration tells. Borrowed from `config`; NULL: MM_CONFIG_INVALID, or MM_HSM_TOKEN_NOT_FOUND if none may be.
 */
MM_MUST_USE const struct mm_hsm_token_config *
mm_custody_hsm_token(const struct mm_config *config, const struct mm_custody_options *options, struct mm_error *err);

/* What --algorithm says, or without it the configuration's keys.algorithm. MM_USAGE for one that nobody knows. */
MM_MUST_USE bool mm_custody_algorithm(const struct mm_custody_options *options, const struct mm_config *config,
                                      enum mm_algorithm *ret_algorithm, struct mm_error *err);

/*
 * Get the PIN, unless the HSM token's login is optional and none is given, and open the module. The service's PIN isn't sent while its
 * latch is set (but for MM_MODULE_UNLOCK), and a refusal sets it. `token` is borrowed for the call. Failures: those of mm_module_open(),
 * mm_latch_check(), mm_config_read_pin(); MM_USAGE for PIN options that exclude each other.
 */
MM_MUST_USE struct mm_module *mm_custody_open(const struct mm_config *config, const struct mm_hsm_token_config *token,
                                              const struct mm_custody_options *options, enum mm_module_purpose purpose,
                                              struct mm_error *err);

/* A key fit to sign for the service. */
struct mm_custody_key {
    json_t *jwk; /* public, with kid and alg */
    char *id;    /* CKA_ID, lower-case hex */
    char *label; /* CKA_LABEL */
};

void mm_custody_key_clear(struct mm_custody_key *key);
static inline void mm_custody_key_clear_cleanup(struct mm_custody_key *key)
{
    mm_custody_key_clear(key);
}

/* The key's URI, as people and --uri take it, for the caller to free. */
MM_MUST_USE char *mm_custody_key_uri(const struct mm_module *module, const struct mm_hsm_key_info *info,
                                     struct mm_error *err);

/* Whether --kid or --uri was given. MM_USAGE if both were. */
MM_MUST_USE bool mm_custody_names_key(const char *kid, const struct mm_custody_options *options, bool *ret_names,
                                      struct mm_error *err);

/*
 * Which of the HSM token's `n` keys --kid or --uri means; one of them was given. NULL with MM_HSM_TOKEN_NOT_FOUND if
 * the URI is of another HSM token, MM_KEY_NOT_FOUND, or MM_KEY_AMBIGUOUS, which says which there are.
 */
MM_MUST_USE const struct mm_hsm_key_info *mm_custody_find_key(const struct mm_module *module,
                                                              const struct mm_hsm_key_info *infos, size_t n,
                                                              const char *kid, const struct mm_custody_options *options,
                                                              struct mm_error *err);

/*
 * The key that --kid or --uri means, or without them the only one whose type fits `algorithm`, whose custody is sound, and whose kid isn't
 * among `known` (an array of strings; NULL: none). Failures as above; MM_KEY_MISMATCH for another type; MM_KEY_CUSTODY; MM_HSM_MECHANISM
 * if the HSM token can't sign so.
 */
MM_MUST_USE bool mm_custody_choose_key(const struct mm_module *module, enum mm_algorithm algorithm, const char *kid,
                                       const struct mm_custody_options *options, const json_t *known,
                                       struct mm_custody_key *ret_key, struct mm_error *err);

#endif
