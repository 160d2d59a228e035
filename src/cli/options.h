/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every verb shares: its entry in the table, the options that all understand, and how options are read. No message
 * repeats an option's value: somebody will put a secret there.
 */
#ifndef MM_CLI_OPTIONS_H
#define MM_CLI_OPTIONS_H

#include <getopt.h>

#include "cli/output.h"

/* One run of the program. */
struct mm_cli {
    enum mm_form form;
    const char *config_file; /* --config, else $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml */
    const char *socket;      /* --socket: the admin listener's; NULL: as the configuration says, or: */
    struct {                 /* the admin listener over HTTPS; NULL: not given */
        const char *url;
        const char *certificate_file;
        const char *key_file;
        const char *key_passphrase_file;
        const char *ca_file;
    } admin;
    int64_t patience_ms;      /* for an answer of the service; 0: as long as it may take (cli/admin.h) */
    const char *kid;          /* --kid; NULL: not given */
    const char *reason;       /* --reason, for the ledger; NULL: not given */
    enum mm_exit exit_status; /* after a failure: MM_EXIT_OK means the status of the error's code */
    json_t *failure;          /* after a failure: members for the JSON form of the error; NULL: none */
    enum {
        MM_OPERAND_NONE,
        MM_OPERAND_OPTIONAL,
        MM_OPERANDS_ANY
    } operands;                /* arguments that are no options: how many */
    const char *operand;       /* the one, after MM_OPTION_END; NULL: none */
    char *const *all_operands; /* MM_OPERANDS_ANY: all of them; borrowed from argv */
    size_t n_operands;
};

struct mm_verb {
    const char *name; /* `issue`, or two words: `key list` */
    const char *summary;
    const char *help;
    bool (*run)(struct mm_cli *cli, int argc, char **argv, struct mm_error *err);
};

enum { MM_OPTION_END = -1, MM_OPTION_WRONG = -2, MM_OPTION_FIRST = 256 /* where a verb's own values start */ };

#define MM_COMMON_OPTIONS \
    {"help", no_argument, NULL, 'h'}, \
    { \
        "json", no_argument, NULL, 'j' \
    }
#define MM_CONFIG_OPTION \
    { \
        "config", required_argument, NULL, 'c' \
    }

/* Of verbs that ask a running service; the first are those of its configuration. */
#define MM_ADMIN_OPTIONS \
    MM_CONFIG_OPTION, {"socket", required_argument, NULL, 's'}, {"admin-url", required_argument, NULL, 'u'}, \
        {"cert", required_argument, NULL, 'e'}, {"key", required_argument, NULL, 'y'}, \
        {"key-passphrase-file", required_argument, NULL, 'p'}, \
    { \
        "ca", required_argument, NULL, 'a' \
    }

#define MM_KID_OPTION \
    { \
        "kid", required_argument, NULL, 'k' \
    }
#define MM_REASON_OPTION \
    { \
        "reason", required_argument, NULL, 'r' \
    }

/*
 * The next of the verb's own options (its argument is in optarg); those above are taken into `cli` here. MM_OPTION_END after the
 * last; MM_OPTION_WRONG with MM_USAGE for an unknown one, a missing value, or an argument that isn't an option.
 */
int mm_option_next(struct mm_cli *cli, int argc, char **argv, const struct option *table, struct mm_error *err);

/* `text` as a whole number from `min` to `max`, or MM_USAGE naming `option`. */
MM_MUST_USE bool mm_option_integer(const char *option, const char *text, int64_t min, int64_t max, int64_t *ret_value,
                                   struct mm_error *err);

/* `text` as a duration (`10m`), or MM_USAGE naming `option`. */
MM_MUST_USE bool mm_option_duration(const char *option, const char *text, int64_t *ret_seconds, struct mm_error *err);

/* `text` as a moment (RFC 3339, a date, Unix seconds), or as a duration before `now`; or MM_USAGE naming `option`. */
MM_MUST_USE bool mm_option_instant(const char *option, const char *text, int64_t now, int64_t *ret_unix_seconds,
                                   struct mm_error *err);

/* MM_USAGE unless `value`, the value of `option`, was given. */
MM_MUST_USE bool mm_option_require(const char *option, const char *value, struct mm_error *err);

#endif
